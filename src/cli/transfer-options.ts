/** Options that say how to transfer, which `plan` and `transfer` share. */
import { limits } from '../core/limits.ts';
import { transferMethods } from '../index.ts';
import { DEFAULT_BATCH_SIZE } from './data-options.ts';

export const transferOptions = {
  method: {
    kind: 'choice', choices: transferMethods, default: 'gmt',
    help:
      'fgmt (matches with 2 gradients a step), gmt (matches every pair anew at each step, so T + 1 gradients a step; best where the published ' +
      'comparisons differ), naive (plain shift), oracle (yardstick; needs --oracle-target)',
  },
  steps: {
    kind: 'integer', field: 'steps', metavar: 'T', minimum: 1, maximum: limits.scheduleSteps,
    help: 'steps along the trajectory (default 10, or its checkpoints with --trajectory real)',
  },
  trajectory: { kind: 'choice', choices: ['linear', 'real'], default: 'linear', help: 'the line between first and last checkpoint, or all checkpoints' },
  schedule: { kind: 'choice', choices: ['cosine', 'uniform'], default: 'cosine', help: 'spacing of the steps on the line' },
  'gmt-batches': {
    kind: 'choice', choices: ['fresh', 'fixed'], default: 'fresh',
    help: 'gmt: new mini-batches for every pair at every step, or each point keeps its own (fixed: about half of the gradients, kept in memory)',
  },
  'batches-per-step': { kind: 'integer', metavar: 'G', minimum: 1, default: 1, help: 'mini-batches averaged for one gradient' },
  'batch-size': { kind: 'integer', metavar: 'N', minimum: 1, help: `images (windows of tokens) a mini-batch (default ${DEFAULT_BATCH_SIZE})` },
  'history-budget': {
    kind: 'bytes', field: ['historyBudgetBytes', 'budgetBytes'], metavar: 'SIZE', default: 512 * 2 ** 20,
    help: 'cap of the gradient history',
  },
  freeze: { kind: 'strings', field: 'frozenGroups', metavar: 'GROUP,…', help: 'permutation groups that stay as they are (see inspect)' },
  'normalise-terms': { kind: 'flag', help: 'divide each similarity term by its norms (harmless in MLPs, bad in conv nets)' },
} as const;
