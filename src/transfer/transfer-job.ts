/** What a transfer is told, and what follows from it before anything is computed. */
import type { Core } from '../core/core.ts';
import { InvalidArgumentError } from '../core/errors.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';
import { sha256Hex } from '../core/sha256.ts';
import { isImageSet } from '../data/data-set.ts';
import type { DataSet } from '../data/data-set.ts';
import { requireNormalisation } from '../data/normalisation.ts';
import type { GradientWorkers } from '../gradient/workers/pool.ts';
import type { ModelGraph } from '../model/graph.ts';
import { derivePermutationSpec } from '../model/permutation-spec.ts';
import type { PermutationSpec } from '../model/permutation-spec.ts';
import { copyState } from '../tensor/tensor.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import type { Compute } from './compute.ts';
import { withZeroHead } from './replaced-head.ts';
import { controlNames, requireBatches, requireData, requireParts, requireState, splitData } from './inputs.ts';
import { pairCounts } from './pair-counts.ts';
import type { JobControl, ProgressEvent } from './progress.ts';
import { dataForm, dataSha256, graphSha256, jobArithmetic, stateHashes, stateSha256 } from './record.ts';
import { requireResume } from './resume.ts';
import type { JobIdentity, ResumeOptions } from './resume.ts';
import { checkpointSteps, scheduleFractions } from './schedule.ts';
import { choiceNames, inNetworkOrder, readSettings, requireZeroHead, skipPredicate } from './settings.ts';
import type { TransferChoices, TransferMethod, TransferSettings } from './settings.ts';
import { requireScores } from './stop-rule.ts';
import { partOf } from './trajectory.ts';
import type { Trajectory } from './trajectory.ts';
import type { TransferStep } from './transfer-step.ts';

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
  /** `gmt`, or `fgmt` for fewer gradients; see `TransferMethod`. */
  readonly method: TransferMethod;
  /** Mini-batches, the order of sweeps and, unless `heldOutSeed` says otherwise, the held-out images follow from it. An integer ≥ 0. */
  readonly seed: number;
  /** Labels of the checkpoints that begin and end the part of the trajectory to carry over. Default: first and last. */
  readonly from?: string;
  readonly to?: string;
  /** `oracle` only: weights that the target truly reached by training. */
  readonly oracleTarget?: NetworkState;
  /** Writes resume points and goes on from the newest: the same bytes as without a break. */
  readonly resume?: ResumeOptions;
  /** Default: the one that calls without `compute` share in a realm, until `closeSharedCompute()`. */
  readonly compute?: Compute;
  /**
   * Gradients of source and target, and of their micro-batches, are computed in these at once, and so are the batch-norm statistics and
   * scores of a step, batch by batch; the result keeps its bytes.
   */
  readonly workers?: GradientWorkers;
}

export const optionNames: OptionNames<TransferOptions> = {
  ...choiceNames, ...controlNames, source: true, target: true, data: true, method: true, seed: true, from: true,
  to: true, oracleTarget: true, resume: true, compute: true,
  workers: true,
};

/** Checked, with what was read. */
export interface TransferJob {
  readonly graph: ModelGraph;
  readonly spec: PermutationSpec;
  readonly settings: TransferSettings;
  readonly data: DataSet;
  readonly dataHash: string;
  /** Rows of the data. */
  readonly training: Int32Array;
  readonly heldOut: Int32Array;
  /** θ₂⁰, a copy: the result is made of it where nothing is carried over, and shares no memory with what the caller gave. */
  readonly target: NetworkState;
  readonly oracleTarget: NetworkState | undefined;
  /** Parameters that the target keeps. */
  readonly skip: (name: string) => boolean;
  /** Numbers of the checkpoints that begin and end the part to carry over, their labels and states. */
  readonly first: number;
  readonly last: number;
  readonly from: string;
  readonly to: string;
  readonly sourceStart: NetworkState;
  readonly sourceEnd: NetworkState;
  readonly readSource: (checkpoint: number) => Promise<NetworkState>;
  /** Both beginnings as they were given, before a last layer became zeros. */
  readonly given: Readonly<Record<'target' | 'sourceStart', NetworkState>>;
}

/** @throws as `transfer`, of options and inputs. */
export async function readJob(options: TransferOptions): Promise<TransferJob> {
  requireParts(options, { source: 'source', target: 'state', data: 'data' });
  requireOptions('transfer', options, optionNames);
  requireResume('transfer', options.resume);
  const { source, data, signal } = options;
  const { graph } = source;
  const { first, last } = partOf(source, options);
  requireData(graph, data);
  if (isImageSet(data)) requireNormalisation('data', data, source.training);
  const dataHash = await dataSha256(data);
  const spec = derivePermutationSpec(graph);
  const settings = inNetworkOrder(readSettings(options.method, options.seed, options, last - first + 1, source.training, dataHash), spec);
  requireState('target', graph, options.target);
  const beginning = (state: NetworkState): NetworkState => (settings.zeroHead ? withZeroHead(graph, state) : state);
  const givenTarget = copyState(options.target);
  const target = beginning(givenTarget);
  if (options.oracleTarget !== undefined && settings.method !== 'oracle') {
    throw new InvalidArgumentError({
      field: 'oracleTarget',
      expected: "none, except for method 'oracle'",
      got: `weights for method '${settings.method}'`,
    });
  }
  if (options.oracleTarget !== undefined) requireState('oracleTarget', graph, options.oracleTarget);
  const skip = skipPredicate(settings.skipParameters, target.parameters);
  if (settings.zeroHead) requireZeroHead(graph, settings, spec, skip);
  const { training, heldOut } = splitData(data, settings.heldOutFraction, settings.heldOutSeed);
  requireScores(settings.stopRule, heldOut.length);
  requireBatches(graph, training.length, settings.batchSize, batchesDrawn(settings));

  const readState = async (number: number): Promise<NetworkState> => {
    const state = await source.readCheckpoint(number, signal);
    requireState(`source.${source.checkpoints[number]?.label}`, graph, state);
    return state;
  };
  const givenStart = await readState(first);
  const readSource = async (number: number): Promise<NetworkState> =>
    (number === first ? beginning(await readState(number)) : readState(number));
  const sourceStart = beginning(givenStart);
  const sourceEnd = await readSource(last);
  return {
    graph, spec, settings, data, dataHash, training, heldOut, target, oracleTarget: options.oracleTarget, skip, first, last,
    from: source.checkpoints[first]?.label ?? '', to: source.checkpoints[last]?.label ?? '', sourceStart, sourceEnd, readSource,
    given: { target: givenTarget, sourceStart: givenStart },
  };
}

/** The longest run of one sampler: of gradients over the whole transfer, or of statistics at each step. */
function batchesDrawn(settings: TransferSettings): number {
  return Math.max(pairCounts(settings).draws * settings.batchesPerStep, settings.statisticsBatches);
}

/** The points of the schedule: fractions of the line, or checkpoint numbers; and both as fractions for the report. */
export function pointsOf(
  core: Core,
  { settings, first, last }: TransferJob,
): { readonly points: readonly number[]; readonly fractions: readonly number[] } {
  if (settings.trajectory === 'linear') {
    const fractions = scheduleFractions(core, settings.steps, settings.schedule);
    return { points: fractions, fractions };
  }
  const numbers = checkpointSteps(last - first + 1, settings.steps);
  return {
    points: numbers.map((number) => first + number),
    fractions: numbers.map((number) => number / (last - first)),
  };
}

/** What the record says of a transfer. */
export async function describeJob(job: TransferJob) {
  const { graph, settings, data, from, to, oracleTarget } = job;
  // A real trajectory has the spacing of its checkpoints.
  const { schedule: _schedule, ...others } = settings;
  const recorded = { ...(settings.trajectory === 'real' ? others : settings), from, to, data: dataForm(data) };
  const inputs = {
    graph: await graphSha256(graph),
    data: job.dataHash,
    ...(await stateHashes(graph, {
      sourceStart: job.given.sourceStart, sourceEnd: job.sourceEnd, target: job.given.target,
      ...(oracleTarget === undefined ? {} : { oracleTarget }),
    })),
  };
  return { recorded, inputs };
}

/** By what resume points of the job are known. @param points that the trajectory visits, each of which is read where it is real. */
export async function identify(
  { graph, settings, readSource }: TransferJob,
  { recorded, inputs }: Awaited<ReturnType<typeof describeJob>>,
  points: readonly number[],
  core: Core,
): Promise<JobIdentity> {
  return {
    kind: 'transfer',
    settings: { ...recorded, ...jobArithmetic(core) },
    inputs: settings.trajectory === 'real' ? { ...inputs, sourceBetween: await sourceSha256(graph, points, readSource) } : inputs,
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
