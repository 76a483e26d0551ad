/**
 * TensorFlow.js: `model.json` of a LayersModel or GraphModel, whose `weightsManifest` lists groups of tensors and the
 * files beside it that hold a group's bytes one after the other, cut anywhere. Topology is passed on and not looked at.
 */
import { concatBytes } from '../../core/bytes.ts';
import { describe } from '../../core/describe.ts';
import { LimitError, MalformedFileError, UnsupportedError } from '../../core/errors.ts';
import { type Dtype, dtypeBits } from '../dtype.ts';
import { countElements } from '../extents.ts';
import { type JsonObject, type JsonValue, decodeUtf8, isJsonObject, parseJsonObject } from '../json.ts';
import { type RawTensor, requireBytesOfShape } from '../safetensors.ts';
import {
  type ForeignCheckpoint,
  type ForeignFile,
  type ReadForeignOptions,
  TensorCollector,
  readPart,
} from './checkpoint.ts';

const dtypes: Readonly<Record<string, Dtype>> = { float32: 'F32', int32: 'I32', bool: 'BOOL', complex64: 'C64' };

/** Parts of one model: tfjs cuts at 4 MiB, so these are 64 GiB. */
const SHARDS = 16_384;

/** Whether a parsed JSON document is a tfjs model or manifest. */
export function isTfjsModel(json: JsonObject): boolean {
  return Array.isArray(json['weightsManifest']);
}

/** @throws MalformedFileError, UnsupportedError (strings, uint8 and uint16 quantisation), LimitError */
export async function readTfjs({ name: field, bytes }: ForeignFile, options: ReadForeignOptions): Promise<ForeignCheckpoint> {
  const root = parseJsonObject(decodeUtf8(field, bytes), { field });
  const collected = new TensorCollector(field);
  const seen = new Set<string>();
  let shards = 0;
  for (const [index, group] of listOf(`${field}.weightsManifest`, root['weightsManifest']).entries()) {
    const label = `${field}.weightsManifest[${index}]`;
    if (!isJsonObject(group)) throw new MalformedFileError({ field: label, expected: 'an object', got: describe(group) });
    const weights = listOf(`${label}.weights`, group['weights']).map((weight, i) => parseWeight(`${label}.weights[${i}]`, weight));
    const paths = listOf(`${label}.paths`, group['paths']);
    shards += paths.length;
    if (shards > SHARDS) throw new LimitError({ field: label, expected: `at most ${SHARDS} parts`, got: 'more' });
    const data = await readGroup(label, paths, seen, options);
    let at = 0;
    for (const { name, dtype, shape, byteLength } of weights) {
      const tensor = { dtype, shape, bytes: data.subarray(at, at + byteLength) };
      requireBytesOfShape(`${field}.${name}`, tensor);
      collected.add(name, tensor);
      at += byteLength;
    }
    if (at !== data.byteLength)
      throw new MalformedFileError({ field: label, expected: `${at} bytes of weights`, got: `${data.byteLength}` });
  }
  const { weightsManifest: _, ...modelJson } = root;
  return { tensors: collected.tensors, metadata: metadataOf(root), convention: 'keras', modelJson };
}

/** Without `format`: in a safetensors file that word names the framework, and transformers refuses one that it does not know. */
function metadataOf(root: JsonObject): Map<string, string> {
  const texts = ['generatedBy', 'convertedBy'].flatMap((key) => (typeof root[key] === 'string' ? [[key, root[key]] as const] : []));
  return new Map(texts);
}

function listOf(field: string, value: JsonValue | undefined): readonly JsonValue[] {
  if (!Array.isArray(value)) throw new MalformedFileError({ field, expected: 'a list', got: describe(value) });
  return value as readonly JsonValue[];
}

interface Weight {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly byteLength: number;
}

function parseWeight(field: string, value: JsonValue): Weight {
  if (!isJsonObject(value)) throw new MalformedFileError({ field, expected: 'an object', got: describe(value) });
  const { name, dtype: written, quantization } = value;
  if (typeof name !== 'string') throw new MalformedFileError({ field: `${field}.name`, expected: 'a string', got: describe(name) });
  const shape = listOf(`${field}.shape`, value['shape']) as readonly number[];
  const elements = countElements(`${field}.shape`, shape);
  const dtype = typeof written === 'string' && Object.hasOwn(dtypes, written) ? dtypes[written] : undefined;
  if (dtype === undefined) {
    throw new UnsupportedError({ field: `${field}.dtype`, expected: Object.keys(dtypes).join(', '), got: describe(written) });
  }
  if (quantization === undefined) return { name, dtype, shape, byteLength: (elements * dtypeBits[dtype]) / 8 };
  // Half floats are kept as they are; codes of 8 and 16 bits with a scale would lose the steps of a trajectory.
  if (!isJsonObject(quantization) || quantization['dtype'] !== 'float16' || dtype !== 'F32') {
    const got = isJsonObject(quantization) ? describe(quantization['dtype']) : describe(quantization);
    throw new UnsupportedError({ field: `${field}.quantization`, expected: 'none, or float16', got });
  }
  return { name, dtype: 'F16', shape, byteLength: elements * 2 };
}

async function readGroup(
  label: string, paths: readonly JsonValue[], seen: Set<string>, options: ReadForeignOptions,
): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for (const path of paths) {
    // A part named a thousand times, of a group or of as many groups, would multiply the bytes of a small file.
    if (typeof path !== 'string' || seen.has(path)) {
      throw new MalformedFileError({ field: `${label}.paths`, expected: 'file names that occur once', got: describe(path) });
    }
    seen.add(path);
    parts.push(await readPart(`${label}.paths`, path, options));
  }
  return parts.length === 1 ? (parts[0] as Uint8Array) : concatBytes(parts);
}

interface TfjsFiles {
  readonly json: Uint8Array<ArrayBuffer>;
  /** Parts by the names that the JSON gives them, to be written beside it. */
  readonly shards: ReadonlyMap<string, Uint8Array>;
}

/** What browsers like to cache; tfjs's own converter cuts here too. */
const SHARD_BYTES = 4 * 1024 * 1024;

const written: Readonly<Partial<Record<Dtype, JsonObject>>> = {
  F32: { dtype: 'float32' },
  F16: { dtype: 'float32', quantization: { dtype: 'float16', original_dtype: 'float32' } },
  I32: { dtype: 'int32' },
  BOOL: { dtype: 'bool' },
};

/** Whether tfjs's weight files can hold that type. */
export function isTfjsDtype(dtype: Dtype): boolean {
  return written[dtype] !== undefined;
}

/**
 * Weights for `tf.io`, without a topology unless `modelJson` has one. Parts are called `<stem>-shard1of2.bin`. Deterministic.
 * @throws UnsupportedError for types that tfjs's weight files cannot hold.
 */
export function writeTfjs(
  tensors: ReadonlyMap<string, RawTensor>, stem = 'group1', modelJson: JsonObject = { format: 'weights' },
): TfjsFiles {
  const weights: JsonObject[] = [];
  for (const [name, tensor] of tensors) {
    const type = written[tensor.dtype];
    if (type === undefined) throw new UnsupportedError({ field: name, expected: Object.keys(written).join(', '), got: tensor.dtype });
    requireBytesOfShape(name, tensor);
    weights.push({ name, shape: tensor.shape, ...type });
  }
  const data = concatBytes([...tensors.values()].map(({ bytes }) => bytes));
  const count = Math.max(1, Math.ceil(data.byteLength / SHARD_BYTES));
  const shards = new Map<string, Uint8Array>();
  for (let i = 0; i < count; i++) shards.set(`${stem}-shard${i + 1}of${count}.bin`, data.subarray(i * SHARD_BYTES, (i + 1) * SHARD_BYTES));
  const json = { ...modelJson, weightsManifest: [{ paths: [...shards.keys()], weights }] };
  return { json: new TextEncoder().encode(`${JSON.stringify(json)}\n`), shards };
}
