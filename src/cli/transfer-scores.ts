/** What `transfer` scores besides its steps: the source before the work, target and results after it; and where one of them guesses. */
import { isTokenSet } from '../data/data-set.ts';
import type { DataSet } from '../data/data-set.ts';
import { selectRows } from '../data/image-set.ts';
import { evaluate } from '../index.ts';
import type { Evaluation, Loss, ProgressEvent, TrajectoryBundle, TransferStep } from '../index.ts';
import { outputClasses } from '../model/graph.ts';
import type { ModelGraph } from '../model/graph.ts';
import { formatCount, formatInteger, formatPercent } from '../report/text.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import { checkpointNumber } from '../transfer/trajectory.ts';
import type { Context } from './command.ts';
import type { Output } from './output.ts';
import { hasPerplexity, perplexity } from './scores.ts';
import type { Three } from './transfer-report.ts';

/** Share of the way from chance to certainty below which a network knows nothing of the task. */
const KNOWN_SHARE = 0.1;

function isByChance(accuracy: number, graph: ModelGraph): boolean {
  const chance = 1 / outputClasses(graph);
  return accuracy < chance + KNOWN_SHARE * (1 - chance);
}

/** A target that guesses has a last layer that is in the way. */
export function remarkGuessingTarget(output: Output, graph: ModelGraph, heldOut: TransferStep['heldOut']): void {
  if (heldOut === undefined || !isByChance(heldOut.accuracy, graph)) return;
  output.warn(
    `the target is right on ${formatPercent(heldOut.accuracy)} % of what is held out, about as often as by chance: where its last layer is of another task, ` +
      '--zero-head ports better',
  );
}

/** Images, and tokens of windows, that tell whether a source is what it is taken for. */
const SOURCE_IMAGES = 1000;
const SOURCE_TOKENS = 16_384;

/**
 * Scores of the source's end on some of its task, told before the work: heads, patches or pixels that are not those of its
 * training fit as well, and then it ports badly and nothing else says why. Whoever trained a language model knows its loss: with
 * other heads it is that of a worse one (1.49 → 2.23 of one of 4 heads, taken to have 1), which no chance tells.
 */
export async function scoreOfSource(
  { compute, output, signal }: Context, bundle: TrajectoryBundle, to: string | undefined, data: DataSet, loss: Loss,
): Promise<Evaluation> {
  const { graph } = bundle;
  const index = to === undefined ? bundle.checkpoints.length - 1 : checkpointNumber(bundle, 'to', to);
  const some = firstOf(data);
  const handle = await compute();
  const score = await evaluate({ graph, state: await bundle.readCheckpoint(index, signal), data: some, loss, compute: handle, signal });
  if (isTokenSet(some)) {
    const beside = hasPerplexity(some, loss) ? ` (perplexity ${perplexity(handle.core, score.loss).toFixed(2)})` : '';
    output.text(`source: a loss of ${score.loss.toFixed(4)}${beside} on ${formatCount(some.count, 'window')}\n`);
    return score;
  }
  output.text(`source: ${formatPercent(score.accuracy)} % right on ${formatInteger(some.count)} images\n`);
  if (isByChance(score.accuracy, graph))
    output.warn('the source is right about as often as by chance: its heads, patch, classes or pixels (--pixel-mean) may not be those of its training');
  return score;
}

function firstOf(data: DataSet): DataSet {
  if (!isTokenSet(data)) return selectRows(data, Int32Array.from({ length: Math.min(data.count, SOURCE_IMAGES) }, (_, i) => i));
  return { ...data, count: Math.min(data.count, Math.ceil(SOURCE_TOKENS / data.length)) };
}

/** Of target, plain shift and result on the test part. */
export async function testEvaluations(
  { compute, output, signal }: Context,
  states: readonly NetworkState[],
  graph: ModelGraph,
  data: DataSet,
  loss: Loss,
): Promise<Three<Evaluation>> {
  const handle = await compute();
  const evaluations: Evaluation[] = [];
  for (const state of states) {
    const before = evaluations.length * data.count;
    const onProgress = ({ done }: ProgressEvent): void => output.progress('scoring on test images', before + done, states.length * data.count, {});
    evaluations.push(await evaluate({ graph, state, data, loss, compute: handle, signal, onProgress }));
  }
  const [target, naive, transferred] = evaluations as [Evaluation, Evaluation, Evaluation];
  return { target, naive, transferred };
}
