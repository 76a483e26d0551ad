/**
 * The first layer along a line: its outputs against f64 products, the jobs that know them beforehand, and the same bytes on a
 * small heap.
 */
import { afterAll, expect, test } from 'vitest';
import { Breather } from '../../src/core/breather.ts';
import { openCore } from '../../src/core/core.ts';
import type { CoreOptions } from '../../src/core/core.ts';
import { limits } from '../../src/core/limits.ts';
import { imageSet, selectRows } from '../../src/data/image-set.ts';
import type { ImageSet } from '../../src/data/image-set.ts';
import { makeBatch } from '../../src/data/data-set.ts';
import { Network } from '../../src/gradient/network.ts';
import { permuteTensors, randomPermutations } from '../../src/matching/permutation.ts';
import { sequential } from '../../src/model/builder.ts';
import type { Layer } from '../../src/model/builder.ts';
import { findFirstLayer } from '../../src/model/first-layer.ts';
import type { FirstLayer } from '../../src/model/first-layer.ts';
import type { ModelGraph } from '../../src/model/graph.ts';
import { initialise } from '../../src/model/initialise.ts';
import { derivePermutationSpec } from '../../src/model/permutation-spec.ts';
import { preset } from '../../src/model/presets.ts';
import { getTensor } from '../../src/tensor/tensor.ts';
import type { NamedTensors } from '../../src/tensor/tensor.ts';
import { openCompute } from '../../src/transfer/compute.ts';
import { evaluate } from '../../src/transfer/evaluate.ts';
import { splitData } from '../../src/transfer/inputs.ts';
import { rowsToStart } from '../../src/transfer/first-layer-line.ts';
import { plan } from '../../src/transfer/plan.ts';
import { readSettings } from '../../src/transfer/settings.ts';
import type { TransferChoices, TransferMethod } from '../../src/transfer/settings.ts';
import { StartedRows } from '../../src/transfer/started-rows.ts';
import { trajectoryFromStates } from '../../src/transfer/trajectory.ts';
import { transfer } from '../../src/transfer/transfer.ts';
import type { TransferOptions, TransferResult } from '../../src/transfer/transfer.ts';
import { values } from '../portable/values.ts';

const core = await openCore();
// A 32nd of it is less than the outputs of the jobs below.
const heapLimitBytes = limits.smallestHeapBytes;
const smallCore = await openCore({ heapLimitBytes });
afterAll(() => {
  core[Symbol.dispose]();
  smallCore[Symbol.dispose]();
});

/** One after the other, because a realm has one engine. */
async function transferred(options: TransferOptions, heap: CoreOptions = {}): Promise<TransferResult> {
  using compute = await openCompute(heap);
  return await transfer({ ...options, compute });
}

const SIZE = 12;
/** Noise on black: a part of every picture is zero. */
function pictures(count: number, channels: number): ImageSet {
  const pixels = Uint8Array.from(values(count * channels * SIZE * SIZE, 5), (value) => Math.max(0, Math.round(200 * value)));
  const labels = Uint8Array.from({ length: count }, (_, row) => (row * 5) % 4);
  return imageSet({ name: 'noise', images: pixels, labels, channels, height: SIZE, width: SIZE, classes: 4 });
}

const mlpOf = (channels: number, width: number, bias = true): ModelGraph =>
  sequential([channels, SIZE, SIZE], [
    { op: 'flatten' }, { op: 'dense', name: 'in', out: width, bias }, { op: 'relu' }, { op: 'dense', name: 'out', out: 4 },
  ]);

/** X · Wᵀ + b in f64, of rows of a set. */
function outputs64(set: ImageSet, rows: Int32Array, parameters: NamedTensors, { weight, bias, inputs, outputs }: FirstLayer): Float64Array {
  const { inputs: x } = makeBatch(set, rows);
  const w = getTensor(parameters, weight).data;
  return Float64Array.from({ length: rows.length * outputs }, (_, at) => {
    const [row, unit] = [Math.floor(at / outputs), at % outputs];
    let sum = bias === undefined ? 0 : (getTensor(parameters, bias).data[unit] as number);
    for (let i = 0; i < inputs; i++) sum += (x[row * inputs + i] as number) * (w[unit * inputs + i] as number);
    return sum;
  });
}

const combined = (a: NamedTensors, b: NamedTensors, of: (x: number, y: number) => number): NamedTensors =>
  new Map([...a].map(([name, { shape, data }]) => {
    const other = getTensor(b, name).data;
    return [name, { shape, data: data.map((x, i) => of(x, other[i] as number)) }];
  }));

test.each([
  ['grey', 1, true],
  ['colour, without biases', 3, false],
])('outputs at a point are those of the weights there, on a heap with room and without: %s', async (_, channels, bias) => {
  const [graph, data] = [mlpOf(channels, 130, bias), pictures(2600, channels)];
  const layer = findFirstLayer(graph) as FirstLayer;
  expect(layer).toEqual({
    name: 'in', inputs: channels * SIZE * SIZE, outputs: 130, weight: 'in.weight', bias: bias ? 'in.bias' : undefined,
  });
  const spec = derivePermutationSpec(graph);
  const random = (seed: number): NamedTensors => initialise(core, graph, { seed }).parameters;
  const [start, end, base] = [random(1), random(2), random(3)];
  const permutations = randomPermutations(spec, 4);
  const rows = Int32Array.from({ length: 2500 }, (_unused, i) => 2599 - i);
  const batchRows = Int32Array.from([7 + 93, 2599, 1000, 100, 1001, 998]);
  const t = 0.37;
  const change = combined(end, start, (x, y) => x - y);
  const points = {
    source: combined(start, change, (x, y) => x + t * y),
    target: combined(base, permuteTensors(spec, change, permutations), (x, y) => x + t * y),
  };
  const found: Float32Array[] = [];
  for (const own of [core, smallCore]) {
    using started = await StartedRows.open({
      core: own, layer, spec, data, rows, start, end, base, withSource: true, microBatch: 16, breather: new Breather(undefined, 8),
    });
    const batch = { ...makeBatch(data, batchRows), rows: batchRows };
    const sides = { source: started.source(t, batch), target: started.target(t, permutations, batch) };
    for (const side of ['source', 'target'] as const) {
      const got = started.read(sides[side], batch.count);
      const wanted = outputs64(data, batchRows, points[side], layer);
      for (const [i, value] of got.entries()) expect(Math.abs(value - (wanted[i] as number)), `${side} ${i}`).toBeLessThan(3e-6);
      found.push(got);
      // A part of a batch, as micro-batches take it.
      const part = started.read((_first, count, pointer) => sides[side](2, count, pointer), 3);
      expect(part).toEqual(got.subarray(2 * 130, 5 * 130));
    }
  }
  const [source, target, ...computed] = found;
  expect(computed).toEqual([source, target]);
  expect(source).not.toEqual(target);
});

const startedBy = (graph: ModelGraph, method: TransferMethod, images: number, choices: TransferChoices = {}) => {
  const heldOut = images * (choices.heldOutFraction ?? 0.1);
  const found = rowsToStart(
    graph, derivePermutationSpec(graph), readSettings(method, 1, choices, 2), { training: images - heldOut, heldOut },
  );
  return found && [found.training, found.heldOut];
};

test('rows are started where they pass often enough, by the job alone', () => {
  const mlp = preset('mlp', { input: [1, 28, 28], classes: 10, widths: [512] });
  // 110 gradients of 128 rows, each of one product, against three of 3,600 rows.
  expect(startedBy(mlp, 'gmt', 4000)).toEqual([true, true]);
  expect(startedBy(mlp, 'gmt', 6000)).toEqual([false, true]);
  expect(startedBy(mlp, 'gmt', 6000, { batchesPerStep: 2 })).toEqual([false, true]);
  expect(startedBy(mlp, 'gmt', 1000, { batchesPerStep: 2 })).toEqual([true, true]);
  expect(startedBy(mlp, 'fgmt', 4000)).toEqual([false, true]);
  expect(startedBy(mlp, 'naive', 4000)).toEqual([false, true]);
  expect(startedBy(mlp, 'gmt', 4000, { gmtBatches: 'fixed' })).toEqual([false, true]);
  expect(startedBy(mlp, 'gmt', 4000, { trajectory: 'real' })).toBeUndefined();
  expect(startedBy(mlp, 'fgmt', 4000, { steps: 1 })).toBeUndefined();
  // 24 MiB of either part: 4,096 rows of three numbers, 6,144 of two.
  expect(startedBy(mlp, 'gmt', 5000, { steps: 20 })).toEqual([false, true]);
  expect(startedBy(mlp, 'gmt', 61_450)).toBeUndefined();
  expect(startedBy(mlp, 'fgmt', 700)).toEqual([true, true]);
  for (const skipParameters of [['linear1'], ['linear1.bias']]) expect(startedBy(mlp, 'gmt', 4000, { skipParameters })).toBeUndefined();
  // Gradients that are multiplied out need the inputs on the heap.
  expect(startedBy(mlp, 'gmt', 1000, { batchSize: 900 })).toEqual([false, true]);
  expect(startedBy(preset('small-conv', { input: [1, 28, 28], classes: 10 }), 'gmt', 4000)).toBeUndefined();
  expect(startedBy(preset('gpt2', { input: [8], classes: 40, width: 16, depth: 1, heads: 2 }), 'gmt', 200)).toBeUndefined();
});

test('a first layer is one that alone reads the whole input', () => {
  const dense = { op: 'dense', name: 'in', out: 3 } as const;
  expect(findFirstLayer(sequential([6], [dense, { op: 'relu' }]))?.inputs).toBe(6);
  expect(findFirstLayer(sequential([6], [{ ...dense, transposed: true }]))).toBeUndefined();
  expect(findFirstLayer(sequential([6], [{ op: 'relu' }, dense]))).toBeUndefined();
  expect(findFirstLayer(sequential([1, 4, 4], [{ op: 'max_pool', kernel: 2 }, { op: 'flatten' }, dense]))).toBeUndefined();
});

test('units in groups, which are more than one order, are computed as ever, and their gradients multiplied out', async () => {
  const data = pictures(300, 1);
  const grouped = (...after: Layer[]): ModelGraph =>
    sequential([1, SIZE, SIZE], [{ op: 'flatten' }, { op: 'dense', name: 'in', out: 512 }, ...after, { op: 'dense', name: 'out', out: 4 }]);
  for (const graph of [
    grouped({ op: 'group_norm', name: 'norm', groups: 8 }, { op: 'relu' }),
    grouped({ op: 'reshape', shape: [128, 2, 2] }, { op: 'relu' }, { op: 'flatten' }),
  ]) {
    const choices = { steps: 6, batchSize: 32, heldOutFraction: 0.2 };
    expect(startedBy(graph, 'gmt', 300, choices)).toBeUndefined();
    const at = (seed: number) => initialise(core, graph, { seed });
    expect(derivePermutationSpec(graph).tensors.get('in.weight')?.view.length).toBe(3);
    const source = trajectoryFromStates(graph, [{ label: 'start', state: at(1) }, { label: 'end', state: at(2) }]);
    const { state, steps, permutations } = await transferred({
      source, target: at(3), data, method: 'gmt', seed: 2, stopRule: 'last', ...choices,
    });
    expect([...permutations.values()].some((order) => order.some((unit, i) => unit !== i))).toBe(true);
    using compute = await openCompute();
    const { heldOut } = splitData(data, 0.2, 2);
    const { loss } = await evaluate({ graph, state, data: selectRows(data, heldOut), compute });
    expect(steps.at(-1)?.heldOut?.loss).toBeCloseTo(loss, 5);
  }
});

test.each(['gmt', 'fgmt'] as const)('%s of known outputs: the bytes of a small heap, the steps of gradients without', async (method) => {
  const [graph, data] = [mlpOf(1, 240), pictures(900, 1)];
  const at = (seed: number) => initialise(core, graph, { seed });
  const source = trajectoryFromStates(graph, [{ label: 'start', state: at(1) }, { label: 'end', state: at(2) }]);
  const choices = { steps: 8, batchSize: 64, heldOutFraction: 0.5 };
  const job = { source, target: at(3), data, method, seed: 7, ...choices };
  expect(startedBy(graph, method, 900, choices)).toEqual([method === 'gmt', true]);
  const ours = await transferred(job);
  const beside = await transferred(job, { heapLimitBytes });
  expect([beside.steps, beside.permutations, beside.record.sha256]).toEqual([ours.steps, ours.permutations, ours.record.sha256]);
  // The same network behind a pooling of single pixels, where no layer reads the whole input.
  const [, ...others] = graph.nodes.map(({ inputs: _inputs, ...layer }) => layer as Layer);
  const behind = sequential([1, SIZE, SIZE], [{ op: 'average_pool', kernel: 1 }, { op: 'flatten' }, ...others]);
  expect(startedBy(behind, method, 900, choices)).toBeUndefined();
  const without = await transferred({
    ...job, source: trajectoryFromStates(behind, [{ label: 'start', state: at(1) }, { label: 'end', state: at(2) }]),
  });
  // Losses are sums in f32, which may hide rounding; objectives do not.
  if (method === 'gmt') expect(without.steps).not.toEqual(ours.steps);
  for (const [i, { heldOut, objective }] of without.steps.entries()) {
    const own = ours.steps[i];
    expect(heldOut?.loss).toBeCloseTo(own?.heldOut?.loss as number, 4);
    if (objective !== undefined) expect(Math.abs(objective / (own?.objective as number) - 1)).toBeLessThan(1e-3);
  }
});

test('a layer that the target keeps is computed as it stands', async () => {
  const [graph, data] = [mlpOf(1, 240), pictures(900, 1)];
  const at = (seed: number) => initialise(core, graph, { seed });
  const source = trajectoryFromStates(graph, [{ label: 'start', state: at(1) }, { label: 'end', state: at(2) }]);
  const evaluated: string[] = [];
  const original = Network.prototype.evaluate;
  Network.prototype.evaluate = function (state, batches, ...rest) {
    evaluated.push([...batches].some(({ firstOutputs }) => firstOutputs !== undefined) ? 'known' : 'computed');
    return original.call(this, state, batches, ...rest);
  };
  try {
    for (const skipParameters of [[], ['in.bias'], ['out']]) {
      await transferred({ source, target: at(3), data, method: 'naive', seed: 1, steps: 4, skipParameters });
    }
  } finally {
    Network.prototype.evaluate = original;
  }
  expect(evaluated).toEqual(['known', 'computed', 'known'].flatMap((kind) => Array.from({ length: 5 }, () => kind)));
});

test('the plan knows them: a heap with room holds them, one without computes them for every batch', () => {
  const graph = preset('mlp', { input: [1, 28, 28], classes: 10, widths: [512] });
  const of = (heapBytes: number) => plan({ graph, method: 'gmt', images: 4000, heapLimitBytes: heapBytes });
  // An eighth of a heap of 32 MiB has room for what is held out.
  const bytes = 4 * 512 * 3 * 3600;
  const line = 3 * 4 * (512 * 784 + 512 + 512 * 10 + 10);
  const [roomy, tight] = [of(2 ** 31), of(2 ** 25)];
  expect(roomy.bytes.heap - tight.bytes.heap).toBe(bytes + line);
  const forward = 2 * 512 * 784;
  // Two products instead of one where nothing is kept, or three of each row for all of 110 gradients.
  expect(tight.flops.gradients - roomy.flops.gradients).toBe(forward * (2 * 110 * 128 - 3 * 3600));
});
