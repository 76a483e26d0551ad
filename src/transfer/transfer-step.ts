/** What a transfer tells of each of its steps, and counts. */
import type { Evaluation } from './evaluate.ts';

/** What happened at one step. Step 0 is the target before any transfer. */
export interface TransferStep {
  readonly step: number;
  /** Where along the trajectory: the fraction of the line, or of the checkpoints. */
  readonly fraction: number;
  /** Σ over gradient pairs of ⟨target gradient, π(source gradient)⟩: what the matching maximised. */
  readonly objective?: number;
  /**
   * Only where gradients did not fit `historyBudgetBytes` and were kept as 8-bit codes: no permutation's objective is
   * further than this from that of the exact gradients. Objective and residual are those of the codes.
   */
  readonly objectiveErrorBound?: number;
  /** Σ over gradient pairs of ‖target gradient − π(source gradient)‖²: what it thereby minimised. */
  readonly residual?: number;
  /** Sweeps that the matching took. */
  readonly sweeps?: number;
  /** Whether the matching came to its end; false where `maxSweeps` cut it off. */
  readonly converged?: boolean;
  /** As `evaluate` gives it, but for rounding where a first layer's outputs were known along the line. */
  readonly heldOut?: Evaluation;
  /** Share of held-out images classified as the source's last checkpoint does (stop rule `label-free` only). */
  readonly agreement?: number;
}

/** Work of a whole transfer. */
export interface TransferCounts {
  /** Backward passes of one mini-batch. */
  readonly gradients: number;
  /** Gradients taken as they were, because neither state nor batch had changed (`gmtBatches: 'fixed'`). */
  readonly reusedGradients: number;
  /** Pairs whose share of the similarities was taken as it was, because neither side had changed (`gmtBatches: 'fixed'`). */
  readonly reusedPairs: number;
  /** Matching problems solved, each over all permutation groups. */
  readonly matchings: number;
  /** Linear sum assignments solved for them, in all sweeps. */
  readonly assignments: number;
}
