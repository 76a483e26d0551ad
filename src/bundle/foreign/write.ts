/** Tensors into a file of another kind. What a kind cannot hold is widened where that is exact and refused where not. */
import { describe } from '../../core/describe.ts';
import { InvalidArgumentError, UnsupportedError } from '../../core/errors.ts';
import { requireChoice, requireText } from '../../core/require.ts';
import { requireOptions } from '../../core/options.ts';
import type { OptionNames } from '../../core/options.ts';
import { type Dtype, toFloat32 } from '../dtype.ts';
import type { JsonObject } from '../json.ts';
import { type RawTensor, writeSafetensors } from '../safetensors.ts';
import { isNumpyDtype } from './npy.ts';
import { writeNpz } from './npz.ts';
import { isTfjsDtype, writeTfjs } from './tfjs.ts';

export const writableFormats = ['safetensors', 'npz', 'tfjs'] as const;
export type WritableFormat = (typeof writableFormats)[number];

const extensions: Readonly<Record<WritableFormat, string>> = { safetensors: '.safetensors', npz: '.npz', tfjs: '.json' };

/** The kind that a file of that name is to be. @throws InvalidArgumentError where the name does not say. */
export function writableFormatOf(name: string): WritableFormat {
  requireText('output', name);
  const format = writableFormats.find((candidate) => name.toLowerCase().endsWith(extensions[candidate]));
  if (format === undefined) {
    throw new InvalidArgumentError({
      field: 'output',
      expected: `a name that ends with ${Object.values(extensions).join(', ')}`,
      got: describe(name),
    });
  }
  return format;
}

/** A file by the name that it is to have. */
export interface WrittenFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

export interface WriteForeignOptions {
  readonly format: WritableFormat;
  /** Name of the main file; parts are named after it. */
  readonly name: string;
  /** `keep` (default): every element type stays, or becomes one that holds all of its values. `f32`: floats become F32. */
  readonly dtype?: 'keep' | 'f32';
  /** Only safetensors files hold it. */
  readonly metadata?: ReadonlyMap<string, string>;
  /** TensorFlow.js: what `model.json` says besides, as `readForeign` gives it; default: that these are weights alone. */
  readonly modelJson?: JsonObject;
}

const optionNames: OptionNames<WriteForeignOptions> = { format: true, name: true, dtype: true, metadata: true, modelJson: true };

export interface WrittenForeign {
  /** The main file first. */
  readonly files: readonly WrittenFile[];
  readonly changed: readonly { readonly name: string; readonly from: Dtype; readonly to: Dtype }[];
}

const accepts: Readonly<Record<WritableFormat, (dtype: Dtype) => boolean>> = {
  safetensors: () => true,
  npz: isNumpyDtype,
  tfjs: isTfjsDtype,
};

/**
 * The files of tensors, by their names and in their order.
 * @throws UnsupportedError naming the tensor whose values the kind cannot hold; InvalidArgumentError for an option that is none.
 */
export async function writeForeign(tensors: ReadonlyMap<string, RawTensor>, options: WriteForeignOptions): Promise<WrittenForeign> {
  if (!(tensors instanceof Map))
    throw new InvalidArgumentError({ field: 'tensors', expected: 'a Map of tensors, as of stateToForeign()', got: describe(tensors) });
  requireOptions('writeForeign', options, optionNames);
  requireChoice('format', options.format, writableFormats);
  requireText('name', options.name);
  requireChoice('dtype', options.dtype ?? 'keep', ['keep', 'f32']);
  const changed: { name: string; from: Dtype; to: Dtype }[] = [];
  const fitting = new Map<string, RawTensor>();
  for (const [name, tensor] of tensors) {
    const fit = fitDtype(name, tensor, options);
    if (fit.dtype !== tensor.dtype) changed.push({ name, from: tensor.dtype, to: fit.dtype });
    fitting.set(name, fit);
  }
  return { files: await encode(fitting, options), changed };
}

async function encode(
  tensors: ReadonlyMap<string, RawTensor>, { format, name, metadata, modelJson }: WriteForeignOptions,
): Promise<WrittenFile[]> {
  if (format === 'safetensors') return [{ name, bytes: writeSafetensors(tensors, metadata) }];
  if (format === 'npz') return [{ name, bytes: await writeNpz(tensors) }];
  const { json, shards } = writeTfjs(tensors, name.replace(/\.json$/i, ''), modelJson);
  return [{ name, bytes: json }, ...[...shards].map(([shard, bytes]) => ({ name: shard, bytes }))];
}

const floats: readonly Dtype[] = ['F64', 'F32', 'F16', 'BF16'];
const narrowIntegers: readonly Dtype[] = ['I8', 'U8', 'I16', 'U16'];

function fitDtype(name: string, tensor: RawTensor, { format, dtype = 'keep' }: WriteForeignOptions): RawTensor {
  const accept = accepts[format];
  if (dtype === 'f32' && floats.includes(tensor.dtype)) return asF32(name, tensor);
  if (accept(tensor.dtype)) return tensor;
  if (tensor.dtype === 'BF16' || tensor.dtype === 'F16') return asF32(name, tensor);
  if (narrowIntegers.includes(tensor.dtype)) return asI32(name, tensor);
  if (tensor.dtype === 'I64' || tensor.dtype === 'U64' || tensor.dtype === 'U32') return asI32(name, tensor);
  throw new UnsupportedError({
    field: name,
    expected: `a type that ${format} files hold${tensor.dtype === 'F64' ? " (dtype 'f32' rounds)" : ''}`,
    got: tensor.dtype,
  });
}

function asF32(name: string, { dtype, shape, bytes }: RawTensor): RawTensor {
  return { dtype: 'F32', shape, bytes: new Uint8Array(toFloat32(name, dtype, bytes).buffer) };
}

/** Exactly, or not at all. */
function asI32(name: string, { dtype, shape, bytes }: RawTensor): RawTensor {
  const wide = dtype === 'I64' || dtype === 'U64';
  const width = { I64: 8, U64: 8, U32: 4, U16: 2, I16: 2 }[dtype as 'I64'] ?? 1;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const result = new Int32Array(bytes.byteLength / width);
  for (let i = 0; i < result.length; i++) {
    const value = wide
      ? Number(dtype === 'I64' ? view.getBigInt64(8 * i, true) : view.getBigUint64(8 * i, true))
      : narrowAt(view, dtype, i);
    if ((value | 0) !== value)
      throw new UnsupportedError({ field: name, expected: 'integers of 32 bits, which is all that the file holds', got: `${value}` });
    result[i] = value;
  }
  return { dtype: 'I32', shape, bytes: new Uint8Array(result.buffer) };
}

function narrowAt(view: DataView, dtype: Dtype, i: number): number {
  switch (dtype) {
    case 'U32': return view.getUint32(4 * i, true);
    case 'U16': return view.getUint16(2 * i, true);
    case 'I16': return view.getInt16(2 * i, true);
    case 'I8': return view.getInt8(i);
    default: return view.getUint8(i);
  }
}
