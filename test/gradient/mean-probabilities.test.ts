/** Means of probabilities of scores that a network may give, but trained ones seldom do: hundreds apart, infinite, no numbers. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openCore, type Core } from '../../src/core/core.ts';
import { MeanProbabilities } from '../../src/gradient/mean-probabilities.ts';

let core: Core;
beforeAll(async () => {
  core = await openCore();
});
afterAll(() => core[Symbol.dispose]());

/** The label is the first of two classes. */
function scoreOf(...members: readonly (readonly [number, number])[]): { readonly lossSum: number; readonly correct: number } {
  const mean = new MeanProbabilities(core, Int32Array.of(0), 2);
  for (const scores of members) mean.member()(Float32Array.from(scores));
  return mean.score();
}

test.each<[string, readonly (readonly [number, number])[], number]>([
  ['one member whose probability has no room in f64', [[0, 1000]], 1000],
  ['one whose probability is subnormal', [[0, 720]], 720],
  ['two alike', [[0, 1000], [5, 1005]], 1000],
  // log 2 − log(e^−1000 + e^−1001)
  ['two apart', [[0, 1001], [0, 1000]], 1000 + Math.log(2) - Math.log1p(Math.exp(-1))],
  ['one that is certain of the label, and one of the other class', [[1000, 0], [0, 1000]], Math.log(2)],
  ['one that rules the label out beside one that does not', [[-Infinity, 0], [0, 1000]], 1000 + Math.log(2)],
  ['members that all rule it out', [[-Infinity, 0], [-Infinity, 3]], Infinity],
  ['a score that is no number', [[Number.NaN, 0], [0, 0]], Number.NaN],
  ['an infinite score', [[0, Infinity], [0, 0]], Number.NaN],
])('the loss of %s', (_, members, loss) => {
  const { lossSum } = scoreOf(...members);
  if (Number.isFinite(loss)) expect(lossSum).toBeCloseTo(loss, 9);
  else expect(lossSum).toBe(loss);
});

test('the largest mean counts, the first among equals', () => {
  expect(scoreOf([0, 1], [3, 0]).correct).toBe(1);
  expect(scoreOf([0, 3], [1, 0]).correct).toBe(0);
  expect(scoreOf([0, 1], [1, 0]).correct).toBe(1);
});
