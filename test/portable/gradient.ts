/** Gradients of every kind of network: against differences of the loss, and the same bytes in every runtime. */
import { openCore } from '../../src/core/core.ts';
import type { Batch } from '../../src/data/batch.ts';
import { openGradientEngine } from '../../src/gradient/engine.ts';
import type { ModelGraph } from '../../src/model/graph.ts';
import { initialise } from '../../src/model/initialise.ts';
import { preset } from '../../src/model/presets.ts';
import type { NamedTensors, NetworkState } from '../../src/tensor/tensor.ts';
import { close, ok, sameEverywhere, test, throws } from './harness.ts';
import { values } from './values.ts';

const shape = { input: [2, 9, 9], classes: 5 } as const;
const graphs = {
  mlp: preset('mlp', { ...shape, widths: [40, 24] }),
  conv: preset('small-conv', { ...shape, width: 5 }),
  resnet: preset('resnet-small', { ...shape, width: 4 }),
  vit: preset('vit', { ...shape, width: 12, depth: 2, heads: 3, patch: 3 }),
  mixer: preset('mixer', { ...shape, width: 12, depth: 1, patch: 3 }),
  gpt2: preset('gpt2', { input: [10], classes: shape.classes, width: 12, depth: 2, heads: 2 }),
  distilbert: preset('distilbert', { input: [10], classes: 5, vocabulary: 5, positions: 10, width: 12, depth: 2, heads: 2 }),
  bert: preset('bert', { input: [10], classes: 5, vocabulary: 5, positions: 10, width: 12, depth: 2, heads: 2 }),
};

function batchOf(count: number, seed: number, graph?: ModelGraph): Batch {
  if (graph?.vocabulary !== undefined) {
    const tokens = Int32Array.from({ length: count * 11 }, (_, i) => (i * i + seed) % shape.classes);
    const labels = graph.padding === undefined ? tokens.slice(1, count * 10 + 1) : tokens.slice(1, count + 1);
    return { inputs: tokens.slice(0, count * 10), labels, count };
  }
  const labels = Int32Array.from({ length: count }, (_, i) => (i * 7 + seed) % shape.classes);
  return { inputs: values(count * 2 * 9 * 9, seed), labels, count };
}

/** The state moved by `step` along `direction`. */
function moved(state: NetworkState, direction: NamedTensors, step: number): NetworkState {
  const parameters = new Map(
    [...state.parameters].map(([name, { shape: dims, data }]) => {
      const towards = direction.get(name)?.data;
      return [name, { shape: dims, data: data.map((value, i) => value + step * (towards?.[i] ?? 0)) }];
    }),
  );
  return { ...state, parameters };
}

for (const [name, graph] of Object.entries(graphs)) {
  test(`gradient of ${name}: its squared norm is the slope of the loss along it, within 2 %`, async () => {
    using core = await openCore();
    using engine = openGradientEngine(core);
    using network = engine.compile(graph);
    const state = initialise(core, graph, { seed: 5 });
    const batch = batchOf(16, 3, graph);
    const { losses, gradients } = network.gradient(state, [batch]);
    let squaredNorm = 0;
    for (const { data } of gradients.values()) for (const value of data) squaredNorm += value * value;
    ok(squaredNorm > 1e-4, `a gradient of squared norm ${squaredNorm} tests nothing`);
    // f32 losses near 1.6 carry errors of about 1e-7: a change of 2e-3 to either side leaves four digits.
    const step = 2e-3 / squaredNorm;
    const [above] = network.gradient(moved(state, gradients, step), [batch]).losses;
    const [below] = network.gradient(moved(state, gradients, -step), [batch]).losses;
    close([((above as number) - (below as number)) / (2 * step * squaredNorm)], [1], 2e-2, 'slope ÷ squared norm');
    await sameEverywhere(`gradient ${name} loss`, new Float64Array(losses));
    for (const [tensor, { data }] of gradients) await sameEverywhere(`gradient ${name} ${tensor}`, data);
  });

  test(`trainer of ${name}: ten steps give the same state everywhere`, async () => {
    using core = await openCore();
    using engine = openGradientEngine(core);
    using network = engine.compile(graph);
    using trainer = network.trainer(initialise(core, graph, { seed: 6 }), {
      kind: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01,
    });
    const losses = Float64Array.from({ length: 10 }, () => trainer.step(batchOf(16, 4, graph), 0.01));
    ok((losses[9] as number) < (losses[0] as number), `the loss went from ${losses[0]} to ${losses[9]}`);
    await sameEverywhere(`trainer ${name} losses`, losses);
    const { parameters, buffers } = trainer.state();
    for (const [tensor, { data }] of [...parameters, ...buffers]) await sameEverywhere(`trainer ${name} ${tensor}`, data);
  });
}

test('gradient: out of memory is an error, and the next call works', async () => {
  using core = await openCore({ heapLimitBytes: 20 * 2 ** 20 });
  using engine = openGradientEngine(core);
  using network = engine.compile(graphs.conv);
  const state = initialise(core, graphs.conv, { seed: 5 });
  await throws(() => network.gradient(state, [batchOf(20_000, 3)]), 'out-of-memory');
  ok(Number.isFinite(network.gradient(state, [batchOf(4, 3)]).losses[0]), 'the next call failed');
});

test('gradient: a label out of range is refused', async () => {
  using core = await openCore();
  using engine = openGradientEngine(core);
  using network = engine.compile(graphs.mlp);
  const batch = batchOf(4, 3);
  batch.labels[2] = shape.classes;
  await throws(() => network.gradient(initialise(core, graphs.mlp, { seed: 5 }), [batch]), 'invalid-argument');
});
