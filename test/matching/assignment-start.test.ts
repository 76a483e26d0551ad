import { expect, test } from 'vitest';
import { mongePrices } from '../../src/matching/assignment-monge.ts';
import { backgroundOf, moreDeadRows } from '../../src/matching/assignment-start.ts';
import { matrixOf, normal, uniformFrom, withDeadUnits } from './matrices.ts';

const n = 96;
const random = uniformFrom(5);
const told = (matrix: Float64Array) => {
  const rows = Array.from({ length: 32 }, (_, k) => matrix.subarray(Math.floor((k * n) / 32) * n, (Math.floor((k * n) / 32) + 1) * n));
  const ranges = Float64Array.from(rows, (row) => Math.max(...row) - Math.min(...row));
  const maxima = Float64Array.from({ length: n }, (_, j) =>
    Math.max(...Array.from({ length: n }, (_row, i) => matrix[i * n + j] as number)),
  );
  return { background: backgroundOf(matrix, ranges, maxima), moreDeadRows: moreDeadRows(ranges, maxima) };
};
const gaussian = matrixOf(n, n, () => normal(random));
const halfDead = Array.from({ length: n }, () => random() < 0.5);

test.each([
  ['an arrow', matrixOf(n, n, (i, j) => (i === 0 || j === 0 || i === j ? 1 + random() : 0)), 'most', false],
  ['3 % of numbers over a floor of −2', matrixOf(n, n, () => (random() < 0.03 ? normal(random) : -2)), 'most', false],
  ['half of the numbers, of both signs', matrixOf(n, n, () => (random() < 0.5 ? normal(random) : 0)), 'middle', false],
  ['half of the numbers, positive', matrixOf(n, n, () => (random() < 0.5 ? random() : 0)), 'none', false],
  ['Gaussian numbers', gaussian, 'none', false],
  ['few steps between numbers', matrixOf(n, n, () => Math.floor(3 * random())), 'none', false],
  ['half of the units dead, both in rows and columns', withDeadUnits(random, gaussian, n, n, 0.5), 'none', false],
  ['dead rows', matrixOf(n, n, (i, j) => (halfDead[i] ? 0 : (gaussian[i * n + j] as number))), 'none', true],
] as const)('a matrix tells whether most of it is one number, and whether rows are dead: %s', (_, matrix, background, dead) => {
  expect(told(matrix)).toEqual({ background, moreDeadRows: dead });
});

const ofIndices = (f: (i: number, j: number) => number) => matrixOf(n, n, f);
test.each([
  ['least of indices', ofIndices((i, j) => Math.min(i, j)), true],
  ['minus the least', ofIndices((i, j) => -Math.min(i, j)), false],
  ['greatest of indices', ofIndices((i, j) => Math.max(i, j)), false],
  ['Hilbert matrix', ofIndices((i, j) => 1 / (i + j + 1)), true],
  ['minus the distance to the third power, with levels', ofIndices((i, j) => -(Math.abs(i - j) ** 3) + 7 * i - 100 * Math.cos(j)), true],
])('a Monge matrix gets prices at which each row would have its partner: %s', (_, matrix, inOrder) => {
  const prices = mongePrices(matrix, n) as Float64Array;
  const scale = Math.max(...matrix.map(Math.abs));
  for (let i = 0; i < n; i++) {
    const gains = Array.from({ length: n }, (_column, j) => (matrix[i * n + j] as number) - (prices[j] as number));
    expect(Math.max(...gains) - (gains[inOrder ? i : n - 1 - i] as number), `row ${i}`).toBeLessThanOrEqual(1e-12 * scale);
  }
});

test.each([
  ['Gaussian numbers', gaussian],
  ['all one number', ofIndices(() => 5)],
  ['mostly zeros, the rest in order', ofIndices((i, j) => (i < 20 && j < 20 ? Math.min(i, j) : 0))],
  ['sums of two vectors', ofIndices((i, j) => Math.sin(i) + Math.cos(j))],
  ['rows out of order', ofIndices((i, j) => Math.min((i * 37) % n, j))],
  ['an infinity on the way', ofIndices((i, j) => (i === 5 && j === 6 ? -Infinity : Math.min(i, j)))],
])('other matrices get none: %s', (_, matrix) => {
  expect(mongePrices(matrix, n)).toBeUndefined();
});
