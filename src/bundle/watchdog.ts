/** Ends requests that stall or that the caller aborts, and bounds what their bodies bring. */
import { InvalidArgumentError, describe } from '../core/errors.ts';
import { concatBytes } from './zip-format.ts';

export class Watchdog implements Disposable {
  /** Aborts when the far side has been silent for too long, or when the caller's signal does. */
  readonly signal: AbortSignal;
  readonly #silence = new AbortController();
  readonly #outer: AbortSignal | undefined;
  readonly #idleMs: number;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(idleMs: number, outer: AbortSignal | undefined) {
    this.#idleMs = idleMs;
    this.#outer = outer;
    this.signal = outer === undefined ? this.#silence.signal : AbortSignal.any([outer, this.#silence.signal]);
    this.alive();
  }

  /** The far side gave a sign of life. */
  alive(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#silence.abort(), this.#idleMs);
  }

  /** Whether it was silence that ended the request. Throws the caller's abort where that did. */
  isStalled(): boolean {
    this.#outer?.throwIfAborted();
    return this.#silence.signal.aborted;
  }

  /** For promises that take no signal: rejects once `signal` aborts. */
  async race<T>(promise: Promise<T>): Promise<T> {
    this.signal.throwIfAborted();
    let stop: (() => void) | undefined;
    const aborted = new Promise<never>((_, reject) => {
      stop = () => reject(this.signal.reason as Error);
      this.signal.addEventListener('abort', stop, { once: true });
    });
    try {
      return await Promise.race([promise, aborted]);
    } finally {
      this.signal.removeEventListener('abort', stop as () => void);
    }
  }

  /** Reads a body to its end, or to beyond `maximum` bytes: undefined then, and the body is cancelled. */
  async readBody(body: ReadableStream<Uint8Array>, maximum: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const reader = body.getReader();
    const parts: Uint8Array[] = [];
    let bytes = 0;
    try {
      for (;;) {
        const { done, value } = await this.race(reader.read());
        this.alive();
        if (done) return concatBytes(parts);
        if (!(value instanceof Uint8Array)) throw new InvalidArgumentError({ field: 'source', expected: 'a stream of Uint8Array', got: describe(value) });
        bytes += value.byteLength;
        if (bytes > maximum) {
          await reader.cancel().catch(() => undefined);
          return undefined;
        }
        parts.push(value);
      }
    } catch (error) {
      // Not awaited: a stalled stream may never answer.
      reader.cancel(error).catch(() => undefined);
      throw error;
    }
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
