// A history restored from its snapshot goes on to the last bit, remembered similarities and codes included.
import { afterAll, expect, test } from 'vitest';
import { openCore } from '../../src/core/core.ts';
import { MalformedFileError, OutOfMemoryError } from '../../src/core/errors.ts';
import { solveMatching } from '../../src/matching/coordinate-descent.ts';
import { GradientHistory } from '../../src/matching/history.ts';
import { historySize } from '../../src/matching/history-size.ts';
import { identityPermutations } from '../../src/matching/permutation.ts';
import type { HistorySnapshot } from '../../src/matching/snapshot.ts';
import { Random, streams } from '../../src/tensor/random.ts';
import { elementCount, type NamedTensors } from '../../src/tensor/tensor.ts';
import { randomTensors, specOf } from './straightforward.ts';

const core = await openCore();
afterAll(() => core[Symbol.dispose]());

const chain = specOf({
  first: [[23, 'a'], [7, null]],
  second: [[19, 'b'], [23, 'a'], [3, null]],
  third: [[17, 'c'], [19, 'b']],
  square: [[17, 'c'], [17, 'c']],
  last: [[5, null], [17, 'c']],
});
const pairs = Array.from({ length: 6 }, (_, i) => ({ target: randomTensors(chain, 2 * i + 1), source: randomTensors(chain, 2 * i + 2) }));
const size = historySize(chain, 1);

/** A copy through JSON and fresh arrays, as a file makes one. */
function copied({ facts, arrays }: HistorySnapshot): HistorySnapshot {
  return {
    facts: JSON.parse(JSON.stringify(facts)) as typeof facts,
    arrays: new Map([...arrays].map(([name, array]) => [name, array.slice()])),
  };
}

/** Steps of FGMT: a pair is added, then everything is matched. After `breakAfter` steps the history is taken down and put up again. */
function steps(budgetBytes: number, breakAfter?: number) {
  const create = (): GradientHistory => new GradientHistory(core, chain, { budgetBytes });
  let history = create();
  let start = identityPermutations(chain);
  const results = pairs.map(({ target, source }, step) => {
    history.add(target, source);
    const result = solveMatching(history, { start, random: new Random(3, streams.sweepOrder, step) });
    start = step % 2 === 0 ? result.permutations : identityPermutations(chain);
    if (step + 1 === breakAfter) {
      const snapshot = copied(history.snapshot());
      history = create();
      history.restore(snapshot);
    }
    return result;
  });
  return { results, coded: history.coded, bytes: history.bytes, flops: history.productFlops, last: history.snapshot() };
}

test.each([
  ['with room for everything', 2 ** 26, false],
  ['with room for some remembered similarities', size.fixedBytes + 6 * size.bytesPerPair + 4 * 19 * 19 * 2, false],
  ['coded on the way', size.fixedBytes + 3 * size.bytesPerPair, true],
])('%s', (_, budgetBytes, coded) => {
  const whole = steps(budgetBytes);
  expect(whole.coded).toBe(coded);
  for (let breakAfter = 1; breakAfter <= pairs.length; breakAfter++) {
    expect(steps(budgetBytes, breakAfter), `broken after step ${breakAfter}`).toEqual(whole);
  }
});

test('what does not fit is refused, and the history is empty then', () => {
  const history = new GradientHistory(core, chain, { budgetBytes: 2 ** 26 });
  for (const { target, source } of pairs.slice(0, 2)) history.add(target, source);
  solveMatching(history, { start: identityPermutations(chain), random: new Random(1, streams.sweepOrder) });
  const good = copied(history.snapshot());
  const other = new GradientHistory(core, chain, { budgetBytes: 2 ** 26 });
  for (const [name, array] of good.arrays) {
    const without = new Map(good.arrays);
    without.delete(name);
    // A static matrix that is missing is one that no pair has touched yet.
    if (!/^static.*matrix$/.test(name)) expect(() => other.restore({ ...good, arrays: without }), name).toThrow(MalformedFileError);
    const longer = new Map(good.arrays).set(
      name,
      array instanceof Float32Array ? new Float32Array(array.length + 1) : new Int32Array(array.length + 1).fill(99),
    );
    expect(() => other.restore({ ...good, arrays: longer }), name).toThrow(MalformedFileError);
    expect(other.pairs).toBe(0);
  }
  const beyond = good.facts.anchors.map((anchor) => ({ ...anchor, included: good.facts.pairs + 1 }));
  expect(beyond.length).toBeGreaterThan(0);
  expect(() => other.restore({ ...good, facts: { ...good.facts, anchors: beyond } })).toThrow(MalformedFileError);
  expect(other.pairs).toBe(0);
  other.restore(good);
  expect(other.snapshot()).toEqual(good);
});

test('out of heap between two tensors nothing of the pair is left, and the history goes on as a new one', async () => {
  using small = await openCore({ heapLimitBytes: 2 ** 24 });
  const spec = specOf({ narrow: [[20, 'a'], [30, null]], wide: [[20, 'a'], [20_000, null]] });
  const whole: NamedTensors = new Map([...spec.tensors].map(([name, { shape }]) => {
    const data = Float32Array.from({ length: elementCount(shape) }, (_, i) => ((i * i) % 17) - 8);
    return [name, { shape, data }];
  }));
  const narrow: NamedTensors = new Map([...whole].filter(([name]) => name === 'narrow'));
  const create = (): GradientHistory => new GradientHistory(small, spec, { budgetBytes: 2 ** 26 });
  const [history, fresh] = [create(), create()];
  // What is left has room for a gradient of the first tensor, and not for the 1.6 MB of the second.
  for (let bytes = 2 ** 23; bytes >= 2 ** 19; bytes /= 2) {
    try {
      small.allocate(bytes, 'a test');
    } catch (error) {
      expect(error).toBeInstanceOf(OutOfMemoryError);
    }
  }
  expect(() => history.add(whole, whole)).toThrow(OutOfMemoryError);
  expect([history.pairs, history.squaredNorms, history.staticSimilarity(0)]).toEqual([0, 0, null]);
  for (const one of [history, fresh]) one.add(narrow, narrow);
  expect(history.staticSimilarity(0)).toEqual(fresh.staticSimilarity(0));
});

test('products that are gathered and not yet multiplied are kept as they are', () => {
  const [history, other] = [1, 2].map(() => new GradientHistory(core, chain, { budgetBytes: 2 ** 26 })) as [
    GradientHistory,
    GradientHistory,
  ];
  for (const { target, source } of pairs.slice(0, 3)) history.add(target, source);
  // Of a history that was cleared nothing is left in what it gathers into.
  history.staticSimilarity(0);
  history.clear();
  for (const { target, source } of pairs.slice(0, 3)) history.add(target, source);
  const snapshot = copied(history.snapshot());
  expect(snapshot.arrays.get('static/0/left')?.length).toBeGreaterThan(0);
  other.restore(snapshot);
  for (const one of [history, other]) for (const { target, source } of pairs.slice(3)) one.add(target, source);
  expect(other.staticSimilarity(0)).toEqual(history.staticSimilarity(0));
  expect(other.snapshot()).toEqual(history.snapshot());
});
