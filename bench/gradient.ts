/**
 * npm run -s bench:gradient [-- products|convolutions|depthwise|networks|transformers|memory …] [--json]
 *
 * Speeds as ratios to Y, the product that stock tfjs-wasm (XNNPACK) computes: NN 1024³, in this process, measured before and after
 * every sample. Times are CPU time of the process, samples are interleaved, a figure is the median of its ratios: that holds on
 * a busy machine, where GFLOP/s do not.
 */
import { cpus } from 'node:os';
import { openCore, type Core, type Scratch } from '../src/core/core.ts';
import { matmul } from '../src/core/matmul.ts';
import { engine, type Tensor } from '#tfjs';
import { openGradientEngine, type GradientEngine } from '../src/gradient/engine.ts';
import type { Batch } from '../src/data/image-set.ts';
import { gradientCost } from '../src/model/cost.ts';
import { initialise } from '../src/model/initialise.ts';
import { preset } from '../src/model/presets.ts';
import { getTensor } from '../src/tensor/tensor.ts';
import type { ModelGraph } from '../src/model/graph.ts';
import { attentionBlock, stockAttentionBlock } from './attention-block.ts';
import { depthwise } from './gradient-depthwise.ts';
import { openStockTfjs, type StockTfjs } from './stock-tfjs.ts';

const words = process.argv.slice(2);
const json = words.includes('--json');
const sections = words.filter((word) => word !== '--json');
const wanted = (section: string): boolean => sections.length === 0 || sections.includes(section);

function print(record: { readonly [field: string]: string | number }): void {
  if (json) console.log(JSON.stringify(record));
  else console.log(Object.entries(record).map(([field, value]) => `${field} ${typeof value === 'number' ? Number(value.toPrecision(3)) : value}`).join('  '));
}

/** CPU milliseconds of a synchronous body. */
function cpuMs(body: () => void): number {
  const before = process.cpuUsage();
  body();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] as number;

interface Yardstick {
  /** GFLOP/s of one stock product now. */
  measure(): number;
}

function stockYardstick(stock: StockTfjs): Yardstick {
  const a = stock.randomUniform([1024, 1024]);
  const b = stock.randomUniform([1024, 1024]);
  const once = (): void => {
    const c = stock.matMul(a, b);
    c.dataSync();
    c.dispose();
  };
  for (let i = 0; i < 4; i++) once();
  return { measure: () => (2 * 1024 ** 3) / cpuMs(once) / 1e6 };
}

/** Ratio of `flops` over `body`'s time to Y, and both speeds; the body is repeated to last about 60 ms a sample. */
function against(yardstick: Yardstick, flops: number, body: () => void): { ratio: number; gflops: number; y: number; ms: number } {
  body();
  const repeats = Math.max(1, Math.round(60 / Math.max(1, cpuMs(body))));
  const samples = Array.from({ length: 5 }, () => {
    const before = yardstick.measure();
    const ms = cpuMs(() => {
      for (let i = 0; i < repeats; i++) body();
    }) / repeats;
    const y = (before + yardstick.measure()) / 2;
    const gflops = flops / ms / 1e6;
    return { ratio: gflops / y, gflops, y, ms };
  });
  const middle = samples.toSorted((a, b) => a.ratio - b.ratio)[2];
  return middle as (typeof samples)[number];
}

function products(core: Core, yardstick: Yardstick): void {
  for (const [m, k, n] of [[512, 512, 512], [1024, 1024, 1024], [2048, 2048, 2048], [128, 784, 4096]] as const) {
    core.scoped((scratch: Scratch) => {
      const a = scratch.upload(new Float32Array(m * k).fill(0.5));
      const b = scratch.upload(new Float32Array(k * n).fill(0.25));
      const c = scratch.f32(m * n);
      for (const form of ['NN', 'NT', 'TN'] as const) {
        const { ratio, gflops, y } = against(yardstick, 2 * m * n * k, () =>
          matmul(core, { a, b, c, m, n, k, transposeA: form[0] === 'T', transposeB: form[1] === 'T' }),
        );
        print({ bench: 'product', form, size: `${m}×${k}×${n}`, 'ratio to Y': ratio, 'GFLOP/s': gflops, Y: y, bar: 1.2 });
      }
    });
  }
}

/** Name, images, extent, channels in and out, kernel, stride, groups, bar. */
const convolutionShapes = [
  ['Conv8 64→64 at 32²', 16, 32, 64, 64, 3, 1, 1, 1.3],
  ['Conv8 128→128 at 16²', 16, 16, 128, 128, 3, 1, 1, 1.3],
  ['Conv8 256→256 at 8²', 16, 8, 256, 256, 3, 1, 1, 1.3],
  ['Conv8 512→512 at 4²', 16, 4, 512, 512, 3, 1, 1, 1.3],
  ['ResNet-18 64→64 at 56²', 4, 56, 64, 64, 3, 1, 1, 1.3],
  ['ResNet-18 64→128 at 56², stride 2', 4, 56, 64, 128, 3, 2, 1, 0.9],
  ['ResNet-18 stem 7×7 3→64 at 112², stride 2', 4, 112, 3, 64, 7, 2, 1, 0.9],
  ['1×1 256→256 at 14²', 8, 14, 256, 256, 1, 1, 1, 1.1],
] as const;

function convolutions(yardstick: Yardstick): void {
  for (const [name, count, extent, channels, out, kernel, stride, groups, bar] of convolutionShapes) {
    const pad = (kernel - 1) / 2;
    const side = Math.floor((extent + 2 * pad - kernel) / stride) + 1;
    const flops = 2 * count * side * side * out * (channels / groups) * kernel * kernel;
    const random = (shape: number[]): Tensor =>
      engine().makeTensor(Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => ((i * 7919) % 1009) / 1009 - 0.5), shape, 'float32');
    const x = random([count, extent, extent, channels]);
    const filter = random([kernel, kernel, channels / groups, out]);
    const dy = random([count, side, side, out]);
    const attrs = { strides: [stride, stride], pad: [[0, 0], [pad, pad], [pad, pad], [0, 0]], dataFormat: 'NHWC', dilations: [1, 1], groups };
    const directions = {
      forward: ['Conv2D', { x, filter }, attrs],
      'input gradient': ['Conv2DBackpropInput', { dy, filter }, { ...attrs, inputShape: x.shape }],
      'filter gradient': ['Conv2DBackpropFilter', { x, dy }, { ...attrs, filterShape: filter.shape }],
    } as const;
    for (const [direction, [kernelName, inputs, attributes]] of Object.entries(directions)) {
      const { ratio, gflops, y } = against(yardstick, flops, () => {
        (engine().runKernel(kernelName, inputs as never, attributes as never) as unknown as Tensor).dispose();
      });
      print({ bench: 'convolution', direction, shape: name, 'ratio to Y': ratio, 'GFLOP/s': gflops, Y: y, bar });
    }
    for (const tensor of [x, filter, dy]) tensor.dispose();
  }
}

function batchOf(graph: ModelGraph, count: number, classes: number): Batch {
  const inputs = Float32Array.from({ length: count * graph.input.reduce((a, b) => a * b) }, (_, i) => ((i * 7919) % 1009) / 1009);
  return { inputs, labels: Int32Array.from({ length: count }, (_, i) => i % classes), count };
}

/** A gradient step of the MLP in stock tfjs-wasm: the tape's NT and TN products take its scalar path. */
function stockMlp(stock: StockTfjs, widths: readonly number[], count: number): () => void {
  const x = stock.randomUniform([count, widths[0] as number]);
  const labels = stock.oneHot(Array.from({ length: count }, (_, i) => i % 10), 10);
  const weights = widths.slice(1).map((width, i) => stock.randomUniform([widths[i] as number, width], -0.05, 0.05));
  const loss = (...values: ReturnType<StockTfjs['tensor']>[]) => {
    let hidden = x;
    for (const [i, weight] of values.entries()) {
      hidden = stock.matMul(hidden, weight);
      if (i + 1 < values.length) hidden = stock.relu(hidden);
    }
    return stock.losses.softmaxCrossEntropy(labels, hidden) as ReturnType<StockTfjs['scalar']>;
  };
  return () => stock.tidy(() => stock.grads(loss)(weights).forEach((gradient) => gradient.dataSync()));
}

function networks(core: Core, gradients: GradientEngine, stock: StockTfjs, yardstick: Yardstick): void {
  const mlp = preset('mlp', { input: [784], classes: 10, widths: [512, 512] });
  const state = initialise(core, mlp, { seed: 1 });
  const batch = batchOf(mlp, 128, 10);
  using network = gradients.compile(mlp);
  using trainer = network.trainer(state, { kind: 'sgd', momentum: 0.9, weightDecay: 0 });
  const ours = (): void => void network.gradient(state, [batch]);
  const stockStep = stockMlp(stock, [784, 512, 512, 10], 128);
  for (const body of [ours, stockStep]) for (let i = 0; i < 3; i++) body();
  const pairs = Array.from({ length: 7 }, () => ({ stock: cpuMs(stockStep), ours: cpuMs(ours), step: cpuMs(() => trainer.step(batch, 1e-3)) }));
  print({
    bench: 'network', network: 'MLP 784-512-512-10, batch 128',
    'gradient ms': median(pairs.map(({ ours: ms }) => ms)), 'training step ms': median(pairs.map(({ step }) => step)),
    'stock gradient ms': median(pairs.map(({ stock: ms }) => ms)), 'times stock': median(pairs.map(({ stock: s, ours: o }) => s / o)), bar: 10,
  });
  const conv8 = preset('conv8', { input: [3, 32, 32], classes: 10 });
  const images = batchOf(conv8, 16, 10);
  using conv8Network = gradients.compile(conv8);
  const conv8State = initialise(core, conv8, { seed: 1 });
  // A gradient costs three products a weight and pixel; the first layer needs no input gradient.
  const { ms, y } = against(yardstick, 0, () => void conv8Network.gradient(conv8State, [images]));
  print({ bench: 'network', network: 'Conv8 full width, batch 16', 'ms an image': ms / 16, 'ratio to 1.26 GFLOP ÷ Y': ms / 16 / (1260 / y), Y: y, bar: 0.95 });
}

function transformers(core: Core, gradients: GradientEngine, stock: StockTfjs, yardstick: Yardstick): void {
  const size = { count: 16, tokens: 65, width: 128, heads: 4 };
  const stockStep = stockAttentionBlock(stock, size);
  for (const withMlp of [false, true]) {
    const graph = attentionBlock(size, withMlp);
    const state = initialise(core, graph, { seed: 1 });
    const batch = batchOf(graph, size.count, 10);
    using network = gradients.compile(graph);
    const ours = (): void => void network.gradient(state, [batch]);
    const { flops } = gradientCost(graph, size.count);
    const { ratio, ms, y, gflops } = against(yardstick, flops, ours);
    print({
      bench: 'network', network: `${withMlp ? 'transformer block (no bar of its own)' : 'attention block'}, batch 16, 65 tokens, width 128, 4 heads`,
      'gradient ms': ms, 'GFLOP/s': gflops, Y: y, 'time ÷ (FLOPs ÷ Y)': 1 / ratio, bar: 1.5,
    });
    if (withMlp) continue;
    for (let i = 0; i < 2; i++) stockStep();
    const pairs = Array.from({ length: 5 }, () => ({ stock: cpuMs(stockStep), ours: cpuMs(ours) }));
    print({
      bench: 'network', network: 'attention block against stock', 'gradient ms': median(pairs.map(({ ours: o }) => o)),
      'stock gradient ms': median(pairs.map(({ stock: s }) => s)), 'times stock': median(pairs.map(({ stock: s, ours: o }) => s / o)), bar: 4,
    });
  }
}

async function memory(): Promise<void> {
  const conv8 = preset('conv8', { input: [3, 32, 32], classes: 10 });
  for (const [microBatch, count] of [[128, 128], [32, 128], [16, 128]] as const) {
    using core = await openCore();
    using gradients = openGradientEngine(core);
    using network = gradients.compile(conv8, { microBatch });
    network.gradient(initialise(core, conv8, { seed: 1 }), [batchOf(conv8, count, 10)]);
    const MB = 2 ** 20;
    print({
      bench: 'memory', network: 'Conv8 full width, batch 128', 'micro-batch': microBatch,
      'peak heap MB': core.heapBytes / MB, 'peak tensors MB': gradients.memory.peakTensorBytes / MB, 'stock MB': 960, bar: 350,
    });
  }
}

/** A gradient of half-width Conv8 under an edge isolate's heap gives the bytes of an uncapped one. */
async function capped(): Promise<void> {
  const graph = preset('conv8', { input: [3, 32, 32], classes: 10, width: 0.5 });
  const gradientUnder = async (heapLimitBytes?: number) => {
    using core = await openCore(heapLimitBytes === undefined ? {} : { heapLimitBytes });
    using gradients = openGradientEngine(core);
    using network = gradients.compile(graph, { microBatch: 16 });
    const result = network.gradient(initialise(core, graph, { seed: 1 }), [batchOf(graph, 128, 10)]);
    return { result, heapBytes: core.heapBytes };
  };
  const free = await gradientUnder();
  const tight = await gradientUnder(96 * 2 ** 20);
  const same = [...free.result.gradients].every(([name, { data }]) =>
    Buffer.from(data.buffer).equals(Buffer.from(getTensor(tight.result.gradients, name).data.buffer)),
  );
  print({
    bench: 'memory', network: 'Conv8 half width, batch 128', 'micro-batch': 16, 'heap cap MB': 96,
    'peak heap MB': tight.heapBytes / 2 ** 20, 'same bytes as uncapped': String(same),
  });
}

const versions = { node: process.version, v8: process.versions.v8, tfjs: '4.22.0', cpu: cpus()[0]?.model.trim() ?? 'unknown', cores: cpus().length };
if (!json) console.log(Object.entries(versions).map(([name, value]) => `${name} ${value}`).join(', '));
else print({ bench: 'machine', ...versions });
if (['products', 'convolutions', 'depthwise', 'networks', 'transformers'].some(wanted)) {
  const stock = await openStockTfjs();
  const yardstick = stockYardstick(stock);
  using core = await openCore();
  using gradients = openGradientEngine(core);
  if (wanted('products')) products(core, yardstick);
  if (wanted('convolutions')) convolutions(yardstick);
  if (wanted('depthwise')) depthwise(core, stock, cpuMs, print);
  if (wanted('networks')) networks(core, gradients, stock, yardstick);
  if (wanted('transformers')) transformers(core, gradients, stock, yardstick);
}
if (wanted('memory')) {
  await memory();
  await capped();
}
