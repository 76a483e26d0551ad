/**
 * Matching knows tensors with one moving axis and with two: a similarity, or an assignment given another. A third is held, so
 * that every network can be matched: of the groups of such tensors the smallest, which gives up the fewest permutations.
 */
import type { PermutationSpec } from '../model/permutation-spec.ts';
import { groupsOnAxis } from './arrangement.ts';

/** A group that matching leaves where it is, and why. */
export interface HeldGroup {
  readonly id: string;
  readonly reason: string;
}

/** None where no tensor has three moving axes. @param frozenGroups what stays anyway. */
export function heldGroups(spec: PermutationSpec, frozenGroups: readonly string[]): readonly HeldGroup[] {
  const held: HeldGroup[] = [];
  const frozen = new Set(frozenGroups);
  // Of tensors with three moving axes: the groups on each, and by group which these are, in the order of the spec. Followed as groups are
  // held: looking at everything again for each took 2 s of 400 grouped convolutions, and eight times as long of twice as many.
  const carried = new Map<string, readonly (readonly string[])[]>();
  const crowding = new Map<string, Set<string>>();
  for (const [tensor, { axes, buffer }] of spec.tensors) {
    const moved = withMovers(axes.map(groupsOnAxis), (id) => !frozen.has(id));
    if (buffer === true || moved.length <= 2) continue;
    carried.set(tensor, moved);
    for (const id of moved.flat()) crowding.set(id, (crowding.get(id) ?? new Set()).add(tensor));
  }
  for (;;) {
    const candidates = spec.groups.filter(({ id }) => (crowding.get(id)?.size ?? 0) > 0);
    if (candidates.length === 0) return held;
    // Of equals the last: units within a channel group before the channel groups that they make up.
    const { id } = candidates.reduce((smallest, group) => (group.size <= smallest.size ? group : smallest));
    const tensors = [...(crowding.get(id) ?? [])];
    held.push({ id, reason: `a third axis of ${tensors[0]} would move with it` });
    crowding.delete(id);
    for (const tensor of tensors) {
      const left = withMovers(carried.get(tensor) ?? [], (other) => other !== id);
      carried.set(tensor, left);
      if (left.length <= 2) for (const other of left.flat()) crowding.get(other)?.delete(tensor);
    }
  }
}

/** The axes that still move, with what moves them. */
function withMovers(axes: readonly (readonly string[])[], moves: (id: string) => boolean): readonly (readonly string[])[] {
  return axes.map((axis) => axis.filter(moves)).filter(({ length }) => length > 0);
}
