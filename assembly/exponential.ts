// Four exponentials at once in f32, and softmax over rows. Where a result feeds a sum of f32 anyway (softmax, attention) this is
// as good as the scalar f64 functions of elementary.ts and ten times as fast.
import { Halves } from "./halves";

const LN2_HIGH: f32 = 0.693359375; // 9 bits: k times it is exact
const LN2_LOW: f32 = -2.12194440e-4; // ln 2 − LN2_HIGH

/** 1.5 · 2^23: a small number plus this has the nearest integer in its last bits. */
const ROUNDING: f32 = 12582912.0;

// Inlined, and a decorator needs a class.
// oxlint-disable-next-line typescript/no-extraneous-class
export abstract class Exponential {
  /**
   * e^(x + low) in each lane for x in [−87, 88] and a correction |low| below 0.1: at most 1 ulp off (8.1e-8 relative;
   * every f32 in the range that test/core/smooth-map.test.ts sweeps). The polynomial of degree 6 is 3e-9 off before
   * rounding (the Lawson iteration on |r| ≤ ln 2 / 2).
   */
  @inline
  static ofSum(x: v128, low: v128): v128 {
    const shifted = f32x4.add(f32x4.mul(x, f32x4.splat(<f32>Math.LOG2E)), f32x4.splat(ROUNDING));
    const k = f32x4.sub(shifted, f32x4.splat(ROUNDING));
    const high = f32x4.sub(x, f32x4.mul(k, f32x4.splat(LN2_HIGH)));
    const r = f32x4.add(high, f32x4.sub(low, f32x4.mul(k, f32x4.splat(LN2_LOW))));
    let sum = f32x4.splat(0.001381461857818067);
    sum = f32x4.add(f32x4.mul(sum, r), f32x4.splat(0.008368715643882751));
    sum = f32x4.add(f32x4.mul(sum, r), f32x4.splat(0.04166838899254799));
    sum = f32x4.add(f32x4.mul(sum, r), f32x4.splat(0.1666652113199234));
    sum = f32x4.add(f32x4.mul(sum, r), f32x4.splat(0.4999999403953552));
    sum = f32x4.add(f32x4.add(f32x4.mul(sum, f32x4.mul(r, r)), r), f32x4.splat(1.0));
    // 2^k: k, which the rounding left in the last bits, joins the exponent; the result is a normal number from −87 on.
    return i32x4.add(sum, i32x4.shl(shifted, 23));
  }
}

/** e^x in each lane, as exact as `Exponential.ofSum`; 0 below −87, whose results are subnormal, e^88 above 88. NaN passes. */
export function expF32x4(x: v128): v128 {
  const least = f32x4.splat(-87.0);
  const e = Exponential.ofSum(f32x4.pmin(f32x4.splat(88.0), f32x4.pmax(least, x)), f32x4.splat(0));
  return v128.bitselect(x, v128.andnot(e, f32x4.lt(x, least)), f32x4.ne(x, x));
}

/** e^x of one number, by the same arithmetic, so that a row's tail has the bytes that a lane would give. */
function expF32(x: f32): f32 {
  return f32x4.extract_lane(expF32x4(f32x4.splat(x)), 0);
}

/** Largest of a row. */
export function rowMaximum(rowPtr: usize, columns: i32): f32 {
  let largest = load<f32>(rowPtr);
  const end = rowPtr + ((<usize>columns) << 2);
  if (columns >= 4) {
    let lanes = v128.load(rowPtr);
    for (rowPtr += 16; rowPtr + 16 <= end; rowPtr += 16) lanes = f32x4.max(lanes, v128.load(rowPtr));
    largest = max(
      max(f32x4.extract_lane(lanes, 0), f32x4.extract_lane(lanes, 1)), max(f32x4.extract_lane(lanes, 2), f32x4.extract_lane(lanes, 3)),
    );
  }
  for (; rowPtr < end; rowPtr += 4) largest = max(largest, load<f32>(rowPtr));
  return largest;
}

/** to = e^((from − shift) · factor) over a row; the sum of the results, in f64. `to` may be `from`. */
export function exponentials(fromPtr: usize, toPtr: usize, columns: i32, shift: f32, factor: f32): f64 {
  const end = fromPtr + ((<usize>columns) << 2);
  const shifts = f32x4.splat(shift);
  const factors = f32x4.splat(factor);
  let low = f64x2.splat(0);
  let high = f64x2.splat(0);
  for (; fromPtr + 16 <= end; fromPtr += 16, toPtr += 16) {
    const e = expF32x4(f32x4.mul(f32x4.sub(v128.load(fromPtr), shifts), factors));
    v128.store(toPtr, e);
    low = f64x2.add(low, Halves.low(e));
    high = f64x2.add(high, Halves.high(e));
  }
  low = f64x2.add(low, high);
  let sum = f64x2.extract_lane(low, 0) + f64x2.extract_lane(low, 1);
  for (; fromPtr < end; fromPtr += 4, toPtr += 4) {
    const e = expF32((load<f32>(fromPtr) - shift) * factor);
    store<f32>(toPtr, e);
    sum += <f64>e;
  }
  return sum;
}

/** A row times a number. */
export function scaleRow(rowPtr: usize, columns: i32, factor: f32): void {
  const end = rowPtr + ((<usize>columns) << 2);
  const factors = f32x4.splat(factor);
  for (; rowPtr + 16 <= end; rowPtr += 16) v128.store(rowPtr, f32x4.mul(v128.load(rowPtr), factors));
  for (; rowPtr < end; rowPtr += 4) store<f32>(rowPtr, load<f32>(rowPtr) * factor);
}

/** Σ a · b over two rows, in f64. */
export function rowProduct(aPtr: usize, bPtr: usize, columns: i32): f64 {
  const end = aPtr + ((<usize>columns) << 2);
  let low = f64x2.splat(0);
  let high = f64x2.splat(0);
  for (; aPtr + 16 <= end; aPtr += 16, bPtr += 16) {
    const product = f32x4.mul(v128.load(aPtr), v128.load(bPtr));
    low = f64x2.add(low, Halves.low(product));
    high = f64x2.add(high, Halves.high(product));
  }
  low = f64x2.add(low, high);
  let sum = f64x2.extract_lane(low, 0) + f64x2.extract_lane(low, 1);
  for (; aPtr < end; aPtr += 4, bPtr += 4) sum += <f64>(load<f32>(aPtr) * load<f32>(bPtr));
  return sum;
}

/** to = p · (from − centre) · factor over a row: the gradient of a softmax with the probabilities p. `to` may be `from`. */
export function softmaxGradientRow(pPtr: usize, fromPtr: usize, toPtr: usize, columns: i32, centre: f32, factor: f32): void {
  const end = fromPtr + ((<usize>columns) << 2);
  const centres = f32x4.splat(centre);
  const factors = f32x4.splat(factor);
  for (; fromPtr + 16 <= end; fromPtr += 16, pPtr += 16, toPtr += 16) {
    v128.store(toPtr, f32x4.mul(f32x4.mul(v128.load(pPtr), f32x4.sub(v128.load(fromPtr), centres)), factors));
  }
  for (; fromPtr < end; fromPtr += 4, pPtr += 4, toPtr += 4) {
    store<f32>(toPtr, load<f32>(pPtr) * (load<f32>(fromPtr) - centre) * factor);
  }
}

/** Softmax of each row. `yPtr` may be `xPtr`. */
export function softmaxF32(xPtr: usize, yPtr: usize, rows: i32, columns: i32): void {
  const rowBytes = (<usize>columns) << 2;
  for (let i: i32 = 0; i < rows; i++) {
    const sum = exponentials(xPtr, yPtr, columns, rowMaximum(xPtr, columns), 1);
    scaleRow(yPtr, columns, <f32>(1.0 / sum));
    xPtr += rowBytes;
    yPtr += rowBytes;
  }
}

/** dx = y · (dy − Σ y · dy) of each row. `dxPtr` may be `dyPtr`. */
export function softmaxGradientF32(dyPtr: usize, yPtr: usize, dxPtr: usize, rows: i32, columns: i32): void {
  const rowBytes = (<usize>columns) << 2;
  for (let i: i32 = 0; i < rows; i++) {
    const centre = <f32>rowProduct(yPtr, dyPtr, columns);
    softmaxGradientRow(yPtr, dyPtr, dxPtr, columns, centre, 1);
    dyPtr += rowBytes;
    yPtr += rowBytes;
    dxPtr += rowBytes;
  }
}
