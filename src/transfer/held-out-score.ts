/** What the held-out rows say of a state of a transfer. */
import { PassingBatches } from '../data/data-set.ts';
import type { DataSet } from '../data/data-set.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import { EVALUATION_BATCH, evaluateRows } from './evaluate.ts';
import type { TransferContext } from './matchers.ts';
import { breathe } from './progress.ts';
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
  const batches = new PassingBatches(data);
  const predict = async (state: NetworkState): Promise<Int32Array> => {
    const predictions = new Int32Array(heldOut.length * labelsPerInput);
    for (let start = 0; start < heldOut.length; start += EVALUATION_BATCH) {
      const batch = batches.make(heldOut.subarray(start, Math.min(start + EVALUATION_BATCH, heldOut.length)));
      const logits = stopwatch.measure('evaluation', () => network.logits(state, batch));
      predictions.set(largestIndices(logits, classes), start * labelsPerInput);
      await breathe(signal);
    }
    return predictions;
  };
  const taught = settings.stopRule === 'label-free' ? await predict(sourceEnd) : undefined;
  return async (state) => {
    const evaluation = await evaluateRows(network, state, batches, heldOut, EVALUATION_BATCH, { signal }, stopwatch);
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
