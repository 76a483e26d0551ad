/** Permutation specs derived from graphs: by hand, by π-equivalence in f64, by the reference cases; what the lint finds. */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { graphFromArchitecture } from '../conformance/architecture.ts';
import { GraphBuilder, sequential } from '../../src/model/builder.ts';
import type { ModelGraph } from '../../src/model/graph.ts';
import { lintPermutationSpec } from '../../src/model/permutation-lint.ts';
import { derivePermutationSpec, type AxisSpec, type PermutationSpec } from '../../src/model/permutation-spec.ts';
import { preset, presetNames } from '../../src/model/presets.ts';
import { readWithoutWeight } from '../../src/model/weightless-readers.ts';
import { combinations } from './combinations.ts';
import { measureEquivalence, smallOptions } from './equivalence.ts';

/** Two axes, each joined with itself `times` times, and their sum. */
function joinedWithItself(times: number): ModelGraph {
  const builder = new GraphBuilder([1, 1, 1]);
  const ends = ['a', 'b'].map((name) => {
    let end = builder.add({ op: 'conv2d', name, out: 2, kernel: 1 }, builder.input);
    for (let i = 0; i < times; i++) end = builder.add({ op: 'concat' }, end, end);
    return end;
  });
  const sum = builder.chain(builder.add({ op: 'add' }, ...ends), [{ op: 'flatten' }, { op: 'dense', out: 2 }]);
  return builder.build(sum);
}

/** What a concatenation joins is joined with more by the next: a block of a DenseNet. */
function denseBlock(layers: number): ModelGraph {
  const builder = new GraphBuilder([3, 2, 2]);
  let all = builder.add({ op: 'conv2d', name: 'stem', out: 4, kernel: 1 }, builder.input);
  for (let i = 0; i < layers; i++) {
    const made = builder.chain(all, [
      { op: 'batch_norm', name: `norm${i}` }, { op: 'relu' }, { op: 'conv2d', name: `conv${i}`, out: 2, kernel: 1 },
    ]);
    all = builder.add({ op: 'concat' }, all, made);
  }
  return builder.build(builder.chain(all, [{ op: 'global_average_pool' }, { op: 'flatten' }, { op: 'dense', name: 'head', out: 2 }]));
}

const axesOf = (spec: PermutationSpec): Record<string, readonly AxisSpec[]> =>
  Object.fromEntries([...spec.tensors].map(([name, { axes }]) => [name, axes]));

describe('derivePermutationSpec', () => {
  test('of an axis that is joined with itself again and again, no more than a network needs', () => {
    expect(derivePermutationSpec(joinedWithItself(5)).groups.map(({ size }) => size)).toEqual([2]);
    // 4,096 and 16 million stretches: one took 10 seconds, the other the stack.
    for (const times of [12, 24])
      expect(() => derivePermutationSpec(joinedWithItself(times))).toThrow(expect.objectContaining({ code: 'limit', field: 'graph' }));
    expect(derivePermutationSpec(denseBlock(64)).groups).toHaveLength(65);
  });

  test('of an axis that is cut 9,000 times, each time within the cut before', () => {
    const cuts = 9000;
    const cut = (tied: boolean): ModelGraph => {
      const builder = new GraphBuilder([cuts + 10]);
      const whole = builder.chain(builder.input, [{ op: 'dense', name: 'a', out: cuts + 10, bias: false }]);
      const slices = Array.from({ length: cuts }, (_, i) => ({ op: 'slice' as const, start: 0, length: cuts + 9 - i }));
      const left = builder.chain(whole, [...slices, { op: 'dense', name: 'b', out: 3 }]);
      if (!tied) return builder.build(left);
      // The input does not move, and holds every piece of what is added to it.
      const held = builder.chain(builder.add({ op: 'add' }, whole, builder.input), [{ op: 'dense', name: 'c', out: 3 }]);
      return builder.build(builder.add({ op: 'add' }, left, held));
    };
    expect(derivePermutationSpec(cut(false)).groups.map(({ size }) => size)).toEqual([10]);
    expect(derivePermutationSpec(cut(true)).groups).toEqual([]);
  });

  test('a dense layer after a flattening has a view axis of channels', () => {
    const graph = sequential([1, 6, 6], [
      { op: 'conv2d', name: 'conv', out: 5, kernel: 3 },
      { op: 'relu' },
      { op: 'max_pool', kernel: 2 },
      { op: 'flatten' },
      { op: 'dense', name: 'fc', out: 7 },
      { op: 'relu' },
      { op: 'dense', name: 'head', out: 3 },
    ]);
    const spec = derivePermutationSpec(graph);
    expect(spec.tensors.get('fc.weight')).toEqual({
      shape: [7, 20],
      view: [7, 5, 4],
      axes: ['fc', 'conv', null],
      reasons: [null, null, 'spatial position'],
    });
    expect(spec.tensors.get('conv.weight')?.reasons).toEqual([null, 'network input', 'kernel position', 'kernel position']);
    expect(spec.tensors.get('head.bias')).toEqual({ shape: [3], view: [3], axes: [null], reasons: ['class axis of the output'] });
    expect(spec.groups).toEqual([
      {
        id: 'conv',
        size: 5,
        members: [
          { tensor: 'conv.weight', axis: 0 },
          { tensor: 'conv.bias', axis: 0 },
          { tensor: 'fc.weight', axis: 1 },
        ],
      },
      {
        id: 'fc',
        size: 7,
        members: [
          { tensor: 'fc.weight', axis: 0 },
          { tensor: 'fc.bias', axis: 0 },
          { tensor: 'head.weight', axis: 1 },
        ],
      },
    ]);
  });

  test('a flattened input is one fixed axis', () => {
    const spec = derivePermutationSpec(preset('mlp', { input: [3, 4, 4], classes: 2, widths: [6] }));
    expect(spec.tensors.get('linear1.weight')).toEqual({
      shape: [6, 48],
      view: [6, 48],
      axes: ['linear1', null],
      reasons: [null, 'network input'],
    });
  });

  test('batch norm carries its channels with parameters and buffers; a residual stream is one group', () => {
    const spec = derivePermutationSpec(preset('resnet-small', { input: [3, 8, 8], classes: 4, width: 4 }));
    const axes = axesOf(spec);
    expect(axes['bn1.running_var']).toEqual(['conv1']);
    expect(axes['layer1.0.conv2.weight']).toEqual(['conv1', 'layer1.0.conv1', null, null]);
    expect(axes['layer2.0.downsample.0.weight']).toEqual([axes['layer2.0.bn2.weight']![0], 'conv1', null, null]);
    // conv1 and the first block's output, an inner group a block, an outer group for each of the two wider blocks.
    expect(spec.groups.map(({ id }) => id)).toEqual([
      'conv1', 'layer1.0.conv1', 'layer2.0.conv1', 'layer2.0.conv2', 'layer3.0.conv1', 'layer3.0.conv2',
    ]);
  });

  test('what is added to the input is tied to it, and the reason says through what', () => {
    const graph = sequential([3, 4, 4], [
      { op: 'residual', body: [{ op: 'conv2d', name: 'a', out: 3, kernel: 3, padding: 1 }] },
      { op: 'global_average_pool' },
      { op: 'flatten' },
      { op: 'dense', name: 'fc', out: 2 },
    ]);
    const spec = derivePermutationSpec(graph);
    expect(spec.groups).toEqual([]);
    expect(spec.tensors.get('a.bias')?.reasons).toEqual(['tied to the network input through the addition "add1"']);
    expect(spec.tensors.get('a.weight')?.reasons[1]).toBe('network input');
  });

  test('a dense layer added to a flattened image splits its units into channels × positions', () => {
    const builder = new GraphBuilder([2, 4, 4]);
    const conv = builder.add({ op: 'conv2d', name: 'conv', out: 5, kernel: 3 }, builder.input);
    const flat = builder.add({ op: 'flatten' }, conv);
    const other = builder.add({ op: 'dense', name: 'side', out: 20 }, builder.add({ op: 'flatten' }, builder.input));
    const sum = builder.add({ op: 'relu' }, builder.add({ op: 'add' }, flat, other));
    const graph = builder.build(builder.add({ op: 'dense', name: 'fc', out: 3 }, sum));
    const spec = derivePermutationSpec(graph);
    expect(spec.tensors.get('side.weight')).toMatchObject({ view: [5, 4, 32], axes: ['conv', null, null] });
    expect(spec.tensors.get('fc.weight')).toMatchObject({ view: [3, 5, 4], axes: [null, 'conv', null] });
    expect(lintPermutationSpec(graph, spec)).toEqual([]);
    expect(measureEquivalence(graph, spec, 1).difference).toBeLessThan(1e-12);
  });

  test('a grouped convolution moves whole groups, and channels alike within every group', () => {
    const graph = grouped(4, 12);
    const spec = derivePermutationSpec(graph);
    expect(spec.tensors.get('grouped.weight')).toMatchObject({
      shape: [12, 2, 3, 3],
      view: [4, 3, 2, 3, 3],
      axes: ['first[0]', 'grouped', 'first[1]', null, null],
    });
    expect(spec.tensors.get('first.weight')).toMatchObject({ view: [4, 2, 2, 3, 3], axes: ['first[0]', 'first[1]', null, null, null] });
    expect(spec.tensors.get('last.weight')).toMatchObject({ view: [3, 4, 3, 1, 1], axes: [null, 'first[0]', 'grouped', null, null] });
  });

  test('a depthwise convolution carries its channels', () => {
    const spec = derivePermutationSpec(grouped(8, 8));
    expect(spec.tensors.get('grouped.weight')).toMatchObject({ view: [8, 1, 3, 3], axes: ['first', null, null, null] });
    expect(spec.groups).toHaveLength(1);
  });

  test('a square layer inside a residual stream carries one group twice', () => {
    const graph = sequential([3], [
      { op: 'dense', name: 'in', out: 4 },
      { op: 'residual', body: [{ op: 'relu' }, { op: 'dense', name: 'square', out: 4 }] },
      { op: 'dense', name: 'out', out: 2 },
    ]);
    const spec = derivePermutationSpec(graph);
    expect(spec.tensors.get('square.weight')?.axes).toEqual(['in', 'in']);
    expect(measureEquivalence(graph, spec, 2).difference).toBeLessThan(1e-12);
  });
});

/** 2 → 8 channels, a grouped convolution to `out`, a 1×1 head of 3. */
function grouped(groups: number, out: number): ModelGraph {
  return sequential([2, 5, 5], [
    { op: 'conv2d', name: 'first', out: 8, kernel: 3, padding: 1 },
    { op: 'relu' },
    { op: 'conv2d', name: 'grouped', out, kernel: 3, groups },
    { op: 'relu' },
    { op: 'conv2d', name: 'last', out: 3, kernel: 1 },
    { op: 'global_average_pool' },
    { op: 'flatten' },
  ]);
}

const networks: [string, ModelGraph][] = [
  ...presetNames.map((name): [string, ModelGraph] => [
    name,
    preset(name, smallOptions(name)),
  ]),
  ['grouped 4', grouped(4, 12)],
  ['grouped 2', grouped(2, 6)],
  ['depthwise', grouped(8, 8)],
  ['depthwise with a multiplier', grouped(8, 24)],
];

describe.each(networks)('π-equivalence of %s', (_name, graph) => {
  const spec = derivePermutationSpec(graph);

  test('the spec passes its lint and has groups', () => {
    expect(lintPermutationSpec(graph, spec)).toEqual([]);
    expect(spec.groups.length).toBeGreaterThan(0);
  });

  test.each([[false], [true]])('outputs equal to 1e-11 while most weights moved (training mode: %s)', (training) => {
    const { difference, moved, movingGroups } = measureEquivalence(graph, spec, 4, training);
    expect(difference).toBeLessThan(1e-11);
    expect(moved).toBeGreaterThan(0.5);
    expect(movingGroups).toBe(spec.groups.length);
  });
});

describe('lintPermutationSpec', () => {
  const graph = preset('mlp', { input: [4], classes: 3, widths: [5] });
  const sound = derivePermutationSpec(graph);
  const withTensor = (name: string, change: object): PermutationSpec => ({
    ...sound,
    tensors: new Map(sound.tensors).set(name, { ...sound.tensors.get(name)!, ...change }),
  });

  test.each<[string, PermutationSpec, RegExp]>([
    ['a missing tensor', { ...sound, tensors: new Map([...sound.tensors].slice(1)) }, /linear1.weight: is missing/],
    ['a foreign tensor', { ...sound, tensors: new Map(sound.tensors).set('x', sound.tensors.get('linear1.bias')!) }, /x: is no tensor/],
    ['a wrong shape', withTensor('linear1.bias', { shape: [6] }), /linear1.bias: has shape \[5\], the spec says \[6\]/],
    ['a view that does not refine', withTensor('linear1.weight', { view: [4, 5] }), /does not refine/],
    ['an axis unaccounted for', withTensor('linear1.weight', { axes: ['linear1'] }), /accounts for 1/],
    [
      'a parameter taken for a buffer',
      withTensor('linear1.weight', { buffer: true }),
      /linear1.weight: is a parameter, and the spec says a buffer/,
    ],
    ['no reason', withTensor('linear2.bias', { reasons: [null] }), /no reason is given/],
    ['a group and a reason', withTensor('linear1.bias', { reasons: ['because'] }), /yet may not: because/],
    ['an unknown group', withTensor('linear1.bias', { axes: ['nobody'] }), /unknown group "nobody"/],
    ['a group of the wrong size', withTensor('linear2.bias', { axes: ['linear1'], reasons: [null] }), /has 3 units, group "linear1" has 5/],
    [
      'a member that is not listed',
      { ...sound, groups: [{ ...sound.groups[0]!, members: sound.groups[0]!.members.slice(1) }] },
      /does not list linear1.weight axis 0/,
    ],
    ['no groups at all', { ...sound, groups: [] }, /unknown group "linear1"/],
    [
      'a group without consumer',
      {
        groups: [{ ...sound.groups[0]!, members: sound.groups[0]!.members.slice(0, 2) }],
        tensors: withTensor('linear2.weight', { axes: [null, null], reasons: ['a', 'b'] }).tensors,
      },
      /linear1: has no consumer/,
    ],
  ])('%s is found', (_what, spec, problem) => {
    expect(
      lintPermutationSpec(graph, spec)
        .map((found) => `${found.subject}: ${found.problem}`)
        .join('\n'),
    ).toMatch(problem);
  });
});

describe('readWithoutWeight', () => {
  test.each<[string, ModelGraph, readonly string[]]>([
    ['tokens made of units', combinations['tokens-averaged']!.graph, ['a']],
    ['channels made tokens', combinations['channels-averaged']!.graph, ['a']],
    ['units that a slice leaves out as a whole', combinations['sliced-off']!.graph, ['a']],
    ['units of which a slice takes some', combinations['gated-unit']!.graph, []],
    ['queries and keys of a head with one value', combinations['narrow-values']!.graph, ['k', 'q']],
    ['heads that values go with, tokens of an image', combinations['sliced-attention']!.graph, []],
    [
      'layers that mix tokens which are then averaged',
      preset('mixer', smallOptions('mixer')),
      ['blocks.0.mlp_tokens.fc2', 'blocks.1.mlp_tokens.fc2'],
    ],
    ['a language model', preset('gpt2', smallOptions('gpt2')), []],
  ])('%s', (_what, graph, makers) => {
    expect([...readWithoutWeight(graph)].toSorted()).toEqual(makers);
  });
});

const cases = new URL('../../../shared/cases/', import.meta.url);

describe.skipIf(!existsSync(cases))('specs of the reference cases (skipped where ../shared is absent)', () => {
  test.each(['mlp_digits8', 'conv4', 'convbn4'])('%s: the derived spec is the hand-written one, up to names', (name) => {
    const manifest = JSON.parse(readFileSync(new URL(`${name}/manifest.json`, cases), 'utf8'));
    const spec = derivePermutationSpec(graphFromArchitecture(manifest.architecture));
    const renamed = new Map<string, string>();
    for (const [tensor, axes] of Object.entries(manifest.spec_axes_to_perm as Record<string, (string | null)[]>)) {
      const derived = spec.tensors.get(tensor)!;
      expect(derived.view).toEqual(manifest.param_shapes[tensor]);
      for (const [axis, id] of axes.entries()) {
        const ours = derived.axes[axis] as string;
        if (id === null) expect(ours, `${tensor} axis ${axis}`).toBeNull();
        else expect(renamed.get(id) ?? ours, `${tensor} axis ${axis}`).toBe(ours);
        if (id !== null) renamed.set(id, ours);
      }
    }
    // One to one, and in the manifest's order.
    expect(spec.groups.map(({ id }) => id)).toEqual((manifest.perm_names as string[]).map((id) => renamed.get(id)));
  });
});
