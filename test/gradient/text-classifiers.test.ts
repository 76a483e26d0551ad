/** The presets `distilbert` and `bert` against PyTorch, by published names: vectors/text-classifiers.py made what is expected here. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { openGradientEngine } from '../../src/gradient/engine.ts';
import { openCore } from '../../src/core/core.ts';
import { parameterLayout } from '../../src/model/graph.ts';
import { preset, type PresetOptions } from '../../src/model/presets.ts';

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

test.each(['distilbert', 'bert'] as const)('%s: scores, loss and every gradient of padded sequences are those of PyTorch', async (name) => {
  const vectors = JSON.parse(readFileSync(new URL(`vectors/${name}.json`, import.meta.url), 'utf8')) as Vectors;
  using core = await openCore();
  using engine = openGradientEngine(core);
  const graph = preset(name, vectors.preset);
  const { parameters } = parameterLayout(graph);
  expect(parameters.map((info) => info.name)).toEqual(Object.keys(vectors.parameters));
  const state = {
    parameters: new Map(
      parameters.map(({ name: own, shape }) => [own, { shape, data: Float32Array.from(vectors.parameters[own] ?? []) }]),
    ),
    buffers: new Map(),
  };
  const batch = { inputs: Int32Array.from(vectors.tokens), labels: Int32Array.from(vectors.labels), count: vectors.labels.length };
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
    if (own.endsWith('token_type_embeddings.weight')) expect(Array.from(data.slice(-6))).toEqual([0, 0, 0, 0, 0, 0]);
  }
});
