/** Trajectories to test bundles with. */
import type { CheckpointContent } from '../../src/bundle/writer.ts';
import { openCore } from '../../src/core/core.ts';
import type { ModelGraph } from '../../src/model/graph.ts';
import { initialise } from '../../src/model/initialise.ts';
import type { NamedTensors, NetworkState } from '../../src/tensor/tensor.ts';
import { generator } from './generator.ts';

const core = await openCore();

/** A trajectory of small seeded steps, as training makes them; buffers move too. */
export function trajectory(graph: ModelGraph, count: number, seed = 1): CheckpointContent[] {
  const next = generator(seed);
  const noise = (): number => (next() + next() + next() + next()) / 2 ** 33 - 1;
  const move = (tensors: NamedTensors, scale: number): NamedTensors =>
    new Map([...tensors].map(([name, { shape, data }]) => [name, { shape, data: data.map((x) => x + noise() * scale) }]));
  let state: NetworkState = initialise(core, graph, { seed });
  return Array.from({ length: count }, (_, i) => {
    if (i > 0) state = { parameters: move(state.parameters, 0.01 / i), buffers: move(state.buffers, 0.1) };
    return { label: i === 0 ? 'initial' : `epoch ${i}`, epoch: i, state, ...(i === 0 ? { seed: { seed } } : {}) };
  });
}
