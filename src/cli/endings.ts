/** Outputs are named as what they hold, or at least as nothing else: who gives `--out weights.npz` expects an npz file. */
import { extname } from 'node:path';
import { UsageError } from './exit.ts';

const kinds = {
  bundle: { ending: '.zip', holds: 'a bundle', hint: '' },
  weights: { ending: '.safetensors', holds: 'safetensors', hint: '; trajport convert makes .npz and .json of it' },
  record: { ending: '.json', holds: 'JSON', hint: '' },
} as const;

/** What an output holds; of `any` the command itself says how its name may end. */
export type OutputKind = keyof typeof kinds | 'any';

/** Endings that promise something; any other, or none, promises nothing. */
const promising = [
  '.zip', '.safetensors', '.json', '.npz', '.npy', '.pt', '.pth', '.ckpt', '.bin', '.h5', '.hdf5', '.keras', '.onnx', '.gguf',
];

/** @throws UsageError where the file that an option names ends like another kind than it will hold. */
export function requireEnding(option: string, path: string, kind: OutputKind): void {
  if (kind === 'any') return;
  const { ending, holds, hint } = kinds[kind];
  const got = extname(path).toLowerCase();
  if (got !== ending && promising.includes(got))
    throw new UsageError(`${option} ${path} would hold ${holds}: let its name end with ${ending}${hint}`);
}
