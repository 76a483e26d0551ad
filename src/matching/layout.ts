/**
 * How the tensors of a network enter matching, derived once from its permutation spec: which move with one group (their
 * similarity does not depend on other permutations), which with two, and which not at all.
 */
import { describe } from '../core/describe.ts';
import { InvalidArgumentError } from '../core/errors.ts';
import { requireList, requireText } from '../core/require.ts';
import type { BlockStructure, PermutationSpec } from '../model/permutation-spec.ts';
import { elementCount } from '../tensor/tensor.ts';
import { piecesOf } from './arrangement.ts';
import type { Selection } from './arrangement.ts';
import { exactRows } from './coding.ts';
import type { CodedRows } from './coding.ts';
import { heldGroups } from './held-groups.ts';
import type { HeldGroup } from './held-groups.ts';

export interface GroupLayout {
  readonly id: string;
  readonly size: number;
  /** Where not every permutation is allowed. */
  readonly structure: BlockStructure | undefined;
  /** Terms of this group that depend on another group's permutation. */
  readonly terms: readonly TermLayout[];
}

/** One axis of a paired tensor, seen from the group that carries it. */
export interface TermLayout {
  readonly tensor: PairedTensor;
  /** The group sits on the rows of the slices or on their columns. */
  readonly side: 'rows' | 'columns';
  /** Index of the group on the other side; it may be the same group. */
  readonly other: number;
}

/** Where an entry of the layout comes from: a tensor, or a piece of one (see `arrangement.ts`) under a name of its own. */
interface Source {
  /** The tensor's name; `#n` behind it for pieces. */
  readonly name: string;
  readonly tensor: string;
  readonly selection: Selection | null;
}

/** A tensor that one group alone permutes: [before, size, after] around its axis. */
export interface StaticTensor extends Source {
  readonly group: number;
  readonly before: number;
  readonly size: number;
  readonly after: number;
}

/** A tensor that two groups permute, kept as `slices` matrices [rows, columns], one for each place on the other axes. */
export interface PairedTensor extends Source {
  readonly rowGroup: number;
  readonly columnGroup: number;
  readonly rows: number;
  readonly columns: number;
  readonly slices: number;
  /** Elements that a pair stores at most: fewer than slices · rows · columns where the groups have units that a piece lacks. */
  readonly elements: number;
  /** Extents before, between and behind the two axes. */
  readonly extents: readonly [number, number, number];
}

export interface MatchingLayout {
  readonly spec: PermutationSpec;
  /** Groups that nobody froze and that stay where they are all the same. */
  readonly held: readonly HeldGroup[];
  /** Those that move. */
  readonly groups: readonly GroupLayout[];
  readonly statics: readonly StaticTensor[];
  readonly paired: readonly PairedTensor[];
}

/**
 * @param frozenGroups groups that stay where they are; their axes count as fixed.
 * @throws InvalidArgumentError for an unknown frozen group, or one instead of a list of them.
 */
export function matchingLayout(spec: PermutationSpec, frozenGroups: readonly string[] = []): MatchingLayout {
  for (const id of requireList('frozenGroups', frozenGroups, requireText)) {
    if (!spec.groups.some((group) => group.id === id)) {
      throw new InvalidArgumentError({
        field: 'frozenGroups',
        expected: `groups of ${describe(spec.groups.map((group) => group.id))}`,
        got: describe(id),
      });
    }
  }
  const held = heldGroups(spec, frozenGroups);
  const still = [...frozenGroups, ...held.map(({ id }) => id)];
  const moving = spec.groups.filter(({ id }) => !still.includes(id));
  const indexOf = new Map(moving.map(({ id }, index) => [id, index]));
  const carried = new Set(moving.flatMap(({ members }) => members.map(({ tensor }) => tensor)));
  const statics: StaticTensor[] = [];
  const paired: PairedTensor[] = [];
  const sizes = new Map(moving.map(({ id, size }) => [id, size]));
  for (const [tensor, tensorSpec] of spec.tensors) {
    if (tensorSpec.buffer === true || !carried.has(tensor)) continue;
    const pieces = piecesOf(tensorSpec, sizes);
    for (const [number, { view, groups, selection }] of pieces.entries()) {
      const name = pieces.length === 1 ? tensor : `${tensor}#${number}`;
      const source: Source = { name, tensor, selection };
      const moved = groups.flatMap((group, axis) => {
        const index = group === null ? undefined : indexOf.get(group);
        return index === undefined ? [] : [{ axis, group: index }];
      });
      const [first, second] = moved;
      if (first === undefined) continue;
      if (second === undefined) {
        statics.push({
          ...source,
          group: first.group,
          before: elementCount(view.slice(0, first.axis)),
          size: view[first.axis] as number,
          after: elementCount(view.slice(first.axis + 1)),
        });
        continue;
      }
      const extents = [
        elementCount(view.slice(0, first.axis)),
        elementCount(view.slice(first.axis + 1, second.axis)),
        elementCount(view.slice(second.axis + 1)),
      ] as const;
      paired.push({
        ...source,
        rowGroup: first.group,
        columnGroup: second.group,
        rows: view[first.axis] as number,
        columns: view[second.axis] as number,
        slices: elementCount(extents),
        elements: selection?.elements ?? elementCount(view),
        extents,
      });
    }
  }
  const groups = moving.map(({ id, size, structure }, index) => ({
    id,
    size,
    structure,
    terms: paired.flatMap((tensor): TermLayout[] => [
      ...(tensor.rowGroup === index ? [{ tensor, side: 'rows' as const, other: tensor.columnGroup }] : []),
      ...(tensor.columnGroup === index ? [{ tensor, side: 'columns' as const, other: tensor.rowGroup }] : []),
    ]),
  }));
  return { spec, held, groups, statics, paired };
}

/**
 * One side of one pair of a paired tensor: the matrices [slice][live row][live column], without the rows and columns that
 * are zero in every slice. ReLU units that no image of a batch wakes have zero gradients; in a Conv8 they were a third of
 * all units, and nothing is lost by neither storing nor multiplying them.
 */
export interface LiveSlices {
  readonly data: CodedRows;
  /** Frobenius norm before coding. */
  readonly norm: number;
  /** Ascending. */
  readonly rows: Int32Array;
  readonly columns: Int32Array;
}

/** One stored pair of a tensor. */
export interface StoredPair {
  readonly target: LiveSlices;
  readonly source: LiveSlices;
}

/** [a, rows, b, columns, c] → [a · b · c][live rows][live columns], each element times `scale`; `norm` is the result's. */
export function liveSlices(tensor: PairedTensor, data: Float32Array, scale: number, norm: number): LiveSlices {
  const [before, between, behind] = tensor.extents;
  const rows = liveRows(tensor, data);
  const columns = liveColumns(tensor, data);
  const offsets = columns.map((column) => column * behind);
  const out = new Float32Array(tensor.slices * rows.length * columns.length);
  let at = 0;
  // Written in order: a 3 × 3 kernel would be nine write streams a power of two apart, which evict one another from L1.
  for (let i = 0; i < before; i++) {
    for (let j = 0; j < between; j++) {
      for (let k = 0; k < behind; k++) {
        for (let r = 0; r < rows.length; r++) {
          const from = ((i * tensor.rows + (rows[r] as number)) * between + j) * tensor.columns * behind + k;
          for (let c = 0; c < offsets.length; c++) out[at++] = (data[from + (offsets[c] as number)] as number) * scale;
        }
      }
    }
  }
  return { data: exactRows(out), norm, rows, columns };
}

function liveRows({ extents: [before, between, behind], rows, columns }: PairedTensor, data: Float32Array): Int32Array {
  const run = between * columns * behind;
  return select(rows, (row) => {
    for (let i = 0; i < before; i++) if (anyNonZero(data, (i * rows + row) * run, run)) return true;
    return false;
  });
}

function liveColumns({ extents: [before, between, behind], rows, columns }: PairedTensor, data: Float32Array): Int32Array {
  return select(columns, (column) => {
    for (let block = 0; block < before * rows * between; block++) {
      if (anyNonZero(data, (block * columns + column) * behind, behind)) return true;
    }
    return false;
  });
}

/** Units of a static tensor with any non-zero element. */
export function liveUnits({ before, size, after }: StaticTensor, data: Float32Array): Int32Array {
  return select(size, (unit) => {
    for (let p = 0; p < before; p++) if (anyNonZero(data, (p * size + unit) * after, after)) return true;
    return false;
  });
}

/** Offsets of the places around a static tensor's axis that are not zero for all units on either side. */
export function liveOffsets({ before, size, after }: StaticTensor, target: Float32Array, source: Float32Array): Int32Array {
  const offsetOf = (place: number): number => Math.floor(place / after) * size * after + (place % after);
  const isLive = (data: Float32Array, offset: number): boolean => {
    for (let unit = 0; unit < size; unit++) if (data[offset + unit * after] !== 0) return true;
    return false;
  };
  return select(before * after, (place) => isLive(target, offsetOf(place)) && isLive(source, offsetOf(place))).map(offsetOf);
}

function select(count: number, isLive: (unit: number) => boolean): Int32Array {
  const live: number[] = [];
  for (let unit = 0; unit < count; unit++) if (isLive(unit)) live.push(unit);
  return Int32Array.from(live);
}

function anyNonZero(data: Float32Array, from: number, count: number): boolean {
  for (let at = from; at < from + count; at++) if (data[at] !== 0) return true;
  return false;
}

/** Position of each of `count` units in a list of live ones, −1 for the others. */
export function positionsOf(live: Int32Array, count: number): Int32Array {
  const positions = new Int32Array(count).fill(-1);
  for (let position = 0; position < live.length; position++) positions[live[position] as number] = position;
  return positions;
}

/** The slices with their dead rows and columns put back, [slices][rows][columns]. */
export function expandSlices(tensor: PairedTensor, live: LiveSlices, out: Float32Array): void {
  const data = new Float32Array(live.data.length);
  live.data.decode(0, data);
  out.fill(0);
  for (let slice = 0, at = 0; slice < tensor.slices; slice++) {
    for (const row of live.rows) {
      const to = (slice * tensor.rows + row) * tensor.columns;
      for (const column of live.columns) out[to + column] = data[at++] as number;
    }
  }
}
