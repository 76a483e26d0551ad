// Tiled f32 matrix products: C [m, n] (+)= op(A) [m, k] · op(B) [k, n].
//
// Layout: B is packed into panels of 16 columns ([k][16]), A into panels of 2 rows ([k][2]); a 2 × 16 tile of C stays in
// eight registers. Wider tiles spill registers in V8 and JavaScriptCore: this one was the only one that was good in Node,
// Deno and Bun alike. Where the last panel of B is at most half full, a 4 × 8 tile takes the place of two. A block of B
// (KC × NC, 1 MiB) lives in the second-level cache, a block of A (MC × KC, 128 KiB) beside it.
//
// Up to MC rows, as batches have, a packed panel of B is used once: four are packed at a time, just before their use. Where k takes
// several blocks, too, sums stay in scratch, tile after tile as they are used, and go to C once, row by row: the lines of C in a
// column of tiles lie a row apart and share few places of a cache. 128 × 784 × 4096 took 1.09 times as long without, other products of
// 128 rows up to 1.05 (the Xeon of docs/gradient.md).
//
// Order of sums: an element of C is the sum over blocks of KC of the sequential sum inside the block, whatever its place in the
// tiles, the shape of the matrix or the way the operands are addressed. Results are therefore the same bytes for a
// product whole or in parts of rows and columns, plain or gathered.
//
// Addressing: element (i, l) of A is at aPtr + 4 · (rowOffset(i) + innerOffset(l)), where an offset is the index times
// its stride, or an i32 table's entry times its stride when a table is given. Permuted operands ("permutation folded into
// packing") and convolutions (a table of pixel offsets and a table of tap offsets) are the same product. A run says that
// the entries of a table count up by one inside aligned groups of that many, which lets packing load vectors.

const MR: i32 = 2;
const NR: i32 = 16;
const KC: i32 = 256;
const MC: i32 = 128;
const NC: i32 = 1024;
/** Columns that are packed at a time for a single block of rows: those that `packFourPanels` reads together. */
const GROUP: i32 = 4 * NR;

function roundUp(value: i32, unit: i32): i32 {
  return ((value + unit - 1) / unit) * unit;
}

/** Bytes of scratch that a product of this size needs, or a smaller one. */
export function matmulScratchBytes(m: i32, n: i32, k: i32): i32 {
  const rows = min(roundUp(m, MR), MC), columns = min(roundUp(n, NR), NC), kc = min(k, KC);
  const single = (rows + min(columns, GROUP)) * kc + (k > KC ? rows * columns : 0);
  return ((m > MC ? max(single, (rows + columns) * kc) : single) + MR * NR) << 2;
}

function tableEntry(tablePtr: usize, index: i32): i32 {
  return tablePtr != 0 ? load<i32>(tablePtr + ((<usize>index) << 2)) : index;
}

/**
 * Packs `lanes`-wide panels along an axis of `count` positions: panel[p][l][lane] = source(p · lanes + lane, l), zero
 * beyond `count`. `stride` and `table` address the packed axis, `innerStride` and `innerTable` the k axis.
 */
function pack(
  sourcePtr: usize, targetPtr: usize, first: i32, count: i32, lanes: i32, stride: i32, table: usize, run: i32,
  innerFirst: i32, innerCount: i32, innerStride: i32, innerTable: usize, innerRun: i32,
): void {
  const innerRuns = innerTable != 0 && innerStride == 1 && innerRun >= 4 && innerRun % 4 == 0 && innerCount % 4 == 0;
  for (let p: i32 = 0; p < count; p += lanes) {
    const panelPtr = targetPtr + ((<usize>(p * innerCount)) << 2);
    const valid = min(lanes, count - p);
    if (lanes == NR && stride == 1 && table == 0 && count - p >= GROUP) {
      packFourPanels(sourcePtr, panelPtr, first + p, innerFirst, innerCount, innerStride, innerTable);
      p += 3 * NR;
      continue;
    }
    if (lanes == MR && stride == 1 && count - p >= 4 * MR && (table == 0 || (run | (first + p)) % (4 * MR) == 0)) {
      packFourPairs(sourcePtr, panelPtr, tableEntry(table, first + p), innerFirst, innerCount, innerStride, innerTable);
      p += 3 * MR;
      continue;
    }
    if (valid == lanes && stride == 1 && (table == 0 || run % lanes == 0)) {
      packContiguous(sourcePtr, panelPtr, tableEntry(table, first + p), lanes, innerFirst, innerCount, innerStride, innerTable);
      continue;
    }
    if (innerRuns && lanes == 2 && valid == 2) {
      packPairRuns(sourcePtr, panelPtr, first + p, stride, table, innerTable + ((<usize>innerFirst) << 2), innerCount);
      continue;
    }
    if (valid < lanes) memory.fill(panelPtr, 0, (<usize>(innerCount * lanes)) << 2);
    let lane: i32 = 0;
    // Four positions at once: 4 × 4 transposes in registers, as long as k is contiguous.
    if (innerTable == 0 && innerStride == 1 && lanes >= 4) {
      for (; lane + 4 <= valid; lane += 4) {
        packTransposed(sourcePtr, panelPtr + ((<usize>lane) << 2), first + p + lane, lanes, stride, table, innerFirst, innerCount);
      }
    }
    if (innerTable == 0 && innerStride == 1 && lanes == 2 && valid == 2) {
      packPair(sourcePtr, panelPtr, first + p, stride, table, innerFirst, innerCount);
      continue;
    }
    for (; lane < valid; lane++) {
      const basePtr = sourcePtr + ((<usize>(tableEntry(table, first + p + lane) * stride)) << 2);
      let outPtr = panelPtr + ((<usize>lane) << 2);
      for (let l: i32 = 0; l < innerCount; l++) {
        const offset = tableEntry(innerTable, innerFirst + l) * innerStride;
        store<f32>(outPtr, load<f32>(basePtr + ((<usize>offset) << 2)));
        outPtr += (<usize>lanes) << 2;
      }
    }
  }
}

/** A panel whose lanes lie side by side in memory: one copy of 8 or 64 bytes for each l. */
function packContiguous(
  sourcePtr: usize, panelPtr: usize, first: i32, lanes: i32, innerFirst: i32, innerCount: i32, innerStride: i32, innerTable: usize,
): void {
  const basePtr = sourcePtr + ((<usize>first) << 2);
  if (lanes == 2) {
    for (let l: i32 = 0; l < innerCount; l++) {
      const offset = tableEntry(innerTable, innerFirst + l) * innerStride;
      store<u64>(panelPtr, load<u64>(basePtr + ((<usize>offset) << 2)));
      panelPtr += 8;
    }
    return;
  }
  for (let l: i32 = 0; l < innerCount; l++) {
    const offset = tableEntry(innerTable, innerFirst + l) * innerStride;
    Lanes.copy(panelPtr, basePtr + ((<usize>offset) << 2));
    panelPtr += 64;
  }
}

/**
 * Four panels of 16 lanes side by side in memory: of each l the 256 bytes that follow one another are read together. Rows of B lie pages
 * apart, and one panel after the other read 64 bytes of each (128 × 784 × 4096: 3 % slower).
 */
function packFourPanels(
  sourcePtr: usize, panelPtr: usize, first: i32, innerFirst: i32, innerCount: i32, innerStride: i32, innerTable: usize,
): void {
  const basePtr = sourcePtr + ((<usize>first) << 2);
  const panelBytes = (<usize>innerCount) << 6;
  for (let l: i32 = 0; l < innerCount; l++) {
    const fromPtr = basePtr + ((<usize>(tableEntry(innerTable, innerFirst + l) * innerStride)) << 2);
    Lanes.copy(panelPtr, fromPtr);
    Lanes.copy(panelPtr + panelBytes, fromPtr + 64);
    Lanes.copy(panelPtr + panelBytes * 2, fromPtr + 128);
    Lanes.copy(panelPtr + panelBytes * 3, fromPtr + 192);
    panelPtr += 64;
  }
}

/**
 * Four panels of 2 lanes side by side in memory, two steps of k at a time. A panel alone takes 8 bytes of each l, by which products of few
 * columns took a sixth longer (transposed A, 96 × 16 × 8192: 27 → 32 GFLOP/s, 128 × 32 × 2304: 33 → 38).
 */
function packFourPairs(
  sourcePtr: usize, panelPtr: usize, first: i32, innerFirst: i32, innerCount: i32, innerStride: i32, innerTable: usize,
): void {
  const basePtr = sourcePtr + ((<usize>first) << 2);
  const panelBytes = (<usize>innerCount) << 3;
  let l: i32 = 0;
  for (; l + 2 <= innerCount; l += 2) {
    const onePtr = basePtr + ((<usize>(tableEntry(innerTable, innerFirst + l) * innerStride)) << 2);
    const twoPtr = basePtr + ((<usize>(tableEntry(innerTable, innerFirst + l + 1) * innerStride)) << 2);
    const a = v128.load(onePtr), b = v128.load(onePtr, 16), c = v128.load(twoPtr), d = v128.load(twoPtr, 16);
    v128.store(panelPtr, v128.shuffle<i64>(a, c, 0, 2));
    v128.store(panelPtr + panelBytes, v128.shuffle<i64>(a, c, 1, 3));
    v128.store(panelPtr + panelBytes * 2, v128.shuffle<i64>(b, d, 0, 2));
    v128.store(panelPtr + panelBytes * 3, v128.shuffle<i64>(b, d, 1, 3));
    panelPtr += 16;
  }
  if (l < innerCount) {
    const fromPtr = basePtr + ((<usize>(tableEntry(innerTable, innerFirst + l) * innerStride)) << 2);
    const a = v128.load(fromPtr), b = v128.load(fromPtr, 16);
    v128.store64_lane(panelPtr, a, 0);
    v128.store64_lane(panelPtr + panelBytes, a, 1);
    v128.store64_lane(panelPtr + panelBytes * 2, b, 0);
    v128.store64_lane(panelPtr + panelBytes * 3, b, 1);
  }
}

/** Four positions with contiguous k into a panel of `lanes`. */
function packTransposed(
  sourcePtr: usize, outPtr: usize, first: i32, lanes: i32, stride: i32, table: usize, innerFirst: i32, innerCount: i32,
): void {
  const base = sourcePtr + ((<usize>innerFirst) << 2);
  const p0 = base + ((<usize>(tableEntry(table, first) * stride)) << 2);
  const p1 = base + ((<usize>(tableEntry(table, first + 1) * stride)) << 2);
  const p2 = base + ((<usize>(tableEntry(table, first + 2) * stride)) << 2);
  const p3 = base + ((<usize>(tableEntry(table, first + 3) * stride)) << 2);
  const step = (<usize>lanes) << 2;
  const whole = (<usize>(innerCount & ~3)) << 2;
  const end = (<usize>innerCount) << 2;
  let at: usize = 0;
  for (; at < whole; at += 16) {
    const r0 = v128.load(p0 + at);
    const r1 = v128.load(p1 + at);
    const r2 = v128.load(p2 + at);
    const r3 = v128.load(p3 + at);
    const low01 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
    const low23 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
    const high01 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
    const high23 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
    v128.store(outPtr, v128.shuffle<f32>(low01, low23, 0, 1, 4, 5));
    v128.store(outPtr + step, v128.shuffle<f32>(low01, low23, 2, 3, 6, 7));
    v128.store(outPtr + step * 2, v128.shuffle<f32>(high01, high23, 0, 1, 4, 5));
    v128.store(outPtr + step * 3, v128.shuffle<f32>(high01, high23, 2, 3, 6, 7));
    outPtr += step * 4;
  }
  for (; at < end; at += 4) {
    store<f32>(outPtr, load<f32>(p0 + at));
    store<f32>(outPtr, load<f32>(p1 + at), 4);
    store<f32>(outPtr, load<f32>(p2 + at), 8);
    store<f32>(outPtr, load<f32>(p3 + at), 12);
    outPtr += step;
  }
}

/** Two positions with contiguous k into a panel of 2 lanes. */
function packPair(
  sourcePtr: usize, outPtr: usize, first: i32, stride: i32, table: usize, innerFirst: i32, innerCount: i32,
): void {
  const base = sourcePtr + ((<usize>innerFirst) << 2);
  const p0 = base + ((<usize>(tableEntry(table, first) * stride)) << 2);
  const p1 = base + ((<usize>(tableEntry(table, first + 1) * stride)) << 2);
  const whole = (<usize>(innerCount & ~3)) << 2;
  const end = (<usize>innerCount) << 2;
  let at: usize = 0;
  for (; at < whole; at += 16) {
    const r0 = v128.load(p0 + at);
    const r1 = v128.load(p1 + at);
    v128.store(outPtr, v128.shuffle<f32>(r0, r1, 0, 4, 1, 5));
    v128.store(outPtr, v128.shuffle<f32>(r0, r1, 2, 6, 3, 7), 16);
    outPtr += 32;
  }
  for (; at < end; at += 4) {
    store<f32>(outPtr, load<f32>(p0 + at));
    store<f32>(outPtr, load<f32>(p1 + at), 4);
    outPtr += 8;
  }
}

/** Two positions into a panel of 2 lanes, k through a table whose entries come in runs of 4. */
function packPairRuns(
  sourcePtr: usize, outPtr: usize, first: i32, stride: i32, table: usize, innerPtr: usize, innerCount: i32,
): void {
  const p0 = sourcePtr + ((<usize>(tableEntry(table, first) * stride)) << 2);
  const p1 = sourcePtr + ((<usize>(tableEntry(table, first + 1) * stride)) << 2);
  const end = innerPtr + ((<usize>innerCount) << 2);
  for (; innerPtr < end; innerPtr += 16) {
    const at = (<usize>load<i32>(innerPtr)) << 2;
    const r0 = v128.load(p0 + at);
    const r1 = v128.load(p1 + at);
    v128.store(outPtr, v128.shuffle<f32>(r0, r1, 0, 4, 1, 5));
    v128.store(outPtr, v128.shuffle<f32>(r0, r1, 2, 6, 3, 7), 16);
    outPtr += 32;
  }
}

/** What is inlined: a decorator needs a class. */
// oxlint-disable-next-line typescript/no-extraneous-class
abstract class Lanes {
  /** A panel's 16 lanes of one l. */
  @inline
  static copy(toPtr: usize, fromPtr: usize): void {
    v128.store(toPtr, v128.load(fromPtr));
    v128.store(toPtr, v128.load(fromPtr, 16), 16);
    v128.store(toPtr, v128.load(fromPtr, 32), 32);
    v128.store(toPtr, v128.load(fromPtr, 48), 48);
  }

  /**
   * c + a · b. Rounded twice, so that every engine gives the same bytes; in the relaxed binary (`index-relaxed.ts`) as engine and
   * processor like it: V8 fuses them where there is FMA (Node 20 1.15, Deno 1.27 of the speed), JavaScriptCore rounds twice.
   */
  @inline
  static multiplyAdd(a: v128, b: v128, c: v128): v128 {
    return ASC_FEATURE_RELAXED_SIMD ? f32x4.relaxed_madd(a, b, c) : f32x4.add(c, f32x4.mul(a, b));
  }
}

/**
 * A 2 × 16 tile: rows at to0Ptr and to1Ptr = (rows at from0Ptr and from1Ptr +) panel of A · panel of B over `count` > 0 steps of k.
 *
 * An iteration takes four steps, and the loop may end after each of them, which takes care of the remainder. Speed relative to one
 * step an iteration: 1.11 in Node 20, 1.04 in Node 24. The steps are written out because the eight sums must stay in registers: a
 * function returns one value, and a global is memory. Pointers move at every step, so that there are six different offsets and not
 * 24: Deno checks every load against the end of memory, offset by offset (V8's trap handler is off there). In GFLOP/s: Deno 33 →
 * 37, Bun 33 → 38, Node 20 43 → 44.
 */
function tile(
  count: i32, aPtr: usize, bPtr: usize, add: bool, from0Ptr: usize, from1Ptr: usize, to0Ptr: usize, to1Ptr: usize,
): void {
  let c00 = f32x4.splat(0), c01 = f32x4.splat(0), c02 = f32x4.splat(0), c03 = f32x4.splat(0);
  let c10 = f32x4.splat(0), c11 = f32x4.splat(0), c12 = f32x4.splat(0), c13 = f32x4.splat(0);
  let a0: v128, a1: v128, b: v128;
  const end = aPtr + ((<usize>count) << 3);
  do {
    a0 = v128.load32_splat(aPtr);
    a1 = v128.load32_splat(aPtr, 4);
    b = v128.load(bPtr);
    c00 = Lanes.multiplyAdd(a0, b, c00);
    c10 = Lanes.multiplyAdd(a1, b, c10);
    b = v128.load(bPtr, 16);
    c01 = Lanes.multiplyAdd(a0, b, c01);
    c11 = Lanes.multiplyAdd(a1, b, c11);
    b = v128.load(bPtr, 32);
    c02 = Lanes.multiplyAdd(a0, b, c02);
    c12 = Lanes.multiplyAdd(a1, b, c12);
    b = v128.load(bPtr, 48);
    c03 = Lanes.multiplyAdd(a0, b, c03);
    c13 = Lanes.multiplyAdd(a1, b, c13);
    aPtr += 8;
    bPtr += 64;
    if (aPtr == end) break;
    a0 = v128.load32_splat(aPtr);
    a1 = v128.load32_splat(aPtr, 4);
    b = v128.load(bPtr);
    c00 = Lanes.multiplyAdd(a0, b, c00);
    c10 = Lanes.multiplyAdd(a1, b, c10);
    b = v128.load(bPtr, 16);
    c01 = Lanes.multiplyAdd(a0, b, c01);
    c11 = Lanes.multiplyAdd(a1, b, c11);
    b = v128.load(bPtr, 32);
    c02 = Lanes.multiplyAdd(a0, b, c02);
    c12 = Lanes.multiplyAdd(a1, b, c12);
    b = v128.load(bPtr, 48);
    c03 = Lanes.multiplyAdd(a0, b, c03);
    c13 = Lanes.multiplyAdd(a1, b, c13);
    aPtr += 8;
    bPtr += 64;
    if (aPtr == end) break;
    a0 = v128.load32_splat(aPtr);
    a1 = v128.load32_splat(aPtr, 4);
    b = v128.load(bPtr);
    c00 = Lanes.multiplyAdd(a0, b, c00);
    c10 = Lanes.multiplyAdd(a1, b, c10);
    b = v128.load(bPtr, 16);
    c01 = Lanes.multiplyAdd(a0, b, c01);
    c11 = Lanes.multiplyAdd(a1, b, c11);
    b = v128.load(bPtr, 32);
    c02 = Lanes.multiplyAdd(a0, b, c02);
    c12 = Lanes.multiplyAdd(a1, b, c12);
    b = v128.load(bPtr, 48);
    c03 = Lanes.multiplyAdd(a0, b, c03);
    c13 = Lanes.multiplyAdd(a1, b, c13);
    aPtr += 8;
    bPtr += 64;
    if (aPtr == end) break;
    a0 = v128.load32_splat(aPtr);
    a1 = v128.load32_splat(aPtr, 4);
    b = v128.load(bPtr);
    c00 = Lanes.multiplyAdd(a0, b, c00);
    c10 = Lanes.multiplyAdd(a1, b, c10);
    b = v128.load(bPtr, 16);
    c01 = Lanes.multiplyAdd(a0, b, c01);
    c11 = Lanes.multiplyAdd(a1, b, c11);
    b = v128.load(bPtr, 32);
    c02 = Lanes.multiplyAdd(a0, b, c02);
    c12 = Lanes.multiplyAdd(a1, b, c12);
    b = v128.load(bPtr, 48);
    c03 = Lanes.multiplyAdd(a0, b, c03);
    c13 = Lanes.multiplyAdd(a1, b, c13);
    aPtr += 8;
    bPtr += 64;
  } while (aPtr < end);
  if (add) {
    c00 = f32x4.add(v128.load(from0Ptr), c00);
    c01 = f32x4.add(v128.load(from0Ptr, 16), c01);
    c02 = f32x4.add(v128.load(from0Ptr, 32), c02);
    c03 = f32x4.add(v128.load(from0Ptr, 48), c03);
    c10 = f32x4.add(v128.load(from1Ptr), c10);
    c11 = f32x4.add(v128.load(from1Ptr, 16), c11);
    c12 = f32x4.add(v128.load(from1Ptr, 32), c12);
    c13 = f32x4.add(v128.load(from1Ptr, 48), c13);
  }
  v128.store(to0Ptr, c00);
  v128.store(to0Ptr, c01, 16);
  v128.store(to0Ptr, c02, 32);
  v128.store(to0Ptr, c03, 48);
  v128.store(to1Ptr, c10);
  v128.store(to1Ptr, c11, 16);
  v128.store(to1Ptr, c12, 32);
  v128.store(to1Ptr, c13, 48);
}

/**
 * A 4 × 8 tile in place of two of 2 × 16 where a panel of B is at most half full: rows of two panels of A, of which `belowPtr` is the
 * second. Four rows of sums, `rowBytes` apart, are written or, with `add`, added to.
 */
function narrowTile(count: i32, aPtr: usize, belowPtr: usize, bPtr: usize, add: bool, sumsPtr: usize, rowBytes: usize): void {
  let c00 = f32x4.splat(0), c01 = f32x4.splat(0), c10 = f32x4.splat(0), c11 = f32x4.splat(0);
  let c20 = f32x4.splat(0), c21 = f32x4.splat(0), c30 = f32x4.splat(0), c31 = f32x4.splat(0);
  let a0: v128, a1: v128, a2: v128, a3: v128, b: v128;
  const end = aPtr + ((<usize>count) << 3);
  do {
    a0 = v128.load32_splat(aPtr);
    a1 = v128.load32_splat(aPtr, 4);
    a2 = v128.load32_splat(belowPtr);
    a3 = v128.load32_splat(belowPtr, 4);
    b = v128.load(bPtr);
    c00 = Lanes.multiplyAdd(a0, b, c00);
    c10 = Lanes.multiplyAdd(a1, b, c10);
    c20 = Lanes.multiplyAdd(a2, b, c20);
    c30 = Lanes.multiplyAdd(a3, b, c30);
    b = v128.load(bPtr, 16);
    c01 = Lanes.multiplyAdd(a0, b, c01);
    c11 = Lanes.multiplyAdd(a1, b, c11);
    c21 = Lanes.multiplyAdd(a2, b, c21);
    c31 = Lanes.multiplyAdd(a3, b, c31);
    aPtr += 8;
    belowPtr += 8;
    bPtr += 64;
    if (aPtr == end) break;
    a0 = v128.load32_splat(aPtr);
    a1 = v128.load32_splat(aPtr, 4);
    a2 = v128.load32_splat(belowPtr);
    a3 = v128.load32_splat(belowPtr, 4);
    b = v128.load(bPtr);
    c00 = Lanes.multiplyAdd(a0, b, c00);
    c10 = Lanes.multiplyAdd(a1, b, c10);
    c20 = Lanes.multiplyAdd(a2, b, c20);
    c30 = Lanes.multiplyAdd(a3, b, c30);
    b = v128.load(bPtr, 16);
    c01 = Lanes.multiplyAdd(a0, b, c01);
    c11 = Lanes.multiplyAdd(a1, b, c11);
    c21 = Lanes.multiplyAdd(a2, b, c21);
    c31 = Lanes.multiplyAdd(a3, b, c31);
    aPtr += 8;
    belowPtr += 8;
    bPtr += 64;
  } while (aPtr < end);
  const onePtr = sumsPtr + rowBytes, twoPtr = onePtr + rowBytes, threePtr = twoPtr + rowBytes;
  if (add) {
    c00 = f32x4.add(v128.load(sumsPtr), c00);
    c01 = f32x4.add(v128.load(sumsPtr, 16), c01);
    c10 = f32x4.add(v128.load(onePtr), c10);
    c11 = f32x4.add(v128.load(onePtr, 16), c11);
    c20 = f32x4.add(v128.load(twoPtr), c20);
    c21 = f32x4.add(v128.load(twoPtr, 16), c21);
    c30 = f32x4.add(v128.load(threePtr), c30);
    c31 = f32x4.add(v128.load(threePtr, 16), c31);
  }
  v128.store(sumsPtr, c00);
  v128.store(sumsPtr, c01, 16);
  v128.store(onePtr, c10);
  v128.store(onePtr, c11, 16);
  v128.store(twoPtr, c20);
  v128.store(twoPtr, c21, 16);
  v128.store(threePtr, c30);
  v128.store(threePtr, c31, 16);
}

/** `rows` × `columns` of a tile, whose rows lie `rowBytes` apart, into C, where they lie `ldcBytes` apart, or unless `toC` from there. */
function copyRim(tilePtr: usize, rowBytes: usize, cPtr: usize, ldcBytes: usize, rows: i32, columns: i32, toC: bool): void {
  const bytes = (<usize>columns) << 2;
  for (let i: i32 = 0; i < rows; i++, tilePtr += rowBytes, cPtr += ldcBytes) {
    const toPtr = toC ? cPtr : tilePtr, fromPtr = toC ? tilePtr : cPtr;
    if (columns == NR / 2) {
      v128.store(toPtr, v128.load(fromPtr));
      v128.store(toPtr, v128.load(fromPtr, 16), 16);
    } else memory.copy(toPtr, fromPtr, bytes);
  }
}

/**
 * The tiles of `rows` rows and up to 16 columns of C. With `add`, each is added to what C has so far, or unless `fromC` to the sums at
 * `tilePtr`; it goes to C, or unless `toC` to `tilePtr`, which moves on by `tileBytes` a tile and is the place of rims in any case.
 */
function tileColumn(
  depth: i32, rows: i32, columns: i32, aPanelPtr: usize, bPanelPtr: usize, cTilePtr: usize, ldcBytes: usize,
  add: bool, fromC: bool, toC: bool, tilePtr: usize, tileBytes: usize,
): void {
  let i: i32 = 0;
  if (columns <= NR / 2) {
    const rowBytes: usize = tileBytes == 0 ? NR * 2 : NR * 4, panelBytes = (<usize>(MR * depth)) << 2;
    for (; i + 2 * MR <= rows; i += 2 * MR) {
      if (add && fromC) copyRim(tilePtr, rowBytes, cTilePtr, ldcBytes, 2 * MR, columns, false);
      narrowTile(depth, aPanelPtr, aPanelPtr + panelBytes, bPanelPtr, add, tilePtr, rowBytes);
      if (toC) copyRim(tilePtr, rowBytes, cTilePtr, ldcBytes, 2 * MR, columns, true);
      cTilePtr += 2 * MR * ldcBytes;
      aPanelPtr += panelBytes * 2;
      tilePtr += tileBytes * 2;
    }
  }
  for (; i < rows; i += MR) {
    const height = min(MR, rows - i);
    const besidePtr = tilePtr + NR * 4;
    if (columns == NR && height == MR) {
      const belowPtr = cTilePtr + ldcBytes;
      tile(
        depth, aPanelPtr, bPanelPtr, add, fromC ? cTilePtr : tilePtr, fromC ? belowPtr : besidePtr,
        toC ? cTilePtr : tilePtr, toC ? belowPtr : besidePtr,
      );
    } else {
      if (add && fromC) copyRim(tilePtr, NR * 4, cTilePtr, ldcBytes, height, columns, false);
      tile(depth, aPanelPtr, bPanelPtr, add, tilePtr, besidePtr, tilePtr, besidePtr);
      if (toC) copyRim(tilePtr, NR * 4, cTilePtr, ldcBytes, height, columns, true);
    }
    cTilePtr += MR * ldcBytes;
    aPanelPtr += (<usize>(MR * depth)) << 2;
    tilePtr += tileBytes;
  }
}

/** Writes sums that were kept as columns of tiles to `rows` × `columns` of C, row by row. */
function storeSums(tilesPtr: usize, cPtr: usize, ldcBytes: usize, rows: i32, columns: i32): void {
  const columnBytes = (<usize>roundUp(rows, MR)) << 6;
  for (let i: i32 = 0; i < rows; i++, tilesPtr += NR * 4, cPtr += ldcBytes) {
    let fromPtr = tilesPtr, toPtr = cPtr;
    let j: i32 = 0;
    for (; j + NR <= columns; j += NR, fromPtr += columnBytes, toPtr += NR * 4) Lanes.copy(toPtr, fromPtr);
    if (j < columns) memory.copy(toPtr, fromPtr, (<usize>(columns - j)) << 2);
  }
}

/**
 * C [m, n] (+)= op(A) · op(B). `lda`, `ldb`, `ldc` are row strides of the stored matrices in elements: A is stored [m, k],
 * or [k, m] when `transposeA`; B [k, n], or [n, k] when `transposeB`. The four table pointers are 0 or i32 indices that
 * replace the positions along the rows of op(A), the k axis of op(A), the k axis of op(B) and the columns of op(B).
 * C must not overlap A or B. `scratchPtr`: `matmulScratchBytes(m, n, k)` bytes.
 */
export function matmulF32(
  aPtr: usize, bPtr: usize, cPtr: usize, m: i32, n: i32, k: i32, transposeA: bool, transposeB: bool, accumulate: bool,
  lda: i32, ldb: i32, ldc: i32, aRowsPtr: usize, aInnerPtr: usize, bInnerPtr: usize, bColumnsPtr: usize, scratchPtr: usize,
): void {
  productF32(
    aPtr, transposeA ? 1 : lda, transposeA ? lda : 1, aRowsPtr, 1, aInnerPtr, 1,
    bPtr, transposeB ? 1 : ldb, transposeB ? ldb : 1, bInnerPtr, bColumnsPtr,
    cPtr, ldc, m, n, k, accumulate, scratchPtr,
  );
}

/** The product with free strides of both axes of both operands (elements) and runs of A's tables; see the head of this file. */
export function productF32(
  aPtr: usize, aRowStride: i32, aInnerStride: i32, aRowsPtr: usize, aRowsRun: i32, aInnerPtr: usize, aInnerRun: i32,
  bPtr: usize, bInnerStride: i32, bColumnStride: i32, bInnerPtr: usize, bColumnsPtr: usize,
  cPtr: usize, ldc: i32, m: i32, n: i32, k: i32, accumulate: bool, scratchPtr: usize,
): void {
  const ldcBytes = (<usize>ldc) << 2;
  if (k == 0) {
    if (!accumulate) for (let i: i32 = 0; i < m; i++) memory.fill(cPtr + <usize>i * ldcBytes, 0, (<usize>n) << 2);
    return;
  }
  const kc = min(k, KC);
  const packedAPtr = scratchPtr;
  const single = m <= MC;
  const held = single && k > KC;
  const groupColumns = single ? GROUP : NC;
  const packedBPtr = packedAPtr + ((<usize>(min(roundUp(m, MR), MC) * kc)) << 2);
  const rimPtr = packedBPtr + ((<usize>(min(roundUp(n, NR), groupColumns) * kc)) << 2);
  const heldPtr = rimPtr + MR * NR * 4;
  for (let jc: i32 = 0; jc < n; jc += NC) {
    const columns = min(NC, n - jc);
    for (let pc: i32 = 0; pc < k; pc += KC) {
      const depth = min(KC, k - pc);
      const add = accumulate || pc > 0;
      const fromC = !held || pc == 0;
      for (let ic: i32 = 0; ic < m; ic += MC) {
        const rows = min(MC, m - ic);
        pack(aPtr, packedAPtr, ic, rows, MR, aRowStride, aRowsPtr, aRowsRun, pc, depth, aInnerStride, aInnerPtr, aInnerRun);
        for (let group: i32 = 0; group < columns; group += groupColumns) {
          const width = min(groupColumns, columns - group);
          if (ic == 0) pack(bPtr, packedBPtr, jc + group, width, NR, bColumnStride, bColumnsPtr, 1, pc, depth, bInnerStride, bInnerPtr, 1);
          for (let j = group; j < group + width; j += NR) {
            tileColumn(
              depth, rows, min(NR, columns - j), packedAPtr, packedBPtr + ((<usize>((j - group) * depth)) << 2),
              cPtr + <usize>ic * ldcBytes + ((<usize>(jc + j)) << 2), ldcBytes, add, fromC, !held,
              held ? heldPtr + ((<usize>(j * roundUp(m, MR))) << 2) : rimPtr, held ? MR * NR * 4 : 0,
            );
          }
        }
      }
    }
    if (held) storeSums(heldPtr, cPtr + ((<usize>jc) << 2), ldcBytes, m, columns);
  }
}
