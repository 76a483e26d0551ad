/** FLOPs counted by hand, and activation bytes against what the engine allocates. */
import { getGradient } from '#tfjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCore, type Core } from '../../src/core/core.ts';
import { openGradientEngine, type GradientEngine } from '../../src/gradient/engine.ts';
import { GraphBuilder, sequential, type Layer } from '../../src/model/builder.ts';
import { compileProgram } from '../../src/gradient/program.ts';
import { footprints } from '../../src/model/activation-memory.ts';
import { gradientCost } from '../../src/model/cost.ts';
import type { ModelGraph, OperationName } from '../../src/model/graph.ts';
import { initialise } from '../../src/model/initialise.ts';
import { preset } from '../../src/model/presets.ts';
import { randomBatch, gradientCases } from '../gradient/checks.ts';

describe('gradientCost', () => {
  test('an MLP by hand: no input gradient for the first layer', () => {
    const cost = gradientCost(preset('mlp', { input: [784], classes: 10, widths: [512] }), 128);
    const first = 2 * 128 * 784 * 512;
    const second = 2 * 128 * 512 * 10;
    const relu = 128 * 512;
    expect(cost.forwardFlops).toBe(first + second + relu);
    expect(cost.flops).toBe(2 * first + 3 * second + 2 * relu);
    expect(cost.parameterElements).toBe(784 * 512 + 512 + 5120 + 10);
    // Input and hidden values are kept; the gradient of the scores stands beside that of the hidden layer.
    expect(cost.activationBytes).toBe(4 * 128 * (784 + 512 + 10 + 512));
  });

  test('Conv8 at 32×32 takes 1.26 GFLOP an image, within 1 %', () => {
    const { flops } = gradientCost(preset('conv8', { input: [3, 32, 32], classes: 10 }), 1);
    expect(Math.abs(flops / 1.26e9 - 1)).toBeLessThan(0.01);
  });

  test('groups divide a convolution', () => {
    const graph = (groups: number): ModelGraph => sequential([8, 6, 6], [{ op: 'conv2d', name: 'c', out: 8, kernel: 3, groups }]);
    expect(gradientCost(graph(4), 3).flops * 4).toBe(gradientCost(graph(1), 3).flops);
    expect(gradientCost(graph(8), 3).parameterElements).toBe(80);
    const transposed = (groups: number): ModelGraph =>
      sequential([8, 6, 6], [{ op: 'conv_transpose2d', name: 'c', out: 8, kernel: 3, groups }]);
    for (const groups of [1, 4]) expect(gradientCost(transposed(groups), 3).forwardFlops).toBe((3 * 2 * 8 * 36 * 8 * 9) / groups);
  });

  test('a last layer that is the embedding costs two products backwards, as one of its own does', () => {
    const builder = new GraphBuilder([6], 13);
    const tied = gradientCost(builder.build(builder.chain(builder.input, [
      { op: 'embedding', name: 'e', features: 8 }, { op: 'tied_dense', name: 'head', with: 'e' },
    ])), 2);
    const product = 2 * 2 * 6 * 8 * 13;
    expect([tied.forwardFlops, tied.flops, tied.parameterElements]).toEqual([product, 3 * product, 8 * 13]);
  });

  test('a batch of no images is refused', () => {
    expect(() => gradientCost(preset('mlp', { input: [4], classes: 2 }), 0)).toThrow(/batch/);
  });
});

describe('what stays for the backward step is what the gradients of the kernels save', () => {
  beforeAll(async () => {
    // Registers the kernels.
    using core = await openCore();
    openGradientEngine(core)[Symbol.dispose]();
  });

  /** Of the instructions that make a node's value. */
  function savedBy(graph: ModelGraph, node: ModelGraph['nodes'][number]): readonly string[] {
    const { instructions } = compileProgram(graph, new Set(), true);
    const saved = new Set<string>();
    for (const { kernel, output, values, attrs } of instructions) {
      if (output !== node.name && !(typeof output === 'symbol' && output.description?.startsWith(`${node.name} (`) === true)) continue;
      const { inputsToSave = [], outputsToSave = [] } = getGradient(kernel);
      for (const [input, value] of Object.entries(values)) if (inputsToSave.includes(input)) saved.add(`input ${String(value)}`);
      if (outputsToSave[0] === true) saved.add('output');
      // A second output of other kernels is a few statistics.
      if (outputsToSave[1] === true && kernel.includes('Max')) saved.add('winners');
      if (outputsToSave[1] === true && attrs['slopes'] === true) saved.add('slope');
    }
    return [...saved].toSorted();
  }

  test.each(Object.keys(footprints) as OperationName[])('%s', (op) => {
    // Batch norms take rectifiers along.
    const isCase = ({ nodes }: ModelGraph): boolean =>
      nodes.some((each) => each.op === op) && (op === 'batch_norm' || !nodes.some((each) => each.op === 'batch_norm'));
    const graph = gradientCases.map((each) => each.graph).find(isCase) as ModelGraph;
    const node = graph.nodes.find((each) => each.op === op) as ModelGraph['nodes'][number];
    const inputs = node.inputs.map((name) => `input ${name}`);
    const expected = { nothing: [], input: inputs.slice(0, 1), inputs, output: ['output'], winners: ['winners'], slope: ['slope'] }[
      footprints[op].keeps
    ];
    expect(savedBy(graph, node)).toEqual([...new Set(expected)].toSorted());
  });

  test.each(['relu', 'relu6'] as const)('batch_norm with the %s behind it: the input of the norm is all that they keep', (op) => {
    const graph = sequential(
      [4, 3, 3],
      [{ op: 'batch_norm', name: 'norm' }, { op, name: 'rectifier' }, { op: 'flatten' }, { op: 'dense', name: 'c', out: 2 }],
    );
    const [norm, rectifier] = graph.nodes as [ModelGraph['nodes'][number], ModelGraph['nodes'][number]];
    expect(savedBy(graph, norm)).toEqual([]);
    expect(savedBy(graph, rectifier)).toEqual([`input ${norm.inputs[0]}`]);
    // Behind a leaky rectifier, which stays by itself and keeps its output, the same network takes as much more as that.
    const bytes = (rectifierOp: 'relu' | 'leaky_relu'): number =>
      gradientCost(
        sequential(
          [4, 3, 3],
          [
            { op: 'batch_norm', name: 'norm' }, { op: rectifierOp, name: 'rectifier' }, { op: 'max_pool', kernel: 3, stride: 3 },
            { op: 'flatten' },
            { op: 'dense', name: 'c', out: 2 },
          ],
        ),
        1,
      ).activationBytes;
    expect(bytes('leaky_relu')).toBeGreaterThan(bytes('relu'));
  });
});

describe('the estimate of activation bytes against what the engine allocates', () => {
  let core: Core;
  let engine: GradientEngine;
  beforeAll(async () => {
    core = await openCore();
    engine = openGradientEngine(core);
  });
  afterAll(() => {
    engine[Symbol.dispose]();
    core[Symbol.dispose]();
  });

  test.each<[string, ModelGraph, number]>([
    ['mlp', preset('mlp', { input: [1, 28, 28], classes: 10, widths: [2048] }), 256],
    ['conv8', preset('conv8', { input: [3, 32, 32], classes: 10, width: 0.25 }), 32],
    ['resnet-small', preset('resnet-small', { input: [1, 28, 28], classes: 10 }), 16],
    ['vit', preset('vit', { input: [3, 32, 32], classes: 10, width: 64, depth: 2 }), 16],
    ['mixer', preset('mixer', { input: [3, 32, 32], classes: 10, width: 64, depth: 2 }), 16],
    ['tanh', smooth('tanh'), 32],
    ['gelu', smooth('gelu'), 32],
  ])('%s: between 70 and 110 %% of the measured peak', (_name, graph, count) => {
    using network = engine.compile(graph);
    const state = initialise(core, graph, { seed: 1 });
    const { activationBytes, parameterElements } = gradientCost(graph, count);
    const peak = peakBytes(core, () => {
      network.gradient(state, [randomBatch(graph, count, 2)]);
    });
    // Parameters are on the heap all along, their gradients from the moment the backward pass makes them: at the peak all
    // of them or none. What the peak has beyond these and the estimate is workspace.
    const [allGradients, noGradients] = [8, 4].map((bytes) => peak - bytes * parameterElements) as [number, number];
    expect(activationBytes / allGradients).toBeGreaterThan(0.7);
    expect(activationBytes / noGradients).toBeLessThan(1.1);
  });
});

/** Two convolutions with a map behind each, whose values and their gradients are nearly all of the memory. */
function smooth(op: 'tanh' | 'gelu'): ModelGraph {
  const pair = (name: string): Layer[] => [{ op: 'conv2d', name, out: 16, kernel: 1 }, { op }];
  return sequential(
    [4, 16, 16],
    [...pair('a'), ...pair('b'), { op: 'global_average_pool' }, { op: 'flatten' }, { op: 'dense', name: 'c', out: 4 }],
  );
}

/** Most bytes that `body` had allocated through `core` at once. */
function peakBytes(core: Core, body: () => void): number {
  const sizes = new Map<number, number>();
  const { allocate, free } = core;
  let live = 0;
  let peak = 0;
  Object.assign(core, {
    allocate: (bytes: number, purpose: string) => {
      const pointer = allocate.call(core, bytes, purpose);
      sizes.set(pointer, bytes);
      live += bytes;
      peak = Math.max(peak, live);
      return pointer;
    },
    free: (pointer: number) => {
      live -= sizes.get(pointer) ?? 0;
      free.call(core, pointer);
    },
  });
  try {
    body();
  } finally {
    Object.assign(core, { allocate, free });
  }
  return peak;
}
