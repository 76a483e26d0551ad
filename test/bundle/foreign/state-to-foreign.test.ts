/** The way back: a state under the names, in the layouts and beside the other contents of people's files. */
import { describe, expect, it } from 'vitest';
import type { ForeignCheckpoint } from '../../../src/bundle/foreign/checkpoint.ts';
import { fitsWithoutHead, stateFromForeign } from '../../../src/bundle/foreign/network.ts';
import { readPytorch } from '../../../src/bundle/foreign/pytorch.ts';
import { stateToForeign } from '../../../src/bundle/foreign/state-to-foreign.ts';
import type { RawTensor } from '../../../src/bundle/safetensors.ts';
import { sequential } from '../../../src/model/builder.ts';
import { parameterLayout, parseGraph } from '../../../src/model/graph.ts';
import type { ModelGraph } from '../../../src/model/graph.ts';
import { preset } from '../../../src/model/presets.ts';
import { elementCount } from '../../../src/tensor/tensor.ts';
import type { NetworkState } from '../../../src/tensor/tensor.ts';
import { expectTyped } from '../support.ts';
import { kerasNetwork, numbersOf, pytorchNetwork, vector } from './support.ts';

const [kerasGraph, torchGraph] = [parseGraph(kerasNetwork), parseGraph(pytorchNetwork)];

/** Every number of a state once. */
function counted(graph: ModelGraph, first: number): NetworkState {
  let next = first;
  const tensors = (infos: ReturnType<typeof parameterLayout>['parameters']) =>
    new Map(infos.map(({ name, shape }) => [name, { shape, data: Float32Array.from({ length: elementCount(shape) }, () => next++) }]));
  const { parameters, buffers } = parameterLayout(graph);
  return { parameters: tensors(parameters), buffers: tensors(buffers) };
}
const zeros = (shape: readonly number[], dtype: 'F32' | 'F16' = 'F32'): RawTensor =>
  ({ dtype, shape, bytes: new Uint8Array(elementCount(shape) * (dtype === 'F32' ? 4 : 2)) });
const pytorch = (tensors: ReadonlyMap<string, RawTensor>): ForeignCheckpoint => ({ tensors, metadata: new Map(), convention: 'pytorch' });
const shapesOf = (tensors: ReadonlyMap<string, RawTensor>): unknown => [...tensors].map(([name, { shape }]) => [name, shape]);

/** What is written reads back as the same state. */
function expectRoundTrip(graph: ModelGraph, state: NetworkState, like: ForeignCheckpoint): ReadonlyMap<string, RawTensor> {
  const written = stateToForeign(graph, state, like);
  expect(stateFromForeign(graph, { ...like, tensors: written }).state).toEqual(state);
  return written;
}

describe("Hugging Face's ViT", () => {
  const graph = preset('vit', { input: [3, 8, 8], classes: 5, width: 4, depth: 2, heads: 2, patch: 4 });
  const block = (i: number): [string, readonly number[]][] => {
    const within = `vit.encoder.layer.${i}.`;
    const dense = (name: string, out: number, inputs: number): [string, readonly number[]][] =>
      [[`${within}${name}.weight`, [out, inputs]], [`${within}${name}.bias`, [out]]];
    const norm = (name: string): [string, readonly number[]][] => [[`${within}${name}.weight`, [4]], [`${within}${name}.bias`, [4]]];
    return [
      ...['query', 'key', 'value'].flatMap((name) => dense(`attention.attention.${name}`, 4, 4)), ...dense('attention.output.dense', 4, 4),
      ...dense('intermediate.dense', 16, 4), ...dense('output.dense', 4, 16), ...norm('layernorm_before'), ...norm('layernorm_after'),
    ];
  };
  const published = (classes: number, dtype: 'F32' | 'F16' = 'F32') =>
    new Map<string, RawTensor>([
      ['vit.embeddings.cls_token', [1, 1, 4]], ['vit.embeddings.position_embeddings', [1, 5, 4]],
      ['vit.embeddings.patch_embeddings.projection.weight', [4, 3, 4, 4]], ['vit.embeddings.patch_embeddings.projection.bias', [4]],
      ...block(0), ...block(1), ['vit.layernorm.weight', [4]], ['vit.layernorm.bias', [4]],
      ['classifier.weight', [classes, 4]], ['classifier.bias', [classes]],
    ].map(([name, shape]) => [name as string, zeros(shape as readonly number[], dtype)]));
  const state = counted(graph, 1);
  const qkv = state.parameters.get('blocks.1.attn.qkv.weight')?.data as Float32Array;

  it('gets its queries, keys and values back, each by itself', () => {
    const like = pytorch(published(5));
    const written = expectRoundTrip(graph, state, like);
    expect(shapesOf(written)).toEqual(shapesOf(like.tensors));
    for (const [part, name] of ['query', 'key', 'value'].entries()) {
      expect(numbersOf(
        written.get(`vit.encoder.layer.1.attention.attention.${name}.weight`) as RawTensor,
      )).toEqual([...qkv.subarray(16 * part, 16 * part + 16)]);
    }
  });

  it('has its weights as F32, whatever they were', () => {
    const written = stateToForeign(graph, state, pytorch(published(5, 'F16')));
    expect(new Set([...written.values()].map(({ dtype }) => dtype))).toEqual(new Set(['F32']));
  });

  it('takes a head of another size under its own name', () => {
    const written = stateToForeign(graph, state, pytorch(published(1000)));
    expect(numbersOf(written.get('classifier.weight') as RawTensor)).toEqual([...(state.parameters.get('head.weight')?.data ?? [])]);
    expect(written.get('classifier.bias')?.shape).toEqual([5]);
    expect([...written.keys()]).toEqual([...published(1000).keys()]);
  });

  it('comes as a base with a pooler and without a head, and the pooler stays where it is', () => {
    const base = new Map([...published(5)].flatMap(([name, tensor]) => (name.startsWith('vit.')
      ? [[name.slice('vit.'.length), tensor] as const]
      : [])));
    const pooler = zeros([4, 4]);
    base.set('pooler.dense.weight', pooler).set('pooler.dense.bias', zeros([4]));
    const { state: read, report } = stateFromForeign(graph, pytorch(base), [], 'base.bin', { zeroHead: true });
    expect(read?.parameters.get('head.weight')?.data).toEqual(new Float32Array(20));
    expect(report.ignored.map(({ from, kind, belongs }) => [from, kind, belongs])).toEqual([
      ['pooler.dense.weight', 'unread', true], ['pooler.dense.bias', 'unread', true],
    ]);
    const whole = published(5).set('vit.pooler.dense.weight', pooler);
    expect(stateToForeign(graph, state, pytorch(whole)).get('vit.pooler.dense.weight')).toBe(pooler);
  });

  it('is refused without a head, with what would do, and with no such advice for any other misfit', async () => {
    const without = (...names: string[]) => pytorch(new Map([...published(5)].filter(([name]) => !names.includes(name))));
    const refusal = async (given: ForeignCheckpoint) =>
      (await expectTyped(() => stateToForeign(graph, state, given, [], 'base.bin'), 'malformed-file')).message;
    const advice = "base.bin: expected a file with the network's last layer, as that of the fine-tune has it, got one without head.";
    expect(await refusal(without('classifier.weight', 'classifier.bias'))).toBe(`${advice}weight, head.bias`);
    expect(await refusal(without('classifier.weight'))).toBe(`${advice}weight`);
    for (const other of [without('vit.layernorm.weight'), without('classifier.weight', 'classifier.bias', 'vit.layernorm.weight')])
      expect(await refusal(other)).toMatch(/^base\.bin: expected the network's tensors, got .*missing: /);
  });

  it('is refused where a head has other inputs, not only other classes', async () => {
    const tensors = published(7).set('classifier.weight', zeros([7, 3]));
    await expectTyped(() => stateToForeign(graph, state, pytorch(tensors)), 'malformed-file');
    await expectTyped(() => stateToForeign(graph, state, pytorch(published(5).set('classifier.weight', zeros([5, 3])))), 'malformed-file');
  });

  it('is refused of another size, and for a state of another network', async () => {
    const tensors = published(5).set('vit.layernorm.weight', zeros([3]));
    await expectTyped(() => stateToForeign(graph, state, pytorch(tensors)), 'malformed-file');
    const parameters = new Map(state.parameters).set('norm.weight', { shape: [3], data: new Float32Array(3) });
    const error = await expectTyped(() => stateToForeign(graph, { ...state, parameters }, pytorch(published(5))), 'invalid-argument');
    expect(error.message).toContain('state.norm.weight');
    parameters.set('norm.weight', { shape: [4], data: new Float32Array(3) });
    await expectTyped(() => stateToForeign(graph, { ...state, parameters }, pytorch(published(5))), 'invalid-argument');
  });
});

it("turns Keras's kernels and the order of flattened images back", () => {
  const graph = kerasGraph;
  const state = counted(graph, 1);
  const shape = (name: string) => parameterLayout(graph).parameters.find((info) => info.name === name)?.shape ?? [];
  const [out, inputs, height, width] = shape('conv2d.weight') as [number, number, number, number];
  const [classes, units] = shape('dense.weight') as [number, number];
  const like: ForeignCheckpoint = {
    convention: 'keras',
    metadata: new Map(),
    tensors: new Map([
      ['conv2d/kernel', zeros([height, width, inputs, out])], ['conv2d/bias', zeros([out])],
      ...[
        'gamma', 'beta', 'moving_mean', 'moving_variance',
      ].map((name): [string, RawTensor] => [`batch_normalization/${name}`, zeros([out])]),
      ['dense/kernel', zeros([units, classes])], ['dense/bias', zeros([classes])],
    ]),
  };
  const written = expectRoundTrip(graph, state, like);
  expect(shapesOf(written)).toEqual(shapesOf(like.tensors));
  // Element (y, x, i, o) of Keras is element (o, i, y, x) of PyTorch; the state's numbers count from the first of each tensor.
  const kernel = numbersOf(written.get('conv2d/kernel') as RawTensor);
  const first = state.parameters.get('conv2d.weight')?.data[0] as number;
  for (let y = 0, at = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let i = 0; i < inputs; i++)
        for (let o = 0; o < out; o++, at++) expect(kernel[at]).toBe(first + ((o * inputs + i) * height + y) * width + x);
  const side = Math.sqrt(units / out);
  const dense = numbersOf(written.get('dense/kernel') as RawTensor);
  const start = state.parameters.get('dense.weight')?.data[0] as number;
  for (let y = 0, at = 0; y < side; y++)
    for (let x = 0; x < side; x++)
      for (let c = 0; c < out; c++)
        for (let o = 0; o < classes; o++, at++) expect(dense[at]).toBe(start + o * units + (c * side + y) * side + x);
});

it('takes a head with other classes of Keras too, and by rules that do not turn it', () => {
  const state = counted(kerasGraph, 1);
  const [out, inputs, height, width] = [2, 1, 3, 3];
  const tensors = new Map([
    ['conv2d/kernel', zeros([height, width, inputs, out])], ['conv2d/bias', zeros([out])],
    ...[
      'gamma', 'beta', 'moving_mean', 'moving_variance',
    ].map((name): [string, RawTensor] => [`batch_normalization/${name}`, zeros([out])]),
    ['dense/kernel', zeros([8, 1000])], ['dense/bias', zeros([1000])],
  ]);
  const like: ForeignCheckpoint = { convention: 'keras', metadata: new Map(), tensors };
  const written = stateToForeign(kerasGraph, state, like);
  expect([written.get('dense/kernel')?.shape, written.get('dense/bias')?.shape]).toEqual([[8, 3], [3]]);
  expect(stateFromForeign(kerasGraph, { ...like, tensors: written }).state).toEqual(state);

  const torch = counted(torchGraph, 1);
  const { parameters, buffers } = parameterLayout(torchGraph);
  const named = new Map([...parameters, ...buffers].map(({ name, shape }) => [
    name.replace('conv.', 'stem.'), zeros(name.startsWith('head.') ? [9, ...shape.slice(1)] : shape),
  ]));
  const renamed = stateToForeign(torchGraph, torch, pytorch(named), [{ from: 'stem.*', to: 'conv.$1' }]);
  expect(renamed.get('head.weight')?.shape).toEqual([3, 8]);
  expect(numbersOf(renamed.get('stem.weight') as RawTensor)).toEqual([...(torch.parameters.get('conv.weight')?.data ?? [])]);
});

describe('a training checkpoint of PyTorch', () => {
  it('gives the state dict alone, with its counts', async () => {
    const like = await readPytorch(vector('checkpoint.pt'));
    const state = counted(torchGraph, 7);
    const written = stateToForeign(torchGraph, state, like);
    const count = [...like.tensors.keys()].find((name) => name.endsWith('num_batches_tracked')) as string;
    expect([...written.keys()].toSorted()).toEqual(
      [...state.parameters.keys(), ...state.buffers.keys(), 'norm.num_batches_tracked'].toSorted(),
    );
    expect(written.get('norm.num_batches_tracked')).toBe(like.tensors.get(count));
    expect(stateFromForeign(torchGraph, { ...like, tensors: written }).state).toEqual(state);
  });

  it('keeps a prefix that is part of the names', () => {
    const state = counted(torchGraph, 7);
    const { parameters, buffers } = parameterLayout(torchGraph);
    const like = pytorch(new Map([...parameters, ...buffers].map(({ name, shape }) => [`module.${name}`, zeros(shape)])));
    expect([...expectRoundTrip(torchGraph, state, like).keys()]).toEqual([...like.tensors.keys()]);
  });
});

it('writes a copy as the network has the weight, whatever its original looks like, and refuses one that is turned', async () => {
  const graph = preset('gpt2', { input: [2], classes: 3, width: 2, depth: 1, heads: 1 });
  const state = counted(graph, 1);
  const weight = [...(state.parameters.get('transformer.wte.weight')?.data ?? [])];
  const tensors = new Map(parameterLayout(graph).parameters.map(({ name, shape }) => [name, zeros(shape)]));
  tensors.delete('transformer.wte.weight');
  const halves = new Map(tensors).set('wte.0', zeros([1, 2])).set('wte.1', zeros([2, 2])).set('lm_head.weight', zeros([3, 2]));
  const joined = stateToForeign(
    graph,
    state,
    pytorch(halves),
    [{ from: 'wte.0', to: 'transformer.wte.weight', part: [0, 2] }, { from: 'wte.1', to: 'transformer.wte.weight', part: [1, 2] }],
  );
  expect(numbersOf(joined.get('lm_head.weight') as RawTensor)).toEqual(weight);
  expect(numbersOf(joined.get('wte.1') as RawTensor)).toEqual(weight.slice(2));
  const turnedRule = { from: 'wte_t', to: 'transformer.wte.weight', transpose: [1, 0] };
  const turned = new Map(tensors).set('wte_t', zeros([2, 3])).set('lm_head.weight', zeros([3, 2]));
  expect(numbersOf(stateToForeign(graph, state, pytorch(turned), [turnedRule]).get('lm_head.weight') as RawTensor)).toEqual(weight);
  const copy = new Map(tensors).set('wte_t', zeros([2, 3])).set('head_t', zeros([2, 3]));
  const rules = [turnedRule, { from: 'head_t', to: 'lm_head.weight', transpose: [1, 0] }];
  await expectTyped(() => stateToForeign(graph, state, pytorch(copy), rules), 'unsupported');
});

it('writes the copies of a weight that is used twice, and leaves masks as they are', () => {
  const graph = preset('gpt2', { input: [2], classes: 3, width: 2, depth: 1, heads: 1 });
  const state = counted(graph, 1);
  const tensors = new Map(parameterLayout(graph).parameters.map(({ name, shape }) => [name.slice('transformer.'.length), zeros(shape)]));
  const mask: RawTensor = { dtype: 'U8', shape: [1, 1, 2, 2], bytes: Uint8Array.from([1, 0, 1, 1]) };
  tensors.set('h.0.attn.bias', mask).set('lm_head.weight', zeros([3, 2]));
  const written = expectRoundTrip(graph, state, pytorch(tensors));
  expect(written.get('h.0.attn.bias')).toBe(mask);
  expect(numbersOf(written.get('lm_head.weight') as RawTensor)).toEqual([...(state.parameters.get('transformer.wte.weight')?.data ?? [])]);
});

describe('a base whose head is of another task', () => {
  const graph = preset('resnet18', { input: [3, 32, 32], classes: 4, width: 8, stem: 'cifar' });
  const { parameters, buffers } = parameterLayout(graph);
  const base = (classes: number | undefined) =>
    pytorch(new Map([...parameters, ...buffers].flatMap(({ name, shape }): [string, RawTensor][] => {
      if (!name.startsWith('fc.')) return [[name, { ...zeros(shape), bytes: new Uint8Array(4 * elementCount(shape)).fill(1) }]];
      return classes === undefined ? [] : [[name, zeros([classes, ...shape.slice(1)])]];
    })));

  it.each([['of 1000 classes', 1000], ['there is none', undefined], ['of as many classes', 4]] as const)('zeros it: %s', (_, classes) => {
    const { state, report } = stateFromForeign(graph, base(classes), [], 'base.pth', { zeroHead: true });
    expect(report.fits).toBe(true);
    expect(report.ignored.map(({ from, kind }) => [from, kind])).toEqual(
      classes === undefined ? [] : [['fc.weight', 'replaced'], ['fc.bias', 'replaced']],
    );
    expect([...(state?.parameters.keys() ?? [])]).toEqual(parameters.map(({ name }) => name));
    for (const { name, shape } of parameters) {
      const tensor = state?.parameters.get(name);
      expect([name, tensor?.shape]).toEqual([name, shape]);
      expect(tensor?.data.every((value) => (value === 0) === name.startsWith('fc.'))).toBe(true);
    }
  });

  it('does not fit otherwise, nor where anything else is missing', () => {
    expect(stateFromForeign(graph, base(1000)).state).toBeUndefined();
    const tensors = new Map(base(1000).tensors);
    tensors.delete('layer1.0.conv1.weight');
    expect(stateFromForeign(graph, pytorch(tensors), [], 'base.pth', { zeroHead: true }).state).toBeUndefined();
  });

  it('is told from a file that lacks more, under a prefix too', () => {
    const under = (prefix: string, lacking?: string) =>
      pytorch(
        new Map([...base(undefined).tensors].flatMap(([name, tensor]) => (name === lacking ? [] : [[prefix + name, tensor] as const]))),
      );
    for (const prefix of ['', 'module.']) {
      expect(fitsWithoutHead(graph, under(prefix))).toBe(true);
      expect(fitsWithoutHead(graph, under(prefix, 'layer1.0.conv1.weight'))).toBe(false);
    }
  });

  it('is not any other module where the network has one layer besides', () => {
    const small = sequential([4], [{ op: 'dense', name: 'linear1', out: 3 }, { op: 'relu' }, { op: 'dense', name: 'linear2', out: 2 }]);
    const other = new Map([['decoder.weight', zeros([3, 4])], ['decoder.bias', zeros([3])]]);
    expect(stateFromForeign(small, pytorch(other), [], 'x', { zeroHead: true }).report.fits).toBe(false);
  });

  it('is not turned by rules that are for another size', () => {
    const { report } = stateFromForeign(
      torchGraph,
      pytorch(
        new Map([
          ...parameterLayout(torchGraph).parameters, ...parameterLayout(torchGraph).buffers,
        ].map(({ name, shape }) => [name, zeros(name === 'head.weight' ? [1000, 8] : shape)])),
      ),
      [{ from: 'head.weight', to: 'head.weight', view: [3, 8] }],
      'x',
      { zeroHead: true },
    );
    expect(report.fits).toBe(true);
  });

  it('is refused where the output is tied to an embedding', async () => {
    const gpt2 = preset('gpt2', { input: [2], classes: 3, width: 2, depth: 1, heads: 1 });
    const error = await expectTyped(() => stateFromForeign(gpt2, pytorch(new Map()), [], 'base', { zeroHead: true }), 'invalid-argument');
    expect(error.message).toContain('tied_dense');
  });
});
