// Pairs that come as outer products: the same history as of the gradients multiplied out, and refusals.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Core, openCore } from '../../src/core/core.ts';
import { InvalidArgumentError, NotFiniteError } from '../../src/core/errors.ts';
import { tensorsWorthFactoring } from '../../src/matching/factored-product.ts';
import { GradientHistory } from '../../src/matching/history.ts';
import { matchingLayout } from '../../src/matching/layout.ts';
import type { OuterProducts } from '../../src/tensor/outer-products.ts';
import type { NamedTensors } from '../../src/tensor/tensor.ts';
import { specOf } from './straightforward.ts';
import { values } from '../portable/values.ts';

let core: Core;
beforeAll(async () => {
  core = await openCore();
});
afterAll(() => core[Symbol.dispose]());

const [size, width] = [40, 300] as const;
const spec = specOf({ dense: [[size, 'h'], [width, null]], bias: [[size, 'h']] });

const products = (terms: number, seed: number, inputs: Float32Array = values(terms * width, seed + 50)): OuterProducts => ({
  terms,
  left: values(terms * size, seed),
  right: inputs,
});

/** leftᵀ · right in f64. */
function whole({ terms, left, right }: OuterProducts): Float32Array {
  return Float32Array.from({ length: size * width }, (_, at) => {
    const [row, column] = [Math.floor(at / width), at % width];
    let sum = 0;
    for (let term = 0; term < terms; term++) sum += (left[term * size + row] as number) * (right[term * width + column] as number);
    return sum;
  });
}

const bias = (seed: number): NamedTensors => new Map([['bias', { shape: [size], data: values(size, seed) }]]);
const withDense = (tensors: NamedTensors, dense: OuterProducts): NamedTensors =>
  new Map([['dense', { shape: [size, width], data: whole(dense) }], ...tensors]);

test('a tensor that comes whole and in factors is refused, and counted by neither', () => {
  const history = new GradientHistory(core, spec, { budgetBytes: 2 ** 24 });
  const [target, source] = [products(9, 1), products(9, 2)];
  const factored = { target: new Map([['dense', target]]), source: new Map([['dense', source]]) };
  expect(() => history.add(withDense(bias(3), target), withDense(bias(4), source), factored)).toThrow(/dense: expected .* got both/);
  expect([history.pairs, history.squaredNorms]).toEqual([0, 0]);
});

describe.each([false, true])('normalise %s', (normalise) => {
  test.each([
    ['the same inputs on both sides', products(9, 1), products(9, 2, products(9, 1).right)],
    ['inputs of which the last number is another', products(9, 1), products(9, 2, products(9, 1).right.with(9 * width - 1, 20))],
    ['as many other inputs', products(9, 1), products(9, 2)],
    ['other inputs, and another number of them', products(9, 1), products(13, 2)],
  ])('%s', (_, target, source) => {
    const options = { budgetBytes: 2 ** 24, normalise };
    const [factored, plain] = [new GradientHistory(core, spec, options), new GradientHistory(core, spec, options)];
    for (const seed of [0, 5]) {
      factored.add(bias(3 + seed), bias(4 + seed), { target: new Map([['dense', target]]), source: new Map([['dense', source]]) });
      plain.add(withDense(bias(3 + seed), target), withDense(bias(4 + seed), source));
    }
    expect(factored.squaredNorms / plain.squaredNorms).toBeCloseTo(1, 6);
    expect(Math.abs(factored.identityObjective - plain.identityObjective) / plain.squaredNorms).toBeLessThan(1e-6);
    const [a, b] = [factored.staticSimilarity(0) as Float32Array, plain.staticSimilarity(0) as Float32Array];
    const scale = Math.max(...b.map(Math.abs));
    expect(Math.max(...a.map((x, i) => Math.abs(x - (b[i] as number)))) / scale).toBeLessThan(1e-6);
    expect(core.liveAllocations).toBe(0);
  });
});

test('a history that was cleared is a new one; a source that is known gives the same bytes', () => {
  const sides = (seed: number, terms: number) => {
    const source = products(terms, seed);
    return { target: new Map([['dense', products(terms, seed + 1, source.right)]]), source: new Map([['dense', source]]) };
  };
  const known = new WeakMap();
  const used = new GradientHistory(core, spec, { budgetBytes: 2 ** 24 });
  // More terms than are gathered, and few.
  const pairs = [sides(1, 80), sides(5, 9), sides(9, 9)];
  for (const [i, pair] of pairs.entries()) used.add(bias(i), bias(i + 7), pair, known);
  const first = used.staticSimilarity(0)?.slice();
  used.clear();
  expect(used.staticSimilarity(0)).toBeNull();
  expect(used.snapshot().arrays.size).toBe(0);
  const fresh = new GradientHistory(core, spec, { budgetBytes: 2 ** 24 });
  for (const history of [used, fresh])
    for (const [i, pair] of pairs.slice(1).entries()) history.add(bias(i), bias(i + 7), pair, history === used ? known : undefined);
  const [again, anew] = [used, fresh].map((history) => [history.squaredNorms, history.identityObjective, history.staticSimilarity(0)]);
  expect(again).toEqual(anew);
  expect(again?.[2]).not.toEqual(first);
  expect(core.liveAllocations).toBe(0);
});

test('a gradient of zeros adds nothing', () => {
  const history = new GradientHistory(core, spec, { budgetBytes: 2 ** 24, normalise: true });
  const none = { ...products(9, 1), left: new Float32Array(9 * size) };
  history.add(bias(1), bias(1), { target: new Map([['dense', none]]), source: new Map([['dense', products(9, 2)]]) });
  const alone = new GradientHistory(core, spec, { budgetBytes: 2 ** 24, normalise: true });
  alone.add(bias(1), bias(1));
  expect(history.staticSimilarity(0)).toEqual(alone.staticSimilarity(0));
  expect(history.identityObjective).toBe(alone.identityObjective);
});

test('refuses sides that disagree, other sizes, tensors with the group elsewhere and NaN, and adds nothing', () => {
  const history = new GradientHistory(core, spec, { budgetBytes: 2 ** 24 });
  const good = new Map([['dense', products(9, 1)]]);
  const add = (target: ReadonlyMap<string, OuterProducts>, source = good) => () => history.add(bias(1), bias(2), { target, source });
  expect(add(new Map())).toThrow(InvalidArgumentError);
  expect(add(new Map([['elsewhere', products(9, 1)]]), new Map([['elsewhere', products(9, 1)]]))).toThrow(/elsewhere/);
  expect(add(new Map([['dense', { ...products(9, 1), terms: 8 }]]))).toThrow(/outer products of 40 by 300/);
  expect(add(new Map([['dense', { ...products(9, 1), left: products(9, 1).left.with(7, Number.NaN) }]]))).toThrow(NotFiniteError);
  expect(history.pairs).toBe(0);
  expect(core.liveAllocations).toBe(0);
});

test('is worth it for wide layers over few inputs, on rows alone', () => {
  const layout = matchingLayout(specOf({
    wide: [[512, 'h'], [784, null]], narrow: [[8, 'g'], [784, null]], out: [[10, null], [512, 'h']], between: [[512, 'h'], [8, 'g']],
  }));
  expect(tensorsWorthFactoring(layout, 128)).toEqual(['wide']);
  expect(tensorsWorthFactoring(layout, 2048)).toEqual([]);
  expect(tensorsWorthFactoring(layout, 1)).toEqual(['wide', 'narrow']);
});
