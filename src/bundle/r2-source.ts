/**
 * Random access to an object in Cloudflare R2 by a Worker's bucket binding, or to anything of that shape. As with HTTP,
 * the first request brings the end of the file, and every later one must be of the object that was opened.
 */
import { NetworkError, TrajportError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';
import { requireMembers, requireText } from '../core/require.ts';
import { FIRST_RANGE_BYTES, type RandomAccess, withTail } from './random-access.ts';
import { Watchdog, giveUp } from './watchdog.ts';

/** What is used of an `R2Object`; one without `body` did not satisfy the condition. */
export interface R2ObjectLike {
  /** Length of the whole object. */
  readonly size: number;
  readonly etag: string;
  readonly body?: ReadableStream<Uint8Array>;
}

/** What is used of an `R2Bucket`. */
export interface R2BucketLike {
  get(
    key: string,
    options: {
      readonly range: { readonly offset: number; readonly length: number } | { readonly suffix: number };
      readonly onlyIf?: { readonly etagMatches: string };
    },
  ): Promise<R2ObjectLike | null>;
}

export interface R2Options {
  readonly signal?: AbortSignal;
  /** A bucket that sends nothing for this long has stalled; default `limits.networkIdleMs`. */
  readonly idleMs?: number;
}

const optionNames: OptionNames<R2Options> = { signal: true, idleMs: true };

interface Part {
  readonly size: number;
  readonly etag: string;
  readonly bytes: Uint8Array;
}

/**
 * An object of a bucket as a source for `openBundle`: one request opens it, and one reads each range.
 * @throws NetworkError where there is no such object, it changes, or the bucket stalls or sends other than what was asked for;
 *   InvalidArgumentError for what is no bucket, a key that is no text, and options that there are not.
 */
export async function openR2(bucket: R2BucketLike, key: string, options: R2Options = {}): Promise<RandomAccess> {
  requireMembers('bucket', bucket, ['get'], "a Worker's binding of a bucket");
  requireText('key', key);
  requireOptions('openR2', options, optionNames);
  const { size, etag, bytes } = await request(
    bucket,
    key,
    { range: { suffix: FIRST_RANGE_BYTES } },
    FIRST_RANGE_BYTES,
    options,
    options.signal,
  );
  if (bytes.byteLength !== Math.min(size, FIRST_RANGE_BYTES))
    fail(key, `the last ${FIRST_RANGE_BYTES} of ${size} bytes`, `${bytes.byteLength} bytes`);
  return withTail(size, bytes, async (offset, length, signal = options.signal) => {
    const part = await request(bucket, key, { range: { offset, length }, onlyIf: { etagMatches: etag } }, length, options, signal);
    if (part.size !== size || part.etag !== etag)
      fail(key, `the object that was opened (${size} bytes, ETag ${etag})`, `${part.size} bytes, ETag ${part.etag}`);
    if (part.bytes.byteLength !== length) fail(key, `${length} bytes at ${offset}`, `${part.bytes.byteLength}`);
    return part.bytes;
  });
}

function fail(key: string, expected: string, got: string, cause?: unknown): never {
  throw new NetworkError({ field: `R2 object ${key}`, expected, got, ...(cause === undefined ? {} : { cause }) });
}

async function request(
  bucket: R2BucketLike,
  key: string,
  wanted: Parameters<R2BucketLike['get']>[1],
  maximum: number,
  options: R2Options,
  signal: AbortSignal | undefined,
): Promise<Part> {
  signal?.throwIfAborted();
  const idleMs = options.idleMs ?? limits.networkIdleMs;
  using watchdog = new Watchdog(idleMs, signal);
  try {
    const asked = bucket.get(key, wanted);
    const object = await watchdog.race(asked).catch((cause: unknown) => {
      // One that comes when nobody waits any more holds its connection until its body is read or given up.
      asked.then((late) => giveUp(late?.body ?? null), () => undefined);
      throw cause;
    });
    watchdog.alive();
    if (object === null) return fail(key, 'an object of that key', 'none');
    const { size, etag, body } = object;
    if (body === undefined) return fail(key, 'the object that was opened', `another, ETag ${etag}`);
    const bytes = await watchdog.readBody(body, maximum);
    if (bytes === undefined) return fail(key, `at most ${maximum} bytes`, 'more');
    return { size, etag, bytes };
  } catch (cause) {
    if (cause instanceof TrajportError) throw cause;
    if (watchdog.isStalled()) return fail(key, `an answer within ${idleMs} ms`, 'silence', cause);
    return fail(key, 'an answer', String(cause), cause);
  }
}
