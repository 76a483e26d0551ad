// Sums over rows. Every long sum runs in f64, four columns at a time: exacter than pairwise f32 (stock tfjs-wasm adds one million
// f32 in sequence and loses 2e-5), in a fixed order, and still bound by memory.
import { Halves } from "./halves";

/** sums[j] (f64) += Σ_i x[i, j]. */
export function columnSumsF32(xPtr: usize, rows: i32, columns: i32, sumsPtr: usize): void {
  for (let i: i32 = 0; i < rows; i++) {
    let sumPtr = sumsPtr;
    let j: i32 = 0;
    for (; j + 4 <= columns; j += 4) {
      const x = v128.load(xPtr);
      Halves.addTo(sumPtr, x);
      xPtr += 16;
      sumPtr += 32;
    }
    for (; j < columns; j++) {
      store<f64>(sumPtr, load<f64>(sumPtr) + <f64>load<f32>(xPtr));
      xPtr += 4;
      sumPtr += 8;
    }
  }
}

/**
 * Moments go by two rows at a time, one of each half of the rows: their sums are loaded and stored once for both, and each half is read in
 * order, so that the processor reads ahead (0.36 → 0.23 ns a square, 0.42 → 0.34 a product; neighbouring rows, whose cache lines are
 * met out of order: 0.5 from memory). What is left is the processor's two additions and conversions a cycle.
 */
// oxlint-disable-next-line typescript/no-extraneous-class -- the linter cannot read a decorated function
export abstract class Moments {
  /** Four columns of one row, or of two that lie `far` apart: their Σ a at sumPtr, Σ a · b at productPtr. */
  @inline
  static four(aPtr: usize, bPtr: usize, far: usize, sumPtr: usize, productPtr: usize, two: bool, squares: bool): void {
    const a = v128.load(aPtr), c = two ? v128.load(aPtr + far) : a;
    Moments.add(a, squares ? a : v128.load(bPtr), c, squares ? c : v128.load(bPtr + far), sumPtr, productPtr, two);
  }

  /** Adds one row's a, b and, where there are `two`, the other's c, d. */
  @inline
  static add(a: v128, b: v128, c: v128, d: v128, sumPtr: usize, productPtr: usize, two: bool): void {
    const low = Halves.low(a), high = Halves.high(a);
    let sumLow = f64x2.add(v128.load(sumPtr), low), sumHigh = f64x2.add(v128.load(sumPtr, 16), high);
    let productLow = f64x2.add(v128.load(productPtr), f64x2.mul(low, Halves.low(b)));
    let productHigh = f64x2.add(v128.load(productPtr, 16), f64x2.mul(high, Halves.high(b)));
    if (two) {
      const lower = Halves.low(c), upper = Halves.high(c);
      sumLow = f64x2.add(sumLow, lower);
      sumHigh = f64x2.add(sumHigh, upper);
      productLow = f64x2.add(productLow, f64x2.mul(lower, Halves.low(d)));
      productHigh = f64x2.add(productHigh, f64x2.mul(upper, Halves.high(d)));
    }
    v128.store(sumPtr, sumLow);
    v128.store(sumPtr, sumHigh, 16);
    v128.store(productPtr, productLow);
    v128.store(productPtr, productHigh, 16);
  }

  /** A column of a row. */
  @inline
  static one(aPtr: usize, bPtr: usize, sumPtr: usize, productPtr: usize): void {
    const a = <f64>load<f32>(aPtr);
    store<f64>(sumPtr, load<f64>(sumPtr) + a);
    store<f64>(productPtr, load<f64>(productPtr) + a * <f64>load<f32>(bPtr));
  }

  /** All columns of a row, or of two. */
  @inline
  static row(aPtr: usize, bPtr: usize, far: usize, rowBytes: usize, sumsPtr: usize, two: bool, squares: bool): void {
    const productsPtr = sumsPtr + rowBytes * 2;
    let at: usize = 0;
    for (; at + 16 <= rowBytes; at += 16) Moments.four(aPtr + at, bPtr + at, far, sumsPtr + at * 2, productsPtr + at * 2, two, squares);
    for (; at < rowBytes; at += 4) {
      Moments.one(aPtr + at, bPtr + at, sumsPtr + at * 2, productsPtr + at * 2);
      if (two) Moments.one(aPtr + at + far, bPtr + at + far, sumsPtr + at * 2, productsPtr + at * 2);
    }
  }

  @inline
  static ofRows(aPtr: usize, bPtr: usize, rows: i32, columns: i32, sumsPtr: usize, squares: bool): void {
    const rowBytes = (<usize>columns) << 2;
    const half = rows >> 1;
    const far = <usize>half * rowBytes;
    for (let i: i32 = 0; i < half; i++) {
      Moments.row(aPtr, bPtr, far, rowBytes, sumsPtr, true, squares);
      aPtr += rowBytes;
      bPtr += rowBytes;
    }
    if (rows & 1) Moments.row(aPtr + far, bPtr + far, 0, rowBytes, sumsPtr, false, squares);
  }
}

/** sums[j] (f64) += Σ_i x[i, j] and sums[columns + j] += Σ_i x[i, j]², each square exact. */
export function columnMomentsF32(xPtr: usize, rows: i32, columns: i32, sumsPtr: usize): void {
  Moments.ofRows(xPtr, xPtr, rows, columns, sumsPtr, true);
}

/** sums[j] (f64) += Σ_i a[i, j] and sums[columns + j] += Σ_i a[i, j] · b[i, j], each product exact. */
export function columnCrossMomentsF32(aPtr: usize, bPtr: usize, rows: i32, columns: i32, sumsPtr: usize): void {
  Moments.ofRows(aPtr, bPtr, rows, columns, sumsPtr, false);
}

/** sums[j] (f64) += Σ_i a[i, j] · b[i, j], each product exact. */
export function columnProductSumsF32(aPtr: usize, bPtr: usize, rows: i32, columns: i32, sumsPtr: usize): void {
  for (let i: i32 = 0; i < rows; i++) {
    let sumPtr = sumsPtr;
    let j: i32 = 0;
    for (; j + 4 <= columns; j += 4) {
      const a = v128.load(aPtr);
      const b = v128.load(bPtr);
      const low = f64x2.mul(Halves.low(a), Halves.low(b));
      const aHigh = Halves.high(a);
      const high = f64x2.mul(aHigh, Halves.high(b));
      v128.store(sumPtr, f64x2.add(v128.load(sumPtr), low));
      v128.store(sumPtr, f64x2.add(v128.load(sumPtr, 16), high), 16);
      aPtr += 16;
      bPtr += 16;
      sumPtr += 32;
    }
    for (; j < columns; j++) {
      store<f64>(sumPtr, load<f64>(sumPtr) + <f64>load<f32>(aPtr) * <f64>load<f32>(bPtr));
      aPtr += 4;
      bPtr += 4;
      sumPtr += 8;
    }
  }
}

/**
 * Σ a[i] · b[i], each product exact, in four f64 sums of every fourth, which are added last; numbers behind the last
 * whole four join the first.
 */
export function innerF32(aPtr: usize, bPtr: usize, count: i32): f64 {
  let low = f64x2.splat(0), high = f64x2.splat(0);
  const whole = aPtr + ((<usize>(count & ~3)) << 2);
  const end = aPtr + ((<usize>count) << 2);
  for (; aPtr < whole; aPtr += 16, bPtr += 16) {
    const a = v128.load(aPtr);
    const b = v128.load(bPtr);
    low = f64x2.add(low, f64x2.mul(Halves.low(a), Halves.low(b)));
    const aHigh = Halves.high(a);
    high = f64x2.add(high, f64x2.mul(aHigh, Halves.high(b)));
  }
  let first = f64x2.extract_lane(low, 0);
  for (; aPtr < end; aPtr += 4, bPtr += 4) first += <f64>load<f32>(aPtr) * <f64>load<f32>(bPtr);
  return first + f64x2.extract_lane(low, 1) + (f64x2.extract_lane(high, 0) + f64x2.extract_lane(high, 1));
}
