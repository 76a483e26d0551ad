// DEFLATE encoding (RFC 1951) for byte planes: Huffman codes and runs of one byte, no string matching.
// Planes of float differences hold skewed bytes and runs but no repeated strings: on them this loses under 1 % of size to
// a full matcher and is an order of magnitude faster. A block that would not shrink is stored, so mantissa planes
// pass at the speed of a copy, both ways.

// State at the caller's pointer (`DEFLATE_STATE_BYTES`), zeroed to begin a stream:
const BITS: usize = 0; //       u64  bits not yet written
const BIT_COUNT: usize = 8; //  i32
const COUNTS: usize = 64; //    288 u32  how often each literal and length occurs
const SORTED: usize = 1216; //  288 u64  count << 32 | symbol, ascending
const WEIGHTS: usize = 3520; // 288 u32  Moffat and Katajainen's array
const LENGTHS: usize = 4672; // 320 u8   code lengths: literals and lengths, then the one distance
const CODES: usize = 4992; //   288 u32  reversed code | length << 16
const RUNS: usize = 6144; //    320 u16  the lengths' own run-length symbols: symbol | extra << 8
const RUN_COUNTS: usize = 6784; // 19 u32
const RUN_LENGTHS: usize = 6864; // 19 u8
const RUN_CODES: usize = 6912; // 19 u32

const LITERALS: i32 = 286;
const LONGEST_RUN: i32 = 258;
// Under 1/64 of gain a block is stored: it then decodes at the speed of a copy.
const GAIN_SHIFT: u32 = 6;

let bits: u64 = 0;
let bitCount: i32 = 0;
let at: usize = 0;

function put(value: u32, n: i32): void {
  bits |= (<u64>value) << bitCount;
  bitCount += n;
  if (bitCount >= 32) {
    store<u32>(at, <u32>bits);
    at += 4;
    bits >>= 32;
    bitCount -= 32;
  }
}

/** Writes what is left of a byte, zero-padded. */
function align(): void {
  while (bitCount > 0) {
    store<u8>(at, <u8>bits);
    at++;
    bits >>= 8;
    bitCount -= 8;
  }
  bits = 0;
  bitCount = 0;
}

/** The run of in[i - 1] that begins at i: its length up to 258, or 0 where shorter than 3. */
function runAt(inPtr: usize, i: i32, n: i32): i32 {
  const value = load<u8>(inPtr + i - 1);
  if (load<u8>(inPtr + i) != value) return 0;
  const limit = min<i32>(n - i, LONGEST_RUN);
  if (limit < 3) return 0;
  const pattern = i8x16.splat(value);
  let length = 0;
  while (length + 16 <= limit) {
    const same = i8x16.bitmask(i8x16.eq(v128.load(inPtr + i + length), pattern));
    if (same != 0xffff) {
      length += ctz<i32>(~same);
      return length < 3 ? 0 : length;
    }
    length += 16;
  }
  while (length < limit && load<u8>(inPtr + i + length) == value) length++;
  return length < 3 ? 0 : length;
}

/** Symbol of a match length, 257 … 285. */
function lengthSymbol(length: i32): i32 {
  if (length == 258) return 285;
  const v = length - 3;
  if (v < 8) return 257 + v;
  const extra = 29 - clz<i32>(v);
  return 257 + (extra << 2) + (v >> extra);
}

function lengthExtra(symbol: i32): i32 {
  return symbol < 265 || symbol == 285 ? 0 : ((symbol - 257) >> 2) - 1;
}

/**
 * Code lengths of at most `longest` bits for `n` counts (u32), optimal unless the cap bites. Symbols that do not occur
 * get 0; a lone symbol gets 1. Moffat and Katajainen, "In-place calculation of minimum-redundancy codes" (1995).
 */
function makeLengths(state: usize, counts: usize, n: i32, longest: i32, lengths: usize): void {
  const sorted = state + SORTED;
  const w = state + WEIGHTS;
  memory.fill(lengths, 0, n);
  let used = 0;
  for (let symbol = 0; symbol < n; symbol++) {
    const count = load<u32>(counts + (symbol << 2));
    if (count == 0) continue;
    // Insertion in a sorted list: at most 286 long; equal counts stay in order of their symbols.
    const key = ((<u64>count) << 32) | <u64>symbol;
    let place = used;
    while (place > 0 && load<u64>(sorted + ((place - 1) << 3)) > key) {
      store<u64>(sorted + (place << 3), load<u64>(sorted + ((place - 1) << 3)));
      place--;
    }
    store<u64>(sorted + (place << 3), key);
    used++;
  }
  if (used == 0) return;
  if (used == 1) {
    store<u8>(lengths + <usize>(<u32>load<u64>(sorted)), 1);
    return;
  }
  for (let i = 0; i < used; i++) store<u32>(w + (i << 2), <u32>(load<u64>(sorted + (i << 3)) >> 32));

  // Phase 1: left to right, internal nodes' weights, then parents.
  store<u32>(w, load<u32>(w) + load<u32>(w + 4));
  let root = 0;
  let leaf = 2;
  for (let next = 1; next < used - 1; next++) {
    for (let child = 0; child < 2; child++) {
      let weight: u32 = child == 0 ? 0 : load<u32>(w + (next << 2));
      if (leaf >= used || (root < next && load<u32>(w + (root << 2)) < load<u32>(w + (leaf << 2)))) {
        weight += load<u32>(w + (root << 2));
        store<u32>(w + (root << 2), next);
        root++;
      } else {
        weight += load<u32>(w + (leaf << 2));
        leaf++;
      }
      store<u32>(w + (next << 2), weight);
    }
  }
  // Phase 2: right to left, depths of internal nodes.
  store<u32>(w + ((used - 2) << 2), 0);
  for (let next = used - 3; next >= 0; next--) {
    store<u32>(w + (next << 2), load<u32>(w + (load<u32>(w + (next << 2)) << 2)) + 1);
  }
  // Phase 3: right to left, depths of leaves, counted by depth in RUNS' place (free until later).
  const perLength = state + RUNS;
  memory.fill(perLength, 0, 640);
  let available = 1;
  let internal = 0;
  let depth = 0;
  root = used - 2;
  while (available > 0) {
    while (root >= 0 && <i32>load<u32>(w + (root << 2)) == depth) {
      internal++;
      root--;
    }
    const leaves = available - internal;
    const slot = perLength + (<usize>min<i32>(depth, longest) << 2);
    store<u32>(slot, load<u32>(slot) + leaves);
    available = internal << 1;
    internal = 0;
    depth++;
  }
  // The cap: pay for the shortened codes by lengthening the cheapest ones until Kraft's sum is 1 again.
  let kraft: u32 = 0;
  for (let length = 1; length <= longest; length++) kraft += load<u32>(perLength + (length << 2)) << (longest - length);
  while (kraft > <u32>1 << longest) {
    store<u32>(perLength + (longest << 2), load<u32>(perLength + (longest << 2)) - 1);
    for (let length = longest - 1; length > 0; length--) {
      const slot = perLength + (length << 2);
      if (load<u32>(slot) == 0) continue;
      store<u32>(slot, load<u32>(slot) - 1);
      store<u32>(slot + 4, load<u32>(slot + 4) + 2);
      break;
    }
    kraft--;
  }
  // The most frequent symbols get the shortest codes.
  let index = used;
  for (let length = 1; length <= longest; length++) {
    for (let k = load<u32>(perLength + (length << 2)); k > 0; k--) {
      index--;
      store<u8>(lengths + <usize>(<u32>load<u64>(sorted + (index << 3))), <u8>length);
    }
  }
}

/** Canonical codes of the lengths, bits reversed as DEFLATE sends them. */
function makeCodes(lengths: usize, n: i32, codes: usize): void {
  let code: u32 = 0;
  for (let length = 1; length <= 15; length++) {
    code <<= 1;
    for (let symbol = 0; symbol < n; symbol++) {
      if (<i32>load<u8>(lengths + symbol) != length) continue;
      let reversed: u32 = 0;
      for (let i = 0; i < length; i++) reversed |= ((code >> i) & 1) << (length - 1 - i);
      store<u32>(codes + (symbol << 2), reversed | (length << 16));
      code++;
    }
  }
}

function putCode(codes: usize, symbol: i32): void {
  const code = load<u32>(codes + (symbol << 2));
  put(code & 0xffff, <i32>(code >> 16));
}

/** Run-length symbols of the code lengths; returns how many. */
function makeRuns(state: usize, total: i32): i32 {
  const lengths = state + LENGTHS;
  const runs = state + RUNS;
  memory.fill(state + RUN_COUNTS, 0, 76);
  let count = 0;
  let i = 0;
  while (i < total) {
    const value = <i32>load<u8>(lengths + i);
    let times = 1;
    while (i + times < total && <i32>load<u8>(lengths + i + times) == value) times++;
    i += times;
    if (value != 0) {
      store<u16>(runs + (count << 1), <u16>value);
      count++;
      times--;
    }
    while (times > 0) {
      let symbol = value;
      let n = 1;
      let extra = 0;
      if (value == 0 && times >= 3) {
        n = min<i32>(times, 138);
        symbol = n >= 11 ? 18 : 17;
        extra = n - (n >= 11 ? 11 : 3);
      } else if (value != 0 && times >= 3) {
        n = min<i32>(times, 6);
        symbol = 16;
        extra = n - 3;
      }
      store<u16>(runs + (count << 1), <u16>(symbol | (extra << 8)));
      count++;
      times -= n;
    }
  }
  for (let r = 0; r < count; r++) {
    const slot = state + RUN_COUNTS + (<usize>load<u8>(runs + (r << 1)) << 2);
    store<u32>(slot, load<u32>(slot) + 1);
  }
  return count;
}

function runExtraBits(symbol: i32): i32 {
  return symbol < 16 ? 0 : symbol == 16 ? 2 : symbol == 17 ? 3 : 7;
}

/** The place of the i-th code length code: 16 17 18 0 8 7 9 6 10 5 11 4 12 3 13 2 14 1 15. */
function lengthOrder(i: i32): i32 {
  if (i < 3) return 16 + i;
  if (i == 3) return 0;
  return (i & 1) == 0 ? 6 + (i >> 1) : 9 - (i >> 1);
}

/** Counts literals and runs; returns the extra bits that the runs' lengths and distances take. */
function countSymbols(state: usize, inPtr: usize, n: i32): u32 {
  const counts = state + COUNTS;
  memory.fill(counts, 0, 1152);
  let extra: u32 = 0;
  let i = 0;
  while (i < n) {
    const run = i > 0 ? runAt(inPtr, i, n) : 0;
    const symbol = run == 0 ? <i32>load<u8>(inPtr + i) : lengthSymbol(run);
    if (run != 0) extra += lengthExtra(symbol) + 1;
    const slot = counts + (symbol << 2);
    store<u32>(slot, load<u32>(slot) + 1);
    i += run == 0 ? 1 : run;
  }
  store<u32>(counts + (256 << 2), 1);
  return extra;
}

function putSymbols(state: usize, inPtr: usize, n: i32): void {
  const codes = state + CODES;
  let i = 0;
  while (i < n) {
    const run = i > 0 ? runAt(inPtr, i, n) : 0;
    if (run == 0) {
      putCode(codes, <i32>load<u8>(inPtr + i));
      i++;
      continue;
    }
    const symbol = lengthSymbol(run);
    putCode(codes, symbol);
    const extra = lengthExtra(symbol);
    put(<u32>(run - 3) & ((1 << extra) - 1), extra);
    put(0, 1); // distance 1: the only distance code, one bit
    i += run;
  }
  putCode(codes, 256);
}

/**
 * Appends one block of `n` ≤ 65535 bytes to the stream; `final` ends it on a byte boundary.
 * `outPtr` needs n + 600 bytes. Returns the bytes written; what is left of a byte waits in the state.
 */
export function deflateBlock(state: usize, inPtr: usize, n: i32, final: i32, outPtr: usize): i32 {
  bits = load<u64>(state + BITS);
  bitCount = load<i32>(state + BIT_COUNT);
  at = outPtr;
  const lengths = state + LENGTHS;

  let cost = countSymbols(state, inPtr, n) + 17;
  makeLengths(state, state + COUNTS, LITERALS, 15, lengths);
  let literals = LITERALS;
  while (literals > 257 && load<u8>(lengths + literals - 1) == 0) literals--;
  for (let s = 0; s < literals; s++) cost += load<u32>(state + COUNTS + (s << 2)) * <u32>load<u8>(lengths + s);
  store<u8>(lengths + literals, 1);
  const runs = makeRuns(state, literals + 1);
  // makeLengths uses RUNS' place for its counts, so the symbols step aside while their own code is made.
  memory.copy(state + CODES, state + RUNS, runs << 1);
  makeLengths(state, state + RUN_COUNTS, 19, 7, state + RUN_LENGTHS);
  memory.copy(state + RUNS, state + CODES, runs << 1);
  let sent = 19;
  while (sent > 4 && load<u8>(state + RUN_LENGTHS + lengthOrder(sent - 1)) == 0) sent--;
  cost += 3 * sent;
  for (let r = 0; r < runs; r++) {
    const symbol = <i32>load<u8>(state + RUNS + (r << 1));
    cost += <u32>load<u8>(state + RUN_LENGTHS + symbol) + runExtraBits(symbol);
  }

  const storedCost = (<u32>n << 3) + 40;
  if (cost + (storedCost >> GAIN_SHIFT) >= storedCost) {
    put(final, 3);
    align();
    store<u16>(at, <u16>n);
    store<u16>(at, <u16>~n, 2);
    memory.copy(at + 4, inPtr, n);
    at += 4 + n;
  } else {
    makeCodes(lengths, literals, state + CODES);
    makeCodes(state + RUN_LENGTHS, 19, state + RUN_CODES);
    put(final | 4, 3);
    put(literals - 257, 5);
    put(0, 5);
    put(sent - 4, 4);
    for (let i = 0; i < sent; i++) put(load<u8>(state + RUN_LENGTHS + lengthOrder(i)), 3);
    for (let r = 0; r < runs; r++) {
      const symbol = <i32>load<u8>(state + RUNS + (r << 1));
      putCode(state + RUN_CODES, symbol);
      put(load<u8>(state + RUNS + (r << 1) + 1), runExtraBits(symbol));
    }
    putSymbols(state, inPtr, n);
  }
  if (final != 0) align();
  store<u64>(state + BITS, bits);
  store<i32>(state + BIT_COUNT, bitCount);
  return <i32>(at - outPtr);
}
