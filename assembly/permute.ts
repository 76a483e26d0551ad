// Differences of gathered rows and columns: what a permutation that changed in a few places changes in an operand.
// Plain gathers need no kernel: the matrix product takes index tables (see matmul.ts).

/** out[r, j] = source[r, now[j]] − source[r, before[j]] for j < count; row strides in elements. */
export function gatherColumnDifferencesF32(
  sourcePtr: usize, sourceStride: i32, nowPtr: usize, beforePtr: usize, count: i32,
  outPtr: usize, outStride: i32, rows: i32,
): void {
  for (let r: i32 = 0; r < rows; r++) {
    for (let j: i32 = 0; j < count; j++) {
      const at = (<usize>j) << 2;
      const now = load<f32>(sourcePtr + ((<usize>load<i32>(nowPtr + at)) << 2));
      const before = load<f32>(sourcePtr + ((<usize>load<i32>(beforePtr + at)) << 2));
      store<f32>(outPtr + at, now - before);
    }
    sourcePtr += (<usize>sourceStride) << 2;
    outPtr += (<usize>outStride) << 2;
  }
}

/** out[i, :] = source[now[i], :] − source[before[i], :] for i < count; rows of `width` elements, contiguous. */
export function gatherRowDifferencesF32(
  sourcePtr: usize, nowPtr: usize, beforePtr: usize, count: i32, outPtr: usize, width: i32,
): void {
  const bytes = (<usize>width) << 2;
  const vectorBytes = bytes & ~15;
  for (let i: i32 = 0; i < count; i++) {
    const at = (<usize>i) << 2;
    const rowNowPtr = sourcePtr + (<usize>load<i32>(nowPtr + at)) * bytes;
    const rowBeforePtr = sourcePtr + (<usize>load<i32>(beforePtr + at)) * bytes;
    let x: usize = 0;
    for (; x < vectorBytes; x += 16) {
      v128.store(outPtr + x, f32x4.sub(v128.load(rowNowPtr + x), v128.load(rowBeforePtr + x)));
    }
    for (; x < bytes; x += 4) store<f32>(outPtr + x, load<f32>(rowNowPtr + x) - load<f32>(rowBeforePtr + x));
    outPtr += bytes;
  }
}
