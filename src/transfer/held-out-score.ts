/** What the held-out rows say of a state of a transfer. */
import { breathe } from '../core/breather.ts';
import { BatchPieces } from '../data/batch-pieces.ts';
import type { DataSet } from '../data/data-set.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import { EVALUATION_BATCH, evaluatePieces } from './evaluate.ts';
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
  const { labelsPerInput, classes } = network;
  const pieces = new BatchPieces(data, heldOut, EVALUATION_BATCH, true);
  const predict = async (state: NetworkState): Promise<Int32Array> => {
    const predictions = new Int32Array(heldOut.length * labelsPerInput);
    let at = 0;
    for (const batch of pieces) {
      const logits = stopwatch.measure('evaluation', () => network.logits(state, batch));
      predictions.set(largestIndices(logits, classes), at);
      at += batch.count * labelsPerInput;
      await breathe(signal);
    }
    return predictions;
  };
  const taught = settings.stopRule === 'label-free' ? await predict(sourceEnd) : undefined;
  return async (state) => {
    const evaluation = await evaluatePieces(network, state, pieces, { signal }, stopwatch);
    if (taught === undefined) return { heldOut: evaluation };
    const predictions = await predict(state);
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
