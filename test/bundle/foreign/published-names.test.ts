/** Checkpoints under the names that they are published with, against the presets: every tensor in its place, by its numbers. */
import { describe, expect, it } from 'vitest';
import { describeMisfits, mapNames } from '../../../src/bundle/foreign/map-names.ts';
import { stateFromForeign } from '../../../src/bundle/foreign/network.ts';
import { stateToForeign } from '../../../src/bundle/foreign/state-to-foreign.ts';
import type { RawTensor } from '../../../src/bundle/safetensors.ts';
import { sequential } from '../../../src/model/builder.ts';
import { parameterLayout, tiedWeights } from '../../../src/model/graph.ts';
import type { ModelGraph } from '../../../src/model/graph.ts';
import { preset } from '../../../src/model/presets.ts';
import { elementCount } from '../../../src/tensor/tensor.ts';
import type { NetworkState } from '../../../src/tensor/tensor.ts';

/** Numbers that no other tensor has. */
let drawn = 0;
const weights = (shape: readonly number[]): RawTensor => {
  const data = Float32Array.from({ length: elementCount(shape) }, () => ++drawn);
  return { dtype: 'F32', shape, bytes: new Uint8Array(data.buffer) };
};
const raw = (dtype: 'F32' | 'U8' | 'I64', shape: readonly number[], values: readonly number[]): RawTensor => {
  const data =
    dtype === 'F32' ? Float32Array.from(values) : dtype === 'U8' ? Uint8Array.from(values) : BigInt64Array.from(values.map(BigInt));
  return { dtype, shape, bytes: new Uint8Array(data.buffer) };
};
const triangle = (n: number): number[] => Array.from({ length: n * n }, (_, i) => (i % n <= Math.floor(i / n) ? 1 : 0));
const map = (tensors: ReadonlyMap<string, RawTensor>, graph: ModelGraph) =>
  mapNames(tensors, parameterLayout(graph), [], { tied: tiedWeights(graph) });

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
    expect(report.ignored.map(({ kind }) => kind)).toEqual(['constant', 'constant', 'constant', 'constant', 'copy']);
  });

  it('with the prefix, and under that of another module', () => {
    expect(expectMapped(published('transformer.'), graph, namesUnder('transformer.'))).toMatchObject({ prefix: '', added: '' });
    expect(expectMapped(published('model.'), graph, namesUnder('model.'))).toMatchObject({ prefix: 'model.', added: 'transformer.' });
  });

  it.each<[string, (tensors: Map<string, RawTensor>) => void, string]>([
    ['a head of its own', (tensors) => tensors.set('lm_head.weight', weights([9, 6])), 'unexpected: lm_head.weight [9, 6]'],
    [
      'a bias that is no mask',
      (tensors) => tensors.set('h.0.attn.bias', raw('F32', [1, 1, 4, 4], triangle(4).with(5, 0.5))),
      'unexpected: h.0.attn.bias [1, 1, 4, 4]',
    ],
    [
      'a copy of what is used once',
      (tensors) => tensors.set('other.weight', tensors.get('wpe.weight') as RawTensor),
      'unexpected: other.weight [4, 6]',
    ],
    [
      'positions that do not count',
      (tensors) => tensors.set('position_ids', raw('I64', [1, 3], [0, 2, 1])),
      'unexpected: position_ids [1, 3]',
    ],
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

describe('DistilBERT', () => {
  const graph = preset('distilbert', { input: [4], classes: 3, vocabulary: 9, positions: 5, width: 6, depth: 2, heads: 2 });
  const layout = parameterLayout(graph).parameters;
  const base = layout.filter(({ name }) => name.startsWith('distilbert.'));
  const own = (prefix = 'distilbert.') =>
    new Map(base.map(({ name, shape }) => [prefix + name.slice('distilbert.'.length), weights(shape)]));
  const heads = (): Map<string, RawTensor> =>
    new Map(layout.filter(({ name }) => !name.startsWith('distilbert.')).map(({ name, shape }) => [name, weights(shape)]));
  // What the hub's distilbert-base-uncased has besides, and what old exports kept.
  const languageModel = (): Map<string, RawTensor> =>
    new Map([
      ...['vocab_transform', 'vocab_layer_norm', 'vocab_projector'].flatMap((name): [string, RawTensor][] => [
        [`${name}.weight`, weights(name === 'vocab_layer_norm' ? [6] : [name === 'vocab_projector' ? 9 : 6, 6])],
        [`${name}.bias`, weights([name === 'vocab_projector' ? 9 : 6])],
      ]),
      ['distilbert.embeddings.position_ids', raw('I64', [1, 5], [0, 1, 2, 3, 4])],
    ]);
  const stateOf = (tensors: ReadonlyMap<string, RawTensor>, zeroHead: boolean) =>
    stateFromForeign(graph, { tensors, metadata: new Map(), convention: 'pytorch' }, [], 'base', { zeroHead });

  it('a classifier is taken as it is; as a base of another task with another head', () => {
    const tensors = new Map([...own(), ...heads()]);
    const report = expectMapped(tensors, graph, new Map(layout.map(({ name }) => [name, name])));
    expect(report).toMatchObject({ prefix: '', ignored: [], fits: true });
    const other = stateOf(new Map([...tensors, ['classifier.weight', weights([5, 6])]]), true);
    expect([...other.zeroed]).toEqual(['classifier.weight', 'classifier.bias']);
    expect(other.state?.parameters.get('classifier.weight')?.data.every((value) => value === 0)).toBe(true);
    const kept = new Float32Array((tensors.get('pre_classifier.weight') as RawTensor).bytes.buffer as ArrayBuffer);
    expect(other.state?.parameters.get('pre_classifier.weight')?.data).toEqual(kept);
  });

  it.each<[string, () => Map<string, RawTensor>]>([
    ['the masked language model', () => new Map([...own(), ...languageModel()])],
    ['the bare model', () => own('')],
  ])('%s lacks both layers of the classifier, which become zeros', (_, tensors) => {
    const { state, report, zeroed } = stateOf(tensors(), true);
    expect(describeMisfits(report)).toEqual([]);
    expect([...zeroed]).toEqual(['classifier.weight', 'classifier.bias', 'pre_classifier.weight', 'pre_classifier.bias']);
    for (const { name } of layout)
      expect([name, state?.parameters.get(name)?.data.every((value) => value === 0)]).toEqual([name, zeroed.has(name)]);
  });

  it('what the language model has besides is none of the network; as much of another is', () => {
    const { report } = map(new Map([...own(), ...heads(), ...languageModel()]), graph);
    expect(report.fits).toBe(true);
    expect(report.ignored.filter(({ kind }) => kind === 'unread').map(({ from }) => from)).toHaveLength(6);
    const odd = map(new Map([...own(), ...heads(), ['vocab_other.weight', weights([6, 6])]]), graph);
    expect(describeMisfits(odd.report)).toEqual(['unexpected: vocab_other.weight [6, 6]']);
  });

  it.each<[string, (tensors: Map<string, RawTensor>) => unknown, string]>([
    ['a layer of another shape', (tensors) => tensors.set('pre_classifier.weight', weights([7, 6])), 'shape: pre_classifier.weight'],
    ['half a layer', (tensors) => tensors.delete('pre_classifier.bias'), 'missing: pre_classifier.bias [6]'],
    ['a block less', (tensors) => tensors.delete('distilbert.transformer.layer.1.ffn.lin1.weight'), 'missing: distilbert.transformer'],
  ])('%s is no such base', (_, change, misfit) => {
    const tensors = new Map([...own(), ...heads()]);
    change(tensors);
    const { state, report } = stateOf(tensors, true);
    expect(state).toBeUndefined();
    expect(describeMisfits(report).join()).toContain(misfit);
  });
});

describe('BERT', () => {
  const graph = preset('bert', { input: [4], classes: 3, vocabulary: 9, positions: 5, width: 6, depth: 2, heads: 2 });
  const layout = parameterLayout(graph).parameters;
  const classifier = ['classifier.weight', 'classifier.bias'];
  const pooler = ['bert.pooler.dense.weight', 'bert.pooler.dense.bias'];
  const older = (name: string): string => name.replace('LayerNorm.weight', 'LayerNorm.gamma').replace('LayerNorm.bias', 'LayerNorm.beta');
  const same = (name: string): string => name;
  /** Each tensor by itself tells where it went: no two have a number in common. */
  const tensorsUnder = (rename: (name: string) => string, without: readonly string[]): Map<string, RawTensor> =>
    new Map(
      layout.flatMap(({ name, shape }, at) => {
        const data = Array.from({ length: elementCount(shape) }, (_, i) => 1000 * at + i);
        return without.includes(name) ? [] : [[rename(name), raw('F32', shape, data)]];
      }),
    );
  const bare = (name: string): string => name.replace(/^bert\./, '');
  /** The heads of `BertForPreTraining`, and the positions that its old exports kept. */
  const pretraining = (rename: (name: string) => string): [string, RawTensor][] => [
    ...([
      ['cls.predictions.bias', [9]], ['cls.predictions.transform.dense.weight', [6, 6]], ['cls.predictions.transform.dense.bias', [6]],
      ['cls.predictions.transform.LayerNorm.weight', [6]], ['cls.predictions.transform.LayerNorm.bias', [6]],
      ['cls.predictions.decoder.weight', [9, 6]], ['cls.predictions.decoder.bias', [9]],
      ['cls.seq_relationship.weight', [2, 6]], ['cls.seq_relationship.bias', [2]],
    ] as const).map(([name, shape]): [string, RawTensor] => [rename(name), weights(shape)]),
    ['bert.embeddings.position_ids', raw('I64', [1, 5], [0, 1, 2, 3, 4])],
  ];
  const stateOf = (tensors: ReadonlyMap<string, RawTensor>, zeroHead: boolean) =>
    stateFromForeign(graph, { tensors, metadata: new Map(), convention: 'pytorch' }, [], 'base', { zeroHead });

  it.each<[string, Map<string, RawTensor>, readonly string[]]>([
    ['a classifier', tensorsUnder(same, []), classifier],
    ['as it was pretrained', new Map([...tensorsUnder(same, classifier), ...pretraining(same)]), classifier],
    ['as it was pretrained, with gamma and beta', new Map([...tensorsUnder(older, classifier), ...pretraining(older)]), classifier],
    ['the bare model', tensorsUnder(bare, classifier), classifier],
    ['the bare model, with gamma and beta', tensorsUnder((name) => older(bare(name)), classifier), classifier],
    [
      'a masked language model, which has no pooler', new Map([...tensorsUnder(same, [...classifier, ...pooler]), ...pretraining(same)]),
      [...classifier, ...pooler],
    ],
    [
      'within a module, with gamma and beta', tensorsUnder((name) => `module.${older(name)}`, classifier), classifier,
    ],
  ])('%s as a base: every tensor is where it belongs, and zeros are what it lacks and the last layer', (_, tensors, zeros) => {
    const { state, report, zeroed } = stateOf(tensors, true);
    expect(describeMisfits(report)).toEqual([]);
    expect([...zeroed]).toEqual(zeros);
    for (const [at, { name, shape }] of layout.entries()) {
      const expected = Array.from({ length: elementCount(shape) }, (__, i) => (zeros.includes(name) ? 0 : 1000 * at + i));
      expect(Array.from(state?.parameters.get(name)?.data ?? []), name).toEqual(expected);
    }
  });

  it('a classifier with gamma and beta is told as that, and goes back under its names', () => {
    const tensors = tensorsUnder(older, []);
    const { state, report } = stateOf(tensors, false);
    expect(report).toMatchObject({ scheme: "BERT's first release", prefix: '', added: '', ignored: [], fits: true });
    const written = stateToForeign(graph, state as NetworkState, { tensors, metadata: new Map(), convention: 'pytorch' });
    expect(written).toEqual(tensors);
    expect(map(tensorsUnder(same, []), graph).report.scheme).toBeUndefined();
  });

  it.each<[string, (tensors: Map<string, RawTensor>) => unknown, string]>([
    ['another head', (tensors) => tensors.set('cls.other.weight', weights([6, 6])), 'unexpected: cls.other.weight [6, 6]'],
    ['a norm under both names', (tensors) => tensors.set('bert.embeddings.LayerNorm.gamma', weights([6])), 'more than one tensor for bert'],
    ['three types', (tensors) => tensors.set('bert.embeddings.token_type_embeddings.weight', weights([3, 6])), 'expected [2, 6]'],
    ['odd positions', (tensors) => tensors.set('bert.embeddings.position_ids', raw('I64', [1, 2], [0, 2])), 'unexpected: bert'],
  ])('not with %s', (_, change, misfit) => {
    const tensors = tensorsUnder(same, []);
    change(tensors);
    expect(describeMisfits(stateOf(tensors, true).report).join()).toContain(misfit);
  });

  it('gamma stays the name of a network that has it itself', () => {
    const own = sequential([4], [
      { op: 'dense', name: 'a', out: 6 }, { op: 'layer_scale', name: 'embeddings.LayerNorm' }, { op: 'dense', name: 'b', out: 2 },
    ]);
    const names = parameterLayout(own).parameters;
    expect(names.map(({ name }) => name)).toContain('embeddings.LayerNorm.gamma');
    expect(map(new Map(names.map(({ name, shape }) => [name, weights(shape)])), own).report.fits).toBe(true);
  });
});

describe("torchvision's vit_b_16 at the vit preset", () => {
  const graph = preset('vit', { input: [3, 8, 8], classes: 5, width: 6, depth: 11, heads: 2, patch: 4 });
  // Names and order of torchvision's state dict; in_proj stacks queries, keys and values as qkv does (nn.MultiheadAttention: `chunk(3)`).
  const blockNames = [
    ['norm1', 'ln_1'],
    ['attn.qkv', 'self_attention.in_proj'],
    ['attn.proj', 'self_attention.out_proj'],
    ['norm2', 'ln_2'],
    ['mlp.fc1', 'mlp.0'],
    ['mlp.fc2', 'mlp.3'],
  ] as const;
  const both = (ours: string, theirs: string, joint = '.'): [string, string][] =>
    ['weight', 'bias'].map((kind) => [`${ours}.${kind}`, `${theirs}${joint}${kind}`]);
  const namesUnder = (prefix: string, rename = (name: string) => name): Map<string, string> =>
    new Map(
      [
        ...both('patch_embed.proj', 'conv_proj'),
        ['cls_token', 'class_token'],
        ['pos_embed', 'encoder.pos_embedding'],
        ...Array.from({ length: 11 }, (_, i) =>
          blockNames.flatMap(([ours, theirs]) =>
            both(`blocks.${i}.${ours}`, `encoder.layers.encoder_layer_${i}.${theirs}`, theirs.endsWith('in_proj') ? '_' : '.'),
          ),
        ).flat(),
        ...both('norm', 'encoder.ln'),
        ...both('head', 'heads.head'),
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

type Names = readonly (readonly [ours: string, theirs: string])[];

const ofModule = (ours: string, theirs: string, suffixes: readonly string[]): Names =>
  suffixes.map((suffix) => [`${ours}.${suffix}`, `${theirs}.${suffix}`]);
const affine = (ours: string, theirs: string): Names => ofModule(ours, theirs, ['weight', 'bias']);
const norm = (ours: string, theirs: string): Names =>
  ofModule(ours, theirs, ['weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked']);
const kernel = (ours: string, theirs: string): Names => ofModule(ours, theirs, ['weight']);

/** A file of these names with the network's shapes, and by ours what each is to become; counts of batches are in the file alone. */
function publish(
  graph: ModelGraph,
  names: Names,
  shapeOf: (theirs: string, shape: readonly number[]) => readonly number[] = (_, shape) => shape,
) {
  const layout = parameterLayout(graph);
  const shapes = new Map([...layout.parameters, ...layout.buffers].map(({ name, shape }) => [name, shape]));
  const file = new Map(
    names.map(([ours, theirs]) => [
      theirs,
      ours.endsWith('num_batches_tracked') ? raw('I64', [], [7]) : weights(shapeOf(theirs, shapes.get(ours) as readonly number[])),
    ]),
  );
  return { file, expected: new Map(names.filter(([ours]) => !ours.endsWith('num_batches_tracked'))), shapes };
}

/** Every tensor of the network, by the numbers of the one that was published for it, in the network's shape. */
function expectPublished(
  graph: ModelGraph,
  names: Names,
  scheme: string,
  shapeOf?: (theirs: string, shape: readonly number[]) => readonly number[],
): void {
  for (const prefix of ['', 'state_dict.']) {
    const { file, expected, shapes } = publish(
      graph,
      names.map(([ours, theirs]) => [ours, prefix + theirs]),
      shapeOf,
    );
    const { tensors, report } = map(file, graph);
    expect(describeMisfits(report)).toEqual([]);
    expect(report).toMatchObject({ scheme, fits: true });
    expect([...tensors.keys()].toSorted()).toEqual([...expected.keys()].toSorted());
    for (const [ours, theirs] of expected) {
      const [{ bytes, ...form }, original] = [tensors.get(ours) as RawTensor, file.get(theirs) as RawTensor];
      expect([ours, form, Buffer.compare(bytes, original.bytes)]).toEqual([ours, { dtype: original.dtype, shape: shapes.get(ours) }, 0]);
    }
  }
}

describe("Hugging Face's ViT with a classifier", () => {
  const [module, depth, width] = ['vit', 12, 6] as const;
  const graph = preset('vit', { input: [3, 8, 8], classes: 5, width, depth, heads: 2, patch: 4 });
  const block = (i: number): string => `${module}.encoder.layer.${i}`;
  const plain: Names = [
    ['cls_token', `${module}.embeddings.cls_token`],
    ['pos_embed', `${module}.embeddings.position_embeddings`],
    ...affine('patch_embed.proj', `${module}.embeddings.patch_embeddings.projection`),
    ...Array.from({ length: depth }, (_, i) => [
      ...affine(`blocks.${i}.attn.proj`, `${block(i)}.attention.output.dense`),
      ...affine(`blocks.${i}.mlp.fc1`, `${block(i)}.intermediate.dense`),
      ...affine(`blocks.${i}.mlp.fc2`, `${block(i)}.output.dense`),
      ...affine(`blocks.${i}.norm1`, `${block(i)}.layernorm_before`),
      ...affine(`blocks.${i}.norm2`, `${block(i)}.layernorm_after`),
    ]).flat(),
    ...affine('norm', `${module}.layernorm`),
    ...affine('head', 'classifier'),
  ];
  const parts = (i: number, kind: string): string[] =>
    ['query', 'key', 'value'].map((part) => `${block(i)}.attention.attention.${part}.${kind}`);
  const published = (): Map<string, RawTensor> => {
    const { file } = publish(graph, plain);
    // Values first: the order in the file is not that of the parts.
    for (let i = 0; i < depth; i++) {
      for (const kind of ['weight', 'bias'])
        for (const name of parts(i, kind).toReversed()) file.set(name, weights(kind === 'weight' ? [width, width] : [width]));
    }
    return file;
  };

  it('has queries, keys and values one above the other in one weight', () => {
    const file = published();
    const { tensors, report } = map(file, graph);
    expect(describeMisfits(report)).toEqual([]);
    expect(report).toMatchObject({ scheme: "Hugging Face's vision transformer", fits: true });
    for (const [ours, theirs] of plain) expect([ours, tensors.get(ours)]).toEqual([ours, file.get(theirs)]);
    for (let i = 0; i < depth; i++) {
      for (const kind of ['weight', 'bias']) {
        const { bytes, shape } = tensors.get(`blocks.${i}.attn.qkv.${kind}`) as RawTensor;
        expect(shape).toEqual(kind === 'weight' ? [3 * width, width] : [3 * width]);
        const numbers = parts(i, kind).flatMap((name) => [...new Float32Array((file.get(name) as RawTensor).bytes.slice().buffer)]);
        expect([...new Float32Array(bytes.slice().buffer)]).toEqual(numbers);
        expect(report.mapped.find(({ to }) => to === `blocks.${i}.attn.qkv.${kind}`)).toMatchObject({
          parts: parts(i, kind),
          from: parts(i, kind).join(' + '),
          turned: false,
        });
      }
    }
    const { state } = stateFromForeign(graph, { tensors: file, metadata: new Map(), convention: 'pytorch' }, [], 'vit');
    expect(state?.parameters.get('blocks.0.attn.qkv.bias')?.data).toHaveLength(3 * width);
  });

  const key = parts(0, 'weight')[1] as string;
  it.each<[string, (file: Map<string, RawTensor>) => void, RegExp]>([
    [
      'a part that is missing',
      (file) => file.delete(key),
      /^missing: blocks\.0\.attn\.qkv\.weight \[18, 6\]\n(unexpected: .*(query|value)\.weight \[6, 6\]\n?){2}$/,
    ],
    [
      'a part of another type',
      (file) => file.set(key, { ...(file.get(key) as RawTensor), dtype: 'I32' }),
      /^missing: .*\n(unexpected: .*\n?){3}$/,
    ],
    ['a part of another width', (file) => file.set(key, weights([6, 5])), /^missing: .*\n(unexpected: .*\n?){3}$/],
    [
      'a part that is too long',
      (file) => file.set(key, weights([7, 6])),
      /^shape: .*query\.weight \+ .*, as blocks\.0\.attn\.qkv\.weight expected \[18, 6\], got \[19, 6\]$/,
    ],
    [
      'what the preset lacks',
      (file) => file.set(`${module}.embeddings.distillation_token`, weights([1, 1, 6])),
      /^unexpected: .*distillation_token \[1, 1, 6\]$/,
    ],
  ])('says what is amiss with %s', (_, change, misfits) => {
    const file = published();
    change(file);
    expect(describeMisfits(map(file, graph).report).join('\n')).toMatch(misfits);
  });

  it('as a base model lacks nothing but the head', () => {
    const base = new Map(
      [...published()].filter(([name]) => !name.startsWith('classifier')).map(([name, tensor]) => [name.slice(module.length + 1), tensor]),
    );
    expect(describeMisfits(map(base, graph).report)).toEqual(['missing: head.weight [5, 6]', 'missing: head.bias [5]']);
  });
});

describe("Hugging Face's ResNet", () => {
  it.each([
    ['resnet18', 2, [2, 2, 2, 2]], ['resnet50', 3, [3, 4, 6, 3]], ['resnet152', 3, [3, 8, 36, 3]],
  ] as const)('at %s', (name, convolutions, blocks) => {
    const graph = preset(name, { input: [3, 32, 32], classes: 5, width: 4 });
    const layers = blocks.flatMap((count, stage) => Array.from({ length: count }, (_, index): Names => {
      const [ours, theirs] = [`layer${stage + 1}.${index}`, `resnet.encoder.stages.${stage}.layers.${index}`];
      // A shortcut where the channels change: behind the stem they do only in bottlenecks.
      const projects = index === 0 && (stage > 0 || convolutions === 3);
      return [
        ...Array.from({ length: convolutions }, (__, k) => [
          ...kernel(`${ours}.conv${k + 1}`, `${theirs}.layer.${k}.convolution`),
          ...norm(`${ours}.bn${k + 1}`, `${theirs}.layer.${k}.normalization`),
        ]).flat(),
        ...(projects
          ? [
              ...kernel(`${ours}.downsample.0`, `${theirs}.shortcut.convolution`),
              ...norm(`${ours}.downsample.1`, `${theirs}.shortcut.normalization`),
            ]
          : []),
      ];
    }).flat());
    const stem = [...kernel('conv1', 'resnet.embedder.embedder.convolution'), ...norm('bn1', 'resnet.embedder.embedder.normalization')];
    expectPublished(graph, [...stem, ...layers, ...affine('fc', 'classifier.1')], "Hugging Face's ResNet");
  });
});

describe('ConvNeXt', () => {
  const blocks = [1, 2, 11, 1];
  const graph = preset('convnext', { input: [3, 32, 32], classes: 5, width: 4, blocks });
  const names = (
    stem: readonly [string, string],
    reduction: (stage: number) => string,
    block: (stage: number) => string,
    within: readonly string[],
    last: readonly [string, string],
  ): Names => [
    ...affine('features.0.0', stem[0]),
    ...affine('features.0.1', stem[1]),
    ...blocks.flatMap((count, stage) => [
      ...(stage === 0 ? [] : [0, 1].flatMap((k) => affine(`features.${2 * stage}.${k}`, `${reduction(stage)}.${k}`))),
      ...Array.from({ length: count }, (_, index): Names => {
        const [ours, theirs] = [`features.${2 * stage + 1}.${index}`, `${block(stage)}.${index}`];
        return [
          [`${ours}.layer_scale`, `${theirs}.${within[4]}`],
          ...[0, 2, 3, 5].flatMap((layer, k) => affine(`${ours}.block.${layer}`, `${theirs}.${within[k]}`)),
        ];
      }).flat(),
    ]),
    ...affine('classifier.0', last[0]),
    ...affine('classifier.2', last[1]),
  ];
  // A vector of scales, where torchvision has [channels, 1, 1].
  const vectors = (theirs: string, shape: readonly number[]): readonly number[] =>
    /(gamma|layer_scale_parameter)$/.test(theirs) ? [shape[0] as number] : shape;

  it('of Hugging Face', () => {
    const encoder = (stage: number): string => `convnext.encoder.stages.${stage}`;
    expectPublished(
      graph,
      names(
        ['convnext.embeddings.patch_embeddings', 'convnext.embeddings.layernorm'],
        (stage) => `${encoder(stage)}.downsampling_layer`,
        (stage) => `${encoder(stage)}.layers`,
        ['dwconv', 'layernorm', 'pwconv1', 'pwconv2', 'layer_scale_parameter'],
        ['convnext.layernorm', 'classifier'],
      ),
      "Hugging Face's ConvNeXt",
      vectors,
    );
  });

  const timm = names(
    ['stem.0', 'stem.1'],
    (stage) => `stages.${stage}.downsample`,
    (stage) => `stages.${stage}.blocks`,
    ['conv_dw', 'norm', 'mlp.fc1', 'mlp.fc2', 'gamma'],
    ['head.norm', 'head.fc'],
  );
  it('of timm', () => {
    expectPublished(graph, timm, "timm's ConvNeXt", vectors);
  });

  it('of timm with 1×1 convolutions for dense layers', () => {
    expectPublished(graph, timm, "timm's ConvNeXt", (theirs, shape) =>
      /fc[12]\.weight$/.test(theirs) ? [...shape, 1, 1] : vectors(theirs, shape),
    );
  });

  it('of its authors', () => {
    expectPublished(graph, names(
      ['downsample_layers.0.0', 'downsample_layers.0.1'], (stage) => `downsample_layers.${stage}`, (stage) => `stages.${stage}`,
      ['dwconv', 'norm', 'pwconv1', 'pwconv2', 'gamma'], ['norm', 'head'],
    ), "the ConvNeXt authors' code", vectors);
  });

  it('keeps to shapes otherwise', () => {
    const { file } = publish(graph, timm, (theirs, shape) => (theirs === 'head.fc.weight' ? shape.toReversed() : vectors(theirs, shape)));
    expect(describeMisfits(map(file, graph).report)).toEqual([
      'shape: head.fc.weight, as classifier.2.weight expected [5, 32], got [32, 5]',
    ]);
  });
});

it("timm's MobileNetV2", () => {
  const graph = preset('mobilenet_v2', { input: [3, 32, 32], classes: 5, width: 0.25 });
  // timm: stages of blocks, of which the first has no expansion; torchvision: blocks from 1 to 17.
  let position = 0;
  const blocks = [1, 2, 3, 4, 3, 3, 1].flatMap((count, stage) => Array.from({ length: count }, (_, index): Names => {
    const [ours, theirs] = [`features.${++position}.conv`, `blocks.${stage}.${index}`];
    if (stage === 0)
      return [
        ...kernel(`${ours}.0.0`, `${theirs}.conv_dw`),
        ...norm(`${ours}.0.1`, `${theirs}.bn1`),
        ...kernel(`${ours}.1`, `${theirs}.conv_pw`),
        ...norm(`${ours}.2`, `${theirs}.bn2`),
      ];
    return [
      ...kernel(`${ours}.0.0`, `${theirs}.conv_pw`),
      ...norm(`${ours}.0.1`, `${theirs}.bn1`),
      ...kernel(`${ours}.1.0`, `${theirs}.conv_dw`),
      ...norm(`${ours}.1.1`, `${theirs}.bn2`),
      ...kernel(`${ours}.2`, `${theirs}.conv_pwl`),
      ...norm(`${ours}.3`, `${theirs}.bn3`),
    ];
  }).flat());
  expect(position).toBe(17);
  expectPublished(
    graph,
    [
      ...kernel('features.0.0', 'conv_stem'),
      ...norm('features.0.1', 'bn1'),
      ...blocks,
      ...kernel('features.18.0', 'conv_head'),
      ...norm('features.18.1', 'bn2'),
      ...affine('classifier.1', 'classifier'),
    ],
    "timm's MobileNetV2",
  );
});
