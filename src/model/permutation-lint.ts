/**
 * Checks a permutation spec against the graph it is for, without trusting how it was derived: that it has the network's
 * tensors in their shapes, that groups and tensors agree on who moves with whom, and that each group is made and read.
 * What it does not see is a tensor that stands still, or in another group of that size, where another tensor makes or
 * reads the units instead: of 3,800 specs of random networks with one axis held it named half. Whether permuting keeps the
 * function is told by computing it (`npm run -s equivalence`).
 */
import { elementCount, sameShape } from '../tensor/tensor.ts';
import { parameterLayout, type ModelGraph, type ParameterInfo, type Shape } from './graph.ts';
import type { Arrangement, PermutationGroup, PermutationSpec, Segment, TensorSpec } from './permutation-spec.ts';
import { readWithoutWeight } from './weightless-readers.ts';

export interface SpecProblem {
  /** The tensor or group at fault. */
  readonly subject: string;
  readonly problem: string;
}

/** Every problem found. Empty for a sound spec, and for some that are not: it does not follow the units through the network. */
export function lintPermutationSpec(graph: ModelGraph, spec: PermutationSpec): readonly SpecProblem[] {
  const { parameters, buffers } = parameterLayout(graph);
  const infos = new Map([...parameters, ...buffers].map((info) => [info.name, info]));
  // A transposed convolution's weight is [in, out, …]; all others begin with the units that they make.
  const reversed = new Set(graph.nodes.filter(({ op }) => op === 'conv_transpose2d').map(({ name }) => name));
  const problems: SpecProblem[] = [];
  for (const name of spec.tensors.keys()) {
    if (!infos.has(name)) problems.push({ subject: name, problem: 'is no tensor of the network' });
  }
  const carried = new Map<string, { tensor: string; axis: number; role: 'producer' | 'consumer' | 'carrier'; stretch: boolean }[]>();
  for (const info of infos.values()) {
    const tensor = spec.tensors.get(info.name);
    if (tensor === undefined) {
      problems.push({ subject: info.name, problem: 'is missing from the spec' });
      continue;
    }
    const found = lintTensor(info, tensor);
    const isBuffer = buffers.includes(info);
    if (isBuffer !== (tensor.buffer === true))
      found.push(isBuffer ? 'is a buffer, and the spec says a parameter' : 'is a parameter, and the spec says a buffer');
    problems.push(...found.map((problem) => ({ subject: info.name, problem })));
    if (found.length > 0) continue;
    const owners = storedAxes(tensor.shape, tensor.view) as readonly number[];
    for (const [axis, mover] of tensor.axes.entries()) {
      if (mover === null) continue;
      const extent = tensor.view[axis] as number;
      const segments = typeof mover === 'string' ? [{ group: mover, units: extent }] : mover.segments;
      if (typeof mover !== 'string')
        problems.push(...lintArrangement(mover, extent).map((problem) => ({ subject: info.name, problem: `axis ${axis} ${problem}` })));
      for (const segment of segments) {
        if (segment.group === null) continue;
        const group = spec.groups.find((candidate) => candidate.id === segment.group);
        const problem = group === undefined ? `names the unknown group "${segment.group}"` : misfit(segment, group);
        if (problem !== null) problems.push({ subject: info.name, problem: `axis ${axis} ${problem}` });
        const making = reversed.has(info.node) ? 1 : (info.outAxis ?? 0);
        const role = info.role !== 'weight' && info.role !== 'embedding' ? 'carrier' : owners[axis] === making ? 'producer' : 'consumer';
        const list = carried.get(segment.group) ?? [];
        carried.set(segment.group, [...list, { tensor: info.name, axis, role, stretch: typeof mover !== 'string' }]);
        // What an embedding gives is read through its own rows again where a head is tied to it.
        if (info.role === 'embedding') carried.get(segment.group)?.push({ tensor: info.name, axis, role: 'consumer', stretch: false });
      }
    }
  }
  const weightless = readWithoutWeight(graph);
  for (const group of spec.groups) {
    const members = carried.get(group.id) ?? [];
    const readSo = members.some(({ tensor, role }) => role === 'producer' && weightless.has(infos.get(tensor)?.node ?? ''));
    problems.push(...lintGroup(group, members, readSo).map((problem) => ({ subject: group.id, problem })));
  }
  const ids = spec.groups.map(({ id }) => id);
  for (const id of new Set(ids.filter((candidate, index) => ids.indexOf(candidate) !== index))) {
    problems.push({ subject: id, problem: 'is the name of two groups' });
  }
  return problems;
}

function lintArrangement({ segments }: Arrangement, extent: number): string[] {
  const sum = segments.reduce((total, { blocks, repeat, units }) => total + blocks * repeat * units, 0);
  const problems = sum === extent ? [] : [`has ${extent} units, its stretches ${sum}`];
  if (segments.every(({ group }) => group === null)) problems.push('is arranged of stretches none of which may move');
  return problems;
}

/** Why a stretch, or a whole axis, cannot carry this group; null where it can. */
function misfit(segment: Pick<Segment, 'units'> & Partial<Segment>, { id, size, structure }: PermutationGroup): string | null {
  const { first, blocks, units } = segment;
  if (first === undefined || blocks === undefined) return units === size ? null : `has ${units} units, group "${id}" has ${size}`;
  if (structure === undefined) {
    return first === 0 && blocks * units === size
      ? null
      : `has a stretch of units ${first} to ${first + blocks * units} of group "${id}", which has ${size}`;
  }
  let start = 0;
  for (const part of structure.parts) {
    if (first === start && units === part && blocks === structure.blocks) return null;
    start += structure.blocks * part;
  }
  return `has a stretch that is no part of the blocks of group "${id}"`;
}

function lintTensor(info: ParameterInfo, tensor: TensorSpec): string[] {
  const show = (shape: Shape): string => `[${shape.join(', ')}]`;
  const problems: string[] = [];
  if (!sameShape(tensor.shape, info.shape)) problems.push(`has shape ${show(info.shape)}, the spec says ${show(tensor.shape)}`);
  if (elementCount(tensor.view) !== elementCount(info.shape) || storedAxes(info.shape, tensor.view) === null) {
    problems.push(`view ${show(tensor.view)} does not refine shape ${show(info.shape)}`);
  }
  if (tensor.axes.length !== tensor.view.length || tensor.reasons.length !== tensor.view.length) {
    problems.push(`view has ${tensor.view.length} axes, the spec accounts for ${tensor.axes.length} with ${tensor.reasons.length} reasons`);
  }
  for (const [axis, id] of tensor.axes.entries()) {
    const reason = tensor.reasons[axis] ?? null;
    if (id === null && (reason === null || reason === '')) problems.push(`axis ${axis} may not move and no reason is given`);
    if (id !== null && reason !== null) {
      problems.push(`axis ${axis} moves with ${typeof id === 'string' ? `"${id}"` : 'stretches of groups'} and yet may not: ${reason}`);
    }
  }
  return problems;
}

function lintGroup(
  group: PermutationSpec['groups'][number],
  carried: readonly { readonly tensor: string; readonly axis: number; readonly role: string; readonly stretch: boolean }[],
  needsNoConsumer: boolean,
): string[] {
  const problems: string[] = [];
  if (!Number.isSafeInteger(group.size) || group.size < 2) problems.push(`has ${group.size} units: nothing to permute`);
  const { structure } = group;
  if (structure !== undefined && structure.blocks * structure.parts.reduce((sum, part) => sum + part, 0) !== group.size) {
    problems.push(`has ${group.size} units, its ${structure.blocks} blocks others`);
  }
  const key = ({ tensor, axis }: { tensor: string; axis: number }): string => `${tensor} axis ${axis}`;
  const listed = new Set(group.members.map(key));
  const actual = new Set(carried.map(key));
  if (listed.size !== group.members.length) problems.push('lists a member twice');
  for (const member of listed) if (!actual.has(member)) problems.push(`lists ${member}, which does not carry it`);
  for (const member of actual) if (!listed.has(member)) problems.push(`does not list ${member}, which carries it`);
  for (const role of ['producer', 'consumer']) {
    // Of an arranged axis, a slice may leave out a stretch that nothing else reads.
    const leftOut = structure === undefined && carried.some((member) => member.role === 'producer' && member.stretch);
    const needless = role === 'consumer' && (leftOut || needsNoConsumer);
    if (!needless && !carried.some((member) => member.role === role))
      problems.push(`has no ${role}: no weight ${role === 'producer' ? 'makes' : 'reads'} these units`);
  }
  return problems;
}

/** Which stored axis each view axis belongs to; null where the view does not refine the shape. */
function storedAxes(shape: Shape, view: readonly number[]): readonly number[] | null {
  const owners: number[] = [];
  let axis = 0;
  for (const [stored, extent] of shape.entries()) {
    let product = 1;
    // At least one view axis each, so that extents of 1 keep theirs.
    do {
      const next = view[axis];
      if (next === undefined || !Number.isSafeInteger(next) || next < 1) return null;
      product *= next;
      owners.push(stored);
      axis += 1;
    } while (product < extent);
    if (product !== extent) return null;
  }
  return axis === view.length ? owners : null;
}
