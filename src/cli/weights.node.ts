/** Bundles and weights on disk, of any kind, for a network. */
import { isAdapter } from '../bundle/foreign/adapter.ts';
import { foreignFormatNames, readForeign } from '../bundle/foreign/formats.ts';
import type { ForeignFileRead } from '../bundle/foreign/formats.ts';
import { requireFit } from '../bundle/foreign/map-names.ts';
import type { MappingReport } from '../bundle/foreign/map-names.ts';
import { recordedRules } from '../bundle/foreign/name-rules.ts';
import type { NameRule } from '../bundle/foreign/name-rules.ts';
import { fitsWithoutHead, stateFromForeign } from '../bundle/foreign/network.ts';
import type { MappedState } from '../bundle/foreign/network.ts';
import { openBundle } from '../bundle/reader.ts';
import type { TrajectoryBundle } from '../bundle/reader.ts';
import { withFresh } from '../transfer/replaced-head.ts';
import type { Compute } from '../index.ts';
import type { ModelGraph } from '../model/graph.ts';
import { findHead } from '../model/head.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import type { OptionSpecs, ValuesOf } from './arguments.ts';
import { readCheckpointFile } from './checkpoints.node.ts';
import type { GlobalValues } from './command.ts';
import { FileError, UsageError } from './exit.ts';
import { isFolder, openRandomAccess } from './read-files.node.ts';
import { requireFiniteWeights } from './finite.ts';
import { listed } from '../core/describe.ts';

export const headOptions = {
  'fresh-head': {
    kind: 'flag',
    help:
      'give the weights a random last layer first, drawn from --seed, whatever the file has for it: the old answers are not carried along',
  },
  'zero-head': {
    kind: 'flag',
    help:
      'give the weights zeros as last layer first, whatever the file has for it: for a base with another number of classes, or without ' +
      'a head',
  },
} as const satisfies OptionSpecs;

type HeadValues = ValuesOf<typeof headOptions>;

/** The option given that replaces a last layer. @throws UsageError for two. */
export function headOptionOf(values: HeadValues): keyof HeadValues | undefined {
  const [given, second] = (['fresh-head', 'zero-head'] as const).filter((option) => values[option]);
  if (second !== undefined) throw new UsageError('--fresh-head and --zero-head exclude each other');
  return given;
}

/**
 * Weights to start from, from a file; with --fresh-head or --zero-head their last layer is replaced.
 * @param training of the bundle whose network it is: names are also read as those of its own files were.
 */
export async function readStart(
  path: string, graph: ModelGraph, values: HeadValues & Pick<GlobalValues, 'seed'>, compute: () => Promise<Compute>, training?: unknown,
): Promise<NetworkState> {
  const option = headOptionOf(values);
  if (option !== undefined) requireHead(option, graph);
  const file = await readTensors(path);
  const { state, report, rules, zeroed } = mapState(graph, file, path, training, option !== undefined);
  const otherHead = !report.fits && option === undefined && fitsWithoutHead(graph, file, rules);
  requireFit(path, report, otherHead ? '--zero-head or --fresh-head replaces the last layer' : remedyOf(report));
  requireFiniteWeights(path, state as NetworkState);
  return option === 'fresh-head' ? withFresh(await compute(), graph, state as NetworkState, values.seed, zeroed) : (state as NetworkState);
}

/** By the file's names as they are, else by the rules that the bundle's own files were read by. */
function mapState(
  graph: ModelGraph, file: ForeignFileRead, path: string, training: unknown, zeroHead: boolean,
): MappedState & { readonly rules: readonly NameRule[] } {
  refuseAdapter(path, file);
  const plain = { ...stateFromForeign(graph, file, [], path, { zeroHead }), rules: [] };
  if (plain.report.fits) return plain;
  const rules = recordedRules(training);
  const ruled = { ...stateFromForeign(graph, file, rules, path, { zeroHead }), rules };
  return ruled.report.mapped.length > plain.report.mapped.length ? ruled : plain;
}

/** @throws FileError for an adapter in the place of a network's weights. */
export function refuseAdapter(path: string, file: ForeignFileRead): void {
  if (isAdapter(file))
    throw new FileError(path, 'is a LoRA adapter, which needs its base: trajport pack BASE ADAPTER --out FILE makes a bundle of the two');
}

function remedyOf({ mapped }: MappingReport): string | undefined {
  return mapped.length === 0 ? 'names that are its own take --rules of pack, or of convert' : undefined;
}

/** @throws UsageError for a network without a last layer that could be replaced. */
export function requireHead(option: string, graph: ModelGraph): void {
  if (findHead(graph) === undefined)
    throw new UsageError(`--${option} needs a network whose outputs come of a dense layer or convolution of their own; this one's do not`);
}

/** What is in a file of any kind, in the one checkpoint of a folder, or in a bundle's checkpoint `label` (default: the last). */
export async function readTensors(path: string, label?: string, signal?: AbortSignal): Promise<ForeignFileRead> {
  if (!isBundle(path)) return readCheckpointFile(path, signal);
  using opened = await openBundleFile(path, signal);
  const { bundle } = opened;
  return await readForeign({ name: path, bytes: await bundle.readCheckpointFile(checkpointIndex(bundle, label), signal) });
}

/** Our ZIPs end with the directory entry of their manifest; PyTorch's, numpy's and Keras's files are ZIPs too. */
const MANIFEST_NAME = Uint8Array.from('trajectory.json', (letter) => letter.charCodeAt(0));
const TAIL_BYTES = 65_536;

/** …and begin with an entry of theirs, behind a local header of 30 bytes. */
const FIRST_ENTRY = /^(checkpoints\/\d{4,}\.safetensors|trajectory\.json)/;
const HEAD_BYTES = 64;

/** By content, since names lie: also what only begins like a bundle, which `openBundleFile` then says is cut short. */
export function isBundle(path: string): boolean {
  if (isFolder(path)) return false;
  const { begins, ends } = lookOver(path);
  return begins || ends;
}

function lookOver(path: string): { readonly begins: boolean; readonly ends: boolean } {
  const file = openRandomAccess(path);
  try {
    if (file.byteLength < 4 || file.peek(2).join() !== '80,75') return { begins: false, ends: false };
    const head = String.fromCharCode(...file.peek(Math.min(file.byteLength, HEAD_BYTES)));
    const length = Math.min(file.byteLength, TAIL_BYTES);
    const tail = file.peek(length, file.byteLength - length);
    return {
      begins: FIRST_ENTRY.test(head.slice(30)),
      ends: tail.some((_, at) => MANIFEST_NAME.every((byte, i) => tail[at + i] === byte)),
    };
  } finally {
    file.close();
  }
}

export interface OpenedBundle extends Disposable {
  readonly bundle: TrajectoryBundle;
}

/** Opens a bundle on disk; only what is asked for is read. Close it with `using`. */
export async function openBundleFile(path: string, signal?: AbortSignal): Promise<OpenedBundle> {
  if (!lookOver(path).ends)
    throw new FileError(path, 'is not a bundle, or is cut short; trajport train --out and trajport pack make bundles');
  const file = openRandomAccess(path);
  try {
    const bundle = await openBundle(file, { name: path, ...(signal === undefined ? {} : { signal }) });
    return {
      bundle,
      [Symbol.dispose]: () => {
        bundle[Symbol.dispose]();
        file.close();
      },
    };
  } catch (error) {
    file.close();
    throw error;
  }
}

/**
 * Why weights cannot be used without a network: what reading them throws where they are none, so that a file of another
 * kind is not asked for one.
 */
export async function refuseWithoutNetwork(path: string): Promise<never> {
  const { format } = await readCheckpointFile(path);
  throw new UsageError(`${path} (${foreignFormatNames[format]}) holds no network: give --graph BUNDLE, --graph FILE.json or --model NAME`);
}

/**
 * Weights of `graph` from a file of any kind, or the last checkpoint of a bundle.
 * @param training as of `readStart`.
 * @throws NotFiniteError, by the file's name.
 */
export async function readWeights(path: string, graph: ModelGraph, training?: unknown): Promise<NetworkState> {
  const { state, report } = mapState(graph, await readTensors(path), path, training, false);
  requireFit(path, report, remedyOf(report));
  requireFiniteWeights(path, state as NetworkState);
  return state as NetworkState;
}

/** Number of the checkpoint with that label, the last one where none is named. */
export function checkpointIndex(bundle: TrajectoryBundle, label: string | undefined): number {
  if (label === undefined) return bundle.checkpoints.length - 1;
  const index = bundle.checkpoints.findIndex((checkpoint) => checkpoint.label === label);
  if (index < 0) {
    throw new UsageError(`there is no checkpoint ${JSON.stringify(label)}; there are ${listed(bundle.checkpoints.map((c) => c.label))}`);
  }
  return index;
}
