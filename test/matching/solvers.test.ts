// The alternatives to plain coordinate descent: never worse than what they start from, right about their own objective,
// and able to recover a hidden permutation.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Core, openCore } from '../../src/core/core.ts';
import { GradientHistory } from '../../src/matching/history.ts';
import { identityPermutations, permuteTensors, randomPermutations } from '../../src/matching/permutation.ts';
import { solvers, solverNames } from '../../src/matching/solvers.ts';
import type { SolverName } from '../../src/matching/solvers.ts';
import { runThrough } from '../../src/core/breather.ts';
import { Random, streams } from '../../src/tensor/random.ts';
import { objectiveOf, type Pair, randomTensors, specOf } from './straightforward.ts';

let core: Core;
beforeAll(async () => {
  core = await openCore();
});
afterAll(() => core[Symbol.dispose]());

const spec = specOf({
  first: [[13, 'a'], [6, null]],
  second: [[9, 'b'], [13, 'a'], [3, null]],
  third: [[11, 'c'], [9, 'b']],
  last: [[4, null], [11, 'c']],
  loop: [[11, 'c'], [11, 'c']],
});

function pairsOf(count: number, seed: number, noise: number): Pair[] {
  const hidden = randomPermutations(spec, seed);
  return Array.from({ length: count }, (_, index) => {
    const source = randomTensors(spec, seed + 10 * index + 1);
    const disturbance = randomTensors(spec, seed + 10 * index + 2);
    const target = new Map(
      [...permuteTensors(spec, source, hidden)].map(([name, { shape, data }]) => [
        name,
        { shape, data: data.map((x, i) => x + noise * (disturbance.get(name)?.data[i] ?? 0)) },
      ]),
    );
    return { target, source };
  });
}

function historyOf(pairs: readonly Pair[], frozenGroups: readonly string[] = []): GradientHistory {
  const history = new GradientHistory(core, spec, { budgetBytes: 2 ** 26, frozenGroups });
  for (const { target, source } of pairs) history.add(target, source);
  return history;
}

const random = (seed: number): Random => new Random(seed, streams.sweepOrder);

const solveBy = (name: SolverName) =>
  (...parameters: Parameters<(typeof solvers)[SolverName]>) => runThrough(solvers[name](...parameters), undefined);

describe.each(solverNames)('%s', (name) => {
  const solve = solveBy(name);

  test('its objective is the definition, summed in f64, and not below its start', () => {
    for (let seed = 1; seed <= 5; seed++) {
      const pairs = pairsOf(3, seed, 1.5);
      const start = randomPermutations(spec, seed + 100);
      const result = solve(historyOf(pairs), { start, random: random(seed) });
      const expected = objectiveOf(spec, pairs, result.permutations);
      expect(Math.abs(result.objective - expected)).toBeLessThanOrEqual(1e-6 * Math.abs(expected));
      expect(result.objective).toBeGreaterThanOrEqual(objectiveOf(spec, pairs, start));
    }
  });

  test('it recovers a hidden permutation under noise', () => {
    for (let seed = 1; seed <= 5; seed++) {
      const hidden = randomPermutations(spec, seed);
      const result = solve(historyOf(pairsOf(3, seed, 0.2)), { start: identityPermutations(spec), random: random(seed) });
      for (const [id, perm] of hidden) expect([...(result.permutations.get(id) as Int32Array)]).toEqual([...perm]);
    }
  });

  test('frozen groups stay, and the same seed gives the same result', () => {
    const pairs = pairsOf(2, 7, 1);
    const run = () => solve(historyOf(pairs, ['b']), { start: identityPermutations(spec), random: random(3) });
    const [one, two] = [run(), run()];
    expect([...(one.permutations.get('b') as Int32Array)]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    expect(one).toEqual(two);
  });
});

/** Noise enough that a descent from the identity often stops short. */
const hard = Array.from({ length: 12 }, (_, i) => historyOf.bind(undefined, pairsOf(2, i + 1, 2.5)));

test('seeded starts find better permutations than one descent on some noisy problems, Frank–Wolfe at least as good ones on most', () => {
  const gains = { 'seeded-starts': 0, 'frank-wolfe': 0 };
  const losses = { 'seeded-starts': 0, 'frank-wolfe': 0 };
  hard.forEach((make, seed) => {
    const history = make();
    const solveWith = (name: SolverName) =>
      solveBy(name)(history, { start: identityPermutations(spec), random: random(seed + 1) });
    const descent = solveWith('coordinate-descent');
    for (const name of ['seeded-starts', 'frank-wolfe'] as const) {
      const { objective, startObjective, assignments } = solveWith(name);
      if (objective > (1 + 1e-6) * descent.objective) gains[name]++;
      if (objective < (1 - 1e-9) * descent.objective) losses[name]++;
      // One is of sums in f32.
      expect(startObjective).toBeCloseTo(descent.startObjective, 4);
      // Five descents, or a relaxation and a descent.
      expect(assignments).toBeGreaterThan(descent.assignments);
    }
  });
  expect(gains['seeded-starts']).toBeGreaterThanOrEqual(3);
  expect(gains['frank-wolfe']).toBeGreaterThanOrEqual(3);
  expect(losses['seeded-starts']).toBe(0);
  expect(losses['frank-wolfe']).toBeLessThanOrEqual(hard.length / 2);
});

test('every random start is descended from, also where the caller would rather have the identity; what was done is added up', () => {
  const history = historyOf(pairsOf(2, 3, 2.5));
  const firstLaps: number[] = [];
  let laps = 0;
  let sweep = Infinity;
  const result = solveBy('seeded-starts')(history, {
    start: identityPermutations(spec), orIdentity: true, random: random(4), maxSweeps: 20,
    onLap: (lap) => {
      // A sweep of lower number begins a descent.
      if (lap.sweep < sweep) firstLaps.push(lap.before);
      sweep = lap.sweep;
      laps++;
    },
  });
  expect(new Set(firstLaps).size).toBe(5);
  expect(result.assignments).toBe(laps);
});

test('Frank–Wolfe books its assignments and products, and says where its descent began', () => {
  const booked = { similarity: 0, assignment: 0 };
  const measure = <T>(part: keyof typeof booked, body: () => T): T => {
    booked[part]++;
    return body();
  };
  const result = solveBy('frank-wolfe')(historyOf(pairsOf(2, 3, 2.5)), { start: identityPermutations(spec), random: random(4), measure });
  expect(result.startedFrom).toBe('relaxation');
  expect(booked.assignment).toBe(result.assignments);
  expect(booked.similarity).toBeGreaterThan(0);
});
