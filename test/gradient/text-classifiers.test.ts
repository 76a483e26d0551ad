/**
 * The presets `distilbert` and `bert` against PyTorch, by published names: vectors/text-classifiers.py made what is expected here. Of
 * BERT also pairs of texts, and that single ones keep their bytes where the types are told.
 */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { openGradientEngine } from '../../src/gradient/engine.ts';
import { openCore } from '../../src/core/core.ts';
import type { Batch } from '../../src/data/batch.ts';
import { parameterLayout, type ModelGraph } from '../../src/model/graph.ts';
import { preset, type PresetOptions } from '../../src/model/presets.ts';
import type { NetworkState } from '../../src/tensor/tensor.ts';

interface Vectors {
  readonly preset: PresetOptions;
  readonly tokens: readonly number[];
  readonly labels: readonly number[];
  readonly parameters: Readonly<Record<string, readonly number[]>>;
  readonly scores: readonly number[];
  readonly loss: number;
  readonly gradients: Readonly<Record<string, readonly number[]>>;
}

/** Largest difference, relative to the largest number expected. */
function difference(got: ArrayLike<number>, expected: readonly number[]): number {
  expect(got).toHaveLength(expected.length);
  const scale = Math.max(...expected.map(Math.abs));
  return Math.max(...expected.map((value, i) => Math.abs(value - (got[i] as number)))) / scale;
}

const vectorsOf = (name: string): Vectors =>
  JSON.parse(readFileSync(new URL(`vectors/${name}.json`, import.meta.url), 'utf8')) as Vectors;

function stateOf(graph: ModelGraph, { parameters }: Vectors): NetworkState {
  const infos = parameterLayout(graph).parameters;
  return {
    parameters: new Map(infos.map(({ name, shape }) => [name, { shape, data: Float32Array.from(parameters[name] ?? []) }])),
    buffers: new Map(),
  };
}

const batchOf = ({ tokens, labels }: Vectors): Batch =>
  ({ inputs: Int32Array.from(tokens), labels: Int32Array.from(labels), count: labels.length });

test.each([
  ['distilbert', 'distilbert'], ['bert', 'bert'], ['bert-pairs', 'bert'],
] as const)('%s: scores, loss and every gradient of padded sequences are those of PyTorch', async (file, name) => {
  const vectors = vectorsOf(file);
  using core = await openCore();
  using engine = openGradientEngine(core);
  const graph = preset(name, vectors.preset);
  expect(parameterLayout(graph).parameters.map((info) => info.name)).toEqual(Object.keys(vectors.parameters));
  const [state, batch] = [stateOf(graph, vectors), batchOf(vectors)];
  const network = engine.compile(graph);
  expect(difference(network.logits(state, batch), vectors.scores)).toBeLessThan(1e-5);
  const { losses, gradients } = network.gradient(state, [batch]);
  expect(Math.abs((losses[0] as number) - vectors.loss)).toBeLessThan(1e-5);
  const largest = Math.max(...Object.values(vectors.gradients).flat().map(Math.abs));
  for (const [own, expected] of Object.entries(vectors.gradients)) {
    const data = gradients.get(own)?.data ?? [];
    // A bias that is the same for all keys changes no weight: its gradient is 0, and rounding has no scale there.
    if (/(k_lin|key)\.bias$/.test(own)) expect(Math.max(...Array.from(data, Math.abs)), own).toBeLessThan(1e-6 * largest);
    else expect(difference(data, expected), own).toBeLessThan(1e-5);
    // Of the type that no token has.
    if (file === 'bert' && own.endsWith('token_type_embeddings.weight')) expect(Array.from(data.slice(-6))).toEqual([0, 0, 0, 0, 0, 0]);
  }
});

test('the pairs have both types: without a separator nothing is right', async () => {
  const vectors = vectorsOf('bert-pairs');
  using core = await openCore();
  using engine = openGradientEngine(core);
  const { separator: _, ...options } = vectors.preset;
  const graph = preset('bert', options);
  const scores = engine.compile(graph).logits(stateOf(graph, vectors), batchOf(vectors));
  const wrong = Array.from({ length: 5 }, (__, i) => difference(scores.slice(3 * i, 3 * i + 3), vectors.scores.slice(3 * i, 3 * i + 3)));
  // All but the single one.
  expect(wrong.map((error) => error > 0.01)).toEqual([true, true, true, false, true]);
});

test.each([1, 2, 4])('single texts have the bytes that they have without a separator, by micro-batches of %i', async (microBatch) => {
  const vectors = vectorsOf('bert');
  using core = await openCore();
  using engine = openGradientEngine(core);
  const [plain, told] = [{}, { separator: 2 }].map((more) => {
    const graph = preset('bert', { ...vectors.preset, ...more });
    expect(JSON.stringify(graph).includes('separator')).toBe('separator' in more);
    const network = engine.compile(graph, { microBatch });
    const [state, batch] = [stateOf(graph, vectors), batchOf(vectors)];
    const { losses, gradients } = network.gradient(state, [batch]);
    return { scores: network.logits(state, batch), losses, gradients };
  });
  // Text by text the last token is the separator, and padding may stand behind it.
  expect(told).toEqual(plain);
  expect(Object.is(told?.gradients.get('bert.embeddings.token_type_embeddings.weight')?.data.at(-1), 0)).toBe(true);
});
