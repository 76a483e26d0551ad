/** Faults of stock tfjs-backend-wasm 4.22 that our backend and kernels must not have. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { engine, type Tensor } from '#tfjs';
import { openCore, type Core } from '../../src/core/core.ts';
import { InvalidArgumentError, OutOfMemoryError } from '../../src/core/errors.ts';
import { openGradientEngine, type GradientEngine } from '../../src/gradient/engine.ts';
import { run, runAll } from '../../src/gradient/kernels/support.ts';
import { sequential, type Layer } from '../../src/model/builder.ts';
import { normals, randomBatch, randomState } from './checks.ts';

let core: Core;
let gradients: GradientEngine;
beforeEach(async () => {
  core = await openCore({ heapLimitBytes: 64 * 2 ** 20 });
  gradients = openGradientEngine(core);
});
afterEach(() => {
  gradients[Symbol.dispose]();
  core[Symbol.dispose]();
});

const tensor = (data: Float32Array | number[], shape: number[]): Tensor => engine().makeTensor(Float32Array.from(data), shape, 'float32');
const values = (count: number, seed: number): Tensor => tensor(normals(count, seed), [count]);
const heapView = ({ dataId, size }: Tensor): Float32Array =>
  core.f32((engine().backend as unknown as { pointer(t: { dataId: object }): number }).pointer({ dataId }), size);
/** Runs with everything freed afterwards. */
const tidy = (body: () => void): void =>
  void engine().tidy(() => {
    body();
  });

describe('running out of memory', () => {
  const graph = sequential([1, 16, 16], [
    { op: 'conv2d', name: 'conv', out: 16, kernel: 3, padding: 1 },
    { op: 'relu' },
    { op: 'flatten' },
    { op: 'dense', name: 'head', out: 4 },
  ]);
  it('throws the same for values beyond 4 GiB, whose size in 32 bits would be had', () => {
    const wide = sequential(
      [1],
      [{ op: 'dense', name: 'a', out: 65_536, bias: false }, { op: 'relu' }, { op: 'dense', name: 'b', out: 2 }],
    );
    const state = randomState(wide, 1);
    const [small, large] = [randomBatch(wide, 2, 2), randomBatch(wide, 16_400, 3)];
    const before = gradients.compile(wide).gradient(state, [small]);
    expect(() => gradients.compile(wide).gradient(state, [large])).toThrow(OutOfMemoryError);
    expect(core.liveAllocations).toBe(0);
    expect(gradients.compile(wide).gradient(state, [small])).toEqual(before);
  });

  it('throws a typed error out of a gradient, frees everything, and the next call gives the right answer', () => {
    const network = gradients.compile(graph);
    const state = randomState(graph, 1);
    const small = randomBatch(graph, 3, 2);
    const before = network.gradient(state, [small]);
    expect(() => network.gradient(state, [randomBatch(graph, 3000, 3)])).toThrow(OutOfMemoryError);
    expect(gradients.memory.liveTensors).toBe(0);
    expect(core.liveAllocations).toBe(0);
    expect(network.gradient(state, [small])).toEqual(before);
  });
  it('leaves a trainer as it was', () => {
    using trainer = gradients.compile(graph).trainer(randomState(graph, 1), { kind: 'sgd', momentum: 0.9, weightDecay: 0 });
    const state = trainer.state();
    const { liveTensors } = gradients.memory;
    expect(() => trainer.step(randomBatch(graph, 3000, 3), 0.1)).toThrow(OutOfMemoryError);
    expect(gradients.memory.liveTensors).toBe(liveTensors);
    expect(trainer.state()).toEqual(state);
    trainer.step(randomBatch(graph, 3, 2), 0.1);
    expect(trainer.state()).not.toEqual(state);
  });
  // 36 MB of weights of 64: not twice.
  const out = 9e6;
  it.each<[string, number[], Layer[]]>([
    ['moments', [out, 1], [{ op: 'flatten' }, { op: 'dense', name: 'a', out, bias: false }]],
    ['a filter in another order', [out, 1, 1, 1], [{ op: 'conv2d', name: 'a', out, kernel: 1, bias: false }, { op: 'flatten' }]],
  ])('leaves nothing of a trainer for whose %s there is no room', (_, filter, layers) => {
    const wide = gradients.compile(sequential([1, 1, 1], layers));
    const state = { parameters: new Map([['a.weight', { shape: filter, data: new Float32Array(out) }]]), buffers: new Map() };
    expect(() => wide.trainer(state, { kind: 'sgd', momentum: 0, weightDecay: 0 })).toThrow(OutOfMemoryError);
    expect([gradients.memory.liveTensors, core.liveAllocations]).toEqual([0, 0]);
  });
  it('throws out of a kernel (stock places the tensor at address 0)', () => {
    expect(() => tidy(() => void run('AddAlike', { x: values(9e6, 1), b: values(9e6, 2) }))).toThrow(OutOfMemoryError);
    expect(engine().memory().numTensors).toBe(0);
  });
});

it('weights written in place are seen by the next product and convolution (stock keeps packed copies by id)', () => {
  tidy(() => {
    const x = tensor([1, 2, 3, 4], [2, 2]);
    const weight = tensor([1, 0, 0, 1], [2, 2]);
    expect([...run('Dense', { x, weight }, {}).dataSync()]).toEqual([1, 2, 3, 4]);
    heapView(weight).set([2, 0, 0, 2]);
    expect([...run('Dense', { x, weight }, {}).dataSync()]).toEqual([2, 4, 6, 8]);
    const image = tensor([1, 2, 3, 4], [1, 2, 2, 1]);
    const filter = tensor([3], [1, 1, 1, 1]);
    const attrs = { strides: [1, 1], pad: [[0, 0], [0, 0], [0, 0], [0, 0]] };
    expect([...run('Conv2D', { x: image, filter }, attrs).dataSync()]).toEqual([3, 6, 9, 12]);
    heapView(filter).set([5]);
    expect([...run('Conv2D', { x: image, filter }, attrs).dataSync()]).toEqual([5, 10, 15, 20]);
  });
});

it('max pooling: a window of negatives keeps its gradient, a tie gives it to the first maximum, as PyTorch and tfjs cpu do', () => {
  tidy(() => {
    const x = tensor([-4, -1, 7, 7, -3, -2, 7, 7], [1, 2, 4, 1]);
    const attrs = { filterSize: [2, 2], strides: [2, 2], pad: [[0, 0], [0, 0], [0, 0], [0, 0]], imageShape: [2, 4, 1] };
    const [output, winners] = runAll('MaxPool', { x }, attrs) as [Tensor, Tensor];
    expect([...output.dataSync()]).toEqual([-1, 7]);
    const dx = run('MaxPoolGrad', { dy: tensor([10, 20], [1, 1, 2, 1]), winners }, attrs);
    expect([...dx.dataSync()]).toEqual([0, 10, 20, 0, 0, 0, 0, 0]);
  });
});

it('a bias gradient of a million rows is exact to rounding (stock loses 2e-5)', () => {
  tidy(() => {
    const x = tensor(new Float32Array(1_000_000).fill(0.1), [500_000, 2]);
    const exact = Math.fround(500_000 * Math.fround(0.1));
    expect([...run('ColumnSums', { x }, { columns: 2, shape: [2] }).dataSync()]).toEqual([exact, exact]);
  });
});

it('one engine a realm: a second is refused until the first is disposed', () => {
  expect(() => openGradientEngine(core)).toThrow(InvalidArgumentError);
  gradients[Symbol.dispose]();
  gradients = openGradientEngine(core);
  tidy(() => expect([...run('Relu', { x: tensor([-1, 2], [2]) }).dataSync()]).toEqual([0, 2]));
});
