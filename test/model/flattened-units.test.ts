/** Which tensors read the units of flattened images, and where their order cannot be followed. */
import { describe, expect, test } from 'vitest';
import { GraphBuilder, sequential, type Layer } from '../../src/model/builder.ts';
import { flattenedInputs } from '../../src/model/flattened-units.ts';
import type { ModelGraph } from '../../src/model/graph.ts';
import { preset, presetNames } from '../../src/model/presets.ts';
import { expectTyped } from '../bundle/support.ts';

const image = [3, 2, 2];
const head: Layer = { op: 'dense', name: 'head', out: 4 };
const read = (graph: ModelGraph) => Object.fromEntries(flattenedInputs(graph));

describe('read the units of a flattened image', () => {
  test('the weight of the first dense layer, however wide, and no other', () => {
    const layers: Layer[] = [
      { op: 'flatten' },
      { op: 'relu' },
      { op: 'dense', name: 'a', out: 12 },
      { op: 'gelu' },
      { op: 'dense', name: 'b', out: 12 },
      head,
    ];
    expect(read(sequential(image, layers))).toEqual({ 'a.weight': image });
  });

  test('the vectors of norms and scales, and what stands behind them', () => {
    const layers: Layer[] = [
      { op: 'flatten' },
      { op: 'batch_norm', name: 'bn' },
      { op: 'softmax' },
      { op: 'layer_norm', name: 'ln' },
      { op: 'rms_norm', name: 'rms' },
      { op: 'group_norm', name: 'gn' },
      { op: 'layer_scale', name: 'ls' },
      { op: 'flatten' },
      head,
    ];
    expect(Object.keys(read(sequential(image, layers)))).toEqual([
      'bn.weight', 'bn.bias', 'bn.running_mean', 'bn.running_var', 'ln.weight', 'ln.bias', 'rms.weight', 'gn.weight', 'gn.bias', 'ls.gamma',
      'head.weight',
    ]);
  });

  test('nothing, where both orders are one: a channel alone, a pixel alone, features, tokens', () => {
    expect(read(sequential([1, 4, 4], [{ op: 'flatten' }, head]))).toEqual({});
    expect(read(sequential(image, [{ op: 'global_average_pool' }, { op: 'flatten' }, head]))).toEqual({});
    expect(read(sequential([12], [{ op: 'batch_norm' }, { op: 'flatten' }, head]))).toEqual({});
    expect(read(sequential(image, [{ op: 'tokens' }, { op: 'flatten' }, head]))).toEqual({});
    expect(read(sequential([12], [{ op: 'reshape', shape: [12, 1, 1] }, { op: 'flatten' }, head]))).toEqual({});
  });

  test('a dense layer behind an image made again of flattened units', () => {
    expect(
      read(
        sequential(image, [{ op: 'flatten' }, { op: 'relu' }, { op: 'reshape', shape: image }, { op: 'relu' }, { op: 'flatten' }, head]),
      ),
    ).toEqual({ 'head.weight': image });
  });

  test.each(presetNames.filter((name) => !/^(gpt2|distilbert|bert)$/.test(name)))('of %s, where only an MLP and a VGG flatten images', (name) => {
    const input = [3, 224, 224];
    // torchvision's VGG flattens 7 × 7 pixels of 512 channels.
    const expected = name === 'mlp' ? { 'linear1.weight': input } : name.startsWith('vgg') ? { 'classifier.0.weight': [512, 7, 7] } : {};
    expect(read(preset(name, { input, classes: 10 }))).toEqual(expected);
  });
});

describe('refused by the name of the node', () => {
  const behind = (layer: Layer): ModelGraph => sequential(image, [{ op: 'flatten' }, layer, { op: 'flatten' }, head]);
  const joined = (op: 'add' | 'multiply' | 'concat', other: (builder: GraphBuilder) => string): ModelGraph => {
    const builder = new GraphBuilder(image);
    const flat = builder.add({ op: 'flatten' }, builder.input);
    const units = builder.add({ op: 'relu' }, flat);
    return builder.build(builder.add(head, builder.add({ op, name: 'lost' }, units, other(builder))));
  };
  const denseOf = (builder: GraphBuilder): string => builder.add({ op: 'dense', name: 'd', out: 12 }, 'flatten1');

  test.each<[string, ModelGraph]>([
    ['a slice', behind({ op: 'slice', name: 'lost', start: 4, length: 4 })],
    ['norms of some of the units', behind({ op: 'group_norm', name: 'lost', groups: 3 })],
    ['an image of other extents', behind({ op: 'reshape', name: 'lost', shape: [4, 3, 1] })],
    ['a sequence', behind({ op: 'reshape', name: 'lost', shape: [3, 4] })],
    ['an image as a sequence of channels', sequential(image, [{ op: 'reshape', name: 'lost', shape: [3, 4] }, { op: 'flatten' }, head])],
    [
      'units of a dense layer as an image',
      sequential([5], [{ op: 'dense', name: 'd', out: 12 }, { op: 'reshape', name: 'lost', shape: image }, { op: 'flatten' }, head]),
    ],
    ['the output', sequential(image, [{ op: 'flatten' }, { op: 'relu', name: 'lost' }])],
    ['a sum with other units', joined('add', denseOf)],
    ['a product with other units', joined('multiply', denseOf)],
    ['units behind others', joined('concat', denseOf)],
    ['the same units twice', joined('concat', () => 'flatten1')],
  ])('%s', async (_name, graph) => {
    expect((await expectTyped(() => flattenedInputs(graph), 'unsupported')).field).toContain('graph node "lost"');
  });

  test('scores against an embedding, whose rows lie in the order of other units', async () => {
    const builder = new GraphBuilder([1], 12);
    const embedded = builder.add({ op: 'embedding', name: 'e', features: 8 }, builder.input);
    const layers: Layer[] = [
      { op: 'reshape', shape: [8, 1, 1] },
      { op: 'conv2d', name: 'c', out: 2, kernel: 2, padding: 1 },
      { op: 'flatten' },
      { op: 'tied_dense', name: 'lost', with: 'e' },
    ];
    expect((await expectTyped(() => flattenedInputs(builder.build(builder.chain(embedded, layers))), 'unsupported')).field).toContain(
      'graph node "lost"',
    );
  });
});
