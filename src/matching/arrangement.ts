/**
 * Axes that are no group as a whole (queries, keys and values side by side in one weight): the permutation that a whole axis
 * undergoes, and the pieces that matching sees instead of the tensor, each with at most one group an axis.
 */
import type { Arrangement, AxisSpec, Segment, TensorSpec } from '../model/permutation-spec.ts';
import { elementCount } from '../tensor/tensor.ts';

/** Part of a tensor in which every axis is moved by one group as a whole, or by none. */
export interface Piece {
  readonly view: readonly number[];
  /** Group id of each axis, or null. */
  readonly groups: readonly (string | null)[];
  /** How to get it out of the tensor; null where it is the tensor itself. */
  readonly selection: Selection | null;
}

/** Which index of the tensor's view stands at each index of the piece's; −1: nothing (the group has units that this stretch lacks). */
export interface Selection {
  readonly from: readonly number[];
  /** Null where an axis is taken as it is. */
  readonly indices: readonly (Int32Array | null)[];
  /** Elements of the tensor in the piece. */
  readonly elements: number;
}

/** permuted[i] = original[perm[i]] for an arranged axis; null where no group in it is among `perms`. */
export function arrangedPermutation({ segments }: Arrangement, perms: ReadonlyMap<string, Int32Array>): Int32Array | null {
  const axis: number[] = [];
  let moves = false;
  for (const { group, first, blocks, repeat, units } of segments) {
    const start = axis.length;
    const perm = group === null ? undefined : perms.get(group);
    if (perm !== undefined) moves = true;
    for (let block = 0; block < blocks; block++) {
      for (let copy = 0; copy < repeat; copy++) {
        for (let unit = 0; unit < units; unit++) {
          const here = block * units + unit;
          const there = perm === undefined ? here : (perm[first + here] as number) - first;
          axis.push(start + (Math.floor(there / units) * repeat + copy) * units + (there % units));
        }
      }
    }
  }
  return moves ? Int32Array.from(axis) : null;
}

/** The groups that move an axis, or stretches of it. */
export function groupsOnAxis(mover: AxisSpec): readonly string[] {
  if (mover === null) return [];
  return typeof mover === 'string' ? [mover] : mover.segments.flatMap(({ group }) => group ?? []);
}

interface AxisPiece {
  readonly extent: number;
  readonly group: string | null;
  readonly indices: Int32Array | null;
}

/** The pieces of a tensor; the tensor itself where no axis is arranged. `sizes`: units of the groups that may move. */
export function piecesOf({ view, axes }: TensorSpec, sizes: ReadonlyMap<string, number>): readonly Piece[] {
  const known = (group: string | null): string | null => (group !== null && sizes.has(group) ? group : null);
  let pieces: (readonly AxisPiece[])[] = [[]];
  for (const [axis, mover] of axes.entries()) {
    const extent = view[axis] as number;
    const choices =
      mover === null || typeof mover === 'string' ? [{ extent, group: known(mover), indices: null }] : axisPieces(mover, sizes);
    pieces = pieces.flatMap((piece) => choices.map((choice) => [...piece, choice]));
  }
  return pieces.map((piece) => {
    const whole = piece.every(({ indices }) => indices === null);
    const elements = elementCount(
      piece.map(({ extent, indices }) => (indices === null ? extent : indices.filter((index) => index >= 0).length)),
    );
    return {
      view: piece.map(({ extent }) => extent),
      groups: piece.map(({ group }) => group),
      selection: whole ? null : { from: view, indices: piece.map(({ indices }) => indices), elements },
    };
  });
}

/** How many they are. */
export function pieceCount({ axes }: TensorSpec): number {
  return axes.reduce(
    (product, mover) =>
      mover === null || typeof mover === 'string' ? product : product * mover.segments.reduce((sum, { repeat }) => sum + repeat, 0),
    1,
  );
}

/** One piece a stretch and copy. */
function axisPieces({ segments }: Arrangement, sizes: ReadonlyMap<string, number>): AxisPiece[] {
  let start = 0;
  return segments.flatMap((segment) => {
    const { group, blocks, repeat, units } = segment;
    const size = group === null ? undefined : sizes.get(group);
    const copies = Array.from({ length: repeat }, (_, copy): AxisPiece => {
      const places = placesOf(segment, start, copy);
      if (size === undefined) return { extent: places.length, group: null, indices: places };
      const indices = new Int32Array(size).fill(-1);
      indices.set(places, segment.first);
      return { extent: size, group, indices };
    });
    start += blocks * repeat * units;
    return copies;
  });
}

/** Where on the axis the units of one copy stand. */
function placesOf({ blocks, repeat, units }: Segment, start: number, copy: number): Int32Array {
  return Int32Array.from({ length: blocks * units }, (_, i) => start + (Math.floor(i / units) * repeat + copy) * units + (i % units));
}

/** The elements of a piece, zeros where the group has units that the stretch lacks. The tensor's own data where it is the whole. */
export function selectPiece(selection: Selection | null, data: Float32Array): Float32Array {
  if (selection === null) return data;
  const { from, indices } = selection;
  // Offsets of all but the last axis, −1 where nothing stands; the last axis is walked below.
  let starts = new Int32Array(1);
  for (const [axis, extent] of from.slice(0, -1).entries()) {
    const table = indices[axis] ?? null;
    const count = table?.length ?? extent;
    const next = new Int32Array(starts.length * count);
    for (let outer = 0; outer < starts.length; outer++) {
      for (let i = 0; i < count; i++) {
        const start = starts[outer] as number;
        const index = table === null ? i : (table[i] as number);
        next[outer * count + i] = start < 0 || index < 0 ? -1 : start * extent + index;
      }
    }
    starts = next;
  }
  const extent = from.at(-1) as number;
  const table = indices.at(-1) ?? null;
  const count = table?.length ?? extent;
  const out = new Float32Array(starts.length * count);
  for (let outer = 0; outer < starts.length; outer++) {
    const start = starts[outer] as number;
    if (start < 0) continue;
    if (table === null) out.set(data.subarray(start * extent, (start + 1) * extent), outer * count);
    else
      for (let i = 0; i < count; i++)
        if ((table[i] as number) >= 0) out[outer * count + i] = data[start * extent + (table[i] as number)] as number;
  }
  return out;
}
