/** A network's head: its last layer, which belongs to one task where all before it may serve another. */
import { InvalidArgumentError } from '../core/errors.ts';
import { parameterLayout } from './graph.ts';
import type { GraphNode, ModelGraph } from './graph.ts';

/**
 * Names of the parameters of the layer that makes the network's outputs: the last one with weights, whatever follows it
 * without. Undefined where that is no layer of the task's alone: a norm, or an output tied to an embedding.
 */
export function findHead(graph: ModelGraph): ReadonlySet<string> | undefined {
  const node = headNode(graph);
  if (node?.op !== 'dense' && node?.op !== 'conv2d') return undefined;
  const { name } = node;
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
