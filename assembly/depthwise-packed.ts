// Depthwise convolution of stride 1 without dilation over packed strips (`depthwise-strip.ts`): outputs of 7×7 and 3×3 filters, which by the rotated
// filter are input gradients too, and filter gradients. Image by image, band by band, strip by strip. Packing costs as much as two
// fifths of a 3×3 pass: only where channels are so many that pixels fall into the same sets of the cache it is still the faster way.
import { blockOffset, blocksOf } from "./depthwise-3x3";
import { outputs3, outputs7, sums3, sums7 } from "./depthwise-passes";
import {
  inputPlaneBytes, mostBlocks, outputPlaneBytes, packBlocks, packStrip, stripBlocks, stripPitch, stripRows, unpackStrip,
} from "./depthwise-strip";

/** Positions whose products one f32 sum of the filter gradient takes before it goes into f64. */
const FLUSH_POSITIONS: i32 = 256;

/** Positions over which all seven rows of a 7×7 filter pass before the next: outputs and the rows they read stay in the first cache. */
const CHUNK_POSITIONS: i32 = 256;

/** Scratch of both functions below; `kernel` is 3 or 7. */
export function depthwisePackedScratchBytes(
  width: i32, channels: i32, outHeight: i32, outWidth: i32, kernel: i32, left: i32,
): usize {
  const pitch = stripPitch(width, outWidth, kernel, left);
  const rows = stripRows(outHeight, kernel, pitch, mostBlocks(channels));
  return <usize>(blocksOf(channels) * kernel * kernel * 32) + <usize>mostBlocks(channels) * outputPlaneBytes(rows, kernel, pitch) +
    <usize>mostBlocks(channels) * inputPlaneBytes(rows, kernel, pitch);
}

/**
 * A band of a block by a 7×7 filter, row of taps after row of taps. A pass spoils the six positions before its first: chunks come
 * last to first, and the next one writes what the one before it spoiled.
 */
function band7(xPtr: usize, pitchBytes: usize, tapsPtr: usize, outPtr: usize, positions: i32): void {
  for (let first = (positions - 1) / CHUNK_POSITIONS * CHUNK_POSITIONS; first >= 0; first -= CHUNK_POSITIONS) {
    const columns = min(CHUNK_POSITIONS, positions - first) + 6;
    const at = (<usize>first) << 4;
    for (let row: i32 = 0; row < 7; row++) {
      outputs7(xPtr + <usize>row * pitchBytes + at, tapsPtr + <usize>(row * 112), outPtr + at, columns, row > 0);
    }
  }
}

/**
 * y [count, outHeight, outWidth, channels] = Σ over taps of x · w, + bias; `channels` ≥ 4, `biasPtr` may be 0; kernel 3 or 7,
 * 0 ≤ left < kernel.
 */
export function depthwisePackedF32(
  xPtr: usize, weightPtr: usize, biasPtr: usize, outPtr: usize, count: i32, height: i32, width: i32, channels: i32, outHeight: i32,
  outWidth: i32, kernel: i32, top: i32, left: i32, scratchPtr: usize,
): void {
  const pixelBytes = (<usize>channels) << 2;
  const pitch = stripPitch(width, outWidth, kernel, left);
  const pitchBytes = (<usize>pitch) << 4;
  const band = stripRows(outHeight, kernel, pitch, mostBlocks(channels));
  const inputBytes = inputPlaneBytes(band, kernel, pitch), outputBytes = outputPlaneBytes(band, kernel, pitch);
  const taps = kernel * kernel;
  const blocks = blocksOf(channels);
  const biasesPtr = scratchPtr + <usize>(blocks * taps * 16);
  const outputsPtr = biasesPtr + <usize>(blocks * 16);
  const inputsPtr = outputsPtr + <usize>mostBlocks(channels) * outputBytes;
  const firstPtr = outputsPtr + (<usize>(kernel - 1) << 4);
  packBlocks(weightPtr, scratchPtr, taps, channels);
  if (biasPtr == 0) memory.fill(biasesPtr, 0, <usize>(blocks * 16));
  else packBlocks(biasPtr, biasesPtr, 1, channels);
  memory.fill(inputsPtr, 0, <usize>mostBlocks(channels) * inputBytes);
  for (let n: i32 = 0; n < count; n++) {
    for (let firstRow: i32 = 0; firstRow < outHeight; firstRow += band) {
      const rows = min(band, outHeight - firstRow);
      const positions = (rows - 1) * pitch + outWidth;
      let wide: i32 = 1;
      for (let block: i32 = 0; block < blocks; block += wide) {
        wide = stripBlocks(block, channels);
        const at = blockOffset(block, channels);
        packStrip(
          xPtr + at, inputsPtr, inputBytes, wide, firstRow - top, rows + kernel - 1, height, width, left, pitch, pixelBytes,
        );
        for (let i: i32 = 0; i < wide; i++) {
          const tapsPtr = scratchPtr + <usize>((block + i) * taps * 16);
          const planePtr = inputsPtr + <usize>i * inputBytes, toPtr = firstPtr + <usize>i * outputBytes;
          if (kernel == 7) band7(planePtr, pitchBytes, tapsPtr, toPtr, positions);
          else outputs3(planePtr, pitchBytes, tapsPtr, toPtr, positions + 2);
        }
        unpackStrip(
          firstPtr, outputBytes, wide, biasesPtr + <usize>(block * 16), outPtr + <usize>(firstRow * outWidth) * pixelBytes + at, rows, outWidth, pitch,
          pixelBytes,
        );
      }
    }
    xPtr += <usize>(height * width) * pixelBytes;
    outPtr += <usize>(outHeight * outWidth) * pixelBytes;
  }
}

/**
 * dw [kernel, kernel, channels] = Σ x · dy, sizes as above. Runs of 256 positions of a band are added up in f32 lane by lane, these sums in f64, by
 * images, then bands.
 */
export function depthwisePackedFilterGradientF32(
  xPtr: usize, dyPtr: usize, dwPtr: usize, count: i32, height: i32, width: i32, channels: i32, outHeight: i32, outWidth: i32,
  kernel: i32, top: i32, left: i32, scratchPtr: usize,
): void {
  const pixelBytes = (<usize>channels) << 2;
  const pitch = stripPitch(width, outWidth, kernel, left);
  const pitchBytes = (<usize>pitch) << 4;
  const band = stripRows(outHeight, kernel, pitch, mostBlocks(channels));
  const inputBytes = inputPlaneBytes(band, kernel, pitch), outputBytes = outputPlaneBytes(band, kernel, pitch);
  const taps = kernel * kernel;
  const blocks = blocksOf(channels);
  const outputsPtr = scratchPtr + <usize>(blocks * taps * 32);
  const inputsPtr = outputsPtr + <usize>mostBlocks(channels) * outputBytes;
  const firstPtr = outputsPtr + (<usize>(kernel - 1) << 4);
  // Columns after the last that still meet a pixel of dy.
  const behind = kernel - 1;
  memory.fill(scratchPtr, 0, <usize>(blocks * taps * 32) + <usize>mostBlocks(channels) * outputBytes + <usize>mostBlocks(channels) * inputBytes);
  for (let n: i32 = 0; n < count; n++) {
    for (let firstRow: i32 = 0; firstRow < outHeight; firstRow += band) {
      const rows = min(band, outHeight - firstRow);
      const positions = (rows - 1) * pitch + outWidth;
      let wide: i32 = 1;
      for (let block: i32 = 0; block < blocks; block += wide) {
        wide = stripBlocks(block, channels);
        const at = blockOffset(block, channels);
        packStrip(
          xPtr + at, inputsPtr, inputBytes, wide, firstRow - top, rows + kernel - 1, height, width, left, pitch, pixelBytes,
        );
        packStrip(
          dyPtr + at, firstPtr, outputBytes, wide, firstRow, rows, outHeight, outWidth, 0, pitch, pixelBytes,
        );
        for (let i: i32 = 0; i < wide; i++) {
          const planePtr = inputsPtr + <usize>i * inputBytes, gradientPtr = firstPtr + <usize>i * outputBytes;
          // What a higher band has left behind the last row.
          memory.fill(gradientPtr + ((<usize>positions) << 4), 0, (<usize>behind) << 4);
          const sumsPtr = scratchPtr + <usize>((block + i) * taps * 32);
          for (let first: i32 = 0; first < positions + behind; first += FLUSH_POSITIONS) {
            const columns = min(FLUSH_POSITIONS, positions + behind - first);
            const from = planePtr + ((<usize>first) << 4), by = gradientPtr + ((<usize>first) << 4);
            if (kernel == 7) {
              for (let row: i32 = 0; row < 7; row++) sums7(from + <usize>row * pitchBytes, by, sumsPtr + <usize>(row * 224), columns);
            } else sums3(from, pitchBytes, by, sumsPtr, columns);
          }
        }
      }
    }
    xPtr += <usize>(height * width) * pixelBytes;
    dyPtr += <usize>(outHeight * outWidth) * pixelBytes;
  }
  for (let block: i32 = 0; block < blocks; block++) {
    const at = blockOffset(block, channels);
    for (let tap: i32 = 0; tap < taps; tap++) {
      const low = f32x4.demote_f64x2_zero(v128.load(scratchPtr)), high = f32x4.demote_f64x2_zero(v128.load(scratchPtr, 16));
      v128.store(dwPtr + <usize>tap * pixelBytes + at, v128.shuffle<i64>(low, high, 0, 2));
      scratchPtr += 32;
    }
  }
}
