/** Steps along a trajectory: cosine as the official code recorded it, uniform, real. */
import { expect, test } from 'vitest';
import { openCore } from '../../src/core/core.ts';
import { checkpointSteps, scheduleFractions } from '../../src/transfer/schedule.ts';

const core = await openCore();

test('cosine fractions are those the official code recorded for T = 6, to 1e-15', () => {
  const recorded = [
    0, 0.2857142857142857, 0.5522893433977769, 0.7665750576834912, 0.9094322005406341, 0.9808607719692055, 1,
  ];
  const fractions = scheduleFractions(core, 6, 'cosine');
  expect(fractions).toHaveLength(7);
  for (const [step, fraction] of fractions.entries()) {
    expect(Math.abs(fraction - (recorded[step] as number))).toBeLessThanOrEqual(1e-15);
  }
});

test('uniform fractions are s/T, and every schedule ends exactly at 1', () => {
  expect(scheduleFractions(core, 4, 'uniform')).toEqual([0, 0.25, 0.5, 0.75, 1]);
  for (const steps of [1, 2, 3, 7, 10, 30, 101]) {
    for (const kind of ['cosine', 'uniform'] as const) {
      const fractions = scheduleFractions(core, steps, kind);
      expect(fractions.at(-1)).toBe(1);
      for (let s = 1; s <= steps; s++) expect(fractions[s]).toBeGreaterThan(fractions[s - 1] as number);
    }
  }
});

test('a real trajectory is visited evenly, from its first checkpoint to its last', () => {
  expect(checkpointSteps(6, 5)).toEqual([0, 1, 2, 3, 4, 5]);
  expect(checkpointSteps(26, 5)).toEqual([0, 5, 10, 15, 20, 25]);
  expect(checkpointSteps(4, 2)).toEqual([0, 2, 3]);
});

test.each([
  ['zero steps', () => scheduleFractions(core, 0, 'cosine'), 'steps'],
  ['half a step', () => scheduleFractions(core, 1.5, 'uniform'), 'steps'],
  ['more steps than checkpoints', () => checkpointSteps(4, 4), 'steps'],
])('%s: a typed error', (_, call, field) => {
  expect(call).toThrowError(expect.objectContaining({ code: 'invalid-argument', field }));
});
