/** Other last layers, for a task whose classes are not those of the task before. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  initialise, openCompute, outputClasses, parameterLayout, stateSha256, trajectoryFromStates, transfer, withFreshHead, withZeroHead,
} from '../../src/index.ts';
import type { Compute, ModelGraph, NetworkState, Tensor, TransferChoices } from '../../src/index.ts';
import { findHead, headParameters } from '../../src/model/head.ts';
import { preset } from '../../src/model/presets.ts';
import { sequential } from '../../src/model/builder.ts';
import { networks, quadrants } from './networks.ts';

const graph = networks.mlp;
const images = quadrants(200, 1);
let compute: Compute;
let [start, between, end, target, fresh]: NetworkState[] = [];
beforeAll(async () => {
  compute = await openCompute();
  [start, between, end, target, fresh] = [1, 2, 3, 4, 9].map((seed) => initialise(compute.core, graph, { seed }));
});
afterAll(() => compute[Symbol.dispose]());

describe('a head', () => {
  test('is the last layer with weights, whatever follows it without', () => {
    const pooled = sequential([3, 8, 8], [
      { op: 'conv2d', name: 'features', out: 4, kernel: 3 }, { op: 'relu' },
      { op: 'conv2d', name: 'answer', out: 5, kernel: 1, bias: false },
      { op: 'global_average_pool' }, { op: 'flatten' }, { op: 'softmax' },
    ]);
    expect([...headParameters(pooled)]).toEqual(['answer.weight']);
    expect([...headParameters(preset('resnet18', { input: [3, 32, 32], classes: 7 }))]).toEqual(['fc.weight', 'fc.bias']);
    expect([...headParameters(preset('distilbert', { input: [4], classes: 7, width: 8, heads: 1 }))]).toEqual([
      'classifier.weight', 'classifier.bias',
    ]);
    expect([...headParameters(preset('vit', { input: [3, 32, 32], classes: 7 }))]).toEqual(['head.weight', 'head.bias']);
  });

  test.each<[string, ModelGraph, string]>([
    ['tied to an embedding', preset('gpt2', { input: [4], classes: 9, width: 6, depth: 1, heads: 1 }), 'tied_dense'],
    ['a norm', sequential([8], [{ op: 'dense', name: 'a', out: 4 }, { op: 'layer_norm', name: 'last' }]), 'last (layer_norm)'],
  ])('is none where the output is %s', (_, odd, got) => {
    expect(findHead(odd)).toBeUndefined();
    expect(() => headParameters(odd)).toThrow(got);
  });

  test.each([['drawn anew', true], ['zeros', false]] as const)('%s leaves all else as it is', async (_, drawn) => {
    const headed = drawn ? withFreshHead(compute, graph, start as NetworkState, 9) : withZeroHead(graph, start as NetworkState);
    const layout = parameterLayout(graph).parameters;
    const last = layout.at(-1)?.node;
    for (const { name, node } of layout) {
      const data = headed.parameters.get(name)?.data;
      if (node !== last) expect(data, name).toBe(start?.parameters.get(name)?.data);
      else if (drawn) expect(data, name).toEqual(fresh?.parameters.get(name)?.data);
      else expect([name, data?.every((value) => value === 0)]).toEqual([name, true]);
    }
    expect(await stateSha256(graph, headed)).not.toBe(await stateSha256(graph, start as NetworkState));
  });
});

describe('a transfer with zeroHead', () => {
  const states = (first: NetworkState) =>
    trajectoryFromStates(
      graph,
      [['start', first], ['between', between], ['end', end]].map(([label, state]) => ({
        label: label as string, state: state as NetworkState,
      })),
    );
  const port = async (first: NetworkState, to: NetworkState, choices: TransferChoices & { readonly from?: string }) =>
    transfer({ source: states(first), target: to, data: images, method: 'gmt', seed: 1, batchSize: 32, compute, ...choices });

  test.each<[string, TransferChoices]>([
    ['along the line', { steps: 3 }],
    ['along its checkpoints', { trajectory: 'real' }],
  ])('is that of trajectory and target that begin with zeros, %s', async (_, choices) => {
    const [zeroed, bare] = [withZeroHead(graph, start as NetworkState), withZeroHead(graph, target as NetworkState)];
    const asked = await port(start as NetworkState, target as NetworkState, { ...choices, zeroHead: true });
    const given = await port(zeroed, bare, choices);
    expect(asked.record.sha256).toBe(given.record.sha256);
    expect(asked.record.settings).toMatchObject({ zeroHead: true });
    const kept = await port(start as NetworkState, target as NetworkState, choices);
    expect(kept.record.sha256).not.toBe(asked.record.sha256);
    // What went in is what was given, not what became of it.
    expect(asked.record.inputs).toEqual(kept.record.inputs);
    expect(given.record.inputs).not.toEqual(kept.record.inputs);
  });

  test('begins with zeros where the part to carry over does', async () => {
    const asked = await port(start as NetworkState, target as NetworkState, { steps: 2, zeroHead: true, from: 'between' });
    const source = trajectoryFromStates(graph, [
      { label: 'between', state: withZeroHead(graph, between as NetworkState) }, { label: 'end', state: end as NetworkState },
    ]);
    const given = await transfer({
      source, target: withZeroHead(graph, target as NetworkState), data: images, method: 'gmt', seed: 1, batchSize: 32, compute, steps: 2,
    });
    expect(asked.record.sha256).toBe(given.record.sha256);
  });

  test('carries the whole of the last layer over, in the order of the units before it', async () => {
    const { state, permutations } = await port(
      start as NetworkState, target as NetworkState, { steps: 2, zeroHead: true, stopRule: 'last' },
    );
    const order = [...permutations.values()].at(-1) as Int32Array;
    const name = [...headParameters(graph)].find((parameter) => parameter.endsWith('weight')) as string;
    const [carried, original] = [state, end].map((one) => one?.parameters.get(name)) as [Tensor, Tensor];
    const [classes, units] = carried.shape as [number, number];
    expect(order.some((from, unit) => from !== unit)).toBe(true);
    for (let c = 0; c < classes; c++)
      for (let unit = 0; unit < units; unit++)
        expect(carried.data[c * units + unit]).toBe(original.data[c * units + (order[unit] as number)]);
  });

  test.each([true, false])('records the target as it was when it was copied, whatever becomes of it meanwhile: %s', async (zeroHead) => {
    const given = initialise(compute.core, graph, { seed: 4 });
    const source = states(start as NetworkState);
    const meddling = { ...source, readCheckpoint: async (index: number) => {
      for (const { data } of given.parameters.values()) data[0] = 7;
      return source.readCheckpoint(index);
    } };
    const { record } = await transfer({
      source: meddling, target: given, data: images, method: 'gmt', seed: 1, batchSize: 32, compute, steps: 2, zeroHead,
    });
    expect(given.parameters.values().next().value?.data[0]).toBe(7);
    const undisturbed = await port(start as NetworkState, target as NetworkState, { steps: 2, zeroHead });
    expect(record).toEqual(undisturbed.record);
  });

  test('refuses to leave out what it carries', async () => {
    const name = [...headParameters(graph)][0] as string;
    await expect(port(
      start as NetworkState, target as NetworkState, { steps: 2, zeroHead: true, skipParameters: [name] },
    )).rejects.toMatchObject({
      code: 'invalid-argument', field: 'skipParameters',
    });
  });

  test('wants a second step where units lie behind the zeros: at the first, they have no gradient', async () => {
    const deep = preset('mlp', { input: graph.input, classes: outputClasses(graph), widths: [8, 8] });
    const random = (seed: number): NetworkState => initialise(compute.core, deep, { seed });
    const [from, to, base] = [random(1), random(2), random(3)];
    const source = trajectoryFromStates(deep, [{ label: 'a', state: from }, { label: 'b', state: to }]);
    const options = { source, target: base, data: images, method: 'fgmt', seed: 1, batchSize: 32, compute, zeroHead: true } as const;
    await expect(transfer({ ...options, steps: 1 })).rejects.toMatchObject({ code: 'invalid-argument', field: 'steps' });
    await expect(transfer({ ...options, trajectory: 'real' })).rejects.toMatchObject({ field: 'steps' });
    const { permutations } = await transfer({ ...options, steps: 2, stopRule: 'last' });
    for (const order of permutations.values()) expect(order.some((unit, i) => unit !== i)).toBe(true);
  });

  test('is what a trajectory that begins so asks for by itself', async () => {
    const checkpoints = [{ label: 'a', state: start as NetworkState }, { label: 'b', state: end as NetworkState }];
    const options = { target: target as NetworkState, data: images, method: 'fgmt', seed: 1, batchSize: 32, steps: 2, compute } as const;
    const hashOf = async (training: object | undefined, zeroHead?: boolean): Promise<string> =>
      (await transfer({
        ...options, source: trajectoryFromStates(graph, checkpoints, training), ...(zeroHead === undefined ? {} : { zeroHead }),
      })).record.sha256;
    const [zeroed, kept] = [await hashOf(undefined, true), await hashOf(undefined)];
    expect(await hashOf({ zeroHead: true })).toBe(zeroed);
    expect(await hashOf({ zeroHead: true }, false)).toBe(kept);
    expect(await hashOf({ zeroHead: 'yes' })).toBe(kept);
  });
});
