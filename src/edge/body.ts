/**
 * Reads a request's parts under caps of bytes and of time: whatever Content-Length says and in however small pieces they come, no more is
 * buffered than the cap of bytes, but for what a buffer that was too small or too large takes beside its successor.
 */
import { Watchdog, announcedBytes } from '../bundle/watchdog.ts';
import { describe } from '../core/describe.ts';
import { LimitError, MalformedFileError } from '../core/errors.ts';
import { multipartParts } from './multipart.ts';
import { Refusal, busy } from './refusal.ts';

/** Multipart framing: boundaries and part headers of the parts are far below this. */
const FRAMING_BYTES = 64 * 1024;

/** Cap of each part by its name, in bytes, and of all that may come together. Parts of other names are refused. */
export interface PartLimits {
  readonly parts: Readonly<Record<string, number>>;
  readonly totalBytes: number;
}

interface ReadingCaps {
  /** A client that sends nothing for so long, or is not through after so long, has lost its place. */
  readonly maxIdleMs: number;
  readonly maxReadMs: number;
}

/** Bytes of bodies that this realm holds, whichever handler reads them: its memory is one. */
let heldBytes = 0;

/** What one request holds of them, until it has been answered or its client leaves: a Worker's cancelled request may never run again. */
export class HeldBytes implements Disposable {
  readonly #limit: number;
  readonly #signal: AbortSignal;
  #bytes = 0;

  constructor(limit: number, signal: AbortSignal) {
    this.#limit = limit;
    this.#signal = signal;
    signal.addEventListener('abort', () => this[Symbol.dispose](), { once: true });
  }

  /** @throws Refusal where other requests hold too much. */
  resize(bytes: number): void {
    if (this.#signal.aborted && bytes > 0) return;
    const others = heldBytes - this.#bytes;
    if (bytes > this.#bytes && others > 0 && others + bytes > this.#limit)
      throw busy('body', `at most ${this.#limit} bytes in all requests`, `${others} of others`);
    heldBytes = others + bytes;
    this.#bytes = bytes;
  }

  [Symbol.dispose](): void {
    this.resize(0);
  }
}

/**
 * The parts of a multipart/form-data request, by name: views of one buffer, of which `held` keeps account.
 * @throws LimitError (what is too large, and the cap), MalformedFileError (not multipart, unknown or doubled part), Refusal (too
 *   slow, cut off, or too much at once).
 */
export async function readParts(
  request: Request,
  { parts: partLimits, totalBytes }: PartLimits,
  caps: ReadingCaps,
  held: HeldBytes,
): Promise<ReadonlyMap<string, Uint8Array<ArrayBuffer>>> {
  const body = await readBody(request, totalBytes + FRAMING_BYTES, caps, held);
  const parts = new Map<string, Uint8Array<ArrayBuffer>>();
  for (const [name, part] of multipartParts(body, request.headers.get('content-type') ?? '')) {
    const limit = Object.hasOwn(partLimits, name) ? (partLimits[name] as number) : undefined;
    if (limit === undefined) {
      throw new MalformedFileError({ field: 'body', expected: `parts named ${Object.keys(partLimits).join(', ')}`, got: describe(name) });
    }
    if (parts.has(name)) throw new MalformedFileError({ field: name, expected: 'one part of this name', got: 'two' });
    if (part.length > limit) throw new LimitError({ field: name, expected: `at most ${limit} bytes`, got: `${part.length}` });
    parts.set(name, part);
  }
  return parts;
}

async function readBody(
  request: Request,
  limitBytes: number,
  { maxIdleMs, maxReadMs }: ReadingCaps,
  held: HeldBytes,
): Promise<Uint8Array<ArrayBuffer>> {
  const tooLarge = (got: string): LimitError => new LimitError({ field: 'body', expected: `at most ${limitBytes} bytes`, got });
  // The header may lie or be missing: it saves reading what is already known to be too large, and a buffer that grows.
  const expectedBytes = announcedBytes(request.headers);
  if (expectedBytes > limitBytes) throw tooLarge(`${expectedBytes}`);
  if (request.body === null) throw new MalformedFileError({ field: 'body', expected: 'multipart/form-data', got: 'none' });
  using watchdog = new Watchdog(maxIdleMs, request.signal, maxReadMs);
  let bytes: Uint8Array<ArrayBuffer> | undefined;
  try {
    bytes = await watchdog.readBody(request.body as ReadableStream<Uint8Array>, limitBytes, {
      expectedBytes,
      onHeld: (taken) => held.resize(taken),
    });
  } catch (cause) {
    if (cause instanceof Refusal) throw cause;
    if (watchdog.isStalled())
      throw new Refusal(408, 'TimeoutError', 'body', `bytes every ${maxIdleMs} ms, and all within ${maxReadMs} ms`, 'a slower client');
    throw new Refusal(400, 'AbortError', 'body', 'a body to its end', 'one that was cut off');
  }
  if (bytes === undefined) throw tooLarge('more');
  return bytes;
}
