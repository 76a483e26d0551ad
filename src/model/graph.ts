/**
 * A network as a graph of named operations, serialisable to JSON. A node's name is the prefix of its parameters, so
 * `{ name: 'convs.0', op: 'conv2d', … }` owns `convs.0.weight` and `convs.0.bias`, exactly PyTorch's names.
 * What each operation accepts, gives and owns stands in `operations.ts`.
 */
import { describe } from '../core/describe.ts';
import { InvalidArgumentError, LimitError, UnsupportedError } from '../core/errors.ts';
import { onlyDefined } from '../core/only-defined.ts';
import { requireInteger, requireMembers } from '../core/require.ts';
import { limits } from '../core/limits.ts';
import { elementCount } from '../tensor/tensor.ts';
import { FieldReader } from './fields.ts';
import type { GraphNode, ModelGraph, OperationName, ParameterRole, Shape } from './operation-types.ts';
import { nodePath } from './operation-support.ts';
import { operationNames, ruleOf } from './operations.ts';

export type * from './operation-types.ts';

/** One tensor of a network. */
export interface ParameterInfo {
  /** `<node>.<suffix>`, e.g. `convs.0.weight`; the node's own name where the suffix is empty. */
  readonly name: string;
  readonly shape: Shape;
  /** Name of the node that owns it. */
  readonly node: string;
  readonly role: ParameterRole;
  /** The axis of a weight that makes units; the others read them. 0 unless given. */
  readonly outAxis?: number;
  /** What a scale starts with; 1 unless given. */
  readonly initial?: number;
  /** Inputs of one unit of the owner: in · kernel height · kernel width. Initialisers scale by it; 0 where it has no meaning. */
  readonly fanIn: number;
}

/** All tensors of a network, by which its states are read and written. */
export interface ParameterLayout {
  /** What is trained, in the order of the graph. */
  readonly parameters: readonly ParameterInfo[];
  /** What is counted along the way: statistics of batch norm. */
  readonly buffers: readonly ParameterInfo[];
}

/** The reserved name of the network's input. */
export const INPUT = 'input';

/**
 * Checks an untrusted graph completely (names, order, fields, shapes, sizes, that every node reaches the output) and
 * returns its canonical form: defaults filled in, single numbers widened to pairs, unknown fields refused.
 * `parseGraph(JSON.parse(JSON.stringify(graph)))` equals `graph`.
 * @throws InvalidArgumentError naming the node and field; UnsupportedError for an unknown operation or version;
 *   LimitError beyond `limits.graphNodes` or `limits.tensorElements`.
 */
export function parseGraph(json: unknown): ModelGraph {
  const fields = new FieldReader('graph', json);
  const version = fields.take('version');
  if (version !== 1) {
    throw new UnsupportedError({ field: 'graph.version', expected: '1', got: describe(version) });
  }
  const vocabulary = fields.take('vocabulary') === undefined ? undefined : fields.count('vocabulary');
  const padding = fields.take('padding') === undefined ? undefined : requirePadding(fields.index('padding', 0), vocabulary);
  const input = parseInputShape(fields.list('input'), vocabulary !== undefined);
  const rawNodes = fields.list('nodes');
  if (rawNodes.length === 0) {
    throw new InvalidArgumentError({ field: 'graph.nodes', expected: 'at least one node', got: 'none' });
  }
  if (rawNodes.length > limits.graphNodes) {
    throw new LimitError({ field: 'graph.nodes', expected: `at most ${limits.graphNodes}`, got: `${rawNodes.length}` });
  }
  const output = fields.text('output');
  fields.finish();

  const known = new Set<string>([INPUT]);
  const nodes: GraphNode[] = [];
  for (const [index, raw] of rawNodes.entries()) nodes.push(parseNode(index, raw, known));
  const graph: ModelGraph = { version: 1, input, ...onlyDefined({ vocabulary, padding }), nodes, output };
  requireTokensEmbedded(graph);
  requireAllUsed(graph);
  inferShapes(graph);
  requireOwnParameters(graph);
  return graph;
}

/**
 * The shape of every node's value, without the batch axis, and of `'input'`.
 * @throws InvalidArgumentError naming the node whose inputs do not fit it.
 */
export function inferShapes(graph: ModelGraph): ReadonlyMap<string, Shape> {
  requireMembers('graph', graph, ['input', 'nodes', 'output'], 'a network: preset(), sequential(), a GraphBuilder');
  const shapes = new Map<string, Shape>([[INPUT, graph.input]]);
  for (const node of graph.nodes) {
    const shape = ruleOf(node).shape(node, inputShapes(node, shapes), graph);
    const count = elementCount(shape);
    if (count > limits.tensorElements) {
      throw new LimitError({ field: nodePath(node), expected: `at most ${limits.tensorElements} output elements`, got: `${count}` });
    }
    shapes.set(node.name, shape);
  }
  return shapes;
}

/**
 * Every parameter and buffer of the network with its shape, in the order of the graph.
 * @throws InvalidArgumentError for what is no graph, LimitError naming a tensor of more elements than `limits.tensorElements`.
 */
export function parameterLayout(graph: ModelGraph): ParameterLayout {
  const shapes = inferShapes(graph);
  const parameters: ParameterInfo[] = [];
  const buffers: ParameterInfo[] = [];
  for (const node of graph.nodes) {
    for (const { suffix, ...declared } of ruleOf(node).parameters(node, inputShapes(node, shapes), graph)) {
      const { shape, role } = declared;
      const info: ParameterInfo = { ...declared, name: parameterName(node.name, suffix), node: node.name };
      const count = elementCount(shape);
      if (count > limits.tensorElements) {
        throw new LimitError({ field: info.name, expected: `at most ${limits.tensorElements} elements`, got: `${count}` });
      }
      (role === 'running_mean' || role === 'running_variance' ? buffers : parameters).push(info);
    }
  }
  return { parameters, buffers };
}

/** Names of weights that another layer uses too. */
export function tiedWeights(graph: ModelGraph): ReadonlySet<string> {
  requireMembers('graph', graph, ['input', 'nodes', 'output'], 'a network: preset(), sequential(), a GraphBuilder');
  return new Set(graph.nodes.flatMap((node) => (node.op === 'tied_dense' ? [parameterName(node.with, 'weight')] : [])));
}

/**
 * The number of classes of a classifier, or of tokens that a language model chooses from.
 * @throws InvalidArgumentError where the output is neither one vector of scores nor one a token.
 */
export function outputClasses(graph: ModelGraph): number {
  return scoresOf(graph).classes;
}

/** Labels that one input of the network has: 1 for a classifier, the number of tokens for a language model. @throws as `outputClasses`. */
export function labelsPerInput(graph: ModelGraph): number {
  return scoresOf(graph).labels;
}

/** Whether it reads tokens and has one label for all of them. @throws as `outputClasses`. */
export function readsSequences(graph: ModelGraph): boolean {
  return graph.vocabulary !== undefined && inferShapes(graph).get(graph.output)?.length === 1;
}

function scoresOf(graph: ModelGraph): { readonly classes: number; readonly labels: number } {
  const shape = inferShapes(graph).get(graph.output) ?? [];
  const classes = shape.at(-1);
  if (shape.length > 2 || classes === undefined) {
    throw new InvalidArgumentError({
      field: `graph.output ${describe(graph.output)}`,
      expected: 'scores of shape [classes], or [tokens, vocabulary]',
      got: `[${shape.join(', ')}] (flatten it?)`,
    });
  }
  return { classes, labels: shape.length === 2 ? (shape[0] as number) : 1 };
}

/** `<node>.<suffix>`, or the node's name alone where the suffix is empty (`nn.Parameter`s of the network itself). */
export function parameterName(node: string, suffix: string): string {
  return suffix === '' ? node : `${node}.${suffix}`;
}

/** The shapes of a node's inputs, in order. */
export function inputShapes(node: GraphNode, shapes: ReadonlyMap<string, Shape>): readonly Shape[] {
  return node.inputs.map((name) => {
    const shape = shapes.get(name);
    if (shape === undefined) {
      throw new InvalidArgumentError({ field: `${nodePath(node)}.inputs`, expected: 'names of earlier nodes', got: describe(name) });
    }
    return shape;
  });
}

/** A vocabulary of one token would leave none beside padding. */
function requirePadding(padding: number, vocabulary = 0): number {
  if (vocabulary > 1 && padding < vocabulary) return padding;
  throw new InvalidArgumentError({
    field: 'graph.padding',
    expected: vocabulary > 1 ? `a token below the vocabulary, ${vocabulary}` : 'none without a vocabulary of two tokens or more',
    got: `${padding}`,
  });
}

function parseInputShape(list: readonly unknown[], tokens: boolean): Shape {
  if (list.length !== 1 && (list.length !== 3 || tokens)) {
    throw new InvalidArgumentError({
      field: 'graph.input',
      expected: tokens ? '[tokens]' : '[channels, height, width] or [features]',
      got: describe(list),
    });
  }
  const shape = list.map((extent) => requireInteger('graph.input', extent, 1, 2 ** 24));
  if (elementCount(shape) > limits.tensorElements) {
    throw new LimitError({ field: 'graph.input', expected: `at most ${limits.tensorElements} elements`, got: describe(shape) });
  }
  return shape;
}

function parseNode(index: number, raw: unknown, known: Set<string>): GraphNode {
  const fields = new FieldReader(`graph.nodes[${index}]`, raw);
  const name = fields.text('name');
  if (known.has(name)) {
    throw new InvalidArgumentError({
      field: `graph.nodes[${index}].name`,
      expected: 'a name used by no other node',
      got: describe(name),
    });
  }
  const inputs = fields.list('inputs').map((item) => {
    if (typeof item !== 'string' || !known.has(item)) {
      throw new InvalidArgumentError({
        field: `graph.nodes[${index}] ${describe(name)}.inputs`,
        expected: "names of earlier nodes or 'input'",
        got: describe(item),
      });
    }
    return item;
  });
  const op = fields.text('op');
  if (!operationNames.has(op)) {
    throw new UnsupportedError({
      field: `graph.nodes[${index}] ${describe(name)}.op`,
      expected: `one of ${[...operationNames].toSorted().join(', ')}`,
      got: describe(op),
    });
  }
  const rule = ruleOf({ op: op as OperationName });
  if (inputs.length < rule.arity[0] || inputs.length > rule.arity[1]) {
    throw new InvalidArgumentError({
      field: `graph.nodes[${index}] ${describe(name)}.inputs`,
      expected: rule.arity[0] === rule.arity[1] ? `${rule.arity[0]} input` : `${rule.arity[0]} or more inputs`,
      got: `${inputs.length}`,
    });
  }
  const operation = rule.parse(fields);
  fields.finish();
  known.add(name);
  return { name, inputs, ...operation } as GraphNode;
}

/** Token numbers are no quantities: embeddings read them, and nothing else does. */
function requireTokensEmbedded({ vocabulary, nodes }: ModelGraph): void {
  for (const node of nodes) {
    const readsInput = node.inputs.includes(INPUT);
    if (node.op === 'embedding' ? readsInput && vocabulary !== undefined : !readsInput || vocabulary === undefined) continue;
    throw new InvalidArgumentError({
      field: nodePath(node),
      expected:
        node.op === 'embedding'
          ? "the network's input of token numbers (give the graph a vocabulary)"
          : 'an embedding between token numbers and other layers',
      got: describe(node.inputs),
    });
  }
}

/** Names of parameters are made of names of nodes: a class token called `fc.weight` beside a dense layer `fc` would share its weight. */
function requireOwnParameters(graph: ModelGraph): void {
  const owners = new Map<string, string>();
  const { parameters, buffers } = parameterLayout(graph);
  for (const { name, node } of [...parameters, ...buffers]) {
    const other = owners.get(name);
    if (other !== undefined) {
      throw new InvalidArgumentError({
        field: `graph node ${describe(node)}`,
        expected: `parameters of its own, not ${describe(name)} of node ${describe(other)}`,
        got: describe(node),
      });
    }
    owners.set(name, node);
  }
}

/** A node that never reaches the output would hold parameters without gradients: most likely a mistake in wiring. */
function requireAllUsed(graph: ModelGraph): void {
  const used = new Set<string>([graph.output]);
  for (const node of graph.nodes.toReversed()) {
    if (!used.has(node.name)) {
      throw new InvalidArgumentError({ field: nodePath(node), expected: 'a node that leads to the output', got: 'a loose end' });
    }
    for (const name of node.inputs) used.add(name);
  }
  if (graph.output === INPUT || !graph.nodes.some((node) => node.name === graph.output)) {
    throw new InvalidArgumentError({ field: 'graph.output', expected: 'the name of a node', got: describe(graph.output) });
  }
  if (!used.has(INPUT)) {
    throw new InvalidArgumentError({ field: 'graph.nodes', expected: "a path from 'input' to the output", got: 'none' });
  }
}
