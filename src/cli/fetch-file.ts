/** One file from a server, whole or not at all: a server that falls silent, or sends more than the file has, is given up. */
import { Watchdog } from '../bundle/watchdog.ts';
import { LimitError, NetworkError, TrajportError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';

export interface FetchFileOptions {
  readonly signal: AbortSignal;
  readonly maximumBytes: number;
  /** A server that sends nothing for this long has stalled; default `limits.networkIdleMs`. */
  readonly idleMs?: number;
  /** `total` is undefined where the server does not say. */
  readonly onProgress?: (done: number, total: number | undefined) => void;
}

/** @throws NetworkError, LimitError; what `signal` was aborted with. */
export async function fetchFile(
  url: string, { signal, maximumBytes, idleMs = limits.networkIdleMs, onProgress }: FetchFileOptions,
): Promise<Uint8Array<ArrayBuffer>> {
  using watchdog = new Watchdog(idleMs, signal);
  let done = 0;
  try {
    const response = await fetch(url, { signal: watchdog.signal });
    watchdog.alive();
    if (!response.ok || response.body === null) {
      // Not awaited: a server that never ends its answer would keep the process alive either way.
      response.body?.cancel().catch(() => undefined);
      throw new NetworkError({ field: url, expected: 'status 200', got: String(response.status) });
    }
    const announced = Number(response.headers.get('content-length') ?? NaN);
    const total = Number.isFinite(announced) ? announced : undefined;
    const onBytes = (received: number): void => {
      done = received;
      onProgress?.(done, total);
    };
    const bytes = await watchdog.readBody(response.body, maximumBytes, {
      onBytes,
      ...(total === undefined ? {} : { expectedBytes: total }),
    });
    if (bytes === undefined) throw new LimitError({ field: url, expected: `at most ${maximumBytes} bytes`, got: 'more' });
    return bytes;
  } catch (cause) {
    if (cause instanceof TrajportError) throw cause;
    const stalled = watchdog.isStalled();
    const why = stalled ? `silence for ${idleMs} ms` : whyNot(cause);
    if (done === 0) throw new NetworkError({ field: url, expected: 'an answer', got: `none (${why})`, cause });
    throw new NetworkError({ field: url, expected: 'the whole file', got: `${done} bytes, then ${why}`, cause });
  }
}

/** `fetch failed` says nothing; what the system said stands behind it. */
function whyNot(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error && error.cause.message !== '' ? error.cause.message : error.message;
}
