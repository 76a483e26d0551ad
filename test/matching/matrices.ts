/** Seeded matrices for the tests and benchmarks of linear sum assignment: one function a kind, [rows, columns] row-major. */

export type Uniform = () => number;

/** Uniform numbers in [0, 1) from a 32-bit state (mulberry32): tests must not depend on the generator under test. */
export function uniformFrom(seed: number): Uniform {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function below(random: Uniform, bound: number): number {
  return Math.floor(random() * bound);
}

export function normal(random: Uniform): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

export function permutation(random: Uniform, n: number): Int32Array {
  const order = Int32Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const k = below(random, i + 1);
    [order[i], order[k]] = [order[k] as number, order[i] as number];
  }
  return order;
}

/** A matrix from a rule of (row, column). */
export function matrixOf(rows: number, columns: number, rule: (i: number, j: number) => number): Float64Array {
  const data = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) data[i * columns + j] = rule(i, j);
  return data;
}

/** X · Yᵀ with normal X [rows, rank] and Y [columns, rank]. */
export function lowRank(random: Uniform, rows: number, columns: number, rank: number): Float64Array {
  const x = Float64Array.from({ length: rows * rank }, () => normal(random));
  const y = Float64Array.from({ length: columns * rank }, () => normal(random));
  return matrixOf(rows, columns, (i, j) => {
    let sum = 0;
    for (let k = 0; k < rank; k++) sum += (x[i * rank + k] as number) * (y[j * rank + k] as number);
    return sum;
  });
}

/** Rows and columns of a fraction `share` of all indices set to zero: units that never fire. */
export function withDeadUnits(random: Uniform, data: Float64Array, rows: number, columns: number, share: number): Float64Array {
  const deadRow = Uint8Array.from({ length: rows }, () => Number(random() < share));
  const deadColumn = Uint8Array.from({ length: columns }, () => Number(random() < share));
  return data.map((value, k) => (deadRow[Math.floor(k / columns)] || deadColumn[k % columns] ? 0 : value));
}

export type Kind = (random: Uniform, rows: number, columns: number) => Float64Array;

/** Small matrices that between them meet every branch and every kind of degeneracy. */
export const smallKinds: Readonly<Record<string, Kind>> = {
  gaussian: (r, m, n) => matrixOf(m, n, () => normal(r)),
  uniform: (r, m, n) => matrixOf(m, n, () => r()),
  integers: (r, m, n) => matrixOf(m, n, () => below(r, 100)),
  'few integers': (r, m, n) => matrixOf(m, n, () => below(r, 3)),
  'zero or one': (r, m, n) => matrixOf(m, n, () => below(r, 2)),
  constant: (r, m, n) => {
    const value = normal(r);
    return matrixOf(m, n, () => value);
  },
  zeros: (_, m, n) => matrixOf(m, n, () => 0),
  'duplicate rows': (r, m, n) => {
    const base = lowRank(r, m, n, 4);
    return matrixOf(m, n, (i, j) => base[(i - (i % 4)) * n + j] as number);
  },
  'duplicate columns': (r, m, n) => {
    const base = matrixOf(m, n, () => normal(r));
    return matrixOf(m, n, (i, j) => base[i * n + j - (j % 8)] as number);
  },
  'rank 1': (r, m, n) => lowRank(r, m, n, 1),
  'rank 2': (r, m, n) => lowRank(r, m, n, 2),
  huge: (r, m, n) => matrixOf(m, n, () => normal(r) * 1e37),
  tiny: (r, m, n) => matrixOf(m, n, () => normal(r) * 1e-41),
  'wide range': (r, m, n) => matrixOf(m, n, () => normal(r) * 10 ** (below(r, 40) - 20)),
  'dead units': (r, m, n) => withDeadUnits(r, matrixOf(m, n, () => normal(r)), m, n, 0.2),
  'dead units, the others worse': (r, m, n) => withDeadUnits(r, matrixOf(m, n, () => -Math.abs(normal(r))), m, n, 0.3),
  'constant rows and columns': (r, m, n) => {
    const value = below(r, 5) - 2;
    return withDeadUnits(r, matrixOf(m, n, () => below(r, 7) - 3 - value), m, n, 0.4).map((other) => other + value);
  },
  'product of indices': (_, m, n) => matrixOf(m, n, (i, j) => -(i + 1) * (j + 1)),
  'sum of two vectors': (r, m, n) => {
    const a = Float64Array.from({ length: m }, r);
    const b = Float64Array.from({ length: n }, r);
    return matrixOf(m, n, (i, j) => (a[i] as number) + (b[j] as number));
  },
  'rows of many scales': (r, m, n) => {
    const scale = Float64Array.from({ length: m }, () => 10 ** (6 * r() - 3));
    return matrixOf(m, n, (i) => (scale[i] as number) * normal(r));
  },
  'minus distance on a line': (r, m, n) => {
    const a = Float64Array.from({ length: m }, r);
    const b = Float64Array.from({ length: n }, r);
    return matrixOf(m, n, (i, j) => -Math.abs((a[i] as number) - (b[j] as number)));
  },
  'nearly a permutation': (r, m, n) => {
    const order = permutation(r, Math.max(m, n));
    return matrixOf(m, n, (i, j) => (order[i] === j ? 1 : 0) + 0.01 * normal(r));
  },
};
