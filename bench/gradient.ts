/**
 * npm run -s bench:gradient [-- products|convolutions|depthwise|networks|transformers|memory …] [--json]
 *
 * Speeds as ratios to Y, the product that stock tfjs-wasm (XNNPACK) computes: NN 1024³, in this process, measured before and after
 * every sample. Times are CPU time of the process, samples are interleaved, a figure is the median of its ratios: that holds on
 * a busy machine, where GFLOP/s do not. Exits 1 where a figure misses its bar.
 */
import { cpus } from 'node:os';
import { openCore, type Core, type Scratch } from '../src/core/core.ts';
import { matmul } from '../src/core/matmul.ts';
import { engine, type Tensor } from '#tfjs';
import { openGradientEngine, type GradientEngine } from '../src/gradient/engine.ts';
import type { GradientResult } from '../src/gradient/network.ts';
import type { Batch } from '../src/data/batch.ts';
import { gradientCost } from '../src/model/cost.ts';
import { imageSet } from '../src/data/image-set.ts';
import { fitGradient, gradientHeapBytes } from '../src/gradient/memory.ts';
import { openCompute, plan, stateSha256, trajectoryFromStates, transfer } from '../src/index.ts';
import { initialise } from '../src/model/initialise.ts';
import { preset } from '../src/model/presets.ts';
import type { NetworkState } from '../src/tensor/tensor.ts';
import type { ModelGraph } from '../src/model/graph.ts';
import { attentionBlock, stockAttentionBlock } from './attention-block.ts';
import { depthwise } from './gradient-depthwise.ts';
import { median, timed, warmUp } from './measure.ts';
import { openStockTfjs, type StockTfjs } from './stock-tfjs.ts';

const MB = 2 ** 20;
const words = process.argv.slice(2);
const json = words.includes('--json');
const sections = words.filter((word) => word !== '--json');
const wanted = (section: string): boolean => sections.length === 0 || sections.includes(section);

let short = false;

/** Prints a figure and whether it meets its bar; the process fails where one does not. */
function judge(record: { readonly [field: string]: string | number }, figure: number, relation: 'at least' | 'at most', bar: number): void {
  const pass = relation === 'at least' ? figure >= bar : figure <= bar;
  short ||= !pass;
  print({ ...record, bar: `${relation} ${bar}`, verdict: pass ? 'pass' : 'SHORT' });
}

function print(record: { readonly [field: string]: string | number }): void {
  if (json) console.log(JSON.stringify(record));
  else
    console.log(
      Object.entries(record)
        .map(([field, value]) => `${field} ${typeof value === 'number' ? Number(value.toPrecision(3)) : value}`)
        .join('  '),
    );
}

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
  // In one of ten runs, four calls left V8's quickly compiled code in place for good, at 13 GFLOP/s instead of 30.
  warmUp(once, 1);
  return { measure: () => (2 * 1024 ** 3) / timed(1, once) / 1e6 };
}

/** Ratio of `flops` over `body`'s time to Y, and both speeds; a sample is some 60 ms of calls of the compiled body. */
function against(yardstick: Yardstick, flops: number, body: () => void): { ratio: number; gflops: number; y: number; ms: number } {
  const repeats = 3 * warmUp(body, 20);
  const samples = Array.from({ length: 5 }, () => {
    const before = yardstick.measure();
    const ms = timed(repeats, body);
    const y = (before + yardstick.measure()) / 2;
    const gflops = flops / ms / 1e6;
    return { ratio: gflops / y, gflops, y, ms };
  });
  const middle = samples.toSorted((a, b) => a.ratio - b.ratio)[2];
  return middle as (typeof samples)[number];
}

/**
 * Medians of the milliseconds of two compiled bodies, called in turn, and of the ratios of the first to the second. Samples are some
 * 60 ms, as in `against`: the first call after the other body finds none of its data in the caches (an MLP's gradient 10.7 ms, then 8.9).
 */
function inTurn(first: () => void, second: () => void): { readonly first: number; readonly second: number; readonly ratio: number } {
  const repeats = [3 * warmUp(first, 20), 3 * warmUp(second, 20)] as const;
  const pairs = Array.from({ length: 7 }, () => [timed(repeats[0], first), timed(repeats[1], second)] as const);
  return { first: median(pairs.map(([ms]) => ms)), second: median(pairs.map(([, ms]) => ms)), ratio: median(pairs.map(([a, c]) => a / c)) };
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
        judge({ bench: 'product', form, size: `${m}×${k}×${n}`, 'ratio to Y': ratio, 'GFLOP/s': gflops, Y: y }, ratio, 'at least', 1.2);
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
      engine().makeTensor(
        Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => ((i * 7919) % 1009) / 1009 - 0.5),
        shape,
        'float32',
      );
    const x = random([count, extent, extent, channels]);
    const filter = random([kernel, kernel, channels / groups, out]);
    const dy = random([count, side, side, out]);
    const attrs = {
      strides: [stride, stride], pad: [[0, 0], [pad, pad], [pad, pad], [0, 0]], dataFormat: 'NHWC', dilations: [1, 1], groups,
    };
    const directions = {
      forward: ['Conv2D', { x, filter }, attrs],
      'input gradient': ['Conv2DBackpropInput', { dy, filter, like: x }, attrs],
      'filter gradient': ['Conv2DBackpropFilter', { x, dy, like: filter }, attrs],
    } as const;
    for (const [direction, [kernelName, inputs, attributes]] of Object.entries(directions)) {
      const { ratio, gflops, y } = against(yardstick, flops, () => {
        (engine().runKernel(kernelName, inputs as never, attributes as never) as unknown as Tensor).dispose();
      });
      judge({ bench: 'convolution', direction, shape: name, 'ratio to Y': ratio, 'GFLOP/s': gflops, Y: y }, ratio, 'at least', bar);
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
  // Into the arrays of the one before, as a transfer does: 3 MB of fresh ones a call cost a tenth of it.
  let gradient: GradientResult | undefined;
  const ours = (): void => {
    gradient = network.gradient(state, [batch], gradient);
  };
  const stockStep = stockMlp(stock, [784, 512, 512, 10], 128);
  const { first: stockMs, second: oursMs, ratio: times } = inTurn(stockStep, ours);
  const step = (): void => void trainer.step(batch, 1e-3);
  const figures = {
    bench: 'network', network: 'MLP 784-512-512-10, batch 128', 'gradient ms': oursMs, 'training step ms': timed(warmUp(step, 20), step),
    'stock gradient ms': stockMs, 'times stock': times,
  };
  judge(figures, times, 'at least', 10);
  for (const [name, graph, count] of [
    ['Conv8 full width', preset('conv8', { input: [3, 32, 32], classes: 10 }), 16],
    ['small conv 14×14, width 32', preset('small-conv', { input: [1, 14, 14], classes: 10, width: 32 }), 128],
  ] as const) {
    const images = batchOf(graph, count, 10);
    using compiled = gradients.compile(graph);
    const start = initialise(core, graph, { seed: 1 });
    // A gradient costs three products a weight and pixel; the first layer needs no input gradient.
    const megaflops = gradientCost(graph, 1).flops / 1e6;
    const { ms, y } = against(yardstick, 0, () => void compiled.gradient(start, [images]));
    const share = ms / count / (megaflops / y);
    judge(
      { bench: 'network', network: `${name}, batch ${count}`, 'ms an image': ms / count, 'ratio to its FLOPs ÷ Y': share, Y: y },
      share,
      'at most',
      0.95,
    );
  }
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
    const figures = {
      bench: 'network',
      network: `${withMlp ? 'transformer block (no bar of its own)' : 'attention block'}, batch 16, 65 tokens, width 128, 4 heads`,
      'gradient ms': ms,
      'GFLOP/s': gflops,
      Y: y,
      'time ÷ (FLOPs ÷ Y)': 1 / ratio,
    };
    if (withMlp) {
      print(figures);
      continue;
    }
    judge(figures, 1 / ratio, 'at most', 1.5);
    const { first: stockMs, second: oursMs, ratio: times } = inTurn(stockStep, ours);
    const beside = {
      bench: 'network', network: 'attention block against stock', 'gradient ms': oursMs, 'stock gradient ms': stockMs, 'times stock': times,
    };
    judge(beside, times, 'at least', 4);
  }
}

async function memory(): Promise<void> {
  const conv8 = preset('conv8', { input: [3, 32, 32], classes: 10 });
  for (const [microBatch, count] of [[128, 128], [32, 128], [16, 128]] as const) {
    using core = await openCore();
    using gradients = openGradientEngine(core);
    using network = gradients.compile(conv8, { microBatch });
    network.gradient(initialise(core, conv8, { seed: 1 }), [batchOf(conv8, count, 10)]);
    const figures = {
      bench: 'memory',
      network: 'Conv8 full width, batch 128',
      'micro-batch': microBatch,
      'reckoned MB': gradientHeapBytes(conv8, microBatch, Math.ceil(count / microBatch)) / MB,
      'peak heap MB': core.heapBytes / MB,
      'peak tensors MB': gradients.memory.peakTensorBytes / MB,
      'stock MB': 960,
    };
    judge(figures, core.heapBytes / MB, 'at most', 350);
  }
}

/**
 * Whole batches of batch norm, and a transformer's, in less and less of a heap: values are computed anew on the way back. Each capped
 * gradient in turn with the one that keeps everything.
 */
async function recomputed(): Promise<void> {
  const image = { input: [3, 32, 32], classes: 10, stem: 'cifar' } as const;
  const jobs = [
    ['MobileNetV2, published width, batch 32', preset('mobilenet_v2', image), 32],
    ['ResNet-18, half width, batch 64', preset('resnet18', { ...image, width: 32 }), 64],
    ['ViT, width 128, depth 6, batch 64', preset('vit', { input: [3, 32, 32], classes: 10, width: 128, depth: 6, heads: 4 }), 64],
  ] as const;
  for (const [network, graph, count] of jobs) {
    const whole = gradientHeapBytes(graph, count);
    const batch = batchOf(graph, count, 10);
    const gradientIn = async (heapLimitBytes: number) => {
      using core = await openCore({ heapLimitBytes });
      using gradients = openGradientEngine(core);
      using compiled = gradients.compile(graph);
      const state = initialise(core, graph, { seed: 1 });
      let result = compiled.gradient(state, [batch]);
      const ms = timed(2, () => void (result = compiled.gradient(state, [batch], result)));
      return { ms, heapMB: core.heapBytes / MB, sha256: await stateSha256(graph, { parameters: result.gradients, buffers: state.buffers }) };
    };
    const { flops } = gradientCost(graph, count);
    for (const share of [0.75, 0.6, 0.45]) {
      const { bytes, recomputedFlops } = fitGradient(graph, count, 1, share * whole);
      const [free, tight] = [await gradientIn(whole), await gradientIn(bytes)];
      const same = free.sha256 === tight.sha256;
      const figures = {
        bench: 'memory', network, 'everything kept, MB': free.heapMB, 'reckoned MB': bytes / MB, 'heap MB': tight.heapMB,
        'computed anew, % of FLOPs': (100 * recomputedFlops) / flops, 'times as long': tight.ms / free.ms, 'same bytes': String(same),
      };
      judge(figures, same ? tight.heapMB : Infinity, 'at most', bytes / MB);
    }
  }
}

/** FGMT of half-width Conv8 under an edge isolate's heap, in the micro-batch that `plan` finds room for, and the same uncapped. */
async function capped(): Promise<void> {
  const graph = preset('conv8', { input: [3, 32, 32], classes: 10, width: 0.5 });
  const heapLimitBytes = 96 * MB;
  const { microBatch, bytes } = plan({ graph, method: 'fgmt', heapLimitBytes });
  const count = 256;
  const images = Uint8Array.from({ length: count * 3072 }, (_, i) => (i * 7919) % 251);
  const data = imageSet({
    name: 'grid',
    images,
    labels: Uint8Array.from({ length: count }, (_, i) => i % 10),
    channels: 3,
    height: 32,
    width: 32,
  });
  const transferUnder = async (options: { readonly heapLimitBytes?: number }) => {
    using compute = await openCompute(options);
    const [start, end, target] = [1, 2, 3].map((seed) => initialise(compute.core, graph, { seed })) as [
      NetworkState,
      NetworkState,
      NetworkState,
    ];
    const source = trajectoryFromStates(graph, [{ label: 'start', state: start }, { label: 'end', state: end }]);
    const { state } = await transfer({ source, target, data, method: 'fgmt', seed: 1, steps: 2, maxSweeps: 3, microBatch, compute });
    return { sha256: await stateSha256(graph, state), heapMB: compute.core.heapBytes / MB };
  };
  const free = await transferUnder({});
  const tight = await transferUnder({ heapLimitBytes });
  const same = free.sha256 === tight.sha256;
  const figures = {
    bench: 'memory', network: 'Conv8 half width, FGMT whole, batch 128', 'planned micro-batch': microBatch, 'reckoned MB': bytes.heap / MB,
    'peak heap MB': tight.heapMB, 'uncapped MB': free.heapMB, 'same bytes as uncapped': String(same),
  };
  judge(figures, same ? tight.heapMB : Infinity, 'at most', 96);
}

const versions = {
  node: process.version,
  v8: process.versions.v8,
  tfjs: '4.22.0',
  cpu: cpus()[0]?.model.trim() ?? 'unknown',
  cores: cpus().length,
};
if (!json) console.log(Object.entries(versions).map(([name, value]) => `${name} ${value}`).join(', '));
else print({ bench: 'machine', ...versions });
if (['products', 'convolutions', 'depthwise', 'networks', 'transformers'].some(wanted)) {
  const stock = await openStockTfjs();
  const yardstick = stockYardstick(stock);
  using core = await openCore();
  using gradients = openGradientEngine(core);
  if (wanted('products')) products(core, yardstick);
  if (wanted('convolutions')) convolutions(yardstick);
  if (wanted('depthwise')) await depthwise(stock, judge);
  if (wanted('networks')) networks(core, gradients, stock, yardstick);
  if (wanted('transformers')) transformers(core, gradients, stock, yardstick);
}
if (wanted('memory')) {
  await memory();
  await capped();
  await recomputed();
}
if (short) process.exitCode = 1;
