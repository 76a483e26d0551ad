/** Which step each stop rule keeps. */
import { expect, test } from 'vitest';
import { chooseStep, requireScores } from '../../src/transfer/stop-rule.ts';

const scores = [
  { step: 0, accuracy: 0.1, agreement: 0.2 },
  { step: 1, accuracy: 0.8, agreement: 0.3 },
  { step: 2, accuracy: 0.8, agreement: 0.9 },
  { step: 3, accuracy: 0.5, agreement: 0.9 },
];

test('held-out takes the most accurate step, the earliest among equals', () => {
  expect(chooseStep('held-out', scores)).toBe(1);
});

test('label-free takes the step that agrees most with the source, whatever the labels say', () => {
  expect(chooseStep('label-free', scores)).toBe(2);
});

test('last takes the last', () => {
  expect(chooseStep('last', scores)).toBe(3);
});

test('a target that no step improves is kept as it was', () => {
  expect(chooseStep('held-out', [{ step: 0, accuracy: 0.6 }, { step: 1, accuracy: 0.6 }])).toBe(0);
});

test('a rule without held-out images is refused', () => {
  expect(() => requireScores('held-out', 0)).toThrowError(expect.objectContaining({ field: 'stopRule' }));
  expect(() => requireScores('last', 0)).not.toThrow();
});
