/** What each rarer operation lets move, and that permuting it leaves the function as it was, against plain f64 passes. */
import { describe, expect, test } from 'vitest';
import { GraphBuilder, sequential, type Layer } from '../../src/model/builder.ts';
import type { ModelGraph } from '../../src/model/graph.ts';
import { lintPermutationSpec } from '../../src/model/permutation-lint.ts';
import { derivePermutationSpec } from '../../src/model/permutation-spec.ts';
import { combinations } from './combinations.ts';
import { measureEquivalence } from './equivalence.ts';

const between = (...layers: readonly Layer[]): ModelGraph =>
  sequential([2, 5, 4], [
    { op: 'conv2d', name: 'a', out: 12, kernel: 3, padding: 1 }, { op: 'relu6' }, ...layers, { op: 'relu' }, { op: 'global_average_pool' },
    { op: 'flatten' }, { op: 'dense', name: 'fc', out: 3 },
  ]);

function squeezeExcite(): ModelGraph {
  const builder = new GraphBuilder([2, 5, 4]);
  const conv = builder.add({ op: 'conv2d', name: 'a', out: 12, kernel: 3 }, builder.input);
  const gate = builder.chain(conv, [
    { op: 'adaptive_average_pool', size: 1 }, { op: 'conv2d', name: 'down', out: 4, kernel: 1 }, { op: 'relu' },
    { op: 'conv2d', name: 'up', out: 12, kernel: 1 }, { op: 'sigmoid' },
  ]);
  const scaled = builder.add({ op: 'multiply' }, gate, conv);
  return builder.build(
    builder.chain(scaled, [{ op: 'adaptive_max_pool', size: [2, 1] }, { op: 'flatten' }, { op: 'dense', name: 'fc', out: 3 }]),
  );
}

function inception(sliced: boolean): ModelGraph {
  const builder = new GraphBuilder([2, 5, 4]);
  const stem = builder.add({ op: 'conv2d', name: 'a', out: 6, kernel: 3 }, builder.input);
  const joined = builder.add(
    { op: 'concat' },
    builder.add({ op: 'conv2d', name: 'b', out: 4, kernel: 1 }, stem),
    builder.add({ op: 'tanh' }, stem),
  );
  const part = sliced ? builder.add({ op: 'slice', start: 2, length: 5 }, joined) : joined;
  return builder.build(builder.chain(part, [
    { op: 'conv2d', name: 'c', out: 8, kernel: 1 }, { op: 'global_max_pool' }, { op: 'flatten' }, { op: 'dense', name: 'fc', out: 3 },
  ]));
}

/** Tokens made of units, with types: the same for all, or told by the network's own tokens, of which one in two is a separator. */
function typedTokens(separator: { readonly separator?: number }): ModelGraph {
  const builder = new GraphBuilder([4], 2);
  return builder.build(builder.chain(builder.input, [
    { op: 'embedding', name: 'e', features: 6 }, { op: 'flatten' }, { op: 'dense', name: 'a', out: 20 },
    { op: 'reshape', shape: [4, 5] }, { op: 'type_embedding', name: 't', types: 2, ...separator }, { op: 'dense', name: 'b', out: 6 },
    { op: 'tanh' }, { op: 'mean_tokens' }, { op: 'dense', name: 'fc', out: 3 },
  ]));
}

describe('permutations through rarer operations', () => {
  test.each<[string, ModelGraph, readonly string[]]>([
    ['depthwise', between({ op: 'conv2d', name: 'b', out: 12, kernel: 3, groups: 12 }), ['a']],
    ['transposed convolution', between({ op: 'conv_transpose2d', name: 'b', out: 8, kernel: 3, stride: 2, output_padding: 1 }), ['a', 'b']],
    [
      'transposed convolution in groups',
      between({ op: 'conv_transpose2d', name: 'b', out: 8, kernel: 3, groups: 4 }),
      ['a[0]', 'a[1]', 'b'],
    ],
    ['depthwise transposed convolution', between({ op: 'conv_transpose2d', name: 'b', out: 12, kernel: 3, groups: 12 }), ['a']],
    ['group norm', between({ op: 'group_norm', name: 'b', groups: 4 }), ['a[0]', 'a[1]']],
    ['group norm of whole images', between({ op: 'group_norm', name: 'b', groups: 1 }), ['a']],
    ['instance norm', between({ op: 'group_norm', name: 'b', groups: 12 }), ['a']],
    ['squeeze and excitation', squeezeExcite(), ['a', 'down']],
    ['a slice takes stretches, which go on moving', inception(true), ['a[0:3]', 'a[3:6]', 'b[0:2]', 'b[2:4]', 'c']],
    ...Object.entries(combinations).map(([name, { graph, groups }]): [string, ModelGraph, readonly string[]] => [name, graph, groups]),
    ['tokens of one type', typedTokens({}), ['e', 'a[0]', 'a[1]', 'b']],
    ['tokens of two types stay where these are told', typedTokens({ separator: 1 }), ['e', 'a[1]', 'b']],
    ['what a concatenation joins goes on moving', inception(false), ['a', 'b', 'c']],
  ])('%s', (_name, graph, groups) => {
    const spec = derivePermutationSpec(graph);
    expect(spec.groups.map(({ id }) => id)).toEqual(groups);
    expect(lintPermutationSpec(graph, spec)).toEqual([]);
    for (const training of [false, true]) {
      const { difference, movingGroups } = measureEquivalence(graph, spec, 1, training);
      expect(difference).toBeLessThan(1e-12);
      expect(movingGroups).toBe(groups.length);
    }
  });

  test('what a slice cuts through the middle of holds, and says so', () => {
    const graph = sequential(
      [2, 5, 4],
      [
        { op: 'conv2d', name: 'a', out: 8, kernel: 3 },
        { op: 'flatten' },
        { op: 'slice', start: 5, length: 20 },
        { op: 'dense', name: 'fc', out: 3 },
      ],
    );
    expect(derivePermutationSpec(graph).tensors.get('a.bias')?.reasons[0]).toMatch(/^sliced by graph node "slice1"/);
  });

  test.each(['groups-across', 'groups-across-transposed'])('%s: channels that groups cut otherwise stay, and say why', (name) => {
    const { graph } = combinations[name] as { graph: ModelGraph };
    const { tensors } = derivePermutationSpec(graph);
    for (const bias of ['a.bias', 'b.bias']) expect(tensors.get(bias)?.reasons[0]).toMatch(/^not divisible into the 2 groups of .*"c"/);
    expect(tensors.get('c.bias')?.reasons).toEqual([expect.stringMatching(/^groups of .*"c"/), null]);
  });

  test('heads that do not match say so', () => {
    const { graph } = combinations['clashing-heads'] as { graph: ModelGraph };
    expect(derivePermutationSpec(graph).tensors.get('q.bias')?.reasons[0]).toMatch(/its heads or parts do not match across the attention/);
  });

  test('gates and values of a gated unit are one group, twice on one axis', () => {
    const { graph } = combinations['gated-unit'] as { graph: ModelGraph };
    const stretch = { group: 'up[0:8]', first: 0, blocks: 1, repeat: 1, units: 8 };
    expect(derivePermutationSpec(graph).tensors.get('up.weight')?.axes).toEqual([{ segments: [stretch, stretch] }, null]);
  });

  test('keys that two attentions share keep their heads with the queries and values of both', () => {
    const { graph } = combinations['shared-keys'] as { graph: ModelGraph };
    expect(derivePermutationSpec(graph).groups[1]).toMatchObject({ size: 8 + 12 + 12, structure: { blocks: 2, parts: [4, 6, 6] } });
  });

  test.each<[string, () => ModelGraph, RegExp]>([
    [
      'output padding of a stride',
      () => between({ op: 'conv_transpose2d', name: 'b', out: 8, kernel: 3, output_padding: 1 }),
      /output_padding below the stride/,
    ],
    ['groups that do not divide', () => between({ op: 'group_norm', name: 'b', groups: 5 }), /divisible by 5 groups/],
    ['a slice beyond the channels', () => between({ op: 'slice', start: 8, length: 5 }), /at most 12 channels/],
    ['padding that eats the image', () => between({ op: 'conv_transpose2d', name: 'b', out: 8, kernel: 1, padding: 4 }), /leaves a pixel/],
  ])('%s is refused', (_name, make, message) => {
    expect(make).toThrow(message);
  });
});
