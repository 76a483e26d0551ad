/**
 * ZIP's records as bytes (PKWARE APPNOTE 6.3): what the writer writes, and what the reader of bundles compares with,
 * since a bundle's headers are canonical: no timestamps, no attributes, ZIP64 only where a number needs it.
 */
import { concatBytes } from '../core/bytes.ts';

export const signatures = {
  local: 0x0403_4b50,
  central: 0x0201_4b50,
  end: 0x0605_4b50,
  end64: 0x0606_4b50,
  locator64: 0x0706_4b50,
  descriptor: 0x0807_4b50,
} as const;

export const headerBytes = { local: 30, central: 46, end: 22, end64: 56, locator64: 20 } as const;

export const methods = { stored: 0, deflated: 8 } as const;

export const flags = {
  encrypted: 1 << 0,
  /** The two bits in which deflaters say how hard they tried; they mean nothing to a reader. */
  deflateOptions: (1 << 1) | (1 << 2),
  descriptor: 1 << 3,
  patched: 1 << 5,
  strongEncryption: 1 << 6,
  utf8: 1 << 11,
  maskedHeaders: 1 << 13,
} as const;

export const extraIds = { zip64: 0x0001, unicodePath: 0x7075 } as const;

export const SENTINEL_16 = 0xffff;
export const SENTINEL_32 = 0xffff_ffff;

/** 1980-01-01, the first day that DOS can tell: deterministic files have no time. */
const DOS_EPOCH_DATE = 0x0021;
const VERSION_DEFLATE = 20;
const VERSION_ZIP64 = 45;

export interface EntryFacts {
  readonly name: string;
  readonly method: number;
  readonly crc32: number;
  readonly compressedBytes: number;
  readonly bytes: number;
  /** Where the local header begins. */
  readonly offset: number;
}

const encoder = new TextEncoder();

/** Little-endian fields in order: [bytes, value] each. */
function record(...fields: readonly (readonly [2 | 4 | 8, number])[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(fields.reduce((sum, [width]) => sum + width, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const [width, value] of fields) {
    if (width === 2) view.setUint16(at, value, true);
    else if (width === 4) view.setUint32(at, value, true);
    else view.setBigUint64(at, BigInt(value), true);
    at += width;
  }
  return bytes;
}

/** The ZIP64 extra field with those of the values that 32 bits cannot hold. */
function zip64Extra(values: readonly number[]): Uint8Array {
  const large = values.filter((value) => value >= SENTINEL_32);
  if (large.length === 0) return new Uint8Array(0);
  return record([2, extraIds.zip64], [2, 8 * large.length], ...large.map((value) => [8, value] as const));
}

const low32 = (value: number): number => Math.min(value, SENTINEL_32);

/** Common to local and central headers: from "version needed" to the length of the extra field. */
function commonFields(entry: EntryFacts, nameBytes: number, extraBytes: number, wide: boolean, ascii: boolean) {
  return [
    [2, extraBytes > 0 ? VERSION_ZIP64 : VERSION_DEFLATE],
    [2, ascii ? 0 : flags.utf8],
    [2, entry.method],
    [2, 0],
    [2, DOS_EPOCH_DATE],
    [4, entry.crc32],
    [4, wide ? SENTINEL_32 : low32(entry.compressedBytes)],
    [4, wide ? SENTINEL_32 : low32(entry.bytes)],
    [2, nameBytes],
    [2, extraBytes],
  ] as const;
}

export function localHeader(entry: EntryFacts): Uint8Array<ArrayBuffer> {
  const name = encoder.encode(entry.name);
  // A local ZIP64 field must hold both sizes, or none.
  const wide = Math.max(entry.bytes, entry.compressedBytes) >= SENTINEL_32;
  const extra = wide
    ? record([2, extraIds.zip64], [2, 16], [8, entry.bytes], [8, entry.compressedBytes])
    : new Uint8Array(0);
  const ascii = name.byteLength === entry.name.length;
  return concatBytes([record([4, signatures.local], ...commonFields(entry, name.byteLength, extra.byteLength, wide, ascii)), name, extra]);
}

export function centralHeader(entry: EntryFacts): Uint8Array<ArrayBuffer> {
  const name = encoder.encode(entry.name);
  const extra = zip64Extra([entry.bytes, entry.compressedBytes, entry.offset]);
  const ascii = name.byteLength === entry.name.length;
  const made = extra.byteLength > 0 ? VERSION_ZIP64 : VERSION_DEFLATE;
  return concatBytes([
    record(
      [4, signatures.central],
      [2, made],
      ...commonFields(entry, name.byteLength, extra.byteLength, false, ascii),
      [2, 0], // comment
      [2, 0], // disk
      [2, 0], // internal attributes
      [4, 0], // external attributes
      [4, low32(entry.offset)],
    ),
    name,
    extra,
  ]);
}

/** Everything after the central directory. */
export function endRecords(entries: number, directoryOffset: number, directoryBytes: number): Uint8Array<ArrayBuffer> {
  const wide = entries >= SENTINEL_16 || directoryOffset >= SENTINEL_32 || directoryBytes >= SENTINEL_32;
  const end64 = wide
    ? [
        record(
          [4, signatures.end64], [8, headerBytes.end64 - 12], [2, VERSION_ZIP64], [2, VERSION_ZIP64], [4, 0], [4, 0],
          [8, entries], [8, entries], [8, directoryBytes], [8, directoryOffset],
        ),
        record([4, signatures.locator64], [4, 0], [8, directoryOffset + directoryBytes], [4, 1]),
      ]
    : [];
  const count = Math.min(entries, SENTINEL_16);
  return concatBytes([
    ...end64,
    record(
      [4, signatures.end], [2, 0], [2, 0], [2, count], [2, count], [4, low32(directoryBytes)], [4, low32(directoryOffset)], [2, 0],
    ),
  ]);
}
