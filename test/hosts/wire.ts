/**
 * What travels between the launcher and a host: JSON, with bytes and non-finite numbers kept.
 * Runs on both sides, so it uses nothing that one of the runtimes lacks.
 */

/** JSON values, plus `Uint8Array`s, NaN and infinities. */
export type WireValue =
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | readonly WireValue[]
  | { readonly [key: string]: WireValue | undefined };

/** The id of the launcher's first request, which asks whether the host has loaded the entry. */
export const READY = 0;

export interface WireRequest {
  readonly id: number;
  readonly input: WireValue;
}

/** An error as plain data; typed errors of trajport keep `code`, `field`, `expected` and `got`. */
export interface WireError {
  readonly name: string;
  readonly message: string;
  readonly stack: string;
  readonly code?: string;
  readonly field?: string;
  readonly expected?: string;
  readonly got?: string;
}

export type WireResponse =
  | { readonly id: number; readonly output: WireValue }
  | { readonly id: number; readonly error: WireError };

export function encode(message: unknown): string {
  return JSON.stringify(message, (_key, value: unknown) => {
    if (value instanceof Uint8Array) return { $bytes: toBase64(value) };
    if (typeof value === 'number' && !Number.isFinite(value)) return { $number: String(value) };
    return value;
  });
}

export function decode(text: string): unknown {
  return JSON.parse(text, (_key, value: unknown) => {
    if (typeof value !== 'object' || value === null) return value;
    if ('$bytes' in value) return fromBase64(value.$bytes as string);
    if ('$number' in value) return Number(value.$number);
    return value;
  });
}

function toWireError(thrown: unknown): WireError {
  if (!(thrown instanceof Error)) return { name: 'not an Error', message: String(thrown), stack: '' };
  const facts: Record<string, string> = {};
  for (const key of ['code', 'field', 'expected', 'got']) {
    const value = (thrown as unknown as Record<string, unknown>)[key];
    if (typeof value === 'string') facts[key] = value;
  }
  return { name: thrown.name, message: thrown.message, stack: thrown.stack ?? '', ...facts };
}

/** Answers one request text with one response text; never throws. */
export async function answer(
  run: (input: never) => Promise<unknown>,
  requestText: string,
): Promise<string> {
  let id = -1;
  try {
    const request = decode(requestText) as WireRequest;
    id = request.id;
    if (id === READY) return encode({ id, output: null });
    return encode({ id, output: (await run(request.input as never)) ?? null });
  } catch (thrown) {
    return encode({ id, error: toWireError(thrown) });
  }
}

// btoa and atob are in every runtime; Buffer and Uint8Array.toBase64 are not. Chunks keep the argument list short.
function toBase64(bytes: Uint8Array): string {
  const chunks: string[] = [];
  for (let at = 0; at < bytes.length; at += 8192) {
    chunks.push(String.fromCharCode(...bytes.subarray(at, at + 8192)));
  }
  return btoa(chunks.join(''));
}

function fromBase64(text: string): Uint8Array {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}
