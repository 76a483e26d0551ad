/** `verify` on networks of every kind, and `plan` against what the transfer then takes. */
import { afterAll, expect, test } from 'vitest';
import { BudgetError } from '../../src/core/errors.ts';
import { sequential } from '../../src/model/builder.ts';
import { solverNames } from '../../src/matching/solvers.ts';
import { fitGradient, gradientHeapBytes } from '../../src/gradient/memory.ts';
import { gradientCost } from '../../src/model/cost.ts';
import type { ModelGraph } from '../../src/model/graph.ts';
import { initialise } from '../../src/model/initialise.ts';
import { derivePermutationSpec } from '../../src/model/permutation-spec.ts';
import { preset } from '../../src/model/presets.ts';
import { openCompute } from '../../src/transfer/compute.ts';
import { mostFitting, plan } from '../../src/transfer/plan.ts';
import { trajectoryFromStates } from '../../src/transfer/trajectory.ts';
import { transfer } from '../../src/transfer/transfer.ts';
import { verify } from '../../src/transfer/verify.ts';
import { networks, quadrants } from './networks.ts';

const compute = await openCompute();
afterAll(() => compute[Symbol.dispose]());

test.each(Object.entries(networks))('%s: a random permutation keeps the function and moves the weights', async (_, graph) => {
  const result = await verify({ graph, state: initialise(compute.core, graph, { seed: 3 }), compute });
  expect(result).toMatchObject({ passed: true, problems: [] });
  expect(result.movedFraction).toBeGreaterThan(0.3);
  expect(result.largestOutput).toBeGreaterThan(1e-3);
  expect(result.largestOutputDifference).toBeLessThanOrEqual(1e-5 * result.largestOutput);
});

test('a network whose groups have two units or one is judged too', async () => {
  for (const width of [1, 2]) {
    const graph = preset('mlp', { input: [4], widths: [width], classes: 3 });
    for (let seed = 1; seed <= 8; seed++) {
      const { passed, movedFraction } = await verify({ graph, state: initialise(compute.core, graph, { seed: 3 }), seed, compute });
      expect({ width, seed, passed, moved: movedFraction > 0 }).toEqual({ width, seed, passed: true, moved: width > 1 });
    }
  }
});

test('weights that are all alike prove nothing: no permutation moves them', async () => {
  const { parameters, buffers } = initialise(compute.core, networks.mlp, { seed: 3 });
  const alike = new Map([...parameters].map(([name, { shape, data }]) => [name, { shape, data: data.map(() => 0.1) }]));
  const result = await verify({ graph: networks.mlp, state: { parameters: alike, buffers }, compute });
  const { passed, movedFraction, problems, largestOutputDifference } = result;
  expect([passed, movedFraction, problems, largestOutputDifference]).toEqual([false, 0, [], 0]);
});

test('blocks that a draw leaves in place are swapped as wholes: two heads of one feature', async () => {
  const layers = [
    { op: 'tokens' }, { op: 'dense', name: 'projection', out: 6 }, { op: 'attention', heads: 2 }, { op: 'dense', name: 'out', out: 2 },
    { op: 'mean_tokens' }, { op: 'dense', name: 'head', out: 3 },
  ] as const;
  const graph = sequential([2, 2, 2], layers);
  expect(derivePermutationSpec(graph).groups.some(({ structure }) => structure !== undefined)).toBe(true);
  for (let seed = 1; seed <= 8; seed++) {
    const { passed, movedFraction } = await verify({ graph, state: initialise(compute.core, graph, { seed: 3 }), seed, compute });
    expect({ seed, passed, moved: movedFraction > 0 }).toEqual({ seed, passed: true, moved: true });
  }
});

test.each(['naive', 'fgmt', 'gmt'] as const)('the plan of %s counts the gradients that the transfer then takes', async (method) => {
  const graph = networks.mlp;
  const [a, b] = [1, 2].map((seed) => initialise(compute.core, graph, { seed }));
  const choices = { method, steps: 3, batchesPerStep: 2, batchSize: 16, stopRule: 'last' } as const;
  const source = trajectoryFromStates(graph, [{ label: 'start', state: a! }, { label: 'end', state: b! }]);
  const run = await transfer({ ...choices, source, target: b!, data: quadrants(100, 1), seed: 1, compute });
  const planned = plan({ ...choices, graph });
  expect(planned.gradients).toBe(run.counts.gradients);
  expect(planned.matchings).toBe(run.counts.matchings);
  expect(planned.assignments).toBe(2 * run.counts.matchings * planned.sweeps);
  expect(planned.bytes.parameters).toBe(4 * (24 * 64 + 24 + 16 * 24 + 16 + 4 * 16 + 4));
});

test.each(solverNames)('the plan of %s reckons the assignments from above, and no more than three times what they are', async (solver) => {
  const graph = networks.mlp;
  const [a, b, c] = [1, 2, 3].map((seed) => initialise(compute.core, graph, { seed }));
  const source = trajectoryFromStates(graph, [{ label: 'start', state: a! }, { label: 'end', state: b! }]);
  for (const maxSweeps of [100, 1]) {
    const choices = { method: 'fgmt', steps: 4, batchSize: 32, stopRule: 'last', solver, maxSweeps } as const;
    const { counts } = await transfer({ ...choices, source, target: c!, data: quadrants(100, 1), seed: 1, compute });
    const planned = plan({ ...choices, graph });
    expect({
      solver, maxSweeps, enough: planned.assignments >= counts.assignments, most: planned.assignments <= 3 * counts.assignments,
    }).toEqual({
      solver, maxSweeps, enough: true, most: true,
    });
    expect(planned.assignments).toBe(2 * counts.matchings * planned.laps);
    expect(planned.sweeps).toBe(Math.min(4, maxSweeps));
  }
});

test('the plan reckons products by solver, and the operands that each has on the heap', () => {
  // Both groups have 512 units, and the tensor between them is the largest: [512, 512].
  const graph = preset('mlp', { input: [16], widths: [512, 512], classes: 4 });
  const of = (choices: object) => plan({ graph, method: 'fgmt', steps: 3, batchSize: 1, ...choices });
  // Σ of pairs 1 + 2 + 3, of products [512, 512] · [512, 512] for either group; what one group carries is summed once a pair.
  const paired = 6 * 2 * 2 * 512 ** 3;
  const alone = of({ sweeps: 1 }).flops.similarity - paired;
  expect(alone).toBe(3 * 2 * 512 * (512 * 16 + 512 + 512 + 4 * 512));
  const sweepsOf = (choices: object): number => (of(choices).flops.similarity - alone) / paired;
  expect(sweepsOf({})).toBe(4);
  expect(sweepsOf({ maxSweeps: 2 })).toBe(2);
  expect(sweepsOf({ sweeps: 9 })).toBe(9);
  expect(sweepsOf({ solver: 'seeded-starts', sweeps: 3 })).toBe(3 + 4 * 4);
  expect(sweepsOf({ solver: 'seeded-starts', maxSweeps: 3 })).toBe(5 * 3);
  const { laps } = of({ solver: 'frank-wolfe', maxSweeps: 2 });
  expect(sweepsOf({ solver: 'frank-wolfe', maxSweeps: 2 })).toBe(3 * (laps - 1 - 2) + 2);
  // A matching that takes more than a gradient: the source's and the target's tensor, with Frank–Wolfe a third for what is permuted softly.
  const large = { graph: preset('mlp', { input: [16], widths: [2048, 2048], classes: 4 }) };
  expect(of({ ...large, solver: 'frank-wolfe' }).bytes.heap - of(large).bytes.heap).toBe(4 * 2048 * 2048);
});

test('the plan reckons evaluation, statistics and batches where it knows the data, as large as they can get', () => {
  const mlp = networks.mlp;
  // Forward of one image: 64 · 24 + 24 · 16 + 16 · 4 multiplications and additions; biases and activations beside them.
  const forward = gradientCost(mlp, 1).forwardFlops;
  expect(forward).toBeGreaterThanOrEqual(2 * (64 * 24 + 24 * 16 + 16 * 4));
  const of = (choices: object, graph: ModelGraph = mlp) => plan({ graph, method: 'naive', steps: 5, images: 200, ...choices });
  // The first layer of the held-out images is two products for all steps.
  const first = 2 * 64 * 24;
  expect(of({}).flops.evaluation).toBeCloseTo(20 * (forward * 6 - first * (6 - 2)), 3);
  expect(of({ stopRule: 'label-free' }).flops.evaluation).toBeCloseTo(20 * (forward * 7 - first * (6 - 2)), 3);
  expect(of({ skipParameters: [], trajectory: 'real', checkpoints: 6 }).flops.evaluation).toBeCloseTo(20 * forward * 6, 3);
  expect(of({ heldOutFraction: 0 }).flops.evaluation).toBe(0);
  expect(plan({ graph: mlp, method: 'naive' }).flops).not.toHaveProperty('evaluation');
  const resnet = networks['resnet-small'];
  const statistics = { batchSize: 16, statisticsBatches: 7 };
  const ofOneStep = gradientCost(resnet, 1).forwardFlops * 7 * 16;
  // Where nothing is held out no step is scored, and those of the last are estimated alone.
  expect(of({ heldOutFraction: 0, ...statistics }, resnet).flops).toMatchObject({
    evaluation: 0, statistics: expect.closeTo(ofOneStep, 0) as number,
  });
  expect(of(statistics, resnet).flops.statistics).toBeCloseTo(5 * ofOneStep, 0);
  expect(of({}).flops.statistics).toBe(0);
  const whole = of({ method: 'fgmt', batchSize: 1e9, batchesPerStep: 3 });
  expect(whole.flops.gradients).toBe(2 * 5 * 3 * gradientCost(mlp, 180).flops);
  expect(whole.bytes.batches).toBe(4 * 3 * 180 * 64);
  expect(whole.microBatch).toBe(180);
});

test('a micro-batch that is planned for a heap fits it with all that is there: batches that are added up, the line of points', () => {
  const graph = preset('small-conv', { input: [1, 28, 28], classes: 10, width: 16 });
  let smaller = 0;
  for (let heapLimitBytes = 16 * 2 ** 20; heapLimitBytes < 64 * 2 ** 20; heapLimitBytes += 2 ** 18) {
    const of = (batchesPerStep: number) => plan({ graph, method: 'fgmt', batchSize: 256, batchesPerStep, heapLimitBytes });
    const [one, six] = [of(1), of(6)];
    for (const { bytes } of [one, six]) expect(bytes.heap).toBeLessThanOrEqual(heapLimitBytes);
    // Twice as many at once would not: the line has a 256th of the heap at most.
    const twice = 2 * six.microBatch;
    if (twice <= 256) expect(gradientHeapBytes(graph, twice, (6 * 256) / twice)).toBeGreaterThan((255 / 256) * heapLimitBytes);
    if (six.microBatch < one.microBatch) smaller++;
    expect(mostFitting({ graph, method: 'fgmt', batchSize: 256, batchesPerStep: 6 }, heapLimitBytes)).toBe(six.microBatch);
  }
  expect(smaller).toBeGreaterThan(0);
  expect(mostFitting({ graph, method: 'fgmt' }, 2 ** 20)).toBeUndefined();
});

test('whole batches of batch norm fit less of a heap where values are computed anew, which the plan counts', () => {
  const graph = preset('resnet18', { input: [3, 32, 32], classes: 10, width: 16, stem: 'cifar' });
  const of = (heapLimitBytes: number) => plan({ graph, method: 'fgmt', steps: 2, batchSize: 64, batchesPerStep: 1, heapLimitBytes });
  const roomy = of(2 ** 30);
  expect(roomy.flops.recomputation).toBe(0);
  const tight = of(Math.floor(0.7 * roomy.bytes.heap));
  expect(tight.microBatch).toBe(64);
  expect(tight.bytes.heap).toBeLessThanOrEqual(0.7 * roomy.bytes.heap);
  expect(tight.flops.recomputation).toBeGreaterThan(0);
  // Two gradients a step, and a forward pass more of each at most.
  expect(tight.flops.recomputation).toBeLessThan(tight.gradients * gradientCost(graph, 64).forwardFlops);
  expect(tight.flops.gradients).toBe(roomy.flops.gradients);
  expect(() => of(2 ** 24)).toThrow(BudgetError);
});

test('the plan counts what is computed anew of every part of every gradient', () => {
  const graph = preset('vit', { input: [3, 64, 64], classes: 10, width: 64, depth: 4, heads: 2 });
  const of = (choices: object) =>
    plan({ graph, method: 'fgmt', trajectory: 'real', checkpoints: 3, steps: 2, batchSize: 6, batchesPerStep: 1, ...choices });
  // A heap for one image at a time, six a gradient, that has not room for all of its values.
  const [all, least] = [gradientHeapBytes(graph, 1, 6), fitGradient(graph, 1, 6, 0).bytes];
  const heapLimitBytes = Math.floor((all + least) / 2);
  const { microBatch, gradients, flops } = of({ heapLimitBytes });
  const { recomputedFlops } = fitGradient(graph, 1, 6, heapLimitBytes);
  expect(recomputedFlops).toBeGreaterThan(0);
  expect([microBatch, flops.recomputation]).toEqual([1, gradients * 6 * recomputedFlops]);
});

test('the plan turns FLOPs into seconds at the rate given, and measures one where it can', () => {
  const graph = networks.mlp;
  const at = plan({ graph, method: 'gmt', flopsPerSecond: 1e9 });
  const total = at.flops.gradients + at.flops.similarity + at.flops.assignment;
  expect(at.seconds).toBe(total / 1e9);
  expect(plan({ graph, method: 'gmt', compute }).seconds).toBeGreaterThan(0);
});

test('the plan counts a line of points where it stays on the heap: of a network that is small beside it', () => {
  const graph = preset('mlp', { input: [784], classes: 10, widths: [64] });
  const heap = (heapLimitBytes: number, trajectory: 'linear' | 'real', data: object = { images: 400, heldOutFraction: 0 }): number =>
    plan({ graph, method: 'fgmt', steps: 4, checkpoints: 5, batchSize: 16, trajectory, heapLimitBytes, ...data }).bytes.heap;
  // Both ends and the target.
  expect(heap(2 ** 30, 'linear') - heap(2 ** 30, 'real')).toBe(3 * 4 * (785 * 64 + 65 * 10));
  expect(heap(2 ** 24, 'linear')).toBe(heap(2 ** 24, 'real'));
  // Of data of unknown size, its first layer's outputs as far as there may be some: an eighth of the heap for either part.
  expect(heap(2 ** 24, 'linear', {}) - heap(2 ** 24, 'real', {})).toBe(2 * 2 ** 21);
});

test('the plan of a history is the bytes of exact gradients and of 8-bit codes, and its coded budget does for the transfer', async () => {
  const graph = networks.mlp;
  const choices = { method: 'fgmt', steps: 3, batchSize: 16, stopRule: 'last' } as const;
  const { bytes } = plan({ ...choices, graph });
  // By hand: sums of 24² and 16² for the tensors that one group carries, and pairs of the one that both carry, [16, 24].
  const sums = bytes.history - 3 * 2 * 4 * 16 * 24;
  expect(bytes.codedHistory).toBe(sums + 3 * 2 * (16 * 24 + 4 * 16));
  const [a, b] = [1, 2].map((seed) => initialise(compute.core, graph, { seed }));
  const source = trajectoryFromStates(graph, [{ label: 'start', state: a! }, { label: 'end', state: b! }]);
  const run = (method: 'naive' | 'fgmt', historyBudgetBytes: number) =>
    transfer({ ...choices, method, historyBudgetBytes, source, target: b!, data: quadrants(100, 1), seed: 1, compute });
  expect((await run('fgmt', bytes.codedHistory)).counts.matchings).toBe(3);
  await expect(run('fgmt', sums - 1)).rejects.toThrow(BudgetError);
  // Naive gathers nothing: no budget is too small for it.
  expect((await run('naive', 0)).steps).toHaveLength(4);
  expect(plan({ graph, method: 'naive' }).bytes).toMatchObject({ history: 0, codedHistory: 0 });
});
