// What a convolution needs around the matrix product. Where no other form suits better, all three directions are `productF32` over a
// padded copy of one operand, addressed by a table of pixel offsets and a table of tap offsets, without an im2col matrix. Only the input
// gradient of a few channels has one, some windows at a time, and folds it.
import { transposeBlock } from "./layout";

/**
 * out [count, outHeight, outWidth, channels] at (top + y · stepY, left + x · stepX) = x[n, y, x]; positions outside are dropped
 * (negative `top` and `left` crop), everything else in `out` stays as it is unless `clear`, which makes it 0.
 */
export function placeImagesF32(
  xPtr: usize, outPtr: usize, count: i32, height: i32, width: i32, channels: i32,
  outHeight: i32, outWidth: i32, top: i32, left: i32, stepY: i32, stepX: i32, clear: bool,
): void {
  const pixelBytes = (<usize>channels) << 2;
  if (clear) memory.fill(outPtr, 0, <usize>count * outHeight * outWidth * pixelBytes);
  // First and last column that land inside.
  const firstX = left >= 0 ? 0 : (-left + stepX - 1) / stepX;
  const lastX = min(width - 1, (outWidth - 1 - left) >= 0 ? (outWidth - 1 - left) / stepX : -1);
  if (lastX < firstX) return;
  for (let n: i32 = 0; n < count; n++) {
    for (let y: i32 = 0; y < height; y++) {
      const outY = top + y * stepY;
      if (outY < 0 || outY >= outHeight) continue;
      let fromPtr = xPtr + (<usize>((n * height + y) * width + firstX)) * pixelBytes;
      let toPtr = outPtr + (<usize>((n * outHeight + outY) * outWidth + left + firstX * stepX)) * pixelBytes;
      if (stepX == 1) {
        memory.copy(toPtr, fromPtr, (<usize>(lastX - firstX + 1)) * pixelBytes);
        continue;
      }
      for (let x = firstX; x <= lastX; x++) {
        memory.copy(toPtr, fromPtr, pixelBytes);
        fromPtr += pixelBytes;
        toPtr += <usize>stepX * pixelBytes;
      }
    }
  }
}

/** Offsets in elements of the windows' first pixels in a padded image [count, height, width, channels]: one i32 for each output pixel. */
export function windowOffsets(
  tablePtr: usize, count: i32, height: i32, width: i32, channels: i32, outHeight: i32, outWidth: i32, strideY: i32, strideX: i32,
): void {
  for (let n: i32 = 0; n < count; n++) {
    for (let y: i32 = 0; y < outHeight; y++) {
      for (let x: i32 = 0; x < outWidth; x++) {
        store<i32>(tablePtr, ((n * height + y * strideY) * width + x * strideX) * channels);
        tablePtr += 4;
      }
    }
  }
}

/** Offsets of the taps inside a window, in the order (ky, kx, channel) over the first `groupChannels` channels. */
export function tapOffsets(
  tablePtr: usize, width: i32, channels: i32, kernelHeight: i32, kernelWidth: i32, groupChannels: i32, dilationY: i32, dilationX: i32,
): void {
  for (let ky: i32 = 0; ky < kernelHeight; ky++) {
    for (let kx: i32 = 0; kx < kernelWidth; kx++) {
      for (let c: i32 = 0; c < groupChannels; c++) {
        store<i32>(tablePtr, (ky * dilationY * width + kx * dilationX) * channels + c);
        tablePtr += 4;
      }
    }
  }
}

/**
 * The filter of the input gradient: some rows and columns of taps (first, step, count) in reverse, channels exchanged group by
 * group. weight [kernel height, kernelWidth, groupIn, out] → out [groups, countY, countX, groupOut, groupIn].
 */
export function rotateFilterF32(
  weightPtr: usize, outPtr: usize, kernelWidth: i32, firstY: i32, stepY: i32, countY: i32, firstX: i32, stepX: i32, countX: i32,
  groupIn: i32, outChannels: i32, groups: i32,
): void {
  const groupOut = outChannels / groups;
  for (let g: i32 = 0; g < groups; g++) {
    for (let v: i32 = countY - 1; v >= 0; v--) {
      for (let u: i32 = countX - 1; u >= 0; u--) {
        const tap = (firstY + v * stepY) * kernelWidth + firstX + u * stepX;
        const tapPtr = weightPtr + ((<usize>(tap * groupIn * outChannels + g * groupOut)) << 2);
        transposeBlock(tapPtr, (<usize>outChannels) << 2, outPtr, (<usize>groupIn) << 2, groupIn, groupOut);
        outPtr += (<usize>(groupIn * groupOut)) << 2;
      }
    }
  }
}

/**
 * image += patches: row `first + p` of all windows' patches [windows, kernelHeight · kernelWidth · channels] is added onto the window
 * it belongs to, for `windows` of them in order; an image [count, height, width, channels] has outHeight × outWidth windows.
 */
export function foldPatchesF32(
  patchesPtr: usize, imagePtr: usize, first: i32, windows: i32, outHeight: i32, outWidth: i32, height: i32, width: i32, channels: i32,
  kernelHeight: i32, kernelWidth: i32, strideY: i32, strideX: i32, dilationY: i32, dilationX: i32,
): void {
  const pixel = (<usize>channels) << 2;
  const row = pixel * width * dilationY;
  // Taps of a row of the kernel lie side by side unless dilated.
  const runs = dilationX == 1 ? 1 : kernelWidth;
  const run = (<usize>(dilationX == 1 ? kernelWidth * channels : channels)) << 2;
  for (let window = first; window < first + windows; window++) {
    const x = window % outWidth;
    const y = (window / outWidth) % outHeight;
    const n = window / (outWidth * outHeight);
    let rowPtr = imagePtr + (<usize>((n * height + y * strideY) * width + x * strideX)) * pixel;
    for (let ky: i32 = 0; ky < kernelHeight; ky++) {
      let toPtr = rowPtr;
      for (let kx: i32 = 0; kx < runs; kx++) {
        let at: usize = 0;
        for (; at + 16 <= run; at += 16) {
          v128.store(toPtr + at, f32x4.add(v128.load(toPtr + at), v128.load(patchesPtr + at)));
        }
        for (; at < run; at += 4) store<f32>(toPtr + at, load<f32>(toPtr + at) + load<f32>(patchesPtr + at));
        patchesPtr += run;
        toPtr += pixel * dilationX;
      }
      rowPtr += row;
    }
  }
}
