/** Kinds of matrices on which no solver of ours may be slower than scipy, seeded; [n, n] row-major. */
import {
  type Uniform, below, lowRank, matrixOf, normal, permutation, withDeadUnits,
} from '../test/matching/matrices.ts';

type Square = (random: Uniform, n: number) => Float64Array;

const vector = (n: number, value: () => number): Float64Array => Float64Array.from({ length: n }, value);
const gaussian: Square = (r, n) => matrixOf(n, n, () => normal(r));

/** Rows and columns repeated `times` over, then shuffled. */
function duplicated(r: Uniform, n: number, times: number, rows: boolean, columns: boolean): Float64Array {
  const rowOrder = permutation(r, n);
  const columnOrder = permutation(r, n);
  const base = gaussian(r, n);
  const pick = (k: number, repeat: boolean): number => (repeat ? k - (k % times) : k);
  return matrixOf(n, n, (i, j) => base[pick(rowOrder[i] as number, rows) * n + pick(columnOrder[j] as number, columns)] as number);
}

function points(r: Uniform, n: number, value: (a: readonly number[], b: readonly number[]) => number): Float64Array {
  const from = Array.from({ length: n }, () => [r(), r()] as const);
  const to = Array.from({ length: n }, () => [r(), r()] as const);
  return matrixOf(n, n, (i, j) => value(from[i] as readonly number[], to[j] as readonly number[]));
}

/**
 * What gradient matching meets: the product of two networks' gradients of a dense layer. Rank of the batch, columns of
 * ReLU units that fire for some of the examples only, a share of them for none, the target a noisy permutation of the source.
 */
function gradientLike(r: Uniform, n: number, batch = 128, dead = 0.1): Float64Array {
  const order = permutation(r, n);
  const scale = vector(n, () => Math.exp(normal(r)) * Number(r() >= dead));
  const source = matrixOf(n, batch, (i) => Math.max(0, normal(r)) * (scale[i] as number));
  const target = matrixOf(n, batch, (i, k) => {
    const twin = source[(order[i] as number) * batch + k] as number;
    return twin === 0 ? 0 : Math.max(0, 0.5 * twin + 0.5 * normal(r) * (scale[order[i] as number] as number));
  });
  const product = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let k = 0; k < batch; k++) sum += (source[i * batch + k] as number) * (target[j * batch + k] as number);
      product[i * n + j] = sum;
    }
  }
  return product;
}

export const deadUnits: Square = (r, n) => withDeadUnits(r, gaussian(r, n), n, n, 0.2);
export const duplicates: Square = (r, n) => duplicated(r, n, 8, true, true);
export const integers: Square = (r, n) => matrixOf(n, n, () => below(r, 100));
export const constants: Square = (_, n) => matrixOf(n, n, () => 2.5);
/** Cosines of 64 random features and of their permuted twins with a little noise. */
export const nearlyAPermutation: Square = (r, n) => {
  const width = 64;
  const order = permutation(r, n);
  const x = vector(n * width, () => normal(r) / 8);
  const y = matrixOf(n, width, (i, k) => (x[(order[i] as number) * width + k] as number) + 0.05 * normal(r) / 8);
  return matrixOf(n, n, (i, j) => {
    let sum = 0;
    for (let k = 0; k < width; k++) sum += (x[i * width + k] as number) * (y[j * width + k] as number);
    return sum;
  });
};
export const rank = (k: number): Square => (r, n) => lowRank(r, n, n, k);

export const kinds: Readonly<Record<string, Square>> = {
  gaussian,
  uniform: (r, n) => matrixOf(n, n, r),
  exponential: (r, n) => matrixOf(n, n, () => -Math.log(1 - r())),
  'log-normal': (r, n) => matrixOf(n, n, () => Math.exp(2 * normal(r))),
  'heavy tails': (r, n) => matrixOf(n, n, () => normal(r) / Math.max(1e-3, Math.abs(normal(r)))),
  'integers 0–99': integers,
  'integers 0–9': (r, n) => matrixOf(n, n, () => below(r, 10)),
  'coin flips': (r, n) => matrixOf(n, n, () => below(r, 2)),
  'ones at 1 %': (r, n) => matrixOf(n, n, () => Number(r() < 0.01)),
  'ones at 10 %': (r, n) => matrixOf(n, n, () => Number(r() < 0.1)),
  constant: constants,
  zeros: (_, n) => new Float64Array(n * n),
  'rank 1': rank(1),
  'rank 1, positive': (r, n) => {
    const [x, y] = [vector(n, r), vector(n, r)];
    return matrixOf(n, n, (i, j) => (x[i] as number) * (y[j] as number));
  },
  'rank 1, noisy': (r, n) => rank(1)(r, n).map((value) => value + 0.01 * normal(r)),
  'rank 2': rank(2),
  'rank 3': rank(3),
  'rank 10': rank(10),
  'rank 100': rank(100),
  'product of indices': (_, n) => matrixOf(n, n, (i, j) => (i + 1) * (j + 1)),
  'minus product of indices': (_, n) => matrixOf(n, n, (i, j) => -(i + 1) * (j + 1)),
  'distance of indices': (_, n) => matrixOf(n, n, (i, j) => Math.abs(i - j)),
  'minus distance on a line': (r, n) => points(r, n, (a, b) => -Math.abs((a[0] as number) - (b[0] as number))),
  'minus squared distance on a line': (r, n) => points(r, n, (a, b) => -(((a[0] as number) - (b[0] as number)) ** 2)),
  'minus root of distance on a line': (r, n) => points(r, n, (a, b) => -Math.sqrt(Math.abs((a[0] as number) - (b[0] as number)))),
  'minus distance in a plane': (r, n) =>
    points(r, n, (a, b) => -Math.hypot((a[0] as number) - (b[0] as number), (a[1] as number) - (b[1] as number))),
  'distance in a plane': (r, n) =>
    points(r, n, (a, b) => Math.hypot((a[0] as number) - (b[0] as number), (a[1] as number) - (b[1] as number))),
  'minus Manhattan distance, integers': (r, n) =>
    points(
      r,
      n,
      (a, b) =>
        -Math.floor(50 * Math.abs((a[0] as number) - (b[0] as number))) - Math.floor(50 * Math.abs((a[1] as number) - (b[1] as number))),
    ),
  band: (r, n) => matrixOf(n, n, (i, j) => (Math.abs(i - j) <= 10 ? 1 + r() : 0)),
  'band of integers': (r, n) => matrixOf(n, n, (i, j) => (Math.abs(i - j) <= 20 ? below(r, 10) : -100)),
  blocks: (r, n) => matrixOf(n, n, (i, j) => (Math.floor((8 * i) / n) === Math.floor((8 * j) / n) ? 3 : 0) + normal(r)),
  'constant blocks': (_, n) => matrixOf(n, n, (i, j) => (Math.floor((8 * i) / n) * Math.floor((8 * j) / n)) % 5),
  'upper triangle': (r, n) => matrixOf(n, n, (i, j) => (j >= i ? r() : 0)),
  'lower triangle': (r, n) => matrixOf(n, n, (i, j) => (j <= i ? r() : 0)),
  'triangle, permuted': (r, n) => {
    const [rows, columns] = [permutation(r, n), permutation(r, n)];
    return matrixOf(n, n, (i, j) => ((columns[j] as number) >= (rows[i] as number) ? r() : 0));
  },
  'triangle of Gaussians': (r, n) => matrixOf(n, n, (i, j) => (j >= i ? normal(r) : 0)),
  'half a triangle': (r, n) => matrixOf(n, n, (i, j) => (2 * j >= i ? r() : 0)),
  arrow: (r, n) => matrixOf(n, n, (i, j) => (i === 0 || j === 0 || i === j ? r() : 0)),
  'sparse, 2 %': (r, n) => matrixOf(n, n, () => (r() < 0.02 ? r() : 0)),
  'sparse Gaussians, 3 %': (r, n) => matrixOf(n, n, () => (r() < 0.03 ? normal(r) : 0)),
  'all ones above the diagonal': (_, n) => matrixOf(n, n, (i, j) => Number(j > i)),
  'dead units 20 %': deadUnits,
  'dead units 50 %': (r, n) => withDeadUnits(r, gaussian(r, n), n, n, 0.5),
  'dead rows': (r, n) => {
    const alive = vector(n, () => Number(r() < 0.7));
    return matrixOf(n, n, (i) => (alive[i] as number) * normal(r));
  },
  'dead rows 90 %': (r, n) => {
    const alive = vector(n, () => Number(r() < 0.1));
    return matrixOf(n, n, (i) => (alive[i] as number) * normal(r));
  },
  'gradient-like': (r, n) => gradientLike(r, n, 64),
  'duplicate rows ×8': (r, n) => duplicated(r, n, 8, true, false),
  'duplicate columns ×8': (r, n) => duplicated(r, n, 8, false, true),
  'duplicate columns ×32': (r, n) => duplicated(r, n, 32, false, true),
  'duplicates ×8': duplicates,
  'nearly duplicates ×8': (r, n) => duplicates(r, n).map((value) => value + 1e-4 * normal(r)),
  'nearly a permutation': nearlyAPermutation,
  'a permutation': (r, n) => {
    const order = permutation(r, n);
    return matrixOf(n, n, (i, j) => Number(order[i] === j));
  },
  'wide dynamic range': (r, n) => matrixOf(n, n, () => normal(r) * 10 ** (20 * r() - 10)),
  'rows of many scales': (r, n) => {
    const scale = vector(n, () => 10 ** (6 * r() - 3));
    return matrixOf(n, n, (i) => (scale[i] as number) * normal(r));
  },
  'columns of many scales': (r, n) => {
    const scale = vector(n, () => 10 ** (6 * r() - 3));
    return matrixOf(n, n, (_, j) => (scale[j] as number) * normal(r));
  },
  'sum of two vectors': (r, n) => {
    const [a, b] = [vector(n, r), vector(n, r)];
    return matrixOf(n, n, (i, j) => (a[i] as number) + (b[j] as number));
  },
  'sum of two vectors and a little noise': (r, n) => {
    const [a, b] = [vector(n, r), vector(n, r)];
    return matrixOf(n, n, (i, j) => (a[i] as number) + (b[j] as number) + 1e-3 * normal(r));
  },
  'a level a row': (r, n) => {
    const level = vector(n, () => 10 * normal(r));
    return matrixOf(n, n, (i) => (level[i] as number) + normal(r));
  },
  'a level a column': (r, n) => {
    const level = vector(n, () => 10 * normal(r));
    return matrixOf(n, n, (_, j) => (level[j] as number) + normal(r));
  },
  'minus least of indices': (_, n) => matrixOf(n, n, (i, j) => -Math.min(i, j)),
  'least of indices': (_, n) => matrixOf(n, n, (i, j) => Math.min(i, j)),
  'greatest of indices': (_, n) => matrixOf(n, n, (i, j) => Math.max(i, j)),
  'product of indices modulo n': (_, n) => matrixOf(n, n, (i, j) => (i * j) % n),
  'exclusive or of indices': (_, n) => matrixOf(n, n, (i, j) => i ^ j),
  'Hilbert matrix': (_, n) => matrixOf(n, n, (i, j) => 1 / (i + j + 1)),
  waves: (_, n) => matrixOf(n, n, (i, j) => Math.cos(0.37 * i) * Math.cos(0.11 * j) + Math.sin(0.05 * (i - j))),
  'one column for all': (r, n) => matrixOf(n, n, (_, j) => (j === 0 ? 10 : 0) + 0.1 * normal(r)),
  'few good columns': (r, n) => matrixOf(n, n, (_, j) => (j % 10 === 0 ? 5 : 0) + normal(r)),
};
