/**
 * Which axes of which tensors a permutation of hidden units moves, derived from the graph and never written by hand.
 * Permuting the members of every group leaves the function of the network as it was.
 */
import { AxisSets, type Axis, type AxisSet } from './axis-sets.ts';
import { INPUT, inferShapes, inputShapes, parameterLayout, type ModelGraph, type Shape } from './graph.ts';
import { ruleOf } from './operations.ts';
import { permutationRuleOf, reasons, type ValueAxes } from './permutation-rules.ts';

export { lintPermutationSpec, type SpecProblem } from './permutation-lint.ts';

/** Units that move together. */
export interface PermutationGroup {
  /** The name of the node that first makes these units, e.g. `convs.0`; with `[0]`, `[1]` for factors of a split axis. */
  readonly id: string;
  /** Units, at least 2. */
  readonly size: number;
  /** Every axis that the group moves, parameters first, then buffers. A tensor may occur twice, with two axes. */
  readonly members: readonly { readonly tensor: string; readonly axis: number }[];
}

/** How one tensor is permuted. */
export interface TensorSpec {
  /** As stored. */
  readonly shape: Shape;
  /**
   * The same elements in finer axes, row-major: the weight [out, C·H·W] of a dense layer after a flattening has the view
   * [out, C, H·W]. Equal to `shape` where nothing is finer.
   */
  readonly view: readonly number[];
  /** Group id of each axis of the view, or null where it may not move. */
  readonly axes: readonly (string | null)[];
  /** For each axis of the view why it may not move, or null where it may. */
  readonly reasons: readonly (string | null)[];
}

export interface PermutationSpec {
  /** In the order of their first member. */
  readonly groups: readonly PermutationGroup[];
  /** Parameters and buffers, in the order of the graph. */
  readonly tensors: ReadonlyMap<string, TensorSpec>;
}

/** The permutation spec of a network. A graph that `parseGraph` accepts always has one (perhaps without groups). */
export function derivePermutationSpec(graph: ModelGraph): PermutationSpec {
  const sets = new AxisSets();
  const tensorAxes = traceAxes(graph, sets);
  const names = new Map<AxisSet, string>();
  const members = new Map<AxisSet, { tensor: string; axis: number }[]>();
  const tensors = new Map<string, TensorSpec>();
  const { parameters, buffers } = parameterLayout(graph);
  for (const info of [...parameters, ...buffers]) {
    const spec = { shape: info.shape, view: [] as number[], axes: [] as (string | null)[], reasons: [] as (string | null)[] };
    for (const [position, extent] of info.shape.entries()) {
      const axis = tensorAxes.get(info.name)?.[position] ?? [];
      for (const factor of factorsOf(sets, axis, extent)) {
        if (factor.reason === null) {
          const id = names.get(factor.leaf) ?? freshName(factor.leaf.name, names);
          names.set(factor.leaf, id);
          const list = members.get(factor.leaf) ?? [];
          members.set(factor.leaf, list);
          list.push({ tensor: info.name, axis: spec.view.length });
          spec.axes.push(id);
        } else {
          spec.axes.push(null);
        }
        spec.reasons.push(factor.reason);
        spec.view.push(factor.size);
      }
    }
    tensors.set(info.name, spec);
  }
  const groups = [...members].map(([leaf, list]) => ({ id: names.get(leaf) as string, size: leaf.size, members: list }));
  return { groups, tensors };
}

/** The axes of every parameter and buffer, with everything tied that must move together. */
function traceAxes(graph: ModelGraph, sets: AxisSets): ReadonlyMap<string, readonly Axis[]> {
  const shapes = inferShapes(graph);
  const values = new Map<string, ValueAxes>([[INPUT, graph.input.map((extent) => sets.fixed(extent, reasons.input))]]);
  const tensorAxes = new Map<string, readonly Axis[]>();
  for (const node of graph.nodes) {
    const inputs = node.inputs.map((name) => values.get(name) as ValueAxes);
    const { value, parameters } = permutationRuleOf(node)(node, inputs, shapes.get(node.name) as Shape, sets);
    values.set(node.name, value);
    for (const { suffix } of ruleOf(node).parameters(node, inputShapes(node, shapes))) {
      tensorAxes.set(`${node.name}.${suffix}`, parameters[suffix] as readonly Axis[]);
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
  for (const { leaf, reason } of sets.resolve(axis)) {
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

/** Two leaves can share a name where a node makes several factors; the second is numbered. */
function freshName(name: string, taken: ReadonlyMap<AxisSet, string>): string {
  const used = new Set(taken.values());
  if (!used.has(name)) return name;
  let number = 2;
  while (used.has(`${name}#${number}`)) number++;
  return `${name}#${number}`;
}
