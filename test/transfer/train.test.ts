/** Training: it learns, records, repeats to the last bit, and refuses by name. */
import { afterAll, expect, test } from 'vitest';
import { sequential } from '../../src/model/builder.ts';
import { initialise } from '../../src/model/initialise.ts';
import { openCompute } from '../../src/transfer/compute.ts';
import { evaluate } from '../../src/transfer/evaluate.ts';
import { train } from '../../src/transfer/train.ts';
import type { TrainEvent } from '../../src/transfer/train.ts';
import { transfer } from '../../src/transfer/transfer.ts';
import { networks, quadrants } from './networks.ts';

const compute = await openCompute();
afterAll(() => compute[Symbol.dispose]());
const data = quadrants(400, 3);
const graph = networks.mlp;
const options = { graph, data, seed: 1, epochs: 4, batchSize: 32, learningRate: 0.05, compute };

test('training learns, keeps its checkpoints and says how it came about', async () => {
  const result = await train(options);
  expect(result.checkpoints.map(({ label }) => label)).toEqual(['start', 'epoch-1', 'epoch-2', 'epoch-3', 'epoch-4']);
  expect(result.losses).toHaveLength(4 * Math.ceil(360 / 32));
  const unseen = await evaluate({ graph, state: result.state, data: quadrants(300, 4), compute });
  const before = await evaluate({ graph, state: result.checkpoints[0]!.state, data: quadrants(300, 4), compute });
  expect(before.accuracy).toBeLessThan(0.6);
  expect(unseen.accuracy).toBeGreaterThan(0.95);
  expect(unseen.correct).toBe(Math.round(unseen.accuracy * 300));
  expect(result.record.settings).toMatchObject({ epochs: 4, seed: 1, learningRateSchedule: 'constant' });
});

test('AdamW and the cosine rate train too, and two runs are equal to the last bit', async () => {
  const run = () =>
    train({
      ...options,
      learningRate: 0.01,
      learningRateSchedule: 'cosine',
      optimiser: { kind: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01 },
    });
  const [one, two] = [await run(), await run()];
  expect(one.record.sha256).toBe(two.record.sha256);
  expect(one.evaluations.at(-1)?.heldOut.accuracy).toBeGreaterThan(0.9);
});

test('iterations instead of epochs, evaluated where asked', async () => {
  const result = await train({ graph, data, seed: 1, iterations: 25, batchSize: 32, evaluateAt: [10, 20], compute });
  expect(result.losses).toHaveLength(25);
  expect(result.evaluations.map(({ iteration }) => iteration)).toEqual([0, 10, 12, 20, 24, 25]);
  expect(result.checkpoints.at(-1)?.label).toBe('iteration-25');
});

test('progress begins before the first iteration, and each evaluation comes with it when it is made', async () => {
  const events: TrainEvent[] = [];
  const { evaluations } = await train({
    graph,
    data,
    seed: 1,
    iterations: 14,
    batchSize: 32,
    evaluateAt: [3],
    compute,
    onProgress: (event) => events.push(event),
  });
  expect(events.map(({ done }) => done)).toEqual(Array.from({ length: 15 }, (_, done) => done));
  expect(events.filter((event) => event.evaluations.length > 0).map(({ done }) => done)).toEqual([0, 3, 12, 14]);
  for (const event of events) for (const { iteration } of event.evaluations) expect(iteration).toBe(event.done);
  expect(events.flatMap((event) => event.evaluations)).toEqual(evaluations);
  expect(() => Object.assign(events[0]!.evaluations[0]!.heldOut, { loss: 0 })).toThrow(TypeError);
});

const normed = sequential(
  [1, 8, 8],
  [
    { op: 'flatten' },
    { op: 'dense', name: 'hidden', out: 6 },
    { op: 'batch_norm', name: 'norm' },
    { op: 'relu' },
    { op: 'dense', name: 'head', out: 4 },
  ],
);

test('a batch of one, which batch norm over vectors has no variance for, is refused before any work, where it would be met', async () => {
  const job = { graph: normed, data: quadrants(65, 3), seed: 1, batchSize: 64, heldOutFraction: 0, compute };
  const refusal = {
    code: 'invalid-argument',
    field: 'batchSize',
    message: expect.stringMatching(/"norm" \(batch_norm\).*the smallest batch of 65 inputs is one/),
  };
  let started = false;
  await expect(train({ ...job, epochs: 1, onProgress: () => (started = true) })).rejects.toMatchObject(refusal);
  expect(started).toBe(false);
  await expect(train({ ...job, batchSize: 1, iterations: 1 })).rejects.toMatchObject({ field: 'batchSize' });
  const source = await train({ ...job, iterations: 1 });
  const { losses } = await train({ ...job, graph: networks['resnet-small'], epochs: 1 });
  expect(losses.map(Number.isFinite)).toEqual([true, true]);
  const port = {
    source: source.trajectory,
    target: initialise(compute.core, normed, { seed: 2 }),
    data: job.data,
    seed: 1,
    batchSize: 64,
    steps: 1,
    compute,
  } as const;
  await expect(transfer({ ...port, method: 'naive' })).rejects.toMatchObject(refusal);
  await expect(transfer({ ...port, method: 'fgmt', statisticsBatches: 1, batchesPerStep: 2 })).rejects.toMatchObject(refusal);
  // Two steps of GMT draw three batches of 32, the last of which is one; where they are fixed, two.
  const gmt = { ...port, method: 'gmt', batchSize: 32, steps: 2, statisticsBatches: 1 } as const;
  await expect(transfer(gmt)).rejects.toMatchObject({ field: 'batchSize' });
  await expect(transfer({ ...gmt, gmtBatches: 'fixed' })).resolves.toMatchObject({ chosenStep: 2 });
  await expect(transfer({ ...port, method: 'fgmt', statisticsBatches: 1 })).resolves.toMatchObject({
    chosenStep: 1,
    counts: { gradients: 2, matchings: 1 },
  });
});

test('a micro-batch as large as the batch is none, with batch norm too, in training as in transfer', async () => {
  const job = { graph: normed, data, seed: 1, iterations: 2, batchSize: 32, compute };
  const [plain, whole] = [await train(job), await train({ ...job, microBatch: 32 })];
  expect(whole.record.sha256).toBe(plain.record.sha256);
  await expect(train({ ...job, microBatch: 31 })).rejects.toMatchObject({ code: 'unsupported', field: 'options.microBatch' });
});

test.each([
  ['neither epochs nor iterations', { epochs: undefined }, 'invalid-argument', 'epochs'],
  ['both', { iterations: 3 }, 'invalid-argument', 'epochs'],
  ['a rate that diverges', { learningRate: 1e30 }, 'not-finite', expect.stringContaining('loss of iteration')],
  ['everything held out', { heldOutFraction: 1 }, 'invalid-argument', 'heldOutFraction'],
])('%s: a typed error', async (_, change, code, field) => {
  await expect(train({ ...options, ...change } as typeof options)).rejects.toMatchObject({ code, field });
});
