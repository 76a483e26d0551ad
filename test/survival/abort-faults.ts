// An abort at every point where a job gives the event loop a turn or waits for something: it ends soon, with the reason, and
// nothing of it stays: no tensors, no heap, no handles, and the next job has the right answer.
import { createHook } from 'node:async_hooks';
import process from 'node:process';
import { openCompute } from '../../src/index.ts';
import { smallJob } from './small-job.ts';

export interface AbortResult {
  /** Promises made by the job: an await makes at least one. */
  readonly points: number;
  /** Jobs that ended with the reason; the others were past their last look at the signal and came to their end. */
  readonly aborted: number;
  readonly longestMs: number;
  readonly medianMs: number;
}

/** @throws Error for a leak, another error than the reason, or a wrong answer. */
export async function abortEverywhere(every = 1): Promise<AbortResult> {
  using compute = await openCompute();
  const expected = await smallJob(compute);
  await smallJob(compute);
  const handles = (): string => process.getActiveResourcesInfo().toSorted().join();
  const [heapBytes, before] = [compute.core.heapBytes, handles()];
  const took: number[] = [];
  let aborted = 0;
  for (let at = 1; ; at += every) {
    const control = new AbortController();
    const reason = new Error(`enough at ${at}`);
    let [seen, abortedAtMs] = [0, NaN];
    const hook = createHook({
      init: (_, type) => {
        if (type !== 'PROMISE' || ++seen !== at) return;
        abortedAtMs = performance.now();
        control.abort(reason);
      },
    });
    hook.enable();
    const outcome = await smallJob(compute, control.signal).catch((error: unknown) => error);
    hook.disable();
    if (!control.signal.aborted) break;
    took.push(performance.now() - abortedAtMs);
    if (outcome === reason) aborted++;
    else if (outcome !== expected) throw new Error(`abort at ${at}: ended with ${String(outcome)}`);
    const { liveTensors } = compute.engine.memory;
    const { liveAllocations } = compute.core;
    if (liveTensors !== 0 || liveAllocations !== 0 || compute.core.heapBytes !== heapBytes || handles() !== before) {
      throw new Error(
        `abort at ${at}: ${liveTensors} tensors, ${liveAllocations} allocations, heap ${heapBytes} → ${compute.core.heapBytes}, ` +
        `handles ${before} → ${handles()}`,
      );
    }
  }
  if ((await smallJob(compute)) !== expected) throw new Error('after the aborts the answer is another');
  took.sort((a, b) => a - b);
  return { points: took.length, aborted, longestMs: took.at(-1) ?? 0, medianMs: took[took.length >> 1] ?? 0 };
}
