/** What a training is told, and what follows from it before anything is computed. */
import type { Core } from '../core/core.ts';
import { elementary } from '../core/elementary.ts';
import { InvalidArgumentError } from '../core/errors.ts';
import { requireChoice, requireInteger, requireList, requireNumber } from '../core/require.ts';
import { limits } from '../core/limits.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';
import { batchesInEpoch } from '../data/batch-sampler.ts';
import type { DataSet } from '../data/data-set.ts';
import { DEFAULT_LOSS, requireLoss, type Loss } from '../gradient/loss.ts';
import { requireOptimiser, type OptimiserSettings } from '../gradient/optimiser.ts';
import type { GradientWorkers } from '../gradient/workers/pool.ts';
import type { ModelGraph } from '../model/graph.ts';
import { initialisers } from '../model/initialise.ts';
import type { InitialiseOptions } from '../model/initialise.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import type { Compute } from './compute.ts';
import type { Evaluation } from './evaluate.ts';
import { DEFAULT_BATCH_SIZE, controlNames, requireBatches, requireData, requireParts, requireWorkers, splitData } from './inputs.ts';
import type { JobControl, ProgressEvent } from './progress.ts';
import { requireResume } from './resume.ts';
import type { ResumeOptions } from './resume.ts';

/** The first comes before any iteration, with the evaluations of iteration 0 or of what a resume point holds. */
export interface TrainEvent extends ProgressEvent {
  readonly stage: 'train';
  /** What was evaluated since the event before: all events together have those of the result, in its order. */
  readonly evaluations: readonly { readonly iteration: number; readonly heldOut: Evaluation }[];
}

export interface TrainOptions extends JobControl<TrainEvent> {
  readonly graph: ModelGraph;
  readonly data: DataSet;
  /** Initial weights, the order of the data and what is held out follow from it. An integer ≥ 0. */
  readonly seed: number;
  /** Passes over the training part; give either `epochs` or `iterations`. */
  readonly epochs?: number;
  /** Optimiser steps, where an epoch is too coarse (onward training of a transferred network). */
  readonly iterations?: number;
  /** Images a step. Default 128. */
  readonly batchSize?: number;
  /** Images of a batch on the heap at once; see `TransferChoices.microBatch`. Default: the whole batch. */
  readonly microBatch?: number;
  /** What is minimised. Default: softmax cross-entropy without label smoothing. */
  readonly loss?: Loss;
  /** Default: SGD with momentum 0.9 and no weight decay. */
  readonly optimiser?: OptimiserSettings;
  /** Default 0.01. */
  readonly learningRate?: number;
  /** `cosine`: the rate of epoch e of E is ½·(1 + cos(π·e/E)) times `learningRate`. Default `constant`. */
  readonly learningRateSchedule?: 'constant' | 'cosine';
  /** Weights to start from, copied at once; drawn from `seed` where absent. */
  readonly initial?: NetworkState;
  readonly initialScheme?: NonNullable<InitialiseOptions['scheme']>;
  /** Epochs whose end is kept as a checkpoint besides the start and the end. Default: all. */
  readonly checkpointEpochs?: readonly number[];
  /** Iterations whose end is kept as a checkpoint too. */
  readonly checkpointIterations?: readonly number[];
  /** Share of `data` kept out of training and used for the evaluations. Default 0.1; with 0 nothing is evaluated. */
  readonly heldOutFraction?: number;
  /** Iterations after which to evaluate as well as at the end of each epoch. */
  readonly evaluateAt?: readonly number[];
  /** Writes resume points and goes on from the newest: the same bytes as without a break. */
  readonly resume?: ResumeOptions;
  /** Default: the one that calls without `compute` share in a realm, until `closeSharedCompute()`. */
  readonly compute?: Compute;
  /**
   * The micro-batches of each batch are computed in these at once and added in their own order, so the bytes are those of one thread and of
   * any number of workers. Needs `microBatch`, because a whole batch is one piece of work.
   */
  readonly workers?: GradientWorkers;
}

export const optionNames: OptionNames<TrainOptions> = {
  ...controlNames,
  graph: true,
  data: true,
  seed: true,
  epochs: true,
  iterations: true,
  batchSize: true,
  microBatch: true,
  loss: true,
  optimiser: true,
  learningRate: true,
  learningRateSchedule: true,
  initial: true,
  initialScheme: true,
  checkpointEpochs: true,
  checkpointIterations: true,
  heldOutFraction: true,
  evaluateAt: true,
  resume: true,
  compute: true,
  workers: true,
};

export type TrainSettings = ReturnType<typeof readSettings>;

/** A training as it will be run. */
export interface TrainJob {
  readonly graph: ModelGraph;
  readonly data: DataSet;
  readonly seed: number;
  readonly settings: TrainSettings;
  /** Rows of `data` that are trained on, and those that are held out. */
  readonly training: Int32Array;
  readonly heldOut: Int32Array;
  readonly batchesPerEpoch: number;
  readonly iterations: number;
}

const DEFAULT_OPTIMISER: OptimiserSettings = { kind: 'sgd', momentum: 0.9, weightDecay: 0 };

/** @throws InvalidArgumentError for options, shapes and labels that do not fit. */
export function readJob(options: TrainOptions): TrainJob {
  requireParts(options, { graph: 'graph', data: 'data' });
  requireOptions('train', options, optionNames);
  requireResume('train', options.resume);
  const { graph, data, seed } = options;
  requireInteger('seed', seed, 0);
  requireData(graph, data);
  const settings = readSettings(options);
  const { training, heldOut } = splitData(data, settings.heldOutFraction, seed);
  const batchesPerEpoch = batchesInEpoch(training.length, settings.batchSize);
  const iterations = settings.iterations ?? (settings.epochs as number) * batchesPerEpoch;
  // A checkpoint of an epoch is of its end, which the last one of a training by iterations need not reach.
  requireWithin('checkpointEpochs', settings.checkpointEpochs, Math.floor(iterations / batchesPerEpoch), 'whole epochs');
  requireWithin('checkpointIterations', settings.checkpointIterations, iterations, 'iterations');
  requireWithin('evaluateAt', settings.evaluateAt, iterations, 'iterations');
  requireKept(settings, iterations, batchesPerEpoch);
  requireBatches(graph, training.length, settings.batchSize, iterations);
  return { graph, data, seed, settings, training, heldOut, batchesPerEpoch, iterations };
}

/** @throws InvalidArgumentError for workers that compute in another arithmetic, or that would have nothing to share. */
export function requireSharedWork(workers: GradientWorkers | undefined, core: Core, { batchSize, microBatch }: TrainSettings): void {
  requireWorkers(workers, core);
  if (workers === undefined || (microBatch ?? batchSize) < batchSize) return;
  throw new InvalidArgumentError({
    field: 'microBatch',
    expected: `fewer images than the ${batchSize} of a batch, because its parts are what workers share`,
    got: microBatch === undefined ? 'none' : `${microBatch}`,
  });
}

/** The learning rate by epoch, from 0. No list: of 2^31 iterations it had more epochs than V8 has memory for. */
export function epochRate(
  core: Core,
  { settings: { learningRate, learningRateSchedule }, iterations, batchesPerEpoch }: TrainJob,
): (epoch: number) => number {
  const { cos } = elementary(core);
  const epochs = Math.ceil(iterations / batchesPerEpoch);
  const factor = (epoch: number): number => (learningRateSchedule === 'constant' ? 1 : 0.5 * (1 + cos((Math.PI * epoch) / epochs)));
  return (epoch) => learningRate * factor(epoch);
}

/** The options with their defaults, as they go into the record. */
function readSettings(options: TrainOptions) {
  if ((options.epochs === undefined) === (options.iterations === undefined)) {
    throw new InvalidArgumentError({
      field: 'epochs',
      expected: 'either `epochs` or `iterations`',
      got: options.epochs === undefined ? 'neither' : 'both',
    });
  }
  return {
    epochs: options.epochs === undefined ? null : requireInteger('epochs', options.epochs, 1, limits.checkpoints - 1),
    iterations: options.iterations === undefined ? null : requireInteger('iterations', options.iterations, 1),
    batchSize: requireInteger('batchSize', options.batchSize ?? DEFAULT_BATCH_SIZE, 1),
    // Absent where there is none, so that records of whole batches stay as they were.
    ...(options.microBatch === undefined ? {} : { microBatch: requireInteger('microBatch', options.microBatch, 1) }),
    loss: requireLoss('loss', options.loss ?? DEFAULT_LOSS),
    optimiser: requireOptimiser(options.optimiser ?? DEFAULT_OPTIMISER),
    learningRate: requireNumber('learningRate', options.learningRate ?? 0.01, 0),
    learningRateSchedule: requireChoice('learningRateSchedule', options.learningRateSchedule ?? 'constant', ['constant', 'cosine']),
    initialScheme: requireChoice('initialScheme', options.initialScheme ?? 'pytorch', initialisers),
    checkpointEpochs: options.checkpointEpochs === undefined ? null : requirePlaces('checkpointEpochs', options.checkpointEpochs),
    checkpointIterations:
      options.checkpointIterations === undefined ? null : requirePlaces('checkpointIterations', options.checkpointIterations),
    heldOutFraction: options.heldOutFraction ?? 0.1,
    evaluateAt: requirePlaces('evaluateAt', options.evaluateAt ?? []),
  };
}

/**
 * Epochs or iterations, counted from 1: each once and in their order, since the caller's chooses nothing and the record
 * must not tell it.
 */
function requirePlaces(field: string, value: unknown): readonly number[] {
  const places = requireList(field, value, (place, item) => requireInteger(place, item, 1));
  return [...new Set(places)].toSorted((a, b) => a - b);
}

/** More checkpoints than a bundle holds would be met at the end of the training, when all is computed. */
function requireKept({ checkpointEpochs, checkpointIterations }: TrainSettings, iterations: number, batchesPerEpoch: number): void {
  const epochs = (checkpointEpochs ?? []).map((epoch) => epoch * batchesPerEpoch);
  const asked = [...new Set([...epochs, ...(checkpointIterations ?? []), iterations])];
  const ofAll = checkpointEpochs === null;
  const ends = Math.floor(iterations / batchesPerEpoch);
  const kept = 1 + (ofAll ? ends + asked.filter((one) => one % batchesPerEpoch > 0).length : asked.length);
  if (kept <= limits.checkpoints) return;
  throw new InvalidArgumentError({
    field: 'checkpointEpochs',
    expected: `epochs of which at most ${limits.checkpoints} checkpoints are kept in all`,
    got: `${kept}${ofAll ? ', one for the end of each epoch' : ''}`,
  });
}

/** What is to be kept or seen must come to pass: a checkpoint that is missing is met at the end of the training. */
function requireWithin(field: string, wanted: readonly number[] | null, last: number, unit: string): void {
  const beyond = wanted?.find((number) => number > last);
  if (beyond !== undefined)
    throw new InvalidArgumentError({ field, expected: `at most ${last}, the ${unit} of this training`, got: `${beyond}` });
}
