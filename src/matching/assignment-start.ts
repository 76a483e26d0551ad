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
  if (moreDeadRows(ranges, columnMaxima)) return false;
  const alive = ranges.filter((range) => range > 0).toSorted();
  if (alive.length < 8) return true;
  const low = alive[Math.floor(alive.length * 0.1)] as number;
  const high = alive[Math.floor(alive.length * 0.9)] as number;
  return high <= SCALES * low;
}

/** Whether clearly more rows than columns are dead. @param ranges as above. */
export function moreDeadRows(ranges: Float64Array, columnMaxima: ArrayLike<number>): boolean {
  let deadColumns = 0;
  for (let j = 0; j < columnMaxima.length; j++) if (columnMaxima[j] === 0) deadColumns++;
  const deadRows = ranges.filter((range) => range === 0).length;
  return deadRows / ranges.length > deadColumns / columnMaxima.length + 0.1;
}

/**
 * Of a matrix whose numbers span decades, a typical one is this small a share of what a row spans. Gaussian: 0.1, heavy
 * tails 0.01 and less.
 */
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

/**
 * A number that takes up more of a matrix than this is its background. Where a share of it falls to ReLU units that
 * sleep, their rows and columns are dead.
 */
const BACKGROUND_SHARE = 0.75;
/** So it is with this share, where as much as the other lies below it: rows would rather have it than that. */
const MIDDLE_SHARE = 0.4;
const SHARE_BELOW = 0.1;

/**
 * `most` where most entries are one number: sparse matrices, arrows. Rows that have nothing else in a column that is
 * free then tie over all of these, and take one at once; half a maximum makes each of them want the column of the least
 * maximum (n = 256: 0.6 → 0.3 ms, arrow at 1024 18 → 1.5). `middle` where many are, between others (a triangle of
 * Gaussian numbers at 256: 1.9 → 0.5).
 * @param matrix [n, n]
 * @param ranges greatest minus least value of rows spread evenly.
 */
export function backgroundOf(
  matrix: Float32Array | Float64Array,
  ranges: Float64Array,
  columnMaxima: ArrayLike<number>,
): 'most' | 'middle' | 'none' {
  const n = columnMaxima.length;
  const alive = [...ranges.keys()].filter((k) => (ranges[k] as number) > 0);
  const seen: number[] = [];
  for (const [at, k] of alive.entries()) {
    const row = Math.floor((k * n) / ranges.length) * n;
    for (let sample = at; sample < TYPICAL_SAMPLES; sample += alive.length) {
      const column = (Math.imul(sample + 1, 0x9e3779b1) >>> 0) % n;
      if (columnMaxima[column] !== 0) seen.push(matrix[row + column] as number);
    }
  }
  if (seen.length < FEW_SAMPLES) return 'none';
  const sorted = seen.toSorted((a, b) => a - b);
  const middle = sorted[sorted.length >> 1] as number;
  const first = sorted.indexOf(middle);
  const share = (sorted.lastIndexOf(middle) + 1 - first) / sorted.length;
  if (share > BACKGROUND_SHARE) return 'most';
  return share > MIDDLE_SHARE && first > SHARE_BELOW * sorted.length ? 'middle' : 'none';
}

/** Sums over some rows of a square matrix: of each row, of all their squares, of each column. */
export interface SampledSums {
  readonly rows: Float64Array;
  readonly squares: number;
  readonly columns: Float64Array;
}

/**
 * Columns differ by levels when their maxima follow their means as closely as this, one for one. Triangles: slope 0.15;
 * products: 1.8 and more.
 */
const LEVEL_CORRELATION = 0.9;
const LEVEL_SLOPE = 1.25;
/** Rows differ by levels when these vary (in squares) by so many times what remains after the levels of rows and columns. */
const LEVELS_OF_ROWS = 16;
/** What remains is known to this share of the squares that it is the difference of. */
const ROUNDING = 2 ** -40;

/**
 * Mends half the column maxima where whole columns or rows lie at levels of their own. Such a level is no reason for a
 * column to be wanted less: a column's price takes all of it, and half only of the maximum's height above it (a level
 * and Gaussian numbers a column, n = 256: 5.0 → 0.4 ms). Of rows it goes into whatever they get; but the highest rows
 * then make the maxima of all columns, which say nothing of the others (the same of rows: 1.0 → 0.4).
 */
export function followLevels(prices: Float64Array, maxima: Float32Array | Float64Array, sums: SampledSums): void {
  const samples = sums.rows.length;
  const n = maxima.length;
  let mean = 0;
  let highest = 0;
  for (let j = 0; j < n; j++) {
    mean += (sums.columns[j] as number) / samples / n;
    highest += (maxima[j] as number) / n;
  }
  let ofMeans = 0;
  let ofMaxima = 0;
  let ofBoth = 0;
  for (let j = 0; j < n; j++) {
    const low = (sums.columns[j] as number) / samples - mean;
    const high = (maxima[j] as number) - highest;
    ofMeans += low * low;
    ofMaxima += high * high;
    ofBoth += low * high;
  }
  let ofRows = 0;
  for (const sum of sums.rows) {
    const height = sum / n - mean;
    ofRows += height * height * n;
  }
  const rest = Math.max(ROUNDING * sums.squares, sums.squares - mean * mean * samples * n - ofRows - ofMeans * samples);
  const slope = ofBoth / ofMeans;
  // Beyond 1e150 squares overflow: slopes are then no numbers, nor is the rest, and no levels are found.
  const columnLevels =
    slope * LEVEL_SLOPE >= 1 && slope <= LEVEL_SLOPE && ofBoth >= LEVEL_CORRELATION * Math.sqrt(ofMeans) * Math.sqrt(ofMaxima);
  const rowLevels = ofRows > LEVELS_OF_ROWS * rest;
  if (!columnLevels && !rowLevels) return;
  for (let j = 0; j < n; j++) {
    const level = columnLevels ? (sums.columns[j] as number) / samples : 0;
    const price = rowLevels ? level : level / 2 + (maxima[j] as number) / 2;
    // As fine as the matrix and no finer, so that numbers with few steps between them still tie.
    prices[j] = maxima instanceof Float32Array ? Math.fround(price) : price;
  }
}
