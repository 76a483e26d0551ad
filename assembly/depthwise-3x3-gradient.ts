// Depthwise 3×3 convolution without dilation: the filter gradient of stride 1 and the input gradient of stride 2. Bands and blocks as in
// `depthwise-3x3.ts`, whose rules on loops hold here too: nine sums, or nine taps, stay in registers.
import { bandRows, blockOffset, blocksOf, packTaps } from "./depthwise-3x3";

/** Output pixels whose products one f32 sum takes before it goes into f64. */
const FLUSH_PIXELS: i32 = 64;

/** Four f64 sums += the lanes of an f32 sum. */
function addLanes(sumsPtr: usize, sum: v128): void {
  v128.store(sumsPtr, f64x2.add(v128.load(sumsPtr), f64x2.promote_low_f32x4(sum)));
  v128.store(sumsPtr, f64x2.add(v128.load(sumsPtr, 16), f64x2.promote_low_f32x4(v128.shuffle<i64>(sum, sum, 1, 1))), 16);
}

/**
 * Sums [9][4] (f64) of a block += over output rows [firstRow, endRow), stride 1, 0 ≤ left ≤ 2: each column of x meets three of dy.
 * No break on `a` is ever taken: they end basic blocks, or V8 moves loads to the front and spills (in the first cache 21 GFLOP/s for 33).
 */
function sums1(
  imagePtr: usize, dyPtr: usize, sumsPtr: usize, zeroPtr: usize, firstRow: i32, endRow: i32, height: i32, width: i32, outWidth: i32,
  top: i32, left: i32, pixelBytes: usize,
): void {
  const rowBytes = <usize>width * pixelBytes;
  // Columns of x that dy's pixel of the first tap lies over, and those, two at most, that it has left.
  const over = min(width, outWidth - left);
  const behind = min(width, outWidth - left + 2);
  let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0, s8 = s0;
  for (let oy = firstRow; oy < endRow; oy++) {
    const row = oy - top;
    let a = row >= 0 && row < height ? imagePtr + <usize>row * rowBytes : zeroPtr;
    let b = row + 1 >= 0 && row + 1 < height ? imagePtr + <usize>(row + 1) * rowBytes : zeroPtr;
    let c = row + 2 >= 0 && row + 2 < height ? imagePtr + <usize>(row + 2) * rowBytes : zeroPtr;
    let gradientPtr = dyPtr + <usize>(oy * outWidth) * pixelBytes;
    let d0 = f32x4.splat(0), d1 = d0, d2 = d0, x = d0;
    if (left == 2) {
      d2 = v128.load(gradientPtr);
      gradientPtr += pixelBytes;
    }
    if (left >= 1 && outWidth >= left) {
      d1 = v128.load(gradientPtr);
      gradientPtr += pixelBytes;
    }
    let column: i32 = 0;
    if (over > 0) {
      const end = gradientPtr + <usize>over * pixelBytes;
      while (true) {
        d0 = v128.load(gradientPtr);
        gradientPtr += pixelBytes;
        x = v128.load(a);
        s0 = f32x4.add(s0, f32x4.mul(x, d0));
        s1 = f32x4.add(s1, f32x4.mul(x, d1));
        s2 = f32x4.add(s2, f32x4.mul(x, d2));
        a += pixelBytes;
        if (a == 1) break;
        x = v128.load(b);
        s3 = f32x4.add(s3, f32x4.mul(x, d0));
        s4 = f32x4.add(s4, f32x4.mul(x, d1));
        s5 = f32x4.add(s5, f32x4.mul(x, d2));
        b += pixelBytes;
        if (a == 2) break;
        x = v128.load(c);
        s6 = f32x4.add(s6, f32x4.mul(x, d0));
        s7 = f32x4.add(s7, f32x4.mul(x, d1));
        s8 = f32x4.add(s8, f32x4.mul(x, d2));
        c += pixelBytes;
        if (gradientPtr == end) {
          d2 = d1;
          d1 = d0;
          break;
        }
        d2 = v128.load(gradientPtr);
        gradientPtr += pixelBytes;
        x = v128.load(a);
        s0 = f32x4.add(s0, f32x4.mul(x, d2));
        s1 = f32x4.add(s1, f32x4.mul(x, d0));
        s2 = f32x4.add(s2, f32x4.mul(x, d1));
        a += pixelBytes;
        if (a == 3) break;
        x = v128.load(b);
        s3 = f32x4.add(s3, f32x4.mul(x, d2));
        s4 = f32x4.add(s4, f32x4.mul(x, d0));
        s5 = f32x4.add(s5, f32x4.mul(x, d1));
        b += pixelBytes;
        if (a == 4) break;
        x = v128.load(c);
        s6 = f32x4.add(s6, f32x4.mul(x, d2));
        s7 = f32x4.add(s7, f32x4.mul(x, d0));
        s8 = f32x4.add(s8, f32x4.mul(x, d1));
        c += pixelBytes;
        if (gradientPtr == end) {
          d1 = d2;
          d2 = d0;
          break;
        }
        d1 = v128.load(gradientPtr);
        gradientPtr += pixelBytes;
        x = v128.load(a);
        s0 = f32x4.add(s0, f32x4.mul(x, d1));
        s1 = f32x4.add(s1, f32x4.mul(x, d2));
        s2 = f32x4.add(s2, f32x4.mul(x, d0));
        a += pixelBytes;
        if (a == 5) break;
        x = v128.load(b);
        s3 = f32x4.add(s3, f32x4.mul(x, d1));
        s4 = f32x4.add(s4, f32x4.mul(x, d2));
        s5 = f32x4.add(s5, f32x4.mul(x, d0));
        b += pixelBytes;
        if (a == 6) break;
        x = v128.load(c);
        s6 = f32x4.add(s6, f32x4.mul(x, d1));
        s7 = f32x4.add(s7, f32x4.mul(x, d2));
        s8 = f32x4.add(s8, f32x4.mul(x, d0));
        c += pixelBytes;
        if (gradientPtr == end) break;
      }
      column = over;
    }
    for (; column < behind; column++) {
      x = v128.load(a);
      s1 = f32x4.add(s1, f32x4.mul(x, d1));
      s2 = f32x4.add(s2, f32x4.mul(x, d2));
      a += pixelBytes;
      x = v128.load(b);
      s4 = f32x4.add(s4, f32x4.mul(x, d1));
      s5 = f32x4.add(s5, f32x4.mul(x, d2));
      b += pixelBytes;
      x = v128.load(c);
      s7 = f32x4.add(s7, f32x4.mul(x, d1));
      s8 = f32x4.add(s8, f32x4.mul(x, d2));
      c += pixelBytes;
      d2 = d1;
      d1 = f32x4.splat(0);
    }
  }
  addLanes(sumsPtr, s0);
  addLanes(sumsPtr + 32, s1);
  addLanes(sumsPtr + 64, s2);
  addLanes(sumsPtr + 96, s3);
  addLanes(sumsPtr + 128, s4);
  addLanes(sumsPtr + 160, s5);
  addLanes(sumsPtr + 192, s6);
  addLanes(sumsPtr + 224, s7);
  addLanes(sumsPtr + 256, s8);
}

/**
 * dw [3, 3, channels] = Σ x · dy, stride 1, `channels` ≥ 4, 0 ≤ left ≤ 2. Whole output rows of together 64 pixels are added up
 * in f32 lane by lane, these sums in f64, by images, then rows. Scratch: `depthwise3ScratchBytes`.
 */
export function depthwise3FilterGradientF32(
  xPtr: usize, dyPtr: usize, dwPtr: usize, count: i32, height: i32, width: i32, channels: i32, outHeight: i32, outWidth: i32,
  top: i32, left: i32, scratchPtr: usize,
): void {
  const pixelBytes = (<usize>channels) << 2;
  const rowBytes = <usize>width * pixelBytes, outRowBytes = <usize>outWidth * pixelBytes;
  const blocks = blocksOf(channels);
  const zeroPtr = scratchPtr + <usize>blocks * 288;
  memory.fill(scratchPtr, 0, <usize>blocks * 288 + rowBytes);
  const tile = max(1, FLUSH_PIXELS / outWidth);
  // Bands of whole tiles, so that the sums do not depend on them.
  const band = (bandRows(outHeight, rowBytes + outRowBytes) + tile - 1) / tile * tile;
  for (let n: i32 = 0; n < count; n++) {
    for (let bandRow: i32 = 0; bandRow < outHeight; bandRow += band) {
      const bandEnd = min(outHeight, bandRow + band);
      for (let block: i32 = 0; block < blocks; block++) {
        const at = blockOffset(block, channels);
        const sumsPtr = scratchPtr + <usize>block * 288;
        for (let firstRow = bandRow; firstRow < bandEnd; firstRow += tile) {
          const endRow = min(bandEnd, firstRow + tile);
          sums1(xPtr + at, dyPtr + at, sumsPtr, zeroPtr + at, firstRow, endRow, height, width, outWidth, top, left, pixelBytes);
        }
      }
    }
    xPtr += <usize>height * rowBytes;
    dyPtr += <usize>outHeight * outRowBytes;
  }
  for (let block: i32 = 0; block < blocks; block++) {
    const at = blockOffset(block, channels);
    for (let tap: i32 = 0; tap < 9; tap++) {
      const low = f32x4.demote_f64x2_zero(v128.load(scratchPtr)), high = f32x4.demote_f64x2_zero(v128.load(scratchPtr, 16));
      v128.store(dwPtr + <usize>tap * pixelBytes + at, v128.shuffle<i64>(low, high, 0, 2));
      scratchPtr += 32;
    }
  }
}

/**
 * Rows 2m + 1 − top and 2m + 2 − top of dx, m from firstPair to endPair, of a block; stride 2. Two by two pixels of dx come from two by two of
 * dy: one, two, two and four taps. What lies outside of dx goes to `sinkPtr`, a row long; dy outside comes from the row `zeroPtr`.
 */
function scatter2(
  dyPtr: usize, tapsPtr: usize, dxPtr: usize, zeroPtr: usize, sinkPtr: usize, firstPair: i32, endPair: i32, height: i32, width: i32,
  outHeight: i32, outWidth: i32, top: i32, left: i32, pixelBytes: usize,
): void {
  const w0 = v128.load(tapsPtr), w1 = v128.load(tapsPtr, 16), w2 = v128.load(tapsPtr, 32);
  const w3 = v128.load(tapsPtr, 48), w4 = v128.load(tapsPtr, 64), w5 = v128.load(tapsPtr, 80);
  const w6 = v128.load(tapsPtr, 96), w7 = v128.load(tapsPtr, 112), w8 = v128.load(tapsPtr, 128);
  const rowBytes = <usize>width * pixelBytes, outRowBytes = <usize>outWidth * pixelBytes;
  const firstColumn = (left - 1) >> 1;
  for (let m = firstPair; m < endPair; m++) {
    const row = 2 * m + 1 - top;
    let to0 = row >= 0 && row < height ? dxPtr + <usize>row * rowBytes : sinkPtr;
    let to1 = row + 1 >= 0 && row + 1 < height ? dxPtr + <usize>(row + 1) * rowBytes : sinkPtr;
    const rowA = m >= 0 && m < outHeight ? dyPtr + <usize>m * outRowBytes : zeroPtr;
    const rowB = m + 1 >= 0 && m + 1 < outHeight ? dyPtr + <usize>(m + 1) * outRowBytes : zeroPtr;
    let k = firstColumn;
    const from = <usize>k * pixelBytes;
    let a0 = k >= 0 && k < outWidth ? v128.load(rowA + from) : f32x4.splat(0);
    let b0 = k >= 0 && k < outWidth ? v128.load(rowB + from) : f32x4.splat(0);
    let a1 = a0, b1 = b0;
    // 2k + 1 − left of the first pair is −1 or 0.
    let x = 2 * k + 1 - left;
    while (x < width) {
      // Pairs whose two columns lie in dx, and the next of dy in dy.
      if (x >= 0 && k + 1 >= 0 && k + 1 < outWidth && x + 1 < width) {
        const pairs = min((width - x) >> 1, outWidth - 1 - k);
        let a = rowA + <usize>(k + 1) * pixelBytes, b = rowB + <usize>(k + 1) * pixelBytes;
        const end = a + <usize>pairs * pixelBytes;
        while (true) {
          a1 = v128.load(a);
          v128.store(to0, f32x4.mul(a0, w4));
          v128.store(to0 + pixelBytes, f32x4.add(f32x4.mul(a0, w5), f32x4.mul(a1, w3)));
          to0 += 2 * pixelBytes;
          b1 = v128.load(b);
          v128.store(to1, f32x4.add(f32x4.mul(a0, w7), f32x4.mul(b0, w1)));
          v128.store(to1 + pixelBytes, f32x4.add(f32x4.add(f32x4.mul(a0, w8), f32x4.mul(a1, w6)), f32x4.add(f32x4.mul(b0, w2), f32x4.mul(b1, w0))));
          to1 += 2 * pixelBytes;
          a += pixelBytes;
          b += pixelBytes;
          a0 = a1;
          b0 = b1;
          if (a == end) break;
        }
        k += pairs;
        x += 2 * pairs;
        continue;
      }
      const next = <usize>(k + 1) * pixelBytes;
      a1 = k + 1 >= 0 && k + 1 < outWidth ? v128.load(rowA + next) : f32x4.splat(0);
      b1 = k + 1 >= 0 && k + 1 < outWidth ? v128.load(rowB + next) : f32x4.splat(0);
      if (x >= 0) {
        v128.store(to0, f32x4.mul(a0, w4));
        v128.store(to1, f32x4.add(f32x4.mul(a0, w7), f32x4.mul(b0, w1)));
        to0 += pixelBytes;
        to1 += pixelBytes;
      }
      if (x + 1 >= 0 && x + 1 < width) {
        v128.store(to0, f32x4.add(f32x4.mul(a0, w5), f32x4.mul(a1, w3)));
        v128.store(to1, f32x4.add(f32x4.add(f32x4.mul(a0, w8), f32x4.mul(a1, w6)), f32x4.add(f32x4.mul(b0, w2), f32x4.mul(b1, w0))));
        to0 += pixelBytes;
        to1 += pixelBytes;
      }
      a0 = a1;
      b0 = b1;
      k++;
      x += 2;
    }
  }
}

/** dx [count, height, width, channels] of stride 2, `channels` ≥ 4, top and left ≥ 0, each pixel stored once. Scratch: `depthwise3ScratchBytes`. */
export function depthwise3InputGradientF32(
  dyPtr: usize, weightPtr: usize, dxPtr: usize, count: i32, height: i32, width: i32, channels: i32, outHeight: i32, outWidth: i32,
  top: i32, left: i32, scratchPtr: usize,
): void {
  const pixelBytes = (<usize>channels) << 2;
  const rowBytes = <usize>width * pixelBytes, outRowBytes = <usize>outWidth * pixelBytes;
  const blocks = blocksOf(channels);
  const zeroPtr = scratchPtr + <usize>blocks * 160;
  const sinkPtr = zeroPtr + outRowBytes;
  packTaps(weightPtr, 0, scratchPtr, 9, channels);
  memory.fill(zeroPtr, 0, outRowBytes);
  const firstRow = (top - 1) >> 1, endRow = (height + top) >> 1;
  const band = bandRows(endRow - firstRow, 2 * rowBytes + outRowBytes);
  for (let n: i32 = 0; n < count; n++) {
    for (let firstPair = firstRow; firstPair < endRow; firstPair += band) {
      const endPair = min(endRow, firstPair + band);
      for (let block: i32 = 0; block < blocks; block++) {
        const at = blockOffset(block, channels);
        scatter2(
          dyPtr + at, scratchPtr + <usize>block * 160, dxPtr + at, zeroPtr + at, sinkPtr + at, firstPair, endPair, height, width,
          outHeight, outWidth, top, left, pixelBytes,
        );
      }
    }
    dyPtr += <usize>outHeight * outRowBytes;
    dxPtr += <usize>height * rowBytes;
  }
}
