/** `--workers` of more threads than the system starts: those that began are ended, or the process would never end. */
import { beforeEach, expect, it, vi } from 'vitest';
import { UsageError } from '../../src/cli/exit.ts';
import { openWorkers } from '../../src/cli/parallel.node.ts';

const threads = vi.hoisted(() => ({ most: 0, started: 0, ended: 0 }));

vi.mock('node:worker_threads', () => ({
  Worker: class {
    constructor() {
      if (threads.started === threads.most) throw Object.assign(new Error('EAGAIN'), { code: 'ERR_WORKER_INIT_FAILED' });
      threads.started++;
    }
    async terminate(): Promise<void> {
      threads.ended++;
    }
  },
}));

beforeEach(() => Object.assign(threads, { most: 3, started: 0, ended: 0 }));

it('says how many there may be', async () => {
  const opened = openWorkers({ workers: 8 } as Parameters<typeof openWorkers>[0]);
  await expect(opened).rejects.toThrow(new UsageError('--workers 8: the system starts no more than 3 here (EAGAIN)'));
  await expect(opened).rejects.toMatchObject({ option: '--workers' });
  expect(threads).toEqual({ most: 3, started: 3, ended: 3 });
});
