/** Small networks whose parts are taken apart, put together and shared: what the permutation spec has to see through. */
import { GraphBuilder, sequential, type Layer } from '../../src/model/builder.ts';
import type { ModelGraph } from '../../src/model/graph.ts';

/** A gated unit: one dense layer makes values and gates side by side. */
function gated(): ModelGraph {
  const builder = new GraphBuilder([6]);
  const up = builder.add({ op: 'dense', name: 'up', out: 16 }, builder.input);
  const gate = builder.chain(up, [{ op: 'slice', start: 8, length: 8 }, { op: 'sigmoid' }]);
  const product = builder.add({ op: 'multiply' }, builder.add({ op: 'slice', start: 0, length: 8 }, up), gate);
  return builder.build(
    builder.chain(product, [{ op: 'dense', name: 'down', out: 7 }, { op: 'tanh' }, { op: 'dense', name: 'fc', out: 3 }]),
  );
}

/** Two slices that overlap, added: three stretches of four become one. */
function overlapping(): ModelGraph {
  const builder = new GraphBuilder([6]);
  const wide = builder.chain(builder.input, [{ op: 'dense', name: 'a', out: 15 }, { op: 'tanh' }]);
  const sum = builder.add(
    { op: 'add' },
    builder.add({ op: 'slice', start: 0, length: 8 }, wide),
    builder.add({ op: 'slice', start: 4, length: 8 }, wide),
  );
  return builder.build(builder.chain(sum, [{ op: 'dense', name: 'fc', out: 3 }]));
}

/** Halves of the channels go their own ways (ShuffleNetV2), with batch norm over both, and meet a residual cut elsewhere. */
function halves(): ModelGraph {
  const builder = new GraphBuilder([2, 5, 4]);
  const stem = builder.chain(builder.input, [
    { op: 'conv2d', name: 'a', out: 10, kernel: 3, padding: 1 },
    { op: 'batch_norm', name: 'n' },
    { op: 'relu' },
  ]);
  const right = builder.chain(stem, [{ op: 'slice', start: 5, length: 5 }, { op: 'conv2d', name: 'b', out: 7, kernel: 1 }, { op: 'tanh' }]);
  const joined = builder.add({ op: 'concat' }, builder.add({ op: 'slice', start: 0, length: 3 }, stem), right);
  const sum = builder.add({ op: 'add' }, joined, stem);
  return builder.build(
    builder.chain(sum, [
      { op: 'conv2d', name: 'c', out: 4, kernel: 3 },
      { op: 'relu' },
      { op: 'flatten' },
      { op: 'dense', name: 'fc', out: 3 },
    ]),
  );
}

/** Whole channels taken out of a flattened image. */
function flattened(): ModelGraph {
  const builder = new GraphBuilder([2, 5, 4]);
  return builder.build(
    builder.chain(builder.input, [
      { op: 'conv2d', name: 'a', out: 8, kernel: 3 },
      { op: 'relu' },
      { op: 'flatten' },
      { op: 'slice', start: 2 * 6, length: 4 * 6 },
      { op: 'dense', name: 'fc', out: 3 },
    ]),
  );
}

/** Two attentions of other queries over the same keys; `values` says whether they share those too, or read the keys as values. */
function sharedKeys(values: 'shared' | 'own' | 'keys'): ModelGraph {
  const builder = new GraphBuilder([2, 4, 3]);
  const tokens = builder.chain(builder.input, [{ op: 'conv2d', name: 'patch', out: 9, kernel: 1 }, { op: 'tokens' }]);
  const dense = (name: string, out: number): string => builder.add({ op: 'dense', name, out }, tokens);
  const keys = dense('k', 8);
  const shared = values === 'shared' ? dense('v', 12) : keys;
  const attend = (name: string): string =>
    builder.add({ op: 'attention', heads: 2 }, dense(`q${name}`, 8), keys, values === 'own' ? dense(`v${name}`, 12) : shared);
  const both = ['1', '2'].map((name) => builder.add({ op: 'dense', name: `out${name}`, out: 9 }, attend(name)));
  const sum = builder.add({ op: 'add' }, tokens, ...both);
  return builder.build(builder.chain(sum, [{ op: 'mean_tokens' }, { op: 'dense', name: 'fc', out: 3 }]));
}

/** Queries, keys and values of one dense layer, taken apart by slices, and a gated layer behind the attention. */
function slicedAttention(): ModelGraph {
  const builder = new GraphBuilder([2, 4, 3]);
  const tokens = builder.chain(builder.input, [{ op: 'conv2d', name: 'patch', out: 9, kernel: 1 }, { op: 'tokens' }]);
  const qkv = builder.add({ op: 'dense', name: 'qkv', out: 24 }, tokens);
  const parts = [0, 8, 16].map((start) => builder.add({ op: 'slice', start, length: 8 }, qkv));
  const attended = builder.add(
    { op: 'add' },
    builder.chain(builder.add({ op: 'attention', heads: 2 }, ...parts), [{ op: 'dense', name: 'out', out: 9 }]),
    tokens,
  );
  const up = builder.add({ op: 'dense', name: 'up', out: 10 }, attended);
  const gate = builder.chain(up, [{ op: 'slice', start: 5, length: 5 }, { op: 'silu' }]);
  const product = builder.add({ op: 'multiply' }, builder.add({ op: 'slice', start: 0, length: 5 }, up), gate);
  const both = builder.add({ op: 'concat' }, product, attended);
  return builder.build(builder.chain(both, [{ op: 'mean_tokens' }, { op: 'dense', name: 'fc', out: 3 }]));
}

/** One layer of queries read by two attentions of other numbers of heads: no permutation suits both. */
function clashingHeads(): ModelGraph {
  const builder = new GraphBuilder([2, 4, 3]);
  const tokens = builder.chain(builder.input, [{ op: 'conv2d', name: 'patch', out: 9, kernel: 1 }, { op: 'tokens' }]);
  const dense = (name: string): string => builder.add({ op: 'dense', name, out: 8 }, tokens);
  const queries = dense('q');
  const attend = (name: string, heads: number): string =>
    builder.add({ op: 'attention', heads }, queries, dense(`k${name}`), dense(`v${name}`));
  const joined = builder.add(
    { op: 'add' },
    ...[attend('1', 2), attend('2', 4)].map((value, i) => builder.add({ op: 'dense', name: `out${i}`, out: 5 }, value)),
  );
  return builder.build(builder.chain(joined, [{ op: 'mean_tokens' }, { op: 'dense', name: 'fc', out: 3 }]));
}

/** Units of a dense layer made channels and positions of an image, as a generator does; the layers read it. */
function generated(shape: readonly [number, number, number], ...layers: readonly Layer[]): ModelGraph {
  return sequential(
    [6],
    [
      { op: 'dense', name: 'a', out: shape[0] * shape[1] * shape[2] },
      { op: 'tanh' },
      { op: 'reshape', shape },
      ...layers,
      { op: 'flatten' },
      { op: 'dense', name: 'fc', out: 3 },
    ],
  );
}

/** Two images of other dense layers, joined or multiplied before anything reads positions. */
function generatedTwice(joint: 'concat' | 'multiply' | 'add'): ModelGraph {
  const builder = new GraphBuilder([6]);
  const images = ['a', 'b'].map((name) =>
    builder.chain(builder.input, [{ op: 'dense', name, out: 24 }, { op: 'tanh' }, { op: 'reshape', shape: [4, 2, 3] }]));
  const joined = builder.add({ op: joint }, ...images);
  return builder.build(
    builder.chain(joined, [{ op: 'conv2d', name: 'c', out: 5, kernel: 2 }, { op: 'flatten' }, { op: 'dense', name: 'fc', out: 3 }]),
  );
}

/** Units of a dense layer made tokens and features, which an attention takes for a set where it is not causal. */
function generatedTokens(causal: boolean): ModelGraph {
  return sequential(
    [6],
    [
      { op: 'dense', name: 'a', out: 20 },
      { op: 'reshape', shape: [4, 5] },
      { op: 'dense', name: 'qkv', out: 18 },
      { op: 'attention', heads: 2, causal },
      { op: 'flatten' },
      { op: 'dense', name: 'fc', out: 3 },
    ],
  );
}

/** Tokens and features of several dense layers, met by an attention or side by side: their tokens move together or not at all. */
function tokenSets(names: readonly string[], joint: Extract<Layer, { op: 'attention' | 'concat' }>): ModelGraph {
  const builder = new GraphBuilder([6]);
  const sets = names.map((name) =>
    builder.chain(builder.input, [
      { op: 'dense', name: `${name}0`, out: 20 },
      { op: 'tanh' },
      { op: 'reshape', shape: [4, 5] },
      { op: 'dense', name, out: 6 },
    ]));
  return builder.build(builder.chain(builder.add(joint, ...sets), [{ op: 'flatten' }, { op: 'dense', name: 'fc', out: 3 }]));
}

/** A grouped convolution of channels that two layers made, where no border between groups is one between the layers. */
function groupsAcross(op: 'conv2d' | 'conv_transpose2d'): ModelGraph {
  const builder = new GraphBuilder([2, 5, 4]);
  const made = ([['a', 4], ['b', 6]] as const).map(([name, out]) =>
    builder.chain(builder.input, [{ op: 'conv2d', name, out, kernel: 3, padding: 1 }, { op: 'tanh' }]));
  return builder.build(
    builder.chain(builder.add({ op: 'concat' }, ...made), [
      { op, name: 'c', out: 32, kernel: 2, groups: 2 },
      { op: 'tanh' },
      { op: 'global_average_pool' },
      { op: 'flatten' },
      { op: 'dense', name: 'fc', out: 3 },
    ]),
  );
}

/** Tokens that a dense layer makes, or a transposition out of channels: only a mean reads them, no weight. */
function averaged(...layers: readonly Layer[]): ModelGraph {
  return sequential([2, 4, 3], [...layers, { op: 'mean_tokens' }, { op: 'dense', name: 'fc', out: 3 }]);
}

/** One head whose values are a unit wide: nothing moves with queries and keys that a weight could read. */
function narrowValues(heads: number): ModelGraph {
  const builder = new GraphBuilder([2, 4, 3]);
  const tokens = builder.chain(builder.input, [{ op: 'conv2d', name: 'patch', out: 9, kernel: 1 }, { op: 'tokens' }]);
  const inputs = ([['q', heads * 5], ['k', 5], ['v', 1]] as const).map(([name, out]) => builder.add({ op: 'dense', name, out }, tokens));
  const attended = builder.add({ op: 'attention', heads, key_heads: 1 }, ...inputs);
  return builder.build(builder.chain(attended, [{ op: 'flatten' }, { op: 'dense', name: 'fc', out: 3 }]));
}

/** Units that are joined with the input and sliced off again as a whole: nothing reads them. */
function slicedOff(): ModelGraph {
  const builder = new GraphBuilder([2, 4, 4]);
  const made = builder.chain(builder.input, [{ op: 'conv2d', name: 'a', out: 20, kernel: 3, padding: 1 }, { op: 'relu' }]);
  const kept = builder.add({ op: 'slice', start: 20, length: 2 }, builder.add({ op: 'concat' }, made, builder.input));
  return builder.build(builder.chain(kept, [{ op: 'flatten' }, { op: 'dense', name: 'fc', out: 3 }]));
}

/** Graphs by name, and the groups that must come out. */
export const combinations: Readonly<Record<string, { readonly graph: ModelGraph; readonly groups: readonly string[] }>> = {
  'gated-unit': { graph: gated(), groups: ['up[0:8]', 'down'] },
  'overlapping-slices': { graph: overlapping(), groups: ['a[0:4]', 'a[12:15]'] },
  'channel-halves': { graph: halves(), groups: ['a[0:3]', 'a[3:5]', 'a[5:10]', 'c'] },
  'flattened-slice': { graph: flattened(), groups: ['a[0:2]', 'a[2:6]', 'a[6:8]'] },
  'sliced-off': { graph: slicedOff(), groups: ['a'] },
  'shared-keys': { graph: sharedKeys('own'), groups: ['patch', 'q1'] },
  'shared-keys-and-values': { graph: sharedKeys('shared'), groups: ['patch', 'q1'] },
  'keys-as-values': { graph: sharedKeys('keys'), groups: ['patch', 'q1'] },
  'sliced-attention': { graph: slicedAttention(), groups: ['patch', 'slice1', 'up[0:5]'] },
  'image-of-units-convolved': { graph: generated([4, 3, 3], { op: 'conv2d', name: 'c', out: 5, kernel: 2 }), groups: ['a[0]', 'c'] },
  'image-of-units-transposed': {
    graph: generated([4, 3, 3], { op: 'conv_transpose2d', name: 'c', out: 5, kernel: 2 }),
    groups: ['a[0]', 'c'],
  },
  'image-of-units-pooled': { graph: generated([4, 4, 4], { op: 'max_pool', kernel: 2 }), groups: ['a[0]'] },
  'image-of-units-tokens': {
    graph: generated(
      [4, 2, 3],
      { op: 'tokens' },
      { op: 'position_embedding', name: 'p', positions: 6 },
      { op: 'dense', name: 'b', out: 5 },
    ),
    groups: ['a[0]', 'b'],
  },
  'image-of-one-channel': { graph: generated([1, 4, 4], { op: 'conv2d', name: 'c', out: 8, kernel: 3 }), groups: ['c'] },
  'images-of-units-joined': { graph: generatedTwice('concat'), groups: ['a[0]', 'b[0]', 'c'] },
  'images-of-units-multiplied': { graph: generatedTwice('multiply'), groups: ['a[0]', 'c'] },
  'images-of-units-added': { graph: generatedTwice('add'), groups: ['a[0]', 'c'] },
  'tokens-of-units': { graph: generatedTokens(false), groups: ['a[0]', 'a[1]', 'qkv'] },
  'tokens-of-units-in-order': { graph: generatedTokens(true), groups: ['a[1]', 'qkv'] },
  'token-sets-attended': {
    graph: tokenSets(['q', 'k', 'v'], { op: 'attention', heads: 2 }),
    groups: ['q0[0]', 'q0[1]', 'q', 'k0[1]', 'v0[1]'],
  },
  'token-sets-joined': { graph: tokenSets(['a', 'b'], { op: 'concat' }), groups: ['a0[0]', 'a0[1]', 'a', 'b0[1]', 'b'] },
  'groups-across': { graph: groupsAcross('conv2d'), groups: ['c'] },
  'groups-across-transposed': { graph: groupsAcross('conv_transpose2d'), groups: ['c'] },
  'tokens-averaged': {
    graph: averaged(
      { op: 'flatten' },
      { op: 'dense', name: 'a', out: 20 },
      { op: 'gelu' },
      { op: 'reshape', shape: [4, 5] },
      { op: 'dense', name: 'b', out: 6 },
    ),
    groups: ['a[0]', 'a[1]', 'b'],
  },
  'tokens-attended-and-averaged': {
    graph: averaged(
      { op: 'flatten' },
      { op: 'dense', name: 'a', out: 20 },
      { op: 'reshape', shape: [4, 5] },
      { op: 'dense', name: 'qkv', out: 18 },
      { op: 'attention', heads: 2 },
    ),
    groups: ['a[0]', 'a[1]', 'qkv'],
  },
  'channels-averaged': {
    graph: averaged({ op: 'conv2d', name: 'a', out: 8, kernel: 2 }, { op: 'silu' }, { op: 'tokens' }, { op: 'transpose' }),
    groups: ['a'],
  },
  'narrow-values': { graph: narrowValues(1), groups: ['patch', 'q'] },
  'narrow-values-shared': { graph: narrowValues(2), groups: ['patch', 'q'] },
  'clashing-heads': { graph: clashingHeads(), groups: ['patch', 'out0'] },
};
