/**
 * Random access over HTTP Range. Servers are not taken at their word: a 206 must state the range that was asked for, of
 * a file of the same size and ETag as before, and deliver exactly that many bytes. A server that ignores Range is read
 * once, whole, into memory.
 */
import { LimitError, NetworkError, TrajportError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { RandomAccess, SourceOptions } from './byte-source.ts';

/** The first request asks for this much of the end: a ZIP's directory and a bundle's manifest are there. */
const FIRST_RANGE_BYTES = 131_072;

interface Validator {
  readonly etag: string | null;
  readonly lastModified: string | null;
}

interface Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Uint8Array<ArrayBuffer>;
}

function fail(url: URL, expected: string, got: string, cause?: unknown): never {
  // Without query or credentials: signed links must not leak into logs.
  throw new NetworkError({ field: `${url.origin}${url.pathname}`, expected, got, ...(cause === undefined ? {} : { cause }) });
}

/**
 * Fetches with a watchdog. `allowed` says how many bytes of body a status may bring; undefined for a status that is no
 * answer, whose body is not read at all.
 */
async function request(url: URL, range: string | undefined, allowed: (status: number) => number | undefined, options: SourceOptions, signal?: AbortSignal): Promise<Reply> {
  const idleMs = options.idleMs ?? limits.networkIdleMs;
  const watchdog = new AbortController();
  let timer = setTimeout(() => watchdog.abort(), idleMs);
  const alive = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => watchdog.abort(), idleMs);
  };
  const outer = signal ?? options.signal;
  const combined = outer === undefined ? watchdog.signal : AbortSignal.any([outer, watchdog.signal]);
  try {
    // `identity`: a range of a compressed representation is not a range of the file.
    const response = await (options.fetch ?? fetch)(url, { headers: { ...(range === undefined ? {} : { Range: range }), 'Accept-Encoding': 'identity' }, signal: combined });
    alive();
    const maximum = allowed(response.status);
    if (maximum === undefined) {
      await response.body?.cancel().catch(() => undefined);
      fail(url, 'status 206 (or 200, to the first request)', `status ${response.status}`);
    }
    const parts: Uint8Array[] = [];
    let bytes = 0;
    const reader = response.body?.getReader();
    for (;;) {
      const chunk = await reader?.read();
      alive();
      if (chunk === undefined || chunk.done) break;
      bytes += chunk.value.byteLength;
      if (bytes > maximum) {
        await reader?.cancel().catch(() => undefined);
        if (response.status === 200) {
          throw new LimitError({ field: url.pathname, expected: `at most ${maximum} bytes from a server without Range`, got: 'more' });
        }
        fail(url, `at most ${maximum} bytes for ${range ?? 'the file'}`, 'more');
      }
      parts.push(chunk.value);
    }
    const body = new Uint8Array(bytes);
    let at = 0;
    for (const part of parts) {
      body.set(part, at);
      at += part.byteLength;
    }
    return { status: response.status, headers: response.headers, body };
  } catch (cause) {
    if (cause instanceof TrajportError) throw cause;
    outer?.throwIfAborted();
    if (watchdog.signal.aborted) return fail(url, `an answer within ${idleMs} ms`, 'silence', cause);
    return fail(url, 'an answer', String(cause), cause);
  } finally {
    clearTimeout(timer);
  }
}

/** `Content-Range: bytes 0-99/1234`. */
function parseContentRange(url: URL, headers: Headers): { readonly first: number; readonly last: number; readonly size: number } {
  const text = headers.get('content-range');
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/.exec(text ?? '');
  if (match === null) return fail(url, 'a Content-Range that states range and size', text ?? 'none');
  const [first, last, size] = match.slice(1).map(Number) as [number, number, number];
  if (first > last || last >= size) fail(url, 'a Content-Range within the file', text as string);
  return { first, last, size };
}

const validatorOf = (headers: Headers): Validator => ({ etag: headers.get('etag'), lastModified: headers.get('last-modified') });

function wholeFile(body: Uint8Array): RandomAccess {
  return { byteLength: body.byteLength, read: async (offset, length) => body.subarray(offset, offset + length) };
}

/**
 * Opens a file on a server with one request, which also brings the file's end.
 * @throws NetworkError, LimitError
 */
export async function openHttp(url: URL, options: SourceOptions = {}): Promise<RandomAccess> {
  const maximumBytes = options.maximumBytes ?? limits.streamedSourceBytes;
  const suffix = `bytes=-${FIRST_RANGE_BYTES}`;
  const bound = (status: number): number | undefined => ({ 200: maximumBytes, 206: FIRST_RANGE_BYTES, 416: FIRST_RANGE_BYTES })[status];
  let reply = await request(url, suffix, bound, options);
  // Some servers answer 416 to a suffix longer than the file, and all do where it is empty.
  if (reply.status === 416) reply = await request(url, undefined, bound, options);
  if (reply.status === 200) {
    const declared = reply.headers.get('content-length');
    if (declared !== null && !reply.headers.has('content-encoding') && Number(declared) !== reply.body.byteLength) {
      fail(url, `${declared} bytes, as declared`, `${reply.body.byteLength}`);
    }
    return wholeFile(reply.body);
  }
  if (reply.status !== 206) return fail(url, 'a file', `status ${reply.status} without a range`);
  const { first, last, size } = parseContentRange(url, reply.headers);
  if (last !== size - 1 || first !== Math.max(0, size - FIRST_RANGE_BYTES) || reply.body.byteLength !== last - first + 1) {
    fail(url, `the last ${FIRST_RANGE_BYTES} bytes`, `${reply.body.byteLength} bytes as ${first}-${last}/${size}`);
  }
  return new HttpRange(url, size, first, reply.body, validatorOf(reply.headers), options);
}

class HttpRange implements RandomAccess {
  readonly byteLength: number;
  readonly #url: URL;
  readonly #tailBegin: number;
  readonly #tail: Uint8Array;
  readonly #validator: Validator;
  readonly #options: SourceOptions;

  constructor(url: URL, byteLength: number, tailBegin: number, tail: Uint8Array, validator: Validator, options: SourceOptions) {
    this.byteLength = byteLength;
    this.#url = url;
    this.#tailBegin = tailBegin;
    this.#tail = tail;
    this.#validator = validator;
    this.#options = options;
  }

  async read(offset: number, length: number, signal?: AbortSignal): Promise<Uint8Array> {
    if (offset >= this.#tailBegin) return this.#tail.subarray(offset - this.#tailBegin, offset - this.#tailBegin + length);
    // What the first request brought is not asked for again.
    const end = Math.min(offset + length, this.#tailBegin);
    const url = this.#url;
    const reply = await request(url, `bytes=${offset}-${end - 1}`, (status) => (status === 206 ? end - offset : undefined), this.#options, signal);
    const range = parseContentRange(url, reply.headers);
    const validator = validatorOf(reply.headers);
    if (range.size !== this.byteLength || validator.etag !== this.#validator.etag || validator.lastModified !== this.#validator.lastModified) {
      fail(url, `the file that was opened (${this.byteLength} bytes, ETag ${this.#validator.etag})`, `${range.size} bytes, ETag ${validator.etag}`);
    }
    if (range.first !== offset || range.last !== end - 1 || reply.body.byteLength !== end - offset) {
      fail(url, `bytes ${offset}-${end - 1}`, `${reply.body.byteLength} bytes as ${range.first}-${range.last}`);
    }
    if (end === offset + length) return reply.body;
    const whole = new Uint8Array(length);
    whole.set(reply.body);
    whole.set(this.#tail.subarray(0, offset + length - this.#tailBegin), end - offset);
    return whole;
  }
}
