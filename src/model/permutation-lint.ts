/**
 * Checks a permutation spec against the graph it is for, without trusting how it was derived: a spec that was loaded,
 * edited or derived wrongly gives a list of what is wrong.
 */
import { elementCount, sameShape } from '../tensor/tensor.ts';
import { parameterLayout, type ModelGraph, type ParameterInfo, type Shape } from './graph.ts';
import type { PermutationSpec, TensorSpec } from './permutation-spec.ts';

export interface SpecProblem {
  /** The tensor or group at fault. */
  readonly subject: string;
  readonly problem: string;
}

/** Every problem found; empty for a sound spec. */
export function lintPermutationSpec(graph: ModelGraph, spec: PermutationSpec): readonly SpecProblem[] {
  const { parameters, buffers } = parameterLayout(graph);
  const infos = new Map([...parameters, ...buffers].map((info) => [info.name, info]));
  // A transposed convolution's weight is [in, out, …]; all others begin with the units that they make.
  const reversed = new Set(graph.nodes.filter(({ op }) => op === 'conv_transpose2d').map(({ name }) => name));
  const problems: SpecProblem[] = [];
  for (const name of spec.tensors.keys()) {
    if (!infos.has(name)) problems.push({ subject: name, problem: 'is no tensor of the network' });
  }
  const carried = new Map<string, { tensor: string; axis: number; role: 'producer' | 'consumer' | 'carrier' }[]>();
  for (const info of infos.values()) {
    const tensor = spec.tensors.get(info.name);
    if (tensor === undefined) {
      problems.push({ subject: info.name, problem: 'is missing from the spec' });
      continue;
    }
    const found = lintTensor(info, tensor);
    problems.push(...found.map((problem) => ({ subject: info.name, problem })));
    if (found.length > 0) continue;
    const owners = storedAxes(tensor.shape, tensor.view) as readonly number[];
    for (const [axis, id] of tensor.axes.entries()) {
      if (id === null) continue;
      const group = spec.groups.find((candidate) => candidate.id === id);
      const extent = tensor.view[axis];
      if (group === undefined) problems.push({ subject: info.name, problem: `axis ${axis} names the unknown group "${id}"` });
      else if (group.size !== extent) {
        problems.push({ subject: info.name, problem: `axis ${axis} has ${extent} units, group "${id}" has ${group.size}` });
      }
      const making = reversed.has(info.node) ? 1 : 0;
      const role = info.role !== 'weight' ? 'carrier' : owners[axis] === making ? 'producer' : 'consumer';
      carried.set(id, [...(carried.get(id) ?? []), { tensor: info.name, axis, role }]);
    }
  }
  for (const group of spec.groups) {
    problems.push(...lintGroup(group, carried.get(group.id) ?? []).map((problem) => ({ subject: group.id, problem })));
  }
  const ids = spec.groups.map(({ id }) => id);
  for (const id of new Set(ids.filter((candidate, index) => ids.indexOf(candidate) !== index))) {
    problems.push({ subject: id, problem: 'is the name of two groups' });
  }
  return problems;
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
    if (id !== null && reason !== null) problems.push(`axis ${axis} moves with "${id}" and yet may not: ${reason}`);
  }
  return problems;
}

function lintGroup(
  group: PermutationSpec['groups'][number],
  carried: readonly { readonly tensor: string; readonly axis: number; readonly role: string }[],
): string[] {
  const problems: string[] = [];
  if (!Number.isSafeInteger(group.size) || group.size < 2) problems.push(`has ${group.size} units: nothing to permute`);
  const key = ({ tensor, axis }: { tensor: string; axis: number }): string => `${tensor} axis ${axis}`;
  const listed = new Set(group.members.map(key));
  const actual = new Set(carried.map(key));
  if (listed.size !== group.members.length) problems.push('lists a member twice');
  for (const member of listed) if (!actual.has(member)) problems.push(`lists ${member}, which does not carry it`);
  for (const member of actual) if (!listed.has(member)) problems.push(`does not list ${member}, which carries it`);
  for (const role of ['producer', 'consumer']) {
    if (!carried.some((member) => member.role === role)) problems.push(`has no ${role}: no weight ${role === 'producer' ? 'makes' : 'reads'} these units`);
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
