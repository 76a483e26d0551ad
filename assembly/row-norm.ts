// Layer norm and RMS norm over the columns of [rows, columns], and their gradients. Statistics and sums are f64; the backward
// pass computes them again from the input, which costs a third of a pass over a row that is in the first-level cache.
import { Halves } from "./halves";

/** Σ x of a row. */
function rowSum(xPtr: usize, columns: i32): f64 {
  const end = xPtr + ((<usize>columns) << 2);
  let low = f64x2.splat(0);
  let high = f64x2.splat(0);
  for (; xPtr + 16 <= end; xPtr += 16) {
    const x = v128.load(xPtr);
    low = f64x2.add(low, Halves.low(x));
    high = f64x2.add(high, Halves.high(x));
  }
  low = f64x2.add(low, high);
  let sum = f64x2.extract_lane(low, 0) + f64x2.extract_lane(low, 1);
  for (; xPtr < end; xPtr += 4) sum += <f64>load<f32>(xPtr);
  return sum;
}

/** Σ (x − mean)² of a row. */
function rowSquares(xPtr: usize, columns: i32, mean: f64): f64 {
  const end = xPtr + ((<usize>columns) << 2);
  const means = f64x2.splat(mean);
  let low = f64x2.splat(0);
  let high = f64x2.splat(0);
  for (; xPtr + 16 <= end; xPtr += 16) {
    const x = v128.load(xPtr);
    const a = f64x2.sub(Halves.low(x), means);
    const b = f64x2.sub(Halves.high(x), means);
    low = f64x2.add(low, f64x2.mul(a, a));
    high = f64x2.add(high, f64x2.mul(b, b));
  }
  low = f64x2.add(low, high);
  let sum = f64x2.extract_lane(low, 0) + f64x2.extract_lane(low, 1);
  for (; xPtr < end; xPtr += 4) {
    const a = <f64>load<f32>(xPtr) - mean;
    sum += a * a;
  }
  return sum;
}

/** y = (x − mean) / √(variance + ε) · scale + shift by rows; without `centre` the mean counts as 0; `shiftPtr` 0: no shift. */
export function rowNormF32(
  xPtr: usize, yPtr: usize, rows: i32, columns: i32, scalePtr: usize, shiftPtr: usize, epsilon: f64, centre: bool,
): void {
  const rowBytes = (<usize>columns) << 2;
  const vectorBytes = (<usize>(columns & ~3)) << 2;
  const zero = f32x4.splat(0);
  for (let i: i32 = 0; i < rows; i++) {
    const mean = centre ? rowSum(xPtr, columns) / <f64>columns : 0;
    const inverse = <f32>(1.0 / sqrt<f64>(rowSquares(xPtr, columns, mean) / <f64>columns + epsilon));
    const means = f32x4.splat(<f32>mean);
    const inverses = f32x4.splat(inverse);
    let at: usize = 0;
    for (; at < vectorBytes; at += 16) {
      const unit = f32x4.mul(f32x4.sub(v128.load(xPtr + at), means), inverses);
      v128.store(yPtr + at, f32x4.add(f32x4.mul(unit, v128.load(scalePtr + at)), shiftPtr != 0 ? v128.load(shiftPtr + at) : zero));
    }
    for (; at < rowBytes; at += 4) {
      const unit = (load<f32>(xPtr + at) - <f32>mean) * inverse;
      store<f32>(yPtr + at, unit * load<f32>(scalePtr + at) + (shiftPtr != 0 ? load<f32>(shiftPtr + at) : 0));
    }
    xPtr += rowBytes;
    yPtr += rowBytes;
  }
}

/**
 * dx by rows, and sums [2, columns] (f64) += the gradients of scale and shift. With x̂ the normalised row and g = dy · scale:
 * dx = (g − mean(g) − x̂ · mean(g · x̂)) / √(variance + ε), without mean(g) where nothing is centred. `dxPtr` may be `dyPtr`.
 */
export function rowNormGradientF32(
  dyPtr: usize, xPtr: usize, dxPtr: usize, rows: i32, columns: i32, scalePtr: usize, epsilon: f64, centre: bool, sumsPtr: usize,
): void {
  const rowBytes = (<usize>columns) << 2;
  const vectorBytes = (<usize>(columns & ~3)) << 2;
  const shiftSumsPtr = sumsPtr + rowBytes * 2;
  for (let i: i32 = 0; i < rows; i++) {
    const mean = centre ? rowSum(xPtr, columns) / <f64>columns : 0;
    const inverse = <f32>(1.0 / sqrt<f64>(rowSquares(xPtr, columns, mean) / <f64>columns + epsilon));
    const means = f32x4.splat(<f32>mean);
    const inverses = f32x4.splat(inverse);
    let meanG = f64x2.splat(0);
    let meanGx = f64x2.splat(0);
    let at: usize = 0;
    for (; at < vectorBytes; at += 16) {
      const unit = f32x4.mul(f32x4.sub(v128.load(xPtr + at), means), inverses);
      const dy = v128.load(dyPtr + at);
      const dyUnit = f32x4.mul(dy, unit);
      const scale = v128.load(scalePtr + at);
      const g = f32x4.mul(dy, scale);
      const gx = f32x4.mul(dyUnit, scale);
      const sumPtr = sumsPtr + at * 2;
      Halves.addTo(sumPtr, dyUnit);
      const shiftPtr = shiftSumsPtr + at * 2;
      Halves.addTo(shiftPtr, dy);
      meanG = f64x2.add(meanG, f64x2.add(Halves.low(g), Halves.high(g)));
      meanGx = f64x2.add(meanGx, f64x2.add(Halves.low(gx), Halves.high(gx)));
    }
    let sumG = f64x2.extract_lane(meanG, 0) + f64x2.extract_lane(meanG, 1);
    let sumGx = f64x2.extract_lane(meanGx, 0) + f64x2.extract_lane(meanGx, 1);
    for (; at < rowBytes; at += 4) {
      const unit = (load<f32>(xPtr + at) - <f32>mean) * inverse;
      const dy = load<f32>(dyPtr + at);
      const scale = load<f32>(scalePtr + at);
      store<f64>(sumsPtr + at * 2, load<f64>(sumsPtr + at * 2) + <f64>(dy * unit));
      store<f64>(shiftSumsPtr + at * 2, load<f64>(shiftSumsPtr + at * 2) + <f64>dy);
      sumG += <f64>(dy * scale);
      sumGx += <f64>(dy * unit * scale);
    }
    const offset = centre ? <f32>(sumG / <f64>columns) : 0;
    const slope = <f32>(sumGx / <f64>columns);
    const offsets = f32x4.splat(offset);
    const slopes = f32x4.splat(slope);
    for (at = 0; at < vectorBytes; at += 16) {
      const unit = f32x4.mul(f32x4.sub(v128.load(xPtr + at), means), inverses);
      const g = f32x4.mul(v128.load(dyPtr + at), v128.load(scalePtr + at));
      v128.store(dxPtr + at, f32x4.mul(f32x4.sub(f32x4.sub(g, offsets), f32x4.mul(unit, slopes)), inverses));
    }
    for (; at < rowBytes; at += 4) {
      const unit = (load<f32>(xPtr + at) - <f32>mean) * inverse;
      const g = load<f32>(dyPtr + at) * load<f32>(scalePtr + at);
      store<f32>(dxPtr + at, (g - offset - unit * slope) * inverse);
    }
    dyPtr += rowBytes;
    xPtr += rowBytes;
    dxPtr += rowBytes;
  }
}
