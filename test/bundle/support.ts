// What the bundle tests share: typed-error assertions, hand-made safetensors files, the shared folder where it exists.
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect } from 'vitest';
import { concatBytes } from '../../src/core/bytes.ts';
import { type ErrorCode, TrajportError } from '../../src/core/errors.ts';

/** The folder shared with every developer; a fresh clone elsewhere has none, and tests of its files say so. */
export const shared: string | undefined = [resolve('../shared')].find((path) => existsSync(path));

export async function expectTyped(run: () => unknown, code?: ErrorCode): Promise<TrajportError> {
  let caught: unknown;
  try {
    await run();
  } catch (error) {
    caught = error;
  }
  expect(caught).toBeInstanceOf(TrajportError);
  const typed = caught as TrajportError;
  if (code !== undefined) expect({ code: typed.code, message: typed.message }).toMatchObject({ code });
  return typed;
}

export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

export const concat = (...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> => concatBytes(parts);

/** A safetensors file from its header's text (or bytes) and its data, nothing checked. */
export function rawSafetensors(header: string | Uint8Array, data: Uint8Array = new Uint8Array(0), length?: bigint): Uint8Array {
  const json = typeof header === 'string' ? utf8(header) : header;
  const prefix = new Uint8Array(8);
  new DataView(prefix.buffer).setBigUint64(0, length ?? BigInt(json.byteLength), true);
  return concat(prefix, json, data);
}
