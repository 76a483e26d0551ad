/** Options that say how to transfer, which `plan` and `transfer` share. */
import { onlyDefined } from '../core/only-defined.ts';
import { limits } from '../core/limits.ts';
import { solverNames, stopRules, transferMethods } from '../index.ts';
import type { TransferChoices } from '../index.ts';
import { formatBytes } from '../report/text.ts';
import { DEFAULT_BATCH_SIZE } from '../transfer/inputs.ts';
import { DEFAULT_HISTORY_BUDGET_BYTES } from '../transfer/settings.ts';
import type { ValuesOf } from './arguments.ts';

export const transferOptions = {
  method: {
    kind: 'choice',
    choices: transferMethods,
    default: 'gmt',
    help:
      'fgmt (matches with 2 gradients a step), gmt (matches every pair anew at each step, so T + 1 gradients a step; ' +
      'best where the published comparisons differ), naive (plain shift), oracle (yardstick; needs --oracle-target)',
  },
  steps: {
    kind: 'integer',
    field: 'steps',
    metavar: 'T',
    minimum: 1,
    maximum: limits.scheduleSteps,
    help: 'steps along the trajectory (default 10, or its checkpoints with --trajectory real)',
  },
  trajectory: {
    kind: 'choice',
    choices: ['linear', 'real'],
    default: 'linear',
    help: 'the line between first and last checkpoint, or all checkpoints',
  },
  schedule: { kind: 'choice', choices: ['cosine', 'uniform'], help: 'spacing of the steps on the line (default cosine)' },
  'gmt-batches': {
    kind: 'choice',
    choices: ['fresh', 'fixed'],
    help:
      'gmt: new mini-batches for every pair at every step (default), or each point keeps its own ' +
      '(fixed: about half of the gradients, kept in memory)',
  },
  'batches-per-step': {
    kind: 'integer',
    field: 'batchesPerStep',
    metavar: 'G',
    minimum: 1,
    maximum: limits.stepBatches,
    help: 'mini-batches averaged for one gradient (default 1)',
  },
  'batch-size': {
    kind: 'integer',
    field: 'batchSize',
    metavar: 'N',
    minimum: 1,
    help: `images (windows or sequences of tokens) a mini-batch (default ${DEFAULT_BATCH_SIZE})`,
  },
  'history-budget': {
    kind: 'bytes',
    field: 'historyBudgetBytes',
    metavar: 'SIZE',
    help: `cap of the gradient history (default ${formatBytes(DEFAULT_HISTORY_BUDGET_BYTES)})`,
  },
  freeze: { kind: 'strings', field: 'frozenGroups', metavar: 'GROUP,…', help: 'permutation groups that stay as they are (see inspect)' },
  'normalise-terms': {
    kind: 'flag',
    field: 'normalise',
    help: 'divide each similarity term by its norms (harmless in MLPs, bad in conv nets)',
  },
  solver: {
    kind: 'choice',
    choices: solverNames,
    help:
      'how each matching is solved: one descent (default), the best of five seeded ones, or Frank-Wolfe ' +
      '(1.3 to 5 times the transfer for up to 1 % of the objective)',
  },
  'max-sweeps': {
    kind: 'integer',
    field: 'maxSweeps',
    metavar: 'N',
    minimum: 1,
    maximum: 10_000,
    help: 'sweeps of a descent at most (default 100)',
  },
} as const;

/** Options that say what of a trajectory is carried over. */
export const partOptions = {
  skip: {
    kind: 'strings', field: 'skipParameters', metavar: 'NAME,…',
    help: 'parameters, or prefixes of some, whose change is not carried over',
  },
  from: { kind: 'string', field: 'from', metavar: 'LABEL', help: 'first checkpoint of the part to carry over' },
  to: { kind: 'string', field: 'to', metavar: 'LABEL', help: 'last checkpoint of the part to carry over' },
} as const;

/** Options that say how the steps of a transfer are scored, and so how much of it is evaluation. */
export const scoringOptions = {
  'held-out': {
    kind: 'number', field: 'heldOutFraction', metavar: 'X', minimum: 0, maximum: 0.9,
    help:
      "share of the data held out, on which every step is scored (default: what the bundle's training held out of them, else 0.1); " +
      "with 0 no step is " +
      'scored, which may save most of the time, and the last one is kept',
  },
  'held-out-seed': {
    kind: 'integer', field: 'heldOutSeed', metavar: 'N', minimum: 0, maximum: 2 ** 32 - 1,
    help: "draws the held-out images (default: the seed of the bundle's training, so that its source never saw them; else --seed)",
  },
  'stop-rule': {
    kind: 'choice', field: 'stopRule', choices: stopRules,
    help:
      'which step is kept: best on the held-out images (default; by accuracy, then loss, text by loss alone), ' +
      'agreeing most with the source (label-free), or the last, which scores the steps all the same to show them',
  },
  'statistics-batches': {
    kind: 'integer', field: 'statisticsBatches', metavar: 'N', minimum: 1, maximum: limits.stepBatches,
    help: 'mini-batches to re-estimate batch-norm statistics from (default 20)',
  },
} as const;

/** Choices that no option here makes: `transfer` alone reads them, from options of its own. */
export type ChoicesApart = 'microBatch' | 'zeroHead' | 'start' | 'loss';

/** A command that takes only some of the options has no values of the others. */
type ChoiceValues = Partial<ValuesOf<Omit<typeof transferOptions, 'method'> & typeof partOptions & typeof scoringOptions>>;

/** The choices that the options above make. The type names every one, so that a new one cannot be forgotten. */
export function choicesOf(values: ChoiceValues): Omit<TransferChoices, ChoicesApart> {
  return onlyDefined({
    steps: values.steps,
    trajectory: values.trajectory,
    schedule: values.schedule,
    batchesPerStep: values['batches-per-step'],
    gmtBatches: values['gmt-batches'],
    batchSize: values['batch-size'],
    heldOutFraction: values['held-out'],
    heldOutSeed: values['held-out-seed'],
    stopRule: values['stop-rule'],
    statisticsBatches: values['statistics-batches'],
    historyBudgetBytes: values['history-budget'],
    normalise: values['normalise-terms'],
    frozenGroups: values.freeze,
    skipParameters: values.skip,
    maxSweeps: values['max-sweeps'],
    solver: values.solver,
  } satisfies { readonly [K in Exclude<keyof TransferChoices, ChoicesApart>]: TransferChoices[K] | undefined });
}
