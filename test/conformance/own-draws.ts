// The product itself, `transfer`, on a case's networks and data, with batches and sweep orders of its own: the mean over seeds
// is held against what the official code reached over other batches.
import { selectRows } from '../../src/data/image-set.ts';
import type { Compute } from '../../src/transfer/compute.ts';
import { evaluate } from '../../src/transfer/evaluate.ts';
import { trajectoryFromStates } from '../../src/transfer/trajectory.ts';
import { transfer } from '../../src/transfer/transfer.ts';
import type { OtherBatches, RunRecord } from './manifest.ts';
import type { ReferenceCase } from './reference-case.ts';

export interface OwnDraws {
  readonly draws: number;
  /** Accuracy of the last step, percent. */
  readonly mean: number;
  readonly standardDeviation: number;
  readonly theirs: OtherBatches;
  /** (ours − theirs) ÷ their standard deviation. */
  readonly deviations: number;
}

export async function ownDraws(
  compute: Compute,
  reference: ReferenceCase,
  run: RunRecord,
  theirs: OtherBatches,
  draws: number,
): Promise<OwnDraws> {
  const { hyper, data } = reference.manifest;
  const { options } = run;
  const labels = run.points ?? ['source_epoch-1', `source_epoch${hyper.epochs - 1}`];
  const source = trajectoryFromStates(
    reference.graph,
    labels.map((label) => ({ label, state: reference.checkpoint(label) })),
  );
  const training = selectRows(
    reference.data,
    Array.from({ length: data.n_train }, (_, row) => row),
  );
  const accuracies: number[] = [];
  for (let seed = 0; seed < draws; seed++) {
    const { state } = await transfer({
      source,
      target: reference.checkpoint('target_epoch-1'),
      data: training,
      method: run.mode,
      seed,
      steps: run.n_steps,
      trajectory: run.points === null ? 'linear' : 'real',
      schedule: options.schedule === null ? 'uniform' : 'cosine',
      batchesPerStep: options.gm_iters ?? hyper.gm_iters,
      batchSize: options.batch ?? hyper.batch,
      statisticsBatches: Math.max(1, options.bn_iters ?? hyper.bn_stats_iters ?? 1),
      heldOutFraction: 0,
      stopRule: 'last',
      normalise: options.normalize ?? false,
      start: options.use_prev === true ? 'previous' : 'identity',
      frozenGroups: reference.extraGroups,
      compute,
    });
    accuracies.push(100 * (await evaluate({ graph: reference.graph, state, data: reference.validation, compute })).accuracy);
  }
  const mean = accuracies.reduce((sum, value) => sum + value, 0) / draws;
  const variance = accuracies.reduce((sum, value) => sum + (value - mean) ** 2, 0) / draws;
  return { draws, mean, standardDeviation: Math.sqrt(variance), theirs, deviations: (mean - theirs.final_mean) / theirs.final_std };
}
