/**
 * Whose units are read without a weight, so that no tensor carries them as a consumer: what a mean over tokens adds up, and what
 * the scores of an attention are sums over. Traced axis by axis from the graph alone, beside the permutation rules.
 */
import { INPUT, inferShapes, type GraphNode, type ModelGraph, type Shape } from './graph.ts';
import { attentionShape, featureAxis } from './operations-sequence.ts';

/** Names of the nodes whose units stand on an axis. */
type Makers = ReadonlySet<string>;

const NOBODY: Makers = new Set();
const union = (...sets: readonly (Makers | undefined)[]): Makers => new Set(sets.flatMap((set) => [...(set ?? [])]));

/** Nodes with weights some of whose units are read so. */
export function readWithoutWeight(graph: ModelGraph): Makers {
  const shapes = new Map<string, Shape>([...inferShapes(graph), [INPUT, graph.input]]);
  const values = new Map<string, readonly Makers[]>([[INPUT, graph.input.map(() => NOBODY)]]);
  const read = new Set<string>();
  for (const node of graph.nodes) {
    const inputs = node.inputs.map((name) => values.get(name) as readonly Makers[]);
    const inputShapes = node.inputs.map((name) => shapes.get(name) as Shape);
    for (const makers of unweighted(node, inputs, inputShapes)) for (const maker of makers) read.add(maker);
    values.set(node.name, makersOf(node, inputs, shapes.get(node.name) as Shape));
  }
  return read;
}

function unweighted(node: GraphNode, inputs: readonly (readonly Makers[])[], shapes: readonly Shape[]): readonly Makers[] {
  if (node.op === 'mean_tokens') return [inputs[0]?.[0] ?? NOBODY];
  if (node.op !== 'attention') return [];
  // Values of several units carry queries and keys with them, as one group, to the weight that reads the attention.
  const { keyHeads, valueFeatures } = attentionShape(node, shapes);
  return keyHeads * valueFeatures > 1 ? [] : inputs.slice(0, 2).map((axes) => axes[1] ?? NOBODY);
}

function makersOf(node: GraphNode, inputs: readonly (readonly Makers[])[], shape: Shape): readonly Makers[] {
  const [first = []] = inputs;
  const own: Makers = new Set([node.name]);
  switch (node.op) {
    case 'dense':
      return first.with(featureAxis(shape), own);
    case 'conv2d':
    case 'conv_transpose2d':
      // Groups of channels go on as groups of the outputs.
      return [node.groups === 1 ? own : union(own, first[0]), NOBODY, NOBODY];
    case 'embedding':
      return [...first, own];
    case 'tied_dense':
      return first.with(featureAxis(shape), NOBODY);
    case 'flatten':
    case 'reshape':
      return shape.map(() => union(...first));
    case 'tokens':
      return [union(first[1], first[2]), first[0] ?? NOBODY];
    case 'transpose':
      return first.toReversed();
    case 'select_token':
    case 'mean_tokens':
      return first.slice(1);
    case 'attention':
      return [first[0] ?? NOBODY, inputs.at(-1)?.[1] ?? NOBODY];
    default:
      return shape.map((_, axis) => union(...inputs.map((axes) => axes[axis])));
  }
}
