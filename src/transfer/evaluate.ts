/** Loss and accuracy of a network on images, in pieces so that the host's event loop stays alive. */
import { Breather } from '../core/breather.ts';
import { requireInteger } from '../core/require.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';
import { BatchPieces } from '../data/batch-pieces.ts';
import type { DataSet } from '../data/data-set.ts';
import type { Loss } from '../gradient/loss.ts';
import type { Evaluation, Network } from '../gradient/network.ts';
import type { StartedBatch } from '../gradient/network-inputs.ts';
import type { ModelGraph } from '../model/graph.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import { useCompute } from './compute.ts';
import type { Compute } from './compute.ts';
import { controlNames, requireData, requireParts, requireState } from './inputs.ts';
import type { JobControl } from './progress.ts';
import type { Stopwatch } from './timing.ts';

export type { Evaluation } from '../gradient/network.ts';

export interface EvaluateOptions extends JobControl {
  readonly graph: ModelGraph;
  readonly state: NetworkState;
  readonly data: DataSet;
  /** Images a forward pass; memory grows with it, the result does not change beyond rounding. Default 256. */
  readonly batchSize?: number;
  /** Default: softmax cross-entropy without label smoothing. */
  readonly loss?: Loss;
  readonly compute?: Compute;
}

export const optionNames: OptionNames<EvaluateOptions> = {
  ...controlNames,
  graph: true,
  state: true,
  data: true,
  batchSize: true,
  loss: true,
  compute: true,
};

/** Images a forward pass where the caller names no other number. */
export const EVALUATION_BATCH = 256;

/**
 * Evaluates `state` in evaluation mode (batch norm with its running statistics).
 * @throws InvalidArgumentError, NotFiniteError: see `requireState` and `requireData`.
 */
export async function evaluate(options: EvaluateOptions): Promise<Evaluation> {
  requireParts(options, { graph: 'graph', state: 'state', data: 'data' });
  requireOptions('evaluate', options, optionNames);
  const { graph, state, data } = options;
  const batchSize = requireInteger('batchSize', options.batchSize ?? EVALUATION_BATCH, 1);
  requireData(graph, data);
  requireState('state', graph, state);
  const { engine } = await useCompute(options.compute);
  using network = engine.compile(graph, options.loss === undefined ? {} : { loss: options.loss });
  const rows = Int32Array.from({ length: data.count }, (_, row) => row);
  return evaluatePieces(network, state, new BatchPieces(data, rows, batchSize, false), options);
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
  let lossSum = 0;
  let correct = 0;
  let count = 0;
  for (const batch of pieces) {
    const run = () => network.evaluate(state, [batch], onLogits);
    const part = stopwatch === undefined ? run() : stopwatch.measure('evaluation', run);
    lossSum += part.loss * part.count;
    correct += part.correct;
    count += part.count;
    control.onProgress?.({ stage: 'evaluate', done: count, total: pieces.count, detail: {} });
    await breather.pause();
  }
  return { loss: lossSum / count, accuracy: correct / count, correct, count };
}
