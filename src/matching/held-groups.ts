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
  for (;;) {
    const moving = spec.groups.filter(({ id }) => !frozenGroups.includes(id) && !held.some((group) => group.id === id));
    const ids = new Set(moving.map(({ id }) => id));
    const crowded = new Map<string, string>();
    for (const [tensor, { axes, buffer }] of spec.tensors) {
      const carried = axes.map((axis) => groupsOnAxis(axis).filter((id) => ids.has(id))).filter(({ length }) => length > 0);
      if (buffer === true || carried.length <= 2) continue;
      for (const id of carried.flat()) if (!crowded.has(id)) crowded.set(id, tensor);
    }
    const candidates = moving.filter(({ id }) => crowded.has(id));
    if (candidates.length === 0) return held;
    // Of equals the last: units within a channel group before the channel groups that they make up.
    const { id } = candidates.reduce((smallest, group) => (group.size <= smallest.size ? group : smallest));
    held.push({ id, reason: `a third axis of ${crowded.get(id)} would move with it` });
  }
}
