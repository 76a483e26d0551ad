// Batch norm on [rows, channels]. Training mode has a kernel for the forward pass and one for the gradient; evaluation mode has one
// that takes given statistics. What is computed once per channel is computed here too: in JavaScript it took a third of the time of
// MobileNetV2's batch norms at half width.
import { Clamp } from "./elementwise";
import { Affine, normaliseF32, normaliseGradientF32 } from "./normalisation";
import { columnCrossMomentsF32, columnMomentsF32, Moments } from "./reduction";

/** Two f64 sums and three f32 numbers a channel. */
export function batchNormScratchBytes(channels: i32): i32 {
  return channels * 28;
}

/**
 * y = (x − mean) / √(variance + ε) · weight + shift by the rows' own mean and biased variance; where `ceiling` is not 0, a rectifier's
 * min(max(y, 0), ceiling) in the same pass. `statisticsPtr` [3, channels] ← mean, variance, weight / √(variance + ε).
 */
export function batchNormF32(
  xPtr: usize, yPtr: usize, rows: i32, channels: i32, weightPtr: usize, shiftPtr: usize, epsilon: f64, statisticsPtr: usize, ceiling: f32,
  scratchPtr: usize,
): void {
  const bytes = <usize>channels << 2;
  memory.fill(scratchPtr, 0, bytes * 4);
  columnMomentsF32(xPtr, rows, channels, scratchPtr);
  for (let at: usize = 0; at < bytes; at += 4) {
    const mean = load<f64>(scratchPtr + at * 2) / <f64>rows;
    // E[x²] − mean² cancels, which costs about 1e-16 · √rows · mean². At worst, with a mean of 10⁶ deviations (f32 then holds x
    // itself only to 6 % of a deviation), that is 5 % of the variance over 260,000 rows.
    const variance = max<f64>(0, load<f64>(scratchPtr + (bytes + at) * 2) / <f64>rows - mean * mean);
    store<f32>(statisticsPtr + at, <f32>mean);
    store<f32>(statisticsPtr + bytes + at, <f32>variance);
    store<f32>(statisticsPtr + bytes * 2 + at, slopeOf(weightPtr + at, variance, epsilon));
  }
  normaliseF32(xPtr, yPtr, rows, channels, statisticsPtr, statisticsPtr + bytes * 2, shiftPtr, ceiling);
}

/**
 * The same by the mean and variance at meanPtr and variancePtr [channels] each, as in evaluation mode. `slopesPtr` [channels] is written.
 * `yPtr` may be `xPtr`.
 */
export function batchNormByStatisticsF32(
  xPtr: usize, yPtr: usize, rows: i32, channels: i32, weightPtr: usize, shiftPtr: usize, epsilon: f64, meanPtr: usize, variancePtr: usize,
  ceiling: f32, slopesPtr: usize,
): void {
  const bytes = <usize>channels << 2;
  for (let at: usize = 0; at < bytes; at += 4) {
    store<f32>(slopesPtr + at, slopeOf(weightPtr + at, <f64>load<f32>(variancePtr + at), epsilon));
  }
  normaliseF32(xPtr, yPtr, rows, channels, meanPtr, slopesPtr, shiftPtr, ceiling);
}

function slopeOf(weightPtr: usize, variance: f64, epsilon: f64): f32 {
  return <f32>(<f64>load<f32>(weightPtr) / sqrt<f64>(variance + epsilon));
}

/**
 * dx, and the gradients of weight and shift [channels] each, of the forward pass that gave the statistics, its rectifier included. With
 * a = weight / √(variance + ε): dx = a · (dy − mean(dy) − (x − mean) · mean(dy · (x − mean)) / (variance + ε)). `dxPtr` may be `dyPtr`.
 */
export function batchNormGradientF32(
  dyPtr: usize, xPtr: usize, dxPtr: usize, rows: i32, channels: i32, weightPtr: usize, shiftPtr: usize, epsilon: f64, statisticsPtr: usize,
  ceiling: f32, weightGradientPtr: usize, shiftGradientPtr: usize, scratchPtr: usize,
): void {
  const bytes = <usize>channels << 2;
  const scalePtr = scratchPtr + bytes * 4, offsetPtr = scalePtr + bytes, slopePtr = offsetPtr + bytes;
  memory.fill(scratchPtr, 0, bytes * 4);
  if (ceiling == 0) columnCrossMomentsF32(dyPtr, xPtr, rows, channels, scratchPtr);
  else {
    rectifierGradientMomentsF32(
      dyPtr, xPtr, dxPtr, rows, channels, statisticsPtr, statisticsPtr + bytes * 2, shiftPtr, ceiling, scratchPtr,
    );
    dyPtr = dxPtr;
  }
  for (let at: usize = 0; at < bytes; at += 4) {
    const sum = load<f64>(scratchPtr + at * 2);
    // Σ dy · (x − mean)
    const product = load<f64>(scratchPtr + (bytes + at) * 2) - <f64>load<f32>(statisticsPtr + at) * sum;
    const inverse = 1 / sqrt<f64>(<f64>load<f32>(statisticsPtr + bytes + at) + epsilon);
    // The inverse comes from the variance as it was stored in f32, not from the forward pass's scale. Both are accurate, but only
    // this one breaks the ties of convbn4's max poolings as PyTorch does (off by 1.8e-6 after an epoch instead of 1.6e-2).
    const scale = inverse * <f64>load<f32>(weightPtr + at);
    store<f32>(scalePtr + at, <f32>scale);
    store<f32>(offsetPtr + at, <f32>(scale * sum / <f64>rows));
    store<f32>(slopePtr + at, <f32>(scale * (inverse * inverse) * product / <f64>rows));
    store<f32>(weightGradientPtr + at, <f32>(product * inverse));
    store<f32>(shiftGradientPtr + at, <f32>sum);
  }
  normaliseGradientF32(dyPtr, xPtr, dxPtr, rows, channels, statisticsPtr, scalePtr, offsetPtr, slopePtr);
}

// oxlint-disable-next-line typescript/no-extraneous-class -- the linter cannot read a decorated function
abstract class RectifierMoments {
  /** All columns of one row of dy and x or, where `count` is 4, of four rows that lie `far` bytes apart. */
  @inline
  static row(
    dyPtr: usize, xPtr: usize, toPtr: usize, far: usize, rowBytes: usize, meanPtr: usize, scalePtr: usize, shiftPtr: usize, ceiling: f32,
    sumsPtr: usize, count: i32,
  ): void {
    const productsPtr = sumsPtr + rowBytes * 2;
    const most = f32x4.splat(ceiling);
    let at: usize = 0;
    for (; at + 16 <= rowBytes; at += 16) {
      const mean = v128.load(meanPtr + at), scale = v128.load(scalePtr + at), shift = v128.load(shiftPtr + at);
      const dy = dyPtr + at, x = xPtr + at, to = toPtr + at;
      const b0 = v128.load(x), a0 = Clamp.gradientFour(v128.load(dy), Affine.four(b0, mean, scale, shift), most);
      v128.store(to, a0);
      if (count == 4) {
        const b1 = v128.load(x + far), a1 = Clamp.gradientFour(v128.load(dy + far), Affine.four(b1, mean, scale, shift), most);
        v128.store(to + far, a1);
        const b2 = v128.load(x + far * 2), a2 = Clamp.gradientFour(v128.load(dy + far * 2), Affine.four(b2, mean, scale, shift), most);
        v128.store(to + far * 2, a2);
        const b3 = v128.load(x + far * 3), a3 = Clamp.gradientFour(v128.load(dy + far * 3), Affine.four(b3, mean, scale, shift), most);
        v128.store(to + far * 3, a3);
        Moments.addRows(a0, a1, a2, a3, b0, b1, b2, b3, sumsPtr + at * 2, productsPtr + at * 2);
      } else Moments.addRow(a0, b0, sumsPtr + at * 2, productsPtr + at * 2);
    }
    for (; at < rowBytes; at += 4) {
      const mean = load<f32>(meanPtr + at), scale = load<f32>(scalePtr + at), shift = load<f32>(shiftPtr + at);
      for (let i: i32 = 0, dy = dyPtr + at, x = xPtr + at, to = toPtr + at; i < count; i++, dy += far, x += far, to += far) {
        store<f32>(to, Clamp.gradientOne(load<f32>(dy), Affine.one(load<f32>(x), mean, scale, shift), ceiling));
      }
      Moments.column(toPtr + at, xPtr + at, far, sumsPtr + at * 2, productsPtr + at * 2, count);
    }
  }
}

/**
 * The gradient before a rectifier that follows y = (x − mean) · scale + shift: to = dy where 0 < y < ceiling, else 0. y is computed
 * again with the forward pass's own arithmetic, so that only dy and x are read.
 *
 * Adds up its moments on the way: sums[j] (f64) += Σ_i to[i, j] and sums[columns + j] += Σ_i to[i, j] · x[i, j]. `toPtr` may be
 * `dyPtr`.
 */
function rectifierGradientMomentsF32(
  dyPtr: usize, xPtr: usize, toPtr: usize, rows: i32, columns: i32, meanPtr: usize, scalePtr: usize, shiftPtr: usize, ceiling: f32,
  sumsPtr: usize,
): void {
  const rowBytes = (<usize>columns) << 2;
  const quarter = rows >> 2;
  const far = <usize>quarter * rowBytes;
  for (let i: i32 = 0; i < quarter; i++, dyPtr += rowBytes, xPtr += rowBytes, toPtr += rowBytes) {
    RectifierMoments.row(dyPtr, xPtr, toPtr, far, rowBytes, meanPtr, scalePtr, shiftPtr, ceiling, sumsPtr, 4);
  }
  dyPtr += far * 3;
  xPtr += far * 3;
  toPtr += far * 3;
  for (let i = rows & 3; i > 0; i--, dyPtr += rowBytes, xPtr += rowBytes, toPtr += rowBytes) {
    RectifierMoments.row(dyPtr, xPtr, toPtr, 0, rowBytes, meanPtr, scalePtr, shiftPtr, ceiling, sumsPtr, 1);
  }
}
