/** Which step each stop rule keeps. */
import { expect, test } from 'vitest';
import { chooseStep, requireScores } from '../../src/transfer/stop-rule.ts';

const step = (number: number, accuracy: number, loss: number, agreement?: number) => ({
  step: number,
  heldOut: { accuracy, loss },
  agreement,
});

const scores = [step(0, 0.1, 2.3, 0.2), step(1, 0.8, 0.7, 0.3), step(2, 0.8, 0.7, 0.9), step(3, 0.5, 0.4, 0.9)];

test('held-out takes the most accurate step, the earliest among equals', () => {
  expect(chooseStep('held-out', scores, 'accuracy')).toBe(1);
});

test('held-out tells equal accuracies apart by the loss', () => {
  // What a fine-tuned language model gave: every step right as often as the target, each with a lower loss.
  const tied = [step(0, 0.1627, 3.3354), step(1, 0.1627, 3.2772), step(2, 0.1627, 3.2786), step(3, 0.1627, 3.2934)];
  expect(chooseStep('held-out', tied, 'accuracy')).toBe(1);
  expect(chooseStep('held-out', [...scores, step(4, 0.8, 0.6)], 'accuracy')).toBe(4);
  expect(chooseStep('held-out', [...scores, step(4, 0.8, 0.8)], 'accuracy')).toBe(1);
});

test('held-out takes the lowest loss where tokens are predicted, whatever the accuracies', () => {
  expect(chooseStep('held-out', scores, 'loss')).toBe(3);
  expect(chooseStep('held-out', [step(0, 0.3, 2), step(1, 0.2, 1.9), step(2, 0.4, 1.9)], 'loss')).toBe(1);
});

test('label-free takes the step that agrees most with the source, whatever the labels say', () => {
  expect(chooseStep('label-free', scores, 'accuracy')).toBe(2);
});

test('last takes the last', () => {
  expect(chooseStep('last', scores, 'accuracy')).toBe(3);
});

test('a target that no step improves is kept as it was', () => {
  expect(chooseStep('held-out', [step(0, 0.6, 1), step(1, 0.6, 1)], 'accuracy')).toBe(0);
  expect(chooseStep('held-out', [step(0, 0.6, 1), step(1, 0.6, 1.1)], 'accuracy')).toBe(0);
});

test('steps without held-out scores keep the target', () => {
  expect(chooseStep('held-out', [{ step: 0 }, { step: 1 }], 'accuracy')).toBe(0);
});

test('a rule without held-out images is refused', () => {
  expect(() => requireScores('held-out', 0)).toThrowError(expect.objectContaining({ field: 'stopRule' }));
  expect(() => requireScores('last', 0)).not.toThrow();
});

test('a step whose loss is not finite is worse than any other, whatever its accuracy or agreement', () => {
  // Logits of NaN are class 0 throughout: right as often as that occurs, and agreeing with a source that says it often.
  for (const loss of [Number.NaN, Infinity]) {
    for (const measure of ['accuracy', 'loss'] as const) {
      expect(chooseStep('held-out', [step(0, 0.6, 1), step(1, 0.8, loss), step(2, 0.7, 0.9)], measure)).toBe(2);
      expect(chooseStep('held-out', [step(0, 0.9, loss), step(1, 0.1, 3)], measure)).toBe(1);
      expect(chooseStep('held-out', [step(0, 0.6, loss), step(1, 0.8, loss)], measure)).toBe(0);
    }
    expect(chooseStep('label-free', [step(0, 0, 1, 0.6), step(1, 0, loss, 0.8), step(2, 0, 1, 0.7)], 'accuracy')).toBe(2);
    expect(chooseStep('label-free', [step(0, 0, loss, 0.9), step(1, 0, 1, 0.1)], 'accuracy')).toBe(1);
  }
});
