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
 * Moments go by four rows at a time, one of each quarter of the rows, and the last rows one by one. A pass over memory mostly waits,
 * above all for the addresses of pages. Rows in sequence wait for one page after another; four quarters, each read in order, have
 * four on their way. A square takes 0.4 ns, by halves 0.9, by four neighbouring rows 0.8; in the cache 0.27 each (the Xeon of
 * docs/gradient.md).
 */
// oxlint-disable-next-line typescript/no-extraneous-class -- the linter cannot read a decorated function
abstract class Moments {
  /** Four columns of one row. */
  @inline
  static addRow(a: v128, b: v128, sumPtr: usize, productPtr: usize): void {
    const low = Halves.low(a), high = Halves.high(a);
    v128.store(sumPtr, f64x2.add(v128.load(sumPtr), low));
    v128.store(sumPtr, f64x2.add(v128.load(sumPtr, 16), high), 16);
    v128.store(productPtr, f64x2.add(v128.load(productPtr), f64x2.mul(low, Halves.low(b))));
    v128.store(productPtr, f64x2.add(v128.load(productPtr, 16), f64x2.mul(high, Halves.high(b))), 16);
  }

  /** Four columns of four rows a0 … a3 and b0 … b3. */
  @inline
  static addRows(
    a0: v128, a1: v128, a2: v128, a3: v128, b0: v128, b1: v128, b2: v128, b3: v128, sumPtr: usize, productPtr: usize,
  ): void {
    Moments.addHalves(
      Halves.low(a0), Halves.low(a1), Halves.low(a2), Halves.low(a3), Halves.low(b0), Halves.low(b1), Halves.low(b2), Halves.low(b3),
      sumPtr, productPtr,
    );
    Moments.addHalves(
      Halves.high(a0), Halves.high(a1), Halves.high(a2), Halves.high(a3), Halves.high(b0), Halves.high(b1), Halves.high(b2),
      Halves.high(b3),
      sumPtr + 16, productPtr + 16,
    );
  }

  /** Two columns in f64 of four rows, whose pairs are added first. */
  @inline
  static addHalves(
    a0: v128, a1: v128, a2: v128, a3: v128, b0: v128, b1: v128, b2: v128, b3: v128, sumPtr: usize, productPtr: usize,
  ): void {
    v128.store(sumPtr, f64x2.add(v128.load(sumPtr), f64x2.add(f64x2.add(a0, a1), f64x2.add(a2, a3))));
    const first = f64x2.add(f64x2.mul(a0, b0), f64x2.mul(a1, b1));
    v128.store(productPtr, f64x2.add(v128.load(productPtr), f64x2.add(first, f64x2.add(f64x2.mul(a2, b2), f64x2.mul(a3, b3)))));
  }

  /** A column of a row, or where `count` is 4 of four that lie `far` apart, added up as four columns are. */
  @inline
  static column(aPtr: usize, bPtr: usize, far: usize, sumPtr: usize, productPtr: usize, count: i32): void {
    const a0 = <f64>load<f32>(aPtr);
    let sum = a0, product = a0 * <f64>load<f32>(bPtr);
    if (count == 4) {
      const a1 = <f64>load<f32>(aPtr + far), a2 = <f64>load<f32>(aPtr + far * 2), a3 = <f64>load<f32>(aPtr + far * 3);
      sum = (sum + a1) + (a2 + a3);
      product = (product + a1 * <f64>load<f32>(bPtr + far)) + (a2 * <f64>load<f32>(bPtr + far * 2) + a3 * <f64>load<f32>(bPtr + far * 3));
    }
    store<f64>(sumPtr, load<f64>(sumPtr) + sum);
    store<f64>(productPtr, load<f64>(productPtr) + product);
  }

  /** All columns of a row, or where `count` is 4 of four that lie `far` apart. */
  @inline
  static row(aPtr: usize, bPtr: usize, far: usize, rowBytes: usize, sumsPtr: usize, count: i32, squares: bool): void {
    const productsPtr = sumsPtr + rowBytes * 2;
    let at: usize = 0;
    for (; at + 16 <= rowBytes; at += 16) {
      const a = aPtr + at, b = bPtr + at;
      const a0 = v128.load(a), b0 = squares ? a0 : v128.load(b);
      if (count == 4) {
        const a1 = v128.load(a + far), a2 = v128.load(a + far * 2), a3 = v128.load(a + far * 3);
        const b1 = squares ? a1 : v128.load(b + far);
        const b2 = squares ? a2 : v128.load(b + far * 2);
        const b3 = squares ? a3 : v128.load(b + far * 3);
        Moments.addRows(a0, a1, a2, a3, b0, b1, b2, b3, sumsPtr + at * 2, productsPtr + at * 2);
      } else Moments.addRow(a0, b0, sumsPtr + at * 2, productsPtr + at * 2);
    }
    for (; at < rowBytes; at += 4) Moments.column(aPtr + at, bPtr + at, far, sumsPtr + at * 2, productsPtr + at * 2, count);
  }

  @inline
  static ofRows(aPtr: usize, bPtr: usize, rows: i32, columns: i32, sumsPtr: usize, squares: bool): void {
    const rowBytes = (<usize>columns) << 2;
    const quarter = rows >> 2;
    const far = <usize>quarter * rowBytes;
    for (let i: i32 = 0; i < quarter; i++, aPtr += rowBytes, bPtr += rowBytes) {
      Moments.row(aPtr, bPtr, far, rowBytes, sumsPtr, 4, squares);
    }
    aPtr += far * 3;
    bPtr += far * 3;
    for (let i = rows & 3; i > 0; i--, aPtr += rowBytes, bPtr += rowBytes) {
      Moments.row(aPtr, bPtr, 0, rowBytes, sumsPtr, 1, squares);
    }
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
