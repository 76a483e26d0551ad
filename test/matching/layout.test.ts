// The layout of matching beside its definition: a group's terms are those of every tensor that it permutes with another, in their order;
// held are, one after another, the smallest groups of tensors with three moving axes.
import { expect, test } from 'vitest';
import { groupsOnAxis } from '../../src/matching/arrangement.ts';
import { type HeldGroup, heldGroups } from '../../src/matching/held-groups.ts';
import { type TermLayout, matchingLayout } from '../../src/matching/layout.ts';
import { type AxisSpec, type PermutationSpec, derivePermutationSpec } from '../../src/model/permutation-spec.ts';
import { GraphBuilder } from '../../src/model/builder.ts';
import type { ModelGraph } from '../../src/model/graph.ts';
import { preset } from '../../src/model/presets.ts';
import { generator } from '../bundle/generator.ts';
import { combinations } from '../model/combinations.ts';

const graphs = Object.entries(combinations).map(([name, { graph }]) => [name, graph] as const);

test.each([
  ['an MLP', preset('mlp', { input: [8], widths: [6, 5, 4], classes: 3 })] as const, ...graphs,
])('%s', (_, graph) => {
  const { groups, paired } = matchingLayout(derivePermutationSpec(graph));
  for (const [index, { id, terms }] of groups.entries()) {
    const expected: TermLayout[] = [];
    for (const tensor of paired) {
      if (tensor.rowGroup === index) expected.push({ tensor, side: 'rows', other: tensor.columnGroup });
      if (tensor.columnGroup === index) expected.push({ tensor, side: 'columns', other: tensor.rowGroup });
    }
    expect(terms, id).toEqual(expected);
  }
});

/** A weight whose outputs and inputs are `stretches` stretches of two units each. */
function cut(stretches: number): ModelGraph {
  const builder = new GraphBuilder([2]);
  const units = builder.add({ op: 'dense', name: 'units', out: 2 * stretches }, builder.input);
  const slices = Array.from({ length: stretches }, (_, i) => builder.add({ op: 'slice', start: 2 * i, length: 2 }, units));
  const joined = builder.add({ op: 'concat' }, ...slices);
  const mixed = builder.add({ op: 'dense', name: 'mixed', out: 2 * stretches }, joined);
  return builder.build(builder.chain(builder.add({ op: 'add' }, mixed, joined), [{ op: 'dense', name: 'head', out: 2 }]));
}

test('a weight that is cut on both axes has a piece for each two stretches, up to a cap', () => {
  const { statics, paired } = matchingLayout(derivePermutationSpec(cut(20)));
  expect(paired.filter(({ tensor }) => tensor === 'mixed.weight')).toHaveLength(20 * 20);
  expect(statics).toHaveLength(4 * 20);
  expect(() => matchingLayout(derivePermutationSpec(cut(256)))).toThrow(expect.objectContaining({ code: 'limit', field: 'mixed.weight' }));
});

/** By the words alone: all is looked at anew for every group that is held. */
function heldByDefinition(spec: PermutationSpec, frozen: readonly string[]): readonly HeldGroup[] {
  const held: HeldGroup[] = [];
  for (;;) {
    const moves = (id: string): boolean => !frozen.includes(id) && !held.some((group) => group.id === id);
    const crowded = [...spec.tensors].flatMap(([tensor, { axes, buffer }]) => {
      const carried = axes.map((axis) => groupsOnAxis(axis).filter(moves)).filter(({ length }) => length > 0);
      return buffer !== true && carried.length > 2 ? [{ tensor, ids: carried.flat() }] : [];
    });
    const smallest = spec.groups
      .filter(({ id }) => crowded.some(({ ids }) => ids.includes(id)))
      .toSorted((a, b) => a.size - b.size)
      .findLast(({ size }, _index, [least]) => size === least?.size);
    if (smallest === undefined) return held;
    const { tensor } = crowded.find(({ ids }) => ids.includes(smallest.id)) as { tensor: string };
    held.push({ id: smallest.id, reason: `a third axis of ${tensor} would move with it` });
  }
}

test('what is held of any tensors', () => {
  const next = generator(9);
  let count = 0;
  for (let round = 0; round < 500; round++) {
    const groups = Array.from({ length: 1 + (next() % 7) }, (_, i) => ({ id: `g${i}`, size: 2 + (next() % 4), members: [] }));
    const group = (): string | null => (next() % 4 === 0 ? null : `g${next() % groups.length}`);
    const segment = () => ({ group: group(), first: 0, blocks: 1, repeat: 1, units: 1 });
    const axis = (): AxisSpec =>
      next() % 4 === 0 ? { segments: Array.from({ length: 1 + (next() % 3) }, segment) } : group();
    const tensor = () => ({
      shape: [], view: [], reasons: [], axes: Array.from({ length: next() % 6 }, axis),
      ...(next() % 6 === 0 ? { buffer: true as const } : {}),
    });
    const spec = { groups, tensors: new Map(Array.from({ length: next() % 7 }, (_, i) => [`t${i}`, tensor()])) };
    const frozen = groups.map(({ id }) => id).filter(() => next() % 4 === 0);
    const held = heldGroups(spec, frozen);
    expect(held).toEqual(heldByDefinition(spec, frozen));
    count += held.length;
  }
  expect(count).toBeGreaterThan(200);
});
