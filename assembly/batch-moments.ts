// The sums over rows behind batch norm, a channel each: of deviations and their squares forward, of gradients and of their products with
// deviations backward. Eight rows are added in f32, and their sum to one in f64.
//
// Eight rows, because conversions to f64 and additions there took longer than all else: with every row in f64 a norm's four passes took
// 1.17 ns a value in the caches, with four rows in f32 0.90, with eight 0.80. One row of each eighth of the rows, because each eighth is
// read in order and has a page of its own on the way (docs/gradient.md).
//
// What f32 costs: deviations are summed, which do not cancel as values do, so a mean loses some 2⁻²⁴ of a deviation over √(rows / 8),
// less than by being rounded to f32; three times that where all roundings are alike. A variance loses up to 2e-6 then, about the farthest
// pivots that `movePivotsF32` leaves. Squares overflow from deviations of 6e18 on, where the variance itself would from 2e19.
import { Clamp } from "./elementwise";
import { Halves } from "./halves";

/** Rows that are added in f32; the loops below write them out. */
const ROWS = 8;

/** Of fewer rows each is added in f64: eight are too large a part of the sum for their rounding to vanish in it. */
const FEW_ROWS = 64;

/** In how many turns eight rows are added. */
function turnsOf(rows: i32): i32 {
  return rows < FEW_ROWS ? 0 : rows >> 3;
}

/** Four columns, or one alone in the same arithmetic, so that a channel has the same bytes wherever it stands. */
// oxlint-disable-next-line typescript/no-extraneous-class -- the linter cannot read a decorated function
abstract class Columns {
  @inline
  static load(ptr: usize, alone: bool): v128 {
    return alone ? v128.load32_zero(ptr) : v128.load(ptr);
  }

  @inline
  static store(ptr: usize, x: v128, alone: bool): void {
    if (alone) v128.store32_lane(ptr, x, 0);
    else v128.store(ptr, x);
  }

  /** Adds to sums in f64. */
  @inline
  static addTo(sumsPtr: usize, x: v128, alone: bool): void {
    Columns.addHalvesTo(sumsPtr, Halves.low(x), Halves.high(x), alone);
  }

  /** Adds four numbers in f64, two and two, to sums. */
  @inline
  static addHalvesTo(sumsPtr: usize, low: v128, high: v128, alone: bool): void {
    if (alone) store<f64>(sumsPtr, load<f64>(sumsPtr) + f64x2.extract_lane(low, 0));
    else {
      v128.store(sumsPtr, f64x2.add(v128.load(sumsPtr), low));
      v128.store(sumsPtr, f64x2.add(v128.load(sumsPtr, 16), high), 16);
    }
  }

  @inline
  static sumOfFour(a: v128, b: v128, c: v128, d: v128): v128 {
    return f32x4.add(f32x4.add(a, b), f32x4.add(c, d));
  }

  /** a0 · b0 + … + a3 · b3 */
  @inline
  static productOfFour(a0: v128, a1: v128, a2: v128, a3: v128, b0: v128, b1: v128, b2: v128, b3: v128): v128 {
    return Columns.sumOfFour(f32x4.mul(a0, b0), f32x4.mul(a1, b1), f32x4.mul(a2, b2), f32x4.mul(a3, b3));
  }
}

// oxlint-disable-next-line typescript/no-extraneous-class -- the linter cannot read a decorated function
abstract class Deviations {
  /** Of one row or, where `count` is 8, of eight that lie `far` bytes apart. */
  @inline
  static columns(x: usize, far: usize, pivotPtr: usize, sumPtr: usize, squarePtr: usize, count: i32, alone: bool): void {
    const pivot = Columns.load(pivotPtr, alone);
    const x0 = Columns.load(x, alone);
    if (count != ROWS) {
      const low = f64x2.sub(Halves.low(x0), Halves.low(pivot)), high = f64x2.sub(Halves.high(x0), Halves.high(pivot));
      Columns.addHalvesTo(sumPtr, low, high, alone);
      Columns.addHalvesTo(squarePtr, f64x2.mul(low, low), f64x2.mul(high, high), alone);
      return;
    }
    const d0 = f32x4.sub(x0, pivot);
    const d1 = f32x4.sub(Columns.load(x + far, alone), pivot);
    const d2 = f32x4.sub(Columns.load(x + far * 2, alone), pivot);
    const d3 = f32x4.sub(Columns.load(x + far * 3, alone), pivot);
    const sum = Columns.sumOfFour(d0, d1, d2, d3), squares = Columns.productOfFour(d0, d1, d2, d3, d0, d1, d2, d3);
    const d4 = f32x4.sub(Columns.load(x + far * 4, alone), pivot);
    const d5 = f32x4.sub(Columns.load(x + far * 5, alone), pivot);
    const d6 = f32x4.sub(Columns.load(x + far * 6, alone), pivot);
    const d7 = f32x4.sub(Columns.load(x + far * 7, alone), pivot);
    Columns.addTo(sumPtr, f32x4.add(sum, Columns.sumOfFour(d4, d5, d6, d7)), alone);
    Columns.addTo(squarePtr, f32x4.add(squares, Columns.productOfFour(d4, d5, d6, d7, d4, d5, d6, d7)), alone);
  }

  @inline
  static row(xPtr: usize, far: usize, rowBytes: usize, pivotPtr: usize, sumsPtr: usize, count: i32): void {
    const squaresPtr = sumsPtr + rowBytes * 2;
    let at: usize = 0;
    for (; at + 16 <= rowBytes; at += 16) {
      Deviations.columns(xPtr + at, far, pivotPtr + at, sumsPtr + at * 2, squaresPtr + at * 2, count, false);
    }
    for (; at < rowBytes; at += 4) {
      Deviations.columns(xPtr + at, far, pivotPtr + at, sumsPtr + at * 2, squaresPtr + at * 2, count, true);
    }
  }
}

/**
 * A number near each channel's values: the average of the middle two of four, which are the first of each quarter of the rows. An outlier
 * among them does not move it, and being an average of some of the n values, it lies within √n deviations of their mean at worst.
 */
export function pivotsF32(xPtr: usize, rows: i32, columns: i32, pivotsPtr: usize): void {
  const rowBytes = (<usize>columns) << 2;
  const far = <usize>(rows >> 2) * rowBytes;
  for (let at: usize = 0; at < rowBytes; at += 4) {
    const x = xPtr + at;
    const a = load<f32>(x), b = load<f32>(x + far), c = load<f32>(x + far * 2), d = load<f32>(x + far * 3);
    store<f32>(pivotsPtr + at, 0.5 * (max(min(a, b), min(c, d)) + min(max(a, b), max(c, d))));
  }
}

/** Squared distance of a pivot from the mean, in variances, beyond which squares about it say too little of the variance. */
const FARTHEST_PIVOT: f64 = 16;

/**
 * Moves pivots that turn out to lie too far from the mean onto it, by the moments about them, as below. Returns whether it moved any: then
 * the moments are to be added up anew. The first rows of the quarters may be alike and unlike all others, as corners of images are: of
 * 100,352 rows of two values each, 100 away from those, a variance was off by 2e-3. Of few rows, added up in f64, none is moved.
 */
export function movePivotsF32(pivotsPtr: usize, rows: i32, columns: i32, sumsPtr: usize): bool {
  if (turnsOf(rows) == 0) return false;
  const rowBytes = (<usize>columns) << 2;
  let moved = false;
  for (let at: usize = 0; at < rowBytes; at += 4) {
    const distance = load<f64>(sumsPtr + at * 2) / <f64>rows;
    const variance = load<f64>(sumsPtr + (rowBytes + at) * 2) / <f64>rows - distance * distance;
    if (!(distance * distance > FARTHEST_PIVOT * variance)) continue;
    store<f32>(pivotsPtr + at, <f32>(<f64>load<f32>(pivotsPtr + at) + distance));
    moved = true;
  }
  return moved;
}

/** sums[j] (f64) += Σ_i (x[i, j] − pivots[j]) and sums[columns + j] += Σ_i (x[i, j] − pivots[j])². */
export function deviationMomentsF32(xPtr: usize, rows: i32, columns: i32, pivotsPtr: usize, sumsPtr: usize): void {
  const rowBytes = (<usize>columns) << 2;
  const eighth = turnsOf(rows);
  const far = <usize>eighth * rowBytes;
  for (let i: i32 = 0; i < eighth; i++, xPtr += rowBytes) Deviations.row(xPtr, far, rowBytes, pivotsPtr, sumsPtr, ROWS);
  xPtr += far * 7;
  for (let i = rows - eighth * ROWS; i > 0; i--, xPtr += rowBytes) Deviations.row(xPtr, 0, rowBytes, pivotsPtr, sumsPtr, 1);
}

// oxlint-disable-next-line typescript/no-extraneous-class -- the linter cannot read a decorated function
abstract class Gradients {
  /** dy or, behind a rectifier, what that let pass, which `to` takes. y = d · scale + shift is the forward pass's own arithmetic. */
  @inline
  static passed(dy: usize, to: usize, d: v128, scale: v128, shift: v128, ceiling: v128, rectified: bool, alone: bool): v128 {
    const all = Columns.load(dy, alone);
    if (!rectified) return all;
    const passed = Clamp.gradientFour(all, f32x4.add(f32x4.mul(d, scale), shift), ceiling);
    Columns.store(to, passed, alone);
    return passed;
  }

  /** Of one row or, where `count` is 8, of eight that lie `far` bytes apart. */
  @inline
  static columns(
    dy: usize, x: usize, to: usize, far: usize, meanPtr: usize, scalePtr: usize, shiftPtr: usize, ceiling: v128, sumPtr: usize,
    productPtr: usize, count: i32, rectified: bool, alone: bool,
  ): void {
    const mean = Columns.load(meanPtr, alone);
    const scale = rectified ? Columns.load(scalePtr, alone) : mean, shift = rectified ? Columns.load(shiftPtr, alone) : mean;
    const x0 = Columns.load(x, alone), d0 = f32x4.sub(x0, mean);
    const a0 = Gradients.passed(dy, to, d0, scale, shift, ceiling, rectified, alone);
    if (count != ROWS) {
      const low = Halves.low(a0), high = Halves.high(a0);
      Columns.addHalvesTo(sumPtr, low, high, alone);
      Columns.addHalvesTo(
        productPtr, f64x2.mul(low, f64x2.sub(Halves.low(x0), Halves.low(mean))),
        f64x2.mul(high, f64x2.sub(Halves.high(x0), Halves.high(mean))), alone,
      );
      return;
    }
    const d1 = f32x4.sub(Columns.load(x + far, alone), mean);
    const a1 = Gradients.passed(dy + far, to + far, d1, scale, shift, ceiling, rectified, alone);
    const d2 = f32x4.sub(Columns.load(x + far * 2, alone), mean);
    const a2 = Gradients.passed(dy + far * 2, to + far * 2, d2, scale, shift, ceiling, rectified, alone);
    const d3 = f32x4.sub(Columns.load(x + far * 3, alone), mean);
    const a3 = Gradients.passed(dy + far * 3, to + far * 3, d3, scale, shift, ceiling, rectified, alone);
    const sum = Columns.sumOfFour(a0, a1, a2, a3), products = Columns.productOfFour(a0, a1, a2, a3, d0, d1, d2, d3);
    const d4 = f32x4.sub(Columns.load(x + far * 4, alone), mean);
    const a4 = Gradients.passed(dy + far * 4, to + far * 4, d4, scale, shift, ceiling, rectified, alone);
    const d5 = f32x4.sub(Columns.load(x + far * 5, alone), mean);
    const a5 = Gradients.passed(dy + far * 5, to + far * 5, d5, scale, shift, ceiling, rectified, alone);
    const d6 = f32x4.sub(Columns.load(x + far * 6, alone), mean);
    const a6 = Gradients.passed(dy + far * 6, to + far * 6, d6, scale, shift, ceiling, rectified, alone);
    const d7 = f32x4.sub(Columns.load(x + far * 7, alone), mean);
    const a7 = Gradients.passed(dy + far * 7, to + far * 7, d7, scale, shift, ceiling, rectified, alone);
    Columns.addTo(sumPtr, f32x4.add(sum, Columns.sumOfFour(a4, a5, a6, a7)), alone);
    Columns.addTo(productPtr, f32x4.add(products, Columns.productOfFour(a4, a5, a6, a7, d4, d5, d6, d7)), alone);
  }

  @inline
  static row(
    dyPtr: usize, xPtr: usize, toPtr: usize, far: usize, rowBytes: usize, meanPtr: usize, scalePtr: usize, shiftPtr: usize, ceiling: v128,
    sumsPtr: usize, count: i32, rectified: bool,
  ): void {
    const productsPtr = sumsPtr + rowBytes * 2;
    let at: usize = 0;
    for (; at + 16 <= rowBytes; at += 16) {
      Gradients.columns(
        dyPtr + at, xPtr + at, toPtr + at, far, meanPtr + at, scalePtr + at, shiftPtr + at, ceiling, sumsPtr + at * 2, productsPtr + at * 2,
        count, rectified, false,
      );
    }
    for (; at < rowBytes; at += 4) {
      Gradients.columns(
        dyPtr + at, xPtr + at, toPtr + at, far, meanPtr + at, scalePtr + at, shiftPtr + at, ceiling, sumsPtr + at * 2, productsPtr + at * 2,
        count, rectified, true,
      );
    }
  }

  @inline
  static rows(
    dyPtr: usize, xPtr: usize, toPtr: usize, rows: i32, columns: i32, meanPtr: usize, scalePtr: usize, shiftPtr: usize, ceiling: f32,
    sumsPtr: usize, rectified: bool,
  ): void {
    const rowBytes = (<usize>columns) << 2;
    const eighth = turnsOf(rows);
    const far = <usize>eighth * rowBytes;
    const most = f32x4.splat(ceiling);
    for (let i: i32 = 0; i < eighth; i++, dyPtr += rowBytes, xPtr += rowBytes, toPtr += rowBytes) {
      Gradients.row(dyPtr, xPtr, toPtr, far, rowBytes, meanPtr, scalePtr, shiftPtr, most, sumsPtr, ROWS, rectified);
    }
    dyPtr += far * 7;
    xPtr += far * 7;
    toPtr += far * 7;
    for (let i = rows - eighth * ROWS; i > 0; i--, dyPtr += rowBytes, xPtr += rowBytes, toPtr += rowBytes) {
      Gradients.row(dyPtr, xPtr, toPtr, 0, rowBytes, meanPtr, scalePtr, shiftPtr, most, sumsPtr, 1, rectified);
    }
  }
}

/** sums[j] (f64) += Σ_i dy[i, j] and sums[columns + j] += Σ_i dy[i, j] · (x[i, j] − mean[j]). */
export function gradientMomentsF32(dyPtr: usize, xPtr: usize, rows: i32, columns: i32, meanPtr: usize, sumsPtr: usize): void {
  Gradients.rows(dyPtr, xPtr, dyPtr, rows, columns, meanPtr, meanPtr, meanPtr, 0, sumsPtr, false);
}

/**
 * The gradient before a rectifier that follows y = (x − mean) · scale + shift: to = dy where 0 < y < ceiling, else 0. Adds up the moments
 * of `to` on the way, as above. y is computed again, so that only dy and x are read. `toPtr` may be `dyPtr`.
 */
export function rectifierGradientMomentsF32(
  dyPtr: usize, xPtr: usize, toPtr: usize, rows: i32, columns: i32, meanPtr: usize, scalePtr: usize, shiftPtr: usize, ceiling: f32,
  sumsPtr: usize,
): void {
  Gradients.rows(dyPtr, xPtr, toPtr, rows, columns, meanPtr, scalePtr, shiftPtr, ceiling, sumsPtr, true);
}
