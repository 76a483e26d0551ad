/** Starting prices for Monge matrices, which are one-sided: of two rows the later wants later columns more, or wants them less. */

/** Minors that are looked at: a random matrix shows both signs after three. */
const SAMPLES = 256;
/** So many of them at least have a sign: in a matrix that is mostly one number, few minors say anything. */
const SIGNED = SAMPLES / 2;
/** Below this share of its entries a minor is rounding. */
const ROUNDING = 2 ** -20;
/** Below, paths are short. */
const LEAST_SIZE = 64;

/**
 * Starting prices for matrices whose minors s_ij + s_gh − s_ih − s_gj (i < g, j < h) are nowhere negative, or nowhere positive: the least,
 * the greatest or a convex function of the sum of two indices, Hilbert's matrix. Their optimum pairs rows and columns in order, or in
 * reverse. Prices that step from partner to partner by the mean of what the two rows between them would pay make each row's
 * partner its favourite; without, rows reach theirs by paths of length n (−min(i, j) at n = 1024: 155 ms → 1.3). Only a start: whatever
 * the matrix, the solver stays exact.
 * @returns prices for the columns of a square matrix to be maximised, or undefined where some minors say that it is not of this kind.
 */
export function mongePrices(matrix: Float32Array | Float64Array, n: number): Float64Array | undefined {
  if (n < LEAST_SIZE) return undefined;
  const at = (i: number, j: number): number => matrix[i * n + j] as number;
  let [positive, negative] = [0, 0];
  for (let k = 1; k <= SAMPLES; k++) {
    const [i, g] = twoInOrder(4 * k, n);
    // Columns by a stride of their own, or they would always lie as far from the rows.
    const [j, h] = twoInOrder(5 * k + 2, n);
    const [along, against] = [at(i, j) + at(g, h), at(i, h) + at(g, j)];
    const minor = along - against;
    if (Math.abs(minor) <= ROUNDING * (Math.abs(along) + Math.abs(against))) continue;
    if (minor > 0) positive++;
    else negative++;
    if (positive > 0 && negative > 0) return undefined;
  }
  if (positive + negative < SIGNED) return undefined;
  const inOrder = positive > 0;
  const partner = (row: number): number => (inOrder ? row : n - 1 - row);
  const prices = new Float64Array(n);
  for (let k = 1; k < n; k++) {
    const [before, own] = [partner(k - 1), partner(k)];
    const [least, most] = [at(k - 1, own) - at(k - 1, before), at(k, own) - at(k, before)];
    if (least - most > ROUNDING * (Math.abs(at(k, own)) + Math.abs(at(k - 1, before)))) return undefined;
    prices[own] = (prices[before] as number) + (least + most) / 2;
  }
  return prices.every(Number.isFinite) ? prices : undefined;
}

/** Two different indices below n, far apart: of numbers k · 0.618…, high bits, since low ones repeat where n is a power of two. */
function twoInOrder(k: number, n: number): [number, number] {
  const [first, second] = [k, k + 1].map((own) => Math.floor(((Math.imul(own, 0x9e3779b1) >>> 0) / 2 ** 32) * n)) as [number, number];
  return first < second ? [first, second] : [second, first];
}
