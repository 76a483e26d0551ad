/** From people's files to a network's state and to a trajectory: which files of a folder, in which order, under which labels. */
import { describe } from '../../core/describe.ts';
import { InvalidArgumentError, LimitError } from '../../core/errors.ts';
import { requireOptions } from '../../core/options.ts';
import type { OptionNames } from '../../core/options.ts';
import { requireFlag, requireMembers } from '../../core/require.ts';
import { limits } from '../../core/limits.ts';
import { type ModelGraph, parameterLayout } from '../../model/graph.ts';
import { findHead, headParameters } from '../../model/head.ts';
import type { NetworkState } from '../../tensor/tensor.ts';
import { stateFromRawTensors, zeroTensors } from '../network-state.ts';
import type { ForeignCheckpoint } from './checkpoint.ts';
import { type MappingReport, mapNames, mappingOptions } from './map-names.ts';
import type { NameRule } from './name-rules.ts';

export interface MappedState {
  /** Undefined where the file does not fit; `report` says why. */
  readonly state: NetworkState | undefined;
  readonly report: MappingReport;
  /** Names of tensors of 16-bit floats: late steps of a trajectory may be smaller than their spacing. */
  readonly narrow: readonly string[];
}

export interface StateFromForeignOptions {
  /**
   * The last layer becomes zeros, whatever the file has for it: the weights of a base whose head is of another task, or that
   * has none. Default false.
   */
  readonly zeroHead?: boolean;
}

const optionNames: OptionNames<StateFromForeignOptions> = { zeroHead: true };

/**
 * A file's tensors as the state of `graph`, in f32.
 * @param field what messages call the file.
 * @throws UnsupportedError for element types that have no f32 form, and for Keras files where the order of flattened images
 *   cannot be followed; InvalidArgumentError for `zeroHead` of a network whose output is no layer of its own.
 */
export function stateFromForeign(
  graph: ModelGraph, checkpoint: ForeignCheckpoint, rules: readonly NameRule[] = [], field = 'checkpoint', options: StateFromForeignOptions = {},
): MappedState {
  requireMembers('checkpoint', checkpoint, ['tensors', 'convention'], 'what readForeign gives');
  requireOptions('stateFromForeign', options, optionNames);
  const layout = parameterLayout(graph);
  const replaced = requireFlag('zeroHead', options.zeroHead ?? false) ? headParameters(graph) : new Set<string>();
  const mapped = mapNames(checkpoint.tensors, layout, rules, { ...mappingOptions(graph, checkpoint.convention, rules), replaced });
  const { report } = mapped;
  const tensors = new Map([...mapped.tensors, ...zeroTensors(layout, replaced)]);
  const narrow = [...tensors].flatMap(([name, { dtype }]) => (dtype === 'F16' || dtype === 'BF16' ? [name] : []));
  return { state: report.fits ? stateFromRawTensors(layout, tensors, field) : undefined, report, narrow };
}

/** Whether a file holds the network but for its last layer, whatever it has for that. */
export function fitsWithoutHead(graph: ModelGraph, checkpoint: ForeignCheckpoint, rules: readonly NameRule[] = []): boolean {
  const replaced = findHead(graph);
  if (replaced === undefined) return false;
  return mapNames(checkpoint.tensors, parameterLayout(graph), rules, { ...mappingOptions(graph, checkpoint.convention, rules), replaced }).report.fits;
}

const CHECKPOINT_FILE =
  /\.(safetensors|pt|pth|ckpt|npz|onnx|gguf|h5|hdf5|keras)$|(^|\/)(model\.json|pytorch_model\.bin|[^/]+\.(safetensors|bin)\.index\.json)$/i;
/** Parts that an index or manifest names. */
const PART = /-\d{5}-of-\d{5}\.(safetensors|bin)$/i;
/** What training scripts keep beside the weights, by Hugging Face's names. */
const NOT_WEIGHTS = /(^|\/)(optimizer|scheduler|training_args|rng_state[^/]*|scaler)\.(pt|pth|bin)$/i;

/**
 * The checkpoints among a folder's files (paths with '/'), numbers in names compared as numbers, so that `epoch-10`
 * follows `epoch-9`. Parts of a checkpoint in parts are left to its index.
 */
export function checkpointFiles(paths: readonly string[]): readonly string[] {
  return paths.filter((path) => CHECKPOINT_FILE.test(path) && !PART.test(path) && !NOT_WEIGHTS.test(path)).toSorted(compareNatural);
}

/** Runs of digits by their value, everything else by code unit: the same order in every locale. */
export function compareNatural(a: string, b: string): number {
  const [left, right] = [a.split(/(\d+)/), b.split(/(\d+)/)];
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    const [x, y] = [left[i] as string, right[i] as string];
    if (x === y) continue;
    // Odd pieces are digits: without leading zeros, the longer one is larger.
    const [u, v] = i % 2 === 1 ? [x.replace(/^0+/, ''), y.replace(/^0+/, '')] : [x, y];
    if (i % 2 === 1 && u.length !== v.length) return u.length - v.length;
    if (u !== v) return u < v ? -1 : 1;
  }
  return left.length - right.length || (a < b ? -1 : a > b ? 1 : 0);
}

export interface CheckpointLabel {
  readonly label: string;
  /** From `epoch-12` or `epoch12.5` in the path, where every file has one and they do not fall. */
  readonly epoch: number | undefined;
}

/**
 * Labels for checkpoints in the order given: their file names without extension, or the folder's where all files have
 * one name (`checkpoint-500/model.safetensors`).
 * @throws InvalidArgumentError where two would have the same label.
 */
export function checkpointLabels(paths: readonly string[]): readonly CheckpointLabel[] {
  if (paths.length > limits.checkpoints)
    throw new LimitError({ field: 'checkpoints', expected: `at most ${limits.checkpoints}`, got: `${paths.length}` });
  const bare = paths.map((path) =>
    path.replace(/(\.(safetensors|bin))?\.(safetensors|pt|pth|ckpt|npz|onnx|gguf|h5|hdf5|keras|bin|json|index\.json)$/i, ''),
  );
  const names = bare.map((path) => path.slice(path.lastIndexOf('/') + 1));
  const distinct = new Set(names).size === names.length;
  // The last folder's name where file names do not tell checkpoints apart.
  const labels = distinct ? names : bare.map((path) => path.split('/').at(-2) ?? path);
  const seen = new Set<string>();
  for (const label of labels) {
    if (label === '' || seen.has(label))
      throw new InvalidArgumentError({ field: 'checkpoints', expected: 'files whose names differ', got: `${describe(label)} twice` });
    seen.add(label);
  }
  const epochs = paths
    .map((path) => /epoch[-_= ]?(\d+(?:\.\d+)?)/i.exec(path.split('/').slice(-2).join('/'))?.[1])
    .map((text) => (text === undefined ? NaN : Number(text)));
  const rising = epochs.every((epoch, i) => Number.isFinite(epoch) && (i === 0 || epoch >= (epochs[i - 1] as number)));
  return labels.map((label, i) => ({ label, epoch: rising ? epochs[i] : undefined }));
}
