// Memory that is refused: every allocation in turn, and the heap's growth from the n-th on. Typed error, nothing leaked, and a
// fresh instance gives the right answer.
import { TrajportError, openCompute } from '../../src/index.ts';
import type { Compute } from '../../src/index.ts';
import { growingJob, smallJob } from './small-job.ts';

export interface MemoryFaultResult {
  readonly fault: 'allocation refused' | 'growth refused';
  readonly points: number;
  /** Error codes that were met, with how often. */
  readonly codes: Readonly<Record<string, number>>;
}

/** Makes malloc of this core answer 0 from the n-th call on: a single refusal is made up for. */
function refuseAllocation(compute: Compute, at: number, counter: { calls: number }): void {
  const { core } = compute;
  const real = core.tfjs;
  const tfjs = { ...real, malloc: (bytes: number) => (++counter.calls >= at ? 0 : real.malloc(bytes)) };
  Object.defineProperty(core, 'tfjs', { value: tfjs });
}

/** Makes the engine refuse to grow any memory from the n-th time on. @returns how to undo it. */
function refuseGrowth(at: number, counter: { calls: number }): () => void {
  const { grow } = WebAssembly.Memory.prototype;
  WebAssembly.Memory.prototype.grow = function (pages: number): number {
    // The core asks twice: for some headroom, then for the bare minimum.
    if (++counter.calls >= at) throw new RangeError('injected: no memory');
    return grow.call(this, pages);
  };
  return () => {
    WebAssembly.Memory.prototype.grow = grow;
  };
}

/** @throws Error for an untyped error, a leak, or a wrong answer afterwards. */
export async function memoryFaults(fault: MemoryFaultResult['fault'], every = 1): Promise<MemoryFaultResult> {
  const job = fault === 'growth refused' ? growingJob : smallJob;
  const expected = await withFresh(job);
  const codes: Record<string, number> = {};
  let points = 0;
  for (let at = 1; ; at += every) {
    const counter = { calls: 0 };
    let restore = (): void => {};
    let failed: unknown;
    let answer: string | undefined;
    try {
      if (fault === 'growth refused') restore = refuseGrowth(at, counter);
      using compute = await openCompute();
      if (fault === 'allocation refused') refuseAllocation(compute, at, counter);
      try {
        answer = await job(compute);
      } catch (error) {
        failed = error;
        const { liveTensors } = compute.engine.memory;
        if (liveTensors !== 0 || compute.core.liveAllocations !== 0)
          throw new Error(`${fault} ${at}: ${liveTensors} tensors and ${compute.core.liveAllocations} allocations leaked`, {
            cause: error,
          });
      }
    } finally {
      restore();
    }
    if (counter.calls < at) return { fault, points, codes };
    points++;
    if (failed === undefined && answer !== expected) throw new Error(`${fault} ${at}: went on with other numbers`);
    if (failed !== undefined && !(failed instanceof TrajportError))
      throw new Error(`${fault} ${at}: not a typed error: ${String(failed)}`, { cause: failed });
    const code = failed instanceof TrajportError ? failed.code : 'none';
    codes[code] = (codes[code] ?? 0) + 1;
    if ((await withFresh(job)) !== expected) throw new Error(`${fault} ${at}: a fresh instance gives other numbers`);
  }
}

async function withFresh<T>(job: (compute: Compute) => Promise<T>): Promise<T> {
  using compute = await openCompute();
  // Awaited here: `using` ends with the function.
  return await job(compute);
}
