/** The scores of a network, for whoever compares them with another framework's or averages those of several networks. */
import { Breather } from '../core/breather.ts';
import { LimitError } from '../core/errors.ts';
import { requireInteger } from '../core/require.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';
import { isTokenSet } from '../data/data-set.ts';
import { BatchPieces } from '../data/batch-pieces.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { useCompute } from './compute.ts';
import { EVALUATION_BATCH } from './evaluate.ts';
import type { EvaluateOptions } from './evaluate.ts';
import { controlNames, requireData, requireParts, requireState } from './inputs.ts';

export type PredictOptions = Omit<EvaluateOptions, 'loss' | 'workers'>;

const optionNames: OptionNames<PredictOptions> = { ...controlNames, graph: true, state: true, data: true, batchSize: true, compute: true };

/** Numbers that one Float32Array may have in every runtime. */
const LARGEST = 2 ** 29;

/**
 * What `state` answers to each input, before any softmax and in evaluation mode: [count, classes], or [count, tokens,
 * vocabulary] of a language model.
 * @throws InvalidArgumentError, NotFiniteError: see `requireState` and `requireData`; LimitError for more than 2^29 scores.
 */
export async function predict(options: PredictOptions): Promise<Tensor> {
  requireParts(options, { graph: 'graph', state: 'state', data: 'data' });
  requireOptions('predict', options, optionNames);
  const { graph, state, data } = options;
  const batchSize = requireInteger('batchSize', options.batchSize ?? EVALUATION_BATCH, 1);
  requireData(graph, data);
  requireState('state', graph, state);
  const { engine } = await useCompute(options.compute);
  using network = engine.compile(graph);
  const { labelsPerInput, classes } = network;
  const size = labelsPerInput * classes;
  if (data.count * size > LARGEST) {
    throw new LimitError({
      field: 'data',
      expected: `at most ${Math.floor(LARGEST / size)} inputs at once, for 2^29 scores`,
      got: `${data.count}`,
    });
  }
  const scores = new Float32Array(data.count * size);
  const rows = Int32Array.from({ length: data.count }, (_, row) => row);
  const breather = new Breather(options.signal, 4);
  let done = 0;
  for (const batch of new BatchPieces(data, rows, batchSize, false)) {
    scores.set(network.logits(state, batch), done * size);
    done += batch.count;
    options.onProgress?.({ stage: 'predict', done, total: data.count, detail: {} });
    await breather.pause();
  }
  return { shape: isTokenSet(data) ? [data.count, labelsPerInput, classes] : [data.count, classes], data: scores };
}
