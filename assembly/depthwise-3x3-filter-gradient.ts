// Filter gradient of the depthwise 3×3 convolution without dilation, of stride 1 and 2: rows of dy one after the other
// in tiles (`depthwise-3x3-sums.ts`).
import { blockOffset, blocksOf, endInside, firstInside } from "./depthwise-3x3";
import { tileColumns } from "./depthwise-3x3-outputs";
import { copyRows, rowPixelBytes, rowUnder } from "./depthwise-3x3-rows";
import { sumOfColumn, SUMS_BYTES, sumTile } from "./depthwise-3x3-sums";
import { Halves } from "./halves";
import { firstAhead, readAhead } from "./read-ahead";

/** Pixels of dy whose products one f32 sum takes before it goes into f64: whole rows of together so many, or one. */
const FLUSH_PIXELS: i32 = 64;

/** f64 sums += f32 sums, `sums` of four lanes; the latter are zeros then. */
function flush(fromPtr: usize, toPtr: usize, sums: i32): void {
  const end = fromPtr + ((<usize>sums) << 4);
  for (; fromPtr < end; fromPtr += 16) {
    const sum = v128.load(fromPtr);
    Halves.addTo(toPtr, sum);
    v128.store(fromPtr, f32x4.splat(0));
    toPtr += 32;
  }
}

/** Blocks [0, blocks) of a row of dy; a, b, c: the three rows of x under it. */
function sumRow(
  a: usize, b: usize, c: usize, dyPtr: usize, sumsPtr: usize, blocks: i32, width: i32, outWidth: i32, stride: i32, left: i32,
  pixelBytes: usize, dyPixelBytes: usize, sinkPtr: usize,
): void {
  const first = firstInside(stride, left, outWidth), end = endInside(stride, left, width, outWidth);
  for (let x: i32 = 0; x < outWidth;) {
    const column = x * stride - left + 1;
    const dy = dyPtr + <usize>x * dyPixelBytes;
    if (x < first || x >= end) {
      const last = <usize>(width - 1) * pixelBytes;
      if (column == -1) sumOfColumn(a, b, c, dy, sumsPtr + 32, blocks);
      else if (column == width) sumOfColumn(a + last, b + last, c + last, dy, sumsPtr, blocks);
      x++;
      continue;
    }
    const columns = tileColumns(end - x);
    const at = <usize>column * pixelBytes;
    sumTile(
      columns, stride, a + at, b + at, c + at, dy, sumsPtr, blocks, pixelBytes, dyPixelBytes, column > 0,
      column + (columns - 1) * stride + 1 < width, sinkPtr,
    );
    x += columns;
  }
}

/**
 * dw [3, 3, channels] = Σ x · dy, `channels` ≥ 4, left ≥ 0, by images, then rows, then columns: lane by lane in f32
 * over 64 pixels, these sums in f64. Scratch: `depthwise3ScratchBytes`.
 */
export function depthwise3FilterGradientF32(
  xPtr: usize, dyPtr: usize, dwPtr: usize, count: i32, height: i32, width: i32, channels: i32, outHeight: i32, outWidth: i32, stride: i32,
  top: i32, left: i32, scratchPtr: usize,
): void {
  const pixelBytes = (<usize>channels) << 2;
  const rowBytes = <usize>width * pixelBytes;
  const apart = rowPixelBytes(pixelBytes);
  const blocks = blocksOf(channels), whole = channels >> 2;
  const overlap = blockOffset(whole, channels);
  const sumsPtr = scratchPtr + <usize>blocks * 2 * SUMS_BYTES;
  const sinkPtr = sumsPtr + <usize>blocks * SUMS_BYTES;
  const rowsPtr = sinkPtr + 16;
  memory.fill(scratchPtr, 0, <usize>blocks * 3 * SUMS_BYTES + 16 + <usize>width * apart);
  const endPtr = xPtr + <usize>(count * height) * rowBytes, dyEndPtr = dyPtr + <usize>(count * outHeight * outWidth) * pixelBytes;
  let xAhead = apart == pixelBytes ? firstAhead(xPtr, endPtr, dyEndPtr - dyPtr) : endPtr,
    dyAhead = firstAhead(dyPtr, dyEndPtr, endPtr - xPtr);
  const tile = max(1, FLUSH_PIXELS / outWidth);
  for (let n: i32 = 0; n < count; n++) {
    let copied: i32 = 0;
    for (let oy: i32 = 0; oy < outHeight; oy++) {
      const y = oy * stride - top;
      const a = rowUnder(xPtr, rowsPtr, y, height, width, pixelBytes);
      const b = rowUnder(xPtr, rowsPtr, y + 1, height, width, pixelBytes);
      const c = rowUnder(xPtr, rowsPtr, y + 2, height, width, pixelBytes);
      if (apart != pixelBytes) copied = copyRows(xPtr, rowsPtr, copied, min(height, y + 3), width, pixelBytes);
      xAhead = readAhead(xAhead, min(endPtr, xPtr + <usize>(y + 3 + stride) * rowBytes));
      dyAhead = readAhead(dyAhead, min(dyEndPtr, dyPtr + <usize>(2 * outWidth) * pixelBytes));
      sumRow(a, b, c, dyPtr, sumsPtr, whole, width, outWidth, stride, left, apart, pixelBytes, sinkPtr);
      if (blocks > whole) {
        sumRow(
          a + overlap, b + overlap, c + overlap, dyPtr + overlap, sumsPtr + <usize>whole * SUMS_BYTES, 1, width, outWidth, stride,
          left, apart, pixelBytes, sinkPtr,
        );
      }
      if ((oy + 1) % tile == 0 || oy + 1 == outHeight) flush(sumsPtr, scratchPtr, 9 * blocks);
      dyPtr += <usize>outWidth * pixelBytes;
    }
    xPtr += <usize>height * rowBytes;
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
