// Input gradient of the depthwise 3×3 convolution of stride 2 without dilation. Two by two pixels of dx come from two
// by two of dy: one, two, two and four taps; each pixel is stored once. Strips of pairs of rows from the left to the
// right, channels innermost, as in `depthwise-3x3-outputs.ts`: first the left pixel of a pair in all rows, then the right one, so
// that each row of dx is one stream that runs in order.
import { stripRows, TAPS_BYTES } from "./depthwise-3x3-outputs";
import { blockOffset, blocksOf, packTaps } from "./depthwise-taps";
import { rowOf } from "./depthwise";

// oxlint-disable-next-line typescript/no-extraneous-class -- the linter cannot read a decorated function
abstract class Strip {
  /** Left pixels of pairs that lie below one another. */
  @inline
  static left(
    pairs: i32, basePtr: usize, last: usize, dyRowBytes: usize, toPtr: usize, toLast: usize, rowBytes: usize, tapsPtr: usize, endPtr: usize,
  ): void {
    for (; tapsPtr < endPtr; tapsPtr += TAPS_BYTES) {
      const w1 = v128.load(tapsPtr, 48), w4 = v128.load(tapsPtr, 64), w7 = v128.load(tapsPtr, 80);
      let a = v128.load(basePtr), b = a, base = basePtr, to = toPtr;
      if (pairs > 1) {
        base += dyRowBytes;
        b = v128.load(base);
        v128.store(to, f32x4.mul(a, w4));
        to += rowBytes;
        v128.store(to, f32x4.add(f32x4.mul(a, w7), f32x4.mul(b, w1)));
        to += rowBytes;
        base += dyRowBytes;
        a = v128.load(base);
        v128.store(to, f32x4.mul(b, w4));
        to += rowBytes;
        v128.store(to, f32x4.add(f32x4.mul(b, w7), f32x4.mul(a, w1)));
        to += rowBytes;
      }
      if (pairs > 3) {
        base += dyRowBytes;
        b = v128.load(base);
        v128.store(to, f32x4.mul(a, w4));
        to += rowBytes;
        v128.store(to, f32x4.add(f32x4.mul(a, w7), f32x4.mul(b, w1)));
        to += rowBytes;
        a = b;
      }
      v128.store(to, f32x4.mul(a, w4));
      v128.store(toLast, f32x4.add(f32x4.mul(a, w7), f32x4.mul(v128.load(last), w1)));
      basePtr += 16;
      last += 16;
      toPtr += 16;
      toLast += 16;
    }
  }

  /** The pixel of the lower row from all four of dy. */
  @inline
  static lower(a: v128, b: v128, c: v128, d: v128, w0: v128, w2: v128, w6: v128, w8: v128): v128 {
    return f32x4.add(f32x4.add(f32x4.mul(a, w8), f32x4.mul(b, w6)), f32x4.add(f32x4.mul(c, w2), f32x4.mul(d, w0)));
  }

  /** Their right pixels: a and c of dy belong to the pair, b and d lie right of them. */
  @inline
  static right(
    pairs: i32, basePtr: usize, last: usize, dyRowBytes: usize, toPtr: usize, toLast: usize, pixelBytes: usize, rowBytes: usize,
    tapsPtr: usize, endPtr: usize,
  ): void {
    for (; tapsPtr < endPtr; tapsPtr += TAPS_BYTES) {
      const w0 = v128.load(tapsPtr), w2 = v128.load(tapsPtr, 96), w3 = v128.load(tapsPtr, 16), w5 = v128.load(tapsPtr, 112);
      const w6 = v128.load(tapsPtr, 32), w8 = v128.load(tapsPtr, 128);
      let a = v128.load(basePtr), b = v128.load(basePtr + pixelBytes), c = a, d = b, base = basePtr, to = toPtr;
      if (pairs > 1) {
        base += dyRowBytes;
        c = v128.load(base);
        d = v128.load(base + pixelBytes);
        v128.store(to, f32x4.add(f32x4.mul(a, w5), f32x4.mul(b, w3)));
        to += rowBytes;
        v128.store(to, Strip.lower(a, b, c, d, w0, w2, w6, w8));
        to += rowBytes;
        base += dyRowBytes;
        a = v128.load(base);
        b = v128.load(base + pixelBytes);
        v128.store(to, f32x4.add(f32x4.mul(c, w5), f32x4.mul(d, w3)));
        to += rowBytes;
        v128.store(to, Strip.lower(c, d, a, b, w0, w2, w6, w8));
        to += rowBytes;
      }
      if (pairs > 3) {
        base += dyRowBytes;
        c = v128.load(base);
        d = v128.load(base + pixelBytes);
        v128.store(to, f32x4.add(f32x4.mul(a, w5), f32x4.mul(b, w3)));
        to += rowBytes;
        v128.store(to, Strip.lower(a, b, c, d, w0, w2, w6, w8));
        to += rowBytes;
        a = c;
        b = d;
      }
      v128.store(to, f32x4.add(f32x4.mul(a, w5), f32x4.mul(b, w3)));
      v128.store(toLast, Strip.lower(a, b, v128.load(last), v128.load(last + pixelBytes), w0, w2, w6, w8));
      basePtr += 16;
      last += 16;
      toPtr += 16;
      toLast += 16;
    }
  }

  @inline
  static pair(
    pairs: i32, base: usize, last: usize, dyRowBytes: usize, to: usize, toLast: usize, pixelBytes: usize, rowBytes: usize, tapsPtr: usize,
    endPtr: usize,
  ): void {
    Strip.left(pairs, base, last, dyRowBytes, to, toLast, rowBytes, tapsPtr, endPtr);
    Strip.right(pairs, base, last, dyRowBytes, to + pixelBytes, toLast + pixelBytes, pixelBytes, rowBytes, tapsPtr, endPtr);
  }
}

/** Pairs whose four pixels of dy, of dx too, lie inside; `base`, `last`: the left ones of dy in the first row and below the strip. */
function pairsDown(
  pairs: i32, base: usize, last: usize, dyRowBytes: usize, to: usize, toLast: usize, pixelBytes: usize, rowBytes: usize, tapsPtr: usize,
  blocks: i32,
): void {
  const endPtr = tapsPtr + <usize>blocks * TAPS_BYTES;
  if (pairs == 4) Strip.pair(4, base, last, dyRowBytes, to, toLast, pixelBytes, rowBytes, tapsPtr, endPtr);
  else if (pairs == 3) Strip.pair(3, base, last, dyRowBytes, to, toLast, pixelBytes, rowBytes, tapsPtr, endPtr);
  else Strip.pair(1, base, last, dyRowBytes, to, toLast, pixelBytes, rowBytes, tapsPtr, endPtr);
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
      v128.store(to1, f32x4.add(f32x4.mul(a0, v128.load(tapsPtr, 80)), f32x4.mul(b0, v128.load(tapsPtr, 48))));
    }
    if (second) {
      v128.store(to0 + next, f32x4.add(f32x4.mul(a0, v128.load(tapsPtr, 112)), f32x4.mul(a1, v128.load(tapsPtr, 16))));
      v128.store(
        to1 + next,
        f32x4.add(
          f32x4.add(f32x4.mul(a0, v128.load(tapsPtr, 128)), f32x4.mul(a1, v128.load(tapsPtr, 32))),
          f32x4.add(f32x4.mul(b0, v128.load(tapsPtr, 96)), f32x4.mul(b1, v128.load(tapsPtr))),
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
 * Blocks [0, blocks) of `pairs` pairs of rows of dx. base, last: the rows of dy of the first pair and below the last one; to, toLast:
 * the first and the last row of dx.
 */
function strip(
  pairs: i32, base: usize, last: usize, to: usize, toLast: usize, tapsPtr: usize, blocks: i32, width: i32, outWidth: i32, left: i32,
  pixelBytes: usize,
): void {
  const rowBytes = <usize>width * pixelBytes, dyRowBytes = <usize>outWidth * pixelBytes;
  let k = (left - 1) >> 1;
  // 2k + 1 − left, the first column of a pair, is −1 or 0 at first.
  for (let x = 2 * k + 1 - left; x < width; x += 2) {
    const from = <usize>k * pixelBytes, at = <usize>max(x, 0) * pixelBytes;
    if (x >= 0 && x + 1 < width && k >= 0 && k + 1 < outWidth) {
      pairsDown(pairs, base + from, last + from, dyRowBytes, to + at, toLast + at, pixelBytes, rowBytes, tapsPtr, blocks);
    } else {
      for (let pair: i32 = 0; pair < pairs; pair++) {
        const a = base + <usize>pair * dyRowBytes, upper = to + <usize>(2 * pair) * rowBytes;
        const final = pair + 1 == pairs;
        pairAtRim(
          a + from, (final ? last : a + dyRowBytes) + from, upper + at, (final ? toLast : upper + rowBytes) + at, tapsPtr, blocks,
          pixelBytes,
          k >= 0 && k < outWidth, k + 1 >= 0 && k + 1 < outWidth, x >= 0, x + 1 < width,
        );
      }
    }
    k++;
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
  packTaps(weightPtr, scratchPtr, 3, channels);
  memory.fill(zeroPtr, 0, outRowBytes);
  const firstPair = (top - 1) >> 1, endPair = (height + top) >> 1;
  for (let n: i32 = 0; n < count; n++) {
    for (let m = firstPair; m < endPair;) {
      const y = 2 * m + 1 - top;
      // Of a strip of more than one pair all rows of dx lie inside, and all of dy but for the one below.
      const inside = m >= 0 && y >= 0 ? (height - y) >> 1 : 0;
      const pairs = inside > 0 ? stripRows(inside) : 1;
      const to = rowOf(dxPtr, sinkPtr, y, height, rowBytes), toLast = rowOf(dxPtr, sinkPtr, y + 2 * pairs - 1, height, rowBytes);
      const base = rowOf(dyPtr, zeroPtr, m, outHeight, outRowBytes), last = rowOf(dyPtr, zeroPtr, m + pairs, outHeight, outRowBytes);
      strip(pairs, base, last, to, toLast, scratchPtr, whole, width, outWidth, left, pixelBytes);
      if (blocksOf(channels) > whole) {
        strip(
          pairs, base + overlap, last + overlap, to + overlap, toLast + overlap, scratchPtr + <usize>whole * TAPS_BYTES, 1, width, outWidth,
          left, pixelBytes,
        );
      }
      m += pairs;
    }
    dyPtr += <usize>outHeight * outRowBytes;
    dxPtr += <usize>height * rowBytes;
  }
}
