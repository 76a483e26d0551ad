/**
 * The transfer floor as a whole. The strongest check needs no tolerance on accuracy: a target that IS the source's
 * start with its units permuted must become the source's end with its units permuted likewise, by every method that matches.
 */
import { afterAll, describe, expect, test, vi } from 'vitest';
import { makeBatch } from '../../src/data/data-set.ts';
import { selectRows } from '../../src/data/image-set.ts';
import { splitRows } from '../../src/data/split.ts';
import { Network } from '../../src/gradient/network.ts';
import { historySize } from '../../src/matching/history-size.ts';
import { permuteTensors, randomPermutations } from '../../src/matching/permutation.ts';
import { sequential } from '../../src/model/builder.ts';
import { initialise } from '../../src/model/initialise.ts';
import { inferShapes, type ModelGraph } from '../../src/model/graph.ts';
import { derivePermutationSpec } from '../../src/model/permutation-spec.ts';
import { getTensor, zeros } from '../../src/tensor/tensor.ts';
import type { NamedTensors, NetworkState, Tensor } from '../../src/tensor/tensor.ts';
import { openCompute } from '../../src/transfer/compute.ts';
import { Points } from '../../src/transfer/points.ts';
import { predict } from '../../src/transfer/predict.ts';
import { stateSha256 } from '../../src/transfer/record.ts';
import { train } from '../../src/transfer/train.ts';
import { trajectoryFromStates } from '../../src/transfer/trajectory.ts';
import { transfer } from '../../src/transfer/transfer.ts';
import type { TransferEvent, TransferOptions, TransferResult } from '../../src/transfer/transfer.ts';
import { forward64 } from '../model/forward.ts';
import { networks, quadrants } from './networks.ts';

const compute = await openCompute();
afterAll(() => compute[Symbol.dispose]());

const data = quadrants(400, 3);
const trained = async (graph: (typeof networks)[keyof typeof networks], seed: number, initial?: NetworkState) =>
  train({ graph, data, seed, epochs: 3, batchSize: 32, learningRate: 0.05, compute, ...(initial ? { initial } : {}) });

function largestDifference(a: NamedTensors, b: NamedTensors): number {
  let largest = 0;
  for (const [name, { data: values }] of a) {
    const other = getTensor(b, name).data;
    for (let i = 0; i < values.length; i++) {
      largest = Math.max(largest, Math.abs((values[i] as number) - (other[i] as number)));
    }
  }
  return largest;
}

const scaled = ({ parameters, buffers }: NetworkState, factor: number): NetworkState => ({
  parameters: new Map(
    [...parameters].map(([name, { shape, data: values }]) => [name, { shape, data: values.map((value) => value * factor) }]),
  ),
  buffers,
});

/** Over all images; batch norm with the statistics of `expected`, so that only the parameters differ. */
function largestLogitDifference(graph: ModelGraph, parameters: NamedTensors, expected: NetworkState): number {
  using network = compute.engine.compile(graph);
  const batch = makeBatch(data, Int32Array.from({ length: data.count }, (_, row) => row));
  const wanted = network.logits(expected, batch);
  const got = network.logits({ parameters, buffers: expected.buffers }, batch);
  return wanted.reduce((largest, value, i) => Math.max(largest, Math.abs(value - (got[i] as number))), 0);
}

describe.each(Object.entries(networks))('%s', (_, graph) => {
  test.each(['fgmt', 'gmt', 'oracle'] as const)('%s makes a permuted twin of the source’s start one of its end', async (method) => {
    const source = await trained(graph, 1);
    const spec = derivePermutationSpec(graph);
    const hidden = randomPermutations(spec, 77);
    const permuted = (state: NetworkState): NetworkState => ({
      parameters: permuteTensors(spec, state.parameters, hidden),
      buffers: permuteTensors(spec, state.buffers, hidden),
    });
    const start = source.checkpoints[0]?.state as NetworkState;
    const target = permuted(start);
    const expected = permuted(source.state);
    const result = await transfer({
      source: source.trajectory,
      target,
      data,
      method,
      seed: 5,
      steps: 4,
      batchSize: 180,
      batchesPerStep: 2,
      stopRule: 'last',
      ...(method === 'oracle' ? { oracleTarget: expected } : {}),
      compute,
    });
    expect(largestDifference(target.parameters, expected.parameters)).toBeGreaterThan(0.01);
    // Units that are dead on this data have no gradient and may land anywhere: functions are compared, not weights.
    expect(largestLogitDifference(graph, result.state.parameters, expected)).toBeLessThanOrEqual(1e-4);
    expect(result.chosenStep).toBe(4);
    const gradients = { fgmt: 2 * 4 * 2, gmt: 4 * 5 * 2, oracle: 0 }[method];
    expect(result.counts.gradients).toBe(gradients);
    for (const step of result.steps.slice(1, method === 'oracle' ? 2 : undefined)) {
      expect(step.objective).toBeGreaterThan(0);
      expect(step.converged).toBe(true);
    }
    // FGMT keeps the pairs of its first, imperfect permutations; the others end with pairs that match exactly.
    const last = result.steps.findLast((step) => step.residual !== undefined);
    if (method !== 'fgmt') expect(Math.abs(last?.residual as number)).toBeLessThanOrEqual(1e-5 * (last?.objective as number));
  });

  test('the same seed gives the same SHA-256, another seed another', async () => {
    const source = await trained(graph, 1);
    const target = initialise(compute.core, graph, { seed: 2 });
    const run = (seed: number) =>
      transfer({ source: source.trajectory, target, data, method: 'gmt', seed, steps: 3, batchSize: 32, stopRule: 'last', compute });
    const [first, again, other] = [await run(9), await run(9), await run(10)];
    expect(first.record).toEqual(again.record);
    expect(first.record.sha256).toBe(await stateSha256(graph, first.state));
    expect(other.record.sha256).not.toBe(first.record.sha256);
  });
});

test('holds out the images that the source’s training held out, unless told otherwise', async () => {
  const source = await trained(networks.mlp, 17);
  const target = initialise(compute.core, networks.mlp, { seed: 2 });
  const run = (more: Partial<TransferOptions>) =>
    transfer({ source: source.trajectory, target, data, method: 'naive', seed: 3, steps: 2, compute, ...more });
  const seedOf = ({ record }: TransferResult): unknown => (record.settings as { readonly heldOutSeed?: unknown }).heldOutSeed;
  const [chosen, told, unrecorded] = [
    await run({}),
    await run({ heldOutSeed: 17 }),
    await run({ source: { ...source.trajectory, training: undefined } }),
  ];
  expect([chosen, told, unrecorded].map(seedOf)).toEqual([17, 17, 3]);
  expect(chosen.steps).toEqual(told.steps);
  expect(chosen.steps).not.toEqual(unrecorded.steps);
});

test('holds out no image that the source was trained on, whatever share of them its training left', async () => {
  const graph = networks.mlp;
  const sourceOf = (heldOutFraction: number) => train({ graph, data, seed: 17, epochs: 1, batchSize: 32, heldOutFraction, compute });
  const small = await sourceOf(0.02);
  const port = (source: typeof small, more: Partial<TransferOptions> = {}) =>
    transfer({ source: source.trajectory, target: source.state, data, method: 'naive', seed: 3, steps: 1, compute, ...more });
  // The target is the source's end: what is held out here scores it as its own training did.
  expect((await port(small)).steps[0]?.heldOut).toEqual(small.evaluations.at(-1)?.heldOut);
  expect((await port(small)).steps[0]?.heldOut?.count).toBe(8);
  await expect(port(small, { heldOutFraction: 0.1 })).rejects.toMatchObject({
    code: 'invalid-argument',
    field: 'heldOutFraction',
    expected: expect.stringMatching(/^at most 0\.02,/),
  });
  expect((await port(small, { heldOutFraction: 0.01 })).steps[0]?.heldOut?.count).toBe(4);
  expect((await port(small, { heldOutFraction: 0.1, heldOutSeed: 18 })).steps[0]?.heldOut?.count).toBe(40);
  // None of other data was seen.
  expect((await port(small, { data: quadrants(400, 5) })).steps[0]?.heldOut?.count).toBe(40);
  const all = await sourceOf(0);
  const { steps, record } = await port(all);
  expect(steps.map(({ heldOut }) => heldOut)).toEqual([undefined, undefined]);
  expect(record.settings).toMatchObject({ heldOutFraction: 0, stopRule: 'last' });
  await expect(port(all, { heldOutFraction: 0.1 })).rejects.toMatchObject({ field: 'heldOutFraction' });
});

test('batch-norm statistics are those of the transferred weights on the data, not the target’s', async () => {
  const graph = networks['resnet-small'];
  const source = await trained(graph, 1);
  const { state: target } = await trained(graph, 2);
  const { state } = await transfer({
    source: source.trajectory, target, data, method: 'naive', seed: 3, steps: 2, stopRule: 'last', heldOutFraction: 0, compute,
  });
  // The first norm's input is the first convolution's output, here in f64 over every image.
  const [conv, norm] = graph.nodes as [ModelGraph['nodes'][number], ModelGraph['nodes'][number]];
  const weights = new Map([...state.parameters].map(([name, tensor]) => [name, Float64Array.from(tensor.data)]));
  const { inputs } = makeBatch(data, Int32Array.from({ length: data.count }, (_, i) => i));
  const pixels = inputs.length / data.count;
  const means: number[] = [];
  for (let image = 0; image < data.count; image++) {
    const input = Float64Array.from(inputs.subarray(image * pixels, (image + 1) * pixels));
    const values = forward64({ ...graph, nodes: [conv], output: conv.name }, weights, input, 1, false);
    const area = values.length / (inferShapes(graph).get(conv.name)?.[0] as number);
    values.forEach((value, i) => (means[Math.floor(i / area)] = (means[Math.floor(i / area)] ?? 0) + value / area / data.count));
  }
  const far = (of: NetworkState): number => {
    const { data: stored } = of.buffers.get(`${norm.name}.running_mean`) as Tensor;
    return Math.hypot(...means.map((mean, c) => mean - (stored[c] as number))) / Math.hypot(...means);
  };
  expect(far(state)).toBeLessThan(0.05);
  expect(far(target)).toBeGreaterThan(0.2);
});

test('naive adds the source’s update as it is, at every step of the line', async () => {
  const source = await trained(networks.mlp, 1);
  const start = source.checkpoints[0]?.state as NetworkState;
  const target = initialise(compute.core, networks.mlp, { seed: 2 });
  const result = await transfer({ source: source.trajectory, target, data, method: 'naive', seed: 1, steps: 3, stopRule: 'last', compute });
  for (const [name, { data: values }] of result.state.parameters) {
    const [t, s0, s1] = [target, start, source.state].map((state) => getTensor(state.parameters, name).data);
    for (let i = 0; i < values.length; i++) {
      const sum = (t?.[i] as number) + Math.fround((s1?.[i] as number) - (s0?.[i] as number));
      expect(values[i]).toBe(Math.fround(sum));
    }
  }
  expect(result.counts).toEqual({ gradients: 0, reusedGradients: 0, reusedPairs: 0, matchings: 0, assignments: 0 });
});

test('a real trajectory visits the checkpoints; frozen groups stay; skipped parameters keep the target’s values', async () => {
  const graph = networks.mlp;
  const source = await trained(graph, 1);
  const target = initialise(compute.core, graph, { seed: 2 });
  const spec = derivePermutationSpec(graph);
  const frozen = spec.groups[0]?.id as string;
  const result = await transfer({
    source: source.trajectory, target, data, method: 'fgmt', seed: 1, trajectory: 'real', stopRule: 'last',
    frozenGroups: [frozen], skipParameters: ['linear3'], compute,
  });
  expect(result.steps).toHaveLength(source.checkpoints.length);
  expect([...(result.permutations.get(frozen) as Int32Array)]).toEqual([...Array(24).keys()]);
  expect(getTensor(result.state.parameters, 'linear3.weight').data).toEqual(getTensor(target.parameters, 'linear3.weight').data);
  expect(getTensor(result.state.parameters, 'linear1.weight').data).not.toEqual(getTensor(target.parameters, 'linear1.weight').data);
});

test('GMT along a real trajectory reads every checkpoint between the ends once, however often it passes', async () => {
  const graph = networks.mlp;
  const source = await trained(graph, 1);
  const reads: number[] = [];
  const trajectory = {
    ...source.trajectory,
    readCheckpoint: (index: number) => {
      reads.push(index);
      return source.trajectory.readCheckpoint(index);
    },
  };
  const options = {
    target: initialise(compute.core, graph, { seed: 2 }),
    data,
    method: 'gmt',
    seed: 1,
    trajectory: 'real',
    compute,
  } as const;
  const { counts, record } = await transfer({ ...options, source: trajectory });
  const points = source.checkpoints.length - 1;
  expect(points).toBeGreaterThan(2);
  expect(counts.gradients).toBe(points * (points + 1));
  // The ends are read once more, for what is hashed.
  expect(reads.toSorted()).toEqual([0, 0, ...Array.from({ length: points - 1 }, (_, i) => i + 1), points, points]);
  expect(record.sha256).toBe((await transfer({ ...options, source: source.trajectory })).record.sha256);
});

test('of checkpoints on a real trajectory as many are kept as 32 MiB hold, and the others read at every pass', async () => {
  const weights: NamedTensors = new Map([['w', zeros([3 * 2 ** 20])]]);
  const reads: number[] = [];
  const read = async (checkpoint: number): Promise<NamedTensors> => {
    reads.push(checkpoint);
    return new Map(weights);
  };
  const spec = { groups: [], tensors: new Map() };
  const { core } = compute;
  const ends = { target: weights, start: weights, end: weights };
  using points = new Points({ core, spec, ...ends, points: [0, 1, 2, 3], read, skip: () => false });
  for (const step of [1, 2, 3, 1, 2, 3]) await points.pass(step, new Map());
  expect(reads).toEqual([1, 2, 3, 3]);
});

test('the record names the schedule of a line, and none for a real trajectory, which has the spacing of its checkpoints', async () => {
  const source = await trained(networks.mlp, 1);
  const target = initialise(compute.core, networks.mlp, { seed: 2 });
  const recorded = async (trajectory: 'linear' | 'real') =>
    (await transfer({ source: source.trajectory, target, data, method: 'naive', seed: 1, steps: 2, trajectory, compute })).record.settings;
  expect(await recorded('linear')).toHaveProperty('schedule', 'cosine');
  expect(await recorded('real')).not.toHaveProperty('schedule');
});

test('stop rules keep the step they name', async () => {
  const graph = networks.mlp;
  const source = await trained(graph, 1);
  const target = initialise(compute.core, graph, { seed: 2 });
  const run = (stopRule: 'held-out' | 'label-free', split: Pick<TransferOptions, 'heldOutFraction' | 'heldOutSeed'> = {}) =>
    transfer({ source: source.trajectory, target, data, method: 'fgmt', seed: 1, stopRule, compute, ...split });
  const heldOut = await run('held-out');
  const best = Math.max(...heldOut.steps.map((step) => step.heldOut?.accuracy ?? 0));
  expect(heldOut.steps[heldOut.chosenStep]?.heldOut?.accuracy).toBe(best);
  expect(best).toBeGreaterThan(heldOut.steps[0]?.heldOut?.accuracy ?? 1);
  // 280 rows are more than pass a network at once.
  const free = await run('label-free', { heldOutFraction: 0.7, heldOutSeed: 9 });
  const rows = splitRows(data.count, 0.7, 9).heldOut;
  const [ported, taught] = await Promise.all([free.state, source.state].map(async (state) => {
    const { data: scores } = await predict({ graph, state, data: selectRows(data, rows), compute });
    return Array.from(rows, (_, i) => [...scores.subarray(4 * i, 4 * i + 4)]).map((own) => own.indexOf(Math.max(...own)));
  })) as [number[], number[]];
  const agreeing = ported.filter((label, i) => label === taught[i]).length;
  expect(free.steps[free.chosenStep]?.agreement).toBe(agreeing / rows.length);
  expect(agreeing).toBeLessThan(rows.length);
  expect(free.steps[free.chosenStep]?.agreement).toBe(Math.max(...free.steps.map((step) => step.agreement ?? 0)));
});

test('batches for statistics are made one by one: an abort among them is noticed, and their number is bounded', async () => {
  const graph = networks['resnet-small'];
  const [start, end, target] = [1, 2, 3].map((seed) => initialise(compute.core, graph, { seed })) as [
    NetworkState,
    NetworkState,
    NetworkState,
  ];
  const source = trajectoryFromStates(graph, [{ label: 'start', state: start }, { label: 'end', state: end }]);
  const run = (statisticsBatches: number, signal?: AbortSignal) =>
    transfer({
      source, target, data, method: 'naive', seed: 1, steps: 1, batchSize: 180, stopRule: 'last', heldOutFraction: 0,
      statisticsBatches, compute, ...(signal ? { signal } : {}),
    });
  const controller = new AbortController();
  const running = run(10_000, controller.signal);
  setTimeout(() => controller.abort(new Error('enough')), 100);
  await expect(running).rejects.toThrow('enough');
  expect(compute.core.liveAllocations).toBe(0);
  await expect(run(1e9)).rejects.toThrow(/statisticsBatches: expected an integer in \[1, 10000\]/);
});

test('a step whose logits overflow is not kept, though class 0 is most of the held-out images', async () => {
  const graph = networks.mlp;
  const mostlyZero = { ...data, labels: data.labels.map((label, row) => (row % 10 === 0 ? label : 0)) };
  const [start, target] = [initialise(compute.core, graph, { seed: 1 }), initialise(compute.core, graph, { seed: 2 })];
  const source = trajectoryFromStates(graph, [{ label: 'start', state: start }, { label: 'end', state: scaled(start, 1e30) }]);
  const { chosenStep, steps } = await transfer({ source, target, data: mostlyZero, method: 'naive', seed: 1, steps: 3, compute });
  expect(steps[3]?.heldOut?.loss).toBeNaN();
  expect(steps[3]?.heldOut?.accuracy).toBeGreaterThan(steps[0]?.heldOut?.accuracy as number);
  expect(chosenStep).toBe(0);
});

test('a result shares no memory with the weights that were given, and does not follow the target when that changes', async () => {
  const graph = networks['resnet-small'];
  const initial = initialise(compute.core, graph, { seed: 1 });
  const source = await train({ graph, data, seed: 1, iterations: 2, batchSize: 32, initial, compute });
  const buffersOf = ({ parameters, buffers }: NetworkState) =>
    [...parameters.values(), ...buffers.values()].map(({ data: { buffer } }) => buffer);
  const shared = (a: NetworkState, b: NetworkState) => buffersOf(a).filter((buffer) => buffersOf(b).includes(buffer));
  for (const { state } of source.checkpoints) expect(shared(state, initial)).toEqual([]);
  const target = initialise(compute.core, graph, { seed: 2 });
  const last = [...target.parameters.keys()].at(-1) as string;
  const run = (more: Partial<TransferOptions> = {}) =>
    transfer({
      source: source.trajectory, target, data, method: 'naive', seed: 1, steps: 2, statisticsBatches: 1, stopRule: 'last',
      skipParameters: [last], compute, ...more,
    });
  const result = await run();
  expect(shared(result.state, target)).toEqual([]);
  // A target that every step makes worse is kept as it was.
  const kept = await run({
    source: trajectoryFromStates(graph, [
      { label: 'start', state: initial },
      { label: 'end', state: scaled(initial, -5) },
    ]),
    stopRule: 'held-out',
  });
  expect(kept.chosenStep).toBe(0);
  expect(kept.state).toEqual(target);
  expect(shared(kept.state, target)).toEqual([]);
  const weights = getTensor(target.parameters, last).data;
  expect((await run({ onProgress: () => void weights.fill(7) })).record).toEqual(result.record);
});

test('progress begins before the first matching, and each step comes with it when it is gone', async () => {
  const graph = networks.mlp;
  const source = await trained(graph, 1);
  const events: TransferEvent[] = [];
  const { steps } = await transfer({
    source: source.trajectory,
    target: initialise(compute.core, graph, { seed: 2 }),
    data,
    method: 'fgmt',
    seed: 1,
    steps: 3,
    compute,
    onProgress: (event) => events.push(event),
  });
  expect(events.map(({ done, total, steps: gone }) => [done, total, gone.map(({ step }) => step)])).toEqual([
    [0, 3, [0]],
    [1, 3, [1]],
    [2, 3, [2]],
    [3, 3, [3]],
  ]);
  expect(events.flatMap((event) => event.steps)).toEqual(steps);
  expect(() => Object.assign(events[1]!.steps[0]!, { objective: 0 })).toThrow(TypeError);
});

test('an abort rejects with its reason and leaves nothing allocated', async () => {
  const graph = networks['small-conv'];
  const source = await trained(graph, 1);
  const target = initialise(compute.core, graph, { seed: 2 });
  const naive = () => transfer({ source: source.trajectory, target, data, method: 'naive', seed: 1, compute });
  const { record } = await naive();
  const before = compute.core.liveAllocations;
  const controller = new AbortController();
  const reason = new Error('enough');
  const running = transfer({
    source: source.trajectory, target, data, method: 'gmt', seed: 1, signal: controller.signal, compute,
    onProgress: ({ done }) => {
      if (done === 2) controller.abort(reason);
    },
  });
  await expect(running).rejects.toBe(reason);
  expect(compute.core.liveAllocations).toBe(before);
  expect((await naive()).record).toEqual(record);
});

describe('bad input: a typed error that names the culprit', async () => {
  const graph = networks.mlp;
  const source = await trained(graph, 1);
  const target = initialise(compute.core, graph, { seed: 2 });
  const good: TransferOptions = { source: source.trajectory, target, data, method: 'fgmt', seed: 1, steps: 2, compute };
  const withWeight = (change: (weights: Float32Array) => void): NetworkState => {
    const parameters = new Map<string, Tensor>(target.parameters);
    const old = getTensor(target.parameters, 'linear1.weight');
    const weights = old.data.slice();
    change(weights);
    parameters.set('linear1.weight', { shape: old.shape, data: weights });
    return { parameters, buffers: target.buffers };
  };
  const renamed = (): NetworkState => {
    const parameters = new Map<string, Tensor>(target.parameters);
    parameters.delete('linear1.bias');
    return { parameters, buffers: target.buffers };
  };
  const shortened = (): NetworkState => {
    const bias = target.parameters.get('linear1.bias') as Tensor;
    return {
      parameters: new Map([...target.parameters, ['linear1.bias', { shape: bias.shape, data: bias.data.slice(1) }]]),
      buffers: target.buffers,
    };
  };
  const cases: [string, Partial<TransferOptions>, string, string][] = [
    ['fewer numbers than a shape says', { target: shortened() }, 'invalid-argument', 'target.linear1.bias'],
    ['NaN in the target', { target: withWeight((w) => (w[3] = Number.NaN)) }, 'not-finite', 'target.linear1.weight[3]'],
    ['infinity in the target', { target: withWeight((w) => (w[0] = Infinity)) }, 'not-finite', 'target.linear1.weight[0]'],
    ['a missing tensor', { target: renamed() }, 'invalid-argument', 'target.linear1.bias'],
    [
      'another network’s weights',
      { target: initialise(compute.core, networks['small-conv'], { seed: 1 }) },
      'invalid-argument',
      'target.linear1.weight',
    ],
    ['too many classes', { data: { ...data, classes: 5 } }, 'invalid-argument', 'data.classes'],
    [
      'a label out of range',
      { data: { ...data, labels: data.labels.map((l, i) => (i === 7 ? 9 : l)) } },
      'invalid-argument',
      'data.labels[7]',
    ],
    ['no images', { data: { ...data, count: 0, images: new Uint8Array(0), labels: new Uint8Array(0) } }, 'invalid-argument', 'data.count'],
    ['images of another size', { data: { ...data, height: 4, width: 16 } }, 'invalid-argument', 'data'],
    ['zero steps', { steps: 0 }, 'invalid-argument', 'steps'],
    ['an unknown method', { method: 'best' as 'gmt' }, 'invalid-argument', 'method'],
    ['an unknown checkpoint', { to: 'epoch-99' }, 'invalid-argument', 'to'],
    ['a part that ends where it begins', { from: 'start', to: 'start' }, 'invalid-argument', 'to'],
    ['an unknown group', { frozenGroups: ['nobody'] }, 'invalid-argument', 'frozenGroups'],
    ['an unknown parameter', { skipParameters: ['nobody'] }, 'invalid-argument', 'skipParameters'],
    ['oracle without its target', { method: 'oracle' }, 'invalid-argument', 'oracleTarget'],
    ['a target of oracle for another method', { method: 'gmt', oracleTarget: target }, 'invalid-argument', 'oracleTarget'],
    ['a stop rule without held-out data', { stopRule: 'held-out', heldOutFraction: 0 }, 'invalid-argument', 'stopRule'],
    ['a budget too small for sums of similarities', { historyBudgetBytes: 100 }, 'budget', 'historyBudgetBytes'],
    [
      'a budget too small for a pair', { historyBudgetBytes: historySize(derivePermutationSpec(graph), 0).totalBytes }, 'budget',
      'historyBudgetBytes',
    ],
    ['a negative seed', { seed: -1 }, 'invalid-argument', 'seed'],
  ];
  test.each(cases)('%s', async (_, change, code, field) => {
    await expect(transfer({ ...good, ...change })).rejects.toMatchObject({ code, field });
  });
});

test('GMT with fixed batches keeps gradients as long as they fit the budget once more; what does not fit is computed again, to the ' +
  'same bytes', async () => {
  const graph = networks.mlp;
  const source = await trained(graph, 1);
  const port = (historyBudgetBytes: number) =>
    transfer({
      source: source.trajectory,
      target: initialise(compute.core, graph, { seed: 2 }),
      data,
      method: 'gmt',
      gmtBatches: 'fixed',
      steps: 5,
      seed: 1,
      batchSize: 32,
      historyBudgetBytes,
      compute,
    });
  // Room for the history of five pairs, 39 KB, and for half of their 81 KB of gradients.
  const [ample, scarce] = [await port(2 ** 20), await port(40_000)];
  for (const { counts } of [ample, scarce]) expect(counts.gradients + counts.reusedGradients).toBe(30);
  // The source's at every later step, and the target's at the start.
  expect(ample.counts.reusedGradients).toBeGreaterThanOrEqual(14);
  expect(scarce.counts.reusedGradients).toBeLessThan(ample.counts.reusedGradients);
  expect(scarce.counts.reusedGradients).toBeGreaterThan(0);
  expect(scarce.record.sha256).toBe(ample.record.sha256);
});

test('the bytes of kept gradients are those of their factors too, each array once', async () => {
  const graph = networks.mlp;
  const source = await trained(graph, 1);
  const port = (batchSize: number, batchesPerStep: number) => transfer({
    source: source.trajectory, target: initialise(compute.core, graph, { seed: 2 }), data, method: 'gmt', gmtBatches: 'fixed', steps: 5,
    seed: 1, batchSize, batchesPerStep,
    historyBudgetBytes: 29_000, compute,
  });
  // linear1 [24, 64] comes as 16 outer products: 1536 bytes of the left, 1968 of the other tensors, for both sides;
  // 2560 of products over the source. What the history was with the first pair alone takes 9 KB and spares both sides
  // of that pair at four steps. One batch: its images are the right, so that two more pairs of 9568 bytes fit. Reused
  // of them: the sources, at three steps and at two.
  const { counts: one } = await port(16, 1);
  expect(one.reusedGradients).toBeGreaterThanOrEqual(4 * 2 + 3 + 2);
  // Two batches: 4096 bytes of images a side, joined, and one more pair of 17 760 bytes fits.
  const { counts: two } = await port(8, 2);
  expect(two.reusedGradients).toBe(2 * (4 * 2 + 3));
});

test('says which steps were matched by 8-bit codes and how far their objectives may be off, and nothing of exact ones', async () => {
  const graph = networks.mlp;
  const source = await trained(graph, 1);
  const target = initialise(compute.core, graph, { seed: 2 });
  const run = (historyBudgetBytes: number) =>
    transfer({
      source: source.trajectory, target, data, method: 'gmt', seed: 5, steps: 4, batchSize: 32, stopRule: 'last',
      historyBudgetBytes, compute,
    });
  const { fixedBytes, bytesPerPair } = historySize(derivePermutationSpec(graph), 4);
  const exact = await run(2 ** 26);
  expect(JSON.stringify([exact.steps, exact.record])).not.toMatch(/coded|ErrorBound/);
  // Room for one exact pair: steps 2 to 4 are of codes.
  const coded = await run(fixedBytes + bytesPerPair);
  const bounds = coded.steps.map(({ objectiveErrorBound }) => objectiveErrorBound);
  expect(bounds.map((bound) => bound === undefined)).toEqual([true, true, false, false, false]);
  expect(coded.record.codedHistory).toEqual({ fromStep: 2, objectiveErrorBound: Math.max(...(bounds.slice(2) as number[])) });
  // Both went the same way as far as step 1, so the gradients of step 2 are the same, and its maximum moves by the bound at most.
  const difference = Math.abs((exact.steps[2]?.objective as number) - (coded.steps[2]?.objective as number));
  expect(difference).toBeGreaterThan(0);
  expect(difference).toBeLessThanOrEqual(bounds[2] as number);
  // A bound that says something.
  expect(bounds[2]).toBeLessThan(0.05 * (exact.steps[2]?.objective as number));
});

test('weights that leave the numbers there are on the way are refused by step and name, not hashed', async () => {
  // Finite on all sides: the squares of what the convolution gives are not.
  const graph = sequential([1, 8, 8], [
    { op: 'conv2d', name: 'c', out: 4, kernel: 1, bias: false }, { op: 'batch_norm', name: 'n' }, { op: 'flatten' },
    { op: 'dense', name: 'head', out: 4 },
  ]);
  const [start, end, target] = [1, 2, 3].map((seed): NetworkState => {
    const { parameters, buffers } = initialise(compute.core, graph, { seed });
    const loud = getTensor(parameters, 'c.weight');
    return { parameters: new Map([...parameters, ['c.weight', { shape: loud.shape, data: loud.data.map((w) => w * 1e20) }]]), buffers };
  });
  const source = trajectoryFromStates(graph, [{ label: 'start', state: start! }, { label: 'end', state: end! }]);
  await expect(transfer({
    source, target: target!, data, method: 'naive', steps: 2, seed: 1, heldOutFraction: 0, compute,
  })).rejects.toMatchObject({
    code: 'not-finite', field: expect.stringMatching(/^step [12]\.n\.running_var\[\d\]$/) as string,
  });
});

test('statistics are estimated at steps that are scored, and at the one that is kept', async () => {
  const graph = networks['resnet-small'];
  const source = await trained(graph, 1);
  const estimates = vi.spyOn(Network.prototype, 'estimateStatistics');
  for (const [heldOutFraction, expected] of [[0.1, 3], [0, 1]] as const) {
    estimates.mockClear();
    const target = initialise(compute.core, graph, { seed: 2 });
    const result = await transfer({
      source: source.trajectory, target, data, method: 'naive', seed: 1, steps: 3, statisticsBatches: 1, stopRule: 'last',
      heldOutFraction, compute,
    });
    expect(estimates).toHaveBeenCalledTimes(expected);
    expect(result.state.buffers).not.toEqual(target.buffers);
  }
  estimates.mockRestore();
});
