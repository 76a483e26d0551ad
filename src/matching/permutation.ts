/**
 * Permutations of hidden units: make, check, invert, compose, and apply to named tensors.
 * One convention throughout: `permuted[i] = original[perm[i]]`.
 */
import { describe } from '../core/describe.ts';
import { InvalidArgumentError } from '../core/errors.ts';
import { requireMembers } from '../core/require.ts';
import type { PermutationGroup, PermutationSpec, TensorSpec } from '../model/permutation-spec.ts';
import { Random, streams } from '../tensor/random.ts';
import { elementCount, sameShape } from '../tensor/tensor.ts';
import type { NamedTensors, Tensor } from '../tensor/tensor.ts';
import { arrangedPermutation } from './arrangement.ts';
import { compose, firstMisplaced } from './block-assignment.ts';

/** Group id → permutation of that group's units. */
export type Permutations = ReadonlyMap<string, Int32Array>;

/** 0, 1, …, size − 1. */
export function identity(size: number): Int32Array {
  const perm = new Int32Array(size);
  for (let i = 0; i < size; i++) perm[i] = i;
  return perm;
}

export function isIdentity(perm: Int32Array): boolean {
  for (let i = 0; i < perm.length; i++) if (perm[i] !== i) return false;
  return true;
}

/** @throws InvalidArgumentError unless it is what `derivePermutationSpec` gives. */
export function requireSpec(spec: unknown): void {
  requireMembers('spec', spec, ['groups', 'tensors'], 'a permutation spec: derivePermutationSpec(graph)');
}

function requirePermutationMap(field: string, permutations: unknown): void {
  requireMembers(field, permutations, ['entries', 'get'], 'permutations by group: a Map of Int32Array');
}

/** The permutations that move nothing. */
export function identityPermutations(spec: PermutationSpec): Permutations {
  requireSpec(spec);
  return new Map(spec.groups.map(({ id, size }) => [id, identity(size)]));
}

/** Uniformly random permutations of those that keep the function; the same for the same spec and seed in every runtime. */
export function randomPermutations(spec: PermutationSpec, seed: number): Permutations {
  requireSpec(spec);
  return new Map(
    spec.groups.map((group, index) => [group.id, randomPermutation(group, new Random(seed, streams.permutation, index))]),
  );
}

function randomPermutation({ size, structure }: PermutationGroup, random: Random): Int32Array {
  if (structure === undefined) return random.permutation(size);
  const { blocks, parts } = structure;
  return compose(blocks, parts, random.permutation(blocks), (part) => random.permutation(parts[part] as number));
}

/** A permutation that moves: two units of the group swapped, or two whole blocks; undefined where nothing of it can move. */
export function smallestMove({ size, structure }: PermutationGroup): Int32Array | undefined {
  const { blocks, parts } = structure ?? { blocks: 1, parts: [size] };
  // Blocks move as wholes; of a single one the units of each part do.
  const perm = compose(blocks, parts, firstTwoSwapped(blocks), (part) =>
    blocks > 1 ? identity(parts[part] as number) : firstTwoSwapped(parts[part] as number),
  );
  return isIdentity(perm) ? undefined : perm;
}

function firstTwoSwapped(size: number): Int32Array {
  const perm = identity(size);
  if (size > 1) [perm[0], perm[1]] = [1, 0];
  return perm;
}

/**
 * Throws unless `perms` holds a bijection of the right length for every group of the spec and nothing else.
 * @param field what the message calls them.
 * @throws InvalidArgumentError naming the group and the first index at fault.
 */
export function requirePermutations(spec: PermutationSpec, perms: Permutations, field = 'permutations'): void {
  for (const { id, size, structure } of spec.groups) {
    const perm = perms.get(id);
    if (!(perm instanceof Int32Array)) {
      throw new InvalidArgumentError({
        field: `${field}.${id}`,
        expected: `an Int32Array of ${size} indices`,
        got: describe(perm),
      });
    }
    requirePermutation(perm, size, `${field}.${id}`);
    const misplaced = structure === undefined ? -1 : firstMisplaced(perm, structure);
    if (misplaced >= 0) {
      throw new InvalidArgumentError({
        field: `${field}.${id}[${misplaced}]`,
        expected: `a unit of the block that the rest of its block comes from (${structure?.blocks} blocks move as wholes)`,
        got: `${perm[misplaced]}`,
      });
    }
  }
  if (perms.size !== spec.groups.length) {
    const known = new Set(spec.groups.map(({ id }) => id));
    for (const id of perms.keys()) {
      if (!known.has(id)) {
        throw new InvalidArgumentError({
          field: `${field}.${id}`,
          expected: `one of the groups ${describe([...known])}`,
          got: 'a group that the spec does not have',
        });
      }
    }
  }
}

/** Throws unless `perm` is a bijection of 0 … size − 1. @throws InvalidArgumentError */
function requirePermutation(perm: Int32Array, size: number, field = 'permutation'): void {
  if (perm.length !== size) {
    throw new InvalidArgumentError({ field, expected: `${size} indices`, got: `${perm.length}` });
  }
  const seenAt = new Int32Array(size).fill(-1);
  for (let i = 0; i < size; i++) {
    const j = perm[i] as number;
    if (j < 0 || j >= size) {
      throw new InvalidArgumentError({ field: `${field}[${i}]`, expected: `an index in [0, ${size - 1}]`, got: `${j}` });
    }
    const before = seenAt[j] as number;
    if (before !== -1) {
      throw new InvalidArgumentError({
        field: `${field}[${i}]`,
        expected: 'every index once (a bijection)',
        got: `${j}, which stands at ${before} too`,
      });
    }
    seenAt[j] = i;
  }
}

/** inverse[perm[i]] = i. `perm` must be a bijection (see `requirePermutation`). */
function invert(perm: Int32Array): Int32Array {
  const inverse = new Int32Array(perm.length);
  for (let i = 0; i < perm.length; i++) inverse[perm[i] as number] = i;
  return inverse;
}

/** Undoes `perms`: permuting by one and then by the other moves nothing. */
export function invertPermutations(perms: Permutations): Permutations {
  requirePermutationMap('permutations', perms);
  return new Map([...perms].map(([id, perm]) => [id, invert(perm)]));
}

/**
 * One permutation that does what `first` and then `second` do: composed[i] = first[second[i]], since
 * permuted twice[i] = permuted once[second[i]] = original[first[second[i]]].
 * @throws InvalidArgumentError where the two have different groups or sizes.
 */
export function composePermutations(first: Permutations, second: Permutations): Permutations {
  requirePermutationMap('first', first);
  requirePermutationMap('second', second);
  const composed = new Map<string, Int32Array>();
  for (const [id, a] of first) {
    const b = second.get(id);
    if (b === undefined || b.length !== a.length) {
      throw new InvalidArgumentError({
        field: `second.${id}`,
        expected: `a permutation of ${a.length} units`,
        got: b === undefined ? 'none' : `one of ${b.length}`,
      });
    }
    composed.set(id, b.map((i) => a[i] as number));
  }
  for (const id of second.keys()) {
    if (!first.has(id)) throw new InvalidArgumentError({ field: `second.${id}`, expected: 'no such group', got: 'one' });
  }
  return composed;
}

/** The spec of a tensor. @throws InvalidArgumentError where there is none. */
export function specOf(spec: PermutationSpec, name: string): TensorSpec {
  const tensorSpec = spec.tensors.get(name);
  if (tensorSpec === undefined) {
    throw new InvalidArgumentError({ field: name, expected: 'a tensor of the permutation spec', got: 'one it lacks' });
  }
  return tensorSpec;
}

/**
 * Applies the permutations to every axis of every tensor that carries them (axes of the spec's VIEW of the tensor);
 * the inputs stay untouched, tensors without a moving axis are passed on, not copied.
 * @throws InvalidArgumentError where a tensor is unknown to the spec or of another shape, or `perms` is not a bijection
 *   for every group.
 */
export function permuteTensors(spec: PermutationSpec, tensors: NamedTensors, perms: Permutations): NamedTensors {
  requireSpec(spec);
  requireMembers('tensors', tensors, ['entries', 'get'], 'tensors by name: a Map');
  requirePermutationMap('permutations', perms);
  requirePermutations(spec, perms);
  const permuted = new Map<string, Tensor>();
  for (const [name, tensor] of tensors) {
    permuted.set(name, permuteTensor(specOf(spec, name), tensor, perms, name));
  }
  return permuted;
}

/** One tensor of `permuteTensors`; `perms` must have been checked. */
function permuteTensor(spec: TensorSpec, tensor: Tensor, perms: Permutations, field: string): Tensor {
  requireSpecShape(spec, tensor, field);
  const axisPerms = axisPermutations(spec, perms);
  if (axisPerms.every((perm) => perm === null)) return tensor;
  return { shape: tensor.shape, data: gatherAxes(tensor.data, spec.view, axisPerms) };
}

/** @throws InvalidArgumentError unless the tensor has the spec's shape. */
export function requireSpecShape(spec: TensorSpec, tensor: Tensor, field: string): void {
  if (!sameShape(spec.shape, tensor.shape)) {
    throw new InvalidArgumentError({
      field,
      expected: `shape [${spec.shape.join(', ')}]`,
      got: `[${tensor.shape.join(', ')}]`,
    });
  }
}

/** What moves along each axis of the view; null where nothing does. */
export function axisPermutations(spec: TensorSpec, perms: Permutations): (Int32Array | null)[] {
  return spec.axes.map((mover) => {
    const perm = mover === null ? null : typeof mover === 'string' ? (perms.get(mover) ?? null) : arrangedPermutation(mover, perms);
    return perm === null || isIdentity(perm) ? null : perm;
  });
}

/** How to read data of some view in permuted order: from each start a run, or the columns counted from there. */
export interface Walk {
  readonly starts: Int32Array;
  readonly run: number;
  readonly columns: Int32Array | null;
}

/** Everything behind the last moving axis is one contiguous run; what stands before becomes a list of offsets. */
export function walkOf(length: number, view: readonly number[], perms: readonly (Int32Array | null)[]): Walk {
  let last = perms.length - 1;
  while (last >= 0 && perms[last] === null) last--;
  if (last < 0) return { starts: new Int32Array(1), run: length, columns: null };
  const run = elementCount(view.slice(last + 1));
  let starts = new Int32Array(1);
  let strideElements = length;
  for (let axis = 0; axis <= last; axis++) {
    const extent = view[axis] as number;
    const perm = perms[axis] ?? null;
    strideElements /= extent;
    // The innermost moving axis is walked number by number unless it moves whole runs.
    if (axis === last && run === 1) break;
    const next = new Int32Array(starts.length * extent);
    let at = 0;
    for (let outer = 0; outer < starts.length; outer++) {
      const base = starts[outer] as number;
      for (let i = 0; i < extent; i++) next[at++] = base + (perm === null ? i : (perm[i] as number)) * strideElements;
    }
    starts = next;
  }
  return { starts, run, columns: run === 1 ? (perms[last] as Int32Array) : null };
}

/** out[i0, i1, …] = data[p0[i0], p1[i1], …] for data of shape `view`; null leaves an axis as it is. */
export function gatherAxes(data: Float32Array, view: readonly number[], perms: readonly (Int32Array | null)[]): Float32Array {
  const { starts, run, columns } = walkOf(data.length, view, perms);
  const out = new Float32Array(data.length);
  let at = 0;
  if (columns !== null) {
    for (let outer = 0; outer < starts.length; outer++) {
      const base = starts[outer] as number;
      for (let i = 0; i < columns.length; i++) out[at++] = data[base + (columns[i] as number)] as number;
    }
  } else if (run < 32) {
    // Typed-array copies cost about 60 ns a call: below 32 elements a plain loop is faster.
    for (let outer = 0; outer < starts.length; outer++) {
      const base = starts[outer] as number;
      for (let i = 0; i < run; i++) out[at++] = data[base + i] as number;
    }
  } else {
    for (let outer = 0; outer < starts.length; outer++, at += run) {
      const base = starts[outer] as number;
      out.set(data.subarray(base, base + run), at);
    }
  }
  return out;
}

/** Units of a group that stand elsewhere in `now` than in `before`. */
export function changedUnits(before: Int32Array, now: Int32Array): Int32Array {
  const changed: number[] = [];
  for (let i = 0; i < now.length; i++) if (before[i] !== now[i]) changed.push(i);
  return Int32Array.from(changed);
}
