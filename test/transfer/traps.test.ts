/** A trap in any kernel that a job calls is a typed error of the job, wherever the kernel is called from. */
import { afterAll, expect, test } from 'vitest';
import { elementary } from '../../src/core/elementary.ts';
import { initialise } from '../../src/model/initialise.ts';
import { openCompute } from '../../src/transfer/compute.ts';
import { train, type TrainResult } from '../../src/transfer/train.ts';
import { transfer } from '../../src/transfer/transfer.ts';
import { networks, quadrants } from './networks.ts';

const compute = await openCompute();
afterAll(() => compute[Symbol.dispose]());
const kernels = compute.core.kernels as unknown as Record<string, (...values: number[]) => number>;
const data = quadrants(60, 3);
/** They read no memory, so they cannot trap. */
const pure = new Set<unknown>(Object.values(elementary(compute.core)));

/** Runs a job once for each kernel, with that one trapping; says which of them it called. */
async function trapped(job: () => Promise<unknown>): Promise<string[]> {
  const called: string[] = [];
  const addF32 = kernels['addF32'] as (...values: number[]) => number;
  for (const [name, kernel] of Object.entries(kernels)) {
    if (typeof kernel !== 'function' || pure.has(kernel)) continue;
    // Four sums beyond the end of the memory.
    kernels[name] = () => addF32(0, 0xffff_fff0, 4);
    const outcome: unknown = await job().then(() => undefined, (error: unknown) => error).finally(() => (kernels[name] = kernel));
    if (outcome === undefined) continue;
    expect(outcome, name).toMatchObject({ code: 'kernel', message: expect.stringContaining('RuntimeError') });
    expect(compute.core.liveAllocations, name).toBe(0);
    called.push(name);
  }
  return called;
}

test.each(['mlp', 'resnet-small'] as const)('a training and a transfer of %s', async (name) => {
  const graph = networks[name];
  const settings = { graph, data, seed: 1, batchSize: 16, iterations: 2, learningRate: 0.05, compute };
  expect(await trapped(() => train(settings))).toEqual(expect.arrayContaining(['sgdF32', 'softmaxCrossEntropyF32']));
  const source: TrainResult = await train(settings);
  const target = initialise(compute.core, graph, { seed: 2 });
  const port = { source: source.trajectory, target, data, seed: 1, batchSize: 16, steps: 2, compute } as const;
  for (const method of ['naive', 'fgmt', 'gmt'] as const) expect((await trapped(() => transfer({ ...port, method }))).length).toBeGreaterThan(3);
}, 120_000);
