/** What `transfer` scores besides its steps: the source before the work, target and results after it; and where one of them guesses. */
import { isImageSet, isTokenSet } from '../data/data-set.ts';
import type { DataSet } from '../data/data-set.ts';
import { selectRows } from '../data/image-set.ts';
import { selectSequences } from '../data/sequence-set.ts';
import { evaluate } from '../index.ts';
import type { EvaluateOptions, Evaluation, ProgressEvent, TrajectoryBundle, TransferStep } from '../index.ts';
import { outputClasses } from '../model/graph.ts';
import type { ModelGraph } from '../model/graph.ts';
import { formatCount, formatInteger, formatPercent } from '../report/text.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import { checkpointNumber } from '../transfer/trajectory.ts';
import type { Context } from './command.ts';
import type { Output } from './output.ts';
import { hasPerplexity, perplexity } from './scores.ts';
import { itemsOf } from './summaries.ts';
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
    `the target is right on ${formatPercent(heldOut.accuracy)} % of what is held out, about as often as by chance: ` +
      'where its last layer is of another task, --zero-head ports better',
  );
}

/** What is measured, and where. */
type HowToScore = Required<Pick<EvaluateOptions, 'loss'>> & Pick<EvaluateOptions, 'workers'>;

/** Images, and tokens of windows or sequences, that tell whether a source is what it is taken for. */
const SOURCE_IMAGES = 1000;
const SOURCE_TOKENS = 16_384;

/**
 * Scores of the source's end on some of its task, told before the work: heads, patches or pixels that are not those of its
 * training fit as well, and then it ports badly and nothing else says why. Whoever trained a language model knows its loss: with
 * other heads it is that of a worse one (1.49 → 2.23 of one of 4 heads, taken to have 1), which no chance tells.
 */
export async function scoreOfSource(
  { compute, output, signal }: Context, bundle: TrajectoryBundle, to: string | undefined, data: DataSet, how: HowToScore,
): Promise<Evaluation> {
  const { graph } = bundle;
  const index = to === undefined ? bundle.checkpoints.length - 1 : checkpointNumber(bundle, 'to', to);
  const handle = await compute();
  const state = await bundle.readCheckpoint(index, signal);
  const scores: Evaluation[] = [];
  for (const piece of piecesOf(data)) scores.push(await evaluate({ graph, state, data: piece, ...how, compute: handle, signal }));
  const score = together(scores);
  if (isTokenSet(data)) {
    const beside = hasPerplexity(data, how.loss) ? ` (perplexity ${perplexity(handle.core, score.loss).toFixed(2)})` : '';
    output.text(`source: a loss of ${score.loss.toFixed(4)}${beside} on ${formatCount(score.count / data.length, 'window')}\n`);
    return score;
  }
  output.text(`source: ${formatPercent(score.accuracy)} % right on ${formatInteger(score.count)} ${itemsOf(data)}\n`);
  if (isByChance(score.accuracy, graph))
    output.warn(
      'the source is right about as often as by chance: ' +
        `its heads, ${isImageSet(data) ? 'patch, classes or pixels (--pixel-mean)' : 'classes or tokens'} may not be those of its training`,
    );
  return score;
}

/** Of windows, whose labels are tokens of the next, as many stretches as this, or fewer long windows. */
const STRETCHES = 16;

/**
 * Some of a set, spread evenly over all of it: images may stand class by class, and a text is another at its end. On the first 256 of 624
 * windows a source had a loss of 2.46 nats where it had 2.21 on all.
 */
function piecesOf(data: DataSet): readonly DataSet[] {
  if (!isTokenSet(data)) {
    const count = Math.min(data.count, isImageSet(data) ? SOURCE_IMAGES : Math.max(1, Math.floor(SOURCE_TOKENS / data.length)));
    const rows = Int32Array.from({ length: count }, (_, i) => Math.floor((i * data.count) / count));
    return [isImageSet(data) ? selectRows(data, rows) : selectSequences(data, rows)];
  }
  const { tokens, length } = data;
  const windows = Math.max(1, Math.floor(SOURCE_TOKENS / length));
  if (data.count <= windows) return [data];
  const stretches = Math.min(STRETCHES, windows);
  const count = Math.floor(windows / stretches);
  return Array.from({ length: stretches }, (_, i) => {
    const first = Math.floor((i * (data.count - count)) / Math.max(1, stretches - 1));
    return { ...data, count, tokens: tokens.subarray(first * length, (first + count) * length + 1) };
  });
}

/** The evaluation of all pieces as one. */
function together(pieces: readonly Evaluation[]): Evaluation {
  // A division of their sums might round a mean otherwise.
  if (pieces.length === 1) return pieces[0] as Evaluation;
  const sum = (of: (piece: Evaluation) => number): number => pieces.reduce((total, piece) => total + of(piece), 0);
  const [correct, count] = [sum((piece) => piece.correct), sum((piece) => piece.count)];
  return { loss: sum((piece) => piece.loss * piece.count) / count, accuracy: correct / count, correct, count };
}

/** Scores of target, plain shift and result on the test part. */
export async function testEvaluations(
  { compute, output, signal }: Context,
  states: readonly NetworkState[],
  graph: ModelGraph,
  data: DataSet,
  how: HowToScore,
): Promise<Three<Evaluation>> {
  const handle = await compute();
  const evaluations: Evaluation[] = [];
  for (const state of states) {
    const before = evaluations.length * data.count;
    const onProgress = ({ done }: ProgressEvent): void =>
      output.progress(`scoring on test ${itemsOf(data)}`, before + done, states.length * data.count, {});
    evaluations.push(await evaluate({ graph, state, data, ...how, compute: handle, signal, onProgress }));
  }
  const [target, naive, transferred] = evaluations as [Evaluation, Evaluation, Evaluation];
  return { target, naive, transferred };
}
