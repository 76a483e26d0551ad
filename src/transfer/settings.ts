/**
 * The options of a transfer, with their defaults and their checks, in one place: what `transfer` runs, `plan`
 * estimates and the record states are the same settings.
 */
import { describe } from '../core/describe.ts';
import { InvalidArgumentError } from '../core/errors.ts';
import { requireChoice, requireFlag, requireInteger, requireList, requireNumber, requireText } from '../core/require.ts';
import { limits } from '../core/limits.ts';
import type { OptionNames } from '../core/options.ts';
import { lossOfRecord, requireLoss, type Loss } from '../gradient/loss.ts';
import { factorableWeights } from '../gradient/network.ts';
import type { NetworkOptions } from '../gradient/network.ts';
import { tensorsWorthFactoring } from '../matching/factored-product.ts';
import { matchingLayout } from '../matching/layout.ts';
import { solverNames } from '../matching/solvers.ts';
import type { SolverName } from '../matching/solvers.ts';
import type { ModelGraph } from '../model/graph.ts';
import { headParameters } from '../model/head.ts';
import type { PermutationSpec } from '../model/permutation-spec.ts';
import { DEFAULT_BATCH_SIZE, microBatchOption } from './inputs.ts';
import { recordedData } from './record.ts';
import type { ScheduleKind } from './schedule.ts';
import { stopRules } from './stop-rule.ts';
import type { StopRule } from './stop-rule.ts';
import { requireEnds } from './trajectory.ts';

/**
 * - `naive`: the source's update added as it is (π = identity), the plain parameter shift.
 * - `fgmt`: fast gradient matching along the trajectory, 2·T·g gradients.
 * - `gmt`: gradient matching along the trajectory, every pair anew at each step, T·(T+1)·g gradients.
 * - `oracle`: one matching of the source's whole update with that of a truly trained target; a yardstick.
 */
export type TransferMethod = 'naive' | 'fgmt' | 'gmt' | 'oracle';

export const transferMethods: readonly TransferMethod[] = ['naive', 'fgmt', 'gmt', 'oracle'];

/** What may be chosen; every member has the default named. */
export interface TransferChoices {
  /** T: steps from the target's start to its end. Default 10; with `trajectory: 'real'` one for each later checkpoint. */
  readonly steps?: number;
  /** `linear`: only the two ends of the source's trajectory, joined by a line (default). `real`: its checkpoints. */
  readonly trajectory?: 'linear' | 'real';
  /** Spacing of the steps on the line. Default `cosine`: long strides first. */
  readonly schedule?: ScheduleKind;
  /** g: mini-batches averaged for one gradient, the same ones for source and target. Default 1. */
  readonly batchesPerStep?: number;
  /**
   * `gmt` only. `fresh`: new mini-batches for every pair at every step, as the official code (default). `fixed`: each
   * point of the trajectory keeps its own, so that gradients at a state that has not changed are taken as they were
   * (`counts.reusedGradients`: all of the source's and more, half of the work), at the price of keeping them: 8 bytes a
   * parameter and step, as long as that fits `historyBudgetBytes` once more; what does not is computed again.
   */
  readonly gmtBatches?: 'fresh' | 'fixed';
  /** Images a mini-batch. Default 128. */
  readonly batchSize?: number;
  /**
   * Images of a mini-batch on the heap at once: less memory, gradients the same to rounding; `plan` says what a heap has room
   * for. Default: the whole batch. Refused for batch norm, whose statistics belong to the whole batch.
   */
  readonly microBatch?: number;
  /**
   * Share of the data held out for the stop rule. Default 0.1; on the data that the source's recorded training was on,
   * the share that it held out, and no more: it has seen the other images. Where it held out none, the last step is
   * kept.
   */
  readonly heldOutFraction?: number;
  /**
   * Draws the held-out images. Default: the seed of the training that the source records, so that its held-out images are
   * held out again; `seed` where none is recorded. Another one draws from all images, whatever the source has seen.
   */
  readonly heldOutSeed?: number;
  /** Default `held-out` (accuracy, among equals the loss; of tokens the loss), or `last` where nothing is held out. */
  readonly stopRule?: StopRule;
  /** Mini-batches to re-estimate batch-norm statistics from at each step. Default 20; unused without batch norm. */
  readonly statisticsBatches?: number;
  /** Cap of the gradient history in bytes, and beside it of the gradients that `gmtBatches: 'fixed'` keeps. Default 512 MiB. */
  readonly historyBudgetBytes?: number;
  /** Divide each term of the similarity by the norms of its two gradients. Default false (harmful in conv nets). */
  readonly normalise?: boolean;
  /** Permutation groups that stay the identity. */
  readonly frozenGroups?: readonly string[];
  /** Parameters whose update is not carried over, so that the target keeps its own: by name, or `linear2` for all of `linear2.*`. */
  readonly skipParameters?: readonly string[];
  /**
   * Whether the last layer begins with zeros, in the source's trajectory and in the target: all that the source's became is then
   * carried over, and nothing of what either answered before. For fine-tunes on another task than the bases', whose last
   * layers know nothing of it (`docs/limits.md`). Default: true where the source says that its own begins so, else false.
   */
  readonly zeroHead?: boolean;
  /** Sweeps of coordinate descent a step at most. Default 100. */
  readonly maxSweeps?: number;
  /** Start of each step's coordinate descent: `identity` as the official code, or the `previous` step's. Default `identity`. */
  readonly start?: 'identity' | 'previous';
  /** How each matching is solved. Default `coordinate-descent`. */
  readonly solver?: SolverName;
  /** Whose gradients are matched. Default: the one that the source's training record names, else softmax cross-entropy. */
  readonly loss?: Loss;
}

export const choiceNames: OptionNames<TransferChoices> = {
  steps: true,
  trajectory: true,
  schedule: true,
  batchesPerStep: true,
  gmtBatches: true,
  batchSize: true,
  microBatch: true,
  heldOutFraction: true,
  heldOutSeed: true,
  stopRule: true,
  statisticsBatches: true,
  historyBudgetBytes: true,
  normalise: true,
  frozenGroups: true,
  skipParameters: true,
  zeroHead: true,
  maxSweeps: true,
  start: true,
  solver: true,
  loss: true,
};

const DEFAULT_HELD_OUT = 0.1;
export const DEFAULT_HISTORY_BUDGET_BYTES = 512 * 2 ** 20;
const LARGEST_HELD_OUT = 0.9;
/** Most sweeps of a matching; the descent ends by itself after a few. */
export const LARGEST_SWEEPS = 10_000;

/** `TransferChoices` with nothing left open. */
export interface TransferSettings extends Required<TransferChoices> {
  readonly method: TransferMethod;
  readonly seed: number;
}

/**
 * Fills in the defaults and checks everything that can be checked without the data.
 * @param checkpointCount checkpoints of the source from its chosen start to its chosen end.
 * @param training the source's record of its training, where it has one.
 * @param data the `dataSha256` of the transfer's data, where there are any.
 * @throws InvalidArgumentError naming the option.
 */
export function readSettings(
  method: TransferMethod,
  seed: number,
  choices: TransferChoices,
  checkpointCount: number,
  training?: unknown,
  data?: string,
): TransferSettings {
  requireChoice('method', method, transferMethods);
  requireInteger('seed', seed, 0);
  requireEnds('source.checkpoints', checkpointCount);
  const trajectory = requireChoice('trajectory', choices.trajectory ?? 'linear', ['linear', 'real']);
  const defaultSteps = trajectory === 'real' ? checkpointCount - 1 : 10;
  const { heldOutFraction, heldOutSeed } = readSplit(seed, choices, training, data);
  return {
    method,
    seed,
    steps: requireInteger('steps', choices.steps ?? defaultSteps, 1, limits.scheduleSteps),
    trajectory,
    schedule: requireChoice('schedule', choices.schedule ?? 'cosine', ['cosine', 'uniform']),
    batchesPerStep: requireInteger('batchesPerStep', choices.batchesPerStep ?? 1, 1, limits.stepBatches),
    gmtBatches: requireChoice('gmtBatches', choices.gmtBatches ?? 'fresh', ['fresh', 'fixed']),
    batchSize: requireInteger('batchSize', choices.batchSize ?? DEFAULT_BATCH_SIZE, 1),
    microBatch: requireInteger('microBatch', choices.microBatch ?? choices.batchSize ?? DEFAULT_BATCH_SIZE, 1),
    heldOutFraction,
    heldOutSeed,
    stopRule: requireChoice('stopRule', choices.stopRule ?? (heldOutFraction > 0 ? 'held-out' : 'last'), stopRules),
    statisticsBatches: requireInteger('statisticsBatches', choices.statisticsBatches ?? 20, 1, limits.stepBatches),
    historyBudgetBytes: requireInteger('historyBudgetBytes', choices.historyBudgetBytes ?? DEFAULT_HISTORY_BUDGET_BYTES, 0),
    normalise: requireFlag('normalise', choices.normalise ?? false),
    frozenGroups: requireList('frozenGroups', choices.frozenGroups ?? [], requireText),
    skipParameters: requireList('skipParameters', choices.skipParameters ?? [], requireText),
    zeroHead: wantsZeroHead(choices, training),
    maxSweeps: requireInteger('maxSweeps', choices.maxSweeps ?? 100, 1, LARGEST_SWEEPS),
    start: requireChoice('start', choices.start ?? 'identity', ['identity', 'previous']),
    solver: requireChoice('solver', choices.solver ?? 'coordinate-descent', solverNames),
    loss: requireLoss('loss', choices.loss ?? lossOfRecord(training)),
  };
}

/**
 * Which images are held out: those that the source's training held out too, where its record tells. A transfer with another split would be
 * scored on images that the source was trained on: on MNIST, held-out accuracy came out 2 points above test accuracy.
 * @throws InvalidArgumentError for a larger share of the recorded split than the source left unseen.
 */
export function readSplit(
  seed: number,
  choices: Pick<TransferChoices, 'heldOutFraction' | 'heldOutSeed'>,
  training: unknown,
  data: string | undefined,
): { readonly heldOutFraction: number; readonly heldOutSeed: number } {
  const recorded = recordedSplit(training);
  const heldOutSeed = requireInteger('heldOutSeed', choices.heldOutSeed ?? recorded.seed ?? seed, 0);
  // Of a split by one seed a larger share has the images of a smaller one and more. Of other data the source has seen nothing.
  const unseen = heldOutSeed === recorded.seed && data === recordedData(training) ? recorded.heldOutFraction : undefined;
  const heldOutFraction = requireNumber('heldOutFraction', choices.heldOutFraction ?? unseen ?? DEFAULT_HELD_OUT, 0, LARGEST_HELD_OUT);
  if (unseen !== undefined && heldOutFraction > unseen) {
    throw new InvalidArgumentError({
      field: 'heldOutFraction',
      expected:
        `at most ${unseen}, what the source's training held out of these data (it has seen the others; another heldOutSeed draws from all)`,
      got: `${heldOutFraction}`,
    });
  }
  return { heldOutFraction, heldOutSeed };
}

/** What the record of a training says of its split; nothing of what is not as `train` would write it. */
function recordedSplit(training: unknown): { readonly seed?: number; readonly heldOutFraction?: number } {
  const { kind, settings } = (training ?? {}) as {
    readonly kind?: unknown;
    readonly settings?: { readonly seed?: unknown; readonly heldOutFraction?: unknown };
  };
  if (kind !== 'train') return {};
  const [seed, fraction] = [settings?.seed, settings?.heldOutFraction];
  return {
    ...(typeof seed === 'number' && Number.isSafeInteger(seed) && seed >= 0 ? { seed } : {}),
    ...(typeof fraction === 'number' && fraction >= 0 && fraction <= LARGEST_HELD_OUT ? { heldOutFraction: fraction } : {}),
  };
}

/**
 * What a network is compiled with for a transfer: no micro-batches where a batch is one, and gradients left in factors where matching
 * takes less work from these.
 */
export function networkOptions(
  { batchSize, microBatch, batchesPerStep, frozenGroups, loss }: TransferSettings,
  graph: ModelGraph,
  spec: PermutationSpec,
): NetworkOptions {
  const worth = tensorsWorthFactoring(matchingLayout(spec, frozenGroups), batchSize * batchesPerStep);
  const factored = factorableWeights(graph).filter((name) => worth.includes(name));
  return { ...microBatchOption(batchSize, microBatch), loss, factored };
}

/** Whether an entry of `skipParameters` is that parameter or stands for it among others. */
function covers(entry: string, parameter: string): boolean {
  return parameter === entry || parameter.startsWith(`${entry}.`);
}

/**
 * The settings with each name once and in the network's order: the order in which a caller lists them chooses nothing,
 * so records and resume points must not tell it. Names that the network does not have come last; they are refused where
 * they are looked up.
 */
export function inNetworkOrder(settings: TransferSettings, spec: PermutationSpec): TransferSettings {
  const groups = spec.groups.map(({ id }) => id);
  const tensors = [...spec.tensors.keys()];
  return {
    ...settings,
    frozenGroups: orderedBy(settings.frozenGroups, (name) => groups.indexOf(name)),
    skipParameters: orderedBy(settings.skipParameters, (entry) => tensors.findIndex((name) => covers(entry, name))),
  };
}

function orderedBy(names: readonly string[], placeOf: (name: string) => number): readonly string[] {
  const placed = [...new Set(names)].map((name) => ({ name, place: placeOf(name) >>> 0 }));
  // A parameter and a prefix of it may have one place: by code unit then, as everywhere.
  return placed.toSorted((a, b) => a.place - b.place || (a.name < b.name ? -1 : 1)).map(({ name }) => name);
}

/** Whether the last layer begins with zeros: as chosen, else as the source's record says of its own. @throws InvalidArgumentError */
export function wantsZeroHead({ zeroHead }: Pick<TransferChoices, 'zeroHead'>, training: unknown): boolean {
  return requireFlag('zeroHead', zeroHead ?? (training as { readonly zeroHead?: unknown } | null | undefined)?.zeroHead === true);
}

/**
 * What goes with a last layer of zeros.
 * @param skip of `skipPredicate`.
 * @throws InvalidArgumentError for a network whose output is no layer of its own, a last layer that is left out, or one
 *   step: at its one point nothing before the last layer has a gradient.
 */
export function requireZeroHead(
  graph: ModelGraph, { method, steps }: Pick<TransferSettings, 'method' | 'steps'>, { groups }: PermutationSpec,
  skip: (name: string) => boolean,
): void {
  const skipped = [...headParameters(graph)].find(skip);
  if (skipped !== undefined)
    throw new InvalidArgumentError({
      field: 'skipParameters', expected: 'none of the last layer, which zeroHead makes zeros', got: describe(skipped),
    });
  if (steps === 1 && groups.length > 1 && (method === 'gmt' || method === 'fgmt')) {
    throw new InvalidArgumentError({
      field: 'steps',
      expected: "at least 2 with zeroHead (trajectory 'linear' has 10): behind zeros nothing has a gradient at the first point",
      got: '1',
    });
  }
}

/**
 * Whether a parameter's update is left out.
 * @throws InvalidArgumentError for an entry that names no parameter.
 */
export function skipPredicate(skipParameters: readonly string[], parameters: { keys(): Iterable<string> }): (name: string) => boolean {
  const names = [...parameters.keys()];
  for (const entry of skipParameters) {
    if (!names.some((name) => covers(entry, name))) {
      throw new InvalidArgumentError({
        field: 'skipParameters',
        expected: `a parameter of the network or the prefix of some (${names.slice(0, 6).join(', ')}, …)`,
        got: describe(entry),
      });
    }
  }
  return (name) => isSkipped(skipParameters, name);
}

/** The same of entries that are known to name parameters. */
export function isSkipped(skipParameters: readonly string[], parameter: string): boolean {
  return skipParameters.some((entry) => covers(entry, parameter));
}
