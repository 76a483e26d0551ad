/** Other last layers, for a task whose classes are not those of the task before: random, or zeros. */
import { requireCore } from '../core/core.ts';
import { requireMembers } from '../core/require.ts';
import { initialise } from '../model/initialise.ts';
import { headParameters } from '../model/head.ts';
import type { ModelGraph } from '../model/graph.ts';
import { getTensor } from '../tensor/tensor.ts';
import type { NetworkState, Tensor } from '../tensor/tensor.ts';
import type { Compute } from './compute.ts';

/**
 * `state` with random weights in the last layer that has any, as `--fresh-head` of the command line.
 * @throws InvalidArgumentError, also for a network whose output is no layer of its own.
 */
export function withFreshHead(compute: Pick<Compute, 'core'>, graph: ModelGraph, state: NetworkState, seed: number): NetworkState {
  return withFresh(compute, graph, state, seed);
}

/** The same of any parameters, by name; of the last layer where none are named. */
export function withFresh(
  compute: Pick<Compute, 'core'>, graph: ModelGraph, state: NetworkState, seed: number, names?: ReadonlySet<string>,
): NetworkState {
  requireMembers('compute', compute, ['core'], 'a handle: openCompute()');
  requireCore(compute.core);
  const fresh = initialise(compute.core, graph, { seed }).parameters;
  requireMembers('state', state, ['parameters', 'buffers'], 'weights, { parameters, buffers }');
  return withHead(state, names ?? headParameters(graph), (name) => getTensor(fresh, name));
}

/**
 * `state` with zeros in that layer, as `--zero-head`: what a fine-tune did to a last layer whose beginning nobody kept is then all
 * that the layer became.
 * @throws InvalidArgumentError, also for a network whose output is no layer of its own.
 */
export function withZeroHead(graph: ModelGraph, state: NetworkState): NetworkState {
  requireMembers('state', state, ['parameters', 'buffers'], 'weights, { parameters, buffers }');
  return withHead(state, headParameters(graph), (_, { shape, data }) => ({ shape, data: new Float32Array(data.length) }));
}

function withHead(state: NetworkState, head: ReadonlySet<string>, replace: (name: string, tensor: Tensor) => Tensor): NetworkState {
  const parameters = new Map([...state.parameters].map(([name, tensor]) => [name, head.has(name) ? replace(name, tensor) : tensor]));
  return { ...state, parameters };
}
