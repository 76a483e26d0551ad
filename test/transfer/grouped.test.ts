/**
 * Transfers of networks whose channels move in groups: what is hidden comes back. A target that is the source's start with
 * its units permuted must become the source's end with its units permuted likewise.
 */
import { afterAll, expect, test } from 'vitest';
import { makeBatch } from '../../src/data/data-set.ts';
import { randomPermutations, permuteTensors } from '../../src/matching/permutation.ts';
import { sequential, type Layer } from '../../src/model/builder.ts';
import type { ModelGraph } from '../../src/model/graph.ts';
import { derivePermutationSpec } from '../../src/model/permutation-spec.ts';
import type { NetworkState } from '../../src/tensor/tensor.ts';
import { openCompute } from '../../src/transfer/compute.ts';
import { train } from '../../src/transfer/train.ts';
import { transfer } from '../../src/transfer/transfer.ts';
import { quadrants } from './networks.ts';

const compute = await openCompute();
afterAll(() => compute[Symbol.dispose]());

const data = quadrants(240, 3);

const classifier = (...layers: readonly Layer[]): ModelGraph =>
  sequential([1, 8, 8], [{ op: 'conv2d', name: 'a', out: 8, kernel: 3, stride: 2 }, ...layers, { op: 'flatten' }, { op: 'dense', name: 'fc', out: 4 }]);

const networks: Readonly<Record<string, ModelGraph>> = {
  'batch norm before group norm': classifier({ op: 'batch_norm', name: 'n' }, { op: 'leaky_relu' }, { op: 'group_norm', name: 'g', groups: 2 }),
};

test.each(Object.keys(networks).flatMap((name) => (['fgmt', 'gmt'] as const).map((method) => [name, method] as const)))('%s: %s', async (name, method) => {
  const graph = networks[name] as ModelGraph;
  const spec = derivePermutationSpec(graph);
  const hidden = randomPermutations(spec, 77);
  const permuted = (state: NetworkState): NetworkState => ({
    parameters: permuteTensors(spec, state.parameters, hidden),
    buffers: permuteTensors(spec, state.buffers, hidden),
  });
  const source = await train({ graph, data, seed: 1, epochs: 3, batchSize: 32, learningRate: 0.05, compute });
  const [start, end] = [permuted(source.checkpoints[0]?.state as NetworkState), permuted(source.state)];
  const { state, permutations } = await transfer({ source: source.trajectory, target: start, data, method, seed: 5, steps: 3, batchSize: 96, stopRule: 'last', compute });
  expect(permutations).toEqual(hidden);
  using network = compute.engine.compile(graph);
  const batch = makeBatch(data, Int32Array.from({ length: data.count }, (_, row) => row));
  const [wanted, before, got] = [end, start, state].map(({ parameters }) => network.logits({ parameters, buffers: end.buffers }, batch)) as [Float32Array, Float32Array, Float32Array];
  const farthest = (logits: Float32Array): number => wanted.reduce((largest, value, i) => Math.max(largest, Math.abs(value - (logits[i] as number))), 0);
  expect(farthest(before)).toBeGreaterThan(0.1);
  expect(farthest(got)).toBeLessThanOrEqual(1e-4);
});
