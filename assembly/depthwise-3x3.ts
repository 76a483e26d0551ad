// Depthwise 3×3 convolution without dilation, of stride 1 and 2: outputs, and with the rotated filter the input
// gradient of stride 1. Images are finished strip by strip of up to four rows, from the left to the right
// (`depthwise-3x3-outputs.ts`). Rows outside the image are a row of zeros, columns outside are left out: only a tap, or a pixel of dy
// in a filter gradient, that is infinite or NaN meets these zeros and makes NaN of them.
import { copyRows, mostWindowRowBytes, windowPixelBytes, windowRowBytes } from "./cache-sets";
import { addColumnDown2, outputOfColumn, MOST_ROWS, outputsDown, shareColumnDown2, stripRows, TAPS_BYTES } from "./depthwise-3x3-outputs";
import { blockOffset, blocksOf, packTaps } from "./depthwise-taps";
import { rowOf } from "./depthwise";
import { addRowF32 } from "./elementwise";

/** The first output of a row in whose window the middle column lies in the image; so, too, of a column the middle row. */
export function firstInside(stride: i32, left: i32, outWidth: i32): i32 {
  return left <= 1 ? 0 : min(outWidth, (left - 2 + stride) / stride);
}

/** The first one after that for which it lies behind the image. */
export function endInside(stride: i32, left: i32, width: i32, outWidth: i32): i32 {
  return max(firstInside(stride, left, outWidth), min(outWidth, (width - 2 + left + stride) / stride));
}

/** Outputs of one column of a strip, each of one column of its window, or 0 where that lies outside, too. */
function stripColumn(
  rows: i32, stride: i32, first: usize, base: usize, last: usize, rowBytes: usize, to: usize, toRowBytes: usize, tapsPtr: usize,
  blocks: i32, inside: bool,
): void {
  for (let row: i32 = 0; row < rows; row++) {
    if (!inside) memory.fill(to, 0, (<usize>blocks) << 4);
    else {
      const middle = base + <usize>(row * stride) * rowBytes;
      outputOfColumn(row > 0 ? middle - rowBytes : first, middle, row + 1 < rows ? middle + rowBytes : last, to, tapsPtr, blocks);
    }
    to += toRowBytes;
  }
}

/**
 * Blocks [0, blocks) of a strip of `rows` rows of outputs. first, base, last: the row above the middle row of the first outputs, that
 * row, and the one below the middle row of the last outputs.
 */
function strip(
  rows: i32, first: usize, base: usize, last: usize, rowBytes: usize, pixelBytes: usize, toPtr: usize, toRowBytes: usize,
  toPixelBytes: usize, tapsPtr: usize, blocks: i32, width: i32, outWidth: i32, stride: i32, left: i32, sinkPtr: usize,
): void {
  const begin = firstInside(stride, left, outWidth), end = endInside(stride, left, width, outWidth);
  for (let x: i32 = 0; x < outWidth; x++) {
    const column = x * stride - left + 1, to = toPtr + <usize>x * toPixelBytes;
    if (x < begin || x >= end) {
      // At most one of the other two columns lies in the row.
      const at = column == width ? <usize>(width - 1) * pixelBytes : 0;
      stripColumn(
        rows, stride, first + at, base + at, last + at, rowBytes, to, toRowBytes, column == width ? tapsPtr : tapsPtr + 96, blocks,
        column == width || column == -1,
      );
      continue;
    }
    const at = <usize>column * pixelBytes, before = at - pixelBytes, behind = at + pixelBytes;
    if (stride == 1) {
      outputsDown(
        rows, first + before, base + before, last + before, rowBytes, pixelBytes, to, toRowBytes, tapsPtr, blocks, column > 0,
        column + 1 < width, sinkPtr,
      );
      continue;
    }
    if (x == begin) {
      stripColumn(rows, 2, first + before, base + before, last + before, rowBytes, to, toRowBytes, tapsPtr, blocks, column > 0);
    }
    addColumnDown2(rows, first + at, base + at, last + at, rowBytes, to, toRowBytes, tapsPtr + 48, blocks);
    if (x + 1 < end) {
      shareColumnDown2(
        rows, first + behind, base + behind, last + behind, rowBytes, to, to + toPixelBytes, toRowBytes, tapsPtr, blocks,
      );
    } else if (column + 1 < width) {
      addColumnDown2(rows, first + behind, base + behind, last + behind, rowBytes, to, toRowBytes, tapsPtr + 96, blocks);
    }
  }
}

/**
 * Scratch of `depthwise3F32` and of the gradients: packed taps or sums, 16 bytes, a row of zeros, and a row of what is not wanted or,
 * with stride 1, a copy of the rows under the tallest strip.
 */
export function depthwise3ScratchBytes(width: i32, outWidth: i32, outHeight: i32, channels: i32, stride: i32): f64 {
  const rowBytes = <f64>max(width, outWidth) * <f64>channels * 4;
  const copyBytes = stride == 1 ? <f64>(min(outHeight, MOST_ROWS) + 2) * mostWindowRowBytes(width, channels) : rowBytes;
  return <f64>blocksOf(channels) * (9 * 48) + 16 + rowBytes + copyBytes;
}

/**
 * Bytes from one pixel to the next of what strips read: as in the image or, where many lines share a set (`cache-sets.ts`), in a copy.
 * With stride 2 a copy takes longer than it saves (256 channels at 56² 9 → 15 ns an output). `scratchPtr`: 64 bytes.
 */
export function stripPixelBytes(width: i32, pixelBytes: usize, stride: i32, scratchPtr: usize): usize {
  return stride == 1 ? windowPixelBytes(MOST_ROWS + 2, 3, width, pixelBytes, scratchPtr) : pixelBytes;
}

/** The same from one row to the next. */
export function stripRowBytes(width: i32, pixelBytes: usize, stride: i32, scratchPtr: usize): usize {
  return stride == 1 ? windowRowBytes(MOST_ROWS + 2, 3, width, pixelBytes, scratchPtr) : <usize>width * pixelBytes;
}

/**
 * y [count, outHeight, outWidth, channels] = Σ over taps of x · w, column by column of the taps, + bias; `channels` ≥
 * 4, `biasPtr` may be 0, left ≥ 0.
 */
export function depthwise3F32(
  xPtr: usize, weightPtr: usize, biasPtr: usize, outPtr: usize, count: i32, height: i32, width: i32, channels: i32, outHeight: i32,
  outWidth: i32, stride: i32, top: i32, left: i32, scratchPtr: usize,
): void {
  const pixelBytes = (<usize>channels) << 2;
  const rowBytes = <usize>width * pixelBytes, toRowBytes = <usize>outWidth * pixelBytes;
  const xPixelBytes = stripPixelBytes(width, pixelBytes, stride, scratchPtr);
  const xRowBytes = stripRowBytes(width, pixelBytes, stride, scratchPtr);
  const whole = channels >> 2;
  const overlap = blockOffset(whole, channels), overlapTaps = <usize>whole * TAPS_BYTES;
  const sinkPtr = scratchPtr + <usize>blocksOf(channels) * TAPS_BYTES;
  const zeroPtr = sinkPtr + 16, copyPtr = zeroPtr + rowBytes;
  const begin = firstInside(stride, top, outHeight), end = endInside(stride, top, height, outHeight);
  packTaps(weightPtr, scratchPtr, 3, channels);
  memory.fill(zeroPtr, 0, rowBytes);
  for (let n: i32 = 0; n < count; n++) {
    for (let oy: i32 = 0; oy < outHeight;) {
      // Rows between the first and the last one that a strip reads follow one another in the image.
      const rows = oy >= begin && oy < end ? stripRows(end - oy) : 1;
      const y = oy * stride - top;
      let first = rowOf(xPtr, zeroPtr, y, height, rowBytes), base = rowOf(xPtr, zeroPtr, y + 1, height, rowBytes);
      let last = rowOf(xPtr, zeroPtr, y + (rows - 1) * stride + 2, height, rowBytes);
      if (xRowBytes != rowBytes) {
        copyRows(xPtr, copyPtr, y, rows + 2, height, width, pixelBytes, xPixelBytes, xRowBytes);
        first = copyPtr;
        base = copyPtr + xRowBytes;
        last = copyPtr + <usize>(rows + 1) * xRowBytes;
      }
      strip(
        rows, first, base, last, xRowBytes, xPixelBytes, outPtr, toRowBytes, pixelBytes, scratchPtr, whole, width, outWidth, stride, left,
        sinkPtr,
      );
      if (blocksOf(channels) > whole) {
        strip(
          rows, first + overlap, base + overlap, last + overlap, xRowBytes, xPixelBytes, outPtr + overlap, toRowBytes, pixelBytes,
          scratchPtr + overlapTaps, 1, width, outWidth, stride, left, sinkPtr,
        );
      }
      if (biasPtr != 0) addRowF32(outPtr, biasPtr, outPtr, rows * outWidth, channels);
      outPtr += <usize>rows * toRowBytes;
      oy += rows;
    }
    xPtr += <usize>height * rowBytes;
  }
}
