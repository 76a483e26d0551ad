/** Which prices to start an assignment from: rules that read little of the matrix, and change the time only. */

/** Rows whose ranges differ by more than this are of many scales. */
const SCALES = 5;

/**
 * Whether half the column maxima are good starting prices, which they are when rows are of one scale. Where a few rows of
 * large numbers make the maxima, all others would shun the columns that they want; the same where more rows than columns
 * are dead. Then no prices at all are better: 15 × faster on rows of many scales, 4 × on heavy tails and on
 * gradients whose units differ much.
 * @param ranges greatest minus least value of some rows.
 */
export function halfMaximaFit(ranges: Float64Array, columnMaxima: ArrayLike<number>): boolean {
  const alive = ranges.filter((range) => range > 0).toSorted();
  let deadColumns = 0;
  for (let j = 0; j < columnMaxima.length; j++) if (columnMaxima[j] === 0) deadColumns++;
  const moreDeadRows = 1 - alive.length / ranges.length > deadColumns / columnMaxima.length + 0.1;
  if (alive.length < 8) return true;
  const low = alive[Math.floor(alive.length * 0.1)] as number;
  const high = alive[Math.floor(alive.length * 0.9)] as number;
  return !moreDeadRows && high <= SCALES * low;
}

/** Of a matrix whose numbers span decades, a typical one is this small a share of what a row spans. Gaussian: 0.1, heavy tails 0.01 and less. */
const TYPICAL_SHARE = 1e-5;
const TYPICAL_SAMPLES = 128;
const FEW_SAMPLES = 32;

/**
 * Whether the numbers span so many decades that only the greatest of each row and column count. Half of a maximum is then far more than
 * anything else in the column: no prices at all are 14 × faster (n = 256).
 * @param ranges greatest minus least value of some rows.
 */
export function spansDecades(matrix: Float32Array | Float64Array, ranges: Float64Array): boolean {
  const sizes: number[] = [];
  for (let k = 1; k <= TYPICAL_SAMPLES; k++) {
    const size = Math.abs(matrix[(Math.imul(k, 0x9e3779b1) >>> 0) % matrix.length] as number);
    if (size > 0 && size < Infinity) sizes.push(size);
  }
  if (sizes.length < FEW_SAMPLES) return false;
  const typical = sizes.toSorted((a, b) => a - b)[sizes.length >> 1] as number;
  const range = ranges.toSorted()[ranges.length >> 1] as number;
  return typical < TYPICAL_SHARE * range;
}
