/** Loss and accuracy of a network on images, in pieces so that the host's event loop stays alive. */
import { Breather, breathe } from '../core/breather.ts';
import { requireInteger } from '../core/require.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';
import { BatchPieces } from '../data/batch-pieces.ts';
import type { DataSet } from '../data/data-set.ts';
import type { Loss } from '../gradient/loss.ts';
import type { Evaluation, Network } from '../gradient/network.ts';
import type { StartedBatch } from '../gradient/network-inputs.ts';
import type { Predictions } from '../gradient/predictions.ts';
import type { GradientWorkers } from '../gradient/workers/pool.ts';
import type { ModelGraph } from '../model/graph.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import { useCompute } from './compute.ts';
import type { Compute } from './compute.ts';
import { controlNames, requireData, requireParts, requireState, requireWorkers } from './inputs.ts';
import type { JobControl } from './progress.ts';
import type { Stopwatch } from './timing.ts';

export type { Evaluation } from '../gradient/network.ts';

/** What is evaluated, and on which data. */
export interface EvaluateOptions extends JobControl {
  readonly graph: ModelGraph;
  readonly state: NetworkState;
  readonly data: DataSet;
  /** Images a forward pass; memory grows with it, the result does not change beyond rounding. Default 256. */
  readonly batchSize?: number;
  /** Default: softmax cross-entropy without label smoothing. */
  readonly loss?: Loss;
  readonly compute?: Compute;
  /** Forward passes are computed in these at once, each of `batchSize` images of its own; the result keeps its bytes. */
  readonly workers?: GradientWorkers;
}

export const optionNames: OptionNames<EvaluateOptions> = {
  ...controlNames,
  graph: true,
  state: true,
  data: true,
  batchSize: true,
  loss: true,
  compute: true,
  workers: true,
};

/** Images a forward pass where the caller names no other number. */
export const EVALUATION_BATCH = 256;

/**
 * Evaluates `state` in evaluation mode (batch norm with its running statistics).
 * @throws InvalidArgumentError, NotFiniteError: see `requireState`, `requireData` and `requireWorkers`.
 */
export async function evaluate(options: EvaluateOptions): Promise<Evaluation> {
  requireParts(options, { graph: 'graph', state: 'state', data: 'data' });
  requireOptions('evaluate', options, optionNames);
  const { graph, state, data, workers } = options;
  const batchSize = requireInteger('batchSize', options.batchSize ?? EVALUATION_BATCH, 1);
  requireData(graph, data);
  requireState('state', graph, state);
  const { core, engine } = await useCompute(options.compute);
  requireWorkers(workers, core);
  using network = engine.compile(graph, options.loss === undefined ? {} : { loss: options.loss });
  const rows = Int32Array.from({ length: data.count }, (_, row) => row);
  return evaluateShared(workers, network, state, new BatchPieces(data, rows, batchSize, false), options);
}

/**
 * Evaluates the rows of all pieces; sums run in their order, so the result is the same everywhere.
 * @param onLogits as `Network.evaluate`'s.
 */
export async function evaluatePieces(
  network: Network,
  state: NetworkState,
  pieces: Iterable<StartedBatch> & { readonly count: number },
  control: JobControl,
  stopwatch?: Stopwatch,
  onLogits?: (scores: Float32Array) => void,
): Promise<Evaluation> {
  const breather = new Breather(control.signal, 4);
  const sum = new EvaluationSum();
  let done = 0;
  for (const batch of pieces) {
    const run = () => network.evaluate(state, [batch], onLogits);
    sum.add(stopwatch === undefined ? run() : stopwatch.measure('evaluation', run));
    done += batch.count;
    control.onProgress?.({ stage: 'evaluate', done, total: pieces.count, detail: {} });
    await breather.pause();
  }
  return sum.result();
}

/** As `evaluatePieces`, as many pieces at once as there are workers; a single piece is shared by nobody. */
export async function evaluateShared(
  workers: GradientWorkers | undefined,
  network: Network,
  state: NetworkState,
  pieces: BatchPieces,
  control: JobControl,
  stopwatch?: Stopwatch,
  predictions?: Predictions,
): Promise<Evaluation> {
  if (workers === undefined || pieces.pieces === 1) return evaluatePieces(network, state, pieces, control, stopwatch, predictions?.take);
  const sum = new EvaluationSum();
  let done = 0;
  for (const batches of pieces.together(workers.size)) {
    const ask = () => workers.evaluations(network.graph, state, batches, network.options, predictions !== undefined);
    const answers = await (stopwatch === undefined ? ask() : stopwatch.measureLater('evaluation', ask));
    for (const { evaluation, predictions: classes } of answers) {
      sum.add(evaluation);
      if (classes !== undefined) predictions?.add(classes);
    }
    for (const { count } of batches) done += count;
    control.onProgress?.({ stage: 'evaluate', done, total: pieces.count, detail: {} });
    await breathe(control.signal);
  }
  return sum.result();
}

/** Evaluations of pieces as one of them all. */
export class EvaluationSum {
  #count = 0;
  #loss = 0;
  #correct = 0;

  add({ loss, correct, count }: Evaluation): void {
    this.#loss += loss * count;
    this.#correct += correct;
    this.#count += count;
  }

  result(): Evaluation {
    const count = this.#count;
    return { loss: this.#loss / count, accuracy: this.#correct / count, correct: this.#correct, count };
  }
}
