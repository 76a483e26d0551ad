/**
 * Progress events and cancellation. Compute is synchronous WebAssembly; between its pieces a job returns to the host's
 * event loop, so that an abort is noticed, timers run and a page stays alive.
 */

export interface ProgressEvent {
  readonly stage: 'train' | 'transfer' | 'evaluate';
  /** Units of work done and in all: iterations of a training, steps of a transfer, images of an evaluation. */
  readonly done: number;
  readonly total: number;
  readonly detail: Readonly<Record<string, number | string>>;
}

export interface JobControl {
  readonly onProgress?: ((event: ProgressEvent) => void) | undefined;
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

/**
 * `breathe` once for every `interval` calls: a timer turn costs about 1 ms in Node and 4 ms in browsers, an iteration
 * of a small network less than that.
 */
export class Breather {
  readonly #signal: AbortSignal | undefined;
  readonly #interval: number;
  #calls = 0;

  constructor(signal: AbortSignal | undefined, interval: number) {
    this.#signal = signal;
    this.#interval = interval;
  }

  async pause(): Promise<void> {
    this.#calls++;
    if (this.#calls % this.#interval === 0) await breathe(this.#signal);
    else this.#signal?.throwIfAborted();
  }
}
