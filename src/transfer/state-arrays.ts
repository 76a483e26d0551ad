/** Network states inside a resume point: one array a tensor, under a prefix. */
import type { ParameterLayout } from '../model/graph.ts';
import { takeArray } from '../tensor/named-arrays.ts';
import type { NamedArrays, NumberArray } from '../tensor/named-arrays.ts';
import { elementCount } from '../tensor/tensor.ts';
import type { NamedTensors, NetworkState } from '../tensor/tensor.ts';

const parts = ['parameters', 'buffers'] as const;

export function putState(arrays: Map<string, NumberArray>, prefix: string, state: NetworkState): void {
  for (const part of parts) for (const [name, { data }] of state[part]) arrays.set(`${prefix}/${part}/${name}`, data);
}

/** The state that `putState` put. @throws MalformedFileError where a tensor of the layout is missing or of another size. */
export function takeState(arrays: NamedArrays, prefix: string, layout: ParameterLayout): NetworkState {
  const [parameters, buffers] = parts.map(
    (part): NamedTensors =>
      new Map(
        layout[part].map(({ name, shape }) => [
          name,
          { shape, data: takeArray(arrays, `${prefix}/${part}/${name}`, 'f32', elementCount(shape)) },
        ]),
      ),
  ) as [NamedTensors, NamedTensors];
  return { parameters, buffers };
}
