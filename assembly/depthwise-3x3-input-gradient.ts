// Input gradient of the depthwise 3×3 convolution of stride 2 without dilation. Two by two pixels of dx come from two
// by two of dy: one, two, two and four taps; each pixel is stored once. Tiles of such pairs of columns, channels
// innermost as in `depthwise-3x3-outputs.ts`.
import { blockOffset, blocksOf, packTaps } from "./depthwise-3x3";
import { TAPS_BYTES, tileColumns } from "./depthwise-3x3-outputs";
import { rowOf } from "./depthwise";
import { firstAhead, readAhead } from "./read-ahead";

// oxlint-disable-next-line typescript/no-extraneous-class -- the linter cannot read a decorated function
abstract class Tile {
  /**
   * `pairs` times two columns of two rows of dx, to0 and to1. a, b: the pixel of dy of the first pair in its two rows,
   * of which each pair takes two; `behind`: whether the last one lies in dy.
   */
  @inline
  static pairs(
    pairs: i32, aPtr: usize, bPtr: usize, to0Ptr: usize, to1Ptr: usize, tapsPtr: usize, blocks: i32, pixelBytes: usize, behind: bool,
  ): void {
    const end = tapsPtr + <usize>blocks * TAPS_BYTES;
    while (true) {
      const w0 = v128.load(tapsPtr), w1 = v128.load(tapsPtr, 16), w2 = v128.load(tapsPtr, 32);
      const w3 = v128.load(tapsPtr, 48), w4 = v128.load(tapsPtr, 64), w5 = v128.load(tapsPtr, 80);
      const w6 = v128.load(tapsPtr, 96), w7 = v128.load(tapsPtr, 112), w8 = v128.load(tapsPtr, 128);
      let a = aPtr + pixelBytes, b = bPtr + pixelBytes, to0 = to0Ptr, to1 = to1Ptr;
      let a0 = v128.load(aPtr), b0 = v128.load(bPtr), a1 = a0, b1 = b0;
      if (pairs > 1) {
        a1 = v128.load(a);
        b1 = v128.load(b);
        a += pixelBytes;
        b += pixelBytes;
        v128.store(to0, f32x4.mul(a0, w4));
        to0 += pixelBytes;
        v128.store(to0, f32x4.add(f32x4.mul(a0, w5), f32x4.mul(a1, w3)));
        to0 += pixelBytes;
        v128.store(to1, f32x4.add(f32x4.mul(a0, w7), f32x4.mul(b0, w1)));
        to1 += pixelBytes;
        v128.store(to1, f32x4.add(f32x4.add(f32x4.mul(a0, w8), f32x4.mul(a1, w6)), f32x4.add(f32x4.mul(b0, w2), f32x4.mul(b1, w0))));
        to1 += pixelBytes;
        a0 = a1;
        b0 = b1;
        a1 = v128.load(a);
        b1 = v128.load(b);
        a += pixelBytes;
        b += pixelBytes;
        v128.store(to0, f32x4.mul(a0, w4));
        to0 += pixelBytes;
        v128.store(to0, f32x4.add(f32x4.mul(a0, w5), f32x4.mul(a1, w3)));
        to0 += pixelBytes;
        v128.store(to1, f32x4.add(f32x4.mul(a0, w7), f32x4.mul(b0, w1)));
        to1 += pixelBytes;
        v128.store(to1, f32x4.add(f32x4.add(f32x4.mul(a0, w8), f32x4.mul(a1, w6)), f32x4.add(f32x4.mul(b0, w2), f32x4.mul(b1, w0))));
        to1 += pixelBytes;
        a0 = a1;
        b0 = b1;
        a1 = v128.load(a);
        b1 = v128.load(b);
        a += pixelBytes;
        b += pixelBytes;
        v128.store(to0, f32x4.mul(a0, w4));
        to0 += pixelBytes;
        v128.store(to0, f32x4.add(f32x4.mul(a0, w5), f32x4.mul(a1, w3)));
        to0 += pixelBytes;
        v128.store(to1, f32x4.add(f32x4.mul(a0, w7), f32x4.mul(b0, w1)));
        to1 += pixelBytes;
        v128.store(to1, f32x4.add(f32x4.add(f32x4.mul(a0, w8), f32x4.mul(a1, w6)), f32x4.add(f32x4.mul(b0, w2), f32x4.mul(b1, w0))));
        to1 += pixelBytes;
        a0 = a1;
        b0 = b1;
      }
      if (pairs > 4) {
        a1 = v128.load(a);
        b1 = v128.load(b);
        a += pixelBytes;
        b += pixelBytes;
        v128.store(to0, f32x4.mul(a0, w4));
        to0 += pixelBytes;
        v128.store(to0, f32x4.add(f32x4.mul(a0, w5), f32x4.mul(a1, w3)));
        to0 += pixelBytes;
        v128.store(to1, f32x4.add(f32x4.mul(a0, w7), f32x4.mul(b0, w1)));
        to1 += pixelBytes;
        v128.store(to1, f32x4.add(f32x4.add(f32x4.mul(a0, w8), f32x4.mul(a1, w6)), f32x4.add(f32x4.mul(b0, w2), f32x4.mul(b1, w0))));
        to1 += pixelBytes;
        a0 = a1;
        b0 = b1;
        a1 = v128.load(a);
        b1 = v128.load(b);
        a += pixelBytes;
        b += pixelBytes;
        v128.store(to0, f32x4.mul(a0, w4));
        to0 += pixelBytes;
        v128.store(to0, f32x4.add(f32x4.mul(a0, w5), f32x4.mul(a1, w3)));
        to0 += pixelBytes;
        v128.store(to1, f32x4.add(f32x4.mul(a0, w7), f32x4.mul(b0, w1)));
        to1 += pixelBytes;
        v128.store(to1, f32x4.add(f32x4.add(f32x4.mul(a0, w8), f32x4.mul(a1, w6)), f32x4.add(f32x4.mul(b0, w2), f32x4.mul(b1, w0))));
        to1 += pixelBytes;
        a0 = a1;
        b0 = b1;
        a1 = v128.load(a);
        b1 = v128.load(b);
        a += pixelBytes;
        b += pixelBytes;
        v128.store(to0, f32x4.mul(a0, w4));
        to0 += pixelBytes;
        v128.store(to0, f32x4.add(f32x4.mul(a0, w5), f32x4.mul(a1, w3)));
        to0 += pixelBytes;
        v128.store(to1, f32x4.add(f32x4.mul(a0, w7), f32x4.mul(b0, w1)));
        to1 += pixelBytes;
        v128.store(to1, f32x4.add(f32x4.add(f32x4.mul(a0, w8), f32x4.mul(a1, w6)), f32x4.add(f32x4.mul(b0, w2), f32x4.mul(b1, w0))));
        to1 += pixelBytes;
        a0 = a1;
        b0 = b1;
      }
      a1 = f32x4.splat(0);
      b1 = a1;
      if (behind) {
        a1 = v128.load(a);
        b1 = v128.load(b);
      }
      v128.store(to0, f32x4.mul(a0, w4));
      v128.store(to0 + pixelBytes, f32x4.add(f32x4.mul(a0, w5), f32x4.mul(a1, w3)));
      v128.store(to1, f32x4.add(f32x4.mul(a0, w7), f32x4.mul(b0, w1)));
      v128.store(
        to1 + pixelBytes, f32x4.add(f32x4.add(f32x4.mul(a0, w8), f32x4.mul(a1, w6)), f32x4.add(f32x4.mul(b0, w2), f32x4.mul(b1, w0))),
      );
      aPtr += 16;
      bPtr += 16;
      to0Ptr += 16;
      to1Ptr += 16;
      tapsPtr += TAPS_BYTES;
      if (tapsPtr == end) break;
    }
  }
}

function pairs7(
  a: usize, b: usize, to0: usize, to1: usize, tapsPtr: usize, blocks: i32, pixelBytes: usize, behind: bool,
): void {
  Tile.pairs(7, a, b, to0, to1, tapsPtr, blocks, pixelBytes, behind);
}

function pairs4(
  a: usize, b: usize, to0: usize, to1: usize, tapsPtr: usize, blocks: i32, pixelBytes: usize, behind: bool,
): void {
  Tile.pairs(4, a, b, to0, to1, tapsPtr, blocks, pixelBytes, behind);
}

/** A pair of which only some pixels of dy, or one column, lie inside: the first column from pixel k, the second from k and k + 1. */
function pairAtRim(
  a: usize, b: usize, to0: usize, to1: usize, tapsPtr: usize, blocks: i32, pixelBytes: usize, hasThis: bool, hasNext: bool, first: bool,
  second: bool,
): void {
  const end = tapsPtr + <usize>blocks * TAPS_BYTES;
  const zero = f32x4.splat(0);
  const next = first ? pixelBytes : 0;
  for (; tapsPtr < end; tapsPtr += TAPS_BYTES) {
    const a0 = hasThis ? v128.load(a) : zero, b0 = hasThis ? v128.load(b) : zero;
    const a1 = hasNext ? v128.load(a + pixelBytes) : zero, b1 = hasNext ? v128.load(b + pixelBytes) : zero;
    if (first) {
      v128.store(to0, f32x4.mul(a0, v128.load(tapsPtr, 64)));
      v128.store(to1, f32x4.add(f32x4.mul(a0, v128.load(tapsPtr, 112)), f32x4.mul(b0, v128.load(tapsPtr, 16))));
    }
    if (second) {
      v128.store(to0 + next, f32x4.add(f32x4.mul(a0, v128.load(tapsPtr, 80)), f32x4.mul(a1, v128.load(tapsPtr, 48))));
      v128.store(
        to1 + next,
        f32x4.add(
          f32x4.add(f32x4.mul(a0, v128.load(tapsPtr, 128)), f32x4.mul(a1, v128.load(tapsPtr, 96))),
          f32x4.add(f32x4.mul(b0, v128.load(tapsPtr, 32)), f32x4.mul(b1, v128.load(tapsPtr))),
        ),
      );
    }
    a += 16;
    b += 16;
    to0 += 16;
    to1 += 16;
  }
}

/**
 * Pairs of the widest tile whose pixels of dx and of dy stay in the first cache while four turns use up their lines. A
 * distance of pixels that is a multiple of a large power of two leaves them few of its sets of lines (64 times 64
 * bytes; mostly 12 or 8 lines each), of which half as many again as fit still pay: tiles of four at 512 channels (14²:
 * 25.1 → 10.0 cycles), of one at 1024 (74 → 12.5).
 */
function widestTile(pixelBytes: usize): i32 {
  const lines = max(1, min(64, 4096 >> <i32>ctz(pixelBytes))) << 4;
  return lines >= 52 ? 7 : lines >= 31 ? 4 : 1;
}

/** Blocks [0, blocks) of two rows of dx, to0 and to1, from two of dy, a and b. */
function pairRow(
  a: usize, b: usize, to0: usize, to1: usize, tapsPtr: usize, blocks: i32, width: i32, outWidth: i32, left: i32, pixelBytes: usize,
): void {
  const widest = widestTile(pixelBytes);
  let k = (left - 1) >> 1;
  // 2k + 1 − left, the first column of a pair, is −1 or 0 at first.
  for (let x = 2 * k + 1 - left; x < width;) {
    const from = <usize>k * pixelBytes, to = <usize>max(x, 0) * pixelBytes;
    const inside = x < 0 || k < 0 ? 0 : min(outWidth - k, (width - x) >> 1);
    if (inside > 0) {
      const pairs = tileColumns(min(inside, widest));
      const behind = k + pairs < outWidth;
      if (pairs == 7) pairs7(a + from, b + from, to0 + to, to1 + to, tapsPtr, blocks, pixelBytes, behind);
      else if (pairs == 4) pairs4(a + from, b + from, to0 + to, to1 + to, tapsPtr, blocks, pixelBytes, behind);
      else pairAtRim(a + from, b + from, to0 + to, to1 + to, tapsPtr, blocks, pixelBytes, true, behind, true, true);
      k += pairs;
      x += 2 * pairs;
      continue;
    }
    pairAtRim(
      a + from, b + from, to0 + to, to1 + to, tapsPtr, blocks, pixelBytes, k >= 0 && k < outWidth, k + 1 >= 0 && k + 1 < outWidth, x >= 0,
      x + 1 < width,
    );
    k++;
    x += 2;
  }
}

/** dx [count, height, width, channels] of stride 2, `channels` ≥ 4, top and left ≥ 0. Scratch: `depthwise3ScratchBytes`. */
export function depthwise3InputGradientF32(
  dyPtr: usize, weightPtr: usize, dxPtr: usize, count: i32, height: i32, width: i32, channels: i32, outHeight: i32, outWidth: i32,
  top: i32, left: i32, scratchPtr: usize,
): void {
  const pixelBytes = (<usize>channels) << 2;
  const rowBytes = <usize>width * pixelBytes, outRowBytes = <usize>outWidth * pixelBytes;
  const whole = channels >> 2;
  const overlap = blockOffset(whole, channels);
  // Rows of dx outside of it go to a row that nobody reads.
  const zeroPtr = scratchPtr + <usize>blocksOf(channels) * TAPS_BYTES, sinkPtr = zeroPtr + outRowBytes;
  packTaps(weightPtr, scratchPtr, 9, channels);
  memory.fill(zeroPtr, 0, outRowBytes);
  const dyEndPtr = dyPtr + <usize>(count * outHeight) * outRowBytes, dxEndPtr = dxPtr + <usize>(count * height) * rowBytes;
  let dyAhead = firstAhead(dyPtr, dyEndPtr, dxEndPtr - dxPtr), dxAhead = firstAhead(dxPtr, dxEndPtr, dyEndPtr - dyPtr);
  const firstPair = (top - 1) >> 1, endPair = (height + top) >> 1;
  for (let n: i32 = 0; n < count; n++) {
    for (let m = firstPair; m < endPair; m++) {
      const y = 2 * m + 1 - top;
      const to0 = rowOf(dxPtr, sinkPtr, y, height, rowBytes), to1 = rowOf(dxPtr, sinkPtr, y + 1, height, rowBytes);
      const a = rowOf(dyPtr, zeroPtr, m, outHeight, outRowBytes), b = rowOf(dyPtr, zeroPtr, m + 1, outHeight, outRowBytes);
      dyAhead = readAhead(dyAhead, min(dyEndPtr, dyPtr + <usize>(m + 3) * outRowBytes));
      dxAhead = readAhead(dxAhead, min(dxEndPtr, dxPtr + <usize>(y + 2) * rowBytes));
      pairRow(a, b, to0, to1, scratchPtr, whole, width, outWidth, left, pixelBytes);
      if (blocksOf(channels) > whole) {
        pairRow(
          a + overlap, b + overlap, to0 + overlap, to1 + overlap, scratchPtr + <usize>whole * TAPS_BYTES, 1, width, outWidth, left,
          pixelBytes,
        );
      }
    }
    dyPtr += <usize>outHeight * outRowBytes;
    dxPtr += <usize>height * rowBytes;
  }
}
