/**
 * Random-access reading of a ZIP: opening reads the end of the file, an entry reads its own bytes and nothing else.
 * Local headers and data descriptors must repeat what the central directory says, to the byte.
 */
import { LimitError, MalformedFileError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { RandomAccess } from './random-access.ts';
import { type ByteReader, type Codec, openCodec } from './codec-instance.ts';
import {
  type EndRecord,
  TAIL_BYTES,
  type ZipEntry,
  checkUnicodePath,
  parseDirectory,
  parseEndRecord,
  parseExtra,
  requireReadable,
  resolveZip64,
} from './zip-directory.ts';
import { flags, headerBytes, methods, signatures } from './zip-format.ts';

interface ZipOptions {
  /** What the archive is called in errors; default `zip`. */
  readonly field?: string;
  readonly signal?: AbortSignal;
  /** What one entry may hold, packed or not; default `limits.entryBytes`. */
  readonly entryBytes?: number;
  /** What all deflated entries together may expand to; default from `limits.inflateExpansion`. */
  readonly inflatedBytes?: number;
}

/** One entry's bytes as they stand in the file, its headers checked. */
interface StoredEntry {
  /** Compressed, where the method says so. */
  readonly stored: Uint8Array;
  /** The local header as it stands in the file. */
  readonly localHeader: Uint8Array;
  /**
   * Begins to read the content, counted and checked. The codec's windows are shared: read and finish before
   * anything is awaited.
   */
  open(): ByteReader;
}

export class ZipReader {
  readonly entries: ReadonlyMap<string, ZipEntry>;
  readonly end: EndRecord;
  readonly #source: RandomAccess;
  readonly #codec: Codec;
  readonly #field: string;
  readonly #tail: Uint8Array;

  constructor(source: RandomAccess, codec: Codec, field: string, tail: Uint8Array, end: EndRecord, entries: readonly ZipEntry[]) {
    this.#source = source;
    this.#codec = codec;
    this.#field = field;
    this.#tail = tail;
    this.end = end;
    this.entries = new Map(entries.map((entry) => [entry.name, entry]));
  }

  /** The entry of that name. @throws MalformedFileError where there is none. */
  entry(name: string): ZipEntry {
    const entry = this.entries.get(name);
    if (entry === undefined) throw new MalformedFileError({ field: this.#field, expected: `an entry ${name}`, got: 'none of that name' });
    return entry;
  }

  /**
   * Reads an entry's bytes in one read (none where they are in the end of the file that opening has read).
   * @throws MalformedFileError, UnsupportedError, LimitError
   */
  async readStored(entry: ZipEntry, signal?: AbortSignal): Promise<StoredEntry> {
    const tailBegin = this.#source.byteLength - this.#tail.byteLength;
    const region =
      entry.offset >= tailBegin
        ? this.#tail.subarray(entry.offset - tailBegin, entry.end - tailBegin)
        : await readExactly(this.#source, this.#field, entry.offset, entry.end - entry.offset, signal);
    const label = `${this.#field} ${entry.name}`;
    const { begin, end } = checkLocalHeader(label, region, entry);
    requireReadable(label, entry);
    const stored = region.subarray(begin, end);
    const open = (): ByteReader =>
      entry.method === methods.stored
        ? this.#codec.stored(label, stored, entry.crc32)
        : this.#codec.inflate(label, stored, entry.bytes, entry.crc32);
    return { stored, localHeader: region.subarray(0, begin), open };
  }

  /** The whole content of an entry. */
  async read(name: string, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
    const entry = this.entry(name);
    const { open } = await this.readStored(entry, signal);
    const content = new Uint8Array(entry.bytes);
    const reader = open();
    reader.readInto(content);
    reader.finish();
    return content;
  }
}

/**
 * Reads the directory: one read of the file's last 64 KiB, and another where the directory is longer.
 * @throws MalformedFileError, UnsupportedError, LimitError
 */
export async function openZip(source: RandomAccess, options: ZipOptions = {}): Promise<ZipReader> {
  const field = options.field ?? 'zip';
  const fileBytes = source.byteLength;
  const tailBytes = Math.min(fileBytes, TAIL_BYTES);
  const tail = await readExactly(source, field, fileBytes - tailBytes, tailBytes, options.signal);
  const end = parseEndRecord(field, tail, fileBytes);
  const tailBegin = fileBytes - tailBytes;
  const directory =
    end.directoryOffset >= tailBegin
      ? tail.subarray(end.directoryOffset - tailBegin, end.directoryOffset - tailBegin + end.directoryBytes)
      : await readExactly(source, field, end.directoryOffset, end.directoryBytes, options.signal);
  const entries = parseDirectory(field, directory, end, fileBytes);
  requireBounded(field, entries, fileBytes, options);
  return new ZipReader(source, await openCodec(), field, tail, end, entries);
}

/** Refuses what an archive claims to expand to before any of it is read. */
function requireBounded(field: string, entries: readonly ZipEntry[], fileBytes: number, options: ZipOptions): void {
  const entryBytes = options.entryBytes ?? limits.entryBytes;
  const inflatedBytes = options.inflatedBytes ?? Math.max(limits.inflateFloorBytes, limits.inflateExpansion * fileBytes);
  let inflated = 0;
  for (const entry of entries) {
    const label = `${field} ${entry.name}`;
    // Packed, too: as many are read into memory.
    const most = Math.max(entry.bytes, entry.compressedBytes);
    if (most > entryBytes) throw new LimitError({ field: label, expected: `at most ${entryBytes} bytes`, got: `${most}` });
    if (entry.method === methods.stored && entry.bytes !== entry.compressedBytes) {
      throw new MalformedFileError({ field: label, expected: `${entry.compressedBytes} bytes, as stored`, got: `${entry.bytes}` });
    }
    if (entry.method !== methods.deflated) continue;
    if (entry.bytes > entry.compressedBytes * limits.inflateRatio) {
      throw new MalformedFileError({
        field: label,
        expected: `at most ${limits.inflateRatio} times ${entry.compressedBytes} bytes, which is all that DEFLATE can give`,
        got: `${entry.bytes}`,
      });
    }
    inflated += entry.bytes;
    if (inflated > inflatedBytes) {
      throw new LimitError({ field, expected: `at most ${inflatedBytes} bytes of inflated content`, got: `${inflated} and more` });
    }
  }
}

/**
 * A source that gives other than what was asked for must not be taken at its word. Shared memory is copied: others may write to it, and
 * what makes hashes takes none.
 */
async function readExactly(
  source: RandomAccess,
  field: string,
  offset: number,
  length: number,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  signal?.throwIfAborted();
  if (length === 0) return new Uint8Array(0);
  const bytes = await source.read(offset, length, signal);
  if (!(bytes instanceof Uint8Array) || bytes.byteLength !== length) {
    const got = bytes instanceof Uint8Array ? `${bytes.byteLength}` : typeof bytes;
    throw new MalformedFileError({ field, expected: `${length} bytes at ${offset}`, got });
  }
  return bytes.buffer instanceof ArrayBuffer ? bytes : bytes.slice();
}

/** Where an entry's content lies in its region, once everything around it is as the central directory says. */
function checkLocalHeader(label: string, region: Uint8Array, entry: ZipEntry): { readonly begin: number; readonly end: number } {
  const view = new DataView(region.buffer, region.byteOffset, region.byteLength);
  const refuse = (expected: string, got: string): never => {
    throw new MalformedFileError({ field: `${label} local header`, expected, got });
  };
  if (view.getUint32(0, true) !== signatures.local) refuse('a local header', 'other bytes');
  const localFlags = view.getUint16(6, true);
  const hex = (value: number): string => `0x${value.toString(16)}`;
  if (((localFlags ^ entry.flags) & ~flags.deflateOptions) !== 0) refuse(`flags ${hex(entry.flags)}`, hex(localFlags));
  const method = view.getUint16(8, true);
  if (method !== entry.method) refuse(`method ${entry.method}`, `${method}`);
  const nameEnd = headerBytes.local + view.getUint16(26, true);
  const begin = nameEnd + view.getUint16(28, true);
  const end = begin + entry.compressedBytes;
  if (end > region.byteLength) refuse(`content that ends within ${region.byteLength} bytes`, `${end}`);
  const name = region.subarray(headerBytes.local, nameEnd);
  if (name.byteLength !== entry.nameBytes.byteLength || name.some((byte, i) => byte !== entry.nameBytes[i])) {
    refuse('the name of the central directory', 'another');
  }
  const extra = parseExtra(label, region.subarray(nameEnd, begin));
  checkUnicodePath(label, extra, name);
  const streamed = (localFlags & flags.descriptor) !== 0;
  const narrow = [view.getUint32(22, true), view.getUint32(18, true)];
  const [bytes, compressedBytes] = resolveZip64(label, extra, narrow, Number.MAX_SAFE_INTEGER) as [number, number];
  const facts = [
    ['CRC-32', view.getUint32(14, true), entry.crc32],
    ['size', bytes, entry.bytes],
    ['compressed size', compressedBytes, entry.compressedBytes],
  ] as const;
  for (const [what, local, central] of facts) {
    // A streamed entry's header is written before its sizes are known: zeros stand for them.
    if (local !== central && !(streamed && local === 0)) refuse(`${what} ${central}`, `${local}`);
  }
  checkDescriptor(label, region.subarray(end), streamed, entry);
  return { begin, end };
}

/** The bytes behind the content: none, or exactly one data descriptor in one of its four forms, told apart by length. */
function checkDescriptor(label: string, rest: Uint8Array, streamed: boolean, entry: ZipEntry): void {
  const refuse = (expected: string, got: string): never => {
    throw new MalformedFileError({ field: `${label} data descriptor`, expected, got });
  };
  if (!streamed) {
    if (rest.byteLength !== 0) refuse('no bytes behind the content', `${rest.byteLength}`);
    return;
  }
  const view = new DataView(rest.buffer, rest.byteOffset, rest.byteLength);
  if (![12, 16, 20, 24].includes(rest.byteLength)) refuse('12, 16, 20 or 24 bytes', `${rest.byteLength}`);
  const signed = rest.byteLength % 8 === 0;
  if (signed && view.getUint32(0, true) !== signatures.descriptor) refuse('a signature', 'other bytes');
  const at = signed ? 4 : 0;
  const wide = rest.byteLength >= 20;
  const compressed = wide ? view.getBigUint64(at + 4, true) : BigInt(view.getUint32(at + 4, true));
  const bytes = wide ? view.getBigUint64(at + 12, true) : BigInt(view.getUint32(at + 8, true));
  if (view.getUint32(at, true) !== entry.crc32 || compressed !== BigInt(entry.compressedBytes) || bytes !== BigInt(entry.bytes)) {
    refuse(`CRC-32 and sizes of the central directory`, 'others');
  }
}
