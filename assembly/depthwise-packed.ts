// Depthwise 7×7 convolution of stride 1 without dilation over packed strips (`depthwise-strip.ts`): outputs, which by
// the rotated filter are input gradients too, and filter gradients. Image by image, band by band, strip by strip. For
// 49 taps the copies cost little; for 3×3 they cost two fifths of a pass.
import { blockOffset, blocksOf, packTaps } from "./depthwise-3x3";
import { outputs7, sums7 } from "./depthwise-passes";
import {
  inputPlaneBytes, mostBlocks, outputPlaneBytes, packStrip, stripBlocks, stripPitch, stripRows, unpackStrip,
} from "./depthwise-strip";

const KERNEL: i32 = 7;
const TAPS: i32 = KERNEL * KERNEL;

/** Positions whose products one f32 sum of the filter gradient takes before it goes into f64. */
const FLUSH_POSITIONS: i32 = 256;

/** Positions over which all seven rows of a 7×7 filter pass before the next: outputs and the rows they read stay in the first cache. */
const CHUNK_POSITIONS: i32 = 256;

/** Scratch of both functions below. */
export function depthwisePackedScratchBytes(
  width: i32, channels: i32, outHeight: i32, outWidth: i32, left: i32,
): usize {
  const pitch = stripPitch(width, outWidth, KERNEL, left);
  const rows = stripRows(outHeight, KERNEL, pitch, mostBlocks(channels));
  return <usize>(blocksOf(channels) * TAPS * 32) + <usize>mostBlocks(channels) * outputPlaneBytes(rows, KERNEL, pitch) +
    <usize>mostBlocks(channels) * inputPlaneBytes(rows, KERNEL, pitch);
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
 * y [count, outHeight, outWidth, channels] = Σ over taps of x · w, + bias; `channels` ≥ 4, `biasPtr` may be 0,
 * 0 ≤ left ≤ 6.
 */
export function depthwisePackedF32(
  xPtr: usize, weightPtr: usize, biasPtr: usize, outPtr: usize, count: i32, height: i32, width: i32, channels: i32, outHeight: i32,
  outWidth: i32, top: i32, left: i32, scratchPtr: usize,
): void {
  const pixelBytes = (<usize>channels) << 2;
  const pitch = stripPitch(width, outWidth, KERNEL, left);
  const pitchBytes = (<usize>pitch) << 4;
  const band = stripRows(outHeight, KERNEL, pitch, mostBlocks(channels));
  const inputBytes = inputPlaneBytes(band, KERNEL, pitch), outputBytes = outputPlaneBytes(band, KERNEL, pitch);
  const blocks = blocksOf(channels);
  const biasesPtr = scratchPtr + <usize>(blocks * TAPS * 16);
  const outputsPtr = biasesPtr + <usize>(blocks * 16);
  const inputsPtr = outputsPtr + <usize>mostBlocks(channels) * outputBytes;
  const firstPtr = outputsPtr + (<usize>(KERNEL - 1) << 4);
  packTaps(weightPtr, scratchPtr, TAPS, channels);
  if (biasPtr == 0) memory.fill(biasesPtr, 0, <usize>(blocks * 16));
  else packTaps(biasPtr, biasesPtr, 1, channels);
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
          xPtr + at, inputsPtr, inputBytes, wide, firstRow - top, rows + KERNEL - 1, height, width, left, pitch, pixelBytes,
        );
        for (let i: i32 = 0; i < wide; i++) {
          const tapsPtr = scratchPtr + <usize>((block + i) * TAPS * 16);
          const planePtr = inputsPtr + <usize>i * inputBytes, toPtr = firstPtr + <usize>i * outputBytes;
          band7(planePtr, pitchBytes, tapsPtr, toPtr, positions);
        }
        unpackStrip(
          firstPtr, outputBytes, wide, biasesPtr + <usize>(block * 16), outPtr + <usize>(firstRow * outWidth) * pixelBytes + at, rows,
          outWidth, pitch,
          pixelBytes,
        );
      }
    }
    xPtr += <usize>(height * width) * pixelBytes;
    outPtr += <usize>(outHeight * outWidth) * pixelBytes;
  }
}

/**
 * dw [7, 7, channels] = Σ x · dy, sizes as above. Runs of 256 positions of a band are added up in f32 lane by lane, these sums in f64, by
 * images, then bands.
 */
export function depthwisePackedFilterGradientF32(
  xPtr: usize, dyPtr: usize, dwPtr: usize, count: i32, height: i32, width: i32, channels: i32, outHeight: i32, outWidth: i32,
  top: i32, left: i32, scratchPtr: usize,
): void {
  const pixelBytes = (<usize>channels) << 2;
  const pitch = stripPitch(width, outWidth, KERNEL, left);
  const pitchBytes = (<usize>pitch) << 4;
  const band = stripRows(outHeight, KERNEL, pitch, mostBlocks(channels));
  const inputBytes = inputPlaneBytes(band, KERNEL, pitch), outputBytes = outputPlaneBytes(band, KERNEL, pitch);
  const blocks = blocksOf(channels);
  const outputsPtr = scratchPtr + <usize>(blocks * TAPS * 32);
  const inputsPtr = outputsPtr + <usize>mostBlocks(channels) * outputBytes;
  const firstPtr = outputsPtr + (<usize>(KERNEL - 1) << 4);
  // Columns after the last that still meet a pixel of dy.
  const behind = KERNEL - 1;
  memory.fill(
    scratchPtr, 0, <usize>(blocks * TAPS * 32) + <usize>mostBlocks(channels) * outputBytes + <usize>mostBlocks(channels) * inputBytes,
  );
  for (let n: i32 = 0; n < count; n++) {
    for (let firstRow: i32 = 0; firstRow < outHeight; firstRow += band) {
      const rows = min(band, outHeight - firstRow);
      const positions = (rows - 1) * pitch + outWidth;
      let wide: i32 = 1;
      for (let block: i32 = 0; block < blocks; block += wide) {
        wide = stripBlocks(block, channels);
        const at = blockOffset(block, channels);
        packStrip(
          xPtr + at, inputsPtr, inputBytes, wide, firstRow - top, rows + KERNEL - 1, height, width, left, pitch, pixelBytes,
        );
        packStrip(
          dyPtr + at, firstPtr, outputBytes, wide, firstRow, rows, outHeight, outWidth, 0, pitch, pixelBytes,
        );
        for (let i: i32 = 0; i < wide; i++) {
          const planePtr = inputsPtr + <usize>i * inputBytes, gradientPtr = firstPtr + <usize>i * outputBytes;
          // What a higher band has left behind the last row.
          memory.fill(gradientPtr + ((<usize>positions) << 4), 0, (<usize>behind) << 4);
          const sumsPtr = scratchPtr + <usize>((block + i) * TAPS * 32);
          for (let first: i32 = 0; first < positions + behind; first += FLUSH_POSITIONS) {
            const columns = min(FLUSH_POSITIONS, positions + behind - first);
            const from = planePtr + ((<usize>first) << 4), by = gradientPtr + ((<usize>first) << 4);
            for (let row: i32 = 0; row < KERNEL; row++) sums7(from + <usize>row * pitchBytes, by, sumsPtr + <usize>(row * 224), columns);
          }
        }
      }
    }
    xPtr += <usize>(height * width) * pixelBytes;
    dyPtr += <usize>(outHeight * outWidth) * pixelBytes;
  }
  for (let block: i32 = 0; block < blocks; block++) {
    const at = blockOffset(block, channels);
    for (let tap: i32 = 0; tap < TAPS; tap++) {
      const low = f32x4.demote_f64x2_zero(v128.load(scratchPtr)), high = f32x4.demote_f64x2_zero(v128.load(scratchPtr, 16));
      v128.store(dwPtr + <usize>tap * pixelBytes + at, v128.shuffle<i64>(low, high, 0, 2));
      scratchPtr += 32;
    }
  }
}
