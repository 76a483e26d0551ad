/**
 * How the tensors of a network enter matching, derived once from its permutation spec: which move with one group (their
 * similarity does not depend on other permutations), which with two, and which not at all.
 */
import { describe } from '../core/describe.ts';
import { InvalidArgumentError, LimitError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { requireList, requireText } from '../core/require.ts';
import type { BlockStructure, PermutationSpec } from '../model/permutation-spec.ts';
import { elementCount } from '../tensor/tensor.ts';
import { pieceCount, piecesOf } from './arrangement.ts';
import type { Selection } from './arrangement.ts';
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
  /** The groups that move. */
  readonly groups: readonly GroupLayout[];
  readonly statics: readonly StaticTensor[];
  readonly paired: readonly PairedTensor[];
}

/** A moving axis of a piece, and the index of the group that moves it. */
interface MovingAxis {
  readonly axis: number;
  readonly group: number;
}

/** @throws InvalidArgumentError for what is no list of the spec's groups. */
function requireGroups(spec: PermutationSpec, frozenGroups: readonly string[]): void {
  for (const id of requireList('frozenGroups', frozenGroups, requireText)) {
    if (spec.groups.some((group) => group.id === id)) continue;
    throw new InvalidArgumentError({
      field: 'frozenGroups',
      expected: `groups of ${describe(spec.groups.map((group) => group.id))}`,
      got: describe(id),
    });
  }
}

function staticTensor(source: Source, view: readonly number[], { axis, group }: MovingAxis): StaticTensor {
  return {
    ...source,
    group,
    before: elementCount(view.slice(0, axis)),
    size: view[axis] as number,
    after: elementCount(view.slice(axis + 1)),
  };
}

function pairedTensor(source: Source, view: readonly number[], row: MovingAxis, column: MovingAxis): PairedTensor {
  const extents = [
    elementCount(view.slice(0, row.axis)),
    elementCount(view.slice(row.axis + 1, column.axis)),
    elementCount(view.slice(column.axis + 1)),
  ] as const;
  return {
    ...source,
    rowGroup: row.group,
    columnGroup: column.group,
    rows: view[row.axis] as number,
    columns: view[column.axis] as number,
    slices: elementCount(extents),
    elements: source.selection?.elements ?? elementCount(view),
    extents,
  };
}

/**
 * @param frozenGroups groups that stay where they are; their axes count as fixed.
 * @throws InvalidArgumentError for an unknown frozen group, or one instead of a list of them; LimitError beyond `limits.matchingPieces`.
 */
export function matchingLayout(spec: PermutationSpec, frozenGroups: readonly string[] = []): MatchingLayout {
  requireGroups(spec, frozenGroups);
  const held = heldGroups(spec, frozenGroups);
  const still = new Set([...frozenGroups, ...held.map(({ id }) => id)]);
  const moving = spec.groups.filter(({ id }) => !still.has(id));
  const indexOf = new Map(moving.map(({ id }, index) => [id, index]));
  const carried = new Set(moving.flatMap(({ members }) => members.map(({ tensor }) => tensor)));
  const statics: StaticTensor[] = [];
  const paired: PairedTensor[] = [];
  const sizes = new Map(moving.map(({ id, size }) => [id, size]));
  let count = 0;
  for (const [tensor, tensorSpec] of spec.tensors) {
    if (tensorSpec.buffer === true || !carried.has(tensor)) continue;
    requirePieces(tensor, (count += pieceCount(tensorSpec)));
    const pieces = piecesOf(tensorSpec, sizes);
    for (const [number, { view, groups, selection }] of pieces.entries()) {
      const name = pieces.length === 1 ? tensor : `${tensor}#${number}`;
      const source: Source = { name, tensor, selection };
      const [first, second] = groups.flatMap((group, axis): MovingAxis[] => {
        const index = group === null ? undefined : indexOf.get(group);
        return index === undefined ? [] : [{ axis, group: index }];
      });
      if (first === undefined) continue;
      if (second === undefined) statics.push(staticTensor(source, view, first));
      else paired.push(pairedTensor(source, view, first, second));
    }
  }
  // Tensor by tensor: looking at all of them for each group took 14 s of a network of 4,000 layers, which is 0.2 MB of JSON.
  const terms: TermLayout[][] = moving.map(() => []);
  for (const tensor of paired) {
    terms[tensor.rowGroup]?.push({ tensor, side: 'rows', other: tensor.columnGroup });
    terms[tensor.columnGroup]?.push({ tensor, side: 'columns', other: tensor.rowGroup });
  }
  const groups = moving.map(({ id, size, structure }, index) => ({ id, size, structure, terms: terms[index] ?? [] }));
  return { spec, held, groups, statics, paired };
}

function requirePieces(tensor: string, count: number): void {
  if (count <= limits.matchingPieces) return;
  throw new LimitError({ field: tensor, expected: `at most ${limits.matchingPieces} pieces of all tensors to match`, got: 'more' });
}
