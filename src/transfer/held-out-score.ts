/** What the held-out rows say of a state of a transfer. */
import { BatchPieces } from '../data/batch-pieces.ts';
import type { DataSet } from '../data/data-set.ts';
import type { StartedBatch } from '../gradient/network-inputs.ts';
import { Predictions } from '../gradient/predictions.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import { EVALUATION_BATCH, evaluatePieces, evaluateShared } from './evaluate.ts';
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
  const { network, workers, stopwatch, signal, settings } = context;
  const pieces = new BatchPieces(data, heldOut, EVALUATION_BATCH, true);
  const evaluate = (state: NetworkState, start?: Start, predictions?: Predictions): Promise<Evaluation> => {
    // What is known beforehand of a first layer is known here alone, and leaves little to do.
    if (start !== undefined)
      return evaluatePieces(network, state, startedPieces(pieces, heldOut, start), { signal }, stopwatch, predictions?.take);
    return evaluateShared(workers, network, state, pieces, { signal }, stopwatch, predictions);
  };
  if (settings.stopRule !== 'label-free') return async (state, start) => ({ heldOut: await evaluate(state, start) });

  const predict = async (
    state: NetworkState, start?: Start,
  ): Promise<{ readonly evaluation: Evaluation; readonly classes: Int32Array }> => {
    const predictions = new Predictions(network, heldOut.length);
    return { evaluation: await evaluate(state, start, predictions), classes: predictions.classes };
  };
  const { classes: taught } = await predict(sourceEnd);
  return async (state, start) => {
    const { evaluation, classes } = await predict(state, start);
    let agreeing = 0;
    for (let row = 0; row < taught.length; row++) if (classes[row] === taught[row]) agreeing++;
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
