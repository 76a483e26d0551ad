/**
 * The losses by their definitions in f64, and gradients by central differences: with `test/model/forward.ts` the twin
 * of the gradient engine.
 */
import type { Loss } from '../../src/gradient/loss.ts';
import type { Arrays } from '../model/forward.ts';

const at = (data: Float64Array, index: number): number => data[index] as number;

/** Mean loss over the images, targets from their labels. */
export function loss64(logits: Float64Array, labels: Int32Array, loss: Loss): number {
  const classes = logits.length / labels.length;
  let total = 0;
  for (const [n, label] of labels.entries()) {
    const row = logits.subarray(n * classes, (n + 1) * classes);
    const targets = row.map((_, j) => (j === label ? 1 : 0));
    if (loss.kind === 'binary-cross-entropy') {
      // −log(sigmoid(z)) is log1p(exp(−z)), and 1 − sigmoid(z) is sigmoid(−z), of which nothing is left in the difference.
      const surprise = (z: number): number => Math.max(-z, 0) + Math.log1p(Math.exp(-Math.abs(z)));
      total += targets.reduce((sum, t, j) => sum + surprise(t === 1 ? at(row, j) : -at(row, j)), 0) / classes;
    } else if (loss.kind === 'mean-squared-error') {
      total += targets.reduce((sum, t, j) => sum + (at(row, j) - t) ** 2, 0) / classes;
    } else {
      const largest = Math.max(...row);
      const normaliser = largest + Math.log(row.reduce((sum, value) => sum + Math.exp(value - largest), 0));
      const smooth = (t: number): number => (1 - loss.labelSmoothing) * t + loss.labelSmoothing / classes;
      total -= targets.reduce((sum, t, j) => sum + smooth(t) * (at(row, j) - normaliser), 0);
    }
  }
  return total / labels.length;
}

/** ∂loss/∂parameter at some elements, by central differences in f64. */
export function differences(loss: (tensors: Arrays) => number, tensors: Arrays, name: string, elements: readonly number[]): Float64Array {
  const data = tensors.get(name) as Float64Array;
  return Float64Array.from(elements, (element) => {
    const value = at(data, element);
    // Truncation grows as h², rounding as 1e-16 / h: both are below 1e-9 here.
    const h = 2e-6 * Math.max(1, Math.abs(value));
    data[element] = value + h;
    const above = loss(tensors);
    data[element] = value - h;
    const below = loss(tensors);
    data[element] = value;
    return (above - below) / (2 * h);
  });
}
