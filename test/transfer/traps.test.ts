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
const kernels = compute.core.kernels as unknown as Record<string, Kernel>;
const data = quadrants(60, 3);
/** They read no memory, so they cannot trap. */
const pure = new Set<unknown>(Object.values(elementary(compute.core)));

type Kernel = (...values: number[]) => number;

/** Runs a job with kernels in the place of others. */
async function outcomeOf(job: () => Promise<unknown>, replaced: Readonly<Record<string, Kernel>>): Promise<unknown> {
  const own = { ...kernels };
  Object.assign(kernels, replaced);
  return job().then(() => undefined, (error: unknown) => error).finally(() => Object.assign(kernels, own));
}

/** Runs a job once for each kernel that it calls, with that one trapping; says which they are. */
async function trapped(job: () => Promise<unknown>): Promise<string[]> {
  const called = new Set<string>();
  const own = Object.entries(kernels).filter(([, kernel]) => typeof kernel === 'function' && !pure.has(kernel));
  const seen = own.map(([name, kernel]): [string, Kernel] => [name, (...values) => (called.add(name), kernel(...values))]);
  expect(await outcomeOf(job, Object.fromEntries(seen))).toBeUndefined();
  const addF32 = kernels['addF32'] as Kernel;
  for (const name of called) {
    // Four sums beyond the end of the memory.
    const outcome = await outcomeOf(job, { [name]: () => addF32(0, 0xffff_fff0, 4) });
    expect(outcome, name).toMatchObject({ code: 'kernel', message: expect.stringContaining('RuntimeError') });
    expect(compute.core.liveAllocations, name).toBe(0);
  }
  return [...called];
}

test.each(['mlp', 'resnet-small'] as const)('a training and a transfer of %s', async (name) => {
  const graph = networks[name];
  const settings = { graph, data, seed: 1, batchSize: 16, iterations: 2, learningRate: 0.05, compute };
  expect(await trapped(() => train(settings))).toEqual(expect.arrayContaining(['sgdF32', 'softmaxCrossEntropyF32']));
  const source: TrainResult = await train(settings);
  const target = initialise(compute.core, graph, { seed: 2 });
  const port = { source: source.trajectory, target, data, seed: 1, batchSize: 16, steps: 2, compute } as const;
  for (const method of ['naive', 'fgmt', 'gmt'] as const)
    expect((await trapped(() => transfer({ ...port, method }))).length).toBeGreaterThan(3);
}, 120_000);
