/** An adapter ported: the target with it is the network that a transfer gave, whatever units moved, and another change is refused. */
import { afterAll, describe, expect, it } from 'vitest';
import { type Adapter, readAdapter } from '../../src/bundle/foreign/adapter.ts';
import { withAdapter } from '../../src/bundle/foreign/adapter-merge.ts';
import { stateFromAdapter, stateFromForeign } from '../../src/bundle/foreign/network.ts';
import type { RawTensor } from '../../src/bundle/safetensors.ts';
import { openBundle } from '../../src/bundle/reader.ts';
import { writeBundle } from '../../src/bundle/writer.ts';
import { openCompute, preset, sequential, trajectoryFromStates, transfer } from '../../src/index.ts';
import type { TransferResult } from '../../src/index.ts';
import { sequenceSet } from '../../src/data/sequence-set.ts';
import { permuteTensors, randomPermutations } from '../../src/matching/permutation.ts';
import { derivePermutationSpec } from '../../src/model/permutation-spec.ts';
import type { NamedTensors, NetworkState } from '../../src/tensor/tensor.ts';
import { type PortAdapterOptions, portAdapter, requireAdapterOf } from '../../src/transfer/adapter.ts';
import { adaptedCase, adaptedNetworks, furthest, valuesOf } from '../bundle/foreign/adapters/cases.ts';
import type { AdaptedCase, AdaptedNetwork } from '../bundle/foreign/adapters/cases.ts';
import { expectTyped } from '../bundle/support.ts';

const compute = await openCompute();
afterAll(() => compute[Symbol.dispose]());

const mapTensors = (tensors: NamedTensors, make: (name: string, i: number, value: number) => number): NamedTensors =>
  new Map([...tensors].map(([name, { shape, data }]) => [name, { shape, data: data.map((value, i) => make(name, i, value)) }]));
const networkOf = (parameters: NamedTensors): NetworkState => ({ parameters, buffers: new Map() });
const at = (tensors: NamedTensors, name: string, i: number): number => tensors.get(name)?.data[i] as number;

/** v1, v1 with the adapter, and v2: other weights in a file with the names of v1's. */
async function parts(network: AdaptedNetwork) {
  const given = await adaptedCase(network);
  const { graph, base, adapter } = given;
  const v2 = new Map([...base.tensors].map(([name, tensor]): [string, RawTensor] => {
    const values = valuesOf(base.tensors, name).map((value, i) => value / 2 + ((i * 37) % 11) / 50);
    return [name, { ...tensor, bytes: new Uint8Array(values.buffer) }];
  }));
  const target = { ...base, tensors: v2 };
  const stateOf = (file: AdaptedCase['base']): NetworkState => stateFromForeign(graph, file).state as NetworkState;
  return {
    ...given, target, before: stateOf(base), start: stateOf(target),
    after: (await stateFromAdapter(graph, base, adapter)).state as NetworkState,
  };
}

/** What a transfer along a line gives at `fraction`, by arithmetic of its own. */
function portOf(
  { graph, before, after, start }: Awaited<ReturnType<typeof parts>>, seed: number, fraction: number,
): PortAdapterOptions['result'] {
  const permutations = randomPermutations(derivePermutationSpec(graph), seed);
  const change = mapTensors(after.parameters, (name, i, value) => value - at(before.parameters, name, i));
  const moved = permuteTensors(derivePermutationSpec(graph), change, permutations);
  const state = networkOf(mapTensors(start.parameters, (name, i, value) => value + fraction * at(moved, name, i)));
  return { state, permutations, chosenStep: 1, steps: [{ step: 0, fraction: 0 }, { step: 1, fraction }] };
}

describe.each(adaptedNetworks)('%s', (network) => {
  it.each([1, 0.25])('with the ported adapter is the ported network, at %d of the way', async (fraction) => {
    const given = await parts(network);
    const { graph, adapter, target, start, file, config } = given;
    const result = portOf(given, 7, fraction);
    const ported = await portAdapter({ graph, adapter, base: target, target: start, result });
    expect([...ported.keys()]).toEqual([...file.tensors.keys()]);
    // Units did move: the factors are others.
    const [{ names }] = adapter.factors as [Adapter['factors'][number]];
    expect(furthest(valuesOf(ported, names.b), valuesOf(file.tensors, names.b).map((value) => fraction * value))).toBeGreaterThan(0.01);
    const again = readAdapter({ ...file, tensors: ported }, config);
    const { parameters } = (await stateFromAdapter(graph, target, again)).state as NetworkState;
    for (const [name, { data }] of result.state.parameters)
      expect(furthest((parameters.get(name) as { data: Float32Array }).data, data), name).toBeLessThan(1e-6);
  });

  it.each(['lossless', 'int8', 'int4'] as const)('is known as the base of its adapter from a bundle coded %s', async (coding) => {
    const { graph, adapter, base, before, after } = await parts(network);
    const checkpoints = [{ label: 'v1', state: before }, { label: 'v1 with the adapter', state: after }];
    using bundle = await openBundle(await writeBundle({ graph, checkpoints }, { coding }));
    const [start, end] = [await bundle.readCheckpoint(0), await bundle.readCheckpoint(1)];
    await expect(requireAdapterOf({ graph, adapter, base }, start, end)).resolves.toBeUndefined();
  });

  it('is known as the base of its own adapter only', async () => {
    const { graph, adapter, base, before, after } = await parts(network);
    await expect(requireAdapterOf({ graph, adapter, base }, before, after)).resolves.toBeUndefined();
    const [first, ...others] = adapter.factors as [Adapter['factors'][number]];
    const other = { ...adapter, factors: [{ ...first, scale: 1.5 * first.scale }, ...others] };
    const error = await expectTyped(() => requireAdapterOf({ graph, adapter: other, base }, before, after), 'malformed-file');
    expect(error.field).toContain(first.weight);
    // What the adapter has not may not change either.
    const name = [...after.parameters.keys()].find((parameter) => /norm|ln_/i.test(parameter)) as string;
    const more = mapTensors(after.parameters, (parameter, i, value) => (parameter === name && i === 0 ? value + 0.01 : value));
    const changed = await expectTyped(() => requireAdapterOf({ graph, adapter, base }, before, networkOf(more)), 'malformed-file');
    expect(changed.field).toContain(name);
  });
});

describe('batch norms', () => {
  const graph = sequential([1, 4, 4], [
    { op: 'conv2d', name: 'conv', out: 6, kernel: 3, padding: 1, bias: false }, { op: 'batch_norm', name: 'norm' }, { op: 'relu' },
    { op: 'global_average_pool' }, { op: 'flatten' }, { op: 'dense', name: 'head', out: 3 },
  ]);
  const shapes = { 'norm.weight': [6], 'norm.bias': [6], 'norm.running_mean': [6], 'norm.running_var': [6] } as const;
  const tensor = (shape: readonly number[], seed: number): RawTensor => {
    const values = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => 0.5 + ((i * seed) % 11) / 10);
    return { dtype: 'F32', shape, bytes: new Uint8Array(values.buffer) };
  };
  const base = (seed: number): AdaptedCase['base'] => ({
    format: 'safetensors', metadata: new Map(), convention: 'pytorch', tensors: new Map([
      ['conv.weight', tensor([6, 1, 3, 3], seed)], ['head.weight', tensor([3, 6], seed + 1)], ['head.bias', tensor([3], seed)],
      ...Object.entries(shapes).map(([name, shape], i) => [name, tensor(shape, seed + i)] as const),
    ]),
  } as AdaptedCase['base']);
  const count: RawTensor = { dtype: 'I64', shape: [], bytes: new Uint8Array(BigInt64Array.of(12n).buffer) };
  /** What PEFT saves of `target_modules: ['conv']`, and of `modules_to_save: ['norm']`. */
  const adapterOf = (whole: readonly string[]): Adapter => readAdapter({
    ...base(1), tensors: new Map([
      ['base_model.model.conv.lora_A.weight', tensor([2, 1, 3, 3], 5)], ['base_model.model.conv.lora_B.weight', tensor([6, 2, 1, 1], 4)],
      ...whole.map((name) => [`base_model.model.norm.${name}`, tensor([6], 8)] as const),
      ['base_model.model.norm.num_batches_tracked', count],
    ]),
  }, { peft_type: 'LORA', lora_alpha: 2 });
  const stateOf = (file: AdaptedCase['base']): NetworkState => stateFromForeign(graph, file).state as NetworkState;

  it('that the adapter has whole are ported with their statistics, and their counts stay', async () => {
    const adapter = adapterOf(['weight', 'bias', 'running_mean', 'running_var']);
    const [before, start] = [stateOf(base(3)), stateOf(base(7))];
    const after = (await stateFromAdapter(graph, base(3), adapter)).state as NetworkState;
    await expect(requireAdapterOf({ graph, adapter, base: base(7) }, before, after)).resolves.toBeUndefined();
    const spec = derivePermutationSpec(graph);
    const permutations = randomPermutations(spec, 7);
    const change = mapTensors(after.parameters, (name, i, value) => value - at(before.parameters, name, i));
    const moved = permuteTensors(spec, change, permutations);
    // As a transfer does: weights change by what moved, statistics are estimated anew.
    const state = {
      parameters: mapTensors(start.parameters, (name, i, value) => value + at(moved, name, i)),
      buffers: mapTensors(start.buffers, (_, i, value) => 2 * value + i),
    };
    const result = { state, permutations, chosenStep: 0, steps: [{ step: 0, fraction: 1 }] };
    const ported = await portAdapter({ graph, adapter, base: base(7), target: start, result });
    expect(ported.get('base_model.model.norm.num_batches_tracked')).toEqual(count);
    for (const [kind, names] of [['buffers', ['running_mean', 'running_var']], ['parameters', ['weight', 'bias']]] as const)
      for (const name of names)
        expect(valuesOf(ported, `base_model.model.norm.${name}`), name).toEqual(state[kind].get(`norm.${name}`)?.data);
    const again = readAdapter({ ...base(7), tensors: ported }, { peft_type: 'LORA', lora_alpha: 2 });
    const { parameters } = (await stateFromAdapter(graph, base(7), again)).state as NetworkState;
    for (const [name, { data }] of state.parameters)
      expect(furthest((parameters.get(name) as { data: Float32Array }).data, data), name).toBeLessThan(1e-5);
  });

  it('whose statistics the adapter has not are refused before a port', async () => {
    const adapter = adapterOf(['weight', 'bias', 'running_mean']);
    const after = (await stateFromAdapter(graph, base(3), adapter)).state as NetworkState;
    const error = await expectTyped(() => requireAdapterOf({ graph, adapter, base: base(3) }, stateOf(base(3)), after), 'unsupported');
    expect(error.field).toContain('norm.running_var');
  });
});

describe('a transfer', () => {
  const data = sequenceSet({
    name: 'texts', vocabulary: 11, length: 8, padding: 0, classes: 3,
    sequences: Array.from({ length: 60 }, (_, i) => Int32Array.from({ length: 8 }, (__, k) => 1 + ((i * 7 + k * k + i * k) % 10))),
    labels: Int32Array.from({ length: 60 }, (_, i) => i % 3),
  });
  const run = (given: Awaited<ReturnType<typeof parts>>, more: object = {}): Promise<TransferResult> => {
    const { graph, before, after, start } = given;
    const source = trajectoryFromStates(graph, [{ label: 'v1', state: before }, { label: 'v1 with the adapter', state: after }]);
    return transfer({ source, target: start, data, method: 'fgmt', seed: 1, steps: 3, batchSize: 10, stopRule: 'last', compute, ...more });
  };

  it('gives the network that the target is with the ported adapter', async () => {
    const given = await parts('distilbert');
    const { graph, adapter, target, start, file, config } = given;
    const result = await run(given);
    expect([...result.permutations.values()].some((permutation) => permutation.some((from, i) => from !== i))).toBe(true);
    const ported = await portAdapter({ graph, adapter, base: target, target: start, result });
    const { parameters } = (await stateFromAdapter(graph, target, readAdapter({ ...file, tensors: ported }, config))).state as NetworkState;
    for (const [name, { data: wanted }] of result.state.parameters)
      expect(furthest((parameters.get(name) as { data: Float32Array }).data, wanted), name).toBeLessThan(1e-6);
  });

  it('that left out what the adapter changes gives none', async () => {
    const given = await parts('distilbert');
    const { graph, adapter, target, start } = given;
    const result = await run(given, { skipParameters: ['distilbert.transformer.layer.1.ffn.lin1'] });
    const error = await expectTyped(() => portAdapter({ graph, adapter, base: target, target: start, result }), 'malformed-file');
    expect(error.field).toContain('layer.1.ffn.lin1.weight');
  });
});

describe('an adapter of a rank of thousands', () => {
  const [rank, width] = [10_000, 400];
  const graph = preset('mlp', { input: [width], classes: 2, widths: [width] });
  const raw = (shape: readonly number[], value: number): RawTensor =>
    ({ dtype: 'F32', shape, bytes: new Uint8Array(new Float32Array(shape.reduce((a, b) => a * b)).fill(value).buffer) });
  const base = {
    tensors: new Map([
      ['linear1.weight', raw([width, width], 1)], ['linear1.bias', raw([width], 0)],
      ['linear2.weight', raw([2, width], 1)], ['linear2.bias', raw([2], 0)],
    ]),
    metadata: new Map<string, string>(), convention: 'pytorch' as const,
  };
  const tensors = new Map([['linear1.lora_A.weight', raw([rank, width], 0.25)], ['linear1.lora_B.weight', raw([width, rank], 0.5)]]);
  const adapter = readAdapter({ ...base, tensors }, { peft_type: 'LORA', lora_alpha: 8 });
  const start = stateFromForeign(graph, base).state as NetworkState;

  /** Aborted by a timer, which fires only where the event loop has a turn. */
  const abortedSoon = (): AbortSignal => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 1);
    return controller.signal;
  };
  const aborted = { name: 'AbortError' };

  // All of them take seconds if nothing ends them.
  it('is merged, held to a change and ported in pieces, between which a signal ends it', async () => {
    await expect(stateFromAdapter(graph, base, adapter, [], 'adapter', { signal: abortedSoon() })).rejects.toMatchObject(aborted);
    await expect(requireAdapterOf({ graph, adapter, base }, start, start, abortedSoon())).rejects.toMatchObject(aborted);
    const permutations = randomPermutations(derivePermutationSpec(graph), 1);
    const result = { state: start, permutations, chosenStep: 0, steps: [{ step: 0, fraction: 1 }] };
    await expect(portAdapter({ graph, adapter, base, target: start, result, signal: abortedSoon() })).rejects.toMatchObject(aborted);
  });

  it('is merged to what one sum a weight gives', () => {
    // 8 ÷ 10,000 · 10,000 · ½ · ¼, of which each sum in f64 is exact.
    const pieces = withAdapter(base, adapter);
    let count = 0;
    for (;;) {
      const { done, value } = pieces.next();
      if (done === true) {
        expect(new Set(valuesOf(value.tensors, 'linear1.weight'))).toEqual(new Set([2]));
        break;
      }
      count++;
    }
    // 1.6 · 10⁹ products, of which 2²² go in one piece.
    expect(count).toBeGreaterThan(300);
  });
});
