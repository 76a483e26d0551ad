/** `--workers` of more threads than the system starts: those that began are ended, or the process would never end. */
import { beforeEach, expect, it, vi } from 'vitest';
import { UsageError } from '../../src/cli/exit.ts';
import { openWorkers } from '../../src/cli/parallel.node.ts';

const threads = vi.hoisted(() => ({ most: 0, started: 0, running: 0 }));

vi.mock('node:worker_threads', () => {
  const refused = (words: string) => Object.assign(new Error(words), { code: 'ERR_WORKER_INIT_FAILED' });
  return {
    Worker: class {
      readonly #number = threads.started++;
      #runs = true;
      constructor() {
        if (threads.started <= threads.most) threads.running++;
        else throw refused('EAGAIN');
      }
      postMessage(): void {}
      on(type: string, listener: (error: Error) => void): void {
        if (type === 'error' && this.#number === 2) setImmediate(listener, refused('Worker initialization failure: EMFILE'));
      }
      async terminate(): Promise<void> {
        if (this.#runs) threads.running--;
        this.#runs = false;
      }
    },
  };
});

beforeEach(() => Object.assign(threads, { started: 0, running: 0 }));

it.each([
  [2, 'EAGAIN'],
  // Of open files it tells later.
  [8, 'Worker initialization failure: EMFILE'],
])('of which %i begin: says so', async (most, words) => {
  threads.most = most;
  const opened = openWorkers({ workers: 8 } as Parameters<typeof openWorkers>[0]);
  await expect(opened).rejects.toThrow(new UsageError(`--workers 8: the system does not start as many here (${words})`));
  await expect(opened).rejects.toMatchObject({ option: '--workers' });
  expect(threads.running).toBe(0);
});
