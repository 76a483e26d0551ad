/**
 * Every fault of stock tfjs-backend-wasm 4.22 that training would meet, shown to be gone on our backend: plain tfjs kernel calls
 * and tfjs's own tape, not only our networks.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { engine, getKernel, type Tensor } from '#tfjs';
import { openCore, type Core } from '../../src/core/core.ts';
import { InvalidArgumentError, KernelError, OutOfMemoryError } from '../../src/core/errors.ts';
import { openGradientEngine, type GradientEngine } from '../../src/gradient/engine.ts';
import { sequential } from '../../src/model/builder.ts';
import { normals, randomBatch, randomState, relativeError } from './checks.ts';

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

type Inputs = { [name: string]: Tensor | undefined };
const run = (kernel: string, inputs: Inputs, attrs: object = {}): Tensor =>
  engine().runKernel(kernel, inputs as never, attrs as never);
const tensor = (data: Float32Array | number[], shape: number[]): Tensor => engine().makeTensor(Float32Array.from(data), shape, 'float32');
const values = (count: number, seed: number): Tensor => tensor(normals(count, seed), [count]);
const heapView = ({ dataId, size }: Tensor): Float32Array =>
  core.f32((engine().backend as unknown as { pointer(t: { dataId: object }): number }).pointer({ dataId }), size);
/** Runs with everything freed afterwards. */
const tidy = (body: () => void): void =>
  void engine().tidy(() => {
    body();
  });

/** a · b in f64, of matrices given with accessors. */
function product(m: number, n: number, k: number, a: (i: number, l: number) => number, b: (l: number, j: number) => number): Float64Array {
  return Float64Array.from({ length: m * n }, (_, at) => {
    let sum = 0;
    for (let l = 0; l < k; l++) sum += a(Math.floor(at / n), l) * b(l, at % n);
    return sum;
  });
}

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
  it('throws out of a plain tfjs kernel (stock places the tensor at address 0)', () => {
    expect(() => tidy(() => void run('Add', { a: values(9e6, 1), b: values(9e6, 2) }))).toThrow(OutOfMemoryError);
    expect(engine().memory().numTensors).toBe(0);
  });
});

it('an XNNPACK failure throws (stock logs a line and goes on), and the C++ stack is where it was', () => {
  const stack = core.tfjs.stackSave();
  const { register_tensor: register, AvgPool: averagePool } = core.tfjs as unknown as { [name: string]: (...values: number[]) => void };
  core.scoped((scratch) => {
    for (const id of [9001, 9002]) register?.(id, 64, scratch.f32(64));
    // A stride of 0 is refused by xnn_create_average_pooling2d_nhwc_f32.
    expect(() =>
      core.scoped(() => averagePool?.(9001, 1, 8, 8, 2, 2, 0, 0, 0, 0, 0, 0, 1, 9002)),
    ).toThrow(KernelError);
  });
  expect(core.tfjs.stackSave()).toBe(stack);
});

describe('weights', () => {
  it('written in place are seen by the next product and convolution (stock keeps packed copies by id)', () => {
    tidy(() => {
      const x = tensor([1, 2, 3, 4], [2, 2]);
      const weight = tensor([1, 0, 0, 1], [2, 2]);
      expect([...run('BatchMatMul', { a: x, b: weight }, {}).dataSync()]).toEqual([1, 2, 3, 4]);
      heapView(weight).set([2, 0, 0, 2]);
      expect([...run('BatchMatMul', { a: x, b: weight }, {}).dataSync()]).toEqual([2, 4, 6, 8]);
      const image = tensor([1, 2, 3, 4], [1, 2, 2, 1]);
      const filter = tensor([3], [1, 1, 1, 1]);
      const attrs = { strides: [1, 1], pad: 'valid', dataFormat: 'NHWC', dilations: [1, 1] };
      expect([...run('Conv2D', { x: image, filter }, attrs).dataSync()]).toEqual([3, 6, 9, 12]);
      heapView(filter).set([5]);
      expect([...run('Conv2D', { x: image, filter }, attrs).dataSync()]).toEqual([5, 10, 15, 20]);
    });
  });
  it('reshaped are a right operand of another size (stock aborts or corrupts the heap)', () => {
    tidy(() => {
      const weight = tensor([1, 2, 3, 4, 5, 6], [2, 3]);
      expect([...run('BatchMatMul', { a: tensor([1, 1], [1, 2]), b: weight }, {}).dataSync()]).toEqual([5, 7, 9]);
      const reshaped = run('Reshape', { x: weight }, { shape: [3, 2] });
      expect([...run('BatchMatMul', { a: tensor([1, 1, 1], [1, 3]), b: reshaped }, {}).dataSync()]).toEqual([9, 12]);
    });
  });
});

describe('products with transposes and batches (stock: scalar, and wrong when fused)', () => {
  const [m, n, k] = [5, 19, 131];
  for (const transposeA of [false, true]) {
    for (const transposeB of [false, true]) {
      it(`transposeA ${transposeA}, transposeB ${transposeB}: within 1e-6 of f64, batch of 2 against a shared right side`, () => {
        tidy(() => {
          const a = tensor(normals(2 * m * k, 1), transposeA ? [2, k, m] : [2, m, k]);
          const b = tensor(normals(k * n, 2), transposeB ? [1, n, k] : [1, k, n]);
          const [aData, bData] = [a.dataSync(), b.dataSync()];
          const got = run('BatchMatMul', { a, b }, { transposeA, transposeB });
          expect(got.shape).toEqual([2, m, n]);
          for (const batch of [0, 1]) {
            const want = product(
              m, n, k,
              (i, l) => aData[batch * m * k + (transposeA ? l * m + i : i * k + l)] as number,
              (l, j) => bData[transposeB ? j * k + l : l * n + j] as number,
            );
            expect(relativeError(got.dataSync().slice(batch * m * n, (batch + 1) * m * n), want)).toBeLessThan(1e-6);
          }
        });
      });
    }
  }
  it('_FusedMatMul adds the bias and applies ReLU once whatever the inner extent (stock: once per 48)', () => {
    tidy(() => {
      const a = tensor(normals(m * k, 1), [m, k]);
      const b = tensor(normals(k * n, 2), [n, k]);
      const bias = tensor(normals(n, 3), [n]);
      const [aData, bData, biasData] = [a.dataSync(), b.dataSync(), bias.dataSync()];
      const got = run('_FusedMatMul', { a, b, bias }, { transposeA: false, transposeB: true, activation: 'relu' });
      const want = product(m, n, k, (i, l) => aData[i * k + l] as number, (l, j) => bData[j * k + l] as number);
      expect(relativeError(got.dataSync(), want.map((sum, i) => Math.max(0, sum + (biasData[i % n] as number))))).toBeLessThan(1e-6);
    });
  });
  it('operands that do not fit are refused', () => {
    expect(() => tidy(() => void run('BatchMatMul', { a: tensor([1, 2], [1, 2]), b: tensor([1, 2, 3], [3, 1]) }, {}))).toThrow(
      InvalidArgumentError,
    );
    expect(gradients.memory.liveTensors).toBe(0);
  });
});

it('MaxPoolGrad: a window of negatives keeps its gradient, a tie gives it to the first maximum, as PyTorch and tfjs cpu do', () => {
  tidy(() => {
    const input = tensor([-4, -1, 7, 7, -3, -2, 7, 7], [1, 2, 4, 1]);
    const attrs = { filterSize: [2, 2], strides: [2, 2], pad: 'valid' };
    const output = run('MaxPool', { x: input }, attrs);
    expect([...output.dataSync()]).toEqual([-1, 7]);
    const dx = run('MaxPoolGrad', { dy: tensor([10, 20], [1, 1, 2, 1]), input, output }, attrs);
    expect([...dx.dataSync()]).toEqual([0, 10, 20, 0, 0, 0, 0, 0]);
  });
});

it('Sum and Mean of a million elements are exact to rounding (stock loses 2e-5)', () => {
  tidy(() => {
    const x = tensor(new Float32Array(1_000_000).fill(0.1), [1000, 1000]);
    const exact = 1_000_000 * Math.fround(0.1);
    expect(run('Sum', { x }, { axis: null }).dataSync()[0]).toBe(Math.fround(exact));
    expect(run('Mean', { x }, { axis: [0, 1] }).dataSync()[0]).toBe(Math.fround(0.1));
    const rows = run('Sum', { x: tensor([1, 2, 3, 4, 5, 6], [2, 3]) }, { axis: 1 });
    expect([...rows.dataSync()]).toEqual([6, 15]);
  });
});

it('what stock lacks or has wrong is ours: no stock kernel that keeps packed weights is registered', () => {
  for (const name of ['Conv2DBackpropFilter', 'DepthwiseConv2dNativeBackpropFilter', 'DepthwiseConv2dNativeBackpropInput']) {
    expect(getKernel(name, 'wasm'), name).toBeDefined();
  }
  for (const name of ['Prelu', 'FusedDepthwiseConv2D']) expect(getKernel(name, 'wasm'), name).toBeUndefined();
});

it("tfjs's own tape over our kernels gives our network's gradient", () => {
  const graph = sequential([2, 6, 5], [
    { op: 'conv2d', name: 'conv', out: 4, kernel: 3, padding: 1 },
    { op: 'relu' },
    { op: 'max_pool', kernel: 2 },
    { op: 'conv2d', name: 'head', out: 3, kernel: [3, 2] },
    { op: 'flatten' },
  ]);
  const state = randomState(graph, 4);
  const batch = randomBatch(graph, 4, 5);
  const want = gradients.compile(graph).gradient(state, [batch]);
  tidy(() => {
    const filters = ['conv.weight', 'head.weight'].map((name) => {
      const { shape, data } = state.parameters.get(name) as { shape: number[]; data: Float32Array };
      return run('Transpose', { x: tensor(data, shape) }, { perm: [2, 3, 1, 0] });
    });
    const biases = ['conv.bias', 'head.bias'].map((name) =>
      tensor(state.parameters.get(name)?.data as Float32Array, [name === 'conv.bias' ? 4 : 3]),
    );
    const x = run('Transpose', { x: tensor(batch.inputs as Float32Array, [4, 2, 6, 5]) }, { perm: [0, 2, 3, 1] });
    const labels = engine().makeTensor(batch.labels, [4], 'int32');
    const conv = (input: Tensor, i: number, pad: unknown): Tensor => {
      const attrs = { strides: [1, 1], pad, dataFormat: 'NHWC', dilations: [1, 1] };
      return run('Add', { a: run('Conv2D', { x: input, filter: filters[i] }, attrs), b: biases[i] });
    };
    const loss = (): Tensor => {
      const hidden = run('Relu', { x: conv(x, 0, 'same') });
      const pooled = run('MaxPool', { x: hidden }, { filterSize: [2, 2], strides: [2, 2], pad: 'valid' });
      const logits = run('Reshape', { x: conv(pooled, 1, 'valid') }, { shape: [4, 3] });
      return (
        engine().runKernel('SparseSoftmaxCrossEntropy', { logits, labels } as never, { scale: 1 / 4 }) as unknown as Tensor[]
      )[0] as Tensor;
    };
    const { value, grads } = engine().gradients(loss as never, [...filters, ...biases] as never);
    expect((value as Tensor).dataSync()[0]).toBeCloseTo(want.losses[0] as number, 6);
    for (const [i, name] of ['conv.weight', 'head.weight', 'conv.bias', 'head.bias'].entries()) {
      const gradient = grads[i] as Tensor;
      const outside = gradient.shape.length === 4 ? run('Transpose', { x: gradient }, { perm: [3, 2, 0, 1] }) : gradient;
      expect(relativeError(outside.dataSync(), want.gradients.get(name)?.data as Float32Array), name).toBeLessThan(1e-6);
    }
  });
  expect(gradients.memory.liveTensors).toBe(0);
});

it('one engine a realm: a second is refused until the first is disposed', () => {
  expect(() => openGradientEngine(core)).toThrow(InvalidArgumentError);
  gradients[Symbol.dispose]();
  gradients = openGradientEngine(core);
  tidy(() => expect([...run('Relu', { x: tensor([-1, 2], [2]) }).dataSync()]).toEqual([0, 2]));
});
