// Gradient history and coordinate descent against their definitions in plain f64 loops.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Core, openCore } from '../../src/core/core.ts';
import { BudgetError, InvalidArgumentError, NotFiniteError } from '../../src/core/errors.ts';
import { linearSumAssignment } from '../../src/matching/assignment.ts';
import { type MatchingLap, solveMatching } from '../../src/matching/coordinate-descent.ts';
import { GradientHistory } from '../../src/matching/history.ts';
import { historySize } from '../../src/matching/history-size.ts';
import { similarityDeviation } from '../../src/matching/objective.ts';
import { identityPermutations, permuteTensors, randomPermutations } from '../../src/matching/permutation.ts';
import { initialise } from '../../src/model/initialise.ts';
import { derivePermutationSpec } from '../../src/model/permutation-spec.ts';
import { preset } from '../../src/model/presets.ts';
import { Random, streams } from '../../src/tensor/random.ts';
import { coordinateDescent, objectiveOf, type Pair, randomTensors, similarityOf, specOf } from './straightforward.ts';

let core: Core;
beforeAll(async () => {
  core = await openCore();
});
afterAll(() => core[Symbol.dispose]());

const budgetBytes = 2 ** 26;
const random = (seed: number): Random => new Random(seed, streams.sweepOrder);

/** A chain of convolutions and a head behind a flattening: static, paired and fixed tensors, a split axis, a middle axis. */
const chain = specOf(
  {
    'c0.weight': [[11, 'a'], [2, null], [3, null], [3, null]],
    'c0.bias': [[11, 'a']],
    'c1.weight': [[9, 'b'], [11, 'a'], [3, null], [3, null]],
    'c1.bias': [[9, 'b']],
    'd0.weight': [[17, 'h'], [9, 'b'], [4, null]],
    'd0.bias': [[17, 'h']],
    'd1.weight': [[5, null], [17, 'h']],
    'd1.bias': [[5, null]],
    odd: [[2, null], [9, 'b'], [3, null], [11, 'a'], [2, null]],
    middle: [[2, null], [17, 'h'], [3, null]],
  },
  { 'd0.weight': [17, 36] },
);
/** A residual stream: one group on both axes of a square weight. */
const loop = specOf({ first: [[12, 'r'], [6, null]], square: [[12, 'r'], [12, 'r']], last: [[4, null], [12, 'r']] });

function pairsOf(spec: typeof chain, count: number, seed: number, hidden = false): Pair[] {
  const perms = randomPermutations(spec, seed);
  return Array.from({ length: count }, (_, index) => {
    const source = randomTensors(spec, seed + 10 * index + 1);
    if (!hidden) return { target: randomTensors(spec, seed + 10 * index + 2), source };
    // A target that is the permuted source and some noise.
    const noise = randomTensors(spec, seed + 10 * index + 2);
    const target = new Map(
      [...permuteTensors(spec, source, perms)].map(([name, { shape, data }]) => [
        name,
        { shape, data: data.map((x, i) => x + 0.3 * (noise.get(name)?.data[i] ?? 0)) },
      ]),
    );
    return { target, source };
  });
}

function historyOf(
  spec: typeof chain,
  pairs: readonly Pair[],
  options: { normalise?: boolean; frozenGroups?: string[] } = {},
): GradientHistory {
  const history = new GradientHistory(core, spec, { budgetBytes, ...options });
  for (const { target, source } of pairs) history.add(target, source);
  return history;
}

function relative(got: ArrayLike<number>, expected: ArrayLike<number>): number {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; i++) {
    difference += ((got[i] as number) - (expected[i] as number)) ** 2;
    norm += (expected[i] as number) ** 2;
  }
  return Math.sqrt(difference / norm);
}

function inOrder(spec: typeof chain, perms: ReadonlyMap<string, Int32Array>): Int32Array[] {
  return spec.groups.map(({ id }) => perms.get(id) as Int32Array);
}

function similarity(history: GradientHistory, group: number, perms: readonly Int32Array[], size: number): Float32Array {
  return core.scoped((scratch) => {
    const pointer = scratch.f32(size * size);
    history.similarities.write(group, perms, pointer);
    return core.f32(pointer, size * size).slice();
  });
}

describe('similarity', () => {
  // Norms' products of the last two lie on both sides of the official code's 1e-12, below which nothing is divided.
  test.each([
    [false, 1], [true, 1], [true, 3e-6], [true, 3e-8],
  ])('is the definition within 1e-6, normalised: %s, times %f', (normalise, scale) => {
    const scaled = (tensors: Pair['target']): Pair['target'] =>
      new Map([...tensors].map(([name, { shape, data }]) => [name, { shape, data: data.map((x) => x * scale) }]));
    const pairs = pairsOf(chain, 3, 5).map(({ target, source }) => ({ target: scaled(target), source: scaled(source) }));
    const history = historyOf(chain, pairs, { normalise });
    const perms = randomPermutations(chain, 7);
    chain.groups.forEach(({ id, size }, group) => {
      const got = similarity(history, group, inOrder(chain, perms), size);
      expect(relative(got, similarityOf(chain, pairs, id, perms, normalise)), id).toBeLessThan(1e-6);
    });
  });

  test('stays within 1e-6 of the definition while permutations and pairs come', () => {
    const pairs = pairsOf(chain, 4, 50);
    const history = historyOf(chain, pairs.slice(0, 2));
    const perms = new Map([...randomPermutations(chain, 8)].map(([id, perm]) => [id, perm.slice()]));
    const draw = random(3);
    for (let step = 0; step < 12; step++) {
      if (step === 4) history.add((pairs[2] as Pair).target, (pairs[2] as Pair).source);
      if (step === 8) history.add((pairs[3] as Pair).target, (pairs[3] as Pair).source);
      chain.groups.forEach(({ id, size }, group) => {
        const got = similarity(history, group, inOrder(chain, perms), size);
        expect(relative(got, similarityOf(chain, pairs.slice(0, history.pairs), id, perms)), `${id} at ${step}`).toBeLessThan(1e-6);
        // A transposition somewhere: two rows or columns change.
        const perm = perms.get(id) as Int32Array;
        const [i, j] = [draw.below(size), draw.below(size)];
        [perm[i], perm[j]] = [perm[j] as number, perm[i] as number];
      });
    }
    const { updated, recomputed, flops, flopsWithoutReuse } = history.similarities.counts;
    expect(updated).toBeGreaterThan(20);
    expect(recomputed).toBeLessThanOrEqual(2 * chain.groups.length);
    expect(flops).toBeLessThan(0.6 * flopsWithoutReuse);
  });

  test('the final check sees a single wrong entry', () => {
    const history = historyOf(chain, pairsOf(chain, 2, 9));
    const perms = inOrder(chain, randomPermutations(chain, 1));
    const matrix = similarity(history, 1, perms, 9);
    const sign = (unit: number): number => (unit % 3 === 0 ? -1 : 1);
    expect(similarityDeviation(history, 1, perms, matrix, sign)).toBeLessThan(1e-6);
    matrix[40] = (matrix[40] as number) * 1.01 + 0.01;
    expect(similarityDeviation(history, 1, perms, matrix, sign)).toBeGreaterThan(1e-5);
  });
});

describe('solveMatching', () => {
  test('finds a hidden permutation under noise', () => {
    const pairs = pairsOf(chain, 3, 21, true);
    const result = solveMatching(historyOf(chain, pairs), { start: identityPermutations(chain), random: random(1) });
    expect(result.permutations).toEqual(randomPermutations(chain, 21));
    expect(result.converged).toBe(true);
    expect(result.relativeObjective).toBeGreaterThan(0.9);
  });

  test.each([false, true])('walks the official loop along given orders to the same end, normalised: %s', (normalise) => {
    for (const seed of [100, 200, 300]) {
      const pairs = pairsOf(chain, 2, seed);
      const orders = Array.from({ length: 100 }, (_, sweep) =>
        [...random(seed + sweep).permutation(3)].map((i) => chain.groups[i]?.id as string),
      );
      const assign = (data: Float64Array, n: number): Int32Array => linearSumAssignment(core, { rows: n, columns: n, data }).assignment;
      const expected = coordinateDescent(chain, pairs, (sweep) => orders[sweep] as string[], assign, normalise);
      const result = solveMatching(historyOf(chain, pairs, { normalise }), {
        start: identityPermutations(chain),
        random: random(1),
        orders,
      });
      expect(result.permutations).toEqual(expected.permutations);
      expect(result.sweeps).toBe(expected.sweeps);
    }
  });

  test('objective, residual and start are the sums over index tuples; no lap loses', () => {
    for (const [spec, seed] of [[chain, 31], [loop, 32]] as const) {
      const pairs = pairsOf(spec, 3, seed);
      const start = randomPermutations(spec, 5);
      const laps: Omit<MatchingLap, 'similarity'>[] = [];
      const result = solveMatching(historyOf(spec, pairs), { start, random: random(2), onLap: (lap) => laps.push(lap) });
      const expected = objectiveOf(spec, pairs, result.permutations);
      expect(Math.abs(result.objective - expected)).toBeLessThan(1e-6 * Math.abs(expected));
      expect(Math.abs(result.startObjective - objectiveOf(spec, pairs, start))).toBeLessThan(1e-5 * Math.abs(expected));
      expect(result.objective).toBeGreaterThan(result.startObjective);
      let residual = 0;
      for (const { target, source } of pairs) {
        const permuted = permuteTensors(spec, source, result.permutations);
        for (const [name, { data }] of target) {
          if (spec.tensors.get(name)?.axes.every((group) => group === null)) continue;
          data.forEach((t, i) => (residual += (t - (permuted.get(name)?.data[i] as number)) ** 2));
        }
      }
      expect(Math.abs(result.residual - residual)).toBeLessThan(1e-6 * residual);
      expect(result.converged).toBe(true);
      for (const { before, after } of laps) expect(after).toBeGreaterThanOrEqual(before - 1e-9 * Math.abs(before));
    }
  });

  test('is a function of history and options; takes the better start; keeps frozen groups', () => {
    const pairs = pairsOf(chain, 2, 41);
    const solve = (): ReturnType<typeof solveMatching> =>
      solveMatching(historyOf(chain, pairs), { start: identityPermutations(chain), random: random(6) });
    const first = solve();
    expect(solve()).toEqual(first);
    expect(Object.isFrozen(first)).toBe(true);

    const warm = solveMatching(historyOf(chain, pairs), { start: first.permutations, orIdentity: true, random: random(6) });
    expect(warm.startedFrom).toBe('start');
    expect(warm.objective).toBeGreaterThanOrEqual(first.objective);
    const worse = [...Array(50).keys()]
      .map((seed) => randomPermutations(chain, seed))
      .find((p) => objectiveOf(chain, pairs, p) < objectiveOf(chain, pairs, identityPermutations(chain)));
    const cold = solveMatching(historyOf(chain, pairs), { start: worse as Map<string, Int32Array>, orIdentity: true, random: random(6) });
    expect(cold.startedFrom).toBe('identity');
    expect(cold.permutations).toEqual(first.permutations);

    const frozen = solveMatching(historyOf(chain, pairs, { frozenGroups: ['b'] }), {
      start: identityPermutations(chain),
      random: random(6),
    });
    expect([...(frozen.permutations.get('b') as Int32Array)]).toEqual([...Array(9).keys()]);
    expect(frozen.permutations.get('a')).not.toEqual(identityPermutations(chain).get('a'));
    expect(() => solveMatching(historyOf(chain, pairs, { frozenGroups: ['b'] }), { start: first.permutations, random: random(6) })).toThrow(
      /start\.b/,
    );
  });

  test('solves again after more pairs as if the history had been built at once', () => {
    const pairs = pairsOf(chain, 4, 61, true);
    const history = historyOf(chain, pairs.slice(0, 2));
    const once = solveMatching(history, { start: identityPermutations(chain), random: random(1) });
    for (const { target, source } of pairs.slice(2)) history.add(target, source);
    const again = solveMatching(history, { start: once.permutations, random: random(2) });
    const whole = solveMatching(historyOf(chain, pairs), { start: once.permutations, random: random(2) });
    expect(again.permutations).toEqual(whole.permutations);
    expect(again.counts.similarityFlops).toBeLessThan(whole.counts.similarityFlops);
    history.clear();
    for (const { target, source } of pairs) history.add(target, source);
    expect(solveMatching(history, { start: once.permutations, random: random(2) }).objective).toBe(whole.objective);
  });

  test('refuses what it cannot solve', () => {
    const empty = new GradientHistory(core, chain, { budgetBytes });
    expect(() => solveMatching(empty, { start: identityPermutations(chain), random: random(1) })).toThrow(
      /history: expected at least one gradient pair/,
    );
    const history = historyOf(chain, pairsOf(chain, 1, 3));
    // A list that leaves a group out would end the descent as converged without having looked at it.
    const ids = history.layout.groups.map(({ id }) => id);
    for (const order of [['zz'], [], ids.slice(1), [...ids, ids[0] as string], [...ids.slice(1), 'zz']]) {
      const options = { start: identityPermutations(chain), random: random(1), orders: [ids, order] };
      expect(() => solveMatching(history, options)).toThrow(/orders\[1\]: expected each of/);
    }
    const aborted = AbortSignal.abort(new Error('enough'));
    expect(() => solveMatching(history, { start: identityPermutations(chain), random: random(1), signal: aborted })).toThrow('enough');
    expect(() => solveMatching(history, { start: new Map(), random: random(1) })).toThrow(InvalidArgumentError);
  });
});

test('of a source that is the target in another order the residual is 0 and the relative objective 1, never past them', () => {
  const graph = preset('mlp', { input: [1, 8, 8], classes: 4, widths: [64] });
  const spec = derivePermutationSpec(graph);
  for (let seed = 1; seed <= 12; seed++) {
    const source = initialise(core, graph, { seed }).parameters;
    const history = new GradientHistory(core, spec, { budgetBytes });
    history.add(permuteTensors(spec, source, randomPermutations(spec, seed)), source);
    const { residual, relativeObjective } = solveMatching(history, { start: identityPermutations(spec), random: random(1) });
    expect(residual).toBeGreaterThanOrEqual(0);
    expect(residual / history.squaredNorms).toBeLessThan(1e-6);
    expect(relativeObjective).toBeLessThanOrEqual(1);
    expect(relativeObjective).toBeGreaterThan(1 - 1e-6);
  }
});

describe('GradientHistory', () => {
  test('running statistics, which have no gradients, take no room and are not asked for', () => {
    const axes = [[3, 'a'], [4, 'b']] as const;
    const spec = specOf({ weight: axes });
    const { tensors } = specOf({ weight: axes, mean: axes });
    const withBuffer = { ...spec, tensors: new Map(tensors).set('mean', { ...tensors.get('mean')!, buffer: true }) };
    expect(historySize(withBuffer, 3)).toEqual(historySize(spec, 3));
    const history = new GradientHistory(core, withBuffer, { budgetBytes });
    const [pair] = pairsOf(spec, 1, 1) as [Pair];
    history.add(pair.target, pair.source);
    expect(history.squaredNorms).toBeCloseTo(
      [...pair.target.values(), ...pair.source.values()].reduce((sum, { data }) => sum + data.reduce((s, x) => s + x * x, 0), 0),
      4,
    );
  });

  test('holds as many pairs as the budget says, and names the budget that would do', () => {
    const size = historySize(chain, 2);
    const paired = 9 * 11 * 9 + 17 * 9 * 4 + 2 * 9 * 3 * 11 * 2;
    expect(size.bytesPerPair).toBe(8 * paired);
    expect(size.totalBytes).toBe(size.fixedBytes + 16 * paired);
    const history = new GradientHistory(core, chain, { budgetBytes: size.totalBytes + 100, coding: 'exact' });
    const [pair] = pairsOf(chain, 1, 1) as [Pair];
    history.add(pair.target, pair.source);
    history.add(pair.target, pair.source);
    const error = (() => {
      try {
        history.add(pair.target, pair.source);
      } catch (caught) {
        return caught;
      }
    })();
    expect(error).toBeInstanceOf(BudgetError);
    expect((error as BudgetError).requiredBytes).toBe(size.totalBytes + size.bytesPerPair);
    expect(history.pairs).toBe(2);
    expect(() => new GradientHistory(core, chain, { budgetBytes: 10 })).toThrow(BudgetError);
  });

  test('beyond the budget stores 8-bit codes: objective within its bound and 0.5 %, then refuses', () => {
    const pairs = pairsOf(chain, 6, 71, true);
    const exact = historyOf(chain, pairs);
    const { fixedBytes, bytesPerPair, codedBytesPerPair } = historySize(chain, 1);
    const history = new GradientHistory(core, chain, { budgetBytes: fixedBytes + 3 * bytesPerPair });
    const seen: boolean[] = [];
    for (const { target, source } of pairs) {
      history.add(target, source);
      seen.push(history.coded);
      expect(history.bytes).toBeLessThanOrEqual(history.budgetBytes);
      // Remembers similarities in what is left, which the next pair takes.
      solveMatching(history, { start: identityPermutations(chain), random: random(1), maxSweeps: 1 });
      expect(history.bytes).toBeLessThanOrEqual(history.budgetBytes);
    }
    expect(seen).toEqual([false, false, false, true, true, true]);
    const options = { start: randomPermutations(chain, 4), random: random(1), maxSweeps: 1 };
    const coded = solveMatching(history, options);
    const truth = objectiveOf(chain, pairs, coded.permutations);
    expect(coded.objectiveErrorBound).toBeGreaterThan(0);
    expect(Math.abs(coded.objective - truth)).toBeLessThan(coded.objectiveErrorBound);
    expect(Math.abs(coded.objective - truth)).toBeLessThan(0.005 * Math.abs(truth));
    // The bound is of use: a few per cent of what could be reached.
    expect(coded.objectiveErrorBound).toBeLessThan(0.05 * history.squaredNorms);
    const full = { start: identityPermutations(chain), random: random(1) };
    expect(solveMatching(exact, full).objectiveErrorBound).toBe(0);
    expect(objectiveOf(chain, pairs, solveMatching(history, full).permutations)).toBeGreaterThan(
      0.995 * solveMatching(exact, full).objective,
    );
    const { target, source } = pairs[0] as Pair;
    const room = Math.floor((3 * bytesPerPair) / codedBytesPerPair);
    for (let pair = history.pairs; pair < room; pair++) history.add(target, source);
    expect(() => history.add(target, source)).toThrow(BudgetError);
    expect(history.pairs).toBe(room);
    history.clear();
    expect(history.coded).toBe(false);
  });

  test.each([1, -1])('finite gradients whose products overflow: an error that names the group, never a forbidden pair (%i)', (sign) => {
    const history = new GradientHistory(core, loop, { budgetBytes });
    const huge = (tensors: Pair['target'], factor: number): Pair['target'] =>
      new Map([...tensors].map(([name, { shape, data }]) => [name, { shape, data: data.map((x) => Math.abs(x) * factor) }]));
    const [{ target, source }] = pairsOf(loop, 1, 3) as [Pair];
    history.add(huge(target, 1e25), huge(source, sign * 1e25));
    const got = sign > 0 ? 'Infinity' : '-Infinity';
    expect(() => solveMatching(history, { start: identityPermutations(loop), random: random(1) })).toThrow(
      expect.objectContaining({ code: 'not-finite', field: expect.stringMatching(/^similarity of r\[\d+, \d+\]$/), got }),
    );
  });

  test.each([1, 2, 3, 4, 5])('coded: start, residual and share are of the codes, as the objective is (%i)', (seed) => {
    const { fixedBytes, codedBytesPerPair } = historySize(chain, 1);
    const history = new GradientHistory(core, chain, { budgetBytes: fixedBytes + 3 * codedBytesPerPair });
    // Equal sides have equal codes: nothing is better than the identity, which leaves nothing over.
    for (const { source } of pairsOf(chain, 3, seed)) history.add(source, source);
    expect(history.coded).toBe(true);
    const options = { start: identityPermutations(chain), orIdentity: true, random: random(1) };
    const { startedFrom, startObjective, objective, residual, relativeObjective } = solveMatching(history, options);
    expect(startedFrom).toBe('start');
    expect(objective).toBeGreaterThanOrEqual(startObjective);
    expect(Math.abs(residual)).toBeLessThan(1e-6 * objective);
    expect(Math.abs(relativeObjective - 1)).toBeLessThan(1e-6);
    // Of exact gradients the identity has another objective: one that is compared with it would be taken or left by the difference.
    const worse = solveMatching(history, { ...options, start: randomPermutations(chain, seed), maxSweeps: 0 });
    expect([worse.startedFrom, worse.startObjective]).toEqual(['identity', startObjective]);
  });

  test('a pair that is refused leaves the others as exact as they were', () => {
    const [small, whole] = pairsOf(chain, 2, 5) as [Pair, Pair];
    // Only the first number of every tensor: a pair of few bytes, which fits exactly where the next does not even coded.
    const first = (tensors: Pair['target']): Pair['target'] =>
      new Map([...tensors].map(([name, { shape, data }]) => [name, { shape, data: data.map((x, i) => (i === 0 ? x : 0)) }]));
    const { fixedBytes, codedBytesPerPair } = historySize(chain, 1);
    const history = new GradientHistory(core, chain, { budgetBytes: fixedBytes + codedBytesPerPair });
    history.add(first(small.target), first(small.source));
    const before = solveMatching(history, { start: identityPermutations(chain), random: random(1) });
    expect(() => history.add(whole.target, whole.source)).toThrow(BudgetError);
    expect([history.pairs, history.coded, history.objectiveErrorBound]).toEqual([1, false, 0]);
    expect(solveMatching(history, { start: identityPermutations(chain), random: random(1) }).objective).toBe(before.objective);
  });

  test('Conv8 at full width, 30 pairs: at most 400 MB coded, where whole gradients take 1.1 GB', () => {
    const spec = derivePermutationSpec(preset('conv8', { input: [3, 32, 32], classes: 10 }));
    const { fixedBytes, codedBytesPerPair, totalBytes } = historySize(spec, 30);
    expect(totalBytes).toBeGreaterThan(1.1e9);
    expect(fixedBytes + 30 * codedBytesPerPair).toBeLessThan(4e8);
  });

  test('units without gradient are neither stored nor lost', () => {
    const pairs = pairsOf(chain, 2, 81).map(({ target, source }, index) => {
      // Dead units: rows of c1 in the target, other ones in the source, and the columns that read them.
      const dead = (tensors: Pair['target'], units: number[]): Pair['target'] =>
        new Map([...tensors].map(([name, { shape, data }]) => {
          const { view, axes } = chain.tensors.get(name) as NonNullable<ReturnType<typeof chain.tensors.get>>;
          const axis = axes.indexOf('b');
          if (axis < 0) return [name, { shape, data }];
          const stride = view.slice(axis + 1).reduce((a, b) => a * b, 1);
          return [name, { shape, data: data.map((x, i) => (units.includes(Math.floor(i / stride) % (view[axis] as number)) ? 0 : x)) }];
        }));
      return { target: dead(target, [0, 3, 4 + index]), source: dead(source, [1, 8]) };
    });
    const history = historyOf(chain, pairs);
    const { fixedBytes, bytesPerPair } = historySize(chain, 2);
    expect(history.bytes - fixedBytes).toBeLessThan(0.75 * 2 * bytesPerPair);
    const perms = randomPermutations(chain, 3);
    chain.groups.forEach(({ id, size }, group) => {
      const got = similarity(history, group, inOrder(chain, perms), size);
      expect(relative(got, similarityOf(chain, pairs, id, perms)), id).toBeLessThan(1e-6);
      const others = inOrder(chain, randomPermutations(chain, 3 + group));
      expect(
        relative(similarity(history, group, others, size), similarityOf(chain, pairs, id, randomPermutations(chain, 3 + group))),
        id,
      ).toBeLessThan(1e-6);
    });
    const result = solveMatching(history, { start: perms, random: random(5) });
    const expected = objectiveOf(chain, pairs, result.permutations);
    expect(Math.abs(result.objective - expected)).toBeLessThan(1e-6 * Math.abs(expected));
    expect(result.largestDeviation).toBeLessThan(1e-6);
  });

  test('a similarity that has drifted is computed anew, and its group is solved again', () => {
    const pairs = pairsOf(chain, 3, 9, true);
    const truth = solveMatching(historyOf(chain, pairs), { start: identityPermutations(chain), random: random(1) }).permutations;
    const history = historyOf(chain, pairs);
    solveMatching(history, { start: truth, random: random(1) });
    const { facts, arrays } = history.snapshot();
    const anchors = facts.anchors.map((anchor) => ({ ...anchor, updates: 1 }));
    const drifted = new Map([...arrays].map(([name, array]) => [
      name, name.startsWith('anchor/') && name.endsWith('/matrix') ? array.map((x, i) => (i % 7 === 0 ? -20 * x : x)) : array,
    ]));
    const other = new GradientHistory(core, chain, { budgetBytes });
    other.restore({ facts: { ...facts, anchors }, arrays: drifted });
    const result = solveMatching(other, { start: truth, random: random(2) });
    expect(result.largestDeviation).toBeGreaterThan(1e-3);
    expect([result.converged, result.permutations]).toEqual([true, truth]);
  });

  test.each([
    { absoluteTolerance: 1e30 }, { relativeTolerance: 1, absoluteTolerance: 0 },
  ])('a gain within %o is taken and is no progress', (tolerances) => {
    const history = historyOf(chain, pairsOf(chain, 3, 5));
    const start = solveMatching(history, { start: identityPermutations(chain), random: random(1), maxSweeps: 1 });
    const { sweeps, converged, objective } = solveMatching(history, { start: start.permutations, random: random(2), ...tolerances });
    expect([sweeps, converged, objective > start.objective]).toEqual([1, true, true]);
  });

  test('a tie keeps the current permutation', () => {
    // Units without a gradient are worth the same wherever they stand.
    const dead = new Map(
      [...(pairsOf(chain, 1, 2)[0] as Pair).target].map(([name, { shape, data }]) => [
        name,
        { shape, data: new Float32Array(data.length) },
      ]),
    );
    const history = historyOf(chain, [{ target: dead, source: dead }]);
    const start = randomPermutations(chain, 3);
    const { permutations, objective } = solveMatching(history, { start, random: random(1) });
    expect(objective).toBe(0);
    expect(permutations).toEqual(start);
  });

  test('refuses gradients that do not fit, and adds nothing then', () => {
    const history = new GradientHistory(core, chain, { budgetBytes });
    const [{ target, source }] = pairsOf(chain, 1, 2) as [Pair];
    const bad = new Map(source);
    bad.set('c0.bias', { shape: [11], data: new Float32Array(11).fill(Number.NaN) });
    expect(() => history.add(target, bad)).toThrow(NotFiniteError);
    bad.delete('c0.bias');
    expect(() => history.add(target, bad)).toThrow(/source\.c0\.bias/);
    for (const length of [10, 12]) {
      bad.set('c0.bias', { shape: [11], data: new Float32Array(length) });
      expect(() => history.add(target, bad)).toThrow(/source\.c0\.bias.*11 numbers/);
      expect(() => history.add(bad, source)).toThrow(/target\.c0\.bias.*11 numbers/);
    }
    expect(() => history.add(new Map(), new Map())).toThrow(InvalidArgumentError);
    expect(history.pairs).toBe(0);
    expect(history.squaredNorms).toBe(0);
    expect(() => new GradientHistory(core, chain, { budgetBytes, frozenGroups: ['zz'] })).toThrow(/frozenGroups/);
  });

  test('leaves nothing on the heap', () => {
    solveMatching(historyOf(chain, pairsOf(chain, 2, 4)), { start: identityPermutations(chain), random: random(1) });
    expect(core.liveAllocations).toBe(0);
  });
});
