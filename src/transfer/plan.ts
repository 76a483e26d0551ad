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
import { fitGradient, planMicroBatch, type GradientNeeds } from '../gradient/memory.ts';
import { groupsOnAxis } from '../matching/arrangement.ts';
import type { HeldGroup } from '../matching/held-groups.ts';
import { sizeOf } from '../matching/history-size.ts';
import { matchingLayout } from '../matching/layout.ts';
import type { MatchingLayout } from '../matching/layout.ts';
import { residentLineBytes } from '../matching/resident-line.ts';
import { solverWork } from '../matching/solvers.ts';
import { gradientCost } from '../model/cost.ts';
import { findFirstLayer } from '../model/first-layer.ts';
import type { FirstLayer } from '../model/first-layer.ts';
import type { ModelGraph } from '../model/graph.ts';
import { parameterLayout } from '../model/graph.ts';
import { derivePermutationSpec } from '../model/permutation-spec.ts';
import type { PermutationSpec } from '../model/permutation-spec.ts';
import { elementCount } from '../tensor/tensor.ts';
import type { Compute } from './compute.ts';
import { rowsToStart } from './first-layer-line.ts';
import type { RowCounts, RowsToStart } from './first-layer-line.ts';
import { requireParts } from './inputs.ts';
import { keepsGradients, pairCounts } from './pair-counts.ts';
import { LARGEST_SWEEPS, choiceNames, readSettings, skipPredicate } from './settings.ts';
import type { TransferChoices, TransferMethod, TransferSettings } from './settings.ts';
import { startedBytes, startedHeapBytes } from './started-rows.ts';
import { measureFlopRate } from './timing.ts';

const F32_BYTES = 4;

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

export interface TransferPlan {
  readonly method: TransferMethod;
  readonly steps: number;
  /** Images at once: what to give `transfer` as `microBatch`. */
  readonly microBatch: number;
  /** Backward passes of one mini-batch. */
  readonly gradients: number;
  readonly matchings: number;
  /** Sweeps of a descent that were reckoned with. */
  readonly sweeps: number;
  /** Assignments of each group a matching, by the solver: those of one descent, of five, or of Frank–Wolfe's iterations and a descent. */
  readonly laps: number;
  /** Linear assignments, `laps` for each group and matching; where one group alone is matched, a transfer takes one a matching. */
  readonly assignments: number;
  /** Groups besides the frozen ones that no method moves, and why. */
  readonly heldGroups: readonly HeldGroup[];
  readonly flops: {
    readonly gradients: number;
    /** Besides, of values that gradients compute anew on their way back, because the heap has no room to keep them; mostly 0. */
    readonly recomputation: number;
    readonly similarity: number;
    /** An assignment of n units is reckoned at 40·n² operations: measured growth is near quadratic to n = 4096. */
    readonly assignment: number;
    /** Held-out scores. Only where `images` was given; so are the statistics. */
    readonly evaluation?: number;
    /** Of batch norm, estimated anew at each step that is scored and at the last. */
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
 * @throws InvalidArgumentError for options that `transfer` would refuse too, UnsupportedError for micro-batches of
 *   batch norm; BudgetError where not even one image, or with batch norm not a whole batch, fits `heapLimitBytes`.
 */
export function plan(options: PlanOptions): TransferPlan {
  requireParts(options, { graph: 'graph' });
  return planOn(options, options.heapLimitBytes ?? limits.heapBytes);
}

/**
 * The same of a transfer that runs on a heap of `heapBytes`: what it keeps there follows from that. Its micro-batch need fit
 * `options.heapLimitBytes` alone, where that is given.
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
    assignment: matchings * solver.laps * 40 * sum(matching.squares),
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
 * The most inputs at once of which a gradient of a transfer fits a heap: as its micro-batch, or with batch norm as its
 * batches, which are whole. Undefined where not even one does.
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

/** What is no choice of a transfer. A rate below 1 FLOP/s is a slip of the unit. */
function readReckoning({ flopsPerSecond, heapLimitBytes, sweeps = 4 }: PlanOptions) {
  return {
    ownSweeps: requireInteger('sweeps', sweeps, 1, LARGEST_SWEEPS),
    heapLimitBytes: heapLimitBytes === undefined ? undefined : requireInteger('heapLimitBytes', heapLimitBytes, 0),
    flopsPerSecond: flopsPerSecond === undefined ? undefined : requireNumber('flopsPerSecond', flopsPerSecond, 1),
  };
}

/** A transfer that is planned. */
interface PlannedJob {
  readonly graph: ModelGraph;
  readonly spec: PermutationSpec;
  /** As `transfer` reads them, with batches as large as the data allow, where their size is known. */
  readonly settings: TransferSettings;
  /** Numbers of inputs of either part, where that is known. */
  readonly counts: RowCounts | undefined;
  /** Which of them have their first layer computed beforehand. */
  readonly started: RowsToStart | undefined;
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

/**
 * Of inputs that pass forward alone, `flops` each: held-out ones at every step and the start, those of statistics where these are
 * estimated. Nothing where the number of inputs is not known.
 */
function evaluationFlops(
  { graph, settings: { steps, stopRule, statisticsBatches, batchSize }, counts, started }: PlannedJob, flops: number, heapBytes: number,
): { readonly evaluation?: number; readonly statistics?: number } {
  if (counts === undefined) return {};
  const { heldOut } = counts;
  // The agreement that needs no labels takes a pass of the source's end.
  const scores = stopRule === 'label-free' ? steps + 2 : steps + 1;
  const estimates = parameterLayout(graph).buffers.length === 0 ? 0 : heldOut > 0 ? steps : 1;
  const saved = started?.heldOut ? savedFlops(started.layer, (steps + 1) * heldOut, heldOut, 2, heapBytes) : 0;
  return { evaluation: flops * heldOut * scores - saved, statistics: flops * estimates * statisticsBatches * batchSize };
}

/** What of the gradients is saved where the first layer of their inputs is computed beforehand. */
function savedByStarting({ settings, counts, started }: PlannedJob, gradients: number, heapBytes: number): number {
  if (started?.training !== true || counts === undefined) return 0;
  return savedFlops(started.layer, gradients * settings.batchSize, counts.training, 3, heapBytes);
}

/**
 * What is saved of a first layer that is linear along the line, where `rows` pass it. @param forms what of `known` rows is
 * computed once, or on a heap too small for it of each that passes.
 */
function savedFlops(layer: FirstLayer, rows: number, known: number, forms: 2 | 3, heapBytes: number): number {
  const keeps = startedHeapBytes(startedBytes(layer, known, forms === 3), heapBytes) > 0;
  // Two of three forms make the source's, and two the target's.
  return 2 * layer.inputs * layer.outputs * (rows - (keeps ? forms * known : 2 * rows));
}

/** What of the heap is taken during the whole transfer: a quarter of it at most. Of data of unknown size, as much as there can be. */
function residentBytesOf({ graph, settings, counts, started }: PlannedJob, heapBytes: number): number {
  if (settings.trajectory !== 'linear') return 0;
  const line = residentLineBytes(F32_BYTES * gradientCost(graph, 1).parameterElements, heapBytes);
  if (counts === undefined) {
    const most = Math.min(limits.startedRowBytes, Math.floor(limits.startedRowShare * heapBytes));
    return line + (findFirstLayer(graph) === undefined ? 0 : 2 * most);
  }
  if (started === undefined) return line;
  const kept = (wanted: boolean, rows: number, both: boolean): number =>
    wanted ? startedHeapBytes(startedBytes(started.layer, rows, both), heapBytes) : 0;
  return line + kept(started.training, counts.training, true) + kept(started.heldOut, counts.heldOut, false);
}

/** A gradient on a heap of which other things have their part; of GMT it is of several batches. */
function gradientNeeds(job: PlannedJob, images: number, heapBytes: number): GradientNeeds {
  const { graph, settings: { batchSize, batchesPerStep } } = job;
  return fitGradient(graph, images, Math.ceil(batchSize / images) * batchesPerStep, heapBytes - residentBytesOf(job, heapBytes));
}

/** What was chosen, or the largest that fits. */
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

/** From above: rows and columns of zeros are not kept. */
function historyBytes(
  layout: MatchingLayout,
  { method }: TransferSettings,
  pairs: number,
): Pick<TransferPlan['bytes'], 'history' | 'codedHistory'> {
  if (method === 'naive') return { history: 0, codedHistory: 0 };
  const { fixedBytes, totalBytes, codedBytesPerPair } = sizeOf(layout, pairs);
  return { history: totalBytes, codedHistory: fixedBytes + pairs * codedBytesPerPair };
}

/** What the matchings of a transfer are about. */
interface MatchingWork {
  /** Of one pair's products, of the terms that carry one permutation, and of those that carry two. */
  readonly aloneFlops: number;
  readonly pairedFlops: number;
  /** n² of each group that moves. */
  readonly squares: readonly number[];
  readonly largestTensor: number;
}

/** Every term of a group's similarity is [n, n] += T[n, rest] · S[n, rest]ᵀ. */
function matchingWork({ graph, spec }: PlannedJob, layout: MatchingLayout): MatchingWork {
  const ids = new Set(layout.groups.map(({ id }) => id));
  const moving = spec.groups.filter(({ id }) => ids.has(id));
  const parameters = new Set(parameterLayout(graph).parameters.map(({ name }) => name));
  let [aloneFlops, pairedFlops, largestTensor] = [0, 0, 0];
  for (const { size, members } of moving) {
    for (const { tensor } of members) {
      if (!parameters.has(tensor)) continue;
      const { shape = [], axes = [] } = spec.tensors.get(tensor) ?? {};
      const elements = elementCount(shape);
      const carried = new Set(axes.flatMap(groupsOnAxis).filter((group) => ids.has(group)));
      if (carried.size <= 1) aloneFlops += 2 * size * elements;
      else pairedFlops += 2 * size * elements;
      largestTensor = Math.max(largestTensor, elements);
    }
  }
  return { aloneFlops, pairedFlops, squares: moving.map(({ size }) => size * size), largestTensor };
}

/** Of the heap, the largest matching. */
function matchingBytes({ squares, largestTensor }: MatchingWork, operands: number): number {
  return F32_BYTES * (operands * largestTensor + 2 * Math.max(0, ...squares));
}

function sum(values: readonly number[]): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
