/** What the held-out rows say of a state of a transfer. */
import { BatchPieces } from '../data/batch-pieces.ts';
import type { DataSet } from '../data/data-set.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import { EVALUATION_BATCH, evaluatePieces } from './evaluate.ts';
import type { Evaluation } from './evaluate.ts';
import type { TransferContext } from './matchers.ts';
import type { TransferStep } from './transfer-step.ts';

type Score = Pick<TransferStep, 'heldOut' | 'agreement'>;

/** Scores a state on the held-out rows, with what the stop rule asks for and no more. */
export async function scorer(
  context: TransferContext,
  data: DataSet,
  heldOut: Int32Array,
  sourceEnd: NetworkState,
): Promise<(state: NetworkState) => Promise<Score>> {
  if (heldOut.length === 0) return async () => ({});
  const { network, stopwatch, signal, settings } = context;
  const pieces = new BatchPieces(data, heldOut, EVALUATION_BATCH, true);
  const evaluate = (state: NetworkState, onLogits?: (scores: Float32Array) => void): Promise<Evaluation> =>
    evaluatePieces(network, state, pieces, { signal }, stopwatch, onLogits);
  if (settings.stopRule !== 'label-free') return async (state) => ({ heldOut: await evaluate(state) });

  const { labelsPerInput, classes } = network;
  const predict = async (state: NetworkState): Promise<{ readonly evaluation: Evaluation; readonly predictions: Int32Array }> => {
    const predictions = new Int32Array(heldOut.length * labelsPerInput);
    let at = 0;
    const evaluation = await evaluate(state, (scores) => {
      predictions.set(largestIndices(scores, classes), at);
      at += scores.length / classes;
    });
    return { evaluation, predictions };
  };
  const { predictions: taught } = await predict(sourceEnd);
  return async (state) => {
    const { evaluation, predictions } = await predict(state);
    let agreeing = 0;
    for (let row = 0; row < taught.length; row++) if (predictions[row] === taught[row]) agreeing++;
    return { heldOut: evaluation, agreement: agreeing / taught.length };
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
