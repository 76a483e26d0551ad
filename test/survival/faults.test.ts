// Short form of `npm run faults`: the same campaigns at every so many-th point. Times are measured there and not here.
import { afterAll, beforeAll, expect, it } from 'vitest';
import { abortEverywhere } from './abort-faults.ts';
import { diskFaults, faultKinds } from './disk-faults.ts';
import { Workshop } from './jobs.ts';
import { memoryFaults } from './memory-faults.ts';
import { clockSetBack } from './moments.ts';

let shop: Workshop;
beforeAll(async () => {
  shop = await Workshop.open();
}, 300_000);
afterAll(() => shop[Symbol.dispose]());

it.each(faultKinds)('%s: a typed error or none, nothing torn, the same bytes afterwards', async (fault) => {
  for (const { calls, refused, survived } of await diskFaults(shop, fault, 17)) {
    expect(calls).toBeGreaterThan(0);
    expect(refused + survived).toBe(calls);
  }
});

it('memory refused: a typed error, nothing leaked, and a fresh instance works', async () => {
  const { points, codes } = await memoryFaults('allocation refused', 197);
  expect(points).toBeGreaterThan(5);
  expect(Object.keys(codes)).toEqual(['out-of-memory']);
  const growth = await memoryFaults('growth refused');
  expect(growth.points).toBeGreaterThan(0);
  expect(growth.codes).toEqual({ 'out-of-memory': growth.points });
});

it('aborted anywhere: the reason, and nothing leaked', async () => {
  const { points, aborted } = await abortEverywhere(23);
  expect(aborted).toBeGreaterThan(points / 2);
});

it('a clock that is set back changes no byte', async () => {
  expect(await clockSetBack(shop, [3, 40])).toBe(4);
});
