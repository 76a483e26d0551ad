// Depthwise 5×5 and 7×7 convolutions of stride 1 without dilation: outputs, which by the rotated filter are input gradients too, and filter
// gradients. Images are passed strip by strip of up to seven rows, from the left to the right (`depthwise-large-strips.ts`). Rows of
// strips at the rim are copied, with zeros outside; columns outside are left out.
import { copyRows, mostWindowRowBytes, windowPixelBytes, windowRowBytes } from "./cache-sets";
import { blockBytes, columnBytes, largeOutputsDown, largeSumsDown, MOST_ROWS, outputRows, sumRows } from "./depthwise-large-strips";
import { blockOffset, blocksOf, FLUSH_PIXELS, flushSums, packTaps, unpackSums } from "./depthwise-taps";
import { addRowF32 } from "./elementwise";

/**
 * Blocks whose sums stay in the first cache: 19 KB. All 48 of 192 channels at 28² at once take 12.6 ns a pixel of dy in place of 10.8;
 * outputs only read taps, and are as fast with all.
 */
const SUM_BLOCKS: i32 = 24;

/** Scratch of both functions below: taps or sums, 16 bytes, and the rows under the tallest strip, of no more rows than there are. */
export function depthwiseLargeScratchBytes(kernel: i32, width: i32, channels: i32, outHeight: i32): f64 {
  const copyBytes = <f64>(min(outHeight, MOST_ROWS) + kernel - 1) * mostWindowRowBytes(width, channels);
  return <f64>blocksOf(channels) * <f64>(kernel * kernel * 48) + 16 + copyBytes;
}

/**
 * y [count, outHeight, outWidth, channels] = Σ over taps of x · w, column by column of the taps, + bias; `channels` ≥ 4, `biasPtr` may
 * be 0, left ≥ 0. `kernel`: 5 or 7.
 */
export function depthwiseLargeF32(
  kernel: i32, xPtr: usize, weightPtr: usize, biasPtr: usize, outPtr: usize, count: i32, height: i32, width: i32, channels: i32,
  outHeight: i32, outWidth: i32, top: i32, left: i32, scratchPtr: usize,
): void {
  const pixelBytes = (<usize>channels) << 2;
  const rowBytes = <usize>width * pixelBytes, outRowBytes = <usize>outWidth * pixelBytes;
  const stripPixelBytes = windowPixelBytes(MOST_ROWS + kernel - 1, kernel, width, pixelBytes, scratchPtr);
  const stripRowBytes = windowRowBytes(MOST_ROWS + kernel - 1, kernel, width, pixelBytes, scratchPtr);
  const whole = channels >> 2;
  const overlap = blockOffset(whole, channels), overlapTaps = <usize>whole * blockBytes(kernel);
  const sinkPtr = scratchPtr + <usize>blocksOf(channels) * blockBytes(kernel);
  const copyPtr = sinkPtr + 16;
  packTaps(weightPtr, scratchPtr, kernel, channels);
  for (let n: i32 = 0; n < count; n++) {
    for (let oy: i32 = 0; oy < outHeight;) {
      const rows = outputRows(outHeight - oy);
      const y = oy - top, under = rows + kernel - 1, inPlace = stripRowBytes == rowBytes && y >= 0 && y + under <= height;
      const base = inPlace ? xPtr + <usize>y * rowBytes : copyPtr;
      if (!inPlace) copyRows(xPtr, copyPtr, y, under, height, width, pixelBytes, stripPixelBytes, stripRowBytes);
      for (let x: i32 = 0; x < outWidth; x++) {
        const to = outPtr + <usize>x * pixelBytes;
        const first = max(0, left - x), columns = min(kernel, width + left - x) - first;
        if (columns <= 0) {
          for (let row: i32 = 0; row < rows; row++) memory.fill(to + <usize>row * outRowBytes, 0, pixelBytes);
          continue;
        }
        const from = base + <usize>(x - left + first) * stripPixelBytes, tapsPtr = scratchPtr + <usize>first * columnBytes(kernel);
        largeOutputsDown(kernel, rows, from, stripRowBytes, stripPixelBytes, to, outRowBytes, tapsPtr, whole, columns, sinkPtr);
        if (blocksOf(channels) > whole) {
          largeOutputsDown(
            kernel, rows, from + overlap, stripRowBytes, stripPixelBytes, to + overlap, outRowBytes, tapsPtr + overlapTaps, 1, columns,
            sinkPtr,
          );
        }
      }
      if (biasPtr != 0) addRowF32(outPtr, biasPtr, outPtr, rows * outWidth, channels);
      outPtr += <usize>rows * outRowBytes;
      oy += rows;
    }
    xPtr += <usize>height * rowBytes;
  }
}

/** Blocks [0, blocks) of columns [x, to) of a strip of dy. */
function sumStrip(
  kernel: i32, rows: i32, base: usize, rowBytes: usize, pixelBytes: usize, dyPtr: usize, dyRowBytes: usize, dyPixelBytes: usize,
  sumsPtr: usize, blocks: i32, x: i32, to: i32, width: i32, left: i32, sinkPtr: usize,
): void {
  for (; x < to; x++) {
    const first = max(0, left - x), columns = min(kernel, width + left - x) - first;
    if (columns <= 0) continue;
    largeSumsDown(
      kernel, rows, base + <usize>(x - left + first) * pixelBytes, rowBytes, pixelBytes, dyPtr + <usize>x * dyPixelBytes, dyRowBytes,
      sumsPtr + <usize>first * columnBytes(kernel), blocks, columns, sinkPtr,
    );
  }
}

/**
 * dw [kernel, kernel, channels] = Σ x · dy, sizes as above, by images, then strips of rows, then columns: lane by lane in f32 over 256
 * pixels, these sums in f64.
 */
export function depthwiseLargeFilterGradientF32(
  kernel: i32, xPtr: usize, dyPtr: usize, dwPtr: usize, count: i32, height: i32, width: i32, channels: i32, outHeight: i32,
  outWidth: i32, top: i32, left: i32, scratchPtr: usize,
): void {
  const pixelBytes = (<usize>channels) << 2;
  const rowBytes = <usize>width * pixelBytes, dyRowBytes = <usize>outWidth * pixelBytes;
  const stripPixelBytes = windowPixelBytes(MOST_ROWS + kernel - 1, kernel, width, pixelBytes, scratchPtr);
  const stripRowBytes = windowRowBytes(MOST_ROWS + kernel - 1, kernel, width, pixelBytes, scratchPtr);
  const blocks = blocksOf(channels), whole = channels >> 2;
  const overlap = blockOffset(whole, channels), overlapSums = <usize>whole * blockBytes(kernel);
  const sumsPtr = scratchPtr + <usize>blocks * 2 * blockBytes(kernel);
  const sinkPtr = sumsPtr + <usize>blocks * blockBytes(kernel);
  const copyPtr = sinkPtr + 16;
  memory.fill(scratchPtr, 0, <usize>blocks * 3 * blockBytes(kernel));
  let pixels: i32 = 0;
  for (let n: i32 = 0; n < count; n++) {
    for (let oy: i32 = 0; oy < outHeight;) {
      const rows = sumRows(outHeight - oy, kernel);
      const y = oy - top, under = rows + kernel - 1, inPlace = stripRowBytes == rowBytes && y >= 0 && y + under <= height;
      const base = inPlace ? xPtr + <usize>y * rowBytes : copyPtr;
      if (!inPlace) copyRows(xPtr, copyPtr, y, under, height, width, pixelBytes, stripPixelBytes, stripRowBytes);
      for (let x: i32 = 0; x < outWidth;) {
        if (pixels + rows > FLUSH_PIXELS) {
          flushSums(sumsPtr, scratchPtr, kernel * kernel * blocks);
          pixels = 0;
        }
        const to = min(outWidth, x + (FLUSH_PIXELS - pixels) / rows);
        for (let block: i32 = 0; block < whole; block += SUM_BLOCKS) {
          const at = (<usize>block) << 4;
          sumStrip(
            kernel, rows, base + at, stripRowBytes, stripPixelBytes, dyPtr + at, dyRowBytes, pixelBytes,
            sumsPtr + <usize>block * blockBytes(kernel), min(SUM_BLOCKS, whole - block), x, to, width, left, sinkPtr,
          );
        }
        if (blocks > whole) {
          sumStrip(
            kernel, rows, base + overlap, stripRowBytes, stripPixelBytes, dyPtr + overlap, dyRowBytes, pixelBytes, sumsPtr + overlapSums, 1,
            x, to, width, left, sinkPtr,
          );
        }
        pixels += rows * (to - x);
        x = to;
      }
      dyPtr += <usize>rows * dyRowBytes;
      oy += rows;
    }
    xPtr += <usize>height * rowBytes;
  }
  flushSums(sumsPtr, scratchPtr, kernel * kernel * blocks);
  unpackSums(scratchPtr, dwPtr, kernel, channels);
}
