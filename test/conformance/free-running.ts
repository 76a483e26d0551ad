// Runs the official loop with our gradients and our matching: with the recorded batches and sweep orders, or with draws of
// our own.
import type { Core } from '../../src/core/core.ts';
import { BatchSampler } from '../../src/data/image-set.ts';
import type { Network } from '../../src/gradient/network.ts';
import { solveMatching } from '../../src/matching/coordinate-descent.ts';
import { GradientHistory } from '../../src/matching/history.ts';
import { type Permutations, identityPermutations } from '../../src/matching/permutation.ts';
import { Random, streams } from '../../src/tensor/random.ts';
import type { OtherBatches, RunRecord, StepRecord } from './manifest.ts';
import type { ReferenceCase } from './reference-case.ts';
import { CaseTrajectory } from './trajectory.ts';

const BUDGET_BYTES = 2 ** 30;
/** The official code stops at an absolute gain of 1e-7. */
const OFFICIAL_TOLERANCE = { relativeTolerance: 0, absoluteTolerance: 1e-7 };

/** Where batches and sweep orders come from. */
interface Draws {
  batches(step: StepRecord, pair: number): readonly (readonly number[])[];
  statistics(step: StepRecord): readonly (readonly number[])[] | undefined;
  orders(step: StepRecord): readonly (readonly string[])[];
  random(step: StepRecord): Random;
}

interface Step {
  readonly permutations: Permutations;
  readonly accuracy: number;
}

function runLoop(core: Core, network: Network, reference: ReferenceCase, run: RunRecord, draws: Draws): Step[] {
  const trajectory = new CaseTrajectory(reference, run, network);
  const history = new GradientHistory(core, reference.spec, {
    budgetBytes: BUDGET_BYTES,
    normalise: run.options.normalize ?? false,
    frozenGroups: reference.extraGroups,
  });
  let permutations = identityPermutations(reference.spec);
  return run.steps.map((step) => {
    if (run.mode === 'gmt') history.clear();
    step.grad_pairs.forEach(({ grad_point: point }, pair) => {
      const batches = draws.batches(step, pair);
      history.add(
        trajectory.gradients(trajectory.transferred(point, permutations).parameters, batches).gradients,
        trajectory.gradients(trajectory.point(point), batches).gradients,
      );
    });
    const start = run.options.use_prev === true ? permutations : identityPermutations(reference.spec);
    ({ permutations } = solveMatching(history, { start, random: draws.random(step), orders: draws.orders(step), ...OFFICIAL_TOLERANCE }));
    const state = trajectory.withStatistics(trajectory.transferred(step.t, permutations), draws.statistics(step));
    return { permutations, accuracy: 100 * trajectory.evaluate(state).accuracy };
  });
}

export interface FreeRunning {
  /** Smallest share of units, over steps and groups, whose partner is the recorded one. */
  readonly agreement: number;
  readonly accuracies: { readonly ours: readonly number[]; readonly theirs: readonly number[] };
}

/** Recorded batches and orders, everything else ours. */
export function replayFreeRunning(core: Core, network: Network, reference: ReferenceCase, run: RunRecord): FreeRunning {
  const steps = runLoop(core, network, reference, run, {
    batches: (step, pair) => step.grad_pairs[pair]?.batches ?? [],
    statistics: (step) => step.bn_batches,
    orders: (step) => (step.sweeps ?? []).map(({ order }) => order.map((index) => reference.group(reference.manifest.perm_names[index] as string))),
    random: (step) => new Random(0, streams.sweepOrder, step.t),
  });
  let agreement = 1;
  run.steps.forEach((step, i) => {
    for (const [name, recorded] of Object.entries(step.perm ?? {})) {
      const theirs = reference.integers(recorded);
      const ours = steps[i]?.permutations.get(reference.group(name)) as Int32Array;
      const same = theirs.reduce((count, unit, at) => count + Number(unit === ours[at]), 0);
      agreement = Math.min(agreement, same / theirs.length);
    }
  });
  return {
    agreement,
    accuracies: { ours: steps.map(({ accuracy }) => accuracy), theirs: run.steps.map(({ val_acc }) => val_acc) },
  };
}

export interface OwnDraws {
  readonly draws: number;
  /** Final accuracies, percent. */
  readonly mean: number;
  readonly standardDeviation: number;
  readonly theirs: OtherBatches;
  /** (ours − theirs) ÷ their standard deviation. */
  readonly deviations: number;
}

/** Batches and sweep orders of our own, `count` times. */
export function ownDraws(core: Core, network: Network, reference: ReferenceCase, run: RunRecord, theirs: OtherBatches, count: number): OwnDraws {
  const { hyper, data } = reference.manifest;
  const rows = Int32Array.from({ length: data.n_train }, (_, row) => row);
  const finals = Array.from({ length: count }, (_, draw) => {
    const take = (batchSize: number, stream: 3 | 7): ((times: number) => number[][]) => {
      const sampler = new BatchSampler(rows, batchSize, new Random(draw, stream));
      const next = (): number[] => {
        // Only full batches, as in the record.
        for (;;) {
          const batch = sampler.next();
          if (batch.length === batchSize) return [...batch];
        }
      };
      return (times) => Array.from({ length: times }, next);
    };
    const forGradients = take(run.options.batch ?? hyper.batch, streams.batches);
    const forStatistics = reference.hasBatchNorm ? take(run.options.bn_batch ?? hyper.bn_stats_batch ?? hyper.batch, streams.statistics) : undefined;
    const steps = runLoop(core, network, reference, run, {
      batches: () => forGradients(run.options.gm_iters ?? hyper.gm_iters),
      statistics: () => forStatistics?.(run.options.bn_iters ?? hyper.bn_stats_iters ?? 0),
      orders: () => [],
      random: (step) => new Random(draw, streams.sweepOrder, step.t),
    });
    return steps.at(-1)?.accuracy ?? 0;
  });
  const mean = finals.reduce((sum, value) => sum + value, 0) / count;
  const variance = finals.reduce((sum, value) => sum + (value - mean) ** 2, 0) / count;
  return { draws: count, mean, standardDeviation: Math.sqrt(variance), theirs, deviations: (mean - theirs.final_mean) / theirs.final_std };
}
