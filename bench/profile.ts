/**
 * npm run -s bench:profile [-- PRESET …] [--kernels] [--json]
 *
 * Where a training step's time goes: the share of each family of kernels, wall time around every kernel of tfjs's registry, here and
 * not in the library. `rest` is the walk over the graph, tensors and copies of batches. Bar: none of the families but products,
 * convolutions and attention (products and a softmax) takes more than 10 %. With --kernels, each kernel's milliseconds a step. Where batch
 * norms are above the bar, the rate at which they read and write memory stands beside that of memory.copy.
 */
import { getKernelsForBackend } from '#tfjs';
import { openCore } from '../src/core/core.ts';
import { openGradientEngine } from '../src/gradient/engine.ts';
import { initialise } from '../src/model/initialise.ts';
import { preset, type PresetName, type PresetOptions } from '../src/model/presets.ts';
import { machine } from './measure.ts';

const image = { input: [3, 32, 32], classes: 10 } as const;
/** Label, preset, options, batch. Small images; `published` widths with fewer blocks, others at a half or less. */
const jobs: readonly (readonly [string, PresetName, PresetOptions, number])[] = [
  ['mlp', 'mlp', { input: [784], classes: 10, widths: [512, 512] }, 128],
  ['conv8, half width', 'conv8', { ...image, width: 0.5 }, 16],
  ['vgg11, half width', 'vgg11', { ...image, width: 0.5 }, 16],
  ['resnet18, half width', 'resnet18', { ...image, width: 32, stem: 'cifar' }, 16],
  ['mobilenet_v2, half width', 'mobilenet_v2', { ...image, width: 0.5, stem: 'cifar' }, 8],
  ['mobilenet_v2, published width', 'mobilenet_v2', { ...image, stem: 'cifar' }, 8],
  ['convnext, third of the width', 'convnext', { ...image, width: 32, blocks: [1, 1, 2, 1] }, 8],
  ['convnext, published width', 'convnext', { input: [3, 64, 64], classes: 10, blocks: [1, 1, 2, 1] }, 8],
  ['vit, width 128', 'vit', { ...image, width: 128, depth: 4, heads: 4 }, 8],
  ['vit tiny, published width', 'vit', { ...image, width: 192, depth: 4, heads: 3 }, 8],
  ['mixer, width 128', 'mixer', { ...image, width: 128, depth: 4 }, 8],
  ['gpt2, third of the width', 'gpt2', { input: [128], classes: 2000, width: 256, depth: 2, heads: 4 }, 2],
  ['distilbert, third of the width', 'distilbert', { input: [128], classes: 10, vocabulary: 2000, width: 256, depth: 2, heads: 4 }, 4],
];

const families = [
  'products and convolutions', 'normalisation', 'elementwise', 'pooling', 'attention', 'reductions', 'loss', 'layout', 'optimiser', 'rest',
] as const;
type Family = (typeof families)[number];
const BAR = 0.1;
/** Families without a bar: what a network is for, and what no kernel takes. */
const unbarred: readonly Family[] = ['products and convolutions', 'attention', 'rest'];
const rules: readonly (readonly [RegExp, Family])[] = [
  [/Loss|CrossEntropy|CountCorrect/, 'loss'],
  [/Attention|SoftmaxRows/, 'attention'],
  [/Norm/, 'normalisation'],
  [/Pool/, 'pooling'],
  [/Conv2D|Dense/, 'products and convolutions'],
  [/Sums/, 'reductions'],
  [/Identity|Transpose|Channels(Last|First)|Reinterpret|Tokens?$|Concat|Slice|Embedding/, 'layout'],
];

const words = process.argv.slice(2);
const json = words.includes('--json');
const perKernel = words.includes('--kernels');
const chosen = words.filter((word) => !word.startsWith('--'));
const spent = new Map<Family, number>();
const byKernel = new Map<string, number>();
const add = (family: Family, kernel: string, ms: number): void => {
  spent.set(family, (spent.get(family) ?? 0) + ms);
  byKernel.set(kernel, (byKernel.get(kernel) ?? 0) + ms);
};
/** Milliseconds of calls inside the ones now running: a kernel made of others counts for what it does itself. */
const inner: number[] = [];

function clocked<T>(family: Family, kernel: string, call: () => T): T {
  const start = performance.now();
  inner.push(0);
  try {
    return call();
  } finally {
    const ms = performance.now() - start;
    add(family, kernel, ms - (inner.pop() as number));
    if (inner.length > 0) inner[inner.length - 1] = (inner.at(-1) as number) + ms;
  }
}

console.log(
  json
    ? JSON.stringify({ bench: 'machine', ...machine() })
    : Object.entries(machine())
        .map(([name, value]) => `${name} ${value}`)
        .join(', '),
);
using core = await openCore();
using gradients = openGradientEngine(core);
for (const registered of getKernelsForBackend('wasm')) {
  const { kernelName, kernelFunc } = registered;
  const family = rules.find(([pattern]) => pattern.test(kernelName))?.[1] ?? 'elementwise';
  registered.kernelFunc = (call) => clocked(family, kernelName, () => kernelFunc(call));
}
const { sgdF32, batchNormF32, batchNormGradientF32 } = core.kernels;
/** Bytes that batch norms read and wrote. */
let normBytes = 0;
(core as { kernels: typeof core.kernels }).kernels = {
  ...core.kernels,
  sgdF32: (...values) => clocked('optimiser', 'sgdF32', () => sgdF32(...values)),
  batchNormF32: (...values) => {
    const [, , rows, channels] = values;
    // x is read twice, y written.
    normBytes += 3 * 4 * rows * channels;
    batchNormF32(...values);
  },
  batchNormGradientF32: (...values) => {
    const [, , , rows, channels, , , , , ceiling] = values;
    // dy and x are read twice, dx is written; behind a rectifier what it let pass is written, too.
    normBytes += (ceiling === 0 ? 5 : 6) * 4 * rows * channels;
    batchNormGradientF32(...values);
  },
};

/** GB/s that memory.copy reads and writes between buffers that no cache holds together. */
function copyRate(): number {
  const bytes = 4 * 2 ** 20;
  const pairs = 16;
  return core.scoped((scratch) => {
    const buffers = Array.from({ length: 2 * pairs }, () => scratch.bytes(bytes));
    const heap = core.u8(0, core.heapBytes);
    let best = 0;
    for (let turn = 0; turn < 6; turn++) {
      const start = performance.now();
      for (let i = 0; i < pairs; i++) heap.copyWithin(buffers[2 * i + 1] as number, buffers[2 * i] as number, (buffers[2 * i] as number) + bytes);
      best = Math.max(best, (2 * pairs * bytes) / (performance.now() - start) / 1e6);
    }
    return best;
  });
}

for (const [label, name, options, count] of jobs) {
  if (chosen.length > 0 && !chosen.includes(name)) continue;
  const graph = preset(name, options);
  using network = gradients.compile(graph);
  using trainer = network.trainer(initialise(core, graph, { seed: 1 }), { kind: 'sgd', momentum: 0.9, weightDecay: 1e-4 });
  const size = count * graph.input.reduce((a, b) => a * b);
  const { vocabulary } = graph;
  const inputs = vocabulary === undefined
    ? Float32Array.from({ length: size }, (_, i) => ((i * 7919) % 1009) / 1009)
    : Int32Array.from({ length: size }, (_, i) => (i * 7919) % vocabulary);
  const batch = { inputs, labels: Int32Array.from({ length: count * network.labelsPerInput }, (_, i) => i % 10), count };
  for (let i = 0; i < 3; i++) trainer.step(batch, 1e-3);
  spent.clear();
  byKernel.clear();
  normBytes = 0;
  const start = performance.now();
  let steps = 0;
  while (steps < 5 || performance.now() - start < 1500) {
    clocked('rest', 'rest', () => trainer.step(batch, 1e-3));
    steps++;
  }
  const total = [...spent.values()].reduce((a, b) => a + b);
  const shareOf = (family: Family): number => (spent.get(family) ?? 0) / total;
  const worst = families.filter((family) => !unbarred.includes(family)).reduce((a, b) => (shareOf(b) > shareOf(a) ? b : a));
  const pass = shareOf(worst) <= BAR;
  if (!pass) process.exitCode = 1;
  const memory = worst === 'normalisation' && !pass
    ? { normGBs: normBytes / (spent.get(worst) as number) / 1e6, copyGBs: copyRate() }
    : {};
  const percent = (family: Family): number => Math.round(1000 * shareOf(family)) / 10;
  if (json) {
    const shares = Object.fromEntries(families.map((family) => [family, percent(family)]));
    const kernels = perKernel ? { kernels: Object.fromEntries([...byKernel].map(([kernel, ms]) => [kernel, ms / steps])) } : {};
    console.log(JSON.stringify({
      bench: 'profile', preset: name, label, batch: count, msAStep: total / steps, shares, ...kernels, bar: 100 * BAR, worst, pass, ...memory,
    }));
  } else {
    console.log(
      `| ${label}, batch ${count} | ${(total / steps).toFixed(0)} | ` +
      `${families.map((family) => percent(family).toFixed(0)).join(' | ')} | ${pass ? 'pass' : `SHORT: ${worst}`} |`,
    );
    if (memory.normGBs !== undefined) {
      console.log(`    batch norms read and write ${memory.normGBs.toFixed(1)} GB/s, memory.copy ${memory.copyGBs.toFixed(1)}`);
    }
    if (perKernel)
      console.log(
        [...byKernel]
          .toSorted((a, b) => b[1] - a[1])
          .map(([kernel, ms]) => `    ${kernel} ${(ms / steps).toFixed(2)} ms`)
          .join('\n'),
      );
  }
}
