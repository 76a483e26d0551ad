/**
 * Checkpoints in parts, as Hugging Face writes them: `model.safetensors.index.json` (or `pytorch_model.bin.index.json`)
 * maps each tensor's name to the file beside it that holds it. Every shard must hold exactly the tensors that the index
 * says.
 */
import { describe } from '../../core/describe.ts';
import { LimitError, MalformedFileError } from '../../core/errors.ts';
import { limits } from '../../core/limits.ts';
import { type JsonObject, decodeUtf8, isJsonObject, parseJsonObject } from '../json.ts';
import type { RawTensor } from '../safetensors.ts';
import { type ForeignCheckpoint, type ForeignFile, type ReadForeignOptions, TensorCollector, readPart } from './checkpoint.ts';

/** Files of one model: the largest published have a few hundred. */
const SHARDS = 4096;

/** Whether a parsed JSON document is an index. */
export function isShardIndex(json: JsonObject): boolean {
  return isJsonObject(json['weight_map']);
}

/**
 * @param readShard reads one file of any single-file kind.
 * @throws MalformedFileError, LimitError, and what `readShard` throws.
 */
export async function readSharded(
  { name: field, bytes }: ForeignFile,
  options: ReadForeignOptions,
  readShard: (file: ForeignFile) => Promise<ForeignCheckpoint>,
): Promise<ForeignCheckpoint> {
  const shards = parseIndex(field, bytes);
  const metadata = new Map<string, string>();
  const read = new Map<string, RawTensor>();
  for (const [shard, names] of shards) {
    const file = await readShard({ name: shard, bytes: await readPart(field, shard, options) });
    for (const [name, tensor] of file.tensors) {
      if (!names.delete(name))
        throw new MalformedFileError({
          field: `${shard}.${name}`,
          expected: `a tensor that ${field} places in this shard`,
          got: 'another',
        });
      read.set(name, tensor);
    }
    const [missing] = names;
    if (missing !== undefined)
      throw new MalformedFileError({ field: shard, expected: `the tensor ${describe(missing)}`, got: 'none of that name' });
    for (const [key, value] of file.metadata) metadata.set(key, value);
  }
  const collected = new TensorCollector(field);
  for (const [name, tensor] of read) collected.add(name, tensor);
  return { tensors: collected.tensors, metadata, convention: 'pytorch' };
}

/** Shard → names, in the order of first mention. */
function parseIndex(field: string, bytes: Uint8Array): Map<string, Set<string>> {
  if (bytes.byteLength > limits.manifestBytes) {
    throw new LimitError({ field, expected: `an index of at most ${limits.manifestBytes} bytes`, got: `${bytes.byteLength}` });
  }
  const map = parseJsonObject(decodeUtf8(field, bytes), { field })['weight_map'];
  if (!isJsonObject(map)) throw new MalformedFileError({ field: `${field}.weight_map`, expected: 'an object', got: describe(map) });
  const shards = new Map<string, Set<string>>();
  for (const [name, shard] of Object.entries(map)) {
    if (typeof shard !== 'string')
      throw new MalformedFileError({ field: `${field}.weight_map.${name}`, expected: "a shard's file name", got: describe(shard) });
    const names = shards.get(shard) ?? new Set();
    shards.set(shard, names.add(name));
  }
  if (shards.size === 0 || shards.size > SHARDS) {
    throw new LimitError({ field: `${field}.weight_map`, expected: `1 to ${SHARDS} shards`, got: `${shards.size}` });
  }
  return shards;
}
