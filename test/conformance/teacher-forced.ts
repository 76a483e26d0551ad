// Replays one recorded run with everything random taken from the record: gradients at the recorded points, similarities
// of the recorded gradients, parameters under the recorded permutations, statistics and accuracies of those.
import type { Core } from '../../src/core/core.ts';
import type { Network } from '../../src/gradient/network.ts';
import { linearSumAssignment } from '../../src/matching/assignment.ts';
import { GradientHistory } from '../../src/matching/history.ts';
import { type Permutations, identityPermutations } from '../../src/matching/permutation.ts';
import { Random, streams } from '../../src/tensor/random.ts';
import type { NamedTensors } from '../../src/tensor/tensor.ts';
import { largest, largestDifference, relativeDifference, relativeError, tensorsError } from './errors.ts';
import type { GradientPairRecord, LapRecord, RunRecord, StepRecord } from './manifest.ts';
import type { ReferenceCase } from './reference-case.ts';
import { CaseTrajectory, subtract } from './trajectory.ts';

/** The largest errors of a run; the bounds stand in `report.ts`. */
export interface TeacherForced {
  readonly gradient: number;
  /** Gradients beyond the bound at the recorded parameters, within it at parameters a rounding away; see `#atKnifeEdge`. */
  readonly knifeEdges: readonly KnifeEdge[];
  /** Training loss of both nets, relative. */
  readonly loss: number;
  /** A of recorded gradients, relative Frobenius. */
  readonly similarity: number;
  /** A where the record leaves gradients out and ours stand in. */
  readonly similarityOfOurGradients: number;
  readonly parameter: number;
  /** Our optimum of the recorded A against the recorded assignment's, relative, both ways. */
  readonly objective: number;
  readonly statistics: number;
  /** Percent. */
  readonly accuracies: { readonly ours: readonly number[]; readonly theirs: readonly number[] };
  readonly validationLoss: number;
  readonly laps: number;
  readonly gradients: number;
}

/** Two activations of a max pool equal to the last bit of f32 or two: which one gets the gradient is a matter of rounding. */
export interface KnifeEdge {
  readonly step: number;
  readonly point: number;
  readonly side: 'target' | 'source';
  /** At the recorded parameters. */
  readonly error: number;
}

const NUDGES = 16;
const NUDGE = 2 ** -23;
const BUDGET_BYTES = 2 ** 30;

type ErrorName =
  'gradient' | 'loss' | 'similarity' | 'similarityOfOurGradients' | 'parameter' | 'objective' | 'statistics' | 'validationLoss';

/** @param gradientBound beyond which a gradient is looked at for a knife edge. */
export function replayTeacherForced(
  core: Core,
  network: Network,
  reference: ReferenceCase,
  run: RunRecord,
  gradientBound: number,
): TeacherForced {
  return new Replay(core, network, reference, run, gradientBound).result();
}

class Replay {
  readonly #core: Core;
  readonly #case: ReferenceCase;
  readonly #run: RunRecord;
  readonly #trajectory: CaseTrajectory;
  readonly #history: GradientHistory;
  readonly #errors: Record<ErrorName, number[]> = {
    gradient: [], loss: [], similarity: [], similarityOfOurGradients: [], parameter: [], objective: [], statistics: [], validationLoss: [],
  };
  readonly #accuracies: number[] = [];
  readonly #knifeEdges: KnifeEdge[] = [];
  readonly #gradientBound: number;
  #laps = 0;
  #gradients = 0;
  #allRecorded = true;

  constructor(core: Core, network: Network, reference: ReferenceCase, run: RunRecord, gradientBound: number) {
    this.#core = core;
    this.#gradientBound = gradientBound;
    this.#case = reference;
    this.#run = run;
    this.#trajectory = new CaseTrajectory(reference, run, network);
    this.#history = new GradientHistory(core, reference.spec, {
      budgetBytes: BUDGET_BYTES,
      normalise: run.options.normalize ?? false,
      frozenGroups: reference.extraGroups,
    });
  }

  result(): TeacherForced {
    const { mode, steps } = this.#run;
    let permutations: Permutations = identityPermutations(this.#case.spec);
    for (const step of steps) {
      if (mode === 'gmt') this.#history.clear();
      if (mode === 'gmt') this.#allRecorded = true;
      for (const pair of step.grad_pairs) this.#pair(step.t, pair, permutations);
      if (mode === 'oracle' && step.sweeps !== undefined) this.#oraclePair();
      if (step.sweeps !== undefined) this.#solve(step, permutations);
      if (step.perm !== undefined) permutations = this.#case.permutations(step.perm);
      this.#state(step, permutations);
    }
    const of = (name: ErrorName): number => largest(this.#errors[name]);
    return {
      gradient: of('gradient'),
      knifeEdges: this.#knifeEdges,
      loss: of('loss'),
      similarity: of('similarity'),
      similarityOfOurGradients: of('similarityOfOurGradients'),
      parameter: of('parameter'),
      objective: of('objective'),
      statistics: of('statistics'),
      validationLoss: of('validationLoss'),
      accuracies: { ours: this.#accuracies, theirs: steps.map(({ val_acc }) => val_acc) },
      laps: this.#laps,
      gradients: this.#gradients,
    };
  }

  /** Our gradients at both points of a pair, held against the recorded ones; the recorded ones enter the history. */
  #pair(step: number, pair: GradientPairRecord, permutations: Permutations): void {
    const expected = this.#trajectory.transferred(pair.grad_point, permutations).parameters;
    const recorded = pair.params_transferred === undefined ? expected : this.#case.tensors(pair.params_transferred);
    if (pair.params_transferred !== undefined) this.#errors.parameter.push(largestDifference(expected, recorded));
    const gradientAt = (side: KnifeEdge['side'], parameters: NamedTensors): NamedTensors => {
      const { losses, gradients } = this.#trajectory.gradients(parameters, pair.batches);
      pair.losses.forEach(({ transferred, source }, i) => {
        this.#errors.loss.push(relativeDifference(losses[i] as number, side === 'target' ? transferred : source));
      });
      this.#gradients++;
      const record = side === 'target' ? pair.grad_transferred : pair.grad_source;
      if (record === undefined) {
        this.#allRecorded = false;
        return gradients;
      }
      const theirs = this.#case.tensors(record);
      const error = tensorsError(gradients, theirs);
      const settled = error <= this.#gradientBound ? error : this.#atKnifeEdge(parameters, pair, theirs, error);
      if (settled !== error) this.#knifeEdges.push({ step, point: pair.grad_point, side, error });
      this.#errors.gradient.push(settled);
      return theirs;
    };
    this.#history.add(gradientAt('target', recorded), gradientAt('source', this.#trajectory.point(pair.grad_point)));
  }

  /**
   * The gradient of max pooling jumps where two inputs are equal to rounding, and float32 sums in another order then take
   * the other side. If the recorded gradient is ours a rounding error away, that is what happened; if not, ours is wrong.
   * @returns the smallest error over seeded nudges of the parameters by one unit in the last place, if within the bound.
   */
  #atKnifeEdge(parameters: NamedTensors, pair: GradientPairRecord, theirs: NamedTensors, error: number): number {
    for (let nudge = 0; nudge < NUDGES; nudge++) {
      const random = new Random(nudge, streams.permutation);
      const nudged = new Map(
        [...parameters].map(([name, { shape, data }]) => [name, { shape, data: data.map((x) => x * (1 + NUDGE * (random.below(3) - 1))) }]),
      );
      const nudgedError = tensorsError(this.#trajectory.gradients(nudged, pair.batches).gradients, theirs);
      if (nudgedError <= this.#gradientBound) return nudgedError;
    }
    return error;
  }

  /** The oracle matches the whole updates of target and source. */
  #oraclePair(): void {
    const last = this.#case.manifest.hyper.epochs - 1;
    const update = (role: string): NamedTensors =>
      subtract(this.#case.checkpoint(`${role}_epoch${last}`).parameters, this.#case.checkpoint(`${role}_epoch-1`).parameters);
    this.#history.add(update('target'), update('source'));
  }

  /** Follows the recorded laps: our A at every one, our optimum of theirs. */
  #solve(step: StepRecord, previous: Permutations): void {
    const start = this.#run.options.use_prev === true ? previous : identityPermutations(this.#case.spec);
    const groups = this.#history.layout.groups;
    const current = groups.map(({ id }) => start.get(id) as Int32Array);
    for (const lap of (step.sweeps ?? []).flatMap(({ laps }) => laps)) {
      const index = groups.findIndex(({ id }) => id === this.#case.group(lap.perm));
      this.#lap(lap, index, current);
      current[index] = this.#case.integers(lap.assignment);
      this.#laps++;
    }
  }

  #lap(lap: LapRecord, index: number, current: readonly Int32Array[]): void {
    const recorded = this.#case.floats(lap.A);
    const assignment = this.#case.integers(lap.assignment);
    const size = assignment.length;
    const ours = this.#core.scoped((scratch) => {
      const pointer = scratch.f32(size * size);
      this.#history.similarities.write(index, current, pointer);
      return this.#core.f32(pointer, size * size).slice();
    });
    this.#errors[this.#allRecorded ? 'similarity' : 'similarityOfOurGradients'].push(relativeError(ours, recorded));
    const best = linearSumAssignment(this.#core, { rows: size, columns: size, data: recorded }).objective;
    const theirs = assignment.reduce((sum, j, i) => sum + (recorded[i * size + j] as number), 0);
    this.#errors.objective.push(relativeDifference(best, theirs));
  }

  #state(step: StepRecord, permutations: Permutations): void {
    const expected = this.#trajectory.transferred(step.t, permutations);
    if (step.params !== undefined) this.#errors.parameter.push(largestDifference(expected.parameters, this.#case.tensors(step.params)));
    const state = this.#trajectory.withStatistics(expected, step.bn_batches);
    if (step.bn_buffers !== undefined) {
      const buffers = [...this.#case.tensors(step.bn_buffers)].filter(([name]) => state.buffers.has(name));
      this.#errors.statistics.push(tensorsError(state.buffers, new Map(buffers)));
    }
    const { accuracy, loss } = this.#trajectory.evaluate(state);
    this.#accuracies.push(100 * accuracy);
    this.#errors.validationLoss.push(relativeDifference(loss, step.val_loss));
  }
}
