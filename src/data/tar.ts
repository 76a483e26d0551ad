/**
 * Regular files of a POSIX tar archive (ustar), for the archives that CIFAR comes in. Strict where it matters: header
 * checksums hold, sizes stay inside the archive; links, devices and long-name extensions are passed over.
 */
import { LimitError, MalformedFileError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';

const BLOCK_BYTES = 512;

/**
 * The files in the archive by name, as views of `archive`.
 * @param name how errors call the archive
 * @throws MalformedFileError for a broken header or an archive that is cut short; LimitError beyond `limits.zipEntries`.
 */
export function readTar(name: string, archive: Uint8Array): ReadonlyMap<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  let entries = 0;
  for (let at = 0; ; ) {
    const header = archive.subarray(at, at + BLOCK_BYTES);
    // Two zero blocks end an archive; some writers leave them out.
    if (header.length === 0 || (header.length === BLOCK_BYTES && header.every((byte) => byte === 0))) return files;
    if (header.length < BLOCK_BYTES)
      throw new MalformedFileError({ field: name, expected: 'whole blocks of 512 bytes', got: `${header.length} bytes at the end` });
    if (++entries > limits.zipEntries) throw new LimitError({ field: name, expected: `at most ${limits.zipEntries} entries`, got: 'more' });
    requireChecksum(name, header);
    const size = octal(name, header, 124, 12);
    const start = at + BLOCK_BYTES;
    if (start + size > archive.length) {
      throw new MalformedFileError({ field: name, expected: `an entry of ${size} bytes`, got: `${archive.length - start} bytes left` });
    }
    const type = header[156];
    if (type === 0 || type === 0x30) files.set(entryName(header), archive.subarray(start, start + size));
    at = start + Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES;
  }
}

/** The sum of all bytes of the header, its own eight counted as spaces. */
function requireChecksum(name: string, header: Uint8Array): void {
  let sum = 0;
  for (const [index, byte] of header.entries()) sum += index >= 148 && index < 156 ? 32 : byte;
  const stated = octal(name, header, 148, 8);
  if (sum !== stated) throw new MalformedFileError({ field: name, expected: `a tar header with checksum ${stated}`, got: `${sum}` });
}

function octal(name: string, header: Uint8Array, at: number, length: number): number {
  const text = ascii(header, at, length).trim();
  if (!/^[0-7]{1,12}$/.test(text))
    throw new MalformedFileError({ field: name, expected: 'an octal number in a tar header', got: JSON.stringify(text) });
  return Number.parseInt(text, 8);
}

/** Text up to the first zero. */
function ascii(header: Uint8Array, at: number, length: number): string {
  const field = header.subarray(at, at + length);
  const zero = field.indexOf(0);
  return String.fromCharCode(...(zero < 0 ? field : field.subarray(0, zero)));
}

function entryName(header: Uint8Array): string {
  const base = ascii(header, 0, 100);
  const prefix = ascii(header, 257, 5) === 'ustar' ? ascii(header, 345, 155) : '';
  return prefix === '' ? base : `${prefix}/${base}`;
}
