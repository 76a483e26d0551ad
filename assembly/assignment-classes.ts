// Linear sum assignment: which rows of the matrix are the same.
import { Problem, chunksOf } from "./assignment-problem";
import { Heap } from "./indexed-heap";

function differences<T>(a: usize, b: usize): v128 {
  return sizeof<T>() === 4 ? f32x4.ne(v128.load(a), v128.load(b)) : f64x2.ne(v128.load(a), v128.load(b));
}

/** Whether two rows of the matrix are the same, number for number: 0 equals −0, both of which dead units have. */
function sameRows<T>(problem: Problem, first: i32, second: i32): bool {
  const bytes = <usize>problem.columns * sizeof<T>();
  const a = problem.matrix + <usize>first * bytes;
  const b = problem.matrix + <usize>second * bytes;
  let at: usize = 0;
  for (; at + 64 <= bytes; at += 64) {
    const differ = v128.or(
      v128.or(differences<T>(a + at, b + at), differences<T>(a + at + 16, b + at + 16)),
      v128.or(differences<T>(a + at + 32, b + at + 32), differences<T>(a + at + 48, b + at + 48)),
    );
    if (v128.any_true(differ)) return false;
  }
  for (; at < bytes; at += sizeof<T>()) if (load<T>(a + at) !== load<T>(b + at)) return false;
  return true;
}

function rotate(bits: v128, by: i32): v128 {
  return v128.or(i32x4.shl(bits, by), i32x4.shr_u(bits, 32 - by));
}

function mix<T>(mixed: v128, at: usize): v128 {
  // −0 + 0 is 0.
  const zero = i32x4.splat(0);
  const maxima = sizeof<T>() === 4 ? f32x4.add(v128.load(at), zero) : f64x2.add(v128.load(at), zero);
  return v128.xor(rotate(mixed, 5), maxima);
}

/**
 * Finds the first row that is the same as this one (dead units, duplicates): of such rows, one search visits the lists of
 * one only. Hashes the chunk maxima, which are at hand; the table lies in the heap's memory, which is idle by then.
 */
export function classify<T>(problem: Problem, row: i32, maximaPtr: usize): void {
  const end = maximaPtr + (<usize>chunksOf<T>(problem.columns) << 4);
  // Four at a time: one chain of rotations would take a sixth of making a list.
  let a = i32x4.splat(0), b = a, c = a, d = a;
  let at = maximaPtr;
  for (; at + 64 <= end; at += 64) {
    a = mix<T>(a, at);
    b = mix<T>(b, at + 16);
    c = mix<T>(c, at + 32);
    d = mix<T>(d, at + 48);
  }
  for (; at < end; at += 16) a = mix<T>(a, at);
  const mixed = v128.xor(v128.xor(a, rotate(b, 7)), v128.xor(rotate(c, 14), rotate(d, 21)));
  const hash = (i32x4.extract_lane(mixed, 0) * 0x9e3779b1) ^ (i32x4.extract_lane(mixed, 1) * 0x85ebca77) ^
    (i32x4.extract_lane(mixed, 2) * 0xc2b2ae3d) ^ (i32x4.extract_lane(mixed, 3) * 0x27d4eb2f);
  const table = changetype<Heap>(problem.heap).keys;
  const mask = (<u32>1 << (31 - clz<u32>(2 * problem.columns))) - 1;
  let slot = (<u32>hash ^ (<u32>hash >> 15)) & mask;
  let leader = row;
  for (let probe = 0; probe < 8; probe++) {
    const place = table + (<usize>slot << 2);
    const other = load<i32>(place);
    if (other < 0) {
      store<i32>(place, row);
      break;
    }
    if (load<i32>(problem.hashes + (<usize>other << 2)) === hash && sameRows<T>(problem, other, row)) {
      leader = other;
      break;
    }
    slot = (slot + 1) & mask;
  }
  store<i32>(problem.hashes + (<usize>row << 2), hash);
  store<i32>(problem.classes + (<usize>row << 2), leader);
}
