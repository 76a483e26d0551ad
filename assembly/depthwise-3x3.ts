// Depthwise 3×3 convolution without dilation, of stride 1 and 2: outputs, and with the rotated filter the input
// gradient of stride 1. Rows are finished one after the other in tiles (`depthwise-3x3-outputs.ts`); the three rows
// under one stay in the caches, into which they are read ahead. Rows outside the image are a row of zeros, columns
// outside are left out.
import { outputOfColumn, outputTile, TAPS_BYTES, tileColumns } from "./depthwise-3x3-outputs";
import { copyRows, rowPixelBytes, rowsBytes, rowUnder } from "./depthwise-3x3-rows";
import { addRowF32 } from "./elementwise";
import { firstAhead, readAhead } from "./read-ahead";

/** Blocks of four channels; the last one overlaps the one before where four do not divide. */
export function blocksOf(channels: i32): i32 {
  return (channels + 3) >> 2;
}

/** Bytes from a pixel's first channel to a block's. */
export function blockOffset(block: i32, channels: i32): usize {
  return (<usize>min(block << 2, channels - 4)) << 2;
}

/** toPtr [block][taps][4] ← filter [taps, channels], or biases as one tap. */
export function packTaps(fromPtr: usize, toPtr: usize, taps: i32, channels: i32): void {
  const pixelBytes = (<usize>channels) << 2;
  for (let block: i32 = 0; block < blocksOf(channels); block++) {
    const at = blockOffset(block, channels);
    for (let tap: i32 = 0; tap < taps; tap++) {
      v128.store(toPtr, v128.load(fromPtr + <usize>tap * pixelBytes + at));
      toPtr += 16;
    }
  }
}

/** The first output of a row in whose window the middle column lies in the image. */
export function firstInside(stride: i32, left: i32, outWidth: i32): i32 {
  return left <= 1 ? 0 : min(outWidth, (left - 2 + stride) / stride);
}

/** The first one after that for which it lies behind the image. */
export function endInside(stride: i32, left: i32, width: i32, outWidth: i32): i32 {
  return max(firstInside(stride, left, outWidth), min(outWidth, (width - 2 + left + stride) / stride));
}

/** An output whose window's middle column lies outside of the row: at most one of the other two lies in it. */
function outputOutside(
  a: usize, b: usize, c: usize, toPtr: usize, tapsPtr: usize, blocks: i32, pixelBytes: usize, column: i32, width: i32,
): void {
  if (column == -1) outputOfColumn(a, b, c, toPtr, tapsPtr + 32, blocks);
  else if (column == width) {
    const last = <usize>(width - 1) * pixelBytes;
    outputOfColumn(a + last, b + last, c + last, toPtr, tapsPtr, blocks);
  } else memory.fill(toPtr, 0, (<usize>blocks) << 4);
}

/** Blocks [0, blocks) of a row of outputs; a, b, c: the three rows under it. */
function outputRow(
  a: usize, b: usize, c: usize, toPtr: usize, tapsPtr: usize, blocks: i32, width: i32, outWidth: i32, stride: i32, left: i32,
  pixelBytes: usize, outPixelBytes: usize, sinkPtr: usize,
): void {
  const first = firstInside(stride, left, outWidth), end = endInside(stride, left, width, outWidth);
  for (let x: i32 = 0; x < outWidth;) {
    const column = x * stride - left + 1;
    const to = toPtr + <usize>x * outPixelBytes;
    if (x < first || x >= end) {
      outputOutside(a, b, c, to, tapsPtr, blocks, pixelBytes, column, width);
      x++;
      continue;
    }
    const columns = tileColumns(end - x);
    const at = <usize>column * pixelBytes;
    outputTile(
      columns, stride, a + at, b + at, c + at, to, tapsPtr, blocks, pixelBytes, outPixelBytes, column > 0,
      column + (columns - 1) * stride + 1 < width, sinkPtr,
    );
    x += columns;
  }
}

/** Scratch of `depthwise3F32` and of the gradients: packed taps or sums, 16 bytes, and rows of zeros or of what is not wanted. */
export function depthwise3ScratchBytes(width: i32, outWidth: i32, channels: i32): i32 {
  const pixelBytes = (<usize>channels) << 2, widest = max(width, outWidth);
  return <i32>(<usize>(blocksOf(channels) * 9 * 48 + 16) + <usize>widest * pixelBytes + rowsBytes(widest, pixelBytes));
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
  const rowBytes = <usize>width * pixelBytes;
  const apart = rowPixelBytes(pixelBytes);
  const whole = channels >> 2;
  const overlap = blockOffset(whole, channels);
  const sinkPtr = scratchPtr + <usize>blocksOf(channels) * TAPS_BYTES;
  const rowsPtr = sinkPtr + 16;
  const endPtr = xPtr + <usize>(count * height) * rowBytes;
  const outEndPtr = outPtr + <usize>(count * outHeight * outWidth) * pixelBytes;
  let ahead = apart == pixelBytes ? firstAhead(xPtr, endPtr, outEndPtr - outPtr) : endPtr,
    outAhead = firstAhead(outPtr, outEndPtr, endPtr - xPtr);
  packTaps(weightPtr, scratchPtr, 9, channels);
  memory.fill(rowsPtr, 0, <usize>width * apart);
  for (let n: i32 = 0; n < count; n++) {
    let copied: i32 = 0;
    for (let oy: i32 = 0; oy < outHeight; oy++) {
      const y = oy * stride - top;
      const a = rowUnder(xPtr, rowsPtr, y, height, width, pixelBytes);
      const b = rowUnder(xPtr, rowsPtr, y + 1, height, width, pixelBytes);
      const c = rowUnder(xPtr, rowsPtr, y + 2, height, width, pixelBytes);
      if (apart != pixelBytes) copied = copyRows(xPtr, rowsPtr, copied, min(height, y + 3), width, pixelBytes);
      ahead = readAhead(ahead, min(endPtr, xPtr + <usize>(y + 3 + stride) * rowBytes));
      outAhead = readAhead(outAhead, outPtr + <usize>outWidth * pixelBytes);
      outputRow(a, b, c, outPtr, scratchPtr, whole, width, outWidth, stride, left, apart, pixelBytes, sinkPtr);
      if (blocksOf(channels) > whole) {
        outputRow(
          a + overlap, b + overlap, c + overlap, outPtr + overlap, scratchPtr + <usize>whole * TAPS_BYTES, 1, width, outWidth, stride, left,
          apart, pixelBytes, sinkPtr,
        );
      }
      if (biasPtr != 0) addRowF32(outPtr, biasPtr, outPtr, outWidth, channels);
      outPtr += <usize>outWidth * pixelBytes;
    }
    xPtr += <usize>height * rowBytes;
  }
}
