/** What `solvers.ts` has, for callers from outside: seeded by a number, as everything else that they call is. */
import { runThrough } from '../core/breather.ts';
import { requireMembers } from '../core/require.ts';
import { requireOptions, type OptionNames } from '../core/options.ts';
import { Random, streams } from '../tensor/random.ts';
import { solveOptionNames } from './coordinate-descent.ts';
import type { MatchingResult, SolveOptions } from './coordinate-descent.ts';
import type { GradientHistory } from './history.ts';
import { solverNames, solvers, type SolverName } from './solvers.ts';

export interface MatchingOptions extends Omit<SolveOptions, 'random'> {
  /** Draws the order of the groups in every sweep, random starts, and the signs of the final check. An integer ≥ 0. */
  readonly seed: number;
  /** Which of several matchings under one seed this is: `transfer` numbers its steps so. Default 0. */
  readonly index?: number;
}

const { random: _, ...shared } = solveOptionNames;
const optionNames: OptionNames<MatchingOptions> = { ...shared, seed: true, index: true };

/** @throws InvalidArgumentError for a start that is not the history's, or another option out of range. */
export type MatchingSolver = (history: GradientHistory, options: MatchingOptions) => MatchingResult;

/** By name: `matchingSolvers['coordinate-descent'](history, { start: identityPermutations(spec), seed: 1 })`. */
export const matchingSolvers = Object.fromEntries(
  solverNames.map((name): [SolverName, MatchingSolver] => [
    name,
    (history, options) => {
      requireMembers('history', history, ['layout', 'similarities'], 'a GradientHistory');
      requireOptions('a solver', options, optionNames);
      requireMembers('options', options, ['start', 'seed']);
      const { seed, index = 0, ...rest } = options;
      return runThrough(solvers[name](history, { ...rest, random: new Random(seed, streams.sweepOrder, index) }), rest.signal);
    },
  ]),
) as Readonly<Record<SolverName, MatchingSolver>>;
