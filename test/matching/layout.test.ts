// The layout of matching beside its definition: a group's terms are those of every tensor that it permutes with another, in their order.
import { expect, test } from 'vitest';
import { type TermLayout, matchingLayout } from '../../src/matching/layout.ts';
import { derivePermutationSpec } from '../../src/model/permutation-spec.ts';
import { preset } from '../../src/model/presets.ts';
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
