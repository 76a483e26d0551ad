/** A training under way, iteration by iteration. */
import { describe } from '../core/describe.ts';
import { NotFiniteError } from '../core/errors.ts';
import { BatchSampler } from '../data/batch-sampler.ts';
import type { Batch } from '../data/batch.ts';
import { BatchPieces } from '../data/batch-pieces.ts';
import { PassingBatches } from '../data/data-set.ts';
import type { Trainer } from '../gradient/engine.ts';
import type { GradientResult, Network } from '../gradient/network.ts';
import type { GradientWorkers } from '../gradient/workers/pool.ts';
import { Random, streams } from '../tensor/random.ts';
import { requireFiniteState } from '../tensor/tensor.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import { deepFreeze } from './record.ts';
import { EVALUATION_BATCH, evaluatePieces } from './evaluate.ts';
import type { JobControl, ProgressEvent } from './progress.ts';
import type { TrainJob } from './train-job.ts';
import type { TrainProgress } from './train-point.ts';

/** What a training computes with. */
export interface TrainTools {
  readonly network: Network;
  readonly trainer: Trainer;
  readonly workers: GradientWorkers | undefined;
  /** Learning rate of an epoch. */
  readonly rateOf: (epoch: number) => number;
  readonly signal: JobControl['signal'];
}

/** Where an iteration stands among the epochs, and what is to be kept after it. */
interface Place {
  readonly epoch: number;
  readonly endsEpoch: boolean;
  readonly evaluates: boolean;
  readonly keeps: boolean;
  readonly label: string;
}

export class TrainRun {
  readonly progress: TrainProgress;
  readonly #job: TrainJob;
  readonly #tools: TrainTools;
  readonly #sampler: BatchSampler;
  readonly #trainingBatches: PassingBatches;
  readonly #heldOut: BatchPieces;

  /** @param progress what `done` iterations have gathered; goes on growing. */
  constructor(job: TrainJob, tools: TrainTools, progress: TrainProgress, done: number) {
    this.#job = job;
    this.#tools = tools;
    this.progress = progress;
    this.#sampler = new BatchSampler(job.training, job.settings.batchSize, new Random(job.seed, streams.batches));
    this.#sampler.skip(done);
    this.#trainingBatches = new PassingBatches(job.data);
    this.#heldOut = new BatchPieces(job.data, job.heldOut, EVALUATION_BATCH, true);
  }

  /** Evaluates on what is held out, once for an iteration; 0 is before training. */
  async evaluate(iteration: number, state: NetworkState): Promise<void> {
    const { evaluations } = this.progress;
    if (this.#heldOut.count === 0 || evaluations.at(-1)?.iteration === iteration) return;
    const { network, signal } = this.#tools;
    evaluations.push(deepFreeze({ iteration, heldOut: await evaluatePieces(network, state, this.#heldOut, { signal }) }));
  }

  /**
   * The next iteration: a step of the optimiser, and what is to be kept after it. @returns what to tell of it. @throws
   * NotFiniteError where the training diverges.
   */
  async advance(iteration: number): Promise<ProgressEvent['detail']> {
    const { heldOut, settings } = this.#job;
    const place = this.#placeOf(iteration);
    const loss = await this.#step(this.#trainingBatches.make(this.#sampler.next()), this.#tools.rateOf(place.epoch));
    if (!Number.isFinite(loss)) {
      throw new NotFiniteError({
        field: `loss of iteration ${iteration}`,
        expected: `a finite number (a learning rate of ${settings.learningRate} may be too high)`,
        got: describe(loss),
      });
    }
    this.progress.losses.push(loss);
    if (place.evaluates || place.keeps) await this.#look(iteration, place);
    const scored = place.endsEpoch && heldOut.length > 0;
    return { loss, ...(scored ? { heldOut: this.progress.evaluations.at(-1)?.heldOut.accuracy ?? 0 } : {}) };
  }

  #placeOf(iteration: number): Place {
    const { batchesPerEpoch, iterations, settings } = this.#job;
    const finished = Math.ceil(iteration / batchesPerEpoch);
    const endsEpoch = iteration % batchesPerEpoch === 0;
    const last = iteration === iterations;
    const asked = settings.checkpointIterations?.includes(iteration) ?? false;
    return {
      epoch: finished - 1,
      endsEpoch,
      evaluates: endsEpoch || last || settings.evaluateAt.includes(iteration),
      keeps: last || asked || (endsEpoch && (settings.checkpointEpochs?.includes(finished) ?? true)),
      label: endsEpoch ? `epoch-${finished}` : `iteration-${iteration}`,
    };
  }

  /** @returns the loss before the step. */
  async #step(batch: Batch, rate: number): Promise<number> {
    const { network, trainer, workers } = this.#tools;
    if (workers === undefined) return trainer.step(batch, rate);
    const [result] = await workers.gradients(this.#job.graph, [{ state: trainer.state(), batches: [batch] }], network.options);
    const { losses: [loss], gradients } = result as GradientResult;
    trainer.apply(gradients, rate);
    return loss as number;
  }

  /** Takes the weights off the heap, to evaluate or to keep them. */
  async #look(iteration: number, { evaluates, keeps, label }: Place): Promise<void> {
    const state = this.#tools.trainer.state();
    // Losses are of the weights before their step: what the last step left would be seen by none.
    requireFiniteState(label, state);
    if (evaluates) await this.evaluate(iteration, state);
    if (keeps) this.progress.checkpoints.push({ label, iteration, state });
  }
}
