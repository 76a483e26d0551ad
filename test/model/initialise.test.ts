/** Initial weights: bounds and moments of each scheme, and their bytes. */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCore, type Core } from '../../src/core/core.ts';
import { sequential } from '../../src/model/builder.ts';
import { parameterLayout } from '../../src/model/graph.ts';
import { initialise, type InitialiseOptions } from '../../src/model/initialise.ts';
import { preset } from '../../src/model/presets.ts';
import { requireFinite, sameShape, type NamedTensors } from '../../src/tensor/tensor.ts';

let core: Core;
beforeAll(async () => {
  core = await openCore();
});
afterAll(() => core[Symbol.dispose]());

const graph = sequential([16, 8, 8], [
  { op: 'conv2d', name: 'conv', out: 64, kernel: 3, groups: 2 },
  { op: 'batch_norm', name: 'norm' },
  { op: 'flatten' },
  { op: 'dense', name: 'fc', out: 50 },
]);

/** Mean, standard deviation and largest magnitude. */
function statistics(tensors: NamedTensors, name: string): { mean: number; deviation: number; largest: number } {
  const { data } = tensors.get(name)!;
  const mean = data.reduce((sum, x) => sum + x, 0) / data.length;
  const variance = data.reduce((sum, x) => sum + (x - mean) ** 2, 0) / data.length;
  return { mean, deviation: Math.sqrt(variance), largest: data.reduce((most, x) => Math.max(most, Math.abs(x)), 0) };
}

describe('initialise', () => {
  // Fan-in: 8 · 9 = 72 of the grouped convolution, 64 · 36 = 2304 of the dense layer; fan-out of the convolution 64 · 9.
  test.each<[Omit<InitialiseOptions, 'seed'>, number, number]>([
    [{}, 1 / Math.sqrt(72) / Math.sqrt(3), 1 / Math.sqrt(2304) / Math.sqrt(3)],
    [{ scheme: 'kaiming_uniform' }, Math.sqrt(2 / 72), Math.sqrt(2 / 2304)],
    [{ scheme: 'kaiming_normal' }, Math.sqrt(2 / 72), Math.sqrt(2 / 2304)],
    [{ scheme: 'kaiming_normal', mode: 'fan_out' }, Math.sqrt(2 / 576), Math.sqrt(2 / 50)],
  ])('%j has PyTorch\'s standard deviations', (options, convolution, dense) => {
    const { parameters } = initialise(core, graph, { seed: 1, ...options });
    for (const [name, expected] of [['conv.weight', convolution], ['fc.weight', dense]] as const) {
      const { mean, deviation } = statistics(parameters, name);
      expect(deviation / expected).toBeGreaterThan(0.98);
      expect(deviation / expected).toBeLessThan(1.02);
      expect(Math.abs(mean)).toBeLessThan(0.06 * expected);
    }
  });

  test('uniform schemes keep to their bounds and use them up', () => {
    const { parameters } = initialise(core, graph, { seed: 2 });
    for (const [name, fanIn] of [['conv.weight', 72], ['conv.bias', 72], ['fc.weight', 2304], ['fc.bias', 2304]] as const) {
      const { largest } = statistics(parameters, name);
      expect(largest).toBeLessThanOrEqual(Math.fround(1 / Math.sqrt(fanIn)));
      expect(largest).toBeGreaterThan(0.9 / Math.sqrt(fanIn));
    }
  });

  test('Kaiming schemes have no biases; norms start as the identity', () => {
    const { parameters, buffers } = initialise(core, graph, { seed: 3, scheme: 'kaiming_uniform' });
    expect(statistics(parameters, 'conv.bias').largest).toBe(0);
    expect(new Set(parameters.get('norm.weight')!.data)).toEqual(new Set([1]));
    expect(new Set(parameters.get('norm.bias')!.data)).toEqual(new Set([0]));
    expect(new Set(buffers.get('norm.running_mean')!.data)).toEqual(new Set([0]));
    expect(new Set(buffers.get('norm.running_var')!.data)).toEqual(new Set([1]));
  });

  test('the state has exactly the layout, finite', () => {
    const network = preset('resnet-small', { input: [3, 16, 16], classes: 10 });
    const state = initialise(core, network, { seed: 4 });
    const { parameters, buffers } = parameterLayout(network);
    expect([...state.parameters.keys()]).toEqual(parameters.map(({ name }) => name));
    expect([...state.buffers.keys()]).toEqual(buffers.map(({ name }) => name));
    for (const { name, shape } of parameters) expect(sameShape(state.parameters.get(name)!.shape, shape)).toBe(true);
    requireFinite('state', state.parameters);
  });

  test('another seed shares no weight; equal layers draw different numbers', () => {
    const network = sequential([8], [{ op: 'dense', name: 'a', out: 8 }, { op: 'dense', name: 'b', out: 8 }]);
    const one = initialise(core, network, { seed: 1 }).parameters;
    const two = initialise(core, network, { seed: 2 }).parameters;
    expect(one.get('a.weight')!.data.filter((x, i) => x === two.get('a.weight')!.data[i])).toHaveLength(0);
    expect(one.get('a.weight')!.data.filter((x, i) => x === one.get('b.weight')!.data[i])).toHaveLength(0);
  });

  // Deliberate changes only: every saved record that names a seed depends on these bytes.
  test.each<[NonNullable<InitialiseOptions['scheme']>, string]>([
    ['pytorch', 'd23a22ec8f73fc4287f3a61795de153c9f0c1199bf11c0d71f8be214b3623fc2'],
    ['kaiming_normal', 'f53c3c89e0f108feb70d29bbb721e1ded5236ebf6ebf4fdc64b60c11193fb2a0'],
  ])('%s: SHA-256 of the bytes of seed 7', (scheme, expected) => {
    const hash = createHash('sha256');
    for (const { data } of initialise(core, graph, { seed: 7, scheme }).parameters.values()) hash.update(new Uint8Array(data.buffer));
    expect(hash.digest('hex')).toBe(expected);
  });

  test('an unknown scheme is refused', () => {
    expect(() => initialise(core, graph, { seed: 1, scheme: 'xavier' as 'pytorch' })).toThrow(/scheme: expected one of pytorch/);
  });
});
