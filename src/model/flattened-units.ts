/**
 * Which tensors read the units of a flattened image. Keras flattens [H, W, C], PyTorch and our graphs [C, H, W], so in a Keras
 * file such tensors hold the same units in another order: with the right shape and of another network. The order is followed
 * through what any permutation of the units passes through, which the permutation rules know: maps of single elements, norms
 * over all units, sums of values in one order.
 */
import { UnsupportedError } from '../core/errors.ts';
import { elementCount } from '../tensor/tensor.ts';
import { AxisSets, type Axis } from './axis-sets.ts';
import {
  INPUT,
  inferShapes,
  inputShapes,
  parameterLayout,
  parameterName,
  type GraphNode,
  type ModelGraph,
  type Shape,
} from './graph.ts';
import { nodePath } from './operation-support.ts';
import { ruleOf } from './operations.ts';
import { permutationRuleOf } from './permutation-rules.ts';

/** [C, H, W] of the image whose elements are a value's units; undefined where both frameworks have them in one order. */
type UnitOrder = readonly [number, number, number] | undefined;

/**
 * [C, H, W] of what was flattened, by the name of each tensor that reads its units: weights of dense layers (their inputs),
 * vectors of norms. In Keras the units are such a tensor's first axis.
 * @throws UnsupportedError naming the node behind which the order is lost: a slice, a sum with other units, the output.
 */
export function flattenedInputs(graph: ModelGraph): ReadonlyMap<string, readonly [number, number, number]> {
  const shapes = inferShapes(graph);
  const orders = new Map<string, UnitOrder>([[INPUT, imageOrder(graph.input)]]);
  const readers = new Map<string, readonly [number, number, number]>();
  for (const node of graph.nodes) {
    const given = node.inputs.map((name) => orders.get(name));
    const shape = shapes.get(node.name) as Shape;
    orders.set(node.name, shape.length === 3 ? imageOrder(shape) : undefined);
    if (node.op === 'flatten' || node.op === 'reshape') orders.set(node.name, reshaped(node, given[0], shape));
    else if (node.inputs.some((name) => shapes.get(name)?.length === 1)) {
      const order = common(node, given);
      if (order === undefined) continue;
      const { keeps, tensors } = follow(graph, node, order, inputShapes(node, shapes), shape);
      for (const name of tensors) readers.set(name, order);
      if (keeps) orders.set(node.name, order);
    }
  }
  const output = graph.nodes.find(({ name }) => name === graph.output);
  if (output !== undefined && orders.get(output.name) !== undefined)
    lose(output, 'a dense layer or pooling between flattened images and the output');
  return readers;
}

function imageOrder(shape: Shape): UnitOrder {
  if (shape.length !== 3) return undefined;
  const [channels, height, width] = shape as readonly [number, number, number];
  return channels > 1 && height * width > 1 ? [channels, height, width] : undefined;
}

/** Height and width are one axis of pixels: [C, 2, 3] and [C, 3, 2] are the same order of units. */
function alike(a: UnitOrder, b: UnitOrder): boolean {
  return a === undefined || b === undefined ? a === b : a[0] === b[0] && a[1] * a[2] === b[1] * b[2];
}

function lose(node: GraphNode, expected: string): never {
  throw new UnsupportedError({
    field: nodePath(node),
    expected: `${expected} (Keras flattens [H, W, C], the network [C, H, W])`,
    got: 'units in another order than Keras has them in',
  });
}

/** Both frameworks take elements row by row, of images in their own order. */
function reshaped(node: GraphNode, from: UnitOrder, shape: Shape): UnitOrder {
  const to = shape.length === 1 ? from : imageOrder(shape);
  if (!alike(from, to)) lose(node, 'a shape in which the elements keep their places');
  return to;
}

function common(node: GraphNode, given: readonly UnitOrder[]): UnitOrder {
  const [order, ...others] = given;
  if (others.some((other) => !alike(order, other))) lose(node, 'inputs whose units are in one order');
  return order;
}

/** Whether the value's units are those of the inputs, and which of the node's tensors have them as an axis. */
function follow(
  graph: ModelGraph, node: GraphNode, order: NonNullable<UnitOrder>, inputs: readonly Shape[], shape: Shape,
): { readonly keeps: boolean; readonly tensors: readonly string[] } {
  const sets = new AxisSets();
  const units = sets.create(elementCount(order), node.name);
  // A tensor shared with another layer lies in the order of that layer's units.
  const tensorAxes = new Map(
    parameterLayout(graph).parameters.map((info) => [info.name, info.shape.map((extent) => sets.fixed(extent, 'shared'))]),
  );
  const axes = permutationRuleOf(node)(node, inputs.map(() => [units]), shape, sets, { tensorAxes, vocabulary: graph.vocabulary ?? 1 });
  const isUnits = (axis: Axis): boolean => axis.length === 1 && axis[0] === units[0];
  const holdsUnits = (axis: Axis): boolean => axis.some((factor) => factor === units[0]);
  const keeps = axes.value.length === 1 && isUnits(axes.value[0] as Axis);
  if (!sets.isFree(units) || (!keeps && axes.value.some(holdsUnits))) lose(node, 'an operation on single units or on all of them');
  const own = ruleOf(node).parameters(node, inputs, graph);
  return {
    keeps,
    tensors: own.filter(({ suffix }) => axes.parameters[suffix]?.some(holdsUnits)).map(({ suffix }) => parameterName(node.name, suffix)),
  };
}
