/**
 * A network as a graph of named operations, serialisable to JSON. A node's name is the prefix of its parameters, so
 * `{ name: 'convs.0', op: 'conv2d', … }` owns `convs.0.weight` and `convs.0.bias`, exactly PyTorch's names.
 * What each operation accepts, gives and owns stands in `operations.ts`.
 */
import { InvalidArgumentError, LimitError, UnsupportedError, describe, requireInteger } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { elementCount } from '../tensor/tensor.ts';
import { FieldReader, type Padding, type Pair } from './fields.ts';
import { operationNames, ruleOf } from './operations.ts';

export type { Padding, Pair };

/** Extents without the batch axis: an image [channels, height, width], a sequence [tokens, features] or a vector [features]. */
export type Shape = readonly number[];

interface Pool {
  readonly kernel: Pair;
  readonly stride: Pair;
  readonly padding: Padding;
}

/** An operation without settings. */
type Plain = unknown;

/**
 * Every kind of operation and its settings, all explicit in the canonical form that `parseGraph` returns. Shapes are
 * without the batch axis; parameters have PyTorch's names and layouts.
 */
export interface Operations {
  /**
   * [in] → [out], on every token of a sequence [tokens, in] and every pixel of an image [in, H, W]: weight [out, in], or with
   * `transposed` [in, out] (GPT-2's `Conv1D`); bias [out].
   */
  dense: { readonly out: number; readonly bias: boolean; readonly transposed?: true };
  /** [in, H, W] → [out, H', W'], cross-correlation: weight [out, in / groups, kernel height, kernel width], bias [out]. */
  conv2d: {
    readonly out: number;
    readonly kernel: Pair;
    readonly stride: Pair;
    readonly padding: Padding;
    readonly dilation: Pair;
    readonly groups: number;
    readonly bias: boolean;
  };
  /**
   * The transpose of a conv2d: [in, H, W] → [out, H', W'], H' = (H − 1) · stride − padding + dilation · (kernel − 1) + output_padding + 1.
   * Weight [in, out / groups, kernel height, kernel width], bias [out].
   */
  conv_transpose2d: {
    readonly out: number;
    readonly kernel: Pair;
    readonly stride: Pair;
    readonly padding: Padding;
    /** Rows and columns added below and to the right; below the stride. */
    readonly output_padding: Pair;
    readonly dilation: Pair;
    readonly groups: number;
    readonly bias: boolean;
  };
  relu: Plain;
  /** min(max(x, 0), 6). */
  relu6: Plain;
  silu: Plain;
  tanh: Plain;
  sigmoid: Plain;
  /** x for x ≥ 0, slope · x below. */
  leaky_relu: { readonly slope: number };
  /** x · Φ(x), or PyTorch's tanh approximation of it. */
  gelu: { readonly approximate: 'none' | 'tanh' };
  /** Padding counts as −∞. */
  max_pool: Pool;
  /** Padding counts as zeros, within the divisor (PyTorch's default). */
  average_pool: Pool;
  /** [C, H, W] → [C, 1, 1]. */
  global_max_pool: Plain;
  global_average_pool: Plain;
  /** [C, H, W] → [C, ...size]: output i covers ⌊i · H / size⌋ to ⌈(i + 1) · H / size⌉, as in PyTorch. */
  adaptive_max_pool: { readonly size: Pair };
  adaptive_average_pool: { readonly size: Pair };
  /**
   * Per channel: weight [C], bias [C], buffers running_mean [C], running_var [C]. `momentum` is PyTorch's:
   * running ← (1 − momentum) · running + momentum · batch.
   */
  batch_norm: { readonly epsilon: number; readonly momentum: number };
  /** Each image's groups of consecutive channels normalised by themselves; weight [C], bias [C]. `groups` = C is instance norm. */
  group_norm: { readonly groups: number; readonly epsilon: number };
  /** [C, H, W] → [C·H·W], row-major. */
  flatten: Plain;
  /** Sum of two or more inputs of one shape. */
  add: Plain;
  /** Product of two inputs of one shape, or of [C, H, W] and [C, 1, 1], in either order. */
  multiply: Plain;
  /** Two or more inputs one after the other along their channels (or features). */
  concat: Plain;
  /** Channels (or features) `start` to `start + length`. */
  slice: { readonly start: number; readonly length: number };
  /** Over the features of a token or the channels of a pixel: weight [features], bias [features]. */
  layer_norm: { readonly epsilon: number };
  /** x / √(mean(x²) + ε) · weight, over the same axis; weight [features]. */
  rms_norm: { readonly epsilon: number };
  /** Over the same axis. */
  softmax: Plain;
  /** A factor a feature or channel. `name` is the parameter's: `gamma` [features], or `layer_scale` [C, 1, 1] of images. */
  layer_scale: { readonly parameter: 'gamma' | 'layer_scale'; readonly initial: number };
  /** An image as a sequence of its pixels, row by row: [C, H, W] → [H·W, C]. */
  tokens: Plain;
  /** [a, b] → [b, a]. */
  transpose: Plain;
  /** The same elements in row-major order under another shape. */
  reshape: { readonly shape: Shape };
  /** Token numbers [tokens] → [tokens, features]: weight [vocabulary, features]. Only the network's own input can be read. */
  embedding: { readonly features: number };
  /**
   * Adds row i of a learned table to token i: weight [positions, features] as in `nn.Embedding`, or with `bare` a parameter of
   * the node's own name, [1, positions, features].
   */
  position_embedding: { readonly positions: number; readonly bare: boolean };
  /** Puts a learned token in front, [tokens, features] → [1 + tokens, features]: a parameter of the node's own name, [1, 1, features]. */
  class_token: Plain;
  /** One token of a sequence: [tokens, features] → [features]. */
  select_token: { readonly index: number };
  /** Mean over the tokens: [tokens, features] → [features]. */
  mean_tokens: Plain;
  /**
   * Scaled dot-product attention of `heads` heads. One input: queries, keys and values side by side, [tokens, (heads + 2 ·
   * key_heads) · d]; or three: queries [tokens, heads · d], keys [tokens, key_heads · d], values [tokens, key_heads · dv].
   * Queries heads / key_heads at a time share keys and values (grouped queries). Gives [tokens, heads · dv].
   */
  attention: { readonly heads: number; readonly key_heads: number; readonly causal: boolean };
  /** Scores against the rows of an embedding's weight, which it shares: [tokens, features] → [tokens, vocabulary]. */
  tied_dense: { readonly with: string };
}

export type OperationName = keyof Operations;

/** The settings of one kind of operation with its name, e.g. `OperationOf<'conv2d'>`. */
export type OperationOf<K extends OperationName> = { readonly op: K } & Operations[K];

/** A node of one kind. `inputs` are names of earlier nodes, or `'input'` for the network's own. */
export type NodeOf<K extends OperationName> = { readonly name: string; readonly inputs: readonly string[] } & OperationOf<K>;

/** A node of any kind: switch on `op`. */
export type GraphNode = { readonly [K in OperationName]: NodeOf<K> }[OperationName];

export interface ModelGraph {
  readonly version: 1;
  /** [channels, height, width] or [features]; [tokens] where the network has a `vocabulary`. */
  readonly input: Shape;
  /** The input is `input[0]` integers below this (token numbers) instead of real numbers. */
  readonly vocabulary?: number;
  /** In an order of evaluation: a node's inputs stand before it. */
  readonly nodes: readonly GraphNode[];
  /** Name of the node whose value is the network's output. */
  readonly output: string;
}

export type ParameterRole = 'weight' | 'embedding' | 'bias' | 'scale' | 'shift' | 'running_mean' | 'running_variance';

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
  const graph: ModelGraph = { version: 1, input, ...(vocabulary === undefined ? {} : { vocabulary }), nodes, output };
  requireTokensEmbedded(graph);
  requireAllUsed(graph);
  inferShapes(graph);
  parameterLayout(graph);
  return graph;
}

/**
 * The shape of every node's value, without the batch axis, and of `'input'`.
 * @throws InvalidArgumentError naming the node whose inputs do not fit it.
 */
export function inferShapes(graph: ModelGraph): ReadonlyMap<string, Shape> {
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

/** Every parameter and buffer of the network with its shape, in the order of the graph. */
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

/** How errors name a node. */
export function nodePath(node: { readonly name: string; readonly op: string }): string {
  return `graph node ${describe(node.name)} (${node.op})`;
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
      expected: `one of ${[...operationNames].join(', ')}`,
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
      expected: node.op === 'embedding' ? "the network's input of token numbers (give the graph a vocabulary)" : 'an embedding between token numbers and other layers',
      got: describe(node.inputs),
    });
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
