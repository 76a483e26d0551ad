/**
 * Learning transfer (Chijiwa, ICLR 2024): carries a source's trajectory over to a target by matching the gradients met
 * along both, θ₂ˢ = θ₂⁰ + π_s(θ₁ˢ − θ₁⁰). This file walks the steps; `matchers.ts` finds π_s.
 */
import { Breather, breathe } from '../core/breather.ts';
import { InvalidArgumentError, NotFiniteError, describe } from '../core/errors.ts';
import { sha256Hex } from '../core/sha256.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';
import { PassingBatches, isTokenSet, makeBatch } from '../data/data-set.ts';
import { BatchSampler } from '../data/batch-sampler.ts';
import type { DataSet } from '../data/data-set.ts';
import type { Batch } from '../data/batch.ts';
import type { GradientWorkers } from '../gradient/workers/pool.ts';
import type { MatchingResult } from '../matching/coordinate-descent.ts';
import type { GradientHistory } from '../matching/history.ts';
import { identityPermutations } from '../matching/permutation.ts';
import type { Permutations } from '../matching/permutation.ts';
import type { ModelGraph } from '../model/graph.ts';
import { derivePermutationSpec } from '../model/permutation-spec.ts';
import { Random, streams } from '../tensor/random.ts';
import { copyState, requireFiniteState } from '../tensor/tensor.ts';
import type { NamedTensors, NetworkState } from '../tensor/tensor.ts';
import { useCompute } from './compute.ts';
import type { Compute } from './compute.ts';
import { scorer } from './held-out-score.ts';
import { controlNames, requireBatches, requireData, requireParts, requireState, requireWorkers, splitData } from './inputs.ts';
import { matchingFor } from './matchers.ts';
import type { TransferContext } from './matchers.ts';
import { Points } from './points.ts';
import type { JobControl, ProgressEvent } from './progress.ts';
import { dataForm, dataSha256, deepFreeze, graphSha256, jobArithmetic, makeRecord, stateSha256 } from './record.ts';
import type { ResultRecord } from './record.ts';
import { ResumePoints, requireResume } from './resume.ts';
import type { ResumeOptions } from './resume.ts';
import { checkpointSteps, scheduleFractions } from './schedule.ts';
import { choiceNames, inNetworkOrder, networkOptions, readSettings, skipPredicate } from './settings.ts';
import type { TransferChoices, TransferMethod, TransferSettings } from './settings.ts';
import { chooseStep, requireScores } from './stop-rule.ts';
import { Stopwatch } from './timing.ts';
import type { Timings } from './timing.ts';
import { takeTransferPoint, transferPoint } from './transfer-point.ts';
import type { KeptStep } from './transfer-point.ts';
import type { TransferCounts, TransferStep } from './transfer-step.ts';
import { checkpointNumber } from './trajectory.ts';
import type { Trajectory } from './trajectory.ts';

export type { TransferCounts, TransferStep } from './transfer-step.ts';

/** The first comes before any matching, with step 0 or the steps that a resume point holds. */
export interface TransferEvent extends ProgressEvent {
  readonly stage: 'transfer';
  /** The steps gone since the event before: all events together have those of the result, in its order. */
  readonly steps: readonly TransferStep[];
}

export interface TransferOptions extends TransferChoices, JobControl<TransferEvent> {
  /** The source's trajectory: an opened bundle, the `trajectory` of a training, or `trajectoryFromStates`. */
  readonly source: Trajectory;
  /** The weights the transfer starts from, θ₂⁰. */
  readonly target: NetworkState;
  /** Training images of the task the source learnt. */
  readonly data: DataSet;
  readonly method: TransferMethod;
  readonly seed: number;
  /** Labels of the checkpoints that begin and end the part of the trajectory to carry over. Default: first and last. */
  readonly from?: string;
  readonly to?: string;
  /** `oracle` only: weights that the target truly reached by training. */
  readonly oracleTarget?: NetworkState;
  /** Writes resume points and goes on from the newest: the same bytes as without a break. */
  readonly resume?: ResumeOptions;
  readonly compute?: Compute;
  /** Gradients of source and target, and of their micro-batches, are computed in these at once; the result keeps its bytes. */
  readonly workers?: GradientWorkers;
}

/** A small network's gradient takes a millisecond or two, as a turn of the event loop does in Node; in browsers that takes four. */
const GRADIENTS_A_BREATH = 8;

const optionNames: OptionNames<TransferOptions> = {
  ...choiceNames, ...controlNames, source: true, target: true, data: true, method: true, seed: true, from: true, to: true, oracleTarget: true, resume: true, compute: true,
  workers: true,
};

export interface TransferResult {
  readonly graph: ModelGraph;
  /** The transferred network, ready to use or to train onward. */
  readonly state: NetworkState;
  readonly method: TransferMethod;
  readonly chosenStep: number;
  readonly steps: readonly TransferStep[];
  /** π of the chosen step; the identity for step 0. */
  readonly permutations: Permutations;
  readonly counts: TransferCounts;
  /** Wall time; not part of the record, and never hashed. */
  readonly timings: Timings;
  readonly record: ResultRecord;
}

/**
 * Transfers the source's trajectory to the target. Data, the states of the source and `oracleTarget` must not change
 * until the call has ended: they are read as the steps need them, and hashed beforehand. The target is copied, and the
 * result shares no memory with it.
 * @throws InvalidArgumentError for options and inputs that do not fit, NotFiniteError for NaN or infinite weights, of inputs or result,
 *   BudgetError when the gradient history cannot fit its budget, OutOfMemoryError at the heap's cap; of `resume`
 *   InvalidArgumentError for the point of another job, IntegrityError where none is whole, and what its store throws.
 *   Rejects with the signal's reason when aborted; the resume point of the last whole step stays.
 */
export async function transfer(options: TransferOptions): Promise<TransferResult> {
  requireParts(options, { source: 'source', target: 'state', data: 'data' });
  requireOptions('transfer', options, optionNames);
  requireResume('transfer', options.resume);
  const stopwatch = new Stopwatch();
  const { source, data, signal } = options;
  const { graph } = source;
  const first = options.from === undefined ? 0 : checkpointNumber(source, 'from', options.from);
  const last =
    options.to === undefined ? source.checkpoints.length - 1 : checkpointNumber(source, 'to', options.to);
  if (last <= first && source.checkpoints.length > 1) {
    const label = (index: number): string => describe(source.checkpoints[index]?.label);
    throw new InvalidArgumentError({
      field: 'to',
      expected: `a checkpoint after ${label(first)}, where the part to carry over begins`,
      got: label(last),
    });
  }
  requireData(graph, data);
  const dataHash = await dataSha256(data);
  const spec = derivePermutationSpec(graph);
  const settings = inNetworkOrder(readSettings(options.method, options.seed, options, last - first + 1, source.training, dataHash), spec);
  requireState('target', graph, options.target);
  // The result is made of this where nothing is carried over: it shares no memory with what the caller gave.
  const target = copyState(options.target);
  if (options.oracleTarget !== undefined && settings.method !== 'oracle') {
    throw new InvalidArgumentError({
      field: 'oracleTarget',
      expected: "none, except for method 'oracle'",
      got: `weights for method '${settings.method}'`,
    });
  }
  if (options.oracleTarget !== undefined) requireState('oracleTarget', graph, options.oracleTarget);
  const skip = skipPredicate(settings.skipParameters, target);
  const { training, heldOut } = splitData(data, settings.heldOutFraction, settings.heldOutSeed);
  requireScores(settings.stopRule, heldOut.length);
  requireBatches(graph, training.length, settings.batchSize, batchesDrawn(settings));

  const readSource = async (number: number): Promise<NetworkState> => {
    const state = await source.readCheckpoint(number, signal);
    requireState(`source.${source.checkpoints[number]?.label}`, graph, state);
    return state;
  };
  const sourceStart = await readSource(first);
  const sourceEnd = await readSource(last);

  const compute = await useCompute(options.compute);
  requireWorkers(options.workers, compute.core);
  const { points, fractions } = pointsOf(compute, settings, first, last);
  using visited = new Points({
    core: compute.core, spec, target: target.parameters, start: sourceStart.parameters, end: sourceEnd.parameters, points, skip,
    ...(settings.trajectory === 'real' ? { read: async (number: number) => (await readSource(number)).parameters } : {}),
  });

  // A real trajectory has the spacing of its checkpoints.
  const { schedule: _schedule, ...others } = settings;
  const recorded = {
    ...(settings.trajectory === 'real' ? others : settings),
    from: source.checkpoints[first]?.label ?? '',
    to: source.checkpoints[last]?.label ?? '',
  };
  const inputs = {
    graph: await graphSha256(graph),
    data: dataHash,
    sourceStart: await stateSha256(graph, sourceStart),
    sourceEnd: await stateSha256(graph, sourceEnd),
    target: await stateSha256(graph, target),
    ...(options.oracleTarget === undefined ? {} : { oracleTarget: await stateSha256(graph, options.oracleTarget) }),
  };
  const resumed = options.resume === undefined ? undefined : await ResumePoints.open(options.resume, {
    kind: 'transfer',
    settings: { ...recorded, ...jobArithmetic(compute.core), data: dataForm(data) },
    inputs: settings.trajectory === 'real' ? { ...inputs, sourceBetween: await sourceSha256(graph, points, readSource) } : inputs,
  }, settings.steps);

  using network = compute.engine.compile(graph, networkOptions(settings, graph, spec));
  const sampler = new BatchSampler(training, settings.batchSize, new Random(settings.seed, streams.batches, 1));
  const passing = Array.from({ length: settings.batchesPerStep }, () => new PassingBatches(data));
  let batches = 0;
  const context: TransferContext = {
    core: compute.core,
    settings,
    spec,
    network,
    workers: options.workers,
    target,
    drawBatches: (use) => {
      batches += settings.batchesPerStep;
      const make = (slot: number): Batch =>
        use === 'kept' ? makeBatch(data, sampler.next()) : (passing[slot] as PassingBatches).make(sampler.next());
      return Array.from({ length: settings.batchesPerStep }, (_, slot) => make(slot));
    },
    points: visited,
    stopwatch,
    signal,
    breather: new Breather(signal, GRADIENTS_A_BREATH),
    counts: { gradients: 0, reusedGradients: 0, reusedPairs: 0, matchings: 0, assignments: 0 },
  };
  const { match, history } = matchingFor(context, options.oracleTarget);
  const score = await scorer(context, data, heldOut, sourceEnd);

  let permutations = identityPermutations(spec);
  let kept: KeptStep = { step: 0, state: target, permutations };
  let steps: TransferStep[] = [];
  if (resumed?.found === undefined) steps.push({ step: 0, fraction: 0, ...(await score(target)) });
  else {
    const found = takeTransferPoint(resumed.found, kept, network.layout, spec, history);
    ({ steps, permutations, kept, batches } = found);
    Object.assign(context.counts, found.counts);
    // Fixed batches are drawn again, point by point.
    if (settings.method !== 'gmt' || settings.gmtBatches === 'fresh') sampler.skip(batches);
    else batches = 0;
  }
  /** Arrays of a state that is not kept, for the next. */
  let spare: NamedTensors | undefined;
  let told = 0;
  const tell = (): void => {
    const since = deepFreeze(steps.slice(told));
    options.onProgress?.({ stage: 'transfer', done: steps.length - 1, total: settings.steps, detail: progressDetail(steps), steps: since });
    told = steps.length;
  };
  tell();
  for (let step = steps.length; step <= settings.steps; step++) {
    const matching = await match(step, permutations).catch(async (error: unknown) => {
      if (error instanceof NotFiniteError) await resumed?.remove();
      throw error;
    });
    permutations = matching?.permutations ?? permutations;
    const parameters = await visited.arrive(step, permutations, spare);
    const moved = { parameters, buffers: target.buffers };
    // Where no step is scored the last is kept, and statistics of the others would be read by nobody.
    const state = heldOut.length > 0 || step === settings.steps ? await reestimated(context, moved, data, training, step) : moved;
    steps.push({
      step,
      fraction: fractions[step] as number,
      ...(matching === undefined ? {} : summary(matching, history)),
      ...(await score(state)),
    });
    // Only the state that the rule would choose now is kept, so that T does not multiply the memory.
    const chosen = chooseStep(settings.stopRule, steps, isTokenSet(data) ? 'loss' : 'accuracy') === step;
    const passed = chosen ? kept.state : state;
    spare = passed === target ? undefined : passed.parameters;
    if (chosen) kept = { step, state, permutations };
    tell();
    await resumed?.offer(step, () =>
      transferPoint({ steps, permutations, kept, counts: context.counts, batches }, settings.method === 'fgmt' ? history : undefined),
    );
    await breathe(signal);
  }

  // Steps that left the numbers there are may pass by: of NaN no two processors agree on the bits, and no bundle takes it.
  requireFiniteState(`step ${kept.step}`, kept.state);
  const record = await makeRecord(
    'transfer',
    { ...recorded, chosenStep: kept.step },
    inputs,
    graph,
    kept.state,
    compute.core,
    codedHistoryOf(steps),
  );
  return Object.freeze({
    graph,
    state: kept.state,
    method: settings.method,
    chosenStep: kept.step,
    steps: deepFreeze(steps),
    permutations: kept.permutations,
    counts: Object.freeze({ ...context.counts }),
    timings: Object.freeze(stopwatch.read()),
    record,
  });
}

/** The longest run of one sampler: of gradients over the whole transfer, or of statistics at each step. */
function batchesDrawn({ method, gmtBatches, steps, batchesPerStep, statisticsBatches }: TransferSettings): number {
  const points = { naive: 0, oracle: 0, fgmt: steps, gmt: gmtBatches === 'fixed' ? steps : (steps * (steps + 1)) / 2 }[method];
  return Math.max(points * batchesPerStep, statisticsBatches);
}

/** The points of the schedule: fractions of the line, or checkpoint numbers; and both as fractions for the report. */
function pointsOf(
  compute: Compute,
  settings: TransferSettings,
  first: number,
  last: number,
): { readonly points: readonly number[]; readonly fractions: readonly number[] } {
  if (settings.trajectory === 'linear') {
    const fractions = scheduleFractions(compute.core, settings.steps, settings.schedule);
    return { points: fractions, fractions };
  }
  const numbers = checkpointSteps(last - first + 1, settings.steps);
  return {
    points: numbers.map((number) => first + number),
    fractions: numbers.map((number) => number / (last - first)),
  };
}

/** One hash for all checkpoints that a real trajectory visits. */
async function sourceSha256(
  graph: ModelGraph,
  points: readonly number[],
  read: (number: number) => Promise<NetworkState>,
): Promise<string> {
  const hashes: string[] = [];
  for (const point of points) hashes.push(await stateSha256(graph, await read(point)));
  return sha256Hex(new TextEncoder().encode(hashes.join()));
}

/**
 * A shifted network's batch-norm statistics belong to neither parent: they are estimated anew, as in the official code. Their batches come
 * from a stream of their own, so that they do not shift those of the gradients.
 */
async function reestimated(
  { network, settings, stopwatch, signal }: TransferContext,
  state: NetworkState,
  data: DataSet,
  training: Int32Array,
  step: number,
): Promise<NetworkState> {
  if (state.buffers.size === 0) return state;
  const sampler = new BatchSampler(training, settings.batchSize, new Random(settings.seed, streams.statistics, step));
  const batches = new PassingBatches(data);
  const estimate = network.estimateStatistics(state);
  const breather = new Breather(signal, 16);
  for (let batch = 0; batch < settings.statisticsBatches; batch++) {
    stopwatch.measure('evaluation', () => estimate.add(batches.make(sampler.next())));
    await breather.pause();
  }
  return estimate.state();
}

function summary(matching: MatchingResult, history: GradientHistory | undefined): Omit<TransferStep, 'step' | 'fraction'> {
  const { objective, residual, sweeps, converged } = matching;
  return {
    objective,
    ...(history?.coded === true ? { objectiveErrorBound: history.objectiveErrorBound } : {}),
    residual,
    sweeps,
    converged,
  };
}

/** What the record says of steps that were matched by codes; undefined where there are none. */
function codedHistoryOf(steps: readonly TransferStep[]): ResultRecord['codedHistory'] {
  const coded = steps.filter(({ objectiveErrorBound }) => objectiveErrorBound !== undefined);
  const [first] = coded;
  return first && { fromStep: first.step, objectiveErrorBound: Math.max(...coded.map((step) => step.objectiveErrorBound as number)) };
}

function progressDetail(steps: readonly TransferStep[]): Record<string, number> {
  const { heldOut, objective, sweeps } = steps.at(-1) as TransferStep;
  return {
    ...(heldOut === undefined ? {} : { heldOut: heldOut.accuracy }),
    ...(objective === undefined ? {} : { objective }),
    ...(sweeps === undefined ? {} : { sweeps }),
  };
}
