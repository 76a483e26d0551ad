/** The classes that evaluations predict. */
import { expect, it } from 'vitest';
import { Predictions } from '../../src/gradient/predictions.ts';

it('the first of the largest scores of each row, over pieces that come as scores and as classes', () => {
  // Two labels an input, three classes, three inputs.
  const predictions = new Predictions({ labelsPerInput: 2, classes: 3 }, 3);
  predictions.take(Float32Array.of(1, 3, 3, -1, -2, -1));
  predictions.add(Int32Array.of(2, 1));
  predictions.take(Float32Array.of(0, 0, 0, -5, -4, -3));
  expect([...predictions.classes]).toEqual([1, 0, 2, 1, 0, 2]);
});
