// Replays the recorded first epoch of the source's training with our trainer: same batches, same optimiser, same losses.
import type { Network } from '../../src/gradient/network.ts';
import { largest, relativeDifference, tensorsError } from './errors.ts';
import type { ReferenceCase } from './reference-case.ts';

export interface TrainingReplay {
  /** Largest relative Frobenius error of a parameter after the epoch. */
  readonly parameter: number;
  /** Largest relative error of a mini-batch loss. */
  readonly loss: number;
  /** Of the running statistics, where there are any. */
  readonly statistics: number;
  readonly batches: number;
}

export function replayTraining(network: Network, reference: ReferenceCase): TrainingReplay | undefined {
  const { source_training_replay: record, hyper } = reference.manifest;
  if (record === undefined) return undefined;
  const start = reference.checkpoint('source_epoch-1');
  const end = reference.checkpoint('source_epoch0');
  using trainer = network.trainer(start, { kind: 'sgd', momentum: hyper.momentum, weightDecay: hyper.weight_decay });
  const losses = record.batches.map((rows, i) =>
    relativeDifference(trainer.step(reference.batch(rows), hyper.lr), record.losses[i] as number),
  );
  const reached = trainer.state();
  const buffers = [...end.buffers].filter(([name]) => reached.buffers.has(name));
  return {
    parameter: tensorsError(reached.parameters, end.parameters),
    loss: largest(losses),
    statistics: tensorsError(reached.buffers, new Map(buffers)),
    batches: losses.length,
  };
}
