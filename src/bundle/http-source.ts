/**
 * Random access over HTTP Range. Servers are not taken at their word: a 206 must state the range that was asked for, of
 * a file of the same size and ETag as before, and deliver exactly that many bytes. A server that ignores Range is read
 * once, whole, into memory.
 */
import { describe } from '../core/describe.ts';
import { InvalidArgumentError, LimitError, NetworkError, TrajportError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { requireCap } from '../core/require.ts';
import { FIRST_RANGE_BYTES, type RandomAccess, memorySource, withTail } from './random-access.ts';
import { Watchdog, announcedBytes, giveUp } from './watchdog.ts';

export interface HttpOptions {
  readonly signal?: AbortSignal;
  /** Cap for sources that must be read into memory, `Infinity` for none; default `limits.streamedSourceBytes`. */
  readonly maximumBytes?: number;
  /** For URLs: another `fetch` (a service binding, a test). */
  readonly fetch?: typeof globalThis.fetch;
  /** For far sources: one that sends nothing for this long has stalled; default `limits.networkIdleMs`. */
  readonly idleMs?: number;
}

/** @throws InvalidArgumentError for a cap that is none. */
export function maximumBytesOf(options: HttpOptions): number {
  return requireCap('maximumBytes', options.maximumBytes ?? limits.streamedSourceBytes);
}

interface Validator {
  readonly etag: string | null;
  readonly lastModified: string | null;
}

interface Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Uint8Array<ArrayBuffer>;
}

function fail(url: URL, expected: string, got: string): never {
  // Without query: signed links must not leak into logs.
  throw new NetworkError({ field: `${url.origin}${url.pathname}`, expected, got });
}

/**
 * What kind of failure it was. Not its words, and not the failure itself as a cause: runtimes put the whole URL there, signature
 * included. The system's code (`ECONNREFUSED`) stands behind `fetch failed` in Node.
 */
function kindOf(failure: unknown): string {
  const inner = failure instanceof Error ? failure.cause : undefined;
  const code = [failure, inner]
    .map((error) => (error as { readonly code?: unknown } | undefined)?.code)
    .find((each) => typeof each === 'string');
  const name = failure instanceof Error ? failure.name : typeof failure;
  return code === undefined ? `none (${name})` : `none (${name}, ${describe(code)})`;
}

/**
 * Fetches with a watchdog. `allowed` says how many bytes of body a status may bring; undefined for a status that is no
 * answer, whose body is not read at all.
 */
async function request(
  url: URL,
  range: string | undefined,
  allowed: (status: number) => number | undefined,
  options: HttpOptions,
  signal = options.signal,
): Promise<Reply> {
  const idleMs = options.idleMs ?? limits.networkIdleMs;
  using watchdog = new Watchdog(idleMs, signal);
  try {
    // `identity`: a range of a compressed representation is not a range of the file.
    const response = await (options.fetch ?? fetch)(url, {
      headers: { ...(range === undefined ? {} : { Range: range }), 'Accept-Encoding': 'identity' },
      signal: watchdog.signal,
    });
    watchdog.alive();
    const { status, headers } = response;
    const maximum = allowed(status);
    if (maximum === undefined) {
      giveUp(response.body);
      fail(url, 'status 206 (or 200, to the first request)', `status ${status}`);
    }
    const expectedBytes = announcedBytes(headers);
    const tooLarge = expectedBytes > maximum;
    if (tooLarge) giveUp(response.body);
    else {
      const body = response.body === null ? new Uint8Array(0) : await watchdog.readBody(response.body, maximum, { expectedBytes });
      if (body !== undefined) return { status, headers, body };
    }
    const got = tooLarge ? `${expectedBytes}` : 'more';
    if (status === 200)
      throw new LimitError({
        field: `${url.origin}${url.pathname}`,
        expected: `at most ${maximum} bytes from a server without Range`,
        got,
      });
    return fail(url, `at most ${maximum} bytes for ${range ?? 'the file'}`, got);
  } catch (cause) {
    if (cause instanceof TrajportError) throw cause;
    if (watchdog.isStalled()) return fail(url, `an answer within ${idleMs} ms`, 'silence');
    return fail(url, 'an answer', kindOf(cause));
  }
}

/** `Content-Range: bytes 0-99/1234`; the unit in whatever case (RFC 9110, 14.1). */
function parseContentRange(url: URL, headers: Headers): { readonly first: number; readonly last: number; readonly size: number } {
  const text = headers.get('content-range');
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/i.exec(text ?? '');
  if (match === null) return fail(url, 'a Content-Range that states range and size', text ?? 'none');
  const [first, last, size] = match.slice(1).map(Number) as [number, number, number];
  if (first > last || last >= size) fail(url, 'a Content-Range within the file', text as string);
  return { first, last, size };
}

const validatorOf = (headers: Headers): Validator => ({ etag: headers.get('etag'), lastModified: headers.get('last-modified') });

/**
 * Opens a file on a server with one request, which also brings the file's end. Where a page may not read the Content-Range of
 * another origin's answer, the file is read whole.
 * @throws NetworkError, LimitError, InvalidArgumentError for a URL with credentials, which `fetch` refuses and would repeat.
 */
export async function openHttp(url: URL, options: HttpOptions = {}): Promise<RandomAccess> {
  if (url.username !== '' || url.password !== '') {
    throw new InvalidArgumentError({
      field: 'source',
      expected: 'a URL without user and password (give a fetch that sets Authorization)',
      got: `one with them, of ${url.origin}`,
    });
  }
  const maximumBytes = maximumBytesOf(options);
  const suffix = `bytes=-${FIRST_RANGE_BYTES}`;
  const bound = (status: number): number | undefined => ({ 200: maximumBytes, 206: FIRST_RANGE_BYTES, 416: FIRST_RANGE_BYTES })[status];
  let reply = await request(url, suffix, bound, options);
  // Some servers answer 416 to a suffix longer than the file, and all do where it is empty.
  if (reply.status === 416 || (reply.status === 206 && !reply.headers.has('content-range')))
    reply = await request(url, undefined, bound, options);
  if (reply.status === 200) {
    const declared = reply.headers.get('content-length');
    if (declared !== null && !reply.headers.has('content-encoding') && Number(declared) !== reply.body.byteLength) {
      fail(url, `${declared} bytes, as declared`, `${reply.body.byteLength}`);
    }
    return memorySource(reply.body);
  }
  if (reply.status !== 206) return fail(url, 'a file', `status ${reply.status} without a range`);
  const { first, last, size } = parseContentRange(url, reply.headers);
  if (last !== size - 1 || first !== Math.max(0, size - FIRST_RANGE_BYTES) || reply.body.byteLength !== last - first + 1) {
    fail(url, `the last ${FIRST_RANGE_BYTES} bytes`, `${reply.body.byteLength} bytes as ${first}-${last}/${size}`);
  }
  const validator = validatorOf(reply.headers);
  return withTail(size, reply.body, (offset, length, signal) => readRange(url, offset, length, { size, ...validator }, options, signal));
}

const versionText = ({ size, etag, lastModified }: Validator & { readonly size: number }): string =>
  `${size} bytes, ETag ${etag}, Last-Modified ${lastModified}`;

/** One range of a file that must still be the one that was opened. */
async function readRange(
  url: URL,
  offset: number,
  length: number,
  opened: Validator & { readonly size: number },
  options: HttpOptions,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const last = offset + length - 1;
  const reply = await request(url, `bytes=${offset}-${last}`, (status) => (status === 206 ? length : undefined), options, signal);
  const range = parseContentRange(url, reply.headers);
  const now = { size: range.size, ...validatorOf(reply.headers) };
  if (now.size !== opened.size || now.etag !== opened.etag || now.lastModified !== opened.lastModified)
    fail(url, `the file that was opened (${versionText(opened)})`, versionText(now));
  if (range.first !== offset || range.last !== last || reply.body.byteLength !== length) {
    fail(url, `bytes ${offset}-${last}`, `${reply.body.byteLength} bytes as ${range.first}-${range.last}`);
  }
  return reply.body;
}
