// Batch norm in training mode on [rows, channels], forward and backward in one call each. What is reckoned a channel took, in JavaScript,
// a third of the time of MobileNetV2's batch norms at half width.
import { normaliseF32, normaliseGradientF32 } from "./normalisation";
import { columnCrossMomentsF32, columnMomentsF32 } from "./reduction";

/** Two f64 sums and three f32 numbers a channel. */
export function batchNormScratchBytes(channels: i32): i32 {
  return channels * 28;
}

/**
 * y = (x − mean) / √(variance + ε) · weight + shift by the rows' own mean and biased variance, which are stored [channels] each; where
 * `ceiling` is not 0, a rectifier's min(max(y, 0), ceiling) in the same pass.
 */
export function batchNormF32(
  xPtr: usize, yPtr: usize, rows: i32, channels: i32, weightPtr: usize, shiftPtr: usize, epsilon: f64, meanPtr: usize, variancePtr: usize,
  ceiling: f32, scratchPtr: usize,
): void {
  const scalePtr = scratchPtr + (<usize>channels << 4);
  memory.fill(scratchPtr, 0, <usize>channels << 4);
  columnMomentsF32(xPtr, rows, channels, scratchPtr);
  for (let c: i32 = 0; c < channels; c++) {
    const at = <usize>c << 2;
    const mean = load<f64>(scratchPtr + at * 2) / <f64>rows;
    // The cancellation costs some 1e-16 · √rows · mean²: where the mean is 10⁶ deviations, which f32 holds to 6 % of one, 5 % of the
    // variance of 260,000 rows.
    const variance = max<f64>(0, load<f64>(scratchPtr + (<usize>channels << 3) + at * 2) / <f64>rows - mean * mean);
    store<f32>(meanPtr + at, <f32>mean);
    store<f32>(variancePtr + at, <f32>variance);
    store<f32>(scalePtr + at, <f32>(<f64>load<f32>(weightPtr + at) / sqrt<f64>(variance + epsilon)));
  }
  normaliseF32(xPtr, yPtr, rows, channels, meanPtr, scalePtr, shiftPtr, ceiling);
}

/**
 * dx, and the gradients of weight and shift [channels] each. With a = weight / √(variance + ε):
 * dx = a · (dy − mean(dy) − (x − mean) · mean(dy · (x − mean)) / (variance + ε)). `dxPtr` may be `dyPtr`.
 */
export function batchNormGradientF32(
  dyPtr: usize, xPtr: usize, dxPtr: usize, rows: i32, channels: i32, weightPtr: usize, epsilon: f64, meanPtr: usize, variancePtr: usize,
  weightGradientPtr: usize, shiftGradientPtr: usize, scratchPtr: usize,
): void {
  const bytes = <usize>channels << 2;
  const scalePtr = scratchPtr + bytes * 4;
  const offsetPtr = scalePtr + bytes;
  const slopePtr = offsetPtr + bytes;
  memory.fill(scratchPtr, 0, bytes * 4);
  columnCrossMomentsF32(dyPtr, xPtr, rows, channels, scratchPtr);
  for (let c: i32 = 0; c < channels; c++) {
    const at = <usize>c << 2;
    const sum = load<f64>(scratchPtr + at * 2);
    // Σ dy · (x − mean)
    const product = load<f64>(scratchPtr + bytes * 2 + at * 2) - <f64>load<f32>(meanPtr + at) * sum;
    const inverse = 1 / sqrt<f64>(<f64>load<f32>(variancePtr + at) + epsilon);
    const scale = inverse * <f64>load<f32>(weightPtr + at);
    store<f32>(scalePtr + at, <f32>scale);
    store<f32>(offsetPtr + at, <f32>(scale * sum / <f64>rows));
    store<f32>(slopePtr + at, <f32>(scale * (inverse * inverse) * product / <f64>rows));
    store<f32>(weightGradientPtr + at, <f32>(product * inverse));
    store<f32>(shiftGradientPtr + at, <f32>sum);
  }
  normaliseGradientF32(dyPtr, xPtr, dxPtr, rows, channels, meanPtr, scalePtr, offsetPtr, slopePtr);
}
