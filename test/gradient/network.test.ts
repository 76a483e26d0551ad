/** A network on the engine: micro-batches, evaluation, batch-norm statistics, optimisers by hand, no leak. */
import { describe, expect, it } from 'vitest';
import { InvalidArgumentError, UnsupportedError } from '../../src/core/errors.ts';
import { factorableWeights } from '../../src/gradient/network.ts';
import { GraphBuilder, sequential } from '../../src/model/builder.ts';
import { preset } from '../../src/model/presets.ts';
import type { Batch } from '../../src/data/batch.ts';
import type { StartedBatch } from '../../src/gradient/network-inputs.ts';
import type { OuterProducts } from '../../src/tensor/outer-products.ts';
import type { NetworkState, Tensor } from '../../src/tensor/tensor.ts';
import { randomBatch, randomState, relativeError } from './checks.ts';
import { DEFAULT_LOSS } from '../../src/gradient/loss.ts';
import { forward64 } from '../model/forward.ts';
import { openedEngine } from './opened-engine.ts';
import { loss64 } from './reference.ts';

const { core, gradients: engine } = await openedEngine();

const mlp = preset('mlp', { input: [6], classes: 3, widths: [8] });
const conv = preset('small-conv', { input: [2, 8, 8], classes: 4, width: 6 });
const resnet = preset('resnet-small', { input: [1, 8, 8], classes: 4, width: 4 });
const as64 = (state: NetworkState) =>
  new Map([...state.parameters, ...state.buffers].map(([name, { data }]) => [name, Float64Array.from(data)]));

describe('micro-batches', () => {
  for (const microBatch of [1, 3, 16]) {
    it(`of ${microBatch}: gradient and loss of the whole batch within 1e-6`, () => {
      const state = randomState(conv, 1);
      const batch = randomBatch(conv, 16, 2);
      const whole = engine.compile(conv).gradient(state, [batch]);
      const parts = engine.compile(conv, { microBatch }).gradient(state, [batch]);
      expect(Math.abs((parts.losses[0] as number) - (whole.losses[0] as number))).toBeLessThan(1e-6);
      for (const [name, { data }] of whole.gradients) {
        expect(relativeError((parts.gradients.get(name) as Tensor).data, data), name).toBeLessThan(1e-6);
      }
    });
  }
  type Order = readonly (number | Order)[];
  it.each<{ readonly parts: number; readonly order: Order }>([
    { parts: 2, order: [0, 1] },
    { parts: 3, order: [[0, 1], 2] },
    { parts: 4, order: [[0, 1], [2, 3]] },
    { parts: 5, order: [[[0, 1], 2], [3, 4]] },
    { parts: 8, order: [[[0, 1], [2, 3]], [[4, 5], [6, 7]]] },
    { parts: 11, order: [[[0, 1], [2, 3], [4, 5]], [[6, 7], [8, 9], 10]] },
  ])('of $parts parts are added up in the order $order, to the last bit', ({ parts, order }) => {
    const state = randomState(conv, 1);
    const batch = randomBatch(conv, parts, 2);
    const network = engine.compile(conv, { microBatch: 1 });
    const ofPart: Map<string, Float32Array>[] = [];
    const perInput = batch.inputs.length / parts;
    for (let i = 0; i < parts; i++) {
      const part = {
        inputs: batch.inputs.slice(i * perInput, (i + 1) * perInput),
        labels: batch.labels.slice(i, i + 1),
        count: 1,
        wholeCount: parts,
      };
      network.eachRun(state, [[[[part]]]], [], (_, gradients) =>
        ofPart.push(new Map([...gradients].map(([name, { data }]) => [name, data]))),
      );
    }
    const added = (name: string, [first, ...others]: Order): Float32Array => {
      const valueOf = (part: number | Order): Float32Array =>
        typeof part === 'number' ? (ofPart[part]?.get(name) as Float32Array) : added(name, part);
      const plus = (sum: Float32Array, addend: Float32Array): Float32Array => sum.map((value, k) => value + (addend[k] as number));
      return others.map(valueOf).reduce(plus, valueOf(first as number | Order));
    };
    for (const [name, { data }] of network.gradient(state, [batch]).gradients) expect(data, name).toEqual(added(name, order));
  });
  it('are refused for batch norm, naming the layer', () => {
    expect(() => engine.compile(resnet, { microBatch: 4 })).toThrow(UnsupportedError);
    expect(() => engine.compile(resnet, { microBatch: 4 })).toThrow(/bn1/);
  });
});

describe('any string may be the name of a node', () => {
  const sums = (builder: GraphBuilder, [p, q, r]: readonly [string, string, string]) => builder.add({ op: 'add', name: 's' }, p, q, r);
  const tokens = (op: 'select_token' | 'mean_tokens') => (builder: GraphBuilder, [p]: readonly [string, string, string]) =>
    builder.add({ op, name: 's' }, builder.add({ op: 'reshape', shape: [1, 4] }, p));
  const reshaped = (builder: GraphBuilder, [p]: readonly [string, string, string]) =>
    builder.add({ op: 'flatten' }, builder.add({ op: 'reshape', name: 's', shape: [2, 2] }, p));
  // What values on the way to that of "s" are called in errors, or were.
  it.each<[string, (builder: GraphBuilder, values: readonly [string, string, string]) => string]>([
    ['s (first 2 of 3)', sums],
    ['s (first 2)', sums],
    ['s (flat)', reshaped],
    ['s (token)', tokens('select_token')],
    ['s (column)', tokens('mean_tokens')],
    ['s (mean)', tokens('mean_tokens')],
  ])('also %s, read behind the node "s"', (name, make) => {
    const builder = new GraphBuilder([4]);
    const dense = (called: string): string => builder.add({ op: 'dense', name: called, out: 4 }, builder.input);
    const values = [dense('p'), dense(name), dense('r')] as const;
    const graph = builder.build(builder.add({ op: 'add', name: 'end' }, make(builder, values), values[1], values[2]));
    const state = randomState(graph, 1);
    const batch = randomBatch(graph, 3, 2);
    expect(
      relativeError(engine.compile(graph).logits(state, batch), forward64(graph, as64(state), Float64Array.from(batch.inputs), 3, false)),
    ).toBeLessThan(1e-6);
  });
});

it('a state that is written to the heap has the gradient of its arrays, filters included', () => {
  const { parameters, buffers } = randomState(conv, 1);
  const batch = randomBatch(conv, 5, 2);
  const network = engine.compile(conv);
  const writeParameter = (name: string, pointer: number): void => {
    const { data } = parameters.get(name) as Tensor;
    core.f32(pointer, data.length).set(data);
  };
  expect(network.gradient({ writeParameter, buffers }, [batch])).toEqual(network.gradient({ parameters, buffers }, [batch]));
  const refused = (): never => {
    throw new InvalidArgumentError({ field: 'point', expected: 'numbers', got: 'none' });
  };
  expect(() => network.gradient({ writeParameter: refused, buffers }, [batch])).toThrow(InvalidArgumentError);
  expect(engine.memory.liveTensors).toBe(0);
});

it('a gradient in the arrays of another is the same, and leaves the batch as it is', () => {
  const network = engine.compile(mlp, { factored: ['linear1.weight'] });
  const [first, second] = [randomBatch(mlp, 9, 2), randomBatch(mlp, 9, 3)];
  const [inputs, expected] = [first.inputs.slice(), network.gradient(randomState(mlp, 4), [second])];
  const before = network.gradient(randomState(mlp, 1), [first]);
  const after = network.gradient(randomState(mlp, 4), [second], before);
  expect(after).toEqual(expected);
  expect(after.factors.get('linear1.weight')?.left).toBe(before.factors.get('linear1.weight')?.left);
  expect(after.gradients.get('linear2.weight')?.data).toBe(before.gradients.get('linear2.weight')?.data);
  expect(first.inputs).toEqual(inputs);
  // Of another size they are of no use.
  expect(network.gradient(randomState(mlp, 4), [randomBatch(mlp, 5, 6)], after)).toEqual(
    network.gradient(randomState(mlp, 4), [randomBatch(mlp, 5, 6)]),
  );
});

it('a gradient over several batches is their mean', () => {
  const state = randomState(conv, 1);
  const batches = [randomBatch(conv, 5, 2), randomBatch(conv, 9, 3)];
  const network = engine.compile(conv);
  const single = batches.map((batch) => network.gradient(state, [batch]));
  const both = network.gradient(state, batches);
  expect(both.losses).toEqual(single.map(({ losses }) => losses[0]));
  for (const [name, { data }] of both.gradients) {
    const mean = data.map(
      (_, i) => ((single[0]?.gradients.get(name)?.data[i] as number) + (single[1]?.gradients.get(name)?.data[i] as number)) / 2,
    );
    expect(relativeError(data, mean), name).toBeLessThan(1e-6);
  }
});

it('evaluate counts over all batches what an f64 forward pass counts', () => {
  const state = randomState(resnet, 1);
  const batches = [randomBatch(resnet, 300, 2), randomBatch(resnet, 7, 3)];
  const { loss, accuracy, correct, count } = engine.compile(resnet).evaluate(state, batches);
  let losses = 0;
  let right = 0;
  for (const batch of batches) {
    const logits = forward64(resnet, as64(state), Float64Array.from(batch.inputs), batch.count, false);
    losses += loss64(logits, batch.labels, DEFAULT_LOSS) * batch.count;
    for (const [n, label] of batch.labels.entries()) {
      const row = [...logits.subarray(4 * n, 4 * n + 4)];
      if (row.indexOf(Math.max(...row)) === label) right++;
    }
  }
  expect(count).toBe(307);
  expect(correct).toBe(right);
  expect(accuracy).toBe(right / 307);
  expect(Math.abs(loss - losses / 307)).toBeLessThan(1e-6);
});

it('estimateStatistics: cumulative average of batch mean and unbiased variance, parameters untouched', () => {
  // One dense layer before the norm, so that its statistics can be computed by hand.
  const graph = sequential([5], [{ op: 'dense', name: 'first', out: 3 }, { op: 'batch_norm', name: 'norm' }]);
  const state = randomState(graph, 1);
  const batches = [randomBatch(graph, 4, 2), randomBatch(graph, 6, 3)];
  const estimate = engine.compile(graph).estimateStatistics(state);
  expect(() => estimate.state()).toThrow('at least one batch');
  for (const batch of batches) estimate.add(batch);
  const estimated = estimate.state();
  expect(estimated.parameters).toBe(state.parameters);
  const weight = state.parameters.get('first.weight')?.data as Float32Array;
  const bias = state.parameters.get('first.bias')?.data as Float32Array;
  for (let c = 0; c < 3; c++) {
    const moments = batches.map(({ inputs, count }) => {
      const values = Array.from(
        { length: count },
        (_, n) =>
          Array.from({ length: 5 }, (_unused, i) => (inputs[5 * n + i] as number) * (weight[5 * c + i] as number)).reduce((a, b) => a + b) +
          (bias[c] as number),
      );
      const mean = values.reduce((a, b) => a + b) / count;
      return { mean, variance: values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (count - 1) };
    });
    const average = (pick: (m: { mean: number; variance: number }) => number) => moments.reduce((sum, m) => sum + pick(m), 0) / 2;
    expect(estimated.buffers.get('norm.running_mean')?.data[c]).toBeCloseTo(average(({ mean }) => mean), 5);
    expect(estimated.buffers.get('norm.running_var')?.data[c]).toBeCloseTo(average(({ variance }) => variance), 5);
  }
});

it('estimateStatistics: of a batch that fails nothing stays', () => {
  const graph = sequential([5], [{ op: 'dense', name: 'first', out: 3 }, { op: 'batch_norm', name: 'norm' }]);
  const state = randomState(graph, 1);
  const network = engine.compile(graph);
  const [spoiled, clean] = [network.estimateStatistics(state), network.estimateStatistics(state)];
  expect(() => spoiled.add(randomBatch(graph, 1, 2))).toThrow(/at least 2 values/);
  for (const estimate of [spoiled, clean]) estimate.add(randomBatch(graph, 8, 3));
  expect(spoiled.state().buffers).toEqual(clean.state().buffers);
});

it('pools averages of more pixels than the winner of a maximum can be named among, whose graph is refused', () => {
  const average = sequential([1, 257, 257], [{ op: 'global_average_pool' }, { op: 'flatten' }, { op: 'dense', name: 'head', out: 2 }]);
  const state = randomState(average, 1);
  const batch = randomBatch(average, 1, 2);
  const mean = [...batch.inputs].reduce((sum, x) => sum + x, 0) / batch.inputs.length;
  const [weight, bias] = ['head.weight', 'head.bias'].map((name) => state.parameters.get(name)?.data as Float32Array);
  const logits = engine.compile(average).logits(state, batch);
  for (const c of [0, 1]) expect(logits[c]).toBeCloseTo((weight?.[c] as number) * mean + (bias?.[c] as number), 6);
  for (const layer of [{ op: 'global_max_pool' }, { op: 'max_pool', kernel: 257 }] as const)
    expect(() => sequential([1, 257, 257], [layer, { op: 'flatten' }])).toThrow(/at most 65536 pixels.*257×257/);
});

it('adds up the gradient of a token that occurs everywhere to f64', () => {
  const [count, numbers, columns] = [16_384, 3, 5];
  core.scoped((scratch) => {
    const rows = scratch.upload(Float32Array.from({ length: count * columns }, (_, i) => 0.1 + (i % columns)));
    const indices = scratch.upload(Int32Array.from({ length: count }, (_, i) => (i === 7 ? 2 : 1)));
    const table = scratch.upload(new Float32Array(numbers * columns).fill(9));
    core.kernels.sumRowsF32(
      rows, indices, table, count, numbers, columns, scratch.bytes(core.kernels.sumRowsScratchBytes(count, numbers, columns)),
    );
    const sums = core.f32(table, numbers * columns);
    for (let j = 0; j < columns; j++) {
      const value = Math.fround(0.1 + j);
      expect([0, 1, 2].map((v) => sums[v * columns + j])).toEqual([0, Math.fround((count - 1) * value), value]);
    }
  });
});

describe('trainer', () => {
  const one = (value: number): NetworkState => ({
    parameters: new Map([
      ['fc.weight', { shape: [2, 1], data: Float32Array.of(value, -value) }],
    ]),
    buffers: new Map(),
  });
  const graph = sequential([1], [{ op: 'dense', name: 'fc', out: 2, bias: false }]);
  const batch = { inputs: Float32Array.of(1), labels: Int32Array.of(0), count: 1 };
  /** Gradient of the first weight: softmax − 1. */
  const slope = (w: number): number => 1 / (1 + Math.exp(-2 * w)) - 1;

  it('SGD with momentum and weight decay in torch’s form, three steps by hand', () => {
    using trainer = engine.compile(graph).trainer(one(0.5), { kind: 'sgd', momentum: 0.9, weightDecay: 0.01 });
    let w = 0.5;
    let v = 0;
    for (let step = 0; step < 3; step++) {
      expect(trainer.step(batch, 0.1)).toBeCloseTo(Math.log(1 + Math.exp(-2 * w)), 6);
      v = 0.9 * v + slope(w) + 0.01 * w;
      w -= 0.1 * v;
      expect(trainer.state().parameters.get('fc.weight')?.data[0]).toBeCloseTo(w, 6);
    }
  });

  it('AdamW in torch’s form, three steps by hand', () => {
    const [beta1, beta2, epsilon, weightDecay] = [0.9, 0.99, 1e-8, 0.1];
    using trainer = engine.compile(graph).trainer(one(0.5), { kind: 'adamw', beta1, beta2, epsilon, weightDecay });
    let [w, m, v] = [0.5, 0, 0];
    for (let step = 1; step <= 3; step++) {
      trainer.step(batch, 0.1);
      const g = slope(w);
      w *= 1 - 0.1 * weightDecay;
      m = beta1 * m + (1 - beta1) * g;
      v = beta2 * v + (1 - beta2) * g * g;
      w -= (0.1 * (m / (1 - beta1 ** step))) / (Math.sqrt(v / (1 - beta2 ** step)) + epsilon);
      expect(trainer.state().parameters.get('fc.weight')?.data[0]).toBeCloseTo(w, 6);
    }
  });

  it('moves running statistics by the layer’s momentum, and frees everything when disposed', () => {
    const state = randomState(resnet, 1);
    const network = engine.compile(resnet);
    const trainer = network.trainer(state, { kind: 'sgd', momentum: 0, weightDecay: 0 });
    const batch8 = randomBatch(resnet, 8, 2);
    const estimate = network.estimateStatistics(state);
    estimate.add(batch8);
    const fresh = estimate.state();
    trainer.step(batch8, 0.01);
    const moved = trainer.state();
    for (const [name, { data }] of state.buffers) {
      const want = data.map((before, i) => 0.9 * before + 0.1 * (fresh.buffers.get(name)?.data[i] as number));
      expect(relativeError(moved.buffers.get(name)?.data as Float32Array, want), name).toBeLessThan(1e-6);
    }
    trainer[Symbol.dispose]();
    expect(engine.memory.liveTensors).toBe(0);
    expect(core.liveAllocations).toBe(0);
    expect(() => trainer.step(batch8, 0.01)).toThrow(InvalidArgumentError);
  });
});

it('group norm of one large value everywhere is its offset: a variance that rounds below zero is none', () => {
  const graph = sequential(
    [2, 33, 31],
    [{ op: 'group_norm', name: 'norm', groups: 1 }, { op: 'flatten' }, { op: 'dense', name: 'head', out: 3 }],
  );
  const state = randomState(graph, 1);
  const [offset, bias, weight] = ['norm.bias', 'head.bias', 'head.weight'].map((name) => (state.parameters.get(name) as Tensor).data) as [
    Float32Array, Float32Array, Float32Array,
  ];
  const expected = bias.map((b, row) => {
    const own = weight.subarray(2046 * row, 2046 * (row + 1));
    return own.reduce((sum, w, i) => sum + w * (offset[i < 1023 ? 0 : 1] as number), b);
  });
  for (const value of [9_999_991, 12_345_679, 16_777_213]) {
    const scores = engine.compile(graph).logits(state, { inputs: new Float32Array(2046).fill(value), labels: Int32Array.of(0), count: 1 });
    expect(relativeError(scores, expected), `${value}`).toBeLessThan(1e-5);
  }
});

describe('bad input is refused by name', () => {
  const state = randomState(mlp, 1);
  const good = randomBatch(mlp, 4, 2);
  const tokens = preset('gpt2', { input: [3], classes: 5, width: 4, depth: 1, heads: 1 });
  const ids = { inputs: Int32Array.of(1, 2, 3), labels: Int32Array.of(2, 3, 4), count: 1 };
  const cases: [string, () => unknown, RegExp][] = [
    ['no batches', () => engine.compile(mlp).gradient(state, []), /batches/],
    ['statistics of no batch norm', () => engine.compile(resnet).estimateStatistics(randomState(resnet, 1)).addFound([]), /statistics/],
    [
      'statistics of another network',
      () => {
        const narrower = preset('resnet-small', { input: [1, 8, 8], classes: 4, width: 2 });
        const found = engine.compile(narrower).batchStatistics(randomState(narrower, 1), randomBatch(narrower, 4, 2));
        engine.compile(resnet).estimateStatistics(randomState(resnet, 1)).addFound(found);
      },
      /statistics: expected those of each batch norm/,
    ],
    ['no images', () => engine.compile(mlp).evaluate(state, []), /batches/],
    ['a label below zero', () => engine.compile(mlp).gradient(state, [{ ...good, labels: Int32Array.of(0, -1, 1, 0) }]), /labels\[1\]/],
    ...([['below zero', -1], ['beyond the vocabulary', 5]] as const).map(([where, token]): [string, () => unknown, RegExp] => [
      `a token ${where}`,
      () => engine.compile(tokens).logits(randomState(tokens, 1), { ...ids, inputs: Int32Array.of(1, 2, token) }),
      /inputs\[2\]/,
    ]),
    ['a label out of range', () => engine.compile(mlp).gradient(state, [{ ...good, labels: Int32Array.of(0, 1, 3, 0) }]), /labels\[2\]/],
    [
      'labels of another width',
      () => engine.compile(mlp).gradient(state, [{ ...good, labels: Uint8Array.from(good.labels) as never }]),
      /batch\.labels.*Int32Array/,
    ],
    [
      'inputs of another width',
      () => engine.compile(mlp).gradient(state, [{ ...good, inputs: Uint8Array.from(good.inputs) as never }]),
      /batch\.inputs.*Float32Array/,
    ],
    ['too few inputs', () => engine.compile(mlp).gradient(state, [{ ...good, inputs: good.inputs.subarray(1) }]), /batch\.inputs/],
    ['an empty batch', () => engine.compile(mlp).gradient(state, [{ ...good, count: 0 }]), /batch\.count/],
    ['a missing parameter', () => engine.compile(mlp).gradient({ ...state, parameters: new Map() }, [good]), /linear1\.weight/],
    ['a micro-batch of 0', () => engine.compile(mlp, { microBatch: 0 }), /microBatch/],
    ...(['beta1', 'beta2'] as const).map((name): [string, () => unknown, RegExp] => [
      // 1 − βᵗ would be 0, and every weight NaN after the first step.
      `a ${name} of 1`,
      () => {
        const adamw = { kind: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 } as const;
        engine.compile(mlp).trainer(state, { ...adamw, [name]: 1 });
      },
      new RegExp(`optimiser\\.${name}`),
    ]),
    [
      'an epsilon that is 0 in f32',
      () => engine.compile(mlp).trainer(state, { kind: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-46, weightDecay: 0 }),
      /optimiser\.epsilon/,
    ],
    ['a negative weight decay', () => engine.compile(mlp).trainer(state, { kind: 'sgd', momentum: 0, weightDecay: -1 }), /weightDecay/],
    [
      'one value a channel',
      () =>
        engine
          .compile(sequential([2], [{ op: 'batch_norm', name: 'norm' }]))
          .gradient(randomState(sequential([2], [{ op: 'batch_norm', name: 'norm' }]), 1), [
            { inputs: new Float32Array(2), labels: Int32Array.of(0), count: 1 },
          ]),
      /norm: expected at least 2 values a channel for batch norm/,
    ],
  ];
  for (const [name, body, pattern] of cases) {
    it(name, () => {
      expect(body).toThrow(pattern);
      expect(engine.memory.liveTensors).toBe(0);
    });
  }
});

it('the peak of tensors holds parameters, gradients and images at once, and begins anew', () => {
  engine.resetPeak();
  expect(engine.memory.peakTensorBytes).toBe(0);
  const batch = randomBatch(mlp, 16, 2);
  const parameterBytes = 4 * (8 * 6 + 8 + 3 * 8 + 3);
  engine.compile(mlp).gradient(randomState(mlp, 1), [batch]);
  expect(engine.memory.peakTensorBytes).toBeGreaterThanOrEqual(2 * parameterBytes + 4 * 16 * 6);
  engine.resetPeak();
  expect(engine.memory.peakTensorBytes).toBe(0);
});

it('a hundred gradients leave the heap as large as ten', () => {
  const state = randomState(conv, 1);
  const batch = randomBatch(conv, 8, 2);
  const network = engine.compile(conv);
  for (let i = 0; i < 10; i++) network.gradient(state, [batch]);
  const { heapBytes } = engine.memory;
  for (let i = 0; i < 90; i++) network.gradient(state, [batch]);
  expect(engine.memory.heapBytes).toBe(heapBytes);
});

describe('gradients in factors', () => {
  // Where the layer reads the input itself, its factors share the batch's numbers, which must stand in the order that the layer saw.
  const nets = {
    vectors: mlp,
    'one channel, flattened': sequential([1, 3, 2], [{ op: 'flatten' }, { op: 'dense', name: 'linear1', out: 8 }]),
    'two channels, flattened': sequential([2, 3, 2], [{ op: 'flatten' }, { op: 'dense', name: 'linear1', out: 8 }]),
    'two channels as tokens, flattened': sequential(
      [2, 3, 2],
      [{ op: 'tokens' }, { op: 'flatten' }, { op: 'dense', name: 'linear1', out: 8 }],
    ),
    // Written over the input on the heap, which is no longer what the caller holds.
    'a rectifier of the input': sequential([6], [{ op: 'relu' }, { op: 'dense', name: 'linear1', out: 8 }]),
    'channels of one pixel': sequential([6, 1, 1], [{ op: 'flatten' }, { op: 'dense', name: 'linear1', out: 8 }]),
  };
  const factored = ['linear1.weight'];
  for (const [kind, graph] of Object.entries(nets)) {
    const batches = [randomBatch(graph, 9, 2), randomBatch(graph, 9, 3)];
    for (const options of [{}, { microBatch: 4 }]) {
      it(`multiply out to the gradient (${kind}, ${JSON.stringify(options)})`, () => {
        const state = randomState(graph, 1);
        const whole = engine.compile(graph, options).gradient(state, batches);
        const parts = engine.compile(graph, { ...options, factored }).gradient(state, batches);
        expect(parts.losses).toEqual(whole.losses);
        expect(new Map([...whole.gradients].filter(([name]) => name !== 'linear1.weight'))).toEqual(parts.gradients);
        const { shape: [rows, columns], data } = whole.gradients.get('linear1.weight') as Tensor & { readonly shape: [number, number] };
        const { terms, left, right } = parts.factors.get('linear1.weight') as NonNullable<ReturnType<typeof parts.factors.get>>;
        expect(terms).toBe(18);
        const product = Float64Array.from({ length: rows * columns }, (_, at) => {
          const [row, column] = [Math.floor(at / columns), at % columns];
          let sum = 0;
          for (let term = 0; term < terms; term++) sum += (left[term * rows + row] as number) * (right[term * columns + column] as number);
          return sum;
        });
        expect(relativeError(data, product)).toBeLessThan(1e-6);
        expect(engine.memory.liveTensors).toBe(0);
      });
    }
  }
  it('are those of dense layers of vectors alone', () => {
    expect(factorableWeights(conv)).not.toContain('conv1.weight');
    expect(factorableWeights(mlp)).toEqual(['linear1.weight', 'linear2.weight']);
    expect(() => engine.compile(conv, { factored: ['conv1.weight'] })).toThrow(InvalidArgumentError);
  });
});

describe('batches whose first layer is known', () => {
  const graph = preset('mlp', { input: [2, 3, 3], classes: 4, widths: [12, 7] });
  const state = randomState(graph, 3);
  const batch = randomBatch(graph, 9, 5);
  const { data: weight } = state.parameters.get('linear1.weight') as Tensor;
  const { data: bias } = state.parameters.get('linear1.bias') as Tensor;
  const firstOutputs = Float32Array.from({ length: 9 * 12 }, (_, at) => {
    const [row, unit] = [Math.floor(at / 12), at % 12];
    let sum = bias[unit] as number;
    for (let i = 0; i < 18; i++) sum += (batch.inputs[row * 18 + i] as number) * (weight[unit * 18 + i] as number);
    return sum;
  });
  const write = (first: number, count: number, pointer: number): void =>
    core.f32(pointer, count * 12).set(firstOutputs.subarray(first * 12, (first + count) * 12));
  /** Nothing may read the layer's own parameters. */
  const unread: NetworkState = {
    ...state,
    parameters: new Map([...state.parameters].map(([name, { shape, data }]) => [
      name, name.startsWith('linear1.') ? { shape, data: data.map(() => NaN) } : { shape, data },
    ])),
  };

  it.each([
    ['an array', firstOutputs, undefined],
    ['an array, in micro-batches', firstOutputs, 4],
    ['a writer', write, undefined],
    ['a writer, in micro-batches', write, 4],
  ])('have the gradient and the scores of whole ones, of %s', (_, known, microBatch) => {
    const network = engine.compile(graph, { factored: ['linear1.weight'], ...(microBatch === undefined ? {} : { microBatch }) });
    const before = core.tfjs.memory.buffer.byteLength;
    const [whole, started] = [
      network.gradient(state, [batch, batch]),
      network.gradient(unread, [{ ...batch, firstOutputs: known }, { ...batch, firstOutputs: known }]),
    ];
    expect(core.tfjs.memory.buffer.byteLength).toBe(before);
    expect(started.losses[0]).toBeCloseTo(whole.losses[0] as number, 6);
    expect([...started.gradients.keys()]).toEqual([...whole.gradients.keys()]);
    for (const [name, { data }] of whole.gradients)
      expect(relativeError((started.gradients.get(name) as Tensor).data, data), name).toBeLessThan(2e-6);
    const [own, wanted] = [started, whole].map(({ factors }) => factors.get('linear1.weight')) as [OuterProducts, OuterProducts];
    expect(relativeError(own.left, wanted.left)).toBeLessThan(2e-6);
    expect([own.terms, own.right]).toEqual([wanted.terms, wanted.right]);
    const scores = (scored: NetworkState, batches: readonly StartedBatch[]): Float32Array => {
      let all = new Float32Array(0);
      network.evaluate(scored, batches, (logits) => (all = Float32Array.from([...all, ...logits])));
      return all;
    };
    expect(relativeError(scores(unread, [{ ...batch, firstOutputs: known }]), scores(state, [batch]))).toBeLessThan(2e-6);
    // One batch of a gradient that is not known needs the parameters of all.
    expect(network.gradient(unread, [batch, { ...batch, firstOutputs: known }]).losses[0]).toBeNaN();
  });

  it('are refused where they do not fit, and where a gradient would need the inputs', () => {
    const wrong = { ...batch, firstOutputs: firstOutputs.subarray(1) };
    expect(() => engine.compile(graph).evaluate(state, [wrong])).toThrow(
      /batch.firstOutputs: expected 108 values in a Float32Array, or a function that writes them, got 107/,
    );
    const wide = { ...batch, firstOutputs: new Float64Array(108) as unknown as Float32Array };
    expect(() => engine.compile(graph).evaluate(state, [wide])).toThrow(/batch.firstOutputs: expected 108 values in a Float32Array/);
    const trainer = engine.compile(graph, { factored: ['linear1.weight'] }).trainer(state, { kind: 'sgd', momentum: 0, weightDecay: 0 });
    expect(() => trainer.step({ ...batch, firstOutputs } as Batch, 0.1)).toThrow(
      /none, unless the gradient of "linear1.weight" stays in factors/,
    );
    trainer[Symbol.dispose]();
    expect(() => engine.compile(graph).gradient(state, [{ ...batch, firstOutputs }])).toThrow(
      /none, unless the gradient of "linear1.weight" stays in factors/,
    );
    const images = randomBatch(conv, 2, 1);
    expect(() => engine.compile(conv).evaluate(
      randomState(conv, 1), [{ ...images, firstOutputs }],
    )).toThrow(/batch.firstOutputs: expected none/);
  });
});
