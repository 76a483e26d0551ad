/**
 * Progress events and cancellation. Compute is synchronous WebAssembly; between its pieces a job returns to the host's
 * event loop, so that an abort is noticed, timers run and a page stays alive.
 */

import { nowMs } from './timing.ts';

export interface ProgressEvent {
  readonly stage: 'train' | 'transfer' | 'evaluate' | 'predict';
  /** Units of work done and in all: iterations of a training, steps of a transfer, images of an evaluation. */
  readonly done: number;
  readonly total: number;
  readonly detail: Readonly<Record<string, number | string>>;
}

export interface JobControl<Event extends ProgressEvent = ProgressEvent> {
  readonly onProgress?: ((event: Event) => void) | undefined;
  /** Aborting rejects the call with the signal's reason; nothing of the job stays allocated. */
  readonly signal?: AbortSignal | undefined;
}

/** Lets the host's event loop turn once; throws the signal's reason where it was aborted. */
export async function breathe(signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  await new Promise<void>((resolve) => {
    setTimeout(resolve, 0);
  });
  signal?.throwIfAborted();
}

/** A job that computes for longer than this in one go would notice an interruption late. */
const LONGEST_SILENCE_MS = 50;

/**
 * `breathe` once for every `interval` calls, and whenever `LONGEST_SILENCE_MS` have passed: a timer turn costs about 1 ms in
 * Node and 4 ms in browsers, an iteration of a small network less than that and one of a large network seconds.
 */
export class Breather {
  readonly #signal: AbortSignal | undefined;
  readonly #interval: number;
  #calls = 0;
  #breathedMs = nowMs();

  constructor(signal: AbortSignal | undefined, interval: number) {
    this.#signal = signal;
    this.#interval = interval;
  }

  async pause(): Promise<void> {
    this.#calls++;
    // A clock that was set back looks like a long silence.
    const silenceMs = Math.abs(nowMs() - this.#breathedMs);
    if (this.#calls % this.#interval !== 0 && silenceMs < LONGEST_SILENCE_MS) return this.#signal?.throwIfAborted();
    await breathe(this.#signal);
    this.#breathedMs = nowMs();
  }
}
