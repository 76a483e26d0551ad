/**
 * Training: makes a source trajectory from scratch or from given weights, and is the onward fine-tuning of a
 * transferred network. Every choice is seeded; the result records them.
 */
import { elementary } from '../core/elementary.ts';
import {
  InvalidArgumentError,
  NotFiniteError,
  describe,
  requireChoice,
  requireInteger,
  requireList,
  requireNumber,
} from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';
import { PassingBatches } from '../data/data-set.ts';
import { BatchSampler } from '../data/batch-sampler.ts';
import type { Batch } from '../data/batch.ts';
import type { DataSet } from '../data/data-set.ts';
import { DEFAULT_LOSS, requireLoss, type Loss } from '../gradient/loss.ts';
import type { GradientResult } from '../gradient/network.ts';
import { requireOptimiser, type OptimiserSettings } from '../gradient/optimiser.ts';
import type { GradientWorkers } from '../gradient/workers/pool.ts';
import type { ModelGraph } from '../model/graph.ts';
import { initialise, initialisers } from '../model/initialise.ts';
import type { InitialiseOptions } from '../model/initialise.ts';
import { Random, streams } from '../tensor/random.ts';
import { copyState, requireFinite } from '../tensor/tensor.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import { useCompute } from './compute.ts';
import type { Compute } from './compute.ts';
import { EVALUATION_BATCH, evaluateRows } from './evaluate.ts';
import type { Evaluation } from './evaluate.ts';
import { controlNames, microBatchOption, requireBatches, requireData, requireParts, requireState, requireWorkers, splitData } from './inputs.ts';
import { Breather } from './progress.ts';
import type { JobControl } from './progress.ts';
import { dataForm, dataSha256, deepFreeze, graphSha256, jobArithmetic, makeRecord, stateSha256 } from './record.ts';
import type { ResultRecord } from './record.ts';
import { ResumePoints } from './resume.ts';
import type { ResumeOptions } from './resume.ts';
import { takeTrainPoint, trainPoint } from './train-point.ts';
import type { Checkpoint, TrainProgress } from './train-point.ts';
import { trajectoryFromStates } from './trajectory.ts';
import type { Trajectory } from './trajectory.ts';

export type { Checkpoint } from './train-point.ts';

export interface TrainOptions extends JobControl {
  readonly graph: ModelGraph;
  readonly data: DataSet;
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
  readonly compute?: Compute;
  /**
   * The micro-batches of each batch are computed in these at once and added in their own order, so the bytes are those of one thread and of
   * any number of workers. Needs `microBatch`, because a whole batch is one piece of work.
   */
  readonly workers?: GradientWorkers;
}

const optionNames: OptionNames<TrainOptions> = {
  ...controlNames, graph: true, data: true, seed: true, epochs: true, iterations: true, batchSize: true, microBatch: true, loss: true, optimiser: true, learningRate: true,
  learningRateSchedule: true, initial: true, initialScheme: true, checkpointEpochs: true, checkpointIterations: true, heldOutFraction: true, evaluateAt: true, resume: true,
  compute: true, workers: true,
};

export interface TrainResult {
  readonly graph: ModelGraph;
  /** The weights after the last iteration. */
  readonly state: NetworkState;
  readonly checkpoints: readonly Checkpoint[];
  /** Held-out evaluations in the order of their iterations; iteration 0 is before training. */
  readonly evaluations: readonly { readonly iteration: number; readonly heldOut: Evaluation }[];
  /** Training loss of each iteration. */
  readonly losses: readonly number[];
  readonly record: ResultRecord;
  /** The checkpoints as a trajectory, ready for `transfer`. */
  readonly trajectory: Trajectory;
}

const DEFAULT_OPTIMISER: OptimiserSettings = { kind: 'sgd', momentum: 0.9, weightDecay: 0 };

/**
 * Trains `graph` on `data`, which must not change until the call has ended: images are read batch by batch. Weights are copied, and the
 * result shares no memory with them.
 * @throws InvalidArgumentError for options, shapes and labels that do not fit; NotFiniteError when loss or weights diverge;
 *   OutOfMemoryError at the heap's cap; of `resume` InvalidArgumentError for the point of another job, IntegrityError where
 *   none is whole, and what its store throws. Rejects with the signal's reason when aborted, after a last resume point.
 */
export async function train(options: TrainOptions): Promise<TrainResult> {
  requireParts(options, { graph: 'graph', data: 'data' });
  requireOptions('train', options, optionNames);
  const { graph, data, seed } = options;
  requireInteger('seed', seed, 0);
  requireData(graph, data);
  const settings = readSettings(options);
  const { training, heldOut } = splitData(data, settings.heldOutFraction, seed);
  const sampler = new BatchSampler(training, settings.batchSize, new Random(seed, streams.batches));
  const { batchesPerEpoch } = sampler;
  const iterations = settings.iterations ?? (settings.epochs as number) * batchesPerEpoch;
  const epochs = Math.ceil(iterations / batchesPerEpoch);

  // A checkpoint of an epoch is of its end, which the last one of a training by iterations need not reach.
  requireWithin('checkpointEpochs', settings.checkpointEpochs, Math.floor(iterations / batchesPerEpoch), 'whole epochs');
  requireWithin('checkpointIterations', settings.checkpointIterations, iterations, 'iterations');
  requireWithin('evaluateAt', settings.evaluateAt, iterations, 'iterations');

  requireBatches(graph, training.length, settings.batchSize, iterations);

  const { core, engine } = await useCompute(options.compute);
  requireWorkers(options.workers, core);
  if (options.workers !== undefined && (settings.microBatch ?? settings.batchSize) >= settings.batchSize) {
    throw new InvalidArgumentError({
      field: 'microBatch',
      expected: `fewer images than the ${settings.batchSize} of a batch, because its parts are what workers share`,
      got: settings.microBatch === undefined ? 'none' : `${settings.microBatch}`,
    });
  }
  const drawn = options.initial ?? initialise(core, graph, { seed, scheme: settings.initialScheme });
  requireState('initial', graph, drawn);
  // The first checkpoint is of this: a result shares no memory with what the caller gave.
  const start = copyState(drawn);
  const { cos } = elementary(core);
  const rates = epochRates(epochs, settings.learningRate, (epoch) =>
    settings.learningRateSchedule === 'constant' ? 1 : 0.5 * (1 + cos((Math.PI * epoch) / epochs)),
  );

  const recorded = { ...settings, iterations, seed };
  const inputs = { graph: await graphSha256(graph), data: await dataSha256(data), initial: await stateSha256(graph, start) };
  const job = { kind: 'train', settings: { ...recorded, ...jobArithmetic(core), data: dataForm(data) }, inputs } as const;
  const points = options.resume === undefined ? undefined : await ResumePoints.open(options.resume, job, iterations);

  using network = engine.compile(graph, { loss: settings.loss, ...microBatchOption(settings.batchSize, settings.microBatch) });
  const found = points?.found === undefined ? undefined : takeTrainPoint(points.found, network.layout);
  using trainer = network.trainer(found?.state ?? start, settings.optimiser);
  if (found !== undefined) trainer.restoreOptimiser(found.optimiser);
  const done = points?.found?.done ?? 0;
  sampler.skip(done);
  const breather = new Breather(options.signal, 8);
  const progress: TrainProgress = {
    checkpoints: [{ label: 'start', iteration: 0, state: start }, ...(found?.checkpoints ?? [])],
    evaluations: found?.evaluations ?? [],
    losses: found?.losses ?? [],
  };
  const { checkpoints, evaluations, losses } = progress;
  const [trainingBatches, heldOutBatches] = [new PassingBatches(data), new PassingBatches(data)];
  const evaluateNow = async (iteration: number, state: NetworkState): Promise<void> => {
    if (heldOut.length === 0 || evaluations.at(-1)?.iteration === iteration) return;
    const control = { signal: options.signal };
    evaluations.push({
      iteration,
      heldOut: await evaluateRows(network, state, heldOutBatches, heldOut, EVALUATION_BATCH, control),
    });
  };

  const { workers } = options;
  const step = async (batch: Batch, rate: number): Promise<number> => {
    if (workers === undefined) return trainer.step(batch, rate);
    const [result] = await workers.gradients(graph, [{ state: trainer.state(), batches: [batch] }], network.options);
    const { losses: [loss], gradients } = result as GradientResult;
    trainer.apply(gradients, rate);
    return loss as number;
  };

  const diverged = async (error: unknown): Promise<never> => {
    await points?.remove();
    throw error;
  };

  if (done === 0) await evaluateNow(0, start);
  for (let iteration = done + 1; iteration <= iterations; iteration++) {
    const epoch = Math.floor((iteration - 1) / batchesPerEpoch);
    const loss = await step(trainingBatches.make(sampler.next()), rates[epoch] as number);
    if (!Number.isFinite(loss)) {
      await diverged(
        new NotFiniteError({
          field: `loss of iteration ${iteration}`,
          expected: `a finite number (a learning rate of ${settings.learningRate} may be too high)`,
          got: describe(loss),
        }),
      );
    }
    losses.push(loss);
    const endsEpoch = iteration % batchesPerEpoch === 0;
    const last = iteration === iterations;
    const asked = settings.checkpointIterations?.includes(iteration) ?? false;
    const evaluates = endsEpoch || last || settings.evaluateAt.includes(iteration);
    if (evaluates || asked) {
      const state = trainer.state();
      const finished = Math.ceil(iteration / batchesPerEpoch);
      const label = endsEpoch ? `epoch-${finished}` : `iteration-${iteration}`;
      // Losses are of the weights before their step: what the last step left would be seen by none.
      try {
        for (const tensors of [state.parameters, state.buffers]) requireFinite(label, tensors);
      } catch (error) {
        await diverged(error);
      }
      if (evaluates) await evaluateNow(iteration, state);
      if (last || asked || (endsEpoch && (settings.checkpointEpochs?.includes(finished) ?? true))) {
        checkpoints.push({ label, iteration, state });
      }
    }
    options.onProgress?.({
      stage: 'train',
      done: iteration,
      total: iterations,
      detail: { loss, ...(endsEpoch && heldOut.length > 0 ? { heldOut: evaluations.at(-1)?.heldOut.accuracy ?? 0 } : {}) },
    });
    if (points === undefined) await breather.pause();
    else {
      const point = () => trainPoint(progress, trainer);
      await points.offer(iteration, point);
      try {
        await breather.pause();
      } catch (reason) {
        // Between two iterations the state is whole: nothing that was computed needs to be lost.
        await points.save(iteration, point);
        throw reason;
      }
    }
  }

  const state = (checkpoints.at(-1) as Checkpoint).state;
  const record = await makeRecord('train', recorded, inputs, graph, state, core);
  return Object.freeze({
    graph,
    state,
    checkpoints: Object.freeze(checkpoints),
    evaluations: deepFreeze(evaluations),
    losses: Object.freeze(losses),
    record,
    trajectory: trajectoryFromStates(graph, checkpoints, record),
  });
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
    batchSize: requireInteger('batchSize', options.batchSize ?? 128, 1),
    // Absent where there is none, so that records of whole batches stay as they were.
    ...(options.microBatch === undefined ? {} : { microBatch: requireInteger('microBatch', options.microBatch, 1) }),
    loss: requireLoss('loss', options.loss ?? DEFAULT_LOSS),
    optimiser: requireOptimiser(options.optimiser ?? DEFAULT_OPTIMISER),
    learningRate: requireNumber('learningRate', options.learningRate ?? 0.01, 0),
    learningRateSchedule: requireChoice('learningRateSchedule', options.learningRateSchedule ?? 'constant', [
      'constant',
      'cosine',
    ]),
    initialScheme: requireChoice('initialScheme', options.initialScheme ?? 'pytorch', initialisers),
    checkpointEpochs: options.checkpointEpochs === undefined ? null : requireList('checkpointEpochs', options.checkpointEpochs, requirePlace),
    checkpointIterations: options.checkpointIterations === undefined ? null : requireList('checkpointIterations', options.checkpointIterations, requirePlace),
    heldOutFraction: options.heldOutFraction ?? 0.1,
    evaluateAt: requireList('evaluateAt', options.evaluateAt ?? [], requirePlace),
  };
}

/** An epoch or an iteration, counted from 1. */
function requirePlace(field: string, value: unknown): number {
  return requireInteger(field, value, 1);
}

/** What is to be kept or seen must come to pass: a checkpoint that is missing is met at the end of the training. */
function requireWithin(field: string, wanted: readonly number[] | null, last: number, unit: string): void {
  const beyond = wanted?.find((number) => number > last);
  if (beyond !== undefined) throw new InvalidArgumentError({ field, expected: `at most ${last}, the ${unit} of this training`, got: `${beyond}` });
}

function epochRates(epochs: number, learningRate: number, factor: (epoch: number) => number): readonly number[] {
  return Array.from({ length: epochs }, (_, epoch) => learningRate * factor(epoch));
}
