/** Weights as files other than the network's own: of one or several parts, and as another file has them (`--like`). */
import { basename, dirname, join } from 'node:path';
import type { ForeignFileRead } from '../bundle/foreign/formats.ts';
import type { NameRule } from '../bundle/foreign/name-rules.ts';
import { stateFromForeign } from '../bundle/foreign/network.ts';
import { stateToForeign } from '../bundle/foreign/state-to-foreign.ts';
import { writableFormatOf, writeForeign } from '../bundle/foreign/write.ts';
import type { WritableFormat, WriteForeignOptions, WrittenFile, WrittenForeign } from '../bundle/foreign/write.ts';
import type { RawTensor } from '../bundle/safetensors.ts';
import { InvalidArgumentError } from '../core/errors.ts';
import type { ModelGraph } from '../model/graph.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import { weightFiles } from './checkpoints.node.ts';
import type { Claims } from './claims.node.ts';
import { UsageError } from './exit.ts';
import { writeAtomically } from './write-files.node.ts';
import { readTensors } from './weights.node.ts';

/** The option of every command that writes weights as another file has them; each has a help text of its own. */
export const likeOption = { kind: 'string', reads: weightFiles, metavar: 'FILE' } as const;

/** The file of --like. */
export interface Like {
  readonly path: string;
  readonly file: ForeignFileRead;
}

export async function readLike(path: string | undefined, signal: AbortSignal): Promise<Like | undefined> {
  return path === undefined ? undefined : { path, file: await readTensors(path, undefined, signal) };
}

export interface LikeTensors {
  readonly tensors: ReadonlyMap<string, RawTensor>;
  /** What the file of --like has besides the network. */
  readonly leftOut: readonly string[];
  /** What the written file says besides. */
  readonly besides: Pick<WriteForeignOptions, 'metadata' | 'modelJson'>;
}

/**
 * What is written of a state as another file has it: names, shapes and all but the numbers of its weights are the same of every
 * state of the network. @throws MalformedFileError where the file does not hold it.
 */
export function tensorsLike({ path, file }: Like, graph: ModelGraph, state: NetworkState, rules: readonly NameRule[]): LikeTensors {
  // Hugging Face's loaders want to be told whose layouts they are.
  const metadata = new Map(file.convention === 'pytorch' ? [['format', file.metadata.get('format') ?? 'pt']] : []);
  const tensors = stateToForeign(graph, state, file, rules, path);
  const { ignored } = stateFromForeign(graph, file, rules, path).report;
  return {
    tensors,
    leftOut: ignored.flatMap(({ from, belongs }) => (belongs ? [] : [from])),
    besides: { metadata, ...(file.modelJson === undefined ? {} : { modelJson: file.modelJson }) },
  };
}

/** @param by names the output. @throws UsageError for a name that does not say what is to be written. */
export function formatOf(by: string, path: string): WritableFormat {
  try {
    return writableFormatOf(path);
  } catch (error) {
    throw error instanceof InvalidArgumentError ? new UsageError(`${by} is ${error.expected}, not ${path}`) : error;
  }
}

/** A file to be written; its name is that of `path` without the folder. */
export interface WeightFile extends WrittenFile {
  readonly path: string;
}

/** The files of tensors: that of the output `path` first, then its parts, which stand beside it. */
export async function filesOf(
  path: string, tensors: ReadonlyMap<string, RawTensor>, options: Omit<WriteForeignOptions, 'name'>,
): Promise<{ readonly files: readonly WeightFile[]; readonly changed: WrittenForeign['changed'] }> {
  const { files, changed } = await writeForeign(tensors, { ...options, name: basename(path) });
  return { files: files.map((file) => ({ ...file, path: join(dirname(path), file.name) })), changed };
}

/** Parts have names once there are tensors. @param by names the output whose parts they are. @param reads, @throws as of `claim`. */
export function claimParts(claim: Claims['claim'], by: string, [main, ...parts]: readonly string[], reads?: readonly string[]): void {
  claim(parts.map((path) => ({ by: `a part of ${by} ${main},`, path, unlocked: true })), reads);
}

/**
 * Parts first: where there was nothing before, the main file stands only with all of them. Over an older model a crash between
 * two of the files leaves some of each.
 */
export function writeFiles(files: readonly WeightFile[]): void {
  for (const { path, bytes } of files.toReversed()) writeAtomically(path, bytes);
}
