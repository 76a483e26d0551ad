// Permutations: bijections only, the one convention, and what applying them does to tensors, against index tuples.
import { describe, expect, test } from 'vitest';
import { InvalidArgumentError } from '../../src/core/errors.ts';
import {
  changedUnits,
  composePermutations,
  identityPermutations,
  invertPermutations,
  permuteTensors,
  randomPermutations,
  requirePermutations,
} from '../../src/matching/permutation.ts';
import { permuteOne, randomTensors, specOf } from './straightforward.ts';

/** Every place an axis can have: first, middle, last, two at once, split by a flattening, the same group twice. */
const spec = specOf(
  {
    conv: [[5, 'a'], [3, null], [2, null], [2, null]],
    bias: [[5, 'a']],
    inner: [[7, 'b'], [5, 'a'], [3, null]],
    dense: [[4, 'c'], [7, 'b'], [6, null]],
    head: [[3, null], [4, 'c']],
    square: [[5, 'a'], [5, 'a']],
    wide: [[2, null], [5, 'a'], [40, null]],
    fixed: [[3, null]],
  },
  { dense: [4, 42] },
);

describe('permuteTensors', () => {
  const tensors = randomTensors(spec, 1);
  const perms = randomPermutations(spec, 2);

  test('permuted[i, …] = original[perm[i], …] on every axis of the view', () => {
    const permuted = permuteTensors(spec, tensors, perms);
    for (const [name, { data, shape }] of tensors) {
      expect(permuted.get(name)?.shape).toEqual(shape);
      expect([...(permuted.get(name)?.data ?? [])], name).toEqual([...permuteOne(spec, name, data, perms)]);
    }
    // Not vacuous: the permutations move something, the fixed tensor stays.
    for (const perm of perms.values()) expect(perm.some((from, to) => from !== to)).toBe(true);
    expect(permuted.get('inner')?.data).not.toEqual(tensors.get('inner')?.data);
    expect(permuted.get('fixed')).toBe(tensors.get('fixed'));
  });

  test('the inverse undoes, composition is one after the other, the identity moves nothing', () => {
    const second = randomPermutations(spec, 3);
    const both = permuteTensors(spec, permuteTensors(spec, tensors, perms), second);
    expect(permuteTensors(spec, tensors, composePermutations(perms, second))).toEqual(both);
    expect(permuteTensors(spec, permuteTensors(spec, tensors, perms), invertPermutations(perms))).toEqual(tensors);
    expect(permuteTensors(spec, tensors, identityPermutations(spec))).toEqual(tensors);
  });

  test('the same seed gives the same permutations, another seed others', () => {
    expect(randomPermutations(spec, 2)).toEqual(perms);
    expect(randomPermutations(spec, 4)).not.toEqual(perms);
  });

  test('refuses unknown tensors and other shapes, and leaves its input alone', () => {
    const copy = structuredClone(new Map(tensors));
    permuteTensors(spec, tensors, perms);
    expect(new Map(tensors)).toEqual(copy);
    const zero = { shape: [2], data: new Float32Array(2) };
    expect(() => permuteTensors(spec, new Map([['nobody', zero]]), perms)).toThrow(InvalidArgumentError);
    expect(() => permuteTensors(spec, new Map([['bias', zero]]), perms)).toThrow(/bias: expected shape \[5\], got \[2\]/);
  });
});

describe('requirePermutations', () => {
  const good = identityPermutations(spec);
  const withA = (perm: unknown): ReturnType<typeof identityPermutations> => new Map([...good, ['a', perm as Int32Array]]);

  test.each([
    ['a wrong length', withA(Int32Array.of(0, 1, 2)), /permutations\.a: expected 5 indices, got 3/],
    ['an index twice', withA(Int32Array.of(0, 1, 2, 2, 4)), /a\[3\]: expected every index once.*got 2, which stands at 2 too/],
    ['an index out of range', withA(Int32Array.of(0, 1, 2, 3, 5)), /a\[4\]: expected an index in \[0, 4\], got 5/],
    ['a negative index', withA(Int32Array.of(0, -1, 2, 3, 4)), /got -1/],
    ['a plain array', withA([0, 1, 2, 3, 4]), /expected an Int32Array of 5 indices/],
    ['a missing group', new Map([...good].slice(1)), /permutations\.a: .*undefined/],
    ['an unknown group', new Map([...good, ['zz', Int32Array.of(0)]]), /zz: expected one of the groups/],
  ])('refuses %s', (_, perms, message) => {
    expect(() => requirePermutations(spec, perms)).toThrow(InvalidArgumentError);
    expect(() => requirePermutations(spec, perms)).toThrow(message);
  });

  test('accepts bijections', () => {
    expect(() => requirePermutations(spec, randomPermutations(spec, 9))).not.toThrow();
  });

  test('composition refuses other groups and sizes', () => {
    expect(() => composePermutations(good, withA(Int32Array.of(0)))).toThrow(/second\.a: expected a permutation of 5 units/);
    expect(() => composePermutations(good, new Map([...good, ['zz', Int32Array.of(0)]]))).toThrow(InvalidArgumentError);
  });
});

test('changedUnits lists where two permutations differ', () => {
  expect([...changedUnits(Int32Array.of(0, 1, 2, 3), Int32Array.of(0, 2, 1, 3))]).toEqual([1, 2]);
});
