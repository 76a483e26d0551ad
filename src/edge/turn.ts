/**
 * What a realm has once, whatever handlers it has: a turn to compute, and the compute core. tfjs keeps one backend, and two heaps
 * would not fit an isolate. Between turns the library's own calls may have its place.
 */
import { InvalidArgumentError, OutOfMemoryError } from '../core/errors.ts';
import { openCodec } from '../bundle/codec-instance.ts';
import { openYieldingCompute } from '../transfer/compute.ts';
import type { Compute } from '../transfer/compute.ts';
import type { CoreOptions } from '../core/core.ts';
import { Refusal, busy } from './refusal.ts';

let last: Promise<unknown> = Promise.resolve();
let count = 0;
let computing = false;
let open: { readonly place: ReturnType<typeof openYieldingCompute>; readonly options: CoreOptions; compute?: Compute } | undefined;

/** @throws Refusal where more than `maxWaiting` wait beside the one that computes. */
export function requirePlace(maxWaiting: number): void {
  if (count > maxWaiting) throw busy('request', `at most ${maxWaiting} waiting`, `${count}`);
}

/**
 * Runs jobs one after the other. One whose client leaves ends its turn at once, whether it settles or not: a Worker's request that
 * is cancelled may never run again, and what it waited for would block all others. The core it worked on is given up with it.
 */
export function inTurn<T>(job: () => Promise<T>, signal: AbortSignal): Promise<T> {
  count++;
  const before = last;
  let computes = false;
  const mine = before.then(async () => {
    signal.throwIfAborted();
    computes = computing = true;
    try {
      return await job();
    } finally {
      // Not of a turn that was left: another may compute by now.
      if (computes) computes = computing = false;
    }
  });
  const left = new Promise<void>((resolve) => {
    const leave = (): void => {
      if (computes) {
        computes = computing = false;
        discardCompute();
      }
      resolve();
    };
    signal.addEventListener('abort', leave, { once: true });
  });
  const over = Promise.race([mine.then(() => undefined, () => undefined), left]).then(() => {
    count--;
  });
  // Of no value: one that had that of the turn before would keep those of all turns, 64 bytes a request.
  last = before.then(() => over);
  return mine;
}

/** The compute core of that form, for the job whose turn it is; another handler's is given up. @throws Refusal */
export async function computeInTurn(options: CoreOptions): Promise<Compute> {
  if (
    open?.compute?.disposed === false &&
    open.options.heapLimitBytes === options.heapLimitBytes &&
    open.options.wasm === options.wasm
  )
    return open.compute;
  discardCompute();
  return opened(async () => {
    const place = openYieldingCompute(options, () => !computing);
    const mine: typeof open = { place, options };
    open = mine;
    return (mine.compute = await place.compute);
  });
}

/**
 * A heap at its cap is not used again: WebAssembly memory never shrinks, and the next request deserves all of it. One that still opens is
 * not waited for: where its request was cancelled it may never be there.
 */
export function discardCompute(): void {
  open?.place[Symbol.dispose]();
  open = undefined;
}

/** What bundles are read with. @throws Refusal */
export async function requireCodec(): Promise<void> {
  await opened(openCodec);
}

/** A core that does not open is no fault of the request. Nothing of the failure stays: the next request tries again. */
async function opened<T>(start: () => Promise<T>): Promise<T> {
  try {
    return await start();
  } catch (cause) {
    const taken = cause instanceof InvalidArgumentError && cause.field === 'compute';
    // A memory that the engine does not grant is a RangeError.
    if (taken || cause instanceof OutOfMemoryError || cause instanceof RangeError)
      throw busy('service', 'memory for the compute core', taken ? 'one in use elsewhere' : 'none');
    throw new Refusal(500, 'InternalError', 'service', 'a compute core', 'one that does not open');
  }
}
