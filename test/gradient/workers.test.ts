/** Pools of workers that are no good: each is refused by name, none is waited for in vain, and none is left running. */
import { EventEmitter } from 'node:events';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { KernelError, OutOfMemoryError } from '../../src/core/errors.ts';
import { openGradientWorkers, type PoolOptions } from '../../src/gradient/workers/pool.ts';
import { errorOf, errorRecord } from '../../src/gradient/workers/protocol.ts';

/** A worker of Node's kind that says `words` when it is sent anything. */
class Told extends EventEmitter {
  ended = 0;
  readonly #words: readonly unknown[];

  constructor(...words: readonly unknown[]) {
    super();
    this.#words = words;
  }

  postMessage(): void {
    for (const word of this.#words) queueMicrotask(() => this.emit('message', word));
  }

  terminate(): void {
    this.ended++;
  }
}

const opening = (): Told => new Told({ kind: 'open' });
const inPool = (i: number) => ({ code: 'invalid-argument', field: `workers[${i}]`, got: 'one that is in a pool' });

describe('openGradientWorkers', () => {
  it('refuses a worker twice, and one of another pool, which goes on', async () => {
    const [one, other] = [opening(), opening()];
    await expect(openGradientWorkers([one, other, one])).rejects.toMatchObject(inPool(2));
    expect([one.ended, other.ended]).toEqual([1, 1]);

    const [own, fresh, last] = [opening(), opening(), opening()];
    using pool = await openGradientWorkers([own]);
    await expect(openGradientWorkers([fresh, own, last])).rejects.toMatchObject(inPool(1));
    expect([own.ended, fresh.ended, last.ended, pool.size]).toEqual([0, 1, 1, 1]);
  });

  it.each<[string, readonly unknown[], PoolOptions]>([
    ['an option that there is not', [], { threads: 2 } as PoolOptions],
    ['a core that there is not', [], { core: { threads: 2 } } as PoolOptions],
    ['what is no worker', [{}], {}],
    ['nothing', [null], {}],
  ])('ends the workers where it refuses %s', async (_, first, options) => {
    const worker = opening();
    await expect(openGradientWorkers([...first, worker] as Told[], options)).rejects.toMatchObject({ code: 'invalid-argument' });
    expect(worker.ended).toBe(1);
  });

  it('refuses a worker that has ended, of which no event comes any more', async () => {
    const worker = new Worker('', { eval: true });
    await new Promise((resolve) => void worker.once('exit', resolve));
    await expect(openGradientWorkers([worker])).rejects.toMatchObject({
      code: 'invalid-argument', field: 'workers[0]', got: 'one that has ended',
    });
  });

  it('takes no other message of a worker for an answer', async () => {
    const others = [null, 'open', 7, { type: 'ready' }, { kind: 'ready' }, { kind: 'toString' }, []];
    const worker = new Told(...others);
    let settled = false;
    const opened = openGradientWorkers([worker]).finally(() => (settled = true));
    // All of them have been heard by the next turn.
    await new Promise((resolve) => void setImmediate(resolve));
    expect(settled).toBe(false);
    worker.emit('message', { kind: 'open' });
    expect((await opened).size).toBe(1);
  });
});

describe('memory that is refused in a worker', () => {
  it('is told as such: no fault of ours', () => {
    for (const words of ['Array buffer allocation failed', 'WebAssembly.Memory(): could not allocate memory', 'Out of memory']) {
      const error = errorOf(structuredClone(errorRecord(new RangeError(words))));
      expect(error).toBeInstanceOf(OutOfMemoryError);
      expect(error.got).toBe(`RangeError: ${words}`);
    }
    expect(errorOf(errorRecord(new RangeError('offset is out of bounds')))).toBeInstanceOf(KernelError);
  });

  it('also where it ends the worker', async () => {
    const greedy = new Worker('const all = []; for (;;) all.push(new Array(1e5).fill(1.5));', {
      eval: true,
      resourceLimits: { maxOldGenerationSizeMb: 16 },
    });
    await expect(openGradientWorkers([greedy])).rejects.toMatchObject({ code: 'out-of-memory', field: 'workers[0]' });
  });
});
