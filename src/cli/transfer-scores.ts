/** What `transfer` scores besides its steps: the source before the work, target and results after it; and where one of them guesses. */
import type { DataSet } from '../data/data-set.ts';
import { selectRows } from '../data/image-set.ts';
import type { ImageSet } from '../data/image-set.ts';
import { evaluate } from '../index.ts';
import type { Evaluation, Loss, ProgressEvent, TrajectoryBundle, TransferStep } from '../index.ts';
import { outputClasses } from '../model/graph.ts';
import type { ModelGraph } from '../model/graph.ts';
import { formatInteger, formatPercent } from '../report/text.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import { checkpointNumber } from '../transfer/trajectory.ts';
import type { Context } from './command.ts';
import type { Output } from './output.ts';
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

/** Images that tell whether a source is what it is taken for. */
const SOURCE_IMAGES = 1000;

/**
 * Accuracy of the source's end on some images of its task, told before the work: heads, patches or pixels that are not those of
 * its training fit as well, and then it ports badly and nothing else says why.
 */
export async function scoreOfSource(
  { compute, output, signal }: Context, bundle: TrajectoryBundle, to: string | undefined, images: ImageSet, loss: Loss,
): Promise<number> {
  const { graph } = bundle;
  const index = to === undefined ? bundle.checkpoints.length - 1 : checkpointNumber(bundle, 'to', to);
  const data = selectRows(images, Int32Array.from({ length: Math.min(images.count, SOURCE_IMAGES) }, (_, i) => i));
  const { accuracy } = await evaluate({ graph, state: await bundle.readCheckpoint(index, signal), data, loss, compute: await compute(), signal });
  output.text(`source: ${formatPercent(accuracy)} % right on ${formatInteger(data.count)} images\n`);
  if (isByChance(accuracy, graph))
    output.warn('the source is right about as often as by chance: its heads, patch, classes or pixels (--pixel-mean) may not be those of its training');
  return accuracy;
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
