/** Loss and accuracy of a network on images, in pieces so that the host's event loop stays alive. */
import { requireInteger } from '../core/errors.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';
import { PassingBatches } from '../data/data-set.ts';
import type { DataSet } from '../data/data-set.ts';
import type { Loss } from '../gradient/loss.ts';
import type { Network } from '../gradient/network.ts';
import type { ModelGraph } from '../model/graph.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import { useCompute } from './compute.ts';
import type { Compute } from './compute.ts';
import { controlNames, requireData, requireParts, requireState } from './inputs.ts';
import { Breather } from './progress.ts';
import type { JobControl } from './progress.ts';
import type { Stopwatch } from './timing.ts';

export interface Evaluation {
  /** Mean loss an image, in nats for cross-entropies. */
  readonly loss: number;
  /** Share of images classified rightly, 0 to 1. */
  readonly accuracy: number;
  readonly correct: number;
  readonly count: number;
}

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

const optionNames: OptionNames<EvaluateOptions> = { ...controlNames, graph: true, state: true, data: true, batchSize: true, loss: true, compute: true };

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
  return evaluateRows(network, state, new PassingBatches(data), rows, batchSize, options);
}

/** Evaluates the given rows of a set; sums run in the order of `rows`, so the result is the same everywhere. */
export async function evaluateRows(
  network: Network,
  state: NetworkState,
  batches: PassingBatches,
  rows: Int32Array,
  batchSize: number,
  control: JobControl,
  stopwatch?: Stopwatch,
): Promise<Evaluation> {
  const breather = new Breather(control.signal, 4);
  let lossSum = 0;
  let correct = 0;
  let count = 0;
  for (let start = 0; start < rows.length; start += batchSize) {
    const piece = rows.subarray(start, Math.min(start + batchSize, rows.length));
    const batch = batches.make(piece);
    const run = () => network.evaluate(state, [batch]);
    const part = stopwatch === undefined ? run() : stopwatch.measure('evaluation', run);
    lossSum += part.loss * part.count;
    correct += part.correct;
    count += part.count;
    control.onProgress?.({ stage: 'evaluate', done: start + piece.length, total: rows.length, detail: {} });
    await breather.pause();
  }
  return { loss: lossSum / count, accuracy: correct / count, correct, count };
}
