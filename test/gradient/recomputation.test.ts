/**
 * Segments that are computed anew on the way back: the bytes of a gradient that keeps everything, of every operation and preset, for
 * any cut; each batch's statistics told once; and less memory where it is cut as planned.
 */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { getKernelsForBackend, type TensorInfo } from '#tfjs';
import { openCore, type Core } from '../../src/core/core.ts';
import { OutOfMemoryError } from '../../src/core/errors.ts';
import { closeBackend, openBackend, type HeapBackend } from '../../src/gradient/backend.ts';
import { openGradientEngine } from '../../src/gradient/engine.ts';
import { registerKernels } from '../../src/gradient/kernels/index.ts';
import { lossAndGradient } from '../../src/gradient/kernels/loss.ts';
import { DEFAULT_LOSS } from '../../src/gradient/loss.ts';
import { fitGradient, gradientHeapBytes } from '../../src/gradient/memory.ts';
import { NetworkInputs } from '../../src/gradient/network-inputs.ts';
import { HeapParameters } from '../../src/gradient/parameters.ts';
import { compileProgram } from '../../src/gradient/program.ts';
import { Tape } from '../../src/gradient/tape.ts';
import { parameterLayout, type ModelGraph } from '../../src/model/graph.ts';
import { preset, type PresetName, type PresetOptions } from '../../src/model/presets.ts';
import { cutsOf, endsOf, repeatedIn, segmentsOf, wholeOf, type Segment } from '../../src/model/segments.ts';
import type { NamedTensors } from '../../src/tensor/tensor.ts';
import { gradientCases, randomBatch, randomState } from './checks.ts';

const hashOf = ({ buffer, byteOffset, byteLength }: Float32Array): string =>
  createHash('sha256').update(new Uint8Array(buffer, byteOffset, byteLength)).digest('hex');
const hashesOf = (tensors: NamedTensors): Map<string, string> => new Map([...tensors].map(([name, { data }]) => [name, hashOf(data)]));

interface Passed {
  readonly scores: string;
  readonly loss: number;
  readonly gradients: Map<string, string>;
  /** Outputs that kernels made, forward and backward. */
  readonly outputs: number;
  /** Nodes whose side outputs were told, in order. */
  readonly told: readonly string[];
}

describe('any cut', () => {
  let core: Core;
  let backend: HeapBackend;
  beforeAll(async () => {
    core = await openCore();
    registerKernels();
    backend = openBackend(core);
  });
  afterAll(() => {
    closeBackend(backend);
    core[Symbol.dispose]();
  });

  function pass(graph: ModelGraph, count: number, segments: readonly Segment[] | undefined): Passed {
    const layout = parameterLayout(graph);
    const program = compileProgram(graph, new Set(layout.parameters.map(({ name }) => name)), true);
    const inputs = new NetworkInputs(graph);
    const batch = randomBatch(graph, count, 4);
    const told: string[] = [];
    let outputs = 0;
    const { makeOutput } = backend;
    backend.makeOutput = (...values): TensorInfo => {
      outputs++;
      return makeOutput.apply(backend, values);
    };
    try {
      return backend.scope(() => {
        const parameters = new HeapParameters(backend, layout, randomState(graph, 3));
        const tape = new Tape(backend, program, parameters, {
          record: true, segments, onSideOutputs: (instruction) => void told.push(String(instruction.output)),
        });
        const scores = tape.forward(inputs.upload(batch.inputs, count));
        const labels = inputs.uploadLabels(batch, 0, count);
        const [loss, gradient] = lossAndGradient(DEFAULT_LOSS, scores, labels, 1 / (count * inputs.labelsPerInput));
        const result = { scores: hashOf(scores.dataSync<'float32'>()), loss: loss.dataSync<'float32'>()[0] as number };
        for (const tensor of [scores, labels, loss]) tensor.dispose();
        tape.backward(gradient);
        parameters.endBlock();
        parameters.endHalf();
        const gradients = hashesOf(parameters.readGradients());
        parameters.release();
        expect(backend.liveTensors, 'tensors that nobody frees').toBe(0);
        return { ...result, gradients, outputs, told };
      });
    } finally {
      backend.makeOutput = makeOutput;
    }
  }

  /** Segments that end behind every so many nodes, all computed anew, or all but the last. */
  function every(graph: ModelGraph, nodes: number, last: boolean): Segment[] {
    const cuts = [0, ...endsOf(graph).filter((end) => end % nodes === 0), graph.nodes.length];
    return cuts.slice(1).map((to, i) => ({ from: cuts[i] as number, to, recomputed: last || to < graph.nodes.length }));
  }

  it.each(gradientCases.map((each) => [each.name, each] as const))('%s', (_name, { graph, count }) => {
    const whole = pass(graph, count, undefined);
    expect(pass(graph, count, wholeOf(graph))).toEqual(whole);
    for (const [nodes, last] of [[1, false], [2, true], [3, false], [5, true], [graph.nodes.length, true]] as const) {
      const segments = every(graph, nodes, last);
      if (!segments.some(({ recomputed }) => recomputed)) continue;
      const { outputs, ...cut } = pass(graph, count, segments);
      const { outputs: least, ...expected } = whole;
      expect(cut, `segments of ${nodes}`).toEqual(expected);
      expect(outputs).toBeGreaterThanOrEqual(least);
      if (nodes === graph.nodes.length) expect(outputs).toBeGreaterThanOrEqual(least + (graph.nodes.length > 1 ? 1 : 0));
    }
  });

  /** How often a kernel ran. */
  function callsOf(name: string, body: () => void): number {
    const kernels = getKernelsForBackend('wasm').filter(({ kernelName }) => kernelName === name);
    const own = kernels.map(({ kernelFunc }) => kernelFunc);
    let calls = 0;
    for (const [i, kernel] of kernels.entries()) {
      kernel.kernelFunc = (call) => {
        calls++;
        return (own[i] as typeof kernel.kernelFunc)(call);
      };
    }
    try {
      body();
    } finally {
      for (const [i, kernel] of kernels.entries()) kernel.kernelFunc = own[i] as typeof kernel.kernelFunc;
    }
    return calls;
  }

  it('behind products runs norms again, and no convolution', () => {
    const graph = preset('resnet18', { input: [3, 16, 16], classes: 4, width: 4, stem: 'cifar' });
    const [behindProducts = []] = cutsOf(graph, graph.nodes.map(() => 1));
    const segments = segmentsOf(graph, behindProducts, behindProducts.length);
    const repeated = segments.filter(({ recomputed }) => recomputed).flatMap((segment) => [...repeatedIn(graph, segment)]);
    for (const [kernel, op] of [['Conv2D', 'conv2d'], ['BatchNormTraining', 'batch_norm'], ['Dense', 'dense']] as const) {
      const all = graph.nodes.filter((node) => node.op === op).length;
      expect(callsOf(kernel, () => void pass(graph, 2, undefined))).toBe(all);
      const again = repeated.filter((i) => graph.nodes[i]?.op === op).length;
      expect(again > 0).toBe(op === 'batch_norm');
      expect(callsOf(kernel, () => void pass(graph, 2, segments)), kernel).toBe(all + again);
    }
  });
});

const planned: readonly [PresetName, PresetOptions, number, readonly number[]][] = [
  ['resnet18', { input: [3, 32, 32], classes: 10, width: 16, stem: 'cifar' }, 64, [0.7]],
  ['mobilenet_v2', { input: [3, 32, 32], classes: 10, width: 0.35, stem: 'cifar' }, 16, [0.8, 0.45]],
  ['mobilenet_v3_small', { input: [3, 32, 32], classes: 10, width: 0.35, stem: 'cifar' }, 16, [0.8, 0.6]],
  ['vit', { input: [3, 32, 32], classes: 10, width: 64, depth: 4, heads: 2 }, 32, [0.6]],
  ['gpt2', { input: [64], classes: 500, width: 64, depth: 3, heads: 2 }, 32, [0.75]],
];

describe.each(planned)('%s %o, a batch of %i', (name, options, count, shares) => {
  const graph = preset(name, options);
  const whole = gradientHeapBytes(graph, count);
  const gradientIn = async (heapLimitBytes: number): Promise<readonly [NamedTensors, number, number]> => {
    using core = await openCore({ heapLimitBytes });
    using engine = openGradientEngine(core);
    const { gradients } = engine.compile(graph).gradient(randomState(graph, 1), [randomBatch(graph, count, 2)]);
    return [gradients, core.heapBytes, engine.memory.peakTensorBytes];
  };

  let expected: Map<string, string>;
  let peak: number;
  beforeAll(async () => {
    const [gradients, , peakBytes] = await gradientIn(whole);
    [expected, peak] = [hashesOf(gradients), peakBytes];
  });

  it.each(shares)('%f of the heap that keeps everything: fits, as planned, and gives the same bytes', async (share) => {
    const limit = Math.floor(whole * share);
    const { bytes, segments, recomputedFlops } = fitGradient(graph, count, 1, limit);
    expect(bytes).toBeLessThanOrEqual(limit);
    expect(segments.some(({ recomputed }) => recomputed)).toBe(true);
    expect(recomputedFlops).toBeGreaterThan(0);
    const [gradients, heapBytes, ownPeak] = await gradientIn(bytes);
    expect(heapBytes).toBeLessThanOrEqual(bytes);
    expect(ownPeak).toBeLessThan(0.9 * peak);
    expect(hashesOf(gradients)).toEqual(expected);
  });
});

describe('a heap in too many pieces for what was reckoned', () => {
  const graph = preset('resnet18', { input: [3, 16, 16], classes: 4, width: 8, stem: 'cifar' });
  const batch = randomBatch(graph, 8, 2);

  /** The state after two steps, of which the `failing`-th allocation of the first finds no room; and how many there were. */
  async function trained(failing: number): Promise<{ readonly hashes: Map<string, string>; readonly allocations: number }> {
    using core = await openCore();
    using engine = openGradientEngine(core);
    using trainer = engine.compile(graph).trainer(randomState(graph, 1), { kind: 'sgd', momentum: 0.9, weightDecay: 0 });
    const { liveTensors } = engine.memory;
    const { allocate } = core;
    let allocations = 0;
    core.allocate = (bytes, purpose) => {
      if (++allocations === failing) {
        throw new OutOfMemoryError({ field: purpose, expected: 'room', got: 'pieces', requestedBytes: bytes });
      }
      return allocate.call(core, bytes, purpose);
    };
    trainer.step(batch, 0.1);
    const ofOneStep = allocations;
    trainer.step(batch, 0.1);
    core.allocate = allocate;
    expect(engine.memory.liveTensors).toBe(liveTensors);
    const { parameters, buffers } = trainer.state();
    return { hashes: hashesOf(new Map([...parameters, ...buffers])), allocations: ofOneStep };
  }

  it('is begun anew with more computed anew: the same bytes, and each statistic of batch norm moved once', async () => {
    const { hashes, allocations } = await trained(-1);
    // In the forward pass, at its end, and in the backward pass; the optimiser's own come last, of which none is begun anew.
    for (const share of [0.05, 0.3, 0.5, 0.75, 0.95]) {
      const again = await trained(Math.floor(share * allocations));
      expect(again.hashes).toEqual(hashes);
      expect(again.allocations).toBeGreaterThan(allocations);
    }
  });
});

describe('a heap that others had a part of', () => {
  it('keeps every value again once that is free, also behind a gradient that found no room', async () => {
    const graph = preset('resnet18', { input: [3, 32, 32], classes: 10, width: 16, stem: 'cifar' });
    const [state, batch] = [randomState(graph, 1), randomBatch(graph, 16, 2)];
    const [whole, least] = [gradientHeapBytes(graph, 16), fitGradient(graph, 16, 1, 0).bytes];
    using core = await openCore({ heapLimitBytes: Math.floor(1.3 * whole) });
    using engine = openGradientEngine(core);
    const network = engine.compile(graph);
    const taken = (): { readonly hashes: Map<string, string>; readonly peak: number } => {
      engine.resetPeak();
      return { hashes: hashesOf(network.gradient(state, [batch]).gradients), peak: engine.memory.peakTensorBytes };
    };
    const roomy = taken();
    const others = core.allocate(core.heapLimitBytes - Math.floor(0.4 * least), 'others');
    const { liveBytes } = core;
    expect(taken).toThrow(OutOfMemoryError);
    expect([core.liveBytes, core.liveAllocations, engine.memory.liveTensors]).toEqual([liveBytes, 1, 0]);
    core.free(others);
    expect(taken()).toEqual(roomy);
  });
});

describe('several batches, whose sums of gradients lie beside the values', () => {
  const graph = preset('mlp', { input: [64], classes: 10, widths: [512, 512, 512, 512, 512] });
  it('are reckoned with these: values are computed anew where those of one batch alone would have room', async () => {
    const count = 1500;
    const batches = [1, 2].map((seed) => randomBatch(graph, count, seed));
    const ofOne = gradientHeapBytes(graph, count, 1);
    expect(fitGradient(graph, count, 2, ofOne).recomputedFlops).toBeGreaterThan(0);
    const gradientIn = async (heapLimitBytes: number): Promise<{ readonly hashes: Map<string, string>; readonly peak: number }> => {
      using core = await openCore({ heapLimitBytes });
      using engine = openGradientEngine(core);
      const { gradients } = engine.compile(graph).gradient(randomState(graph, 1), batches);
      return { hashes: hashesOf(gradients), peak: engine.memory.peakTensorBytes };
    };
    const [tight, roomy] = [await gradientIn(ofOne), await gradientIn(2 ** 30)];
    expect(tight.hashes).toEqual(roomy.hashes);
    // A hidden value less at the least.
    expect(tight.peak).toBeLessThanOrEqual(roomy.peak - 4 * count * 512);
  });
});
