/** A network's head: its last layer, which belongs to one task where all before it may serve another. */
import { InvalidArgumentError } from '../core/errors.ts';
import { inferShapes, parameterLayout, readsSequences } from './graph.ts';
import type { GraphNode, ModelGraph } from './graph.ts';

/**
 * Names of the parameters of the layer that makes the network's outputs: the last one with weights, whatever follows it
 * without. Undefined where that is no layer of the task's alone: a norm, or an output tied to an embedding.
 */
export function findHead(graph: ModelGraph): ReadonlySet<string> | undefined {
  const node = headNode(graph);
  return node?.op === 'dense' || node?.op === 'conv2d' ? parametersOf(graph, node) : undefined;
}

/**
 * The head; and of a classifier of texts with it, one more each time, the dense layers right before it that read the one vector that is
 * left of a text. Bases of another task may lack those too: DistilBERT's masked language model has no `pre_classifier`. Empty where
 * there is no head.
 */
export function headsOf(graph: ModelGraph): readonly ReadonlySet<string>[] {
  const head = findHead(graph);
  if (head === undefined) return [];
  const heads = [head];
  if (!readsSequences(graph)) return heads;
  const shapes = inferShapes(graph);
  const nodes = new Map(graph.nodes.map((node) => [node.name, node]));
  const owners = new Set(parameterLayout(graph).parameters.map(({ node }) => node));
  let node = nodes.get(headNode(graph)?.inputs[0] as string);
  while (node !== undefined && node.inputs.length === 1 && shapes.get(node.inputs[0] as string)?.length === 1) {
    if (node.op === 'dense') heads.push(new Set([...(heads.at(-1) ?? []), ...parametersOf(graph, node)]));
    else if (owners.has(node.name)) break;
    node = nodes.get(node.inputs[0] as string);
  }
  return heads;
}

function parametersOf(graph: ModelGraph, { name }: GraphNode): ReadonlySet<string> {
  return new Set(parameterLayout(graph).parameters.flatMap((info) => (info.node === name ? [info.name] : [])));
}

/** As `findHead`. @throws InvalidArgumentError where there is none. */
export function headParameters(graph: ModelGraph): ReadonlySet<string> {
  const head = findHead(graph);
  if (head !== undefined) return head;
  const node = headNode(graph);
  throw new InvalidArgumentError({
    field: 'graph',
    expected: 'a head: a dense layer or convolution as the last layer with weights',
    got: node === undefined ? 'none' : `${node.name} (${node.op})`,
  });
}

/** From the output backwards, the first node that has weights or uses others', or several inputs. */
function headNode(graph: ModelGraph): GraphNode | undefined {
  const nodes = new Map(graph.nodes.map((node) => [node.name, node]));
  const owners = new Set(parameterLayout(graph).parameters.map(({ node }) => node));
  let node = nodes.get(graph.output);
  while (node !== undefined && node.inputs.length === 1 && !owners.has(node.name) && node.op !== 'tied_dense') {
    node = nodes.get(node.inputs[0] as string);
  }
  return node;
}
