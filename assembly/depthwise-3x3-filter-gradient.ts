// Filter gradient of the depthwise 3×3 convolution without dilation, of stride 1 and 2: strips of rows of dy one after
// the other (`depthwise-3x3-sums.ts`).
import { copyRows } from "./cache-sets";
import { endInside, firstInside, stripPixelBytes, stripRowBytes } from "./depthwise-3x3";
import { stripRows, TAPS_BYTES } from "./depthwise-3x3-outputs";
import { columnSumsDown2, sumOfColumn, sumsDown } from "./depthwise-3x3-sums";
import { blockOffset, blocksOf, FLUSH_PIXELS, flushSums, unpackSums } from "./depthwise-taps";
import { rowOf } from "./depthwise";

/** Sums += a column of x by a column of a strip of dy, for strips of any stride. */
function columnOfStrip(
  rows: i32, stride: i32, first: usize, base: usize, last: usize, rowBytes: usize, dyPtr: usize, dyRowBytes: usize, sumsPtr: usize,
  blocks: i32,
): void {
  for (let row: i32 = 0; row < rows; row++) {
    const middle = base + <usize>(row * stride) * rowBytes;
    sumOfColumn(row > 0 ? middle - rowBytes : first, middle, row + 1 < rows ? middle + rowBytes : last, dyPtr, sumsPtr, blocks);
    dyPtr += dyRowBytes;
  }
}

/** Blocks [0, blocks) of columns [x, to) of a strip of `rows` rows of dy; first, base, last: as for `strip` of the outputs. */
function sumStrip(
  rows: i32, first: usize, base: usize, last: usize, rowBytes: usize, pixelBytes: usize, dyPtr: usize, dyRowBytes: usize,
  dyPixelBytes: usize, sumsPtr: usize, blocks: i32, x: i32, to: i32, width: i32, outWidth: i32, stride: i32, left: i32,
): void {
  const begin = firstInside(stride, left, outWidth), end = endInside(stride, left, width, outWidth);
  const from = x;
  for (; x < to; x++) {
    const column = x * stride - left + 1, dy = dyPtr + <usize>x * dyPixelBytes;
    if (x < begin || x >= end) {
      const at = <usize>(width - 1) * pixelBytes;
      if (column == -1) columnOfStrip(rows, stride, first, base, last, rowBytes, dy, dyRowBytes, sumsPtr + 96, blocks);
      else if (column == width) columnOfStrip(rows, stride, first + at, base + at, last + at, rowBytes, dy, dyRowBytes, sumsPtr, blocks);
      continue;
    }
    const at = <usize>column * pixelBytes, before = at - pixelBytes, behind = at + pixelBytes;
    if (stride == 1) {
      sumsDown(
        rows, first + before, base + before, last + before, rowBytes, pixelBytes, dy, dyRowBytes, sumsPtr, blocks, column > 0,
        column + 1 < width,
      );
      continue;
    }
    if (column > 0 && (x == begin || x == from)) {
      columnSumsDown2(rows, first + before, base + before, last + before, rowBytes, dy, dyRowBytes, 0, sumsPtr, blocks, false);
    }
    columnSumsDown2(rows, first + at, base + at, last + at, rowBytes, dy, dyRowBytes, 0, sumsPtr + 48, blocks, false);
    if (column + 1 < width) {
      const shared = x + 1 < min(to, end);
      columnSumsDown2(
        rows, first + behind, base + behind, last + behind, rowBytes, dy, dyRowBytes, dyPixelBytes, sumsPtr + 96, blocks, shared,
      );
    }
  }
}

/**
 * dw [3, 3, channels] = Σ x · dy, `channels` ≥ 4, left ≥ 0, by images, then strips of rows, then columns: lane by lane in
 * f32 over 256 pixels, these sums in f64. Scratch: `depthwise3ScratchBytes`.
 */
export function depthwise3FilterGradientF32(
  xPtr: usize, dyPtr: usize, dwPtr: usize, count: i32, height: i32, width: i32, channels: i32, outHeight: i32, outWidth: i32, stride: i32,
  top: i32, left: i32, scratchPtr: usize,
): void {
  const pixelBytes = (<usize>channels) << 2;
  const rowBytes = <usize>width * pixelBytes, dyRowBytes = <usize>outWidth * pixelBytes;
  const xPixelBytes = stripPixelBytes(width, pixelBytes, stride, scratchPtr);
  const xRowBytes = stripRowBytes(width, pixelBytes, stride, scratchPtr);
  const blocks = blocksOf(channels), whole = channels >> 2;
  const overlap = blockOffset(whole, channels), overlapSums = <usize>whole * TAPS_BYTES;
  const sumsPtr = scratchPtr + <usize>blocks * 2 * TAPS_BYTES;
  const zeroPtr = sumsPtr + <usize>blocks * TAPS_BYTES, copyPtr = zeroPtr + rowBytes;
  const begin = firstInside(stride, top, outHeight), end = endInside(stride, top, height, outHeight);
  memory.fill(scratchPtr, 0, <usize>blocks * 3 * TAPS_BYTES + rowBytes);
  let pixels: i32 = 0;
  for (let n: i32 = 0; n < count; n++) {
    for (let oy: i32 = 0; oy < outHeight;) {
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
      for (let x: i32 = 0; x < outWidth;) {
        if (pixels + rows > FLUSH_PIXELS) {
          flushSums(sumsPtr, scratchPtr, 9 * blocks);
          pixels = 0;
        }
        const to = min(outWidth, x + (FLUSH_PIXELS - pixels) / rows);
        sumStrip(
          rows, first, base, last, xRowBytes, xPixelBytes, dyPtr, dyRowBytes, pixelBytes, sumsPtr, whole, x, to, width, outWidth,
          stride, left,
        );
        if (blocks > whole) {
          sumStrip(
            rows, first + overlap, base + overlap, last + overlap, xRowBytes, xPixelBytes, dyPtr + overlap, dyRowBytes, pixelBytes,
            sumsPtr + overlapSums, 1, x, to, width, outWidth, stride, left,
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
  flushSums(sumsPtr, scratchPtr, 9 * blocks);
  unpackSums(scratchPtr, dwPtr, 3, channels);
}
