// Every call on the file layer fails once, for every kind of failure: what the command then says, leaves and goes on from.
import { exitCodeOf, exitCodes } from '../../src/cli/exit.ts';
import { replaceFileSystem } from '../../src/cli/file-system.node.ts';
import type { FileSystem } from '../../src/cli/file-system.node.ts';
import { openCompute } from '../../src/index.ts';
import { failing, interposed } from './disk.ts';
import type { CallName } from './disk.ts';
import { runHere } from './in-process.ts';
import type { Job, Workshop } from './jobs.ts';
import { jobs } from './jobs.ts';

export const faultKinds = ['ENOSPC', 'EIO', 'EMFILE', 'short write'] as const;
export type FaultKind = (typeof faultKinds)[number];

export interface DiskFaultResult {
  readonly job: string;
  readonly fault: FaultKind;
  /** Calls that were made to fail, one a run. */
  readonly calls: number;
  /** Runs that ended with a typed error, and those that came to their end all the same. */
  readonly refused: number;
  readonly survived: number;
}

/** Which calls can fail that way. */
const affected: Readonly<Record<FaultKind, readonly CallName[]>> = {
  ENOSPC: ['open', 'write', 'sync', 'rename', 'link', 'makeDirectory'],
  EIO: failing,
  EMFILE: ['open', 'list'],
  'short write': ['write'],
};

/** A fault at the n-th call; `calls` counts them. */
function faulty(fault: FaultKind, at: number, counter: { calls: number }): (real: FileSystem) => FileSystem {
  const opens = fault === 'ENOSPC' ? (args: readonly unknown[]) => args[1] === 'wx' : () => true;
  return (real) =>
    interposed(real, failing, (name, args) => {
      if (!affected[fault].includes(name) || (name === 'open' && !opens(args)) || ++counter.calls !== at) return undefined;
      if (fault !== 'short write') throw Object.assign(new Error(`${fault}: injected into ${name}`), { code: fault });
      const [file, bytes, offset, length] = args as [number, Uint8Array, number, number];
      return real.write(file, bytes, offset, Math.max(1, length >> 1));
    });
}

/** @throws Error for an untyped error, anything torn or left behind, or other bytes after the next run. */
export async function diskFaults(shop: Workshop, fault: FaultKind, every = 1): Promise<DiskFaultResult[]> {
  using compute = await openCompute();
  const results: DiskFaultResult[] = [];
  for (const job of jobs) {
    let [calls, refused, survived] = [0, 0, 0];
    for (let at = 1; ; at += every) {
      const counter = { calls: 0 };
      const restore = replaceFileSystem(faulty(fault, at, counter));
      const { error } = await runHere(job.argv, shop.directory, compute).finally(restore);
      if (counter.calls < at) break;
      calls++;
      const stopped = (text: string): Error => new Error(`${job.name}, ${fault} at call ${at}: ${text}`, { cause: error });
      if (error === undefined) survived++;
      else {
        refused++;
        if (exitCodeOf(error) !== exitCodes.badInput) throw stopped(`not a typed error: ${String(error)}`);
      }
      if (fault === 'short write' && error !== undefined) throw stopped('a write that was merely short was not completed');
      await requireSound(shop, job, error === undefined, stopped);
      const again = await runHere(job.argv, shop.directory, compute);
      if (again.error !== undefined) throw stopped(`the next run failed: ${String(again.error)}`);
      shop.requireFinished(job);
      shop.clear();
    }
    shop.clear();
    results.push({ job: job.name, fault, calls, refused, survived });
  }
  return results;
}

async function requireSound(shop: Workshop, job: Job, finished: boolean, stopped: (text: string) => Error): Promise<void> {
  try {
    await shop.examine(job);
    if (finished) shop.requireOutputs(job);
  } catch (cause) {
    throw stopped(String(cause));
  }
}
