/**
 * GGUF, versions 2 and 3: header, key-value pairs, tensor list, data at aligned offsets. Unquantised tensors only: codes
 * of blocks would lose the steps of a trajectory. Extents stand innermost first, so they are reversed to PyTorch's order.
 */
import { describe } from '../../core/describe.ts';
import { LimitError, MalformedFileError, UnsupportedError } from '../../core/errors.ts';
import { limits } from '../../core/limits.ts';
import { type Dtype, dtypeBits } from '../dtype.ts';
import { countElements } from '../extents.ts';
import { decodeUtf8 } from '../json.ts';
import { ByteCursor } from './byte-cursor.ts';
import { type ForeignCheckpoint, type ForeignFile, TensorCollector } from './checkpoint.ts';

const MAGIC = 0x4655_4747; // 'GGUF'
const DEFAULT_ALIGNMENT = 32;
const LARGEST_ALIGNMENT = 65_536;
/** Arrays of arrays occur in no published file. */
const ARRAY_DEPTH = 4;
/** Published files have a few dozen pairs. */
const PAIRS = 65_536;

/** ggml's numbers of element types that we read; the others are quantised. */
const dtypes: Readonly<Record<number, Dtype>> = { 0: 'F32', 1: 'F16', 24: 'I8', 25: 'I16', 26: 'I32', 27: 'I64', 28: 'F64', 30: 'BF16' };

/** Bytes of a value by its type; undefined for strings (8) and arrays (9). */
const valueBytes: readonly (number | undefined)[] = [1, 1, 2, 2, 4, 4, 4, 1, undefined, undefined, 8, 8, 8];
const types = { string: 8, array: 9 } as const;

export function isGguf(bytes: Uint8Array): boolean {
  return bytes.byteLength >= 8 && new ByteCursor('', bytes).u32() === MAGIC;
}

interface Placed {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly offset: number;
  readonly byteLength: number;
}

/** @throws MalformedFileError, UnsupportedError, LimitError */
export function readGguf({ name: field, bytes }: ForeignFile): ForeignCheckpoint {
  const cursor = new ByteCursor(field, bytes);
  if (cursor.u32() !== MAGIC) cursor.fail("'GGUF'", describe(bytes.subarray(0, 4)));
  const version = cursor.u32();
  if (version !== 2 && version !== 3)
    throw new UnsupportedError({ field: `${field} version`, expected: '2 or 3, little-endian', got: `${version}` });
  const count = cursor.u64();
  const pairs = cursor.u64();
  if (count > limits.safetensorsTensors)
    throw new LimitError({ field, expected: `at most ${limits.safetensorsTensors} tensors`, got: `${count}` });
  if (pairs > PAIRS) throw new LimitError({ field, expected: `at most ${PAIRS} key-value pairs`, got: `${pairs}` });
  const metadata = new Map<string, string>();
  for (let i = 0; i < pairs; i++) {
    const key = readName(cursor);
    if (metadata.has(key)) cursor.fail('keys that occur once', `${describe(key)} twice`);
    metadata.set(key, readValue(cursor, cursor.u32(), 0));
  }
  const placed: Placed[] = [];
  for (let i = 0; i < count; i++) placed.push(readInfo(cursor));
  const alignment = alignmentOf(field, metadata.get('general.alignment'));
  const begin = Math.ceil(cursor.at / alignment) * alignment;
  requireApart(cursor, placed, alignment);
  const collected = new TensorCollector(field);
  for (const { name, dtype, shape, offset, byteLength } of placed) {
    const at = begin + offset;
    if (byteLength > 0 && at + byteLength > bytes.byteLength) {
      throw new MalformedFileError({
        field: `${field}.${name}`, expected: `${byteLength} bytes from byte ${at} on`, got: `a file of ${bytes.byteLength}`,
      });
    }
    collected.add(name, { dtype, shape, bytes: bytes.subarray(at, at + byteLength) });
  }
  return { tensors: collected.tensors, metadata, convention: 'pytorch' };
}

function alignmentOf(field: string, text: string | undefined): number {
  if (text === undefined) return DEFAULT_ALIGNMENT;
  const alignment = Number(text);
  if (!Number.isInteger(alignment) || alignment < 1 || alignment > LARGEST_ALIGNMENT) {
    throw new LimitError({ field: `${field} general.alignment`, expected: `1 to ${LARGEST_ALIGNMENT}`, got: describe(text) });
  }
  return alignment;
}

function readText(cursor: ByteCursor, maximumBytes: number): string {
  const length = cursor.u64();
  if (length > maximumBytes)
    throw new LimitError({ field: cursor.field, expected: `texts of at most ${maximumBytes} bytes`, got: `${length}` });
  return decodeUtf8(cursor.field, cursor.bytes(length));
}

function readName(cursor: ByteCursor): string {
  return readText(cursor, limits.nameLength);
}

/** A value as text; arrays are passed over, with texts that are no UTF-8 too: tokens of vocabularies may be parts of letters. */
function readValue(cursor: ByteCursor, type: number, depth: number): string {
  if (type === types.string) return readText(cursor, limits.manifestBytes);
  if (type === types.array) {
    if (depth >= ARRAY_DEPTH)
      throw new LimitError({ field: cursor.field, expected: `arrays nested at most ${ARRAY_DEPTH} deep`, got: 'deeper' });
    const itemType = cursor.u32();
    const items = cursor.u64();
    const width = valueBytes[itemType];
    // Each string or array takes 8 bytes or more, so the file's end bounds the loop.
    if (itemType === types.string) for (let i = 0; i < items; i++) cursor.skip(cursor.u64());
    else if (width === undefined) for (let i = 0; i < items; i++) readValue(cursor, itemType, depth + 1);
    else cursor.skip(items * width);
    return `${items} values`;
  }
  const width = valueBytes[type];
  if (width === undefined) cursor.fail('a type of value from 0 to 12', `${type}`);
  const raw = cursor.bytes(width);
  const view = new DataView(raw.buffer, raw.byteOffset, width);
  switch (type) {
    case 0: return `${view.getUint8(0)}`;
    case 1: return `${view.getInt8(0)}`;
    case 2: return `${view.getUint16(0, true)}`;
    case 3: return `${view.getInt16(0, true)}`;
    case 4: return `${view.getUint32(0, true)}`;
    case 5: return `${view.getInt32(0, true)}`;
    case 6: return `${view.getFloat32(0, true)}`;
    case 7: return `${view.getUint8(0) !== 0}`;
    case 10: return `${view.getBigUint64(0, true)}`;
    case 11: return `${view.getBigInt64(0, true)}`;
    default: return `${view.getFloat64(0, true)}`;
  }
}

function readInfo(cursor: ByteCursor): Placed {
  const name = readName(cursor);
  const label = `${cursor.field}.${name}`;
  const rank = cursor.u32();
  if (rank > limits.tensorRank) throw new LimitError({ field: label, expected: `at most ${limits.tensorRank} axes`, got: `${rank}` });
  const shape = Array.from({ length: rank }, () => cursor.u64()).toReversed();
  const type = cursor.u32();
  const dtype = dtypes[type];
  const offset = cursor.u64();
  const elements = countElements(label, shape);
  if (dtype === undefined) {
    throw new UnsupportedError({
      field: label,
      expected: `an unquantised type (${Object.values(dtypes).join(', ')})`,
      got: `ggml type ${type}`,
    });
  }
  return { name, dtype, shape, offset, byteLength: (elements * dtypeBits[dtype]) / 8 };
}

/** Tensors stand at aligned places and do not overlap. */
function requireApart(cursor: ByteCursor, placed: readonly Placed[], alignment: number): void {
  let end = 0;
  for (const { name, offset, byteLength } of placed.toSorted((a, b) => a.offset - b.offset || a.byteLength - b.byteLength)) {
    if (offset % alignment !== 0) cursor.fail(`${describe(name)} at a multiple of ${alignment}`, `${offset}`);
    if (offset < end) cursor.fail(`${describe(name)} at ${end} or later, where the tensor before it ends`, `${offset}`);
    end = offset + byteLength;
  }
}
