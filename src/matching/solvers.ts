/**
 * The ways to solve a matching, behind one signature. Coordinate descent is the paper's and the default; the others
 * exist because it stops at the first local optimum it meets.
 */
import { solveMatching } from './coordinate-descent.ts';
import type { MatchingOptions, MatchingResult } from './coordinate-descent.ts';
import { solveByFrankWolfe } from './frank-wolfe.ts';
import type { GradientHistory } from './history.ts';
import { randomPermutations } from './permutation.ts';
import type { Permutations } from './permutation.ts';

export type SolverName = 'coordinate-descent' | 'seeded-starts' | 'frank-wolfe';

export type MatchingSolver = (history: GradientHistory, options: MatchingOptions) => MatchingResult;

/** Descents from random permutations besides the one from `options.start`. */
const EXTRA_STARTS = 4;

/** The best of coordinate descents from `options.start` and from four random permutations, drawn from `options.random`. */
function solveFromSeededStarts(history: GradientHistory, options: MatchingOptions): MatchingResult {
  let best = solveMatching(history, options);
  for (let extra = 0; extra < EXTRA_STARTS; extra++) {
    const start = movableOnly(history, randomPermutations(history.layout.spec, options.random.u32()), options.start);
    const result = solveMatching(history, { ...options, start });
    if (result.objective > best.objective) best = result;
  }
  return best;
}

/** Frozen groups stay as they were. */
function movableOnly(history: GradientHistory, drawn: Permutations, start: Permutations): Permutations {
  const moving = new Set(history.layout.groups.map(({ id }) => id));
  return new Map([...drawn].map(([id, perm]) => [id, moving.has(id) ? perm : (start.get(id) as Int32Array)]));
}

export const matchingSolvers: Readonly<Record<SolverName, MatchingSolver>> = {
  'coordinate-descent': solveMatching,
  'seeded-starts': solveFromSeededStarts,
  'frank-wolfe': solveByFrankWolfe,
};

export const solverNames = Object.keys(matchingSolvers) as readonly SolverName[];
