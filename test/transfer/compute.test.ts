// One handle a realm: calls without one share theirs, and never take a handle that somebody opened for himself.
import { afterEach, expect, test } from 'vitest';
import { InvalidArgumentError } from '../../src/core/errors.ts';
import { initialise } from '../../src/model/initialise.ts';
import type { NetworkState } from '../../src/tensor/tensor.ts';
import { closeSharedCompute, openCompute, useCompute } from '../../src/transfer/compute.ts';
import type { Compute } from '../../src/transfer/compute.ts';
import { evaluate } from '../../src/transfer/evaluate.ts';
import { train } from '../../src/transfer/train.ts';
import { trajectoryFromStates } from '../../src/transfer/trajectory.ts';
import { transfer } from '../../src/transfer/transfer.ts';
import { networks, quadrants } from './networks.ts';

afterEach(closeSharedCompute);

test('calls without a handle share one, which closing ends', async () => {
  const [one, two] = await Promise.all([useCompute(undefined), useCompute(undefined)]);
  expect(two).toBe(one);
  await expect(openCompute()).rejects.toThrow(/shared handle/);
  await closeSharedCompute();
  expect(one.disposed).toBe(true);
  expect(await useCompute(undefined)).not.toBe(one);
});

test.each(['train', 'transfer', 'evaluate'] as const)(
  'a handle that is disposed of during %s ends it with a typed error, and another may be opened',
  async (job) => {
    const data = quadrants(300, 1);
    const graph = networks.mlp;
    const using = async (compute: Compute, onProgress?: () => void): Promise<unknown> => {
      const control = onProgress === undefined ? {} : { onProgress };
      const [state, end, target] = [1, 2, 3].map((seed) => initialise(compute.core, graph, { seed })) as [
        NetworkState,
        NetworkState,
        NetworkState,
      ];
      if (job === 'train') return train({ graph, data, seed: 1, iterations: 40, batchSize: 32, compute, ...control });
      if (job === 'evaluate') return evaluate({ graph, state, data, batchSize: 10, compute, ...control });
      const source = trajectoryFromStates(graph, [
        { label: 'start', state },
        { label: 'end', state: end },
      ]);
      return transfer({ source, target, data, method: 'gmt', seed: 1, steps: 4, batchSize: 32, compute, ...control });
    };
    const plain = (result: unknown): object => ({ ...(result as object), timings: 0, trajectory: 0 });
    const first = await openCompute();
    const whole = plain(await using(first));
    const error = await using(first, () => first[Symbol.dispose]()).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(InvalidArgumentError);
    expect(error).toMatchObject({ field: 'compute', got: 'a disposed one' });
    const second = await openCompute();
    expect(plain(await using(second))).toEqual(whole);
    expect(second.engine.memory.liveTensors).toBe(0);
    second[Symbol.dispose]();
  },
);

test('while somebody has a handle of his own, every call without one is refused, at the same time and later', async () => {
  const own = await openCompute();
  const calls = await Promise.allSettled([useCompute(undefined), useCompute(undefined)]);
  for (const call of calls) {
    expect(call.status).toBe('rejected');
    expect((call as PromiseRejectedResult).reason).toBeInstanceOf(InvalidArgumentError);
  }
  await expect(useCompute(undefined)).rejects.toThrow(/an open handle/);
  await closeSharedCompute();
  expect(own.disposed).toBe(false);
  own[Symbol.dispose]();
  expect((await useCompute(undefined)).disposed).toBe(false);
});
