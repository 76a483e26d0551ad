/** Scores of a network against f64 forward passes, and against what `evaluate` counts. */
import { afterAll, describe, expect, test } from 'vitest';
import { tokenSet } from '../../src/data/token-set.ts';
import { makeBatch } from '../../src/data/data-set.ts';
import { initialise } from '../../src/model/initialise.ts';
import { preset } from '../../src/model/presets.ts';
import { openCompute } from '../../src/transfer/compute.ts';
import { evaluate } from '../../src/transfer/evaluate.ts';
import { predict } from '../../src/transfer/predict.ts';
import { forward64 } from '../model/forward.ts';
import { networks, quadrants } from './networks.ts';

const compute = await openCompute();
afterAll(() => compute[Symbol.dispose]());
const data = quadrants(50, 3);

describe.each(Object.entries(networks))('%s', (_, graph) => {
  test('is that of an f64 forward pass, whatever the batches', async () => {
    const state = initialise(compute.core, graph, { seed: 1 });
    const { shape, data: scores } = await predict({ graph, state, data, batchSize: 16, compute });
    expect(shape).toEqual([50, data.classes]);
    const tensors = new Map([...state.parameters, ...state.buffers].map(([name, tensor]) => [name, Float64Array.from(tensor.data)]));
    const expected = forward64(graph, tensors, Float64Array.from(makeBatch(data, [...data.labels.keys()]).inputs), 50, false);
    const scale = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    expect(scores.reduce((most, value, i) => Math.max(most, Math.abs(value - (expected[i] as number))), 0)).toBeLessThan(1e-5 * scale);
    const whole = await predict({ graph, state, data, compute });
    expect(whole.data.reduce((most, value, i) => Math.max(most, Math.abs(value - (scores[i] as number))), 0)).toBeLessThan(1e-5 * scale);
  });
});

test('of a language model it has every token, whose largest scores and likelihoods are those that evaluate counts', async () => {
  const graph = preset('gpt2', { input: [6], classes: 11, width: 8, depth: 1, heads: 2 });
  const state = initialise(compute.core, graph, { seed: 1 });
  const tokens = tokenSet({ name: 'counting', tokens: Uint8Array.from({ length: 61 }, (_, i) => (i * i) % 11), length: 6, vocabulary: 11 });
  const { shape, data: scores } = await predict({ graph, state, data: tokens, compute });
  expect(shape).toEqual([tokens.count, 6, 11]);
  const labels = makeBatch(tokens, Array.from({ length: tokens.count }, (_, i) => i)).labels;
  const largest = (row: number): number => {
    const own = [...scores.subarray(row * 11, row * 11 + 11)];
    return own.indexOf(Math.max(...own));
  };
  const right = labels.reduce((sum, label, row) => sum + (largest(row) === label ? 1 : 0), 0);
  const negativeLog = (row: number): number => {
    const own = [...scores.subarray(row * 11, row * 11 + 11)];
    return Math.log(own.reduce((sum, score) => sum + Math.exp(score), 0)) - (own[labels[row] as number] as number);
  };
  const loss = labels.reduce((sum, _, row) => sum + negativeLog(row), 0) / labels.length;
  // Whole, and in pieces of which the last is smaller.
  for (const batchSize of [64, 4]) {
    const evaluation = await evaluate({ graph, state, data: tokens, batchSize, compute });
    expect([evaluation.correct, evaluation.count]).toEqual([right, labels.length]);
    expect(evaluation.loss).toBeCloseTo(loss, 5);
  }
});

test('refuses what evaluate refuses, and stops when asked to', async () => {
  const graph = networks.mlp;
  const state = initialise(compute.core, graph, { seed: 1 });
  await expect(predict({ graph, state, data, los: 1, compute } as never)).rejects.toThrow('los: expected an option of predict');
  await expect(predict({ graph, state, data: quadrants(4, 1), compute, signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow(
    'enough',
  );
});
