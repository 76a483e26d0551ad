/** Assignment in blocks against all permutations that keep them, and arranged axes against their definition. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCore, type Core } from '../../src/core/core.ts';
import { arrangedPermutation, piecesOf, selectPiece } from '../../src/matching/arrangement.ts';
import { assignBlocks, firstMisplaced } from '../../src/matching/block-assignment.ts';
import { permuteTensors, randomPermutations } from '../../src/matching/permutation.ts';
import type { BlockStructure } from '../../src/model/permutation-spec.ts';
import { derivePermutationSpec } from '../../src/model/permutation-spec.ts';
import { preset } from '../../src/model/presets.ts';
import { randomTensors } from './straightforward.ts';

let core: Core;
beforeAll(async () => {
  core = await openCore();
});
afterAll(() => core[Symbol.dispose]());

function* orders(items: readonly number[]): Generator<number[]> {
  if (items.length === 0) yield [];
  for (const [i, item] of items.entries()) for (const rest of orders(items.toSpliced(i, 1))) yield [item, ...rest];
}

/** Every permutation of units that moves whole blocks, alike in all parts. */
function* blockPermutations({ blocks, parts }: BlockStructure): Generator<number[]> {
  const inner = (part: number): number[][] => [...orders(Array.from({ length: part }, (_, i) => i))];
  for (const outer of orders(Array.from({ length: blocks }, (_, i) => i))) {
    let choices: number[][] = [[]];
    let start = 0;
    for (const part of parts) {
      for (const block of outer) {
        const base = start + block * part;
        choices = choices.flatMap((choice) => inner(part).map((order) => [...choice, ...order.map((i) => base + i)]));
      }
      start += blocks * part;
    }
    yield* choices;
  }
}

const pseudo = (count: number, seed: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => Math.fround(Math.sin(i * 12.9898 + seed) * 3));

describe('assignBlocks', () => {
  test.each<[BlockStructure, number]>([
    [{ blocks: 3, parts: [2] }, 48],
    [{ blocks: 2, parts: [2, 3] }, 288],
    [{ blocks: 3, parts: [1, 2] }, 48],
    [{ blocks: 1, parts: [3, 2] }, 12],
  ])('%j: no permutation that keeps the blocks has a larger sum', (structure, permutations) => {
    const size = structure.blocks * structure.parts.reduce((a, b) => a + b, 0);
    expect([...blockPermutations(structure)]).toHaveLength(permutations);
    for (let seed = 0; seed < 5; seed++) {
      const similarity = pseudo(size * size, seed);
      const sum = (perm: ArrayLike<number>): number =>
        Array.from(perm).reduce((total, j, i) => total + (similarity[i * size + j] as number), 0);
      const perm = assignBlocks(core, similarity, structure);
      expect(firstMisplaced(perm, structure)).toBe(-1);
      expect(sum(perm)).toBeCloseTo(Math.max(...[...blockPermutations(structure)].map(sum)), 4);
    }
  });
});

test('firstMisplaced finds units that leave their block, or blocks that part', () => {
  const structure = { blocks: 2, parts: [2, 1] };
  expect(firstMisplaced(Int32Array.of(3, 2, 0, 1, 5, 4), structure)).toBe(-1);
  expect(firstMisplaced(Int32Array.of(0, 2, 1, 3, 4, 5), structure)).toBe(1);
  expect(firstMisplaced(Int32Array.of(2, 3, 0, 1, 4, 5), structure)).toBe(4);
  expect(firstMisplaced(Int32Array.of(4, 1, 2, 3, 0, 5), structure)).toBe(0);
});

describe('arranged axes', () => {
  const graph = preset('gpt2', { input: [4], classes: 7, width: 6, depth: 1, heads: 3 });
  const spec = derivePermutationSpec(graph);
  const name = 'transformer.h.0.attn.c_attn.weight';

  test('queries and keys move alike, values by themselves, all by whole heads', () => {
    const axis = spec.tensors.get(name)?.axes[1];
    if (axis === null || axis === undefined || typeof axis === 'string') throw new Error('not arranged');
    // Three heads of two: heads 2, 0, 1; queries and keys of the first turned round.
    const perm = Int32Array.of(5, 4, 0, 1, 2, 3, 10, 11, 6, 7, 8, 9);
    expect([...(arrangedPermutation(axis, new Map([['transformer.h.0.attn.c_attn', perm]])) ?? [])]).toEqual([
      5, 4, 0, 1, 2, 3, 11, 10, 6, 7, 8, 9, 16, 17, 12, 13, 14, 15,
    ]);
  });

  test('a permutation that tears a head apart is refused', () => {
    const perms = new Map(randomPermutations(spec, 1));
    perms.set('transformer.h.0.attn.c_attn', Int32Array.of(0, 2, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11));
    expect(() => permuteTensors(spec, randomTensors(spec, 1), perms)).toThrow(/c_attn\[1\]: expected a unit of the block/);
  });

  test('the pieces of a weight hold each of its elements once', () => {
    const tensor = spec.tensors.get(name);
    if (tensor === undefined) throw new Error('no such tensor');
    const data = Float32Array.from({ length: 6 * 18 }, (_, i) => i + 1);
    const pieces = piecesOf(tensor, new Map(spec.groups.map(({ id, size }) => [id, size])));
    expect(pieces).toHaveLength(3);
    const seen = pieces.flatMap(({ selection }) => [...selectPiece(selection, data)].filter((value) => value !== 0));
    expect(seen.toSorted((a, b) => a - b)).toEqual([...data]);
    // Values are the second part of the group's units.
    const values = selectPiece(pieces[2]?.selection ?? null, data);
    expect([...values.subarray(0, 12)]).toEqual([0, 0, 0, 0, 0, 0, 13, 14, 15, 16, 17, 18]);
  });
});
