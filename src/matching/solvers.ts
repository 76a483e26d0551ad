/**
 * The ways to solve a matching, behind one signature. Coordinate descent is the paper's and the default; the others
 * exist because it stops at the first local optimum it meets.
 */
import type { Pieces } from '../core/breather.ts';
import { descend } from './coordinate-descent.ts';
import type { MatchingCounts, SolveOptions, MatchingResult } from './coordinate-descent.ts';
import { relaxAndDescend } from './frank-wolfe.ts';
import type { GradientHistory } from './history.ts';
import { randomPermutations } from './permutation.ts';
import type { Permutations } from './permutation.ts';

export type SolverName = 'coordinate-descent' | 'seeded-starts' | 'frank-wolfe';

/** In laps, or other pieces that take about as long. */
type Solve = (history: GradientHistory, options: SolveOptions) => Pieces<MatchingResult>;

/** Descents from random permutations besides the one from `options.start`. */
const EXTRA_STARTS = 4;

/** The best of coordinate descents from `options.start` and from four random permutations, drawn from `options.random`. */
function* descendFromSeededStarts(history: GradientHistory, options: SolveOptions): Pieces<MatchingResult> {
  const first = yield* descend(history, options);
  const all = [first];
  while (all.length <= EXTRA_STARTS) {
    const start = movableOnly(history, randomPermutations(history.layout.spec, options.random.u32()), options.start);
    // The identity is nearly always better than a random start, and the first descent has had it.
    all.push({ ...(yield* descend(history, { ...options, start, orIdentity: false })), startedFrom: 'random' });
  }
  const best = all.reduce((a, b) => (b.objective > a.objective ? b : a));
  return Object.freeze({ ...best, startObjective: first.startObjective, ...workOf(all) });
}

/** What several descents took together. */
function workOf(results: readonly MatchingResult[]): Pick<MatchingResult, 'assignments' | 'counts'> {
  const total = (of: (result: MatchingResult) => number): number => results.reduce((sum, result) => sum + of(result), 0);
  const names = Object.keys((results[0] as MatchingResult).counts) as (keyof MatchingCounts)[];
  const counts = Object.fromEntries(names.map((name) => [name, total((result) => result.counts[name])])) as unknown as MatchingCounts;
  return { assignments: total(({ assignments }) => assignments), counts: Object.freeze(counts) };
}

/** Frozen groups stay as they were. */
function movableOnly(history: GradientHistory, drawn: Permutations, start: Permutations): Permutations {
  const moving = new Set(history.layout.groups.map(({ id }) => id));
  return new Map([...drawn].map(([id, perm]) => [id, moving.has(id) ? perm : (start.get(id) as Int32Array)]));
}

export const solvers: Readonly<Record<SolverName, Solve>> = {
  'coordinate-descent': descend,
  'seeded-starts': descendFromSeededStarts,
  'frank-wolfe': relaxAndDescend,
};

/** What one matching takes, in sweeps over all groups. */
export interface SolverWork {
  /** Assignments of each group. */
  readonly laps: number;
  /** Products of every stored pair of the tensors that carry two permutations, as often as so many sweeps without reuse. */
  readonly products: number;
  /** Tensors of the largest size on the heap at a time. */
  readonly operands: number;
}

/** Iterations of Frank–Wolfe to reckon with beside four sweeps of a descent: three of these a sweep were enough in docs/matching.md. */
const FRANK_WOLFE_ITERATIONS = 12;
/** A gradient by rows, one by columns, and the curvature along the way: each is a sweep's products. */
const PRODUCTS_AN_ITERATION = 3;

/**
 * Reckoned for descents that end by themselves after `sweeps`: one from a random start takes a sweep more, the one that
 * polishes no more. @param maxSweeps where each ends at the latest.
 */
export function solverWork(solver: SolverName, sweeps: number, maxSweeps: number): SolverWork {
  const descent = Math.min(sweeps, maxSweeps);
  switch (solver) {
    case 'coordinate-descent':
      return { laps: descent, products: descent, operands: 2 };
    case 'seeded-starts': {
      const all = descent + EXTRA_STARTS * Math.min(sweeps + 1, maxSweeps);
      return { laps: all, products: all, operands: 2 };
    }
    case 'frank-wolfe':
      // The relaxation is rounded once, and polished.
      return {
        laps: FRANK_WOLFE_ITERATIONS + 1 + descent,
        products: PRODUCTS_AN_ITERATION * FRANK_WOLFE_ITERATIONS + descent,
        operands: 3,
      };
  }
}

export const solverNames = Object.keys(solvers) as readonly SolverName[];
