/** Ends requests that stall or that the caller aborts, and bounds what their bodies bring. */
import { describe } from '../core/describe.ts';
import { InvalidArgumentError } from '../core/errors.ts';
import { requireNumber } from '../core/require.ts';
import { GrowingBuffer } from './growing-buffer.ts';

/** A timer that is set for longer goes off at once, in every runtime. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1;

interface BodyReading {
  /** Length that was announced: a body of it is copied once. */
  readonly expectedBytes?: number;
  /** Called with the number of bytes read so far; what it throws ends the reading. */
  readonly onBytes?: (bytes: number) => void;
  /** Called with the bytes of memory that reading holds, before it takes them; what it throws ends the reading. */
  readonly onHeld?: (bytes: number) => void;
}

/** The length of a body as its headers announce it, 0 where they do not. Of a coded body they tell another. */
export function announcedBytes(headers: Headers): number {
  const announced = headers.has('content-encoding') ? 0 : Number(headers.get('content-length') ?? 0);
  return Number.isFinite(announced) ? Math.max(0, announced) : 0;
}

/** Gives up a stream. Not awaited: one that stalls may never answer. */
export function giveUp(stream: { cancel(reason?: unknown): Promise<void> } | null, reason?: unknown): void {
  stream?.cancel(reason).catch(() => undefined);
}

export class Watchdog implements Disposable {
  /** Aborts when the far side has been silent for too long or has taken too long in all, or when the caller's signal does. */
  readonly signal: AbortSignal;
  readonly #silence = new AbortController();
  readonly #outer: AbortSignal | undefined;
  readonly #idleMs: number;
  readonly #deadline: ReturnType<typeof setTimeout> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @throws InvalidArgumentError for an `idleMs` that no timer can be set for. */
  constructor(idleMs: number, outer: AbortSignal | undefined, totalMs?: number) {
    this.#idleMs = requireNumber('idleMs', idleMs, 0, LONGEST_TIMER_MS);
    if (totalMs !== undefined) this.#deadline = setTimeout(() => this.#silence.abort(), totalMs);
    this.#outer = outer;
    this.signal = outer === undefined ? this.#silence.signal : AbortSignal.any([outer, this.#silence.signal]);
    this.alive();
  }

  /** The far side gave a sign of life. */
  alive(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#silence.abort(), this.#idleMs);
  }

  /** Whether it was silence, or the deadline, that ended the request. Throws the caller's abort where that did. */
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
  async readBody(
    body: ReadableStream<Uint8Array>,
    maximum: number,
    { expectedBytes = 0, onBytes, onHeld }: BodyReading = {},
  ): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const reader = body.getReader();
    try {
      const bytes = new GrowingBuffer(expectedBytes, maximum, onHeld);
      for (;;) {
        const { done, value } = await this.race(reader.read());
        this.alive();
        if (done) return bytes.finish();
        if (!(value instanceof Uint8Array))
          throw new InvalidArgumentError({ field: 'source', expected: 'a stream of Uint8Array', got: describe(value) });
        if (!bytes.append(value)) {
          giveUp(reader);
          return undefined;
        }
        onBytes?.(bytes.length);
      }
    } catch (error) {
      giveUp(reader, error);
      throw error;
    }
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#deadline);
  }
}
