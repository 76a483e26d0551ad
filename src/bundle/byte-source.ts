/**
 * Everything a bundle can be read from, as one interface of two members. Sources with random access are read where
 * needed; streams are read into memory first, up to a cap.
 */
import { describe } from '../core/describe.ts';
import { InvalidArgumentError, LimitError, NetworkError, TrajportError, UnsupportedError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { OptionNames } from '../core/options.ts';
import { type HttpOptions, maximumBytesOf, openHttp } from './http-source.ts';
import { type RandomAccess, memorySource } from './random-access.ts';
import { Watchdog, announcedBytes, giveUp } from './watchdog.ts';

/** Whatever a bundle can be read from: bytes, a body, an address, or a reader of one's own. */
export type ByteSource = Uint8Array | ArrayBuffer | Blob | Response | ReadableStream<Uint8Array> | URL | RandomAccess;

export type SourceOptions = HttpOptions;

export const sourceOptionNames: OptionNames<SourceOptions> = { signal: true, maximumBytes: true, fetch: true, idleMs: true };

/** @throws InvalidArgumentError, UnsupportedError, LimitError, NetworkError */
export async function openSource(source: ByteSource, options: SourceOptions = {}): Promise<RandomAccess> {
  options.signal?.throwIfAborted();
  if (source instanceof Uint8Array) return memorySource(source);
  if (source instanceof ArrayBuffer) return memorySource(new Uint8Array(source));
  if (typeof Blob !== 'undefined' && source instanceof Blob) {
    return {
      byteLength: source.size,
      read: async (offset, length) => new Uint8Array(await source.slice(offset, offset + length).arrayBuffer()),
    };
  }
  if (source instanceof Response) return memorySource(await readResponse(source, options));
  if (source instanceof ReadableStream) return memorySource(await readStream(source, options));
  if (source instanceof URL) {
    if (source.protocol === 'http:' || source.protocol === 'https:') return openHttp(source, options);
    if (source.protocol === 'blob:' || source.protocol === 'data:') {
      return memorySource(await readResponse(await fetchLocal(source, options), options));
    }
    throw new UnsupportedError({ field: 'source', expected: 'a URL of http, https, blob or data', got: source.protocol });
  }
  if (isRandomAccess(source)) return source;
  throw new InvalidArgumentError({
    field: 'source',
    expected: 'Uint8Array, ArrayBuffer, Blob, Response, ReadableStream, URL, or { byteLength, read }',
    got: typeof source === 'string' ? `${describe(source)} (an address is new URL(…), a file its bytes)` : describe(source),
  });
}

function isRandomAccess(source: unknown): source is RandomAccess {
  const { byteLength, read } = (source ?? {}) as Partial<RandomAccess>;
  return typeof read === 'function' && Number.isSafeInteger(byteLength) && (byteLength as number) >= 0;
}

async function readResponse(response: Response, options: SourceOptions): Promise<Uint8Array> {
  if (!response.ok)
    throw new NetworkError({ field: addressOf(response), expected: 'a successful response', got: `status ${response.status}` });
  if (response.bodyUsed)
    throw new InvalidArgumentError({ field: 'source', expected: 'an unread response', got: 'one whose body was read' });
  return response.body === null ? new Uint8Array(0) : readStream(response.body, options, announcedBytes(response.headers));
}

/** Where a response came from, without query or credentials: signed links must not leak into logs. */
function addressOf({ url }: Response): string {
  if (!/^https?:/.test(url)) return 'source';
  const { origin, pathname } = new URL(url);
  return `${origin}${pathname}`;
}

/** A URL of the runtime's own: blob or data. */
async function fetchLocal(url: URL, { signal, fetch: own = fetch }: SourceOptions): Promise<Response> {
  try {
    return await own(url, signal === undefined ? {} : { signal });
  } catch (cause) {
    signal?.throwIfAborted();
    throw new NetworkError({ field: 'source', expected: `a ${url.protocol} URL that can be read`, got: describe(String(cause)), cause });
  }
}

/** Reads a stream to its end. @throws LimitError above `maximumBytes`, NetworkError where it fails or stalls; it is cancelled then. */
async function readStream(
  stream: ReadableStream<Uint8Array>,
  options: SourceOptions,
  expectedBytes = 0,
): Promise<Uint8Array<ArrayBuffer>> {
  const maximumBytes = maximumBytesOf(options);
  if (stream.locked)
    throw new InvalidArgumentError({ field: 'source', expected: 'a stream that nobody reads', got: 'one that is locked to a reader' });
  const idleMs = options.idleMs ?? limits.networkIdleMs;
  const tooLarge = (got: string): LimitError =>
    new LimitError({ field: 'source', expected: `at most ${maximumBytes} bytes in memory`, got });
  if (expectedBytes > maximumBytes) {
    giveUp(stream);
    throw tooLarge(`${expectedBytes}`);
  }
  using watchdog = new Watchdog(idleMs, options.signal);
  let bytes: Uint8Array<ArrayBuffer> | undefined;
  try {
    bytes = await watchdog.readBody(stream, maximumBytes, { expectedBytes });
  } catch (cause) {
    if (cause instanceof TrajportError) throw cause;
    const stalled = watchdog.isStalled();
    throw new NetworkError({
      field: 'source',
      expected: stalled ? `bytes within ${idleMs} ms` : 'a stream to its end',
      got: stalled ? 'silence' : String(cause),
      cause,
    });
  }
  if (bytes === undefined) throw tooLarge('more');
  return bytes;
}
