// Depthwise filters as the strips of `depthwise-3x3*.ts` and `depthwise-large*.ts` read them: block by block of four channels, column by
// column of taps. Sums of filter gradients lie likewise.
import { Halves } from "./halves";

/** Blocks of four channels; the last one overlaps the one before where four do not divide. */
export function blocksOf(channels: i32): i32 {
  return (channels + 3) >> 2;
}

/** Bytes from a pixel's first channel to a block's. */
export function blockOffset(block: i32, channels: i32): usize {
  return (<usize>min(block << 2, channels - 4)) << 2;
}

/** toPtr [block][column][row][4] ← filter [kernel, kernel, channels]. */
export function packTaps(fromPtr: usize, toPtr: usize, kernel: i32, channels: i32): void {
  const pixelBytes = (<usize>channels) << 2;
  for (let block: i32 = 0; block < blocksOf(channels); block++) {
    const at = blockOffset(block, channels);
    for (let column: i32 = 0; column < kernel; column++) {
      for (let row: i32 = 0; row < kernel; row++) {
        v128.store(toPtr, v128.load(fromPtr + <usize>(row * kernel + column) * pixelBytes + at));
        toPtr += 16;
      }
    }
  }
}

/** Pixels of dy whose products one f32 sum of a filter gradient takes at most before it goes into f64. */
export const FLUSH_PIXELS: i32 = 256;

/** f64 sums += f32 sums, `sums` of four lanes; the latter are zeros then. */
export function flushSums(fromPtr: usize, toPtr: usize, sums: i32): void {
  const end = fromPtr + ((<usize>sums) << 4);
  for (; fromPtr < end; fromPtr += 16) {
    const sum = v128.load(fromPtr);
    Halves.addTo(toPtr, sum);
    v128.store(fromPtr, f32x4.splat(0));
    toPtr += 32;
  }
}

/** dw [kernel, kernel, channels] ← f64 sums [block][column][row][4]. */
export function unpackSums(sumsPtr: usize, dwPtr: usize, kernel: i32, channels: i32): void {
  const pixelBytes = (<usize>channels) << 2;
  for (let block: i32 = 0; block < blocksOf(channels); block++) {
    const at = blockOffset(block, channels);
    for (let column: i32 = 0; column < kernel; column++) {
      for (let row: i32 = 0; row < kernel; row++) {
        const low = f32x4.demote_f64x2_zero(v128.load(sumsPtr)), high = f32x4.demote_f64x2_zero(v128.load(sumsPtr, 16));
        v128.store(dwPtr + <usize>(row * kernel + column) * pixelBytes + at, v128.shuffle<i64>(low, high, 0, 2));
        sumsPtr += 32;
      }
    }
  }
}
