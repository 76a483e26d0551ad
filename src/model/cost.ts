/**
 * What a gradient costs before it is computed: floating-point operations, parameters, and the bytes of the values that
 * must be alive at once (`activation-memory.ts`). Products are counted in direct form (a multiplication and an addition each).
 */
import { requireInteger } from '../core/require.ts';
import { F32_BYTES, elementCount } from '../tensor/tensor.ts';
import { peakElements } from './activation-memory.ts';
import { inferShapes, parameterLayout, type GraphNode, type ModelGraph, type Shape } from './graph.ts';
import { featuresOf } from './operation-support.ts';
import { repeatedIn, type Segment } from './segments.ts';
import { attentionShape } from './operations-sequence.ts';

interface GradientCost {
  /** Floating-point operations of one forward pass of the batch. */
  readonly forwardFlops: number;
  /** Floating-point operations of one gradient: forward, gradients of the values that need one, gradients of the parameters. */
  readonly flops: number;
  /** Trained numbers of the network. */
  readonly parameterElements: number;
  /**
   * Estimate of the most f32 bytes that values and their gradients take at once in one gradient. Parameters, their
   * gradients and the workspace of kernels come on top.
   */
  readonly activationBytes: number;
}

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
    const flops = batch * nodeFlops(node, shapes);
    forwardFlops += flops;
    backwardFlops += backwardTimes(node, owners.has(node.name), passesBack) * flops;
  }
  return {
    forwardFlops,
    flops: forwardFlops + backwardFlops,
    parameterElements: parameters.reduce((sum, { shape }) => sum + elementCount(shape), 0),
    activationBytes: batch * F32_BYTES * peakElements(graph, shapes),
  };
}

/** Of one image, what is computed a second time where some segments are computed anew on the way back. */
export function recomputedFlops(graph: ModelGraph, shapes: ReadonlyMap<string, Shape>, segments: readonly Segment[]): number {
  let flops = 0;
  for (const segment of segments) {
    if (!segment.recomputed) continue;
    for (const i of repeatedIn(graph, segment)) flops += nodeFlops(graph.nodes[i] as GraphNode, shapes);
  }
  return flops;
}

/** Floating-point operations of one image's forward pass. */
function nodeFlops(node: GraphNode, shapes: ReadonlyMap<string, Shape>): number {
  const inputs = node.inputs.map((name) => shapes.get(name) as Shape);
  const [input = []] = inputs;
  const out = elementCount(shapes.get(node.name) as Shape);
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
    case 'type_embedding':
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
    case 'hardsigmoid':
      // A sum, a clamp and a product.
      return 3 * out;
    case 'hardswish':
      // A sum, a clamp and two products, and three steps more for its slope.
      return 7 * out;
    case 'silu':
    case 'tanh':
    case 'sigmoid':
    case 'gelu':
    case 'elu':
      // An exponential and the polynomial behind it are about 30 operations.
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
    default:
      return node satisfies never;
  }
}

/** How many times its forward operations a node costs in the backward pass. */
function backwardTimes(node: GraphNode, ownsParameters: boolean, passesBack: boolean): number {
  switch (node.op) {
    case 'dense':
    case 'tied_dense':
    case 'conv2d':
    case 'conv_transpose2d':
      // A product comes back as two of its size: one for the weight, one for the input where that needs a gradient.
      return Number(ownsParameters || node.op === 'tied_dense') + Number(passesBack);
    case 'attention':
      // Gradients of the scores and of what makes them: five products where forward has two, one of them done again.
      return passesBack ? 2.5 : 0;
    default:
      return Number(passesBack || ownsParameters);
  }
}
