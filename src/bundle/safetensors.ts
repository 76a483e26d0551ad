/**
 * safetensors: 8 bytes of little-endian header length, a JSON header, then the tensors' bytes without holes.
 * The reader is stricter than the reference where that one's verdict depends on the reader: the header begins with
 * '{', keys occur once, `__metadata__` holds strings, integers are exact, and caps of `limits` bound what a header costs.
 */
import { describe } from '../core/describe.ts';
import { LimitError, MalformedFileError } from '../core/errors.ts';
import { requireBytes, requireMembers } from '../core/require.ts';
import { limits } from '../core/limits.ts';
import { type Dtype, dtypeBits, isDtype, toFloat32 } from './dtype.ts';
import { countElements } from './extents.ts';
import { type JsonObject, type JsonValue, decodeUtf8, isJsonObject, parseJsonObject } from './json.ts';

const LENGTH_BYTES = 8;
/** Data starts at a multiple of this in files that we write, so that any element type can be viewed in place. */
const DATA_ALIGNMENT = 8;
/** JSON values of a tensor: three, themselves, the two offsets, and a shape of the highest rank; and what metadata may add to them. */
const VALUES_PER_TENSOR = 6 + limits.tensorRank;
const METADATA_VALUES = 65_536;

export interface TensorInfo {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Where the tensor's bytes begin and end in the whole file. */
  readonly begin: number;
  readonly end: number;
}

interface SafetensorsHeader {
  /** By name, in the order of their bytes in the file. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: ReadonlyMap<string, string>;
  /** Where the data begins: 8 + the header's length. */
  readonly dataBegin: number;
}

/** A tensor as files carry it: little-endian bytes of any type. */
export interface RawTensor {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** Numbers as files carry them; the bytes are a view. */
export function rawF32(shape: readonly number[], { buffer, byteOffset, byteLength }: Float32Array): RawTensor {
  return { dtype: 'F32', shape, bytes: new Uint8Array(buffer, byteOffset, byteLength) };
}

/** @throws MalformedFileError where a tensor's bytes do not fill its shape. */
export function requireBytesOfShape(name: string, { dtype, shape, bytes }: RawTensor): void {
  const expected = (countElements(name, shape) * dtypeBits[dtype]) / 8;
  if (bytes.byteLength !== expected) {
    throw new MalformedFileError({
      field: name,
      expected: `${expected} bytes for [${shape.join(', ')}] of ${dtype}`,
      got: `${bytes.byteLength}`,
    });
  }
}

/** A safetensors file: its tensors by name, and its `__metadata__`. */
export interface SafetensorsFile {
  readonly tensors: ReadonlyMap<string, RawTensor>;
  readonly metadata: ReadonlyMap<string, string>;
}

/**
 * Length of the JSON header from the first 8 bytes of a file of `fileBytes` bytes.
 * @throws MalformedFileError, LimitError
 */
function safetensorsHeaderLength(field: string, prefix: Uint8Array, fileBytes: number): number {
  if (fileBytes < LENGTH_BYTES || prefix.byteLength < LENGTH_BYTES) {
    throw new MalformedFileError({ field, expected: 'at least 8 bytes', got: `${Math.min(fileBytes, prefix.byteLength)}` });
  }
  // A BigInt, because lengths above 2^53 would be rounded and those above 2^32 wrapped.
  const length = new DataView(prefix.buffer, prefix.byteOffset, LENGTH_BYTES).getBigUint64(0, true);
  if (length > BigInt(fileBytes - LENGTH_BYTES)) {
    const zip = prefix[0] === 0x50 && prefix[1] === 0x4b ? ': this is a ZIP, as files of PyTorch, numpy and Keras are' : '';
    throw new MalformedFileError({
      field, expected: `a safetensors header within the ${fileBytes} bytes of the file`, got: `${length} bytes${zip}`,
    });
  }
  if (length > BigInt(limits.safetensorsHeaderBytes)) {
    throw new LimitError({ field, expected: `a header of at most ${limits.safetensorsHeaderBytes} bytes`, got: `${length}` });
  }
  return Number(length);
}

/**
 * Parses and checks a header against the size of its file.
 * @param header the JSON bytes, without the length before them.
 * @throws MalformedFileError, LimitError naming the tensor at fault.
 */
function parseSafetensorsHeader(field: string, header: Uint8Array, fileBytes: number, tensorCount: number): SafetensorsHeader {
  if (header[0] !== 0x7b) {
    const got = header.length === 0 ? 'an empty one' : `one that begins with ${describe(String.fromCharCode(header[0] as number))}`;
    throw new MalformedFileError({ field, expected: "a header that begins with '{'", got });
  }
  const root = parseJsonObject(decodeUtf8(field, header), {
    field,
    maximumDepth: 16,
    maximumValues: VALUES_PER_TENSOR * tensorCount + METADATA_VALUES,
    integersOnly: true,
  });
  const dataBegin = LENGTH_BYTES + header.byteLength;
  const tensors: [string, TensorInfo][] = [];
  let metadata: ReadonlyMap<string, string> = new Map();
  for (const [name, value] of Object.entries(root)) {
    if (name.length > limits.nameLength) {
      throw new LimitError({ field, expected: `names of at most ${limits.nameLength} characters`, got: `${name.length}` });
    }
    if (name === '__metadata__') metadata = parseMetadata(`${field}.__metadata__`, value);
    else tensors.push([name, parseInfo(`${field}.${name}`, value, dataBegin)]);
  }
  if (tensors.length > limits.safetensorsTensors) {
    throw new LimitError({ field, expected: `at most ${limits.safetensorsTensors} tensors`, got: `${tensors.length}` });
  }
  // Equal begins are possible only where all but the last are empty, so the ends decide.
  tensors.sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  let cursor = dataBegin;
  for (const [name, { begin, end }] of tensors) {
    if (begin !== cursor) {
      throw new MalformedFileError({
        field: `${field}.${name}.data_offsets`,
        expected: `a beginning at ${cursor - dataBegin}, without holes or overlaps`,
        got: `${begin - dataBegin}`,
      });
    }
    cursor = end;
  }
  if (cursor !== fileBytes) {
    throw new MalformedFileError({
      field,
      expected: `a file of ${cursor} bytes, which is where the last tensor ends`,
      got: `${fileBytes}`,
    });
  }
  return { tensors: new Map(tensors), metadata, dataBegin };
}

function parseMetadata(field: string, value: JsonValue | undefined): ReadonlyMap<string, string> {
  if (!isJsonObject(value)) throw new MalformedFileError({ field, expected: 'an object of strings', got: describe(value) });
  const entries = new Map<string, string>();
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string') {
      throw new MalformedFileError({ field: `${field}.${describe(key)}`, expected: 'a string', got: describe(text) });
    }
    entries.set(key, text);
  }
  return entries;
}

function parseInfo(field: string, value: JsonValue | undefined, dataBegin: number): TensorInfo {
  if (!isJsonObject(value)) throw new MalformedFileError({ field, expected: 'an object', got: describe(value) });
  const dtype = value['dtype'];
  if (typeof dtype !== 'string' || !isDtype(dtype)) {
    throw new MalformedFileError({ field: `${field}.dtype`, expected: 'a safetensors type', got: describe(dtype) });
  }
  const shape = parseShape(field, value);
  const offsets = value['data_offsets'];
  if (!isIntegers(offsets) || offsets.length !== 2) {
    throw new MalformedFileError({ field: `${field}.data_offsets`, expected: 'two integers ≥ 0', got: describe(offsets) });
  }
  const [begin, end] = offsets as readonly [number, number];
  const bits = countElements(`${field}.shape`, shape) * dtypeBits[dtype];
  if (bits % 8 !== 0) {
    throw new MalformedFileError({ field, expected: `a whole number of bytes`, got: `${bits} bits of ${dtype}` });
  }
  if (end - begin !== bits / 8) {
    throw new MalformedFileError({
      field: `${field}.data_offsets`,
      expected: `${bits / 8} bytes for shape [${shape.join(', ')}] of ${dtype}`,
      got: `${end - begin}`,
    });
  }
  return { dtype, shape, begin: dataBegin + begin, end: dataBegin + end };
}

function isIntegers(value: JsonValue | undefined): value is readonly number[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'number' && item >= 0);
}

function parseShape(field: string, info: JsonObject): readonly number[] {
  const shape = info['shape'];
  if (!isIntegers(shape)) {
    throw new MalformedFileError({ field: `${field}.shape`, expected: 'integers ≥ 0', got: describe(shape) });
  }
  return shape;
}

/**
 * Reads a whole file. Tensors are views of `bytes`, not copies.
 * @param field what the file is called in errors.
 * @throws MalformedFileError, LimitError, InvalidArgumentError for what is no Uint8Array
 */
export function readSafetensors(bytes: Uint8Array, field = 'safetensors'): SafetensorsFile {
  return readSafetensorsOf(limits.safetensorsTensors, bytes, field);
}

/**
 * As `readSafetensors`, of a file that is known to hold about so many tensors: its header costs no more than theirs, whatever its size
 * (three megabytes of empty objects take 150 on the heap).
 */
export function readSafetensorsOf(tensorCount: number, bytes: Uint8Array, field: string): SafetensorsFile {
  requireBytes(field, bytes);
  const length = safetensorsHeaderLength(field, bytes, bytes.byteLength);
  const header = parseSafetensorsHeader(field, bytes.subarray(LENGTH_BYTES, LENGTH_BYTES + length), bytes.byteLength, tensorCount);
  const tensors = new Map<string, RawTensor>();
  for (const [name, { dtype, shape, begin, end }] of header.tensors) {
    tensors.set(name, { dtype, shape, bytes: bytes.subarray(begin, end) });
  }
  return { tensors, metadata: header.metadata };
}

/** A tensor's numbers as f32. @throws UnsupportedError for types that have no f32 form. */
export function rawToFloat32(name: string, tensor: RawTensor): Float32Array {
  return toFloat32(name, tensor.dtype, tensor.bytes);
}

/**
 * The header for tensors in the given order, padded with spaces so that the data is aligned.
 * The bytes depend on nothing but the arguments; metadata is sorted by key (in UTF-16 order).
 * @throws MalformedFileError, LimitError for a header that our own reader would refuse.
 */
export function safetensorsHeader(
  tensors: readonly { readonly name: string; readonly dtype: Dtype; readonly shape: readonly number[] }[],
  metadata: ReadonlyMap<string, string> = new Map(),
): { readonly header: Uint8Array; readonly dataBytes: number } {
  const parts: string[] = [];
  if (metadata.size > 0) {
    const sorted = [...metadata].toSorted(([a], [b]) => (a < b ? -1 : 1));
    parts.push(`"__metadata__":{${sorted.map(([key, text]) => `${JSON.stringify(key)}:${JSON.stringify(text)}`).join(',')}}`);
  }
  let offset = 0;
  const names = new Set<string>(['__metadata__']);
  for (const { name, dtype, shape } of tensors) {
    if (names.has(name)) {
      throw new MalformedFileError({ field: 'safetensors', expected: 'names that occur once', got: describe(name) });
    }
    names.add(name);
    const bits = countElements(`${name}.shape`, shape) * dtypeBits[dtype];
    if (bits % 8 !== 0) {
      throw new MalformedFileError({ field: name, expected: 'a whole number of bytes', got: `${bits} bits of ${dtype}` });
    }
    const end = offset + bits / 8;
    parts.push(`${JSON.stringify(name)}:{"dtype":"${dtype}","shape":[${shape.join(',')}],"data_offsets":[${offset},${end}]}`);
    offset = end;
  }
  const json = new TextEncoder().encode(`{${parts.join(',')}}`);
  const length = Math.ceil(json.byteLength / DATA_ALIGNMENT) * DATA_ALIGNMENT;
  const header = new Uint8Array(LENGTH_BYTES + length).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(json, LENGTH_BYTES);
  const fileBytes = header.byteLength + offset;
  parseSafetensorsHeader(
    'safetensors',
    header.subarray(LENGTH_BYTES, LENGTH_BYTES + safetensorsHeaderLength('safetensors', header, fileBytes)),
    fileBytes,
    tensors.length,
  );
  return { header, dataBytes: offset };
}

/**
 * Writes tensors in the order given. Deterministic: equal arguments, equal bytes.
 * @param into memory that the file takes where it is as long.
 * @throws MalformedFileError where a name repeats, a text has lone surrogates or a tensor's bytes do not fill its
 *   shape; LimitError where a cap is passed.
 */
export function writeSafetensors(
  tensors: ReadonlyMap<string, RawTensor>,
  metadata: ReadonlyMap<string, string> = new Map(),
  into?: Uint8Array<ArrayBuffer>,
): Uint8Array<ArrayBuffer> {
  requireMembers('tensors', tensors, ['entries', 'get'], 'tensors by name: a Map');
  const list = [...tensors].map(([name, tensor]) => ({ name, ...tensor }));
  const { header, dataBytes } = safetensorsHeader(list, metadata);
  const fileBytes = header.byteLength + dataBytes;
  const file = into?.byteLength === fileBytes ? into : new Uint8Array(fileBytes);
  file.set(header);
  let at = header.byteLength;
  for (const { name, ...tensor } of list) {
    requireBytesOfShape(name, tensor);
    file.set(tensor.bytes, at);
    at += tensor.bytes.byteLength;
  }
  return file;
}
