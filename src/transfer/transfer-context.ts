/** What the parts of one transfer share: with what it computes, and what a run of it adds to that. */
import type { Breather } from '../core/breather.ts';
import type { Network } from '../gradient/network.ts';
import type { GradientWorkers } from '../gradient/workers/pool.ts';
import type { PermutationSpec } from '../model/permutation-spec.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import type { FirstLayerLine, LineTools } from './first-layer-line.ts';
import type { Points } from './points.ts';
import type { TransferSettings } from './settings.ts';
import type { DrawnBatch } from './started-rows.ts';
import type { TransferCounts } from './transfer-step.ts';

/** What a transfer computes with, opened before its first step. */
export interface TransferTools extends LineTools {
  readonly network: Network;
  /** By step of the schedule. */
  readonly points: Points;
  /** What is known of drawn batches along the line. */
  readonly firstLayer: FirstLayerLine;
  /** The caller's, for gradients, batch-norm statistics and scores. */
  readonly workers: GradientWorkers | undefined;
}

/** The same with what its steps go through. */
export interface TransferContext extends TransferTools {
  readonly settings: TransferSettings;
  readonly spec: PermutationSpec;
  /** θ₂⁰ with its buffers. */
  readonly target: NetworkState;
  /** The next g mini-batches of the seeded order; those in passing are overwritten by the next in passing. */
  readonly drawBatches: (use: 'kept' | 'passing') => readonly DrawnBatch[];
  /** Pauses after every gradient. */
  readonly breather: Breather;
  readonly counts: { -readonly [count in keyof TransferCounts]: number };
}
