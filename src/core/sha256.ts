/** SHA-256 by the platform's own WebCrypto, which every supported runtime has (browsers: in secure contexts only). */
import { UnsupportedError } from './errors.ts';

/**
 * SHA-256 of `bytes`, 64 lower-case hex digits.
 * @throws UnsupportedError where there is no WebCrypto (a page served over plain HTTP).
 */
export async function sha256Hex(bytes: Uint8Array): Promise<string> {
  const subtle = globalThis.crypto?.subtle;
  if (subtle === undefined) {
    throw new UnsupportedError({
      field: 'crypto.subtle',
      expected: 'WebCrypto (in browsers: a secure context, https or localhost)',
      got: 'none',
    });
  }
  const digest = new Uint8Array(await subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
