// Batch norm on [rows, channels]. Training mode has a kernel for the forward pass and one for the gradient; evaluation mode has one
// that takes given statistics. What is computed once per channel is computed here too: in JavaScript it took a third of the time of
// MobileNetV2's batch norms at half width.
import { deviationMomentsF32, gradientMomentsF32, movePivotsF32, pivotsF32, rectifierGradientMomentsF32 } from "./batch-moments";
import { normaliseF32, normaliseGradientF32 } from "./normalisation";

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
  // The mean takes the pivot's place.
  const pivotsPtr = statisticsPtr;
  pivotsF32(xPtr, rows, channels, pivotsPtr);
  deviationMomentsF32(xPtr, rows, channels, pivotsPtr, scratchPtr);
  if (movePivotsF32(pivotsPtr, rows, channels, scratchPtr)) {
    memory.fill(scratchPtr, 0, bytes * 4);
    deviationMomentsF32(xPtr, rows, channels, pivotsPtr, scratchPtr);
  }
  for (let at: usize = 0; at < bytes; at += 4) {
    const distance = load<f64>(scratchPtr + at * 2) / <f64>rows;
    const mean = <f64>load<f32>(pivotsPtr + at) + distance;
    const variance = max<f64>(0, load<f64>(scratchPtr + (bytes + at) * 2) / <f64>rows - distance * distance);
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
  if (ceiling == 0) gradientMomentsF32(dyPtr, xPtr, rows, channels, statisticsPtr, scratchPtr);
  else {
    rectifierGradientMomentsF32(
      dyPtr, xPtr, dxPtr, rows, channels, statisticsPtr, statisticsPtr + bytes * 2, shiftPtr, ceiling, scratchPtr,
    );
    dyPtr = dxPtr;
  }
  for (let at: usize = 0; at < bytes; at += 4) {
    const sum = load<f64>(scratchPtr + at * 2);
    const product = load<f64>(scratchPtr + (bytes + at) * 2);
    const inverse = 1 / sqrt<f64>(<f64>load<f32>(statisticsPtr + bytes + at) + epsilon);
    // The inverse comes from the variance as it was stored in f32, not from the forward pass's scale. Both are accurate, but only
    // this one breaks the ties of convbn4's max poolings as PyTorch does (off by 1.2e-6 after an epoch instead of 1.6e-2).
    const scale = inverse * <f64>load<f32>(weightPtr + at);
    store<f32>(scalePtr + at, <f32>scale);
    store<f32>(offsetPtr + at, <f32>(scale * sum / <f64>rows));
    store<f32>(slopePtr + at, <f32>(scale * (inverse * inverse) * product / <f64>rows));
    store<f32>(weightGradientPtr + at, <f32>(product * inverse));
    store<f32>(shiftGradientPtr + at, <f32>sum);
  }
  normaliseGradientF32(dyPtr, xPtr, dxPtr, rows, channels, statisticsPtr, scalePtr, offsetPtr, slopePtr);
}
