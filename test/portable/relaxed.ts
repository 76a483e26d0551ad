/**
 * Relaxed arithmetic: refused where the runtime has none; elsewhere the strict product to rounding, and results that
 * say that they are not the same everywhere. Nothing here goes to `sameEverywhere`.
 */
import { openCore } from '../../src/core/core.ts';
import { matmul } from '../../src/core/matmul.ts';
import { imageSet } from '../../src/data/image-set.ts';
import { openCompute, train, transfer, type GradientWorkers } from '../../src/index.ts';
import { initialise } from '../../src/model/initialise.ts';
import { preset } from '../../src/model/presets.ts';
import { elementCount } from '../../src/tensor/tensor.ts';
import { close, equal, ok, test, throws } from './harness.ts';
import { detectRuntime } from './runtime.ts';
import { values } from './values.ts';

const { name, version } = detectRuntime();
/** V8 has it from version 11.4 on, Node 20 has 11.3; a Worker is built without the binary. */
const supported = name !== 'workerd' && !(name === 'node' && version.startsWith('20.'));

/** C = A · B by a core of its own. */
async function product(arithmetic: 'strict' | 'relaxed', m: number, n: number, k: number): Promise<Float32Array> {
  using core = await openCore({ arithmetic });
  equal(core.arithmetic, arithmetic);
  return core.scoped((scratch) => {
    const c = scratch.f32(m * n);
    matmul(core, { a: scratch.upload(values(m * k, 1)), b: scratch.upload(values(k * n, 2)), c, m, n, k });
    return core.f32(c, m * n).slice();
  });
}

test('relaxed: refused where there is none, and for a word that is neither', async () => {
  await throws(() => openCore({ arithmetic: 'fast' as 'strict' }), 'invalid-argument');
  if (supported) return;
  const error = await throws(() => openCore({ arithmetic: 'relaxed' }), 'unsupported');
  ok(error.message.startsWith('arithmetic: expected '), error.message);
});

test('relaxed: the strict product to rounding', async () => {
  if (!supported) return;
  // 300 inner steps cross a block of 256; 37 × 65 has rims on both sides.
  const [strict, relaxed] = [await product('strict', 37, 65, 300), await product('relaxed', 37, 65, 300)];
  close(relaxed, strict, 1e-6);
});

test('relaxed: gradients of a convolutional network and of a transformer to rounding', async () => {
  if (!supported) return;
  const graphs = [
    preset('small-conv', { input: [1, 8, 8], classes: 4, width: 8 }),
    preset('vit', { input: [3, 8, 8], classes: 4, width: 16, depth: 1, heads: 2, patch: 4 }),
  ];
  const gradients = async (arithmetic: 'strict' | 'relaxed') => {
    using compute = await openCompute({ arithmetic });
    return graphs.map((graph) => {
      using network = compute.engine.compile(graph);
      const batch = { inputs: values(8 * elementCount(graph.input), 3), labels: Int32Array.from({ length: 8 }, (_, i) => i % 4), count: 8 };
      return network.gradient(initialise(compute.core, graph, { seed: 1 }), [batch]).gradients;
    });
  };
  const [strict, relaxed] = [await gradients('strict'), await gradients('relaxed')];
  for (const [i, tensors] of strict.entries()) {
    for (const [tensor, { data }] of tensors) close(relaxed[i]?.get(tensor)?.data ?? [], data, 1e-6, `network ${i}, ${tensor}`);
  }
});

test('relaxed: trainings and transfers say that others need not get their bytes', async () => {
  if (!supported) return;
  using compute = await openCompute({ arithmetic: 'relaxed' });
  const graph = preset('mlp', { input: [1, 6, 6], classes: 4, widths: [20, 12] });
  const count = 96;
  const images = Uint8Array.from(values(count * 36, 5), (value) => 128 + Math.trunc(100 * value));
  const data = imageSet({
    name: 'noise',
    images,
    labels: Uint8Array.from({ length: count }, (_, i) => i % 4),
    channels: 1,
    height: 6,
    width: 6,
  });
  const made = await train({ graph, data, seed: 1, iterations: 3, batchSize: 16, compute });
  const ported = await transfer({
    source: made.trajectory,
    target: made.state,
    data,
    method: 'fgmt',
    seed: 1,
    batchSize: 16,
    steps: 2,
    compute,
  });
  for (const { record } of [made, ported]) {
    equal([record.arithmetic, record.identical], ['relaxed', false]);
    ok(/^[0-9a-f]{64}$/.test(record.binaries.relaxed ?? ''), 'the relaxed binary is not in the record');
  }
});

test('relaxed: a strict resume point is not gone on with, and workers of the other arithmetic are refused', async () => {
  const graph = preset('mlp', { input: [1, 2, 2], classes: 2, widths: [3] });
  const data = imageSet({
    name: 'noise',
    images: Uint8Array.from({ length: 32 }, (_, i) => 7 * i),
    labels: Uint8Array.from({ length: 8 }, (_, i) => i % 2),
    channels: 1,
    height: 2,
    width: 2,
  });
  const stored: Uint8Array[] = [];
  const resume = { store: { load: async () => stored, save: async (point: Uint8Array) => void stored.unshift(point) } };
  const job = { graph, data, seed: 1, iterations: 2, batchSize: 4, microBatch: 2, heldOutFraction: 0 } as const;
  {
    using compute = await openCompute();
    await train({ ...job, resume, compute });
    equal(stored.length, 2);
    const workers = { arithmetic: 'relaxed' } as unknown as GradientWorkers;
    const error = await throws(() => train({ ...job, workers, compute }), 'invalid-argument');
    ok(error.message.startsWith('workers: expected strict arithmetic'), error.message);
  }
  if (!supported) return;
  using compute = await openCompute({ arithmetic: 'relaxed' });
  const error = await throws(() => train({ ...job, resume, compute }), 'invalid-argument');
  ok(error.message.includes('settings.arithmetic'), error.message);
});

test('strict: records say nothing of arithmetic', async () => {
  using compute = await openCompute();
  const graph = preset('mlp', { input: [1, 2, 2], classes: 2, widths: [3] });
  const data = imageSet({
    name: 'noise',
    images: Uint8Array.from({ length: 32 }, (_, i) => i),
    labels: Uint8Array.from({ length: 8 }, (_, i) => i % 2),
    channels: 1,
    height: 2,
    width: 2,
  });
  const { record } = await train({ graph, data, seed: 1, iterations: 1, batchSize: 4, heldOutFraction: 0, compute });
  equal(Object.keys(record), ['kind', 'recordVersion', 'settings', 'inputs', 'binaries', 'sha256']);
  equal(Object.keys(record.binaries), ['core', 'tfjs']);
});
