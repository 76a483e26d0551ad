/**
 * A source trajectory, from a bundle or from memory, and the points on it that a transfer visits.
 */
import { InvalidArgumentError, describe } from '../core/errors.ts';
import type { ModelGraph } from '../model/graph.ts';
import { getTensor } from '../tensor/tensor.ts';
import type { NamedTensors, NetworkState, Tensor } from '../tensor/tensor.ts';

/** What a transfer needs of its source; an opened bundle is one. */
export interface Trajectory {
  readonly graph: ModelGraph;
  readonly checkpoints: readonly { readonly label: string }[];
  /** The record of the training that made it, where there is one. */
  readonly training?: unknown;
  readCheckpoint(index: number, signal?: AbortSignal): Promise<NetworkState>;
}

/** A trajectory held in memory. */
export function trajectoryFromStates(
  graph: ModelGraph,
  checkpoints: readonly { readonly label: string; readonly state: NetworkState }[],
  training?: unknown,
): Trajectory {
  return {
    graph,
    training,
    checkpoints: checkpoints.map(({ label }) => ({ label })),
    readCheckpoint: async (index) => {
      const found = checkpoints[index];
      if (found === undefined) {
        throw new InvalidArgumentError({
          field: 'checkpoint',
          expected: `a number below ${checkpoints.length}`,
          got: describe(index),
        });
      }
      return found.state;
    },
  };
}

/** Number of the checkpoint with that label. */
export function checkpointNumber(trajectory: Trajectory, field: string, label: string): number {
  const index = trajectory.checkpoints.findIndex((checkpoint) => checkpoint.label === label);
  if (index < 0) {
    throw new InvalidArgumentError({
      field,
      expected: `one of the bundle's checkpoints (${trajectory.checkpoints.map((c) => c.label).join(', ')})`,
      got: describe(label),
    });
  }
  return index;
}

/** a + c·(b − a), each element computed in f64 and rounded once to f32; written to arrays of `into` where there are some. */
export function interpolate(a: NamedTensors, b: NamedTensors, c: number, into?: NamedTensors): NamedTensors {
  return combine(a, b, into, (x, y, out) => {
    for (let i = 0; i < out.length; i++) out[i] = (x[i] as number) + c * ((y[i] as number) - (x[i] as number));
  });
}

/** a − b. */
export function subtract(a: NamedTensors, b: NamedTensors): NamedTensors {
  return combine(a, b, undefined, (x, y, out) => {
    for (let i = 0; i < out.length; i++) out[i] = (x[i] as number) - (y[i] as number);
  });
}

function combine(
  a: NamedTensors,
  b: NamedTensors,
  into: NamedTensors | undefined,
  body: (x: Float32Array, y: Float32Array, out: Float32Array) => void,
): NamedTensors {
  const result = new Map<string, Tensor>();
  for (const [name, { shape, data }] of a) {
    const out = into === undefined ? new Float32Array(data.length) : getTensor(into, name).data;
    body(data, getTensor(b, name).data, out);
    result.set(name, { shape, data: out });
  }
  return result;
}
