// Differences of gathered rows and columns: what a permutation that changed in a few places changes in an operand; adding a product
// of live units where it belongs; points of a trajectory, and a permuted change added to a network. Plain gathers need no kernel: the
// matrix product takes index tables.

function gathered(sourcePtr: usize, index: i32): f32 {
  return index < 0 ? 0 : load<f32>(sourcePtr + ((<usize>index) << 2));
}

/** out[r, j] = source[r, now[j]] − source[r, before[j]] for j < count, 0 standing for index −1; row strides in elements. */
export function gatherColumnDifferencesF32(
  sourcePtr: usize, sourceStride: i32, nowPtr: usize, beforePtr: usize, count: i32,
  outPtr: usize, outStride: i32, rows: i32,
): void {
  for (let r: i32 = 0; r < rows; r++) {
    for (let j: i32 = 0; j < count; j++) {
      const at = (<usize>j) << 2;
      store<f32>(outPtr + at, gathered(sourcePtr, load<i32>(nowPtr + at)) - gathered(sourcePtr, load<i32>(beforePtr + at)));
    }
    sourcePtr += (<usize>sourceStride) << 2;
    outPtr += (<usize>outStride) << 2;
  }
}

/** out[i, :] = source[now[i], :] − source[before[i], :] for i < count, 0 standing for index −1; rows of `width`, contiguous. */
export function gatherRowDifferencesF32(
  sourcePtr: usize, nowPtr: usize, beforePtr: usize, count: i32, outPtr: usize, width: i32,
): void {
  const bytes = (<usize>width) << 2;
  const vectorBytes = bytes & ~15;
  for (let i: i32 = 0; i < count; i++) {
    const at = (<usize>i) << 2;
    const now = load<i32>(nowPtr + at);
    const before = load<i32>(beforePtr + at);
    if (now < 0) memory.fill(outPtr, 0, bytes);
    else memory.copy(outPtr, sourcePtr + <usize>now * bytes, bytes);
    if (before >= 0) {
      const rowPtr = sourcePtr + <usize>before * bytes;
      let x: usize = 0;
      for (; x < vectorBytes; x += 16) v128.store(outPtr + x, f32x4.sub(v128.load(outPtr + x), v128.load(rowPtr + x)));
      for (; x < bytes; x += 4) store<f32>(outPtr + x, load<f32>(outPtr + x) - load<f32>(rowPtr + x));
    }
    outPtr += bytes;
  }
}

/** out[rows[i], columns[j]] += source[i, j]; `source` is [rowCount, columnCount], `outStride` in elements. */
export function scatterAddF32(
  sourcePtr: usize, rowsPtr: usize, rowCount: i32, columnsPtr: usize, columnCount: i32, outPtr: usize, outStride: i32,
): void {
  for (let i: i32 = 0; i < rowCount; i++) {
    const rowPtr = outPtr + ((<usize>(load<i32>(rowsPtr + ((<usize>i) << 2)) * outStride)) << 2);
    for (let j: i32 = 0; j < columnCount; j++) {
      const at = rowPtr + ((<usize>load<i32>(columnsPtr + ((<usize>j) << 2))) << 2);
      store<f32>(at, load<f32>(at) + load<f32>(sourcePtr));
      sourcePtr += 4;
    }
  }
}

/** out[i] = a[i] + c · (b[i] − a[i]), in f64 and rounded once. */
export function interpolateF32(aPtr: usize, bPtr: usize, c: f64, outPtr: usize, count: i32): void {
  const whole = aPtr + ((<usize>(count & ~1)) << 2);
  const end = aPtr + ((<usize>count) << 2);
  const factor = f64x2.splat(c);
  for (; aPtr < whole; aPtr += 8, bPtr += 8, outPtr += 8) {
    const a = f64x2.promote_low_f32x4(v128.load64_zero(aPtr));
    const b = f64x2.promote_low_f32x4(v128.load64_zero(bPtr));
    v128.store64_lane(outPtr, f32x4.demote_f64x2_zero(f64x2.add(a, f64x2.mul(factor, f64x2.sub(b, a)))), 0);
  }
  if (aPtr < end) {
    const a = <f64>load<f32>(aPtr);
    store<f32>(outPtr, <f32>(a + c * (<f64>load<f32>(bPtr) - a)));
  }
}

/** Two numbers of a + c · (b − a), as `interpolateF32` makes them. */
function between(a: v128, b: v128, factor: v128): v128 {
  return f32x4.demote_f64x2_zero(f64x2.add(a, f64x2.mul(factor, f64x2.sub(b, a))));
}

/** The change from a to a + c · (b − a). */
function change(a: f32, b: f32, c: f64): f32 {
  return <f32>(<f64>a + c * (<f64>b - <f64>a)) - a;
}

/**
 * out = base + the changes from a to a + c · (b − a), run after run those of the `run` numbers at each start; where
 * `columns` are given, those numbers counted from the start instead. As `interpolateF32`, `subtractF32` and
 * `addGatheredF32` one after the other, without what they leave between.
 */
export function addGatheredMoveF32(
  outPtr: usize, basePtr: usize, aPtr: usize, bPtr: usize, c: f64, startsPtr: usize, count: i32, run: i32, columnsPtr: usize,
): void {
  const bytes = (<usize>run) << 2;
  const vectorBytes = columnsPtr == 0 ? bytes & ~15 : 0;
  const factor = f64x2.splat(c);
  for (let i: i32 = 0; i < count; i++) {
    const start = (<usize>load<i32>(startsPtr + ((<usize>i) << 2))) << 2;
    let x: usize = 0;
    for (; x < vectorBytes; x += 16) {
      const a = v128.load(aPtr + start + x);
      const b = v128.load(bPtr + start + x);
      const low = between(f64x2.promote_low_f32x4(a), f64x2.promote_low_f32x4(b), factor);
      const high = between(
        f64x2.promote_low_f32x4(v128.shuffle<i64>(a, a, 1, 1)), f64x2.promote_low_f32x4(v128.shuffle<i64>(b, b, 1, 1)), factor,
      );
      const moved = f32x4.sub(v128.shuffle<i64>(low, high, 0, 2), a);
      v128.store(outPtr + x, f32x4.add(v128.load(basePtr + x), moved));
    }
    for (; x < bytes; x += 4) {
      const at = start + (columnsPtr == 0 ? x : (<usize>load<i32>(columnsPtr + x)) << 2);
      store<f32>(outPtr + x, load<f32>(basePtr + x) + change(load<f32>(aPtr + at), load<f32>(bPtr + at), c));
    }
    outPtr += bytes;
    basePtr += bytes;
  }
}

/** Two numbers of base + c · added, in f64 and rounded once. */
function shifted(base: v128, added: v128, factor: v128): v128 {
  return f32x4.demote_f64x2_zero(f64x2.add(f64x2.promote_low_f32x4(base), f64x2.mul(factor, f64x2.promote_low_f32x4(added))));
}

/**
 * out[r, i] = base[row, i] + c · added[row, columns[i]] for each of `count` rows of `width`, which begin at starts[r] in base and in
 * added; without `columns` added[row, i]. Each in f64 and rounded once.
 */
export function shiftRowsF32(
  outPtr: usize, basePtr: usize, addedPtr: usize, c: f64, startsPtr: usize, count: i32, width: i32, columnsPtr: usize,
): void {
  const bytes = (<usize>width) << 2;
  const vectorBytes = bytes & ~15;
  const factor = f64x2.splat(c);
  for (let r: i32 = 0; r < count; r++) {
    const start = (<usize>load<i32>(startsPtr + ((<usize>r) << 2))) << 2;
    const rowPtr = basePtr + start;
    const fromPtr = addedPtr + start;
    let x: usize = 0;
    for (; x < vectorBytes; x += 16) {
      const base = v128.load(rowPtr + x);
      let added: v128;
      if (columnsPtr == 0) added = v128.load(fromPtr + x);
      else {
        added = v128.load32_zero(fromPtr + ((<usize>load<i32>(columnsPtr + x)) << 2));
        added = v128.load32_lane(fromPtr + ((<usize>load<i32>(columnsPtr + x, 4)) << 2), added, 1);
        added = v128.load32_lane(fromPtr + ((<usize>load<i32>(columnsPtr + x, 8)) << 2), added, 2);
        added = v128.load32_lane(fromPtr + ((<usize>load<i32>(columnsPtr + x, 12)) << 2), added, 3);
      }
      const low = shifted(base, added, factor);
      const high = shifted(v128.shuffle<i64>(base, base, 1, 1), v128.shuffle<i64>(added, added, 1, 1), factor);
      v128.store(outPtr + x, v128.shuffle<i64>(low, high, 0, 2));
    }
    for (; x < bytes; x += 4) {
      const at = columnsPtr == 0 ? x : (<usize>load<i32>(columnsPtr + x)) << 2;
      store<f32>(outPtr + x, <f32>(<f64>load<f32>(rowPtr + x) + c * <f64>load<f32>(fromPtr + at)));
    }
    outPtr += bytes;
  }
}

/** out[i] = a[i] − b[i]. */
export function subtractF32(aPtr: usize, bPtr: usize, outPtr: usize, count: i32): void {
  const whole = aPtr + ((<usize>(count & ~3)) << 2);
  const end = aPtr + ((<usize>count) << 2);
  for (; aPtr < whole; aPtr += 16, bPtr += 16, outPtr += 16) v128.store(outPtr, f32x4.sub(v128.load(aPtr), v128.load(bPtr)));
  for (; aPtr < end; aPtr += 4, bPtr += 4, outPtr += 4) store<f32>(outPtr, load<f32>(aPtr) - load<f32>(bPtr));
}

/**
 * Adds to out, run after run, the `run` numbers of `from` at each start; where `columns` are given, those numbers
 * counted from the start instead.
 */
export function addGatheredF32(outPtr: usize, fromPtr: usize, startsPtr: usize, count: i32, run: i32, columnsPtr: usize): void {
  const bytes = (<usize>run) << 2;
  const vectorBytes = bytes & ~15;
  for (let i: i32 = 0; i < count; i++) {
    const startPtr = fromPtr + ((<usize>load<i32>(startsPtr + ((<usize>i) << 2))) << 2);
    let x: usize = 0;
    if (columnsPtr == 0) {
      for (; x < vectorBytes; x += 16) v128.store(outPtr + x, f32x4.add(v128.load(outPtr + x), v128.load(startPtr + x)));
      for (; x < bytes; x += 4) store<f32>(outPtr + x, load<f32>(outPtr + x) + load<f32>(startPtr + x));
    } else {
      for (; x < bytes; x += 4)
        store<f32>(outPtr + x, load<f32>(outPtr + x) + load<f32>(startPtr + ((<usize>load<i32>(columnsPtr + x)) << 2)));
    }
    outPtr += bytes;
  }
}
