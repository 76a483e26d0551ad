/**
 * Transfers of networks whose channels move in groups: what is hidden comes back. A target that is the source's start with
 * its units permuted must become the source's end with its units permuted likewise.
 */
import { afterAll, expect, test } from 'vitest';
import { makeBatch } from '../../src/data/data-set.ts';
import { matchingLayout } from '../../src/matching/layout.ts';
import { identity, permuteTensors, randomPermutations } from '../../src/matching/permutation.ts';
import { sequential, type Layer, type Residual } from '../../src/model/builder.ts';
import type { ModelGraph } from '../../src/model/graph.ts';
import { initialise } from '../../src/model/initialise.ts';
import { derivePermutationSpec } from '../../src/model/permutation-spec.ts';
import type { NetworkState } from '../../src/tensor/tensor.ts';
import { openCompute } from '../../src/transfer/compute.ts';
import { plan } from '../../src/transfer/plan.ts';
import { train } from '../../src/transfer/train.ts';
import { trajectoryFromStates } from '../../src/transfer/trajectory.ts';
import { transfer } from '../../src/transfer/transfer.ts';
import { quadrants } from './networks.ts';

const compute = await openCompute();
afterAll(() => compute[Symbol.dispose]());

const data = quadrants(240, 3);

const classifier = (...layers: readonly (Layer | Residual)[]): ModelGraph =>
  sequential(
    [1, 8, 8],
    [
      { op: 'conv2d', name: 'a', out: 8, kernel: 3, stride: 2 },
      { op: 'leaky_relu' },
      ...layers,
      { op: 'flatten' },
      { op: 'dense', name: 'fc', out: 4 },
    ],
  );

/** A block as ResNeXt's: a convolution in groups between two 1 × 1, beside the stream. */
const bottleneck = (width: number, groups: number): ModelGraph =>
  classifier({
    op: 'residual',
    body: [
      { op: 'conv2d', name: 'b', out: width, kernel: 1 },
      { op: 'batch_norm', name: 'n' },
      { op: 'leaky_relu' },
      { op: 'conv2d', name: 'g', out: width, kernel: 3, padding: 1, groups },
      { op: 'leaky_relu' },
      { op: 'conv2d', name: 'c', out: 8, kernel: 1 },
    ],
  });

/** And the groups that are held. */
const networks: Readonly<Record<string, { readonly graph: ModelGraph; readonly held: readonly string[] }>> = {
  'batch norm before group norm': {
    graph: classifier({ op: 'batch_norm', name: 'n' }, { op: 'group_norm', name: 'g', groups: 2 }),
    held: [],
  },
  'two group norms': {
    graph: classifier(
      { op: 'group_norm', name: 'g', groups: 4 },
      { op: 'conv2d', name: 'b', out: 12, kernel: 2 },
      { op: 'leaky_relu' },
      { op: 'group_norm', name: 'h', groups: 3 },
    ),
    held: ['a[1]', 'b[0]'],
  },
  'many narrow groups': { graph: bottleneck(12, 4), held: ['g', 'b[1]'] },
  'few wide groups': { graph: bottleneck(10, 2), held: ['b[0]'] },
  'depthwise, two of each channel': {
    graph: classifier(
      { op: 'conv2d', name: 'g', out: 16, kernel: 3, groups: 8 },
      { op: 'leaky_relu' },
      { op: 'conv2d', name: 'c', out: 6, kernel: 1 },
      { op: 'leaky_relu' },
    ),
    held: ['g'],
  },
  'transposed convolution in groups': {
    graph: classifier(
      { op: 'conv_transpose2d', name: 'g', out: 6, kernel: 2, groups: 2 },
      { op: 'leaky_relu' },
      { op: 'conv2d', name: 'c', out: 5, kernel: 2 },
      { op: 'leaky_relu' },
    ),
    held: ['a[0]'],
  },
};

test.each(Object.keys(networks).flatMap((name) => (['fgmt', 'gmt'] as const).map((method) => [name, method] as const)))(
  '%s: %s',
  async (name, method) => {
    const { graph, held } = networks[name] as (typeof networks)[string];
    const spec = derivePermutationSpec(graph);
    expect(matchingLayout(spec).held.map(({ id }) => id)).toEqual(held);
    const hidden = new Map([...randomPermutations(spec, 77)].map(([id, perm]) => [id, held.includes(id) ? identity(perm.length) : perm]));
    const permuted = (state: NetworkState): NetworkState => ({
      parameters: permuteTensors(spec, state.parameters, hidden),
      buffers: permuteTensors(spec, state.buffers, hidden),
    });
    const source = await train({ graph, data, seed: 1, epochs: 3, batchSize: 32, learningRate: 0.05, compute });
    const [start, end] = [permuted(source.checkpoints[0]?.state as NetworkState), permuted(source.state)];
    const { state, permutations } = await transfer({
      source: source.trajectory,
      target: start,
      data,
      method,
      seed: 5,
      steps: 3,
      batchSize: 96,
      stopRule: 'last',
      compute,
    });
    expect(permutations).toEqual(hidden);
    using network = compute.engine.compile(graph);
    const batch = makeBatch(
      data,
      Int32Array.from({ length: data.count }, (_, row) => row),
    );
    const [wanted, before, got] = [end, start, state].map(({ parameters }) =>
      network.logits({ parameters, buffers: end.buffers }, batch),
    ) as [Float32Array, Float32Array, Float32Array];
    const farthest = (logits: Float32Array): number =>
      wanted.reduce((largest, value, i) => Math.max(largest, Math.abs(value - (logits[i] as number))), 0);
    expect(farthest(before)).toBeGreaterThan(0.1);
    expect(farthest(got)).toBeLessThanOrEqual(1e-4);
  },
);

test.each(Object.entries(networks))('%s: a plan says what is held, and naive takes the source’s update', async (_, { graph, held }) => {
  const [source, target] = [1, 2].map((seed) => initialise(compute.core, graph, { seed })) as [NetworkState, NetworkState];
  const planned = plan({ graph, method: 'fgmt', steps: 3 });
  expect(planned.heldGroups.map(({ id }) => id)).toEqual(held);
  const moving = derivePermutationSpec(graph).groups.length - held.length;
  expect(planned.assignments).toBe(3 * planned.sweeps * moving);
  const trajectory = trajectoryFromStates(graph, [{ label: 'start', state: target }, { label: 'end', state: source }]);
  const { state } = await transfer({ source: trajectory, target, data, method: 'naive', seed: 1, steps: 1, stopRule: 'last', compute });
  const [got, wanted] = [state, source].map(({ parameters }) => parameters.get('fc.weight')?.data as Float32Array) as [
    Float32Array,
    Float32Array,
  ];
  got.forEach((value, i) => expect(value).toBeCloseTo(wanted[i] as number, 6));
});

test('which group is held can be chosen: what is frozen leaves room for the others', () => {
  const spec = derivePermutationSpec((networks['few wide groups'] as (typeof networks)[string]).graph);
  expect(matchingLayout(spec).held).toEqual([{ id: 'b[0]', reason: 'a third axis of b.weight would move with it' }]);
  const { held, groups } = matchingLayout(spec, ['b[1]', 'g']);
  expect(held).toEqual([]);
  expect(groups.map(({ id }) => id)).toEqual(['a', 'b[0]']);
});
