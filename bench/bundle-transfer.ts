/** What quantised steps cost a transfer: the same port from a lossless and from an int8 bundle, over several draws. */
import { openBundle } from '../src/bundle/reader.ts';
import { type BundleOptions, type CheckpointContent, writeBundle } from '../src/bundle/writer.ts';
import type { ImageSet } from '../src/data/image-set.ts';
import type { ModelGraph } from '../src/model/graph.ts';
import { initialise } from '../src/model/initialise.ts';
import type { Compute } from '../src/transfer/compute.ts';
import { evaluate } from '../src/transfer/evaluate.ts';
import { train } from '../src/transfer/train.ts';
import { transfer } from '../src/transfer/transfer.ts';

export interface TransferDraw {
  readonly seed: number;
  /** Test accuracy in percent of the ported weights at the last step. */
  readonly lossless: number;
  readonly int8: number;
}

/** A training run as a bundle takes it: the initial state and one checkpoint an epoch. */
export async function trainedTrajectory(
  graph: ModelGraph,
  data: ImageSet,
  seed: number,
  count: number,
  compute: Compute,
): Promise<CheckpointContent[]> {
  const { checkpoints } = await train({
    graph,
    data,
    seed,
    epochs: count - 1,
    learningRate: 0.01,
    batchSize: 128,
    heldOutFraction: 0,
    compute,
  });
  return checkpoints.map(({ label, state }, epoch) => ({ label, epoch, state, ...(epoch === 0 ? { seed: { seed } } : {}) }));
}

/** Ports the trajectory to another random initialisation along its real checkpoints, as FGMT does. */
export async function transferDraw(
  graph: ModelGraph,
  checkpoints: readonly CheckpointContent[],
  data: ImageSet,
  test: ImageSet,
  seed: number,
  compute: Compute,
): Promise<TransferDraw> {
  const target = initialise(compute.core, graph, { seed: seed + 1_000_000 });
  const port = async (coding: NonNullable<BundleOptions['coding']>): Promise<number> => {
    using source = await openBundle(await writeBundle({ graph, checkpoints }, { coding }));
    const { state } = await transfer({ source, target, data, method: 'fgmt', trajectory: 'real', stopRule: 'last', seed, compute });
    return 100 * (await evaluate({ graph, state, data: test, compute })).accuracy;
  };
  return { seed, lossless: await port('lossless'), int8: await port('int8') };
}
