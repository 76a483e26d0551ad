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

export const solverNames = Object.keys(solvers) as readonly SolverName[];
