// One handle a realm: calls without one share theirs, and never take a handle that somebody opened for himself.
import { afterEach, expect, test } from 'vitest';
import { InvalidArgumentError } from '../../src/core/errors.ts';
import { closeSharedCompute, openCompute, useCompute } from '../../src/transfer/compute.ts';

afterEach(closeSharedCompute);

test('calls without a handle share one, which closing ends', async () => {
  const [one, two] = await Promise.all([useCompute(undefined), useCompute(undefined)]);
  expect(two).toBe(one);
  await expect(openCompute()).rejects.toThrow(/shared handle/);
  await closeSharedCompute();
  expect(one.disposed).toBe(true);
  expect(await useCompute(undefined)).not.toBe(one);
});

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
