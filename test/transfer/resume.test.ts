// A job that is broken off and resumed ends with the same bytes; points of other jobs and damaged ones are refused.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { NotFiniteError } from '../../src/core/errors.ts';
import { sequenceSet } from '../../src/data/sequence-set.ts';
import { preset } from '../../src/model/presets.ts';
import type { NetworkState } from '../../src/tensor/tensor.ts';
import { openCompute } from '../../src/transfer/compute.ts';
import { decodeResumePoint } from '../../src/transfer/resume.ts';
import type { ResumeOptions } from '../../src/transfer/resume.ts';
import { train } from '../../src/transfer/train.ts';
import type { TrainEvent, TrainOptions, TrainResult } from '../../src/transfer/train.ts';
import { transfer } from '../../src/transfer/transfer.ts';
import type { TransferOptions } from '../../src/transfer/transfer.ts';
import { networks, quadrants } from './networks.ts';

const compute = await openCompute();
afterAll(() => compute[Symbol.dispose]());
const [before, after] = [quadrants(200, 3), quadrants(220, 5)];

/** A store in memory that keeps every generation. */
function memory(points: Uint8Array[] = []): {
  resume: ResumeOptions;
  store: ResumeOptions['store'];
  points: Uint8Array[];
  continued: number[];
} {
  const continued: number[] = [];
  const store: ResumeOptions['store'] = { load: async () => points.toReversed(), save: async (point) => void points.push(point.slice()) };
  return { points, continued, store, resume: { onContinue: (done) => continued.push(done), store } };
}

/** Runs whole, with points, and from some of the points; all but the clock must agree. */
async function sameFromEveryPoint(
  run: (resume?: ResumeOptions) => Promise<object>,
  take: (points: Uint8Array[]) => number[],
): Promise<number> {
  const plain = (result: object) => ({ ...result, timings: 0, trajectory: 0 });
  const whole = plain(await run());
  const all = memory();
  expect(plain(await run(all.resume))).toEqual(whole);
  expect(all.continued).toEqual([]);
  for (const at of take(all.points)) {
    const kept = memory([all.points[at] as Uint8Array]);
    expect(plain(await run(kept.resume)), `from point ${at}`).toEqual(whole);
    expect(kept.continued).toEqual([(await decodeResumePoint(all.points[at] as Uint8Array, undefined)).done]);
    // What comes after is stored again, to the last byte.
    expect(kept.points.length).toBe(all.points.length - at);
    expect(kept.points.at(-1)).toEqual(all.points.at(-1));
  }
  return all.points.length;
}

const scaled = ({ parameters, buffers }: NetworkState, factor: number): NetworkState => ({
  parameters: new Map([...parameters].map(([name, { shape, data }]) => [name, { shape, data: data.map((value) => value * factor) }])),
  buffers,
});

const spread = (points: Uint8Array[]): number[] => [0, Math.floor(points.length / 2), points.length - 2, points.length - 1];

describe('train', () => {
  const adamw = { kind: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01 } as const;
  test.each<[string, Partial<TrainOptions>]>([
    ['SGD with momentum', { graph: networks.mlp, epochs: 4 }],
    [
      'AdamW, cosine rate, batch norm',
      { graph: networks['resnet-small'], epochs: 2, optimiser: adamw, learningRateSchedule: 'cosine', learningRate: 0.01 },
    ],
    [
      'iterations, checkpoints and evaluations between epochs',
      { graph: networks['small-conv'], iterations: 11, checkpointEpochs: [], checkpointIterations: [4, 6, 9], evaluateAt: [5] },
    ],
  ])('%s', async (_, choice) => {
    const options = { data: before, seed: 1, batchSize: 32, learningRate: 0.05, compute, ...choice } as TrainOptions;
    const saved = await sameFromEveryPoint((resume) => train({ ...options, ...(resume === undefined ? {} : { resume }) }), spread);
    expect(saved).toBe(options.iterations ?? 6 * (options.epochs ?? 0));
  });

  test('an abort leaves the point of the last iteration, whatever the store wanted', async () => {
    const options = { graph: networks.mlp, data: before, seed: 1, epochs: 3, batchSize: 32, compute };
    const whole = await train(options);
    const control = new AbortController();
    const kept = memory();
    const aborted = train({
      ...options, signal: control.signal, resume: { ...kept.resume, store: { ...kept.store, due: () => false } },
      onProgress: ({ stage, done }) => void (stage === 'train' && done === 7 && control.abort(new Error('enough'))),
    });
    await expect(aborted).rejects.toThrow('enough');
    expect(kept.points).toHaveLength(1);
    const told: TrainEvent[] = [];
    expect((await train({ ...options, resume: kept.resume, onProgress: (event) => told.push(event) })).record).toEqual(whole.record);
    expect(kept.continued).toEqual([7]);
    // What the point holds comes first: nobody who reads the events of a job that went on lacks any.
    expect(told[0]).toMatchObject({ done: 7, evaluations: [{ iteration: 0 }, { iteration: 6 }] });
    expect(told.flatMap(({ evaluations }) => evaluations)).toEqual(whole.evaluations);
    expect(compute.engine.memory.liveTensors).toBe(0);
  });

  const swapped = <T extends object>(value: T): T => Object.fromEntries(Object.entries(value).toReversed()) as T;
  test.each<[string, Partial<TrainOptions>]>([
    ['SGD', { optimiser: { kind: 'sgd', momentum: 0.9, weightDecay: 0.001 } }],
    ['AdamW', { optimiser: adamw }],
    ['a loss', { loss: { kind: 'softmax-cross-entropy', labelSmoothing: 0.1 } }],
    ['a data set', { data: before }],
    ['a graph', { graph: networks.mlp }],
  ])('the members of %s may stand in any order: the same job, the same record', async (_, given) => {
    const options = { graph: networks.mlp, data: before, seed: 1, iterations: 4, batchSize: 32, compute, ...given } satisfies TrainOptions;
    const other = { ...options, ...Object.fromEntries(Object.entries(given).map(([name, value]) => [name, swapped(value as object)])) };
    const all = memory();
    const whole = await train({ ...options, resume: all.resume });
    const kept = memory(all.points.slice(1, 2));
    const resumed = await train({ ...other, resume: kept.resume });
    expect(kept.continued).toEqual([2]);
    expect(JSON.stringify(resumed.record)).toBe(JSON.stringify(whole.record));
    expect(kept.points.at(-1)).toEqual(all.points.at(-1));
  });

  test('a loss that is not finite removes the points it came from', async () => {
    let removed = 0;
    const { store, points } = memory();
    const resume = { store: { ...store, remove: () => void removed++ } };
    const job = { graph: networks.mlp, data: before, seed: 1, iterations: 50, batchSize: 32, learningRate: 1e9, compute };
    await expect(train({ ...job, resume })).rejects.toThrow(NotFiniteError);
    expect(points.length).toBeGreaterThan(0);
    expect(removed).toBe(1);
    // A store that cannot remove is left as it is.
    await expect(train({ ...job, resume: memory().resume })).rejects.toThrow(NotFiniteError);
  });

  test.each([
    ['the last iteration', { iterations: 1 }, 'iteration-1'],
    ['an epoch that ends before the last', { epochs: 2, batchSize: 180 }, 'epoch-1'],
    ['a checkpoint between', { iterations: 3, checkpointIterations: [1] }, 'iteration-1'],
  ])('weights that are not finite after %s are no result, and leave no points', async (_, length, label) => {
    let removed = 0;
    const { store } = memory();
    // The loss before the first step is finite; the step itself overflows.
    const job = {
      graph: networks.mlp,
      data: before,
      seed: 1,
      batchSize: 32,
      learningRate: 1e41,
      compute,
      resume: { store: { ...store, remove: () => void removed++ } },
    };
    await expect(train({ ...job, ...length })).rejects.toMatchObject({
      code: 'not-finite',
      field: expect.stringMatching(new RegExp(`^${label}\\.linear`)),
    });
    expect(removed).toBe(1);
  });

  test('a checkpoint at an iteration is labelled by it, or by the epoch that it ends', async () => {
    const { checkpoints } = await train({
      graph: networks.mlp,
      data: before,
      seed: 1,
      iterations: 8,
      batchSize: 32,
      checkpointEpochs: [],
      checkpointIterations: [2, 6],
      compute,
    });
    expect(checkpoints.map(({ label }) => label)).toEqual(['start', 'iteration-2', 'epoch-1', 'iteration-8']);
  });
});

describe('transfer', () => {
  type Name = keyof typeof networks;
  const made = new Map<Name, { source: TrainResult; target: TrainResult; oracle: TrainResult }>();
  beforeAll(async () => {
    for (const name of ['mlp', 'resnet-small'] as const) {
      const common = { graph: networks[name], batchSize: 32, learningRate: 0.05, compute };
      const [v1, target] = [
        await train({ ...common, data: before, seed: 1, epochs: 2 }),
        await train({ ...common, data: before, seed: 2, epochs: 2 }),
      ];
      const source = await train({ ...common, data: after, seed: 3, epochs: 3, initial: v1.state });
      made.set(name, { source, target, oracle: await train({ ...common, data: after, seed: 4, epochs: 2, initial: target.state }) });
    }
  });
  const options = (name: Name, choice: Partial<TransferOptions>): TransferOptions => {
    const { source, target, oracle } = made.get(name) as { source: TrainResult; target: TrainResult; oracle: TrainResult };
    return {
      source: source.trajectory,
      target: target.state,
      data: after,
      method: 'fgmt',
      seed: 9,
      steps: 5,
      batchSize: 32,
      statisticsBatches: 2,
      compute,
      ...(choice.method === 'oracle' ? { oracleTarget: oracle.state } : {}),
      ...choice,
    };
  };

  test.each<[Name, Partial<TransferOptions>]>([
    ['mlp', { method: 'fgmt', batchesPerStep: 2 }],
    ['mlp', { method: 'fgmt', historyBudgetBytes: 33_000, start: 'previous' }],
    ['mlp', { method: 'gmt', stopRule: 'label-free' }],
    ['mlp', { method: 'oracle' }],
    ['mlp', { method: 'naive', stopRule: 'last' }],
    ['mlp', { method: 'gmt', trajectory: 'real', steps: 3 }],
    ['resnet-small', { method: 'fgmt', steps: 3 }],
    ['resnet-small', { method: 'gmt', steps: 3, normalise: true }],
  ])('%s %j', async (name, choice) => {
    const job = options(name, choice);
    expect(
      await sameFromEveryPoint(
        (resume) => transfer({ ...job, ...(resume === undefined ? {} : { resume }) }),
        (points) => [...points.keys()],
      ),
    ).toBe(job.steps);
  });

  test('another seed, data or target: refused, and everything that differs is named', async () => {
    const job = options('mlp', {});
    const { resume } = memory();
    await transfer({ ...job, resume });
    const other = { ...job, seed: 10, steps: 6, target: (made.get('mlp') as { oracle: TrainResult }).oracle.state, resume };
    const error = await transfer(other).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: 'invalid-argument', field: 'resume.settings.seed' });
    for (const part of ['settings.seed 10', 'settings.steps 6', 'inputs.target', 'settings.seed 9', 'settings.steps 5'])
      expect(String(error)).toContain(part);
    expect(String(error)).not.toContain('inputs.data');
    await expect(transfer({ ...job, data: quadrants(220, 6), resume })).rejects.toMatchObject({ field: 'resume.inputs.data' });
    // The same bytes that enter the network as other numbers.
    await expect(transfer({ ...job, data: { ...after, scale: [1 / 16] }, resume })).rejects.toMatchObject({
      field: 'resume.settings.data',
    });
    await expect(train({ graph: job.source.graph, data: after, seed: 9, iterations: 3, compute, resume })).rejects.toMatchObject({
      field: 'resume.kind',
    });
  });

  test('gradients that are not finite remove the points they came from', async () => {
    let removed = 0;
    const { source, ...job } = options('mlp', { method: 'fgmt', trajectory: 'real', steps: 3 });
    // Finite weights at the third checkpoint whose gradient is not.
    const far = {
      ...source,
      readCheckpoint: async (index: number): Promise<NetworkState> =>
        index === 2 ? scaled(await source.readCheckpoint(index), 1e30) : source.readCheckpoint(index),
    };
    const { store, points } = memory();
    await expect(transfer({ ...job, source: far, resume: { store: { ...store, remove: () => void removed++ } } })).rejects.toThrow(
      NotFiniteError,
    );
    expect(points.length).toBeGreaterThan(0);
    expect(removed).toBe(1);
  });

  test('a damaged point leaves the one before it; none whole is an error, not a fresh start', async () => {
    const job = options('mlp', { method: 'gmt' });
    const whole = await transfer(job);
    const kept = memory();
    await transfer({ ...job, resume: kept.resume });
    const [older, newer] = kept.points.slice(2, 4) as [Uint8Array, Uint8Array];
    for (const damaged of [
      newer.subarray(0, newer.length >> 1),
      newer.with(newer.length >> 1, (newer[newer.length >> 1] as number) ^ 4),
      new Uint8Array(0),
    ]) {
      const one = memory([older, damaged as Uint8Array]);
      expect((await transfer({ ...job, resume: one.resume })).record).toEqual(whole.record);
      expect(one.continued).toEqual([3]);
      await expect(transfer({ ...job, resume: memory([damaged as Uint8Array]).resume })).rejects.toMatchObject({
        code: 'integrity',
        field: 'resume',
      });
    }
  });

  test('the held-out images are those of the training that made the source', async () => {
    const held = async (choice: Partial<TransferOptions>) =>
      (await transfer(options('mlp', { method: 'naive', ...choice }))).steps.map(({ heldOut }) => heldOut?.loss);
    const recorded = await held({ seed: 9 });
    expect(await held({ seed: 3 })).toEqual(recorded);
    expect(await held({ seed: 9, heldOutSeed: 3 })).toEqual(recorded);
    expect(await held({ seed: 9, heldOutSeed: 9 })).not.toEqual(recorded);
    const { graph, checkpoints, readCheckpoint } = options('mlp', {}).source;
    expect(await held({ seed: 9, source: { graph, checkpoints, readCheckpoint } })).toEqual(await held({ seed: 9, heldOutSeed: 9 }));
  });
});

test('GMT with fixed batches: a resumed job, which computes its first gradients again, ends with the bytes of one that reused them', async () => {
  const graph = networks['small-conv'];
  const source = await train({ graph, data: before, seed: 1, epochs: 2, batchSize: 32, compute });
  const target = (await train({ graph, data: after, seed: 2, epochs: 1, batchSize: 32, compute })).state;
  const steps = 4;
  const options: TransferOptions = {
    source: source.trajectory, target, data: before, method: 'gmt', gmtBatches: 'fixed', steps, seed: 3, batchSize: 32,
    batchesPerStep: 2, stopRule: 'last', compute,
  };
  const all = memory();
  const whole = await transfer({ ...options, resume: all.resume });
  // Of 2 · (4 + 3 + 2 + 1) pairs of gradients the source's once a point, and the target's at the start once; more where nothing moved.
  expect(whole.counts.gradients + whole.counts.reusedGradients).toBe(2 * steps * (steps + 1));
  expect(whole.counts.gradients).toBeLessThanOrEqual(2 * (steps + 1 + (steps * (steps - 1)) / 2));
  // The first pair's share of the similarities is taken from the step before; a resumed job adds the pair once more.
  expect(whole.counts.reusedPairs).toBe(steps - 1);
  for (const at of [0, 1, 2]) {
    const resumed = await transfer({ ...options, resume: memory([all.points[at] as Uint8Array]).resume });
    expect(resumed.record).toEqual(whole.record);
    expect(resumed.steps).toEqual(whole.steps);
  }
  const fresh = await transfer({ ...options, gmtBatches: 'fresh' });
  expect(fresh.counts.reusedGradients).toBe(0);
  expect(fresh.record.sha256).not.toBe(whole.record.sha256);
});

describe('labelled sequences', () => {
  const graph = preset('distilbert', { input: [6], classes: 2, width: 8, depth: 1, heads: 2, vocabulary: 9 });
  // Of 2 to 5 tokens, so that all are padded; the class is that of the second.
  const sequences = Array.from({ length: 90 }, (_, i) => [1, 3 + (i % 6), ...Array.from({ length: i % 4 }, (__, j) => 3 + ((i * j) % 6))]);
  const fields = { name: 'texts', sequences, labels: sequences.map(([, second = 0]) => second % 2), length: 6, padding: 0, vocabulary: 9 };
  const data = sequenceSet(fields);
  const training = {
    graph, data, seed: 1, epochs: 3, batchSize: 16, microBatch: 8, compute,
    optimiser: { kind: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01 },
  } as const;

  test('train and every method of transfer go on from their points to the same bytes', async () => {
    const again = (job: TrainOptions) => (resume?: ResumeOptions) => train({ ...job, ...(resume === undefined ? {} : { resume }) });
    expect(await sameFromEveryPoint(again(training), spread)).toBe(18);
    const [source, target, oracle] = [await train(training), await train({ ...training, seed: 2 }), await train({ ...training, seed: 3 })];
    for (const method of ['gmt', 'fgmt', 'naive', 'oracle'] as const) {
      const job: TransferOptions = {
        source: source.trajectory, target: target.state, data, method, seed: 9, steps: 4, batchSize: 16, compute,
        ...(method === 'oracle' ? { oracleTarget: oracle.state } : {}),
      };
      const port = (resume?: ResumeOptions) => transfer({ ...job, ...(resume === undefined ? {} : { resume }) });
      expect(await sameFromEveryPoint(port, (points) => [...points.keys()]), method).toBe(4);
    }
  });

  test('points of other texts, labels or ends of texts are refused', async () => {
    const { resume } = memory();
    await train({ ...training, resume });
    // The same tokens one behind the other, one of them of the next text.
    const [first = [], second = [], ...rest] = sequences;
    const moved = [[...first, ...second.slice(0, 1)], second.slice(1), ...rest];
    for (const other of [{ sequences: [[1, 8], ...sequences.slice(1)] }, { sequences: moved }, { labels: fields.labels.toReversed() }]) {
      await expect(train({ ...training, data: sequenceSet({ ...fields, ...other }), resume })).rejects.toMatchObject({
        field: 'resume.inputs.data',
      });
    }
  });
});
