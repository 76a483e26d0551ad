/**
 * npm run -s bench:profile [-- PRESET …] [--json]
 *
 * Where a training step's time goes: the share of each family of kernels, wall time around every call of tfjs's registry, here and
 * not in the library. `rest` is the walk over the graph, the allocator and copies of batches. No bar: it says where to look.
 */
import { engine } from '#tfjs';
import { openCore } from '../src/core/core.ts';
import { openGradientEngine } from '../src/gradient/engine.ts';
import { initialise } from '../src/model/initialise.ts';
import { preset, type PresetName, type PresetOptions } from '../src/model/presets.ts';
import { machine } from './measure.ts';

const image = { input: [3, 32, 32], classes: 10 } as const;
const jobs: readonly (readonly [PresetName, PresetOptions, number])[] = [
  ['mlp', { input: [784], classes: 10, widths: [512, 512] }, 128],
  ['conv8', { ...image, width: 0.5 }, 16],
  ['vgg11', { ...image, width: 0.5 }, 16],
  ['resnet18', { ...image, width: 32, stem: 'cifar' }, 16],
  ['mobilenet_v2', { ...image, width: 0.5, stem: 'cifar' }, 8],
  ['convnext', { ...image, width: 32, blocks: [1, 1, 2, 1] }, 8],
  ['vit', { ...image, width: 128, depth: 4, heads: 4 }, 8],
  ['mixer', { ...image, width: 128, depth: 4 }, 8],
];

const families = ['products and convolutions', 'normalisation', 'elementwise', 'pooling', 'attention', 'reductions', 'loss', 'layout', 'optimiser', 'rest'] as const;
type Family = (typeof families)[number];
const rules: readonly (readonly [RegExp, Family])[] = [
  [/Loss|CrossEntropy|CountCorrect/, 'loss'],
  [/Attention|SoftmaxRows/, 'attention'],
  [/Norm/, 'normalisation'],
  [/Pool/, 'pooling'],
  [/Conv2D|MatMul|DenseRows/, 'products and convolutions'],
  [/Sum|Mean/, 'reductions'],
  [/Reshape|Identity|Transpose|Channels(Last|First)|Reinterpret|Tokens?$|Concat|Slice|Embedding|Cast/, 'layout'],
];

const words = process.argv.slice(2);
const json = words.includes('--json');
const chosen = words.filter((word) => word !== '--json');
const spent = new Map<Family, number>();
const add = (family: Family, ms: number): void => void spent.set(family, (spent.get(family) ?? 0) + ms);
/** Milliseconds of calls inside the ones now running: a kernel made of others counts for what it does itself. */
const inner: number[] = [];

function clocked<T>(family: Family, call: () => T): T {
  const start = performance.now();
  inner.push(0);
  try {
    return call();
  } finally {
    const ms = performance.now() - start;
    add(family, ms - (inner.pop() as number));
    if (inner.length > 0) inner[inner.length - 1] = (inner.at(-1) as number) + ms;
  }
}

console.log(json ? JSON.stringify({ bench: 'machine', ...machine() }) : Object.entries(machine()).map(([name, value]) => `${name} ${value}`).join(', '));
using core = await openCore();
using gradients = openGradientEngine(core);
const runKernel = engine().runKernel.bind(engine());
engine().runKernel = ((name: string, ...others: [never, never]) =>
  clocked(rules.find(([pattern]) => pattern.test(name))?.[1] ?? 'elementwise', () => runKernel(name, ...others))) as typeof runKernel;
const { sgdF32 } = core.kernels;
(core as { kernels: typeof core.kernels }).kernels = { ...core.kernels, sgdF32: (...values) => clocked('optimiser', () => sgdF32(...values)) };

for (const [name, options, count] of jobs) {
  if (chosen.length > 0 && !chosen.includes(name)) continue;
  const graph = preset(name, options);
  using network = gradients.compile(graph);
  using trainer = network.trainer(initialise(core, graph, { seed: 1 }), { kind: 'sgd', momentum: 0.9, weightDecay: 1e-4 });
  const inputs = Float32Array.from({ length: count * graph.input.reduce((a, b) => a * b) }, (_, i) => ((i * 7919) % 1009) / 1009);
  const batch = { inputs, labels: Int32Array.from({ length: count }, (_, i) => i % 10), count };
  for (let i = 0; i < 3; i++) trainer.step(batch, 1e-3);
  spent.clear();
  const start = performance.now();
  let steps = 0;
  while (steps < 5 || performance.now() - start < 1500) {
    clocked('rest', () => trainer.step(batch, 1e-3));
    steps++;
  }
  const total = [...spent.values()].reduce((a, b) => a + b);
  const shares = Object.fromEntries(families.map((family) => [family, Math.round((1000 * (spent.get(family) ?? 0)) / total) / 10]));
  if (json) console.log(JSON.stringify({ bench: 'profile', preset: name, batch: count, msAStep: total / steps, shares }));
  else console.log(`| ${name}, batch ${count} | ${(total / steps).toFixed(0)} | ${families.map((family) => shares[family]?.toFixed(0)).join(' | ')} |`);
}
