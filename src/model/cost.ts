/**
 * What a gradient costs before it is computed: floating-point operations, parameters, and the bytes of the values that
 * must be alive at once. Products are counted in direct form (a multiplication and an addition each).
 */
import { requireInteger } from '../core/errors.ts';
import { elementCount } from '../tensor/tensor.ts';
import { INPUT, inferShapes, parameterLayout, type GraphNode, type ModelGraph, type Shape } from './graph.ts';
import { attentionShape, featuresOf } from './operations-sequence.ts';

export interface GradientCost {
  /** Of one forward pass. */
  readonly forwardFlops: number;
  /** Of one gradient: forward, gradients of the values that need one, gradients of the parameters. */
  readonly flops: number;
  /** Trained numbers of the network. */
  readonly parameterElements: number;
  /**
   * Estimate of the most f32 bytes that values and their gradients take at once in one gradient. Parameters, their
   * gradients and the workspace of kernels come on top.
   */
  readonly activationBytes: number;
}

const F32_BYTES = 4;

/**
 * @param batch images of a (micro-)batch
 * @throws InvalidArgumentError unless `batch` is an integer ≥ 1.
 */
export function gradientCost(graph: ModelGraph, batch: number): GradientCost {
  requireInteger('batch', batch, 1);
  const shapes = inferShapes(graph);
  const { parameters } = parameterLayout(graph);
  const owners = new Set(parameters.map(({ node }) => node));
  const reached = new Set<string>();
  let forwardFlops = 0;
  let backwardFlops = 0;
  for (const node of graph.nodes) {
    const passesBack = node.inputs.some((name) => reached.has(name));
    if (passesBack || owners.has(node.name)) reached.add(node.name);
    const flops = batch * nodeFlops(node, node.inputs.map((name) => shapes.get(name) as Shape), shapes.get(node.name) as Shape);
    forwardFlops += flops;
    // A product comes back as two products of its size: one for the weight, one for the input where that needs a gradient.
    const times = isProduct(node) ? Number(owners.has(node.name) || node.op === 'tied_dense') + Number(passesBack) : backwardTimes(node) * Number(reached.has(node.name));
    backwardFlops += times * flops;
  }
  return {
    forwardFlops,
    flops: forwardFlops + backwardFlops,
    parameterElements: parameters.reduce((sum, { shape }) => sum + elementCount(shape), 0),
    activationBytes: batch * F32_BYTES * peakElements(graph, shapes),
  };
}

/** Of one image, forward. */
function nodeFlops(node: GraphNode, inputs: readonly Shape[], shape: Shape): number {
  const [input = []] = inputs;
  const out = elementCount(shape);
  switch (node.op) {
    case 'dense':
    case 'tied_dense':
      return 2 * out * featuresOf(input);
    case 'attention': {
      const { tokens, heads, headFeatures, valueFeatures } = attentionShape(node, inputs);
      // A causal row i sees i + 1 tokens; blocks of rows are as wide as their last one, which is counted as half of all.
      const seen = node.causal ? (tokens + 1) / 2 : tokens;
      return heads * tokens * seen * (2 * headFeatures + 2 * valueFeatures + 12);
    }
    case 'layer_norm':
      return 8 * out;
    case 'rms_norm':
      return 5 * out;
    case 'softmax':
      // An exponential of four lanes is about 20 operations.
      return 24 * out;
    case 'layer_scale':
    case 'position_embedding':
      return out;
    case 'mean_tokens':
      return elementCount(input);
    case 'conv2d':
      return 2 * out * ((input[0] as number) / node.groups) * node.kernel[0] * node.kernel[1];
    case 'conv_transpose2d':
      return (2 * elementCount(input) * node.out * node.kernel[0] * node.kernel[1]) / node.groups;
    case 'max_pool':
    case 'average_pool':
      return out * node.kernel[0] * node.kernel[1];
    case 'global_max_pool':
    case 'global_average_pool':
    case 'adaptive_max_pool':
    case 'adaptive_average_pool':
      return elementCount(input);
    case 'batch_norm':
    case 'group_norm':
      // Mean, variance and the affine map: two sums of one and two operations, then two a value.
      return 5 * out;
    case 'add':
      return out * (inputs.length - 1);
    case 'relu':
    case 'relu6':
    case 'leaky_relu':
    case 'multiply':
      return out;
    case 'silu':
    case 'tanh':
    case 'sigmoid':
    case 'gelu':
      // An exponential in f64 is about 30 operations.
      return 32 * out;
    case 'flatten':
    case 'concat':
    case 'slice':
    case 'tokens':
    case 'transpose':
    case 'reshape':
    case 'embedding':
    case 'class_token':
    case 'select_token':
      return 0;
  }
}

function isProduct({ op }: GraphNode): boolean {
  return op === 'dense' || op === 'conv2d' || op === 'conv_transpose2d' || op === 'tied_dense';
}

/** Gradients of an attention's scores and of what makes them: five products where forward has two, one of them done again. */
function backwardTimes({ op }: GraphNode): number {
  return op === 'attention' ? 2.5 : 1;
}

/** A value's memory; operations that work in place share one. */
interface Storage {
  readonly elements: number;
  /** Readers still to come in the forward pass. */
  uses: number;
  /** Nodes whose backward step reads it. */
  keepers: number;
}

/**
 * Follows one gradient through the graph: a value lives until its last reader, forward or backward, has run. In the
 * backward pass the gradients of a node's output and inputs stand beside what is still kept.
 */
function peakElements(graph: ModelGraph, shapes: ReadonlyMap<string, Shape>): number {
  const sizeOf = (name: string): number => elementCount(shapes.get(name) as Shape);
  const readers = new Map<string, number>([[graph.output, 1]]);
  for (const node of graph.nodes) for (const name of node.inputs) readers.set(name, (readers.get(name) ?? 0) + 1);

  const storages = new Map<string, Storage>([[INPUT, { elements: sizeOf(INPUT), uses: readers.get(INPUT) ?? 0, keepers: 0 }]]);
  const kept = new Map<string, readonly Storage[]>();
  let live = sizeOf(INPUT);
  let peak = live;
  const release = (storage: Storage): void => {
    if (storage.uses === 0 && storage.keepers === 0) live -= storage.elements;
  };
  for (const node of graph.nodes) {
    const inputs = node.inputs.map((name) => storages.get(name) as Storage);
    const output = outputStorage(node, inputs[0] as Storage, sizeOf(node.name));
    const inPlace = output === inputs[0];
    if (!inPlace) live += output.elements;
    const keeps: Storage[] = [];
    if (keepsInput(node)) keeps.push(...(node.op === 'multiply' ? inputs : inputs.slice(0, 1)));
    if (keepsOutput(node)) keeps.push(output);
    if (keepsTaps(node)) {
      const taps: Storage = { elements: output.elements, uses: 0, keepers: 0 };
      live += taps.elements;
      keeps.push(taps);
    }
    for (const storage of keeps) storage.keepers += 1;
    kept.set(node.name, keeps);
    peak = Math.max(peak, live);
    output.uses += readers.get(node.name) ?? 0;
    storages.set(node.name, output);
    for (const storage of inputs) {
      storage.uses -= 1;
      if (storage !== output) release(storage);
    }
  }

  // Gradients of values, by name; that of the output replaces the output itself.
  const gradients = new Set<string>([graph.output]);
  for (const node of graph.nodes.toReversed()) {
    const own = gradients.delete(node.name) ? sizeOf(node.name) : 0;
    let fresh = 0;
    for (const name of node.inputs) {
      if (name === INPUT || gradients.has(name)) continue;
      gradients.add(name);
      fresh += sizeOf(name);
    }
    // Element-wise steps write the input's gradient over the output's.
    const inPlace = fresh === own && !keepsInput(node);
    live += inPlace ? 0 : fresh;
    peak = Math.max(peak, live);
    live -= inPlace ? 0 : own;
    for (const storage of kept.get(node.name) ?? []) {
      storage.keepers -= 1;
      release(storage);
    }
  }
  return peak;
}

/** Flattening shares its input's memory; element-wise operations write over it where nobody else reads it. */
function outputStorage(node: GraphNode, input: Storage, elements: number): Storage {
  const shares = node.op === 'flatten' || node.op === 'tokens' || (isElementwise(node) && input.uses === 1 && input.keepers === 0);
  return shares ? input : { elements, uses: 0, keepers: 0 };
}

function isElementwise({ op }: GraphNode): boolean {
  return (
    op === 'relu' || op === 'relu6' || op === 'leaky_relu' || op === 'silu' || op === 'tanh' || op === 'sigmoid' || op === 'gelu' ||
    op === 'add' || op === 'position_embedding' || op === 'softmax'
  );
}

function keepsInput(node: GraphNode): boolean {
  const { op } = node;
  return (
    isProduct(node) || op === 'batch_norm' || op === 'group_norm' || op === 'layer_norm' || op === 'rms_norm' || op === 'layer_scale' ||
    op === 'attention' || op === 'silu' || op === 'gelu' || op === 'multiply'
  );
}

function keepsOutput({ op }: GraphNode): boolean {
  return op === 'relu' || op === 'relu6' || op === 'leaky_relu' || op === 'tanh' || op === 'sigmoid' || op === 'softmax';
}

/** Which element of each window was the largest. */
function keepsTaps({ op }: GraphNode): boolean {
  return op === 'max_pool' || op === 'global_max_pool' || op === 'adaptive_max_pool';
}
