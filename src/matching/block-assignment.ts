/**
 * Assignment for units that move in blocks (the heads of an attention): exact, in two floors. Which unit of source block b goes to
 * which unit of target block a is a small assignment of its own for every pair of blocks, and its value is what the pair is
 * worth; the blocks themselves are then assigned by those values. No permutation that keeps the blocks has a larger sum.
 */
import type { Core } from '../core/core.ts';
import type { BlockStructure } from '../model/permutation-spec.ts';
import { linearSumAssignment } from './assignment.ts';

/** @param similarity [size, size]. Returns perm with permuted[i] = original[perm[i]]. */
export function assignBlocks(core: Core, similarity: Float32Array, { blocks, parts }: BlockStructure): Int32Array {
  const size = blocks * parts.reduce((sum, part) => sum + part, 0);
  const worth = new Float64Array(blocks * blocks);
  /** Within parts: [part][target block · blocks + source block]. */
  const inner: (readonly Int32Array[])[] = [];
  let start = 0;
  for (const part of parts) {
    const assignments: Int32Array[] = [];
    for (let a = 0; a < blocks; a++) {
      for (let b = 0; b < blocks; b++) {
        const data = new Float32Array(part * part);
        for (let i = 0; i < part; i++) {
          const from = (start + a * part + i) * size + start + b * part;
          data.set(similarity.subarray(from, from + part), i * part);
        }
        const { assignment, objective } = linearSumAssignment(core, { data, rows: part, columns: part }, { maximize: true });
        assignments.push(assignment);
        worth[a * blocks + b] = (worth[a * blocks + b] as number) + objective;
      }
    }
    inner.push(assignments);
    start += blocks * part;
  }
  const { assignment: chosen } = linearSumAssignment(core, { data: worth, rows: blocks, columns: blocks }, { maximize: true });
  return compose(blocks, parts, chosen, (part, a, b) => inner[part]?.[a * blocks + b] as Int32Array);
}

/** The permutation of all units that moves blocks by `outer` and units within block a of a part by `inner(part, a, outer[a])`. */
export function compose(
  blocks: number, parts: readonly number[], outer: Int32Array, inner: (part: number, a: number, b: number) => Int32Array,
): Int32Array {
  const perm = new Int32Array(blocks * parts.reduce((sum, part) => sum + part, 0));
  let start = 0;
  for (const [index, part] of parts.entries()) {
    for (let a = 0; a < blocks; a++) {
      const b = outer[a] as number;
      const within = inner(index, a, b);
      for (let i = 0; i < part; i++) perm[start + a * part + i] = start + b * part + (within[i] as number);
    }
    start += blocks * part;
  }
  return perm;
}

/** The first unit that a permutation takes out of its block or part, or away from the other parts of its block; −1 where none. */
export function firstMisplaced(perm: Int32Array, { blocks, parts }: BlockStructure): number {
  const home = new Int32Array(blocks).fill(-1);
  let start = 0;
  for (const part of parts) {
    for (let i = 0; i < blocks * part; i++) {
      const there = (perm[start + i] as number) - start;
      if (there < 0 || there >= blocks * part) return start + i;
      const block = Math.floor(i / part);
      const source = Math.floor(there / part);
      if (home[block] === -1) home[block] = source;
      else if (home[block] !== source) return start + i;
    }
    start += blocks * part;
  }
  return -1;
}
