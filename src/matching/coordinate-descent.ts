/**
 * Which unit of the source is which of the target: coordinate descent over the permutation groups (git re-basin's weight
 * matching, on gradients), each lap an exact linear sum assignment with the other groups held fast (Gauss–Seidel).
 */
import { runThrough } from '../core/breather.ts';
import type { Pieces } from '../core/breather.ts';
import { describe } from '../core/describe.ts';
import { InvalidArgumentError } from '../core/errors.ts';
import { requireFlag, requireInteger, requireMembers, requireNumber } from '../core/require.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';
import type { Random } from '../tensor/random.ts';
import { assignOnHeap } from './assignment.ts';
import { assignBlocks } from './block-assignment.ts';
import type { Duals } from './assignment.ts';
import type { GradientHistory } from './history.ts';
import { assignedSum, matchingObjective, similarityDeviation } from './objective.ts';
import { identity, isIdentity, requirePermutations } from './permutation.ts';
import type { Permutations } from './permutation.ts';

/** Where a solve starts and when it ends. */
export interface SolveOptions {
  /** Where to start, usually the last step's permutations (warm) or the identity. */
  readonly start: Permutations;
  /** Starts from the identity instead where that has the larger objective. Default false. */
  readonly orIdentity?: boolean;
  /** Draws the order of the groups in every sweep, and the signs of the final check. */
  readonly random: Random;
  /** Orders to follow instead of drawing: all moving groups by id, one list a sweep; sweeps beyond the last list are drawn. */
  readonly orders?: readonly (readonly string[])[];
  /** Default 100, as in the official code. */
  readonly maxSweeps?: number;
  /** A lap counts as progress when its objective grows by more than this share of it. Default 1e-7. */
  readonly relativeTolerance?: number;
  /** … and by more than this. Default 0. */
  readonly absoluteTolerance?: number;
  /**
   * Looked at between laps. A call that does not return to the event loop sees only what was aborted before it, or by its own
   * `measure` and `onLap`; `transfer` breathes between laps. @throws its reason.
   */
  readonly signal?: AbortSignal | undefined;
  /** Books the time of `body` on a part; the library itself reads no clock. */
  readonly measure?: <T>(part: 'similarity' | 'assignment', body: () => T) => T;
  /** Called after each lap with what was solved, for replays and traces. The matrix is only valid during the call. */
  readonly onLap?: (lap: MatchingLap) => void;
}

export const solveOptionNames: OptionNames<SolveOptions> = {
  start: true,
  orIdentity: true,
  random: true,
  orders: true,
  maxSweeps: true,
  relativeTolerance: true,
  absoluteTolerance: true,
  signal: true,
  measure: true,
  onLap: true,
};

/** What every way of solving demands of its options before it looks at the start. @throws InvalidArgumentError */
export function requireSolveOptions(options: SolveOptions): void {
  requireOptions('a solver', options, solveOptionNames);
  requireMembers('options', options, ['start', 'random']);
}

/** One group's assignment with the other groups held. */
export interface MatchingLap {
  readonly sweep: number;
  readonly group: string;
  /** [size, size] */
  readonly similarity: Float32Array;
  /** [size]: the source unit at each place of the target. */
  readonly assignment: Int32Array;
  /** Σᵢ similarity[i, ·] before and after the assignment. */
  readonly before: number;
  readonly after: number;
}

/** Work of a solve. */
export interface MatchingCounts {
  /** Laps that needed no assignment because nothing around the group had moved. */
  readonly skippedLaps: number;
  /** Terms of similarities computed whole, updated in the changed places, and taken as they were. */
  readonly recomputed: number;
  readonly updated: number;
  readonly reused: number;
  /** Floating-point operations of similarity products, and what recomputing every lap would have taken. */
  readonly similarityFlops: number;
  readonly similarityFlopsWithoutReuse: number;
}

/** How a solve ended. Immutable; a function of the history and the options. */
export interface MatchingResult {
  /** Every group of the spec, frozen ones included. */
  readonly permutations: Permutations;
  /**
   * Σ over pairs and permutable tensors of ⟨target, π(source)⟩: of tensors that two groups permute from the stored pairs in f64
   * (of the codes where they are coded), of the others from their summed similarity, which is f32.
   */
  readonly objective: number;
  /** The same of the start; so are the norms below. */
  readonly startObjective: number;
  /** How far coded gradients may have moved the objective (see `GradientHistory.objectiveErrorBound`); 0 for exact ones. */
  readonly objectiveErrorBound: number;
  /** Σ‖target − π(source)‖² over the same, = squared norms − 2 · objective, but for rounding; never below 0. */
  readonly residual: number;
  /** objective ÷ half the squared norms: at most 1, reached when the permuted source equals the target. */
  readonly relativeObjective: number;
  readonly sweeps: number;
  /** The last sweep improved nothing, and the final check agreed. */
  readonly converged: boolean;
  /** Where the descent began: `random` and `relaxation` are those of the solvers that make starts of their own. */
  readonly startedFrom: 'start' | 'identity' | 'random' | 'relaxation';
  /** Largest relative deviation that the final check saw between an updated similarity and its definition. */
  readonly largestDeviation: number;
  /**
   * Assignment problems solved, in all descents of a solver that makes several; so are `counts`. Sweeps are those of
   * the one that is told of.
   */
  readonly assignments: number;
  readonly counts: MatchingCounts;
}

/** Updates of f32 matrices drift by about 1e-7 each; beyond this a matrix is computed anew and the descent goes on. */
const LARGEST_DEVIATION = 5e-6;

/**
 * Maximises Σ⟨target, π(source)⟩ over all permutations that the history's spec allows. The objective never falls; ties keep
 * the current permutation.
 * @throws InvalidArgumentError for an option that there is not, for permutations that are not bijections of the spec's
 *   groups, a frozen group that does not start at home, a list of `orders` that has not every moving group once, or a
 *   history without pairs.
 */
export function solveMatching(history: GradientHistory, options: SolveOptions): MatchingResult {
  return runThrough(descend(history, options), options?.signal);
}

/** The same lap by lap. */
export function descend(history: GradientHistory, options: SolveOptions): Pieces<MatchingResult> {
  return new Descent(history, options).run();
}

class Descent {
  readonly #history: GradientHistory;
  readonly #options: SolveOptions;
  readonly #relativeTolerance: number;
  readonly #absoluteTolerance: number;
  readonly #maxSweeps: number;
  readonly #orIdentity: boolean;
  readonly #measure: NonNullable<SolveOptions['measure']>;
  readonly #orders: readonly (readonly number[])[];
  readonly #duals = new Map<number, Duals>();
  /** Groups whose assignment stands, because nothing around them has moved since. */
  readonly #settled = new Set<number>();
  #permutations: Int32Array[];
  #startedFrom: 'start' | 'identity' = 'start';
  #assignments = 0;
  #skippedLaps = 0;
  #largestDeviation = 0;

  constructor(history: GradientHistory, options: SolveOptions) {
    requireSolveOptions(options);
    const { layout } = history;
    if (history.pairs === 0) {
      throw new InvalidArgumentError({ field: 'history', expected: 'at least one gradient pair', got: 'none' });
    }
    requirePermutations(layout.spec, options.start, 'start');
    const moving = new Set(layout.groups.map(({ id }) => id));
    for (const [id, perm] of options.start) {
      if (!moving.has(id) && !isIdentity(perm)) {
        throw new InvalidArgumentError({ field: `start.${id}`, expected: 'the identity (the group is frozen or held)', got: 'another' });
      }
    }
    this.#history = history;
    this.#options = options;
    this.#relativeTolerance = requireNumber('relativeTolerance', options.relativeTolerance ?? 1e-7, 0, 1);
    this.#absoluteTolerance = requireNumber('absoluteTolerance', options.absoluteTolerance ?? 0, 0);
    this.#maxSweeps = requireInteger('maxSweeps', options.maxSweeps ?? 100, 0);
    this.#orIdentity = requireFlag('orIdentity', options.orIdentity ?? false);
    this.#measure = options.measure ?? ((_, body) => body());
    this.#orders = (options.orders ?? []).map((order, sweep) => {
      // A sweep that passes a group by would be taken for one that found nothing to improve.
      const indices = order.map((id) => layout.groups.findIndex((group) => group.id === id));
      if (indices.length === moving.size && new Set(indices).size === moving.size && !indices.includes(-1)) return indices;
      throw new InvalidArgumentError({
        field: `orders[${sweep}]`, expected: `each of ${describe([...moving])} once`, got: describe(order),
      });
    });
    this.#permutations = layout.groups.map(({ id }) => (options.start.get(id) as Int32Array).slice());
  }

  *run(): Pieces<MatchingResult> {
    const history = this.#history;
    const before = history.similarities.counts;
    // The history knows the identity's objective where gradients are exact; two objectives that are compared are summed in the same way.
    let startObjective = !this.#orIdentity && !history.coded && this.#permutations.every(isIdentity)
      ? history.identityObjective
      : matchingObjective(history, this.#permutations);
    if (this.#orIdentity) {
      const identities = history.layout.groups.map(({ size }) => identity(size));
      const atIdentity = matchingObjective(history, identities);
      if (atIdentity > startObjective) {
        this.#startedFrom = 'identity';
        this.#permutations = identities;
        startObjective = atIdentity;
      }
    }
    let sweeps = 0;
    let converged = history.layout.groups.length === 0;
    while (!converged && sweeps < this.#maxSweeps) {
      const progress = yield* this.#sweep(sweeps++);
      converged = !progress && this.#check();
    }
    const objective = matchingObjective(history, this.#permutations);
    const counts = history.similarities.counts;
    return Object.freeze({
      permutations: this.#allPermutations(),
      objective,
      startObjective,
      objectiveErrorBound: history.objectiveErrorBound,
      // Norms are exact to f64 and objectives to f32: where source and target agree the one may round past the other.
      residual: Math.max(0, history.squaredNorms - 2 * objective),
      relativeObjective: history.squaredNorms === 0 ? 0 : Math.min(1, (2 * objective) / history.squaredNorms),
      sweeps,
      converged,
      startedFrom: this.#startedFrom,
      largestDeviation: this.#largestDeviation,
      assignments: this.#assignments,
      counts: Object.freeze({
        skippedLaps: this.#skippedLaps,
        recomputed: counts.recomputed - before.recomputed,
        updated: counts.updated - before.updated,
        reused: counts.reused - before.reused,
        similarityFlops: counts.flops - before.flops,
        similarityFlopsWithoutReuse: counts.flopsWithoutReuse - before.flopsWithoutReuse,
      }),
    });
  }

  /** One lap for every group. @returns whether any made progress. */
  *#sweep(sweep: number): Pieces<boolean> {
    const order = this.#orders[sweep] ?? this.#options.random.permutation(this.#history.layout.groups.length);
    let progress = false;
    for (const group of order) {
      if (this.#settled.has(group)) {
        this.#skippedLaps++;
        continue;
      }
      yield;
      if (this.#lap(sweep, group)) progress = true;
    }
    return progress;
  }

  /** Solves one group's assignment. @returns whether its objective grew by more than the tolerances. */
  #lap(sweep: number, group: number): boolean {
    const { core, layout, similarities } = this.#history;
    const { id, size, structure } = layout.groups[group] as (typeof layout.groups)[number];
    const current = this.#permutations[group] as Int32Array;
    return core.scoped((scratch) => {
      const similarityPtr = scratch.f32(size * size, `similarity of ${id}`);
      this.#measure('similarity', () => similarities.write(group, this.#permutations, similarityPtr));
      const solve = (): Int32Array => {
        if (structure !== undefined) return assignBlocks(core, core.f32(similarityPtr, size * size).slice(), structure);
        const duals = this.#duals.get(group);
        const solved = assignOnHeap(core, similarityPtr, size, duals === undefined ? {} : { warmStart: duals });
        this.#duals.set(group, solved.duals);
        return solved.assignment;
      };
      const assignment = this.#measure('assignment', solve);
      this.#assignments++;
      this.#settled.add(group);
      const similarity = core.f32(similarityPtr, size * size);
      const before = assignedSum(similarity, current);
      const after = assignedSum(similarity, assignment);
      this.#options.onLap?.({ sweep, group: id, similarity, assignment, before, after });
      if (!(after > before) || !this.#accept(group, assignment)) return false;
      return after > before + Math.max(this.#absoluteTolerance, this.#relativeTolerance * Math.abs(before));
    });
  }

  /** Takes the assignment, and wakes the groups whose similarity it enters. @returns false where it was refused. */
  #accept(group: number, assignment: Int32Array): boolean {
    const { groups } = this.#history.layout;
    const terms = groups[group]?.terms ?? [];
    const next = this.#permutations.with(group, assignment);
    // A tensor that carries the group twice makes the lap's problem quadratic: its linear part may promise too much.
    if (terms.some(({ other }) => other === group)) {
      if (!(matchingObjective(this.#history, next) > matchingObjective(this.#history, this.#permutations))) return false;
    }
    this.#permutations = next;
    for (const { other } of terms) this.#settled.delete(other);
    return true;
  }

  /**
   * Compares every similarity that was updated in place with its definition; one that has drifted is computed anew at the
   * next sweep. @returns whether all agree.
   */
  #check(): boolean {
    const { core, layout, similarities } = this.#history;
    let agrees = true;
    layout.groups.forEach(({ size }, group) => {
      if (similarities.updatesSinceRecomputation(group) === 0) return;
      const deviation = core.scoped((scratch) => {
        const pointer = scratch.f32(size * size, 'similarity');
        similarities.write(group, this.#permutations, pointer);
        return similarityDeviation(this.#history, group, this.#permutations, core.f32(pointer, size * size), () =>
          this.#options.random.below(2) === 0 ? -1 : 1,
        );
      });
      this.#largestDeviation = Math.max(this.#largestDeviation, deviation);
      if (deviation <= LARGEST_DEVIATION) return;
      similarities.invalidate(group);
      this.#settled.delete(group);
      agrees = false;
    });
    return agrees;
  }

  #allPermutations(): Permutations {
    const { layout } = this.#history;
    const solved = new Map(layout.groups.map(({ id }, index) => [id, this.#permutations[index] as Int32Array]));
    return new Map(layout.spec.groups.map(({ id, size }) => [id, solved.get(id) ?? identity(size)]));
  }
}
