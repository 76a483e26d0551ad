/** Turns: one after another, and past a job whose client left and that never settles. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, expect, it } from 'vitest';
import { openCompute, useCompute } from '../../src/transfer/compute.ts';
import { computeInTurn, discardCompute, inTurn, requirePlace } from '../../src/edge/turn.ts';

afterEach(discardCompute);

const pause = (milliseconds: number): Promise<string> => new Promise((resolve) => void setTimeout(() => resolve('waits'), milliseconds));

it('runs jobs in order, past those that fail', async () => {
  const { signal } = new AbortController();
  const ran: number[] = [];
  const jobs = [1, 2, 3].map((job) => inTurn(async () => {
    await pause(10 - 3 * job);
    ran.push(job);
    if (job === 2) throw new Error('second');
    return job;
  }, signal));
  expect(() => requirePlace(2)).toThrow('at most 2 waiting, got 3');
  expect((await Promise.allSettled(jobs)).map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  expect(ran).toEqual([1, 2, 3]);
  await pause(1);
  requirePlace(0);
});

it('does not wait for a job that its client left, nor use the core it worked on again', async () => {
  const client = new AbortController();
  const first = new Promise<Awaited<ReturnType<typeof computeInTurn>>>((resolve) => {
    void inTurn(async () => {
      resolve(await computeInTurn({ heapLimitBytes: 32 * 2 ** 20 }));
      return new Promise<never>(() => undefined);
    }, client.signal);
  });
  const waiting = new AbortController();
  const leaving = inTurn(async () => 'never asked', waiting.signal);
  const next = inTurn(async () => computeInTurn({ heapLimitBytes: 32 * 2 ** 20 }), new AbortController().signal);
  const core = await first;
  // Who leaves the queue ends nobody else's turn.
  waiting.abort(new Error('left'));
  expect(await Promise.race([next, pause(50)])).toBe('waits');
  expect(core.disposed).toBe(false);
  client.abort();
  expect((await next).disposed).toBe(false);
  expect(core.disposed).toBe(true);
  await expect(leaving).rejects.toThrow('left');
  await pause(1);
  requirePlace(0);
});

it('is still in its turn where a job that was left settles late', async () => {
  const client = new AbortController();
  let settle = (): void => undefined;
  const left = inTurn(() => new Promise<void>((resolve) => (settle = resolve)), client.signal);
  await pause(1);
  client.abort();
  await inTurn(async () => {
    await computeInTurn({});
    settle();
    await left;
    await expect(useCompute(undefined)).rejects.toThrow('no open handle');
  }, new AbortController().signal);
});

it('keeps the core of a client that leaves after its answer', async () => {
  const client = new AbortController();
  const core = await inTurn(async () => computeInTurn({}), client.signal);
  await pause(5);
  client.abort();
  expect(core.disposed).toBe(false);
});

it("lets the library's own calls have its core's place between turns, not within one", async () => {
  const { signal } = new AbortController();
  let core = await inTurn(async () => {
    const mine = await computeInTurn({});
    await expect(useCompute(undefined)).rejects.toThrow('no open handle');
    return mine;
  }, signal);
  const own = await openCompute();
  expect(core.disposed).toBe(true);
  await expect(inTurn(async () => computeInTurn({}), signal)).rejects.toThrow('one in use elsewhere');
  own[Symbol.dispose]();
  core = await inTurn(async () => computeInTurn({}), signal);
  const shared = await useCompute(undefined);
  expect([core.disposed, shared.disposed]).toEqual([true, false]);
  shared[Symbol.dispose]();
});

it('keeps nothing of the turns that are over', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const live = (): number => {
    collect();
    return process.memoryUsage().heapUsed;
  };
  const turns = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i++) await inTurn(async () => i, new AbortController().signal);
  };
  await turns(2000);
  await pause(1);
  const before = live();
  await turns(50_000);
  await pause(1);
  expect(live() - before).toBeLessThan(1e6);
});
