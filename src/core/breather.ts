/**
 * How long computations leave the host's event loop a turn. Compute is synchronous WebAssembly; between its pieces a job
 * returns to the loop, so that an abort is noticed, timers run and a page stays alive. What has pieces without being
 * asynchronous itself is a generator that yields between them: run through in one go, or breathing.
 */
import { nowMs } from './clock.ts';

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

/** Work in pieces, and what comes of it. */
export type Pieces<T> = Generator<void, T, void>;

/** All pieces one after the other; `signal` is looked at before each. @throws its reason. */
export function runThrough<T>(pieces: Pieces<T>, signal: AbortSignal | undefined): T {
  for (;;) {
    signal?.throwIfAborted();
    const { done, value } = pieces.next();
    if (done === true) return value;
  }
}

/**
 * The same, breathing between pieces where they take long. @throws the signal's reason, after which nothing of the
 * work stays: the generator ends by its `finally`.
 */
export async function runBreathing<T>(pieces: Pieces<T>, signal: AbortSignal | undefined): Promise<T> {
  const breather = new Breather(signal, Infinity);
  try {
    for (;;) {
      await breather.pause();
      const { done, value } = pieces.next();
      if (done === true) return value;
    }
  } finally {
    // Typed as ending with a T, which nobody reads where it is cut short.
    pieces.return(undefined as T);
  }
}
