/** Which files of a folder are checkpoints of a trajectory, in which order, under which labels: by their paths. */
import { describe } from '../../core/describe.ts';
import { InvalidArgumentError, LimitError } from '../../core/errors.ts';
import { limits } from '../../core/limits.ts';

const CHECKPOINT_FILE = new RegExp(
  String.raw`\.(safetensors|pt|pth|ckpt|npz|onnx|gguf|h5|hdf5|keras|(safetensors|bin)\.index\.json)$` +
  String.raw`|(^|/)(model\.json|(pytorch|adapter)_model\.bin)$`,
  'i',
);
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
