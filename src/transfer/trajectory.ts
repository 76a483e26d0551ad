/** A source trajectory, from a bundle or from memory. */
import { describe, listed } from '../core/describe.ts';
import { InvalidArgumentError } from '../core/errors.ts';
import { requireList, requireMembers } from '../core/require.ts';
import type { ModelGraph } from '../model/graph.ts';
import { getTensor } from '../tensor/tensor.ts';
import type { NamedTensors, NetworkState } from '../tensor/tensor.ts';

/** What a transfer needs of its source; an opened bundle is one. */
export interface Trajectory {
  readonly graph: ModelGraph;
  readonly checkpoints: readonly { readonly label: string }[];
  /** The record of the training that made it, where there is one. */
  readonly training?: unknown;
  readCheckpoint(index: number, signal?: AbortSignal): Promise<NetworkState>;
}

/**
 * A trajectory held in memory, whose states are read as they are at the time.
 * @param checkpoints at least two, from the start to the end.
 * @param training the record of the training that made it, as a bundle has it: splits, data and loss of a transfer follow it.
 * @throws InvalidArgumentError for what are no checkpoints, or fewer than two; from `readCheckpoint`, for a number that none has.
 */
export function trajectoryFromStates(
  graph: ModelGraph,
  checkpoints: readonly { readonly label: string; readonly state: NetworkState }[],
  training?: unknown,
): Trajectory {
  const kept = requireList('checkpoints', checkpoints, (field, item) => {
    requireMembers(field, item, ['label', 'state']);
    return item as (typeof checkpoints)[number];
  });
  requireEnds('checkpoints', kept.length);
  return {
    graph,
    training,
    checkpoints: kept.map(({ label }) => ({ label })),
    readCheckpoint: async (index) => {
      const found = kept[index];
      if (found === undefined) {
        throw new InvalidArgumentError({
          field: 'checkpoint',
          expected: `a number below ${kept.length}`,
          got: describe(index),
        });
      }
      return found.state;
    },
  };
}

/** @throws InvalidArgumentError for too few checkpoints to carry anything over. */
export function requireEnds(field: string, count: number): void {
  if (count >= 2) return;
  throw new InvalidArgumentError({ field, expected: 'at least 2, the start and the end of a trajectory', got: `${count}` });
}

/** Number of the checkpoint with that label. */
export function checkpointNumber(trajectory: Trajectory, field: string, label: string): number {
  const index = trajectory.checkpoints.findIndex((checkpoint) => checkpoint.label === label);
  if (index < 0) {
    throw new InvalidArgumentError({
      field,
      expected: `one of the source's checkpoints (${listed(trajectory.checkpoints.map((c) => c.label))})`,
      got: describe(label),
    });
  }
  return index;
}

/**
 * Numbers of the checkpoints where the part between two labels begins and ends; without them the trajectory does.
 * @throws InvalidArgumentError for a label that there is not, and for a part that ends where it begins.
 */
export function partOf(
  trajectory: Trajectory, { from, to }: { readonly from?: string | undefined; readonly to?: string | undefined },
): { readonly first: number; readonly last: number } {
  const { checkpoints } = trajectory;
  const first = from === undefined ? 0 : checkpointNumber(trajectory, 'from', from);
  const last = to === undefined ? checkpoints.length - 1 : checkpointNumber(trajectory, 'to', to);
  if (last <= first && checkpoints.length > 1) {
    const label = (index: number): string => describe(checkpoints[index]?.label);
    throw new InvalidArgumentError({
      field: 'to',
      expected: `a checkpoint after ${label(first)}, where the part to carry over begins`,
      got: label(last),
    });
  }
  return { first, last };
}

/** a − b. */
export function subtract(a: NamedTensors, b: NamedTensors): NamedTensors {
  return new Map([...a].map(([name, { shape, data }]) => {
    const y = getTensor(b, name).data;
    return [name, { shape, data: data.map((x, i) => x - (y[i] as number)) }];
  }));
}
