/** Checkpoints under the names that they are published with, against the presets: every tensor in its place, by its numbers. */
import { describe, expect, it } from 'vitest';
import { describeMisfits, mapNames } from '../../../src/bundle/foreign/map-names.ts';
import { stateFromForeign } from '../../../src/bundle/foreign/network.ts';
import type { RawTensor } from '../../../src/bundle/safetensors.ts';
import { parameterLayout, tiedWeights } from '../../../src/model/graph.ts';
import type { ModelGraph } from '../../../src/model/graph.ts';
import { preset } from '../../../src/model/presets.ts';
import { elementCount } from '../../../src/tensor/tensor.ts';

/** Numbers that no other tensor has. */
let drawn = 0;
const weights = (shape: readonly number[]): RawTensor => {
  const data = Float32Array.from({ length: elementCount(shape) }, () => ++drawn);
  return { dtype: 'F32', shape, bytes: new Uint8Array(data.buffer) };
};
const raw = (dtype: 'F32' | 'U8' | 'I64', shape: readonly number[], values: readonly number[]): RawTensor => {
  const data = dtype === 'F32' ? Float32Array.from(values) : dtype === 'U8' ? Uint8Array.from(values) : BigInt64Array.from(values.map(BigInt));
  return { dtype, shape, bytes: new Uint8Array(data.buffer) };
};
const triangle = (n: number): number[] => Array.from({ length: n * n }, (_, i) => (i % n <= Math.floor(i / n) ? 1 : 0));
const map = (tensors: ReadonlyMap<string, RawTensor>, graph: ModelGraph) => mapNames(tensors, parameterLayout(graph), [], { tied: tiedWeights(graph) });

/** `names`: the published name of each of the network's, in full. */
function expectMapped(tensors: ReadonlyMap<string, RawTensor>, graph: ModelGraph, names: ReadonlyMap<string, string>) {
  const { tensors: mapped, report } = map(tensors, graph);
  expect(describeMisfits(report)).toEqual([]);
  expect([...mapped.keys()]).toEqual([...names.keys()]);
  for (const [to, from] of names) expect([to, mapped.get(to)]).toEqual([to, tensors.get(from)]);
  return report;
}

describe('GPT-2', () => {
  const graph = preset('gpt2', { input: [4], classes: 9, width: 6, depth: 2, heads: 2 });
  const layout = parameterLayout(graph).parameters;

  // The hub's base file: names of GPT2Model, the masks of its attentions and, in newer exports, the head's weight once more.
  const published = (prefix: string): Map<string, RawTensor> => {
    const tensors = new Map(layout.map(({ name, shape }) => [prefix + name.slice('transformer.'.length), weights(shape)]));
    for (const block of [0, 1]) {
      tensors.set(`${prefix}h.${block}.attn.bias`, raw(block === 0 ? 'U8' : 'F32', [1, 1, 4, 4], triangle(4)));
      tensors.set(`${prefix}h.${block}.attn.masked_bias`, raw('F32', [], [-1e4]));
    }
    const embedding = tensors.get(`${prefix}wte.weight`) as RawTensor;
    return tensors.set('lm_head.weight', { ...embedding, bytes: embedding.bytes.slice() });
  };
  const namesUnder = (prefix: string) => new Map(layout.map(({ name }) => [name, prefix + name.slice('transformer.'.length)]));

  it('without the prefix of the language model, with masks and the head twice', () => {
    const report = expectMapped(published(''), graph, namesUnder(''));
    expect(report).toMatchObject({ prefix: '', added: 'transformer.', fits: true });
    expect(report.ignored.map(({ from, why }) => `${from}: ${why}`)).toEqual([
      'h.0.attn.bias: a causal mask', 'h.0.attn.masked_bias: the score of what a mask hides',
      'h.1.attn.bias: a causal mask', 'h.1.attn.masked_bias: the score of what a mask hides',
      'lm_head.weight: a copy of transformer.wte.weight, which the network uses twice',
    ]);
  });

  it('with the prefix, and under that of another module', () => {
    expect(expectMapped(published('transformer.'), graph, namesUnder('transformer.'))).toMatchObject({ prefix: '', added: '' });
    expect(expectMapped(published('model.'), graph, namesUnder('model.'))).toMatchObject({ prefix: 'model.', added: 'transformer.' });
  });

  it.each<[string, (tensors: Map<string, RawTensor>) => void, string]>([
    ['a head of its own', (tensors) => tensors.set('lm_head.weight', weights([9, 6])), 'unexpected: lm_head.weight [9, 6]'],
    ['a bias that is no mask', (tensors) => tensors.set('h.0.attn.bias', raw('F32', [1, 1, 4, 4], triangle(4).with(5, 0.5))), 'unexpected: h.0.attn.bias [1, 1, 4, 4]'],
    ['a copy of what is used once', (tensors) => tensors.set('other.weight', tensors.get('wpe.weight') as RawTensor), 'unexpected: other.weight [4, 6]'],
    ['positions that do not count', (tensors) => tensors.set('position_ids', raw('I64', [1, 3], [0, 2, 1])), 'unexpected: position_ids [1, 3]'],
    ['a layer less', (tensors) => tensors.delete('h.1.ln_1.weight'), 'missing: transformer.h.1.ln_1.weight [6]'],
  ])('not with %s', (_, change, misfit) => {
    const tensors = published('');
    change(tensors);
    expect(describeMisfits(map(tensors, graph).report)).toEqual([misfit]);
  });

  it('passes over counted positions, in either kind of integers', () => {
    const tensors = published('').set('embeddings.position_ids', raw('I64', [1, 3], [0, 1, 2])).set('position_ids', raw('U8', [2], [0, 1]));
    expect(map(tensors, graph).report.ignored.filter(({ why }) => why === 'positions, counted')).toHaveLength(2);
  });

  it('becomes a state', () => {
    const { state, report } = stateFromForeign(graph, { tensors: published(''), metadata: new Map(), convention: 'pytorch' }, [], 'gpt2');
    expect(report.fits).toBe(true);
    expect(state?.parameters.size).toBe(layout.length);
  });
});

describe("torchvision's vit_b_16 at the vit preset", () => {
  const graph = preset('vit', { input: [3, 8, 8], classes: 5, width: 6, depth: 11, heads: 2, patch: 4 });
  // Names and order of torchvision's state dict; in_proj stacks queries, keys and values as qkv does (nn.MultiheadAttention: `chunk(3)`).
  const blockNames = [
    ['norm1', 'ln_1'], ['attn.qkv', 'self_attention.in_proj'], ['attn.proj', 'self_attention.out_proj'], ['norm2', 'ln_2'], ['mlp.fc1', 'mlp.0'], ['mlp.fc2', 'mlp.3'],
  ] as const;
  const both = (ours: string, theirs: string, joint = '.'): [string, string][] => ['weight', 'bias'].map((kind) => [`${ours}.${kind}`, `${theirs}${joint}${kind}`]);
  const namesUnder = (prefix: string, rename = (name: string) => name): Map<string, string> =>
    new Map(
      [
        ...both('patch_embed.proj', 'conv_proj'), ['cls_token', 'class_token'], ['pos_embed', 'encoder.pos_embedding'],
        ...Array.from({ length: 11 }, (_, i) =>
          blockNames.flatMap(([ours, theirs]) => both(`blocks.${i}.${ours}`, `encoder.layers.encoder_layer_${i}.${theirs}`, theirs.endsWith('in_proj') ? '_' : '.')),
        ).flat(),
        ...both('norm', 'encoder.ln'), ...both('head', 'heads.head'),
      ].map(([ours, theirs]) => [ours as string, prefix + rename(theirs as string)]),
    );
  const published = (names: ReadonlyMap<string, string>): Map<string, RawTensor> =>
    new Map(parameterLayout(graph).parameters.map(({ name, shape }) => [names.get(name) as string, weights(shape)]));

  it.each([['as published', ''], ['within a training checkpoint', 'model.']])('%s', (_, prefix) => {
    const names = namesUnder(prefix);
    const tensors = published(names).set(`${prefix === '' ? '' : 'optimizer.'}encoder.position_ids`, raw('I64', [2], [0, 1]));
    expect(expectMapped(tensors, graph, names)).toMatchObject({ scheme: "torchvision's vision transformer", prefix, fits: true });
  });

  it('as torchvision 0.12 wrote it', () => {
    const names = namesUnder('', (name) => name.replace('.mlp.0.', '.mlp.linear_1.').replace('.mlp.3.', '.mlp.linear_2.'));
    expectMapped(published(names), graph, names);
  });

  it('says what is missing by the scheme, and none where rules are given', () => {
    const names = namesUnder('');
    const tensors = published(names);
    tensors.delete('heads.head.bias');
    expect(describeMisfits(map(tensors, graph).report)).toEqual(['missing: head.bias [5]']);
    expect(mapNames(tensors, parameterLayout(graph), [{ from: 'heads.head.*', to: 'head.$1' }]).report.scheme).toBeUndefined();
  });
});
