/** LoRA adapters on disk, as PEFT has them: `adapter_model.safetensors` and, beside it, `adapter_config.json`. */
import { basename, dirname, join } from 'node:path';
import { type Adapter, adapterMetadata, isAdapter, readAdapter } from '../bundle/foreign/adapter.ts';
import type { ForeignCheckpoint } from '../bundle/foreign/checkpoint.ts';
import { type NameRule, recordedRules } from '../bundle/foreign/name-rules.ts';
import { decodeUtf8, type JsonObject, parseJsonObject } from '../bundle/json.ts';
import { limits } from '../core/limits.ts';
import { onlyDefined } from '../core/only-defined.ts';
import type { TrajectoryBundle, TransferResult } from '../index.ts';
import { indentedJson } from '../report/json.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import { type AdapterOptions, portAdapter, requireAdapterOfPart } from '../transfer/adapter.ts';
import { ADAPTER_CONFIG, checkpointPath } from './checkpoints.node.ts';
import { FileError, UsageError } from './exit.ts';
import { files } from './file-system.node.ts';
import { readWhole } from './read-files.node.ts';
import type { Output } from './output.ts';
import { readTensors } from './weights.node.ts';
import type { Like, WeightFile } from './written-weights.node.ts';
import { filesOf, formatOf } from './written-weights.node.ts';

interface AdapterFile {
  readonly adapter: Adapter;
  readonly config: JsonObject;
  readonly configPath: string;
}

/** @param path the adapter's file or folder. @param file what is in it. @throws FileError without a config beside it. */
export function adapterOf(path: string, file: ForeignCheckpoint): AdapterFile {
  const configPath = join(dirname(checkpointPath(path)), ADAPTER_CONFIG);
  if (!files().exists(configPath))
    throw new FileError(configPath, "no such file; PEFT saves it beside an adapter's weights, and it says how much they count");
  const config = parseJsonObject(decodeUtf8(configPath, readWhole(configPath, limits.manifestBytes)), { field: configPath });
  return { adapter: readAdapter(file, config, path), config, configPath };
}

/** A port that is to be written as an adapter. All that this takes is read before the work: a file that is gone after it loses none. */
export interface AdapterPort extends AdapterFile, Pick<AdapterOptions, 'graph' | 'base'> {
  readonly rules: readonly NameRule[];
  readonly out: string;
}

/** Whether the file of --like is an adapter, so that an adapter is written. */
export function isAdapterLike(like: Like | undefined): like is Like {
  return like !== undefined && isAdapter(like.file);
}

/**
 * Reads what an adapter is ported by, and holds it to the part of the bundle that is ported.
 * @param files the base that is ported to has the names that the adapter's base has, or some that are known for them.
 * @throws UsageError, and MalformedFileError where the adapter is not what was fine-tuned there.
 */
export async function openAdapterPort(
  { like, target, out }: { readonly like: Like; readonly target: string; readonly out: string },
  bundle: TrajectoryBundle, part: { readonly first: number; readonly last: number }, signal?: AbortSignal,
): Promise<AdapterPort> {
  if (formatOf('--out', out) !== 'safetensors') throw new UsageError(`--out is to end with .safetensors for an adapter, not ${out}`);
  const { graph, training } = bundle;
  const port = { ...adapterOf(like.path, like.file), graph, base: await readTensors(target), rules: recordedRules(training), out };
  const { adapter, base, rules } = port;
  await requireAdapterOfPart({ graph, adapter, base, rules }, bundle, part, signal);
  return port;
}

/** The ported adapter, and its config beside it. */
export async function adapterFiles(
  { graph, adapter, config, base, rules, out }: AdapterPort, target: NetworkState, result: TransferResult, signal?: AbortSignal,
): Promise<readonly WeightFile[]> {
  const tensors = await portAdapter({ graph, adapter, base, rules, target, result, ...onlyDefined({ signal }) });
  const written = await filesOf(out, tensors, { format: 'safetensors', metadata: adapterMetadata });
  return [...written.files, configFile(out, config)];
}

/** The files that `adapterFiles` gives, by their names. */
export const adapterPaths = (out: string): readonly string[] => [out, configPathOf(out)];

/** PEFT looks for one name only. */
export function remarkAdapterName(output: Output, out: string): void {
  if (basename(out) === 'adapter_model.safetensors') return;
  output.warn(`${out}: PEFT looks for an adapter as adapter_model.safetensors, in the folder of its ${ADAPTER_CONFIG}`);
}

const configPathOf = (out: string): string => join(dirname(out), ADAPTER_CONFIG);

/** It no longer names a base: that of the given adapter is v1, which a loader would put it on without a word. */
function configFile(out: string, config: JsonObject): WeightFile {
  const text = indentedJson({ ...config, base_model_name_or_path: null, revision: null });
  return { name: ADAPTER_CONFIG, path: configPathOf(out), bytes: new TextEncoder().encode(text) };
}
