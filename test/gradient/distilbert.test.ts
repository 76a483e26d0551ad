/** The preset `distilbert` against PyTorch, by its published names: vectors/distilbert.py made what is expected here. */
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

const vectors = JSON.parse(readFileSync(new URL('vectors/distilbert.json', import.meta.url), 'utf8')) as Vectors;

/** Largest difference, relative to the largest number expected. */
function difference(got: ArrayLike<number>, expected: readonly number[]): number {
  expect(got).toHaveLength(expected.length);
  const scale = Math.max(...expected.map(Math.abs));
  return Math.max(...expected.map((value, i) => Math.abs(value - (got[i] as number)))) / scale;
}

test('scores, loss and every gradient of padded sequences are those of PyTorch', async () => {
  using core = await openCore();
  using engine = openGradientEngine(core);
  const graph = preset('distilbert', vectors.preset);
  const { parameters } = parameterLayout(graph);
  expect(parameters.map(({ name }) => name)).toEqual(Object.keys(vectors.parameters));
  const state = {
    parameters: new Map(parameters.map(({ name, shape }) => [name, { shape, data: Float32Array.from(vectors.parameters[name] ?? []) }])),
    buffers: new Map(),
  };
  const batch = { inputs: Int32Array.from(vectors.tokens), labels: Int32Array.from(vectors.labels), count: vectors.labels.length };
  const network = engine.compile(graph);
  expect(difference(network.logits(state, batch), vectors.scores)).toBeLessThan(1e-5);
  const { losses, gradients } = network.gradient(state, [batch]);
  expect(Math.abs((losses[0] as number) - vectors.loss)).toBeLessThan(1e-5);
  const largest = Math.max(...Object.values(vectors.gradients).flat().map(Math.abs));
  for (const [name, expected] of Object.entries(vectors.gradients)) {
    const data = gradients.get(name)?.data ?? [];
    // A bias that is the same for all keys changes no weight: its gradient is 0, and rounding has no scale there.
    if (name.endsWith('k_lin.bias')) expect(Math.max(...Array.from(data, Math.abs)), name).toBeLessThan(1e-6 * largest);
    else expect(difference(data, expected), name).toBeLessThan(1e-5);
  }
});
