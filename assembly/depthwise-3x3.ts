// Depthwise 3×3 convolution without dilation, of stride 1: output, and input gradient, which is the output
// of the rotated filter. A block of four channels passes over a band of rows, nine taps in registers, every column of three pixels
// loaded once. A band, its rows of both images together, stays in the second cache, where the next blocks find what is left
// of their cache lines; over one row at a time each line is waited for.
// V8 reorders loads and spills within a basic block, so a turn of a loop is one column: running sums move up by one as they are added to,
// which costs no instruction. Rows packed beforehand cost more than they gave (18 GFLOP/s for 25 at 56²). The other directions: `depthwise-3x3-gradient.ts`.

/** Bytes of both images that a band may take: half of the second cache (1 MB; 2 MB is common). Of stride 1 and 56²: a quarter 28, half 29, all 19 GFLOP/s. */
const BAND_BYTES: usize = 1 << 19;

/** Rows of each band of `rows` rows, of `bytes` in both images each; bands are about equal. */
export function bandRows(rows: i32, bytes: usize): i32 {
  const most = max<i32>(1, <i32>(BAND_BYTES / bytes));
  const bands = (rows + most - 1) / most;
  return (rows + bands - 1) / bands;
}

/** Blocks of four channels; the last one overlaps the one before where four do not divide. */
export function blocksOf(channels: i32): i32 {
  return (channels + 3) >> 2;
}

/** Bytes from a pixel's first channel to a block's. */
export function blockOffset(block: i32, channels: i32): usize {
  return (<usize>min(block << 2, channels - 4)) << 2;
}

/** toPtr [block][taps + 1][4] ← filter [taps, channels] and, last of a block, its biases (zeros where `biasPtr` is 0). */
export function packTaps(weightPtr: usize, biasPtr: usize, toPtr: usize, taps: i32, channels: i32): void {
  const pixelBytes = (<usize>channels) << 2;
  for (let block: i32 = 0; block < blocksOf(channels); block++) {
    const at = blockOffset(block, channels);
    for (let tap: i32 = 0; tap < taps; tap++) {
      v128.store(toPtr, v128.load(weightPtr + <usize>tap * pixelBytes + at));
      toPtr += 16;
    }
    v128.store(toPtr, biasPtr == 0 ? f32x4.splat(0) : v128.load(biasPtr + at));
    toPtr += 16;
  }
}

// oxlint-disable-next-line typescript/no-extraneous-class -- the linter cannot read a decorated function
abstract class Column {
  /** One column of three pixels by one column of three taps: a sum of its own, so that an output waits for three additions, not for nine. */
  @inline
  static sum(x: v128, y: v128, z: v128, u: v128, v: v128, w: v128): v128 {
    return f32x4.add(f32x4.add(f32x4.mul(x, u), f32x4.mul(y, v)), f32x4.mul(z, w));
  }
}

/** Output rows [firstRow, endRow) of a block, stride 1; 0 ≤ left ≤ 2. `zeroPtr`: a row of zeros. A bias of zeros costs 3 %. */
function block1(
  imagePtr: usize, tapsPtr: usize, outPtr: usize, zeroPtr: usize, firstRow: i32, endRow: i32, height: i32, width: i32, outWidth: i32,
  top: i32, left: i32, pixelBytes: usize,
): void {
  const w0 = v128.load(tapsPtr), w1 = v128.load(tapsPtr, 16), w2 = v128.load(tapsPtr, 32);
  const w3 = v128.load(tapsPtr, 48), w4 = v128.load(tapsPtr, 64), w5 = v128.load(tapsPtr, 80);
  const w6 = v128.load(tapsPtr, 96), w7 = v128.load(tapsPtr, 112), w8 = v128.load(tapsPtr, 128);
  const rowBytes = <usize>width * pixelBytes;
  // Outputs whose last column lies in the row.
  const inside = min(outWidth, width - 2 + left);
  for (let oy = firstRow; oy < endRow; oy++) {
    const row = oy - top;
    let a = row >= 0 && row < height ? imagePtr + <usize>row * rowBytes : zeroPtr;
    let b = row + 1 >= 0 && row + 1 < height ? imagePtr + <usize>(row + 1) * rowBytes : zeroPtr;
    let c = row + 2 >= 0 && row + 2 < height ? imagePtr + <usize>(row + 2) * rowBytes : zeroPtr;
    let toPtr = outPtr + <usize>(oy * outWidth) * pixelBytes;
    const end = toPtr + <usize>outWidth * pixelBytes;
    const bias = v128.load(tapsPtr, 144);
    let p = bias, q = bias;
    let x: v128, y: v128, z: v128;
    if (left == 0) {
      x = v128.load(a);
      y = v128.load(b);
      z = v128.load(c);
      p = f32x4.add(p, Column.sum(x, y, z, w0, w3, w6));
      a += pixelBytes;
      b += pixelBytes;
      c += pixelBytes;
    }
    if (left <= 1 && 1 - left < width) {
      x = v128.load(a);
      y = v128.load(b);
      z = v128.load(c);
      p = f32x4.add(p, Column.sum(x, y, z, w1, w4, w7));
      q = f32x4.add(q, Column.sum(x, y, z, w0, w3, w6));
      a += pixelBytes;
      b += pixelBytes;
      c += pixelBytes;
    }
    if (inside > 0) {
      const last = toPtr + <usize>inside * pixelBytes;
      while (true) {
        x = v128.load(a);
        y = v128.load(b);
        z = v128.load(c);
        a += pixelBytes;
        b += pixelBytes;
        c += pixelBytes;
        v128.store(toPtr, f32x4.add(p, Column.sum(x, y, z, w2, w5, w8)));
        p = f32x4.add(q, Column.sum(x, y, z, w1, w4, w7));
        q = f32x4.add(v128.load(tapsPtr, 144), Column.sum(x, y, z, w0, w3, w6));
        toPtr += pixelBytes;
        if (toPtr == last) break;
      }
    }
    // Columns behind the row add nothing.
    for (; toPtr < end; toPtr += pixelBytes) {
      v128.store(toPtr, p);
      p = q;
      q = bias;
    }
  }
}

/** Scratch of `depthwise3F32` and of the gradients: packed taps or sums, and rows of zeros or of what is not wanted. */
export function depthwise3ScratchBytes(width: i32, outWidth: i32, channels: i32): i32 {
  return blocksOf(channels) * 9 * 32 + blocksOf(channels) * 16 + 2 * max(width, outWidth) * channels * 4;
}

/**
 * y [count, outHeight, outWidth, channels] = bias + Σ over taps of x · w, column by column of the taps; `channels` ≥ 4, `biasPtr` may be
 * 0, 0 ≤ left ≤ 2.
 */
export function depthwise3F32(
  xPtr: usize, weightPtr: usize, biasPtr: usize, outPtr: usize, count: i32, height: i32, width: i32, channels: i32, outHeight: i32,
  outWidth: i32, top: i32, left: i32, scratchPtr: usize,
): void {
  const pixelBytes = (<usize>channels) << 2;
  const rowBytes = <usize>width * pixelBytes, outRowBytes = <usize>outWidth * pixelBytes;
  const blocks = blocksOf(channels);
  const zeroPtr = scratchPtr + <usize>blocks * 160;
  packTaps(weightPtr, biasPtr, scratchPtr, 9, channels);
  memory.fill(zeroPtr, 0, rowBytes);
  const band = bandRows(outHeight, rowBytes + outRowBytes);
  for (let n: i32 = 0; n < count; n++) {
    for (let firstRow: i32 = 0; firstRow < outHeight; firstRow += band) {
      const endRow = min(outHeight, firstRow + band);
      for (let block: i32 = 0; block < blocks; block++) {
        const at = blockOffset(block, channels);
        const tapsPtr = scratchPtr + <usize>block * 160;
        block1(xPtr + at, tapsPtr, outPtr + at, zeroPtr + at, firstRow, endRow, height, width, outWidth, top, left, pixelBytes);
      }
    }
    xPtr += <usize>height * rowBytes;
    outPtr += <usize>outHeight * outRowBytes;
  }
}
