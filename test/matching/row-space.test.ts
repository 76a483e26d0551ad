// Products through a basis of the row space: the definition in f64 for gradients of low rank, refused where rank is not low.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Core, openCore } from '../../src/core/core.ts';
import { matmul } from '../../src/core/matmul.ts';
import { GradientHistory } from '../../src/matching/history.ts';
import { factorise, largestUsefulRank } from '../../src/matching/row-space.ts';
import { specOf } from './straightforward.ts';
import { values } from '../portable/values.ts';

let core: Core;
beforeAll(async () => {
  core = await openCore();
});
afterAll(() => core[Symbol.dispose]());

const [rows, width] = [640, 800] as const;

/** Σ of `rank` outer products whose sizes fall from 1 to 1e-3, every fifth row zero, and `noise` of full rank. */
function gradient(rank: number, seed: number, noise = 0): Float32Array {
  const [left, right, rest] = [values(rows * rank, seed), values(rank * width, seed + 1), values(rows * width, seed + 2)];
  const out = new Float32Array(rows * width);
  for (let i = 0; i < rows; i++) {
    if (i % 5 === 0) continue;
    for (let j = 0; j < width; j++) {
      let sum = noise * (rest[i * width + j] as number);
      for (let r = 0; r < rank; r++) sum += (1e-3 + 1 / (1 + r)) * (left[i * rank + r] as number) * (right[r * width + j] as number);
      out[i * width + j] = sum;
    }
  }
  return out;
}

/** ‖got − T·Sᵀ‖ ÷ (‖T‖ · ‖S‖) over every 7th row, in f64. */
function error(got: Float32Array, target: Float32Array, source: Float32Array): number {
  const norm = (x: Float32Array): number => Math.sqrt(x.reduce((sum, v) => sum + v * v, 0));
  let squares = 0;
  for (let i = 0; i < rows; i += 7) {
    for (let j = 0; j < rows; j++) {
      let sum = 0;
      for (let l = 0; l < width; l++) sum += (target[i * width + l] as number) * (source[j * width + l] as number);
      squares += ((got[i * rows + j] as number) - sum) ** 2;
    }
  }
  return Math.sqrt(squares) / norm(target) / norm(source);
}

function throughBasis(target: Float32Array, source: Float32Array, mostRank: number): { rank: number; product: Float32Array } | undefined {
  return core.scoped((scratch) => {
    const factors = factorise(core, scratch.upload(target), scratch.upload(source), rows, width, mostRank);
    if (factors === undefined) return undefined;
    const rank = factors.left.length / rows;
    const [a, b, product] = [scratch.upload(factors.left), scratch.upload(factors.right), scratch.f32(rows * rows)];
    matmul(core, { a, b, c: product, m: rows, n: rows, k: rank, transposeA: true });
    return { rank, product: core.f32(product, rows * rows).slice() };
  });
}

describe('factorise', () => {
  test.each([1, 9, 40])('rank %i: the product to f32 rounding, whatever the rank of the source', (rank) => {
    const target = gradient(rank, 10 + rank);
    const source = gradient(60, 50);
    const { rank: found, product } = throughBasis(target, source, 80) as NonNullable<ReturnType<typeof throughBasis>>;
    expect(found).toBeGreaterThanOrEqual(rank);
    expect(found).toBeLessThanOrEqual(rank + 12);
    expect(error(product, target, source)).toBeLessThan(1e-6);
  });

  test('refuses ranks above the one that pays, and small parts of full rank', () => {
    const source = gradient(5, 3);
    expect(throughBasis(gradient(100, 1), source, 80)).toBeUndefined();
    // 1e-4 of the gradient in all directions: more than the rounding of f32, so it must not be lost.
    expect(throughBasis(gradient(9, 1, 1e-4), source, 80)).toBeUndefined();
    expect(throughBasis(gradient(9, 1, 1e-5), source, 80)).toBeUndefined();
  });

  test('the product of every row to its own rounding: rows that are all but one 1e-8 of the loudest', () => {
    const [loud, source] = [gradient(40, 70), gradient(60, 50)];
    const target = loud.map((value, at) => (Math.floor(at / width) === 1 ? value : 1e-8 * value));
    const { product } = throughBasis(target, source, 80) as NonNullable<ReturnType<typeof throughBasis>>;
    const norm = (x: Float32Array): number => Math.sqrt(x.reduce((sum, v) => sum + v * v, 0));
    for (let i = 0; i < rows; i += 7) {
      const row = target.subarray(i * width, (i + 1) * width);
      let squares = 0;
      for (let j = 0; j < rows; j++) {
        let sum = 0;
        for (let l = 0; l < width; l++) sum += (row[l] as number) * (source[j * width + l] as number);
        squares += ((product[i * rows + j] as number) - sum) ** 2;
      }
      expect(Math.sqrt(squares), `row ${i}`).toBeLessThanOrEqual(1e-6 * norm(row) * norm(source));
    }
  });

  test('a gradient of zeros has no directions; nothing stays on the heap', () => {
    const found = throughBasis(new Float32Array(rows * width), gradient(5, 3), 80);
    expect(found?.rank).toBe(0);
    expect(found?.product.every((x) => x === 0)).toBe(true);
    expect(core.liveAllocations).toBe(0);
  });
});

describe('GradientHistory', () => {
  test('sums dense layers through their row spaces, for less work', () => {
    const size = 640;
    expect(largestUsefulRank(size, size, width)).toBeGreaterThan(30);
    expect(largestUsefulRank(64, 64, width)).toBe(0);
    const spec = specOf({ dense: [[size, 'h'], [width, null]] });
    const history = new GradientHistory(core, spec, { budgetBytes: 2 ** 26 });
    const pairs = [1, 2].map((seed) => ({ target: gradient(20, seed), source: gradient(20, seed + 100) }));
    for (const { target, source } of pairs) {
      history.add(
        new Map([['dense', { shape: [size, width], data: target }]]),
        new Map([['dense', { shape: [size, width], data: source }]]),
      );
    }
    expect(history.productFlops).toBeLessThan(0.5 * 2 * 2 * size * size * width);
    const [first, second] = pairs as [(typeof pairs)[0], (typeof pairs)[0]];
    const sum = history.staticSimilarity(0) as Float32Array;
    // What the first pair does not explain is the second one's product.
    const alone = throughBasis(first.target, first.source, 80) as NonNullable<ReturnType<typeof throughBasis>>;
    expect(error(sum.map((x, i) => x - (alone.product[i] as number)), second.target, second.source)).toBeLessThan(1e-6);
  });
});
