/**
 * Which axes of which tensors a permutation of hidden units moves, derived from the graph and never written by hand.
 * Permuting the members of every group leaves the function of the network as it was.
 */
import { AxisSets, type Axis, type AxisFamily, type AxisSet } from './axis-sets.ts';
import { INPUT, inferShapes, inputShapes, parameterLayout, parameterName, type ModelGraph, type Shape } from './graph.ts';
import { ruleOf } from './operations.ts';
import { reasons, type ValueAxes } from './permutation-rule.ts';
import { permutationRuleOf } from './permutation-rules.ts';

/** Units that move together. */
export interface PermutationGroup {
  /** The name of the node that first makes these units, e.g. `convs.0`; with `[0]`, `[1]` for factors of a split axis. */
  readonly id: string;
  /** Units, at least 2. */
  readonly size: number;
  /** Present where not every permutation of the units keeps the function. */
  readonly structure?: BlockStructure;
  /** Every axis that the group moves, parameters first, then buffers. A tensor may occur twice, with two axes. */
  readonly members: readonly { readonly tensor: string; readonly axis: number }[];
}

/**
 * Units in `blocks` blocks that move as wholes, and within each block as they like: the heads of an attention. There is one
 * part a kind of unit (queries with keys, values), `parts[p]` units of it a block; unit j of block b of part p has the number
 * (units of earlier parts) + b · parts[p] + j. A permutation keeps parts, and moves the blocks of all parts alike.
 */
export interface BlockStructure {
  readonly blocks: number;
  readonly parts: readonly number[];
}

/** A stretch of an axis: units `first` … of a group, as [blocks, repeat, units]. */
export interface Segment {
  /** Null where the stretch may not move. */
  readonly group: string | null;
  readonly first: number;
  readonly blocks: number;
  /** The same units several times over: the queries that share keys. */
  readonly repeat: number;
  /** A block. */
  readonly units: number;
}

/** An axis that is no group as a whole: stretches one behind the other, e.g. queries, keys and values in one weight. */
export interface Arrangement {
  readonly segments: readonly Segment[];
}

/** What moves an axis: a group, stretches of groups, or nothing. */
export type AxisSpec = string | Arrangement | null;

/** How one tensor is permuted. */
export interface TensorSpec {
  /** As stored. */
  readonly shape: Shape;
  /**
   * The same elements in finer axes, row-major: the weight [out, C·H·W] of a dense layer after a flattening has the view
   * [out, C, H·W]. Equal to `shape` where nothing is finer.
   */
  readonly view: readonly number[];
  /** What moves each axis of the view: a group's id, an arrangement of groups, or null where it may not move. */
  readonly axes: readonly AxisSpec[];
  /** For each axis of the view why it may not move, or null where it may. */
  readonly reasons: readonly (string | null)[];
  /** Running statistics: permuted with their units, but without a gradient to match them by. */
  readonly buffer?: true;
}

/** Which axes of which tensors are permuted together without changing what the network computes. */
export interface PermutationSpec {
  /** In the order of their first member. */
  readonly groups: readonly PermutationGroup[];
  /** Parameters and buffers, in the order of the graph. */
  readonly tensors: ReadonlyMap<string, TensorSpec>;
}

/** Groups move as these units: a set of axes, or a family of sets. */
type GroupKey = AxisSet | AxisFamily;

/**
 * The permutation spec of a network. A graph that `parseGraph` accepts has one (perhaps without groups).
 * @throws LimitError beyond `limits.axisStretches`.
 */
export function derivePermutationSpec(graph: ModelGraph): PermutationSpec {
  const sets = new AxisSets();
  const tensorAxes = traceAxes(graph, sets);
  const groups = new Map<GroupKey, PermutationGroup & { readonly members: { tensor: string; axis: number }[] }>();
  const names = new Set<string>();
  const tensors = new Map<string, TensorSpec>();
  const groupOf = (set: AxisSet) => {
    const family = sets.familyOf(set);
    const key = family ?? set;
    const known = groups.get(key);
    if (known !== undefined) return known;
    const id = freshName(key.name, names);
    names.add(id);
    const group =
      family === null
        ? { id, size: set.size, members: [] }
        : { id, size: family.members.reduce((sum, { size }) => sum + size, 0), structure: structureOf(family), members: [] };
    groups.set(key, group);
    return group;
  };
  const { parameters, buffers } = parameterLayout(graph);
  for (const info of [...parameters, ...buffers]) {
    const spec = { shape: info.shape, view: [] as number[], axes: [] as AxisSpec[], reasons: [] as (string | null)[] };
    for (const [position, extent] of info.shape.entries()) {
      const axis = tensorAxes.get(info.name)?.[position] ?? [];
      for (const factor of factorsOf(sets, axis, extent)) {
        const { axis: moved, groups: movers } = factor.reason === null ? moversOf(sets, factor.leaf, groupOf) : { axis: null, groups: [] };
        for (const group of movers) group.members.push({ tensor: info.name, axis: spec.view.length });
        spec.axes.push(moved);
        spec.reasons.push(factor.reason ?? (moved === null ? reasons.single : null));
        spec.view.push(factor.size);
      }
    }
    tensors.set(info.name, buffers.includes(info) ? { ...spec, buffer: true } : spec);
  }
  return { groups: [...groups.values()], tensors };
}

function structureOf({ blocks, members }: AxisFamily): BlockStructure {
  return { blocks, parts: members.map(({ size }) => size / blocks) };
}

/** What moves a factor, and the groups in it. */
function moversOf<G extends PermutationGroup>(
  sets: AxisSets,
  leaf: AxisSet,
  groupOf: (set: AxisSet) => G,
): { readonly axis: AxisSpec; readonly groups: readonly G[] } {
  const stretches = sets.segmentsOf(leaf);
  if (stretches === null && sets.familyOf(leaf) === null) {
    const group = groupOf(leaf);
    return { axis: group.id, groups: [group] };
  }
  const groups = new Set<G>();
  const segments = (stretches ?? [{ set: leaf, blocks: 1, repeat: 1, reason: null }]).map(
    ({ set, blocks: given, repeat, reason }): Segment => {
      const family = sets.familyOf(set);
      const blocks = family?.blocks ?? given;
      // A single unit has no place to go.
      if (reason !== null || (family === null && set.size === 1))
        return { group: null, first: 0, blocks, repeat, units: set.size / blocks };
      const group = groupOf(set);
      groups.add(group);
      let first = 0;
      for (const member of family?.members ?? []) {
        if (member === set) break;
        first += member.size;
      }
      return { group: group.id, first, blocks, repeat, units: set.size / blocks };
    },
  );
  const [only, ...more] = segments;
  if (groups.size === 0) return { axis: null, groups: [] };
  const whole = more.length === 0 && only?.blocks === 1 && only.repeat === 1 && only.units === [...groups][0]?.size;
  return { axis: whole ? (only.group as string) : { segments }, groups: [...groups] };
}

/** The axes of every parameter and buffer, with everything tied that must move together. */
function traceAxes(graph: ModelGraph, sets: AxisSets): ReadonlyMap<string, readonly Axis[]> {
  const shapes = inferShapes(graph);
  const values = new Map<string, ValueAxes>([[INPUT, graph.input.map((extent) => sets.fixed(extent, reasons.input))]]);
  const tensorAxes = new Map<string, readonly Axis[]>();
  const context = { tensorAxes, vocabulary: graph.vocabulary ?? 1 };
  for (const node of graph.nodes) {
    const inputs = node.inputs.map((name) => values.get(name) as ValueAxes);
    const { value, parameters } = permutationRuleOf(node)(node, inputs, shapes.get(node.name) as Shape, sets, context);
    values.set(node.name, value);
    for (const { suffix } of ruleOf(node).parameters(node, inputShapes(node, shapes), graph)) {
      tensorAxes.set(parameterName(node.name, suffix), parameters[suffix] as readonly Axis[]);
    }
  }
  for (const axis of values.get(graph.output) as ValueAxes) sets.fix(axis, reasons.output);
  return tensorAxes;
}

interface Factor {
  readonly leaf: AxisSet;
  readonly size: number;
  readonly reason: string | null;
}

/** The factors of one stored axis, neighbours that may not move merged into one. */
function factorsOf(sets: AxisSets, axis: Axis, extent: number): readonly Factor[] {
  const factors: Factor[] = [];
  for (const { leaf, reason: own } of sets.resolve(axis)) {
    const segments = sets.segmentsOf(leaf);
    const reason = own ?? (segments?.every((segment) => segment.reason !== null) ? (segments[0]?.reason ?? null) : null);
    const last = factors.at(-1);
    if (reason !== null && last !== undefined && last.reason !== null) {
      factors[factors.length - 1] = { ...last, size: last.size * leaf.size };
    } else {
      factors.push({ leaf, size: leaf.size, reason });
    }
  }
  if (factors.length > 0) return factors;
  const only = axis[0] as AxisSet;
  return [{ leaf: only, size: extent, reason: only?.ownReason ?? reasons.single }];
}

/** Two groups can share a name where a node makes several factors; the second is numbered. */
function freshName(name: string, used: ReadonlySet<string>): string {
  if (!used.has(name)) return name;
  let number = 2;
  while (used.has(`${name}#${number}`)) number++;
  return `${name}#${number}`;
}
