/** Starting prices for matrices of one dimension, on which every shortest augmenting path method crawls. */

/** Pairs of rows and columns whose minors are looked at before a closer look: almost every matrix fails the first. */
const PROBES = 8;
/** Entries that must agree with x_i · y_j, as a share of the pivot. */
const SAMPLES = 128;
const TOLERANCE = 1e-3;

/**
 * Starting prices for matrices of one dimension: s_ij = a_i + b_j + x_i · y_j, such as products of two vectors, gradients
 * of a single sample, or −(x_i − y_j)². Their optimum pairs sorted x with sorted y, and every shortest augmenting path
 * method crawls on them (n paths of length n: 350 ms at n = 1024). Prices between the slopes of the sorted pairs make
 * each row's partner its clear favourite: 2 ms. Only a start: whatever the matrix, the solver stays exact.
 * @returns prices for the columns of a square matrix to be maximised, or undefined when it is not of this kind.
 */
export function oneDimensionalPrices(matrix: Float32Array | Float64Array, n: number): Float64Array | undefined {
  if (n < 4) return undefined;
  const at = (i: number, j: number): number => matrix[i * n + j] as number;
  // Row and column offsets vanish from t_ij = s_ij − s_i0 − s_0j + s_00.
  const centred = (i: number, j: number): number => at(i, j) - at(i, 0) - at(0, j) + at(0, 0);
  const index = (k: number): number => 1 + ((Math.imul(k, 0x9e3779b1) >>> 0) % (n - 1));
  for (let k = 1; k <= PROBES; k++) {
    const [i, j, g, h] = [index(4 * k), index(4 * k + 1), index(4 * k + 2), index(4 * k + 3)];
    const one = centred(i, j) * centred(g, h);
    const other = centred(i, h) * centred(g, j);
    if (!(Math.abs(one - other) <= 0.1 * Math.max(Math.abs(one), Math.abs(other)))) return undefined;
  }

  const largest = (size: number, value: (k: number) => number): number => {
    let best = 0;
    for (let k = 1; k < size; k++) if (Math.abs(value(k)) > Math.abs(value(best))) best = k;
    return best;
  };
  let column = index(1);
  const row = largest(n, (i) => centred(i, column));
  column = largest(n, (j) => centred(row, j));
  const pivot = centred(row, column);
  if (!(Math.abs(pivot) > 0) || !Number.isFinite(pivot)) return undefined;
  const x = Float64Array.from({ length: n }, (_, i) => centred(i, column));
  const y = Float64Array.from({ length: n }, (_, j) => centred(row, j) / pivot);
  for (let k = 1; k <= SAMPLES; k++) {
    const [i, j] = [index(2 * k + 1000), index(2 * k + 1001)];
    const difference = Math.abs(centred(i, j) - (x[i] as number) * (y[j] as number));
    if (!(difference <= TOLERANCE * Math.abs(pivot))) return undefined;
  }

  const sortedX = x.toSorted();
  const order = Int32Array.from({ length: n }, (_, j) => j).toSorted((a, b) => (y[a] as number) - (y[b] as number) || a - b);
  const prices = new Float64Array(n);
  let price = 0;
  let magnitude = Math.abs(pivot);
  for (let k = 0; k < n; k++) {
    const j = order[k] as number;
    if (k > 0) {
      const slope = ((sortedX[k - 1] as number) + (sortedX[k] as number)) / 2;
      price += slope * ((y[j] as number) - (y[order[k - 1] as number] as number));
    }
    prices[j] = price + at(0, j);
    magnitude = Math.max(magnitude, Math.abs(prices[j] as number), Math.abs(at(0, j)));
  }
  if (!Number.isFinite(magnitude)) return undefined;
  // Multiples of a power of two fine enough not to matter: sums with integers then stay exact.
  let grain = 1;
  while (grain < magnitude) grain *= 2;
  while (grain > magnitude && grain > 1e-290) grain /= 2;
  grain *= 2 ** -46;
  return prices.map((value) => Math.round(value / grain) * grain);
}
