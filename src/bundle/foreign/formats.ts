/**
 * The kinds of people's files: how each is told from the others, and what reads it. By content first, since names lie;
 * by name only where bytes say nothing.
 */
import { describe } from '../../core/describe.ts';
import { LimitError, MalformedFileError, UnsupportedError, TrajportError } from '../../core/errors.ts';
import { requireBytes, requireMembers } from '../../core/require.ts';
import { requireOptions } from '../../core/options.ts';
import type { OptionNames } from '../../core/options.ts';
import { memorySource } from '../random-access.ts';
import { type JsonObject, decodeUtf8, parseJsonObject } from '../json.ts';
import { type RawTensor, readSafetensors } from '../safetensors.ts';
import { openZip } from '../zip-reader.ts';
import type { ForeignCheckpoint, ForeignFile, ReadForeignOptions } from './checkpoint.ts';
import { isGguf, readGguf } from './gguf.ts';
import { isHdf5, userBlockBytes } from './hdf5.ts';
import { KERAS_WEIGHTS, readKeras, readKerasHdf5 } from './keras.ts';
import { readNpy } from './npy.ts';
import { readNpz } from './npz.ts';
import { looksLikeOnnx, readOnnx } from './onnx.ts';
import { MODEL_JSON_BYTES } from './parts.ts';
import { isLegacyPytorch, readLegacyPytorch } from './pytorch-legacy.ts';
import { pytorchFolder, readPytorch } from './pytorch.ts';
import { isShardIndex, readSharded } from './sharded.ts';
import { isTfjsModel, readTfjs } from './tfjs.ts';

export type ForeignFormat =
  'safetensors' | 'sharded' | 'npy' | 'npz' | 'pytorch' | 'pytorch-legacy' | 'tfjs' | 'gguf' | 'onnx' | 'keras-hdf5' | 'keras';

/** What people call each kind. */
export const foreignFormatNames: Readonly<Record<ForeignFormat, string>> = {
  safetensors: 'safetensors',
  sharded: 'safetensors or PyTorch in parts, with an index',
  npy: 'npy',
  npz: 'npz',
  pytorch: 'PyTorch',
  'pytorch-legacy': 'PyTorch before 1.6',
  tfjs: 'TensorFlow.js',
  gguf: 'GGUF',
  onnx: 'ONNX',
  'keras-hdf5': 'HDF5 (Keras)',
  keras: 'Keras',
};

const readers: Readonly<
  Record<ForeignFormat, (file: ForeignFile, options: ReadForeignOptions) => ForeignCheckpoint | Promise<ForeignCheckpoint>>
> = {
  safetensors: ({ name, bytes }) => ({ ...readSafetensors(bytes, name), convention: 'pytorch' }),
  sharded: (file, options) =>
    readSharded(file, options, (shard) => readForeign(shard, options.signal === undefined ? {} : { signal: options.signal })),
  npy: ({ name, bytes }) => plain(new Map([[stemOf(name), readNpy(bytes, name)]])),
  npz: async ({ name, bytes }, { signal }) => plain(await readNpz(bytes, { field: name, ...(signal === undefined ? {} : { signal }) })),
  pytorch: readPytorch,
  'pytorch-legacy': readLegacyPytorch,
  tfjs: readTfjs,
  gguf: readGguf,
  onnx: readOnnx,
  'keras-hdf5': readKerasHdf5,
  keras: readKeras,
};

const plain = (tensors: ReadonlyMap<string, RawTensor>): ForeignCheckpoint => ({ tensors, metadata: new Map(), convention: 'pytorch' });

/** `run/weight.npy` → `weight`: an npy file names its array nowhere else. */
const stemOf = (name: string): string => name.replace(/^.*[/\\]/, '').replace(/\.npy$/i, '');

const startsWith = (bytes: Uint8Array, prefix: readonly number[]): boolean => prefix.every((byte, i) => bytes[i] === byte);

/**
 * The kind of a file, or undefined where it is none that we read. A bundle is none: it is opened by `openBundle`.
 * @throws MalformedFileError, LimitError for archives and JSON documents that cannot be read.
 */
export async function detect(file: ForeignFile): Promise<ForeignFormat | undefined> {
  requireFile(file);
  const { name, bytes } = file;
  if (startsWith(bytes, [0x50, 0x4b, 0x03, 0x04])) return detectArchive(file);
  if (startsWith(bytes, [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59])) return 'npy';
  if (isLegacyPytorch(bytes)) return 'pytorch-legacy';
  if (isGguf(bytes)) return 'gguf';
  if (isHdf5(bytes)) return 'keras-hdf5';
  if (bytes[0] === 0x7b) return detectJson(file);
  // A length below 2^48 and then the header.
  if (bytes[8] === 0x7b && bytes[6] === 0 && bytes[7] === 0) return 'safetensors';
  if (looksLikeOnnx(bytes)) return 'onnx';
  if (/\.onnx$/i.test(name)) return 'onnx';
  return /\.safetensors$/i.test(name) ? 'safetensors' : undefined;
}

async function detectArchive({ name, bytes }: ForeignFile): Promise<ForeignFormat | undefined> {
  const { entries } = await openZip(memorySource(bytes), { field: name, entryBytes: Number.MAX_SAFE_INTEGER });
  if (entries.has(KERAS_WEIGHTS)) return 'keras';
  if (pytorchFolder(entries.keys()) !== undefined) return 'pytorch';
  return entries.size > 0 && [...entries.keys()].every((entry) => entry.endsWith('.npy')) ? 'npz' : undefined;
}

function detectJson({ name, bytes }: ForeignFile): ForeignFormat | undefined {
  let json: JsonObject;
  try {
    if (bytes.byteLength > MODEL_JSON_BYTES)
      throw new LimitError({ field: name, expected: `at most ${MODEL_JSON_BYTES} bytes of JSON`, got: `${bytes.byteLength}` });
    json = parseJsonObject(decodeUtf8(name, bytes), { field: name });
  } catch (error) {
    // A safetensors file whose header is 123 bytes long begins with '{' too.
    if (error instanceof TrajportError && bytes[8] === 0x7b) return 'safetensors';
    throw error;
  }
  if (isTfjsModel(json)) return 'tfjs';
  return isShardIndex(json) ? 'sharded' : undefined;
}

function requireFile(file: ForeignFile): void {
  requireMembers('file', file, ['name', 'bytes'], "a file's { name, bytes }");
  requireBytes('file.bytes', file.bytes);
}

/** What a download of weights often is instead of them. @throws MalformedFileError that says what to do. */
function refuseStandIn({ name, bytes }: ForeignFile): void {
  const head = String.fromCharCode(...bytes.subarray(0, 64)).trimStart().toLowerCase();
  if (head.startsWith('version https://git-lfs'))
    throw new MalformedFileError({
      field: name, expected: 'the file itself, which `git lfs pull` fetches', got: "Git LFS's pointer to it, which a clone without LFS has",
    });
  if (/^<(!doctype html|html)/.test(head))
    throw new MalformedFileError({
      field: name,
      expected: 'a file of weights',
      got: "a web page: a site's page about a file is not its download (Hugging Face: resolve, not blob)",
    });
}

const optionNames: OptionNames<ReadForeignOptions> = { readBeside: true, signal: true };

export interface ForeignFileRead extends ForeignCheckpoint {
  readonly format: ForeignFormat;
}

/**
 * Reads a checkpoint file of any kind.
 * @throws UnsupportedError for kinds we do not know; MalformedFileError, LimitError, and the reader's errors; InvalidArgumentError for
 *   options that there are not. Rejects with the signal's reason when aborted.
 */
export async function readForeign(file: ForeignFile, options: ReadForeignOptions = {}): Promise<ForeignFileRead> {
  requireOptions('readForeign', options, optionNames);
  options.signal?.throwIfAborted();
  requireFile(file);
  if (file.bytes.byteLength === 0) throw new MalformedFileError({ field: file.name, expected: 'a file with content', got: 'an empty one' });
  refuseStandIn(file);
  const format = await detect(file);
  if (format === undefined) {
    const userBlock = userBlockBytes(file.bytes);
    if (userBlock !== undefined)
      throw new UnsupportedError({ field: file.name, expected: 'HDF5 without a user block', got: `one of ${userBlock} bytes` });
    throw new UnsupportedError({
      field: file.name,
      expected: `a file of ${Object.values(foreignFormatNames).join(', ')}`,
      got: `bytes that begin with ${describe(String.fromCharCode(...file.bytes.subarray(0, 8)))}`,
    });
  }
  return { ...(await readers[format](file, options)), format };
}
