/** Several networks as one: an ensemble answers by the mean of its members' softmax probabilities. */
import { Breather } from '../core/breather.ts';
import { describe } from '../core/describe.ts';
import { InvalidArgumentError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';
import { requireInteger } from '../core/require.ts';
import { BatchPieces } from '../data/batch-pieces.ts';
import { MeanProbabilities } from '../gradient/mean-probabilities.ts';
import { Predictions, disagreement } from '../gradient/predictions.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import { useCompute } from './compute.ts';
import { EVALUATION_BATCH, EvaluationSum } from './evaluate.ts';
import type { EvaluateOptions, Evaluation } from './evaluate.ts';
import { controlNames, requireData, requireParts, requireState } from './inputs.ts';

export interface EvaluateEnsembleOptions extends Omit<EvaluateOptions, 'state' | 'loss' | 'workers'> {
  /** The members: at least one, all of `graph`. Their order matters to the last digit only. */
  readonly states: readonly NetworkState[];
}

export interface EnsembleEvaluation extends Evaluation {
  /** Each member alone. */
  readonly members: readonly Evaluation[];
  /** Share of labels for which two members predict other classes, 0..1, mean over all pairs: what the mean can gain from. */
  readonly disagreement: number;
}

const optionNames: OptionNames<EvaluateEnsembleOptions> = {
  ...controlNames, graph: true, states: true, data: true, batchSize: true, compute: true,
};

/**
 * Loss and accuracy of the mean of the members' softmax probabilities, in evaluation mode. The loss is −log of the label's mean
 * probability: softmax cross-entropy, and never above the mean of the members' (Jensen's inequality). Fewer inputs than `batchSize` are
 * passed at once where their probabilities would take more than `limits.meanProbabilityBytes`, as those of a large vocabulary do.
 * @throws InvalidArgumentError, NotFiniteError: see `requireState` and `requireData`; of a member under its place in `states`.
 */
export async function evaluateEnsemble(options: EvaluateEnsembleOptions): Promise<EnsembleEvaluation> {
  requireParts(options, { graph: 'graph', data: 'data' });
  requireOptions('evaluateEnsemble', options, optionNames);
  const { graph, states, data } = options;
  const batchSize = requireInteger('batchSize', options.batchSize ?? EVALUATION_BATCH, 1);
  if (!Array.isArray(states) || states.length === 0)
    throw new InvalidArgumentError({ field: 'states', expected: 'the weights of at least one network', got: describe(states) });
  requireData(graph, data);
  for (const [i, state] of states.entries()) requireState(`states[${i}]`, graph, state);
  const { core, engine } = await useCompute(options.compute);
  using network = engine.compile(graph);
  const rows = Int32Array.from({ length: data.count }, (_, row) => row);
  const members = states.map((state) => ({ state, sum: new EvaluationSum(), predictions: new Predictions(network, data.count) }));
  const whole = new EvaluationSum();
  const breather = new Breather(options.signal, 4);
  let done = 0;
  const perInput = 8 * network.labelsPerInput * network.classes;
  const size = Math.min(batchSize, Math.max(1, Math.floor(limits.meanProbabilityBytes / perInput)));
  for (const batch of new BatchPieces(data, rows, size, false)) {
    const mean = new MeanProbabilities(core, batch.labels, network.classes);
    for (const { state, sum, predictions } of members) {
      const addToMean = mean.member();
      sum.add(network.evaluate(state, [batch], (scores) => {
        predictions.take(scores);
        addToMean(scores);
      }));
      await breather.pause();
    }
    const { lossSum, correct } = mean.score();
    const count = batch.labels.length;
    whole.add({ loss: lossSum / count, correct, accuracy: correct / count, count });
    done += batch.count;
    options.onProgress?.({ stage: 'evaluate', done, total: data.count, detail: {} });
  }
  return {
    ...whole.result(),
    members: members.map(({ sum }) => sum.result()),
    disagreement: disagreement(members.map(({ predictions }) => predictions)),
  };
}
