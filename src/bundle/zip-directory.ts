/**
 * A ZIP's end records and central directory, strictly: one end record, exactly at the end; directory and entries fill
 * the file without holes, overlaps, prefix or tail; every count and size agrees with what is there. Whatever could be
 * read in two ways is an error, so that no two readers see two archives in one file.
 */
import { LimitError, MalformedFileError, UnsupportedError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { SENTINEL_16, SENTINEL_32, extraIds, flags, headerBytes, methods, signatures } from './zip-format.ts';
import { decodeEntryName, requireDistinctNames } from './zip-name.ts';

export interface ZipEntry {
  readonly name: string;
  readonly isFolder: boolean;
  readonly method: number;
  readonly flags: number;
  readonly crc32: number;
  readonly compressedBytes: number;
  readonly bytes: number;
  /** Local header, content and data descriptor fill [offset, end) exactly. */
  readonly offset: number;
  readonly end: number;
  /** The name as the central directory has it, which the local header must repeat. */
  readonly nameBytes: Uint8Array;
  /** The central header as it stands in the file. */
  readonly header: Uint8Array;
}

export interface EndRecord {
  readonly entries: number;
  readonly directoryOffset: number;
  readonly directoryBytes: number;
  /** Everything behind the directory, as it stands in the file. */
  readonly bytes: Uint8Array;
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function malformed(field: string, expected: string, got: string): never {
  throw new MalformedFileError({ field, expected, got });
}

/** A 64-bit field as a number, at most `maximum`; above 2^53 numbers are not exact, and no file is that long. */
function read64(field: string, view: DataView, at: number, maximum: number): number {
  const value = view.getBigUint64(at, true);
  if (value > BigInt(maximum)) malformed(field, `at most ${maximum}`, `${value}`);
  return Number(value);
}

/** How many bytes of the file's end `parseEndRecord` needs: end record, longest comment, ZIP64 records. */
export const TAIL_BYTES = headerBytes.end + 65_535 + headerBytes.locator64 + headerBytes.end64;

/**
 * @param tail the last bytes of the file, at least `TAIL_BYTES` of them or all.
 * @throws MalformedFileError, UnsupportedError, LimitError
 */
export function parseEndRecord(field: string, tail: Uint8Array, fileBytes: number): EndRecord {
  const view = viewOf(tail);
  const base = fileBytes - tail.byteLength;
  let at = tail.byteLength - headerBytes.end;
  // The last signature counts, as for every reader that searches from the end; the record must fit the file exactly.
  while (at >= 0 && view.getUint32(at, true) !== signatures.end) at--;
  if (at < 0) malformed(field, 'a ZIP end record', 'none, as of a file that is cut short or of another kind');
  const commentBytes = view.getUint16(at + 20, true);
  if (at + headerBytes.end + commentBytes !== tail.byteLength) {
    malformed(field, 'an end record at the very end', `${tail.byteLength - at - headerBytes.end} bytes behind it`);
  }
  const narrow = {
    disk: view.getUint16(at + 4, true),
    directoryDisk: view.getUint16(at + 6, true),
    entriesHere: view.getUint16(at + 8, true),
    entries: view.getUint16(at + 10, true),
    directoryBytes: view.getUint32(at + 12, true),
    directoryOffset: view.getUint32(at + 16, true),
  };
  if (narrow.disk !== 0 || narrow.directoryDisk !== 0 || narrow.entriesHere !== narrow.entries) {
    malformed(field, 'an archive of one disk', `disk ${narrow.disk} with ${narrow.entriesHere} of ${narrow.entries} entries`);
  }
  const locatorAt = at - headerBytes.locator64;
  const has64 = locatorAt >= 0 && view.getUint32(locatorAt, true) === signatures.locator64;
  const record = has64 ? parseEndRecord64(field, view, base, locatorAt, narrow) : narrow;
  const directoryEnd = has64 ? locatorAt - headerBytes.end64 : at;
  if (record.directoryOffset + record.directoryBytes !== base + directoryEnd) {
    malformed(
      field,
      `a central directory that ends at ${base + directoryEnd}`,
      `${record.directoryBytes} bytes at ${record.directoryOffset}`,
    );
  }
  if (record.directoryBytes > limits.zipDirectoryBytes) {
    throw new LimitError({ field, expected: `a directory of at most ${limits.zipDirectoryBytes} bytes`, got: `${record.directoryBytes}` });
  }
  if (record.entries * headerBytes.central > record.directoryBytes) {
    malformed(field, `entries that fit a directory of ${record.directoryBytes} bytes`, `${record.entries}`);
  }
  if (record.entries > limits.zipEntries) {
    throw new LimitError({ field, expected: `at most ${limits.zipEntries} entries`, got: `${record.entries}` });
  }
  return {
    entries: record.entries,
    directoryOffset: record.directoryOffset,
    directoryBytes: record.directoryBytes,
    bytes: tail.subarray(directoryEnd),
  };
}

type NarrowEnd = Readonly<Record<'entries' | 'directoryBytes' | 'directoryOffset', number>>;

function parseEndRecord64(field: string, view: DataView, base: number, locatorAt: number, narrow: NarrowEnd): NarrowEnd {
  const at = locatorAt - headerBytes.end64;
  const recordOffset = view.getBigUint64(locatorAt + 8, true);
  if (
    at < 0 ||
    recordOffset !== BigInt(base + at) ||
    view.getUint32(at, true) !== signatures.end64 ||
    view.getBigUint64(at + 4, true) !== BigInt(headerBytes.end64 - 12)
  ) {
    malformed(field, 'a ZIP64 end record just before its locator', `one at ${recordOffset}`);
  }
  if (view.getUint32(locatorAt + 4, true) !== 0 || view.getUint32(locatorAt + 16, true) !== 1) {
    malformed(field, 'an archive of one disk', `${view.getUint32(locatorAt + 16, true)} disks`);
  }
  const entries = read64(`${field} entries`, view, at + 32, Number.MAX_SAFE_INTEGER);
  if (view.getUint32(at + 16, true) !== 0 || view.getUint32(at + 20, true) !== 0 || view.getBigUint64(at + 24, true) !== BigInt(entries)) {
    malformed(field, 'an archive of one disk', 'ZIP64 fields of several');
  }
  const wide = {
    entries,
    directoryBytes: read64(`${field} directory size`, view, at + 40, Number.MAX_SAFE_INTEGER),
    directoryOffset: read64(`${field} directory offset`, view, at + 48, Number.MAX_SAFE_INTEGER),
  };
  for (const [key, sentinel] of [['entries', SENTINEL_16], ['directoryBytes', SENTINEL_32], ['directoryOffset', SENTINEL_32]] as const) {
    if (narrow[key] !== sentinel && narrow[key] !== wide[key]) malformed(field, `${key} that agree`, `${narrow[key]} and ${wide[key]}`);
  }
  return wide;
}

/** Extra fields by id; ids that occur twice and bytes that make no field are errors. */
export function parseExtra(field: string, extra: Uint8Array): ReadonlyMap<number, Uint8Array> {
  const view = viewOf(extra);
  const fields = new Map<number, Uint8Array>();
  let at = 0;
  while (at < extra.byteLength) {
    if (at + 4 > extra.byteLength) malformed(`${field} extra`, 'whole fields', `${extra.byteLength - at} bytes behind the last`);
    const id = view.getUint16(at, true);
    const end = at + 4 + view.getUint16(at + 2, true);
    if (end > extra.byteLength) malformed(`${field} extra`, `a field that ends by ${extra.byteLength}`, `${end}`);
    if (fields.has(id)) malformed(`${field} extra`, 'ids that occur once', `0x${id.toString(16)} twice`);
    fields.set(id, extra.subarray(at + 4, end));
    at = end;
  }
  return fields;
}

/** Info-ZIP's second name for an entry; only one that repeats the first is harmless. */
export function checkUnicodePath(field: string, extra: ReadonlyMap<number, Uint8Array>, nameBytes: Uint8Array): void {
  const path = extra.get(extraIds.unicodePath);
  if (path === undefined) return;
  const second = path.subarray(5);
  if (path[0] !== 1 || second.byteLength !== nameBytes.byteLength || second.some((byte, i) => byte !== nameBytes[i])) {
    malformed(`${field} extra`, 'one name', 'a second one in the unicode path field');
  }
}

/**
 * Values of a header with those at their 32-bit sentinel taken from the ZIP64 field, in the field's fixed order.
 * A field that lists values which the header has itself must repeat them.
 */
export function resolveZip64(
  field: string,
  extra: ReadonlyMap<number, Uint8Array>,
  narrow: readonly number[],
  fileBytes: number,
): readonly number[] {
  const data = extra.get(extraIds.zip64);
  const wanted = narrow.filter((value) => value === SENTINEL_32).length;
  if (data === undefined) {
    // 0xFFFFFFFF may be meant literally, but only where the file could hold so much: the caller's bounds decide.
    if (wanted > 0 && fileBytes < SENTINEL_32) malformed(field, 'a ZIP64 field for sizes at 0xFFFFFFFF', 'none');
    return narrow;
  }
  const view = viewOf(data);
  const read = (index: number): number => read64(`${field} ZIP64 field`, view, 8 * index, Number.MAX_SAFE_INTEGER);
  if (data.byteLength === 8 * wanted) {
    let next = 0;
    return narrow.map((value) => (value === SENTINEL_32 ? read(next++) : value));
  }
  if (data.byteLength % 8 !== 0 || data.byteLength > 8 * narrow.length || data.byteLength < 8 * wanted) {
    malformed(`${field} ZIP64 field`, `${8 * wanted} bytes`, `${data.byteLength}`);
  }
  return narrow.map((value, index) => {
    if (8 * index >= data.byteLength) {
      return value === SENTINEL_32 ? malformed(`${field} ZIP64 field`, `${8 * wanted} bytes`, `${data.byteLength}`) : value;
    }
    const wide = read(index);
    if (value !== SENTINEL_32 && value !== wide) malformed(`${field} ZIP64 field`, `${value}, as the header has it`, `${wide}`);
    return wide;
  });
}

/** @throws MalformedFileError, LimitError, UnsupportedError */
export function parseDirectory(field: string, directory: Uint8Array, end: EndRecord, fileBytes: number): ZipEntry[] {
  const view = viewOf(directory);
  const entries: Omit<ZipEntry, 'end'>[] = [];
  let at = 0;
  for (let index = 0; index < end.entries; index++) {
    const label = `${field} entry ${index}`;
    if (at + headerBytes.central > directory.byteLength || view.getUint32(at, true) !== signatures.central) {
      malformed(label, 'a central header', at < directory.byteLength ? 'other bytes' : 'the end of the directory');
    }
    const nameEnd = at + headerBytes.central + view.getUint16(at + 28, true);
    const extraEnd = nameEnd + view.getUint16(at + 30, true);
    const next = extraEnd + view.getUint16(at + 32, true);
    if (next > directory.byteLength) malformed(label, `a header that ends by ${directory.byteLength}`, `${next}`);
    entries.push(parseCentralHeader(label, directory.subarray(at, next), nameEnd - at, extraEnd - at, fileBytes));
    at = next;
  }
  if (at !== directory.byteLength)
    malformed(field, `${end.entries} entries to fill the directory`, `${directory.byteLength - at} bytes more`);
  requireDistinctNames(field, entries.map(({ name }) => name));
  return placeEntries(field, entries, end.directoryOffset);
}

function parseCentralHeader(
  label: string, header: Uint8Array, nameEnd: number, extraEnd: number, fileBytes: number,
): Omit<ZipEntry, 'end'> {
  const view = viewOf(header);
  const nameBytes = header.subarray(headerBytes.central, nameEnd);
  const entryFlags = view.getUint16(8, true);
  const name = decodeEntryName(label, nameBytes, (entryFlags & flags.utf8) !== 0);
  const extra = parseExtra(label, header.subarray(nameEnd, extraEnd));
  checkUnicodePath(label, extra, nameBytes);
  if (view.getUint16(34, true) !== 0) malformed(label, 'an entry on this disk', `disk ${view.getUint16(34, true)}`);
  checkFileType(label, name, view.getUint32(38, true) >>> 16);
  const [bytes, compressedBytes, offset] = resolveZip64(
    label,
    extra,
    [view.getUint32(24, true), view.getUint32(20, true), view.getUint32(42, true)],
    fileBytes,
  ) as [number, number, number];
  const isFolder = name.endsWith('/');
  if (isFolder && bytes !== 0) malformed(label, 'a folder without content', `${bytes} bytes`);
  return {
    name, isFolder, method: view.getUint16(10, true), flags: entryFlags, crc32: view.getUint32(16, true),
    compressedBytes, bytes, offset, nameBytes, header,
  };
}

/** Unix file type of the upper half of the external attributes: plain files and folders only. */
function checkFileType(label: string, name: string, mode: number): void {
  const type = mode & 0xf000;
  const expected = name.endsWith('/') ? 0x4000 : 0x8000;
  if (type !== 0 && type !== expected) malformed(label, 'a plain file or folder', `file type 0o${type.toString(8)}`);
}

/** What may lie around an entry's content beside header and name: the longest extra field, and the longest data descriptor. */
const AROUND_BYTES = 65_535 + 24;

/** Gives every entry its end: the next one's beginning. The first begins the file, the last ends at the directory. */
function placeEntries(field: string, entries: readonly Omit<ZipEntry, 'end'>[], directoryOffset: number): ZipEntry[] {
  const order = entries.toSorted((a, b) => a.offset - b.offset);
  const ends = new Map<object, number>();
  let cursor = 0;
  for (const [index, entry] of order.entries()) {
    if (index === 0 && entry.offset !== 0) malformed(field, 'a first entry at the beginning of the file', `offset ${entry.offset}`);
    const end = order[index + 1]?.offset ?? directoryOffset;
    const least = entry.offset + headerBytes.local + entry.nameBytes.byteLength + entry.compressedBytes;
    if (least > end) {
      malformed(
        `${field} ${entry.name}`,
        'an entry that ends before the next begins',
        `at least ${least - entry.offset} bytes at ${entry.offset}, the next at ${end}`,
      );
    }
    // Looked at before it is read: from afar a gap would be read into memory, however many gigabytes a directory says that it has.
    if (end > least + AROUND_BYTES)
      malformed(`${field} ${entry.name}`, 'an entry that ends where the next begins', `${end - least - AROUND_BYTES} bytes between them`);
    ends.set(entry, end);
    cursor = end;
  }
  if (cursor !== directoryOffset) malformed(field, 'a directory just behind the entries', `offset ${directoryOffset}`);
  return entries.map((entry) => ({ ...entry, end: ends.get(entry) as number }));
}

/** @throws UnsupportedError for what is well-formed but not ours to read. */
export function requireReadable(label: string, entry: ZipEntry): void {
  const unsupported = (expected: string, got: string): never => {
    throw new UnsupportedError({ field: label, expected, got });
  };
  const secret = flags.encrypted | flags.strongEncryption | flags.maskedHeaders;
  if ((entry.flags & secret) !== 0) unsupported('an entry that is not encrypted', `flags 0x${entry.flags.toString(16)}`);
  if ((entry.flags & flags.patched) !== 0) unsupported('a whole entry', 'a patch');
  if (entry.method !== methods.stored && entry.method !== methods.deflated) {
    unsupported('method 0 (stored) or 8 (deflated)', `method ${entry.method}`);
  }
}
