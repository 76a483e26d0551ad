/**
 * ONNX: the initialisers of a model's graph, inside the file or in files of external data beside it. The graph itself,
 * its constants and subgraphs are not read.
 */
import { concatBytes } from '../../core/bytes.ts';
import { describe } from '../../core/describe.ts';
import { LimitError, MalformedFileError, UnsupportedError } from '../../core/errors.ts';
import { limits } from '../../core/limits.ts';
import { type Dtype, dtypeBits } from '../dtype.ts';
import { countElements } from '../extents.ts';
import { decodeUtf8 } from '../json.ts';
import { requireBytesOfShape } from '../safetensors.ts';
import { ByteCursor } from './byte-cursor.ts';
import { type ForeignCheckpoint, type ForeignFile, type ReadForeignOptions, TensorCollector, readPart } from './checkpoint.ts';
import { type ProtobufField, readFields, readVarint, safeNumber } from './protobuf.ts';

/** Field numbers of onnx.proto. */
const model = { irVersion: 1, producerName: 2, producerVersion: 3, graph: 7 } as const;
const graph = { initializer: 5, sparseInitializer: 15 } as const;
const proto = {
  dims: 1, dataType: 2, segment: 3, floatData: 4, int32Data: 5, stringData: 6, int64Data: 7, name: 8, rawData: 9, doubleData: 10,
  uint64Data: 11,
  externalData: 13, dataLocation: 14,
} as const;
const entry = { key: 1, value: 2 } as const;

const dtypes: Readonly<Record<number, Dtype>> = {
  1: 'F32', 2: 'U8', 3: 'I8', 4: 'U16', 5: 'I16', 6: 'I32', 7: 'I64', 9: 'BOOL', 10: 'F16', 11: 'F64', 12: 'U32', 13: 'U64', 14: 'C64',
  16: 'BF16',
};

/** Which list of numbers holds a type's elements when `raw_data` does not. */
function listOf(dtype: Dtype): number {
  if (dtype === 'F32' || dtype === 'C64') return proto.floatData;
  if (dtype === 'F64') return proto.doubleData;
  if (dtype === 'I64') return proto.int64Data;
  return dtype === 'U32' || dtype === 'U64' ? proto.uint64Data : proto.int32Data;
}

/** Whether a file is a model by its first fields: the version of the format, then the producer or the graph. */
export function looksLikeOnnx(bytes: Uint8Array): boolean {
  return bytes[0] === 0x08 && (bytes[1] ?? 0xff) < 0x20 && [0x12, 0x1a, 0x22, 0x28, 0x32, 0x3a, 0x42].includes(bytes[2] ?? 0);
}

/** @throws MalformedFileError, UnsupportedError, LimitError */
export async function readOnnx({ name: field, bytes }: ForeignFile, options: ReadForeignOptions = {}): Promise<ForeignCheckpoint> {
  let graphBytes: Uint8Array | undefined;
  const metadata = new Map<string, string>();
  for (const part of readFields(field, bytes)) {
    if (part.number === model.graph && part.wire === 2) {
      if (graphBytes !== undefined) throw new MalformedFileError({ field, expected: 'one graph', got: 'two' });
      graphBytes = part.bytes;
    } else if (part.number === model.irVersion) metadata.set('ir_version', `${part.varint}`);
    else if (part.number === model.producerName) metadata.set('producer_name', textOf(field, part));
    else if (part.number === model.producerVersion) metadata.set('producer_version', textOf(field, part));
  }
  if (graphBytes === undefined) throw new MalformedFileError({ field, expected: 'an ONNX graph', got: 'none' });
  const collected = new TensorCollector(field, bytes.byteLength);
  const files = new Map<string, Uint8Array>();
  for (const part of readFields(`${field} graph`, graphBytes)) {
    if (part.number === graph.sparseInitializer) throw new UnsupportedError({ field, expected: 'dense initialisers', got: 'a sparse one' });
    if (part.number !== graph.initializer) continue;
    const tensor = parseTensor(field, part.bytes);
    const label = `${field}.${tensor.name}`;
    const { dtype, shape } = tensor;
    const byteLength = (countElements(label, shape) * dtypeBits[dtype]) / 8;
    const data = tensor.external === undefined
      ? tensor.data
      : await readExternal(label, tensor.external, byteLength, files, collected, options);
    const raw = { dtype, shape, bytes: data };
    requireBytesOfShape(label, raw);
    collected.add(tensor.name, raw);
  }
  return { tensors: collected.tensors, metadata, convention: 'pytorch' };
}

function textOf(field: string, { bytes, wire }: ProtobufField): string {
  if (wire !== 2) throw new MalformedFileError({ field, expected: 'a text', got: `wire type ${wire}` });
  if (bytes.byteLength > limits.nameLength)
    throw new LimitError({ field, expected: `texts of at most ${limits.nameLength} bytes`, got: `${bytes.byteLength}` });
  return decodeUtf8(field, bytes);
}

interface ParsedTensor {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
  /** location, offset, length of data in another file. */
  readonly external: ReadonlyMap<string, string> | undefined;
}

function parseTensor(field: string, message: Uint8Array): ParsedTensor {
  const shape: number[] = [];
  const lists: ProtobufField[] = [];
  const external = new Map<string, string>();
  let [name, type, location] = ['', 0, 0];
  let raw: Uint8Array | undefined;
  for (const part of readFields(`${field}: an initialiser`, message)) {
    if (part.number === proto.name) name = textOf(field, part);
    else if (part.number === proto.dims) for (const extent of varintsOf(field, part)) shape.push(safeNumber(field, extent));
    else if (part.number === proto.dataType) type = Number(part.varint);
    else if (part.number === proto.dataLocation) location = Number(part.varint);
    else if (part.number === proto.externalData) external.set(...parseEntry(field, part.bytes));
    else if (part.number === proto.segment)
      throw new UnsupportedError({ field: `${field}.${name}`, expected: 'whole tensors', got: 'a segment' });
    else if (part.number === proto.rawData && part.wire === 2) {
      if (raw !== undefined) throw new MalformedFileError({ field: `${field}.${name}`, expected: 'raw data once', got: 'twice' });
      raw = part.bytes;
    } else if ([proto.floatData, proto.int32Data, proto.int64Data, proto.doubleData, proto.uint64Data].includes(part.number as 4))
      lists.push(part);
    // Ranks are bounded here too, so that a million extents are not collected first.
    if (shape.length > limits.tensorRank)
      throw new LimitError({ field: `${field}.${name}`, expected: `at most ${limits.tensorRank} axes`, got: 'more' });
  }
  const label = `${field}.${name}`;
  const dtype = dtypes[type];
  if (dtype === undefined)
    throw new UnsupportedError({ field: label, expected: Object.values(dtypes).join(', '), got: `ONNX type ${type}` });
  if (location !== 0 && location !== 1)
    throw new UnsupportedError({ field: label, expected: 'data inside the file or external', got: `location ${location}` });
  if ((raw !== undefined || location === 1) && lists.length > 0)
    throw new MalformedFileError({ field: label, expected: 'data in one place', got: 'in two' });
  const data = raw ?? (location === 1 ? new Uint8Array(0) : bytesOfLists(label, dtype, lists, countElements(label, shape)));
  return { name, dtype, shape, data, external: location === 1 ? external : undefined };
}

function parseEntry(field: string, message: Uint8Array): [string, string] {
  let [key, value] = ['', ''];
  for (const part of readFields(field, message)) {
    if (part.number === entry.key) key = textOf(field, part);
    if (part.number === entry.value) value = textOf(field, part);
  }
  return [key, value];
}

/** The numbers of a repeated varint field, packed or not. */
function* varintsOf(field: string, part: ProtobufField): Generator<bigint> {
  if (part.wire === 0) yield part.varint;
  else if (part.wire === 2) {
    const cursor = new ByteCursor(field, part.bytes);
    while (cursor.remaining > 0) yield readVarint(cursor);
  } else throw new MalformedFileError({ field, expected: 'integers', got: `wire type ${part.wire}` });
}

/** The `elements` of `float_data`, `int32_data`, … as little-endian bytes of the type. */
function bytesOfLists(label: string, dtype: Dtype, lists: readonly ProtobufField[], elements: number): Uint8Array {
  const wanted = listOf(dtype);
  const wrong = lists.find(({ number }) => number !== wanted);
  if (wrong !== undefined)
    throw new MalformedFileError({ field: label, expected: `${dtype} in field ${wanted}`, got: `field ${wrong.number}` });
  if (wanted === proto.floatData || wanted === proto.doubleData) return joinFixed(label, lists, wanted === proto.floatData ? 5 : 1);
  // An integer takes a byte or more: what a shape claims must not decide what is allocated.
  const most = lists.reduce((sum, { bytes, wire }) => sum + (wire === 0 ? 1 : bytes.byteLength), 0);
  const refuse = (got: string): never => {
    throw new MalformedFileError({ field: label, expected: `${elements} numbers`, got });
  };
  if (elements > most) refuse(`at most ${most}`);
  const width = dtypeBits[dtype] / 8;
  const result = new Uint8Array(elements * width);
  const view = new DataView(result.buffer);
  let i = 0;
  for (const part of lists) {
    for (const number of varintsOf(label, part)) {
      if (i >= elements) refuse('more');
      // Two's complement of any width is the low bits.
      if (width === 8) view.setBigUint64(8 * i, number, true);
      else if (width === 4) view.setUint32(4 * i, Number(BigInt.asUintN(32, number)), true);
      else if (width === 2) view.setUint16(2 * i, Number(BigInt.asUintN(16, number)), true);
      else result[i] = Number(BigInt.asUintN(8, number));
      i++;
    }
  }
  return i === elements ? result : refuse(`${i}`);
}

/** Fixed-width elements, packed or one a field: little-endian as they stand. */
function joinFixed(label: string, lists: readonly ProtobufField[], single: 1 | 5): Uint8Array {
  for (const { wire } of lists) {
    if (wire !== 2 && wire !== single)
      throw new MalformedFileError({ field: label, expected: 'floating-point numbers', got: `wire type ${wire}` });
  }
  return lists.length === 1 ? (lists[0] as ProtobufField).bytes : concatBytes(lists.map(({ bytes }) => bytes));
}

async function readExternal(
  label: string,
  facts: ReadonlyMap<string, string>,
  byteLength: number,
  files: Map<string, Uint8Array>,
  collected: TensorCollector,
  options: ReadForeignOptions,
): Promise<Uint8Array> {
  const location = facts.get('location') ?? '';
  const number = (key: string, fallback: number): number => {
    const text = facts.get(key);
    if (text === undefined) return fallback;
    if (!/^\d{1,15}$/.test(text))
      throw new MalformedFileError({ field: `${label} ${key}`, expected: 'an integer ≥ 0', got: describe(text) });
    return Number(text);
  };
  let file = files.get(location);
  if (file === undefined) {
    file = await readPart(`${label} location`, location, options);
    files.set(location, file);
    collected.addStored(file.byteLength);
  }
  return new ByteCursor(`${label} in ${location}`, file).seek(number('offset', 0)).bytes(number('length', byteLength));
}
