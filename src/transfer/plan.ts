/**
 * What a transfer will cost, before running it: gradients, FLOPs, bytes and, given a measured rate, seconds.
 */
import { BudgetError, UnsupportedError } from '../core/errors.ts';
import { requireInteger, requireNumber } from '../core/require.ts';
import { limits } from '../core/limits.ts';
import { onlyDefined } from '../core/only-defined.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';
import { heldOutCount } from '../data/split.ts';
import { planMicroBatch } from '../gradient/memory.ts';
import type { HeldGroup } from '../matching/held-groups.ts';
import { matchingLayout } from '../matching/layout.ts';
import { solverWork } from '../matching/solvers.ts';
import { gradientCost } from '../model/cost.ts';
import { parameterLayout } from '../model/graph.ts';
import type { ModelGraph } from '../model/graph.ts';
import { derivePermutationSpec } from '../model/permutation-spec.ts';
import { F32_BYTES, elementCount } from '../tensor/tensor.ts';
import type { Compute } from './compute.ts';
import { rowsToStart } from './first-layer-line.ts';
import { requireParts } from './inputs.ts';
import { keepsGradients, pairCounts } from './pair-counts.ts';
import { LARGEST_SWEEPS, choiceNames, readSettings, skipPredicate } from './settings.ts';
import type { TransferChoices, TransferMethod } from './settings.ts';
import { measureFlopRate } from './timing.ts';
import {
  evaluationFlops, gradientNeeds, historyBytes, matchingBytes, matchingWork, residentBytesOf, savedByStarting,
} from './transfer-cost.ts';
import type { PlannedJob } from './transfer-cost.ts';

/** Operations of an assignment of n units, per n²: measured growth is near quadratic to n = 4096. */
const ASSIGNMENT_FLOPS = 40;

/** The transfer that is planned, and what its cost is reckoned with. */
export interface PlanOptions extends TransferChoices {
  readonly graph: ModelGraph;
  readonly method: TransferMethod;
  /** Checkpoints of the source, where the real trajectory is followed. Default: only its two ends. */
  readonly checkpoints?: number;
  /** Inputs of the data set: with them batches are no larger than its training part, and evaluation is reckoned too. */
  readonly images?: number;
  /**
   * Sweeps of each coordinate descent to reckon with, `maxSweeps` at most. Default 4, what narrow MLPs and conv nets take. Nothing tells
   * beforehand how many it takes: more for wide networks, and about 8 for the small ResNet of docs/matching.md.
   */
  readonly sweeps?: number;
  /** Size of the heap that the micro-batch is to fit. Without it the plan is for `microBatch`, or for whole batches. */
  readonly heapLimitBytes?: number;
  /** Rate in FLOP/s that turns FLOPs into seconds. Default: measured on a matrix product when `compute` is given. */
  readonly flopsPerSecond?: number;
  readonly compute?: Compute;
}

const optionNames: OptionNames<PlanOptions> = {
  ...choiceNames,
  graph: true,
  method: true,
  checkpoints: true,
  images: true,
  sweeps: true,
  heapLimitBytes: true,
  flopsPerSecond: true,
  compute: true,
};

/** What a transfer will cost. */
export interface TransferPlan {
  readonly method: TransferMethod;
  readonly steps: number;
  /** Images at once: what to give `transfer` as `microBatch`. */
  readonly microBatch: number;
  /** Backward passes of one mini-batch. */
  readonly gradients: number;
  /** Solves of the whole matching problem, over all groups. */
  readonly matchings: number;
  /** Sweeps of a descent that were reckoned with. */
  readonly sweeps: number;
  /** Assignments of each group a matching, by the solver: those of one descent, of five, or of Frank–Wolfe's iterations and a descent. */
  readonly laps: number;
  /** Linear assignments, `laps` for each group and matching; where one group alone is matched, a transfer takes one a matching. */
  readonly assignments: number;
  /** Groups besides the frozen ones that no method moves, and why. */
  readonly heldGroups: readonly HeldGroup[];
  /** Floating-point operations; a multiplication and an addition are two. */
  readonly flops: {
    readonly gradients: number;
    /** Besides, of values that gradients compute anew on their way back, because the heap has no room to keep them; mostly 0. */
    readonly recomputation: number;
    readonly similarity: number;
    /** An assignment of n units is reckoned at 40·n² operations. */
    readonly assignment: number;
    /** Held-out scores. Only where `images` was given; so are the statistics. */
    readonly evaluation?: number;
    /** Forward passes that estimate batch-norm statistics anew, at each step that is scored and at the last. */
    readonly statistics?: number;
  };
  readonly bytes: {
    readonly parameters: number;
    /**
     * Gradient pairs and similarity matrices kept in JavaScript memory, exact. What does not fit `historyBudgetBytes`
     * is kept as 8-bit codes:
     */
    readonly history: number;
    /** …as so many bytes, which `historyBudgetBytes` must allow. */
    readonly codedHistory: number;
    /** Gradients that `gmtBatches: 'fixed'` keeps beside it, at most `historyBudgetBytes`; 0 otherwise. */
    readonly keptGradients: number;
    /** Inputs of the mini-batches of one gradient, as f32. */
    readonly batches: number;
    /**
     * Peak of the WebAssembly heap, from above: a gradient of one micro-batch, or the largest matching, and the line of
     * points of a small network and its first layer's outputs.
     */
    readonly heap: number;
  };
  /** Absent where no rate was given or measured. */
  readonly seconds?: number;
}

/**
 * What `transfer` would cost with these options, computed from the graph alone: nothing is run but, with `compute` and no
 * `flopsPerSecond`, one timed matrix product.
 * @throws InvalidArgumentError for options that `transfer` would refuse too, UnsupportedError for micro-batches of
 *   batch norm; BudgetError where not even one image, or with batch norm not a whole batch, fits `heapLimitBytes`.
 */
export function plan(options: PlanOptions): TransferPlan {
  requireParts(options, { graph: 'graph' });
  return planOn(options, options.heapLimitBytes ?? limits.heapBytes);
}

/**
 * As `plan`, for a transfer that runs on a heap of `heapBytes`, from which follows what it keeps there. The micro-batch has to fit
 * `options.heapLimitBytes` only, where that is given.
 */
export function planOn(options: PlanOptions, heapBytes: number): TransferPlan {
  requireOptions('plan', options, optionNames);
  const { flopsPerSecond, heapLimitBytes, ownSweeps } = readReckoning(options);
  const job = jobOf(options);
  const { graph, spec, settings } = job;
  const solver = solverWork(settings.solver, ownSweeps, settings.maxSweeps);
  const cost = gradientCost(graph, settings.batchSize);
  const microBatch = microBatchOf(job, heapLimitBytes);
  const { gradients, matchings, pairsSolved, pairsKept } = pairCounts(settings);
  const layout = matchingLayout(spec, settings.frozenGroups);
  skipPredicate(settings.skipParameters, new Set(parameterLayout(graph).parameters.map(({ name }) => name)));
  const matching = matchingWork(job, layout);
  const needs = gradientNeeds(job, microBatch, heapBytes);
  const flops = {
    gradients: gradients * cost.flops - savedByStarting(job, gradients, heapBytes),
    recomputation: gradients * Math.ceil(settings.batchSize / microBatch) * needs.recomputedFlops,
    // A term that carries one permutation is summed once a pair; the others are reckoned anew in every sweep, which is
    // an upper bound: similarities are updated in the changed places only.
    similarity: matching.aloneFlops * pairsSolved.added + matching.pairedFlops * pairsSolved.inSolves * solver.products,
    assignment: matchings * solver.laps * ASSIGNMENT_FLOPS * sum(matching.squares),
    ...evaluationFlops(job, cost.forwardFlops / settings.batchSize, heapBytes),
  };
  const parameterBytes = F32_BYTES * cost.parameterElements;
  const rate = flopsPerSecond ?? (options.compute === undefined ? undefined : measureFlopRate(options.compute.core));
  return {
    method: settings.method,
    steps: settings.steps,
    microBatch,
    gradients,
    matchings,
    sweeps: Math.min(ownSweeps, settings.maxSweeps),
    laps: solver.laps,
    assignments: matching.squares.length * matchings * solver.laps,
    heldGroups: layout.held,
    flops,
    bytes: {
      parameters: parameterBytes,
      ...historyBytes(layout, settings, pairsKept),
      keptGradients: keepsGradients(settings) ? Math.min(2 * settings.steps * parameterBytes, settings.historyBudgetBytes) : 0,
      batches: F32_BYTES * settings.batchesPerStep * settings.batchSize * elementCount(graph.input),
      heap: residentBytesOf(job, heapBytes) + Math.max(needs.bytes, matchingBytes(matching, solver.operands)),
    },
    ...onlyDefined({ seconds: rate === undefined ? undefined : sum(Object.values(flops)) / rate }),
  };
}

/**
 * The largest number of inputs whose gradient fits the heap in one pass: a micro-batch, or with batch norm, which takes whole batches,
 * a batch. Undefined where not even one input fits.
 */
export function mostFitting(options: Omit<PlanOptions, 'heapLimitBytes'>, heapLimitBytes: number): number | undefined {
  const job = jobOf(options);
  const { settings } = job;
  const whole = needsWholeBatches(job.graph);
  for (let images = settings.batchSize; ; images = Math.ceil(images / 2)) {
    try {
      const sizes = whole ? { batchSize: images, microBatch: images } : { microBatch: images };
      return microBatchOf({ ...job, settings: { ...settings, ...sizes } }, heapLimitBytes);
    } catch (error) {
      if (!(error instanceof BudgetError)) throw error;
      // Micro-batches were halved already.
      if (!whole || images === 1) return undefined;
    }
  }
}

/**
 * A plan of a transfer with what the command line does besides: the plain shift, whose steps are scored too, and in the end
 * target, plain shift and result on `testImages`.
 */
export function planWithYardsticks(options: PlanOptions, testImages: number, heapBytes: number): TransferPlan {
  const { seconds: _seconds, ...item } = planOn(options, heapBytes);
  const { evaluation, statistics = 0 } = item.flops;
  const naive = options.method === 'naive' ? { evaluation: 0, statistics: 0 } : planOn({ ...options, method: 'naive' }, heapBytes).flops;
  const tests = 3 * testImages * gradientCost(options.graph, 1).forwardFlops;
  const flops = {
    ...item.flops,
    ...(evaluation === undefined
      ? {}
      : { evaluation: evaluation + (naive.evaluation ?? 0) + tests, statistics: statistics + (naive.statistics ?? 0) }),
  };
  const { flopsPerSecond } = options;
  return { ...item, flops, ...(flopsPerSecond === undefined ? {} : { seconds: sum(Object.values(flops)) / flopsPerSecond }) };
}

/** The options of `plan` that are no choices of a transfer. A rate below 1 FLOP/s is a slip of the unit. */
function readReckoning({ flopsPerSecond, heapLimitBytes, sweeps = 4 }: PlanOptions) {
  return {
    ownSweeps: requireInteger('sweeps', sweeps, 1, LARGEST_SWEEPS),
    heapLimitBytes: heapLimitBytes === undefined ? undefined : requireInteger('heapLimitBytes', heapLimitBytes, 0),
    flopsPerSecond: flopsPerSecond === undefined ? undefined : requireNumber('flopsPerSecond', flopsPerSecond, 1),
  };
}

function jobOf(options: PlanOptions): PlannedJob {
  const { graph } = options;
  const asked = readSettings(options.method, 0, options, requireInteger('checkpoints', options.checkpoints ?? 2, 0, limits.checkpoints));
  const spec = derivePermutationSpec(graph);
  if (options.images === undefined) return { graph, spec, settings: asked, counts: undefined, started: undefined };
  const images = requireInteger('images', options.images, 1, 2 ** 31 - 1);
  const heldOut = heldOutCount(images, asked.heldOutFraction);
  const counts = { training: images - heldOut, heldOut };
  const batchSize = Math.min(asked.batchSize, counts.training);
  const settings = { ...asked, batchSize, microBatch: Math.min(asked.microBatch, batchSize) };
  return { graph, spec, settings, counts, started: rowsToStart(graph, spec, asked, counts) };
}

/** Statistics of batch norm belong to whole batches. */
function needsWholeBatches({ nodes }: ModelGraph): boolean {
  return nodes.some(({ op }) => op === 'batch_norm');
}

/** Inputs at once: the number chosen, or the largest below it that fits `heapLimitBytes`. */
function microBatchOf(job: PlannedJob, heapLimitBytes: number | undefined): number {
  const { graph, settings } = job;
  const { batchSize, microBatch, batchesPerStep: batches } = settings;
  const chosen = Math.min(microBatch, batchSize);
  const whole = needsWholeBatches(graph);
  if (whole && chosen < batchSize) {
    throw new UnsupportedError({
      field: 'microBatch',
      expected: `whole batches of ${batchSize}, because statistics of batch norm belong to these`,
      got: `${chosen}`,
    });
  }
  if (heapLimitBytes === undefined) return chosen;
  const besideBytes = residentBytesOf(job, heapLimitBytes);
  if (!whole) return planMicroBatch(graph, batchSize, heapLimitBytes, { most: chosen, batches, besideBytes });
  const requiredBytes = besideBytes + gradientNeeds(job, batchSize, heapLimitBytes).bytes;
  if (requiredBytes <= heapLimitBytes) return batchSize;
  throw new BudgetError({
    field: 'heapLimitBytes',
    expected: `at least ${requiredBytes}, for whole batches of ${batchSize} (batch norm)`,
    got: `${heapLimitBytes}`,
    requiredBytes,
  });
}

function sum(values: readonly number[]): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
