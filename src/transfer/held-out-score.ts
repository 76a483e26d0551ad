/** What the held-out rows say of a state of a transfer. */
import { BatchPieces } from '../data/batch-pieces.ts';
import type { DataSet } from '../data/data-set.ts';
import type { StartedBatch } from '../gradient/network-inputs.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import { EVALUATION_BATCH, evaluatePieces } from './evaluate.ts';
import type { Evaluation } from './evaluate.ts';
import type { DrawnBatch } from './started-rows.ts';
import type { TransferContext } from './transfer-context.ts';
import type { TransferStep } from './transfer-step.ts';

type Score = Pick<TransferStep, 'heldOut' | 'agreement'>;

/** A held-out batch with what is known of it in that state. */
type Start = (batch: DrawnBatch) => StartedBatch;

/** Scores a state on the held-out rows, with what the stop rule asks for and no more. */
export async function scorer(
  context: TransferContext,
  data: DataSet,
  heldOut: Int32Array,
  sourceEnd: NetworkState,
): Promise<(state: NetworkState, start?: Start) => Promise<Score>> {
  if (heldOut.length === 0) return async () => ({});
  const { network, stopwatch, signal, settings } = context;
  const pieces = new BatchPieces(data, heldOut, EVALUATION_BATCH, true);
  const evaluate = (state: NetworkState, start?: Start, onLogits?: (scores: Float32Array) => void): Promise<Evaluation> =>
    evaluatePieces(network, state, start === undefined ? pieces : startedPieces(pieces, heldOut, start), { signal }, stopwatch, onLogits);
  if (settings.stopRule !== 'label-free') return async (state, start) => ({ heldOut: await evaluate(state, start) });

  const { labelsPerInput, classes } = network;
  const predict = async (
    state: NetworkState, start?: Start,
  ): Promise<{ readonly evaluation: Evaluation; readonly predictions: Int32Array }> => {
    const predictions = new Int32Array(heldOut.length * labelsPerInput);
    let at = 0;
    const evaluation = await evaluate(state, start, (scores) => {
      predictions.set(largestIndices(scores, classes), at);
      at += scores.length / classes;
    });
    return { evaluation, predictions };
  };
  const { predictions: taught } = await predict(sourceEnd);
  return async (state, start) => {
    const { evaluation, predictions } = await predict(state, start);
    let agreeing = 0;
    for (let row = 0; row < taught.length; row++) if (predictions[row] === taught[row]) agreeing++;
    return { heldOut: evaluation, agreement: agreeing / taught.length };
  };
}

/** The pieces of those rows with what is known of them. */
function startedPieces(pieces: BatchPieces, rows: Int32Array, start: Start): Iterable<StartedBatch> & { readonly count: number } {
  return {
    count: pieces.count,
    *[Symbol.iterator]() {
      let first = 0;
      for (const batch of pieces) {
        yield start({ ...batch, rows: rows.subarray(first, first + batch.count) });
        first += batch.count;
      }
    },
  };
}

/** Index of the largest of each row of [count, classes]; the first among equals. */
function largestIndices(logits: Float32Array, classes: number): Int32Array {
  const count = logits.length / classes;
  const indices = new Int32Array(count);
  for (let row = 0; row < count; row++) {
    let best = 0;
    for (let c = 1; c < classes; c++) {
      if ((logits[row * classes + c] as number) > (logits[row * classes + best] as number)) best = c;
    }
    indices[row] = best;
  }
  return indices;
}
