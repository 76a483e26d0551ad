// Sums a channel over the rows of [rows, channels], for batch norm and group norm: f32 within a block of sixteen rows, f64 over the
// blocks. Every channel is summed in the same order, wherever it stands: permuted channels, permuted sums.
// Rows are read one after the other, because the arrays come from memory. Eight channels of sixteen rows at a time, sums in registers,
// took 0.15 and 0.19 ns a value from the second cache but 0.5 and 1.0 from memory, where the processor then no longer reads ahead;
// in f64 throughout 0.33 and 0.36, and 0.65 and 1.1. In order: 0.22 and 0.26, and 0.25 and 0.32.
import { columnSumsF32 } from "./reduction";

const BLOCK_ROWS: i32 = 16;

// oxlint-disable-next-line typescript/no-extraneous-class -- the linter cannot read a decorated function
abstract class Two {
  /** Totals (f64) of two channels += Σ x and Σ x² of a block's `count` numbers x: s + n c and q + c (2 s + n c). */
  @inline
  static addMoments(sumPtr: usize, squarePtr: usize, s: v128, q: v128, c: v128, count: v128): void {
    const nc = f64x2.mul(count, c);
    v128.store(sumPtr, f64x2.add(v128.load(sumPtr), f64x2.add(s, nc)));
    v128.store(squarePtr, f64x2.add(v128.load(squarePtr), f64x2.add(q, f64x2.mul(c, f64x2.add(f64x2.add(s, s), nc)))));
  }

  /** The last two lanes, as the first two. */
  @inline
  static last(x: v128): v128 {
    return v128.shuffle<i64>(x, x, 1, 1);
  }
}

/** Bytes of scratch for `channelMomentsF32` and `channelGradientSumsF32`. */
export function channelSumsScratchBytes(channels: i32): i32 {
  return channels * 12;
}

/**
 * sums[j] (f64) += Σ_i x[i, j] and sums[channels + j] += Σ_i x[i, j]². A block's squares are taken about the mean of the block before
 * (the first block's about its first row): whatever the mean, a variance loses sixteen roundings of f32, 1e-6, at most; where the first
 * row is an outlier 1.6e-5.
 */
export function channelMomentsF32(xPtr: usize, rows: i32, channels: i32, sumsPtr: usize, scratchPtr: usize): void {
  const rowBytes = (<usize>channels) << 2;
  const centresPtr = scratchPtr + rowBytes * 2;
  memory.copy(centresPtr, xPtr, rowBytes);
  for (let first: i32 = 0; first < rows; first += BLOCK_ROWS) {
    const count = min(BLOCK_ROWS, rows - first);
    memory.fill(scratchPtr, 0, rowBytes * 2);
    for (let i: i32 = 0; i < count; i++) {
      addDeviations(xPtr, rowBytes, scratchPtr, scratchPtr + rowBytes, centresPtr);
      xPtr += rowBytes;
    }
    addMoments(sumsPtr, scratchPtr, scratchPtr + rowBytes, centresPtr, count, rowBytes);
  }
}

/** sums += x − centres and squares += (x − centres)². */
function addDeviations(xPtr: usize, rowBytes: usize, sumsPtr: usize, squaresPtr: usize, centresPtr: usize): void {
  let at: usize = 0;
  for (; at + 16 <= rowBytes; at += 16) {
    const x = f32x4.sub(v128.load(xPtr + at), v128.load(centresPtr + at));
    v128.store(sumsPtr + at, f32x4.add(v128.load(sumsPtr + at), x));
    v128.store(squaresPtr + at, f32x4.add(v128.load(squaresPtr + at), f32x4.mul(x, x)));
  }
  for (; at < rowBytes; at += 4) {
    const x = load<f32>(xPtr + at) - load<f32>(centresPtr + at);
    store<f32>(sumsPtr + at, load<f32>(sumsPtr + at) + x);
    store<f32>(squaresPtr + at, load<f32>(squaresPtr + at) + x * x);
  }
}

/** A block's sums and squares about its centres join the totals; the centres become the block's means. */
function addMoments(totalsPtr: usize, sumsPtr: usize, squaresPtr: usize, centresPtr: usize, count: i32, rowBytes: usize): void {
  const totalSquaresPtr = totalsPtr + rowBytes * 2;
  const inverse: f32 = 1 / <f32>count;
  const counts = f64x2.splat(<f64>count);
  let at: usize = 0;
  for (; at + 16 <= rowBytes; at += 16) {
    const s = v128.load(sumsPtr + at);
    const q = v128.load(squaresPtr + at);
    const c = v128.load(centresPtr + at);
    const sumPtr = totalsPtr + at * 2;
    const squarePtr = totalSquaresPtr + at * 2;
    Two.addMoments(sumPtr, squarePtr, f64x2.promote_low_f32x4(s), f64x2.promote_low_f32x4(q), f64x2.promote_low_f32x4(c), counts);
    Two.addMoments(
      sumPtr + 16, squarePtr + 16, f64x2.promote_low_f32x4(Two.last(s)), f64x2.promote_low_f32x4(Two.last(q)), f64x2.promote_low_f32x4(Two.last(c)), counts,
    );
    v128.store(centresPtr + at, f32x4.add(c, f32x4.mul(s, f32x4.splat(inverse))));
  }
  for (; at < rowBytes; at += 4) {
    const s = <f64>load<f32>(sumsPtr + at);
    const c = load<f32>(centresPtr + at);
    const nc = <f64>count * <f64>c;
    store<f64>(totalsPtr + at * 2, load<f64>(totalsPtr + at * 2) + (s + nc));
    store<f64>(totalSquaresPtr + at * 2, load<f64>(totalSquaresPtr + at * 2) + (<f64>load<f32>(squaresPtr + at) + <f64>c * (s + s + nc)));
    store<f32>(centresPtr + at, c + load<f32>(sumsPtr + at) * inverse);
  }
}

/** sums[j] (f64) += Σ_i dy[i, j] and sums[channels + j] += Σ_i dy[i, j] · (x[i, j] − mean[j]). */
export function channelGradientSumsF32(
  dyPtr: usize, xPtr: usize, rows: i32, channels: i32, meanPtr: usize, sumsPtr: usize, scratchPtr: usize,
): void {
  const rowBytes = (<usize>channels) << 2;
  for (let first: i32 = 0; first < rows; first += BLOCK_ROWS) {
    const count = min(BLOCK_ROWS, rows - first);
    memory.fill(scratchPtr, 0, rowBytes * 2);
    for (let i: i32 = 0; i < count; i++) {
      addProducts(dyPtr, xPtr, rowBytes, scratchPtr, scratchPtr + rowBytes, meanPtr);
      dyPtr += rowBytes;
      xPtr += rowBytes;
    }
    columnSumsF32(scratchPtr, 1, channels * 2, sumsPtr);
  }
}

/** sums += dy and products += dy · (x − means). */
function addProducts(dyPtr: usize, xPtr: usize, rowBytes: usize, sumsPtr: usize, productsPtr: usize, meansPtr: usize): void {
  let at: usize = 0;
  for (; at + 16 <= rowBytes; at += 16) {
    const dy = v128.load(dyPtr + at);
    v128.store(sumsPtr + at, f32x4.add(v128.load(sumsPtr + at), dy));
    const product = f32x4.mul(dy, f32x4.sub(v128.load(xPtr + at), v128.load(meansPtr + at)));
    v128.store(productsPtr + at, f32x4.add(v128.load(productsPtr + at), product));
  }
  for (; at < rowBytes; at += 4) {
    const dy = load<f32>(dyPtr + at);
    store<f32>(sumsPtr + at, load<f32>(sumsPtr + at) + dy);
    store<f32>(productsPtr + at, load<f32>(productsPtr + at) + dy * (load<f32>(xPtr + at) - load<f32>(meansPtr + at)));
  }
}
