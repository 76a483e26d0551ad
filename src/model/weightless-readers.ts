/**
 * Whose units are read without a weight, so that no tensor carries them as a consumer: what a mean over tokens adds up,
 * what the scores of an attention are sums over, and what a slice leaves out. Traced axis by axis from the graph alone,
 * beside the permutation rules.
 */
import { INPUT, inferShapes, inputShapes, type GraphNode, type ModelGraph, type NodeOf, type Shape } from './graph.ts';
import { featureAxis } from './operation-support.ts';
import { attentionShape } from './operations-sequence.ts';

/** Names of nodes. */
type Makers = ReadonlySet<string>;
/** An axis as stretches one behind the other: the nodes whose units stand on each, and how many. */
type Stretches = readonly { readonly makers: Makers; readonly length: number }[];

const NOBODY: Makers = new Set();
const makersOn = (...axes: readonly Stretches[]): Makers => new Set(axes.flatMap((axis) => axis.flatMap(({ makers }) => [...makers])));
const one = (makers: Makers, length: number): Stretches => [{ makers, length }];

/** Nodes with weights some of whose units are read so. */
export function readWithoutWeight(graph: ModelGraph): Makers {
  const shapes = inferShapes(graph);
  const values = new Map<string, readonly Stretches[]>([[INPUT, graph.input.map((extent) => one(NOBODY, extent))]]);
  const read = new Set<string>();
  for (const node of graph.nodes) {
    const inputs = node.inputs.map((name) => values.get(name) as readonly Stretches[]);
    for (const maker of makersOn(...unweighted(node, inputs, inputShapes(node, shapes)))) read.add(maker);
    values.set(node.name, axesOf(node, inputs, shapes.get(node.name) as Shape));
  }
  return read;
}

function unweighted(node: GraphNode, inputs: readonly (readonly Stretches[])[], shapes: readonly Shape[]): readonly Stretches[] {
  const [first = []] = inputs;
  if (node.op === 'mean_tokens') return [first[0] ?? []];
  if (node.op === 'slice') return sliced(node, first[featureAxis(shapes[0] as Shape)] ?? []).leftOut;
  if (node.op !== 'attention') return [];
  // Values of several units carry queries and keys with them, as one group, to the weight that reads the attention.
  const { keyHeads, valueFeatures } = attentionShape(node, shapes);
  return keyHeads * valueFeatures > 1 ? [] : inputs.slice(0, 2).map((axes) => axes[1] ?? []);
}

/** What a slice takes, and the stretches of which it takes nothing: a weight that reads the slice never reads those. */
function sliced(
  { start, length }: NodeOf<'slice'>,
  axis: Stretches,
): { readonly taken: Stretches; readonly leftOut: readonly Stretches[] } {
  let at = 0;
  const parts = axis.map((stretch) => {
    const [from, to] = [Math.max(start, at), Math.min(start + length, at + stretch.length)];
    at += stretch.length;
    return { ...stretch, length: Math.max(0, to - from) };
  });
  return { taken: parts.filter((part) => part.length > 0), leftOut: [parts.filter((part) => part.length === 0)] };
}

function axesOf(node: GraphNode, inputs: readonly (readonly Stretches[])[], shape: Shape): readonly Stretches[] {
  const [first = []] = inputs;
  const along = featureAxis(shape);
  const extent = shape[along] as number;
  const own: Makers = new Set([node.name]);
  switch (node.op) {
    case 'dense':
      return first.with(along, one(own, extent));
    case 'conv2d':
    case 'conv_transpose2d': {
      // Groups of channels go on as groups of the outputs.
      const makers = node.groups === 1 ? own : new Set([...own, ...makersOn(first[0] ?? [])]);
      return shape.map((length, axis) => one(axis === 0 ? makers : NOBODY, length));
    }
    case 'embedding':
      return [...first, one(own, extent)];
    case 'tied_dense':
      return first.with(along, one(NOBODY, extent));
    case 'flatten':
    case 'reshape':
      return shape.map((length) => one(makersOn(...first), length));
    case 'tokens':
      return [one(makersOn(first[1] ?? [], first[2] ?? []), shape[0] as number), first[0] ?? []];
    case 'transpose':
      return first.toReversed();
    case 'select_token':
    case 'mean_tokens':
      return first.slice(1);
    case 'attention':
      return [first[0] ?? [], one(makersOn(inputs.at(-1)?.[1] ?? []), extent)];
    case 'concat':
      return shape.map((length, axis) =>
        axis === along ? inputs.flatMap((axes) => axes[axis] ?? []) : one(makersOn(...inputs.map((axes) => axes[axis] ?? [])), length),
      );
    case 'slice':
      return first.with(along, sliced(node, first[along] ?? []).taken);
    default:
      return shape.map((length, axis) =>
        inputs.length === 1 && axis === along ? (first[axis] ?? []) : one(makersOn(...inputs.map((axes) => axes[axis] ?? [])), length),
      );
  }
}
