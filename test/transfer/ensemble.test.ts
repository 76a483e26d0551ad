/** An ensemble's loss and accuracy against softmax means of `predict`'s scores in f64, with JavaScript's own functions. */
import { afterAll, describe, expect, test } from 'vitest';
import { limits } from '../../src/core/limits.ts';
import { tokenSet } from '../../src/data/token-set.ts';
import { makeBatch, type DataSet } from '../../src/data/data-set.ts';
import type { ModelGraph } from '../../src/model/graph.ts';
import { initialise } from '../../src/model/initialise.ts';
import { preset } from '../../src/model/presets.ts';
import type { NetworkState } from '../../src/tensor/tensor.ts';
import { openCompute } from '../../src/transfer/compute.ts';
import { evaluateEnsemble } from '../../src/transfer/ensemble.ts';
import { evaluate } from '../../src/transfer/evaluate.ts';
import { predict } from '../../src/transfer/predict.ts';
import { networks, quadrants } from './networks.ts';

const compute = await openCompute();
afterAll(() => compute[Symbol.dispose]());

const language = preset('gpt2', { input: [6], classes: 11, width: 8, depth: 1, heads: 2 });
const counting = tokenSet({ name: 'counting', tokens: Uint8Array.from({ length: 61 }, (_, i) => (i * i) % 11), length: 6, vocabulary: 11 });
const cases: readonly (readonly [string, ModelGraph, DataSet])[] = [
  ['images', networks.mlp, quadrants(50, 3)],
  ['tokens, several labels an input', language, counting],
];

/** Rows of probabilities of one member. */
async function probabilities(graph: ModelGraph, state: NetworkState, data: DataSet): Promise<number[][]> {
  const { data: scores, shape } = await predict({ graph, state, data, compute });
  const classes = shape.at(-1) as number;
  return Array.from({ length: scores.length / classes }, (_, row) => {
    const powers = [...scores.subarray(row * classes, (row + 1) * classes)].map((score) => Math.exp(score));
    const sum = powers.reduce((a, b) => a + b);
    return powers.map((power) => power / sum);
  });
}

const best = (row: readonly number[]): number => row.indexOf(Math.max(...row));

describe.each(cases)('%s', (_, graph, data) => {
  test.each([1, 3])('%i members, in pieces of which the last is smaller', async (count) => {
    // Wide weights, so that members answer apart.
    const states = Array.from({ length: count }, (__, i): NetworkState => {
      const { parameters, buffers } = initialise(compute.core, graph, { seed: i + 1 });
      const scaled = [...parameters].map(([name, { shape, data: values }]) => [name, { shape, data: values.map((x) => 3 * x) }] as const);
      return { parameters: new Map(scaled), buffers };
    });
    const seen: (readonly [number, number])[] = [];
    const result = await evaluateEnsemble({
      graph, states, data, batchSize: 4, compute, onProgress: ({ done, total }) => seen.push([done, total]),
    });
    const members = await Promise.all(states.map((state) => probabilities(graph, state, data)));
    const mean = (members[0] as number[][]).map((row, i) => row.map((___, c) =>
      members.reduce((sum, rows) => sum + ((rows[i] as number[])[c] as number), 0) / count));
    const { labels } = makeBatch(data, Array.from({ length: data.count }, (___, i) => i));
    const correct = labels.reduce((sum, label, i) => sum + (best(mean[i] as number[]) === label ? 1 : 0), 0);
    const loss = labels.reduce((sum, label, i) => sum - Math.log((mean[i] as number[])[label] as number), 0) / labels.length;
    expect([result.correct, result.count, result.accuracy]).toEqual([correct, labels.length, correct / labels.length]);
    expect(result.loss).toBeCloseTo(loss, 5);
    let differ = 0, pairs = 0;
    for (let a = 0; a < count; a++) for (let b = a + 1; b < count; b++) {
      pairs++;
      for (const i of labels.keys()) if (best(members[a]?.[i] as number[]) !== best(members[b]?.[i] as number[])) differ++;
    }
    expect(result.disagreement).toBeCloseTo(pairs === 0 ? 0 : differ / pairs / labels.length, 12);
    if (count > 1) expect(differ).toBeGreaterThan(0);
    expect(result.members).toEqual(await Promise.all(states.map((state) => evaluate({ graph, state, data, batchSize: 4, compute }))));
    expect(result.loss).toBeLessThanOrEqual(result.members.reduce((sum, member) => sum + member.loss, 0) / count + 1e-6);
    expect(seen.at(-1)).toEqual([data.count, data.count]);
    expect(seen.every(([done, total]) => done <= total)).toBe(true);
  });
});

test('evaluations count inputs, not labels, as done', async () => {
  const seen: number[] = [];
  const state = initialise(compute.core, language, { seed: 1 });
  await evaluate({ graph: language, state, data: counting, batchSize: 4, compute, onProgress: ({ done }) => seen.push(done) });
  expect(seen).toEqual([4, 8, 10]);
});

test('of a large vocabulary fewer inputs are passed at once', async () => {
  const large = preset('gpt2', { input: [16], classes: 65_536, width: 1, depth: 1, heads: 1 });
  // 8 MiB of probabilities a window.
  const most = limits.meanProbabilityBytes / (8 * 16 * 65_536);
  const windows = tokenSet({ name: 'few', tokens: new Uint16Array(16 * (most + 1) + 1), length: 16 });
  const seen: number[] = [];
  const state = initialise(compute.core, large, { seed: 1 });
  await evaluateEnsemble({ graph: large, states: [state], data: windows, compute, onProgress: ({ done }) => seen.push(done) });
  expect(seen).toEqual([most, most + 1]);
});

test('refuses no members, weights of another network by their place, and options it does not have', async () => {
  const graph = networks.mlp, data = quadrants(4, 1);
  const state = initialise(compute.core, graph, { seed: 1 });
  await expect(evaluateEnsemble({ graph, states: [], data, compute })).rejects.toThrow(
    'states: expected the weights of at least one network',
  );
  const other = initialise(compute.core, language, { seed: 1 });
  await expect(evaluateEnsemble({ graph, states: [state, other], data, compute })).rejects.toThrow(/^states\[1\]/);
  await expect(evaluateEnsemble({ graph, states: [state], data, workers: 2, compute } as never)).rejects.toThrow(
    'workers: expected an option of evaluateEnsemble',
  );
});
