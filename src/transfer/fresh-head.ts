/** A head start for a task whose classes are not those of the task before: only the last layer forgets. */
import { requireCore } from '../core/core.ts';
import { requireMembers } from '../core/require.ts';
import { initialise } from '../model/initialise.ts';
import { parameterLayout } from '../model/graph.ts';
import type { ModelGraph } from '../model/graph.ts';
import { getTensor } from '../tensor/tensor.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import type { Compute } from './compute.ts';

/**
 * `state` with random weights in the last layer that has any, as `--fresh-head` of the command line.
 * @throws InvalidArgumentError
 */
export function withFreshHead(compute: Pick<Compute, 'core'>, graph: ModelGraph, state: NetworkState, seed: number): NetworkState {
  requireMembers('compute', compute, ['core'], 'a handle: openCompute()');
  requireCore(compute.core);
  const fresh = initialise(compute.core, graph, { seed }).parameters;
  requireMembers('state', state, ['parameters', 'buffers'], 'weights, { parameters, buffers }');
  const layout = parameterLayout(graph).parameters;
  const head = new Set(layout.filter(({ node }) => node === layout.at(-1)?.node).map(({ name }) => name));
  const parameters = new Map([...state.parameters].map(([name, tensor]) => [name, head.has(name) ? getTensor(fresh, name) : tensor]));
  return { ...state, parameters };
}
