// Runs the official loop with our gradients and our matching, only batches and sweep orders taken from the record.
import type { Core } from '../../src/core/core.ts';
import type { Network } from '../../src/gradient/network.ts';
import { solveMatching } from '../../src/matching/coordinate-descent.ts';
import { GradientHistory } from '../../src/matching/history.ts';
import { type Permutations, identityPermutations } from '../../src/matching/permutation.ts';
import { Random, streams } from '../../src/tensor/random.ts';
import type { RunRecord } from './manifest.ts';
import type { ReferenceCase } from './reference-case.ts';
import { CaseTrajectory } from './trajectory.ts';

const BUDGET_BYTES = 2 ** 30;
/** The official code stops at an absolute gain of 1e-7. */
const OFFICIAL_TOLERANCE = { relativeTolerance: 0, absoluteTolerance: 1e-7 };

interface Step {
  readonly permutations: Permutations;
  readonly accuracy: number;
}

function runLoop(core: Core, network: Network, reference: ReferenceCase, run: RunRecord): Step[] {
  const trajectory = new CaseTrajectory(reference, run, network);
  const history = new GradientHistory(core, reference.spec, {
    budgetBytes: BUDGET_BYTES,
    normalise: run.options.normalize ?? false,
    frozenGroups: reference.extraGroups,
  });
  let permutations = identityPermutations(reference.spec);
  return run.steps.map((step) => {
    if (run.mode === 'gmt') history.clear();
    for (const { grad_point: point, batches } of step.grad_pairs) {
      history.add(
        trajectory.gradients(trajectory.transferred(point, permutations).parameters, batches).gradients,
        trajectory.gradients(trajectory.point(point), batches).gradients,
      );
    }
    const orders = (step.sweeps ?? []).map(({ order }) =>
      order.map((index) => reference.group(reference.manifest.perm_names[index] as string)),
    );
    const random = new Random(0, streams.sweepOrder, step.t);
    const start = run.options.use_prev === true ? permutations : identityPermutations(reference.spec);
    ({ permutations } = solveMatching(history, { start, random, orders, ...OFFICIAL_TOLERANCE }));
    const state = trajectory.withStatistics(trajectory.transferred(step.t, permutations), step.bn_batches);
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
  const steps = runLoop(core, network, reference, run);
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
