/**
 * What a gradient costs before it is computed: floating-point operations, parameters, and the bytes of the values that
 * must be alive at once. Products are counted in direct form (a multiplication and an addition each).
 */
import { requireInteger } from '../core/require.ts';
import { elementCount } from '../tensor/tensor.ts';
import { INPUT, inferShapes, parameterLayout, type GraphNode, type ModelGraph, type OperationName, type Shape } from './graph.ts';
import { featuresOf } from './operation-support.ts';
import { attentionShape } from './operations-sequence.ts';

interface GradientCost {
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
    backwardFlops += backwardTimes(node, owners.has(node.name), passesBack) * flops;
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
    case 'hardswish':
      // A sum, a clamp and two products, and three steps more for its slope.
      return 7 * out;
    case 'silu':
    case 'tanh':
    case 'sigmoid':
    case 'gelu':
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

/** A value's memory; operations that work in place share one. */
interface Storage {
  readonly elements: number;
  /** Readers still to come in the forward pass. */
  uses: number;
  /** Nodes whose backward step reads it. */
  keepers: number;
}

/** Operations that a batch norm before them takes along (`gradient/program.ts`). */
const RECTIFIERS: ReadonlySet<OperationName> = new Set<OperationName>(['relu', 'relu6']);

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
  // Images come in with their channels first, and are turned.
  let peak = graph.input.length === 3 ? 2 * live : live;
  const release = (storage: Storage): void => {
    if (storage.uses === 0 && storage.keepers === 0) live -= storage.elements;
  };
  const norms = new Set<string>();
  for (const node of graph.nodes) {
    if (node.op === 'batch_norm' && readers.get(node.name) === 1) norms.add(node.name);
    const inputs = node.inputs.map((name) => storages.get(name) as Storage);
    const { value, keeps } = footprints[node.op];
    // A norm takes the rectifier along that alone reads it, and tells from its own input where that let pass.
    const kind = RECTIFIERS.has(node.op) && norms.has(node.inputs[0] as string) ? 'nothing' : keeps;
    const fresh: Storage = { elements: sizeOf(node.name), uses: 0, keepers: 0 };
    const [first] = inputs as [Storage, ...Storage[]];
    const overwrites = value === 'over the input' && first.uses === 1 && first.keepers === 0;
    const output = value === 'of the input' || overwrites ? first : fresh;
    if (output === fresh) live += fresh.elements;
    const held: Storage[] = [];
    if (kind === 'input') held.push(first);
    if (kind === 'inputs') held.push(...inputs);
    if (kind === 'output') held.push(output);
    if (kind === 'slope' && first.uses === 1 && first.keepers === 0) held.push(first);
    else if (kind === 'winners' || kind === 'slope') {
      const beside: Storage = { elements: fresh.elements, uses: 0, keepers: 0 };
      live += beside.elements;
      held.push(beside);
    }
    const statistics = statisticsElements(node, node.inputs.map((name) => shapes.get(name) as Shape));
    if (statistics > 0) {
      live += statistics;
      held.push({ elements: statistics, uses: 0, keepers: 0 });
    }
    for (const storage of held) storage.keepers += 1;
    kept.set(node.name, held);
    peak = Math.max(peak, live);
    output.uses += readers.get(node.name) ?? 0;
    storages.set(node.name, output);
    for (const storage of inputs) {
      storage.uses -= 1;
      if (storage !== output) release(storage);
    }
  }

  // Gradients of values, by name; that of the output is made beside the output itself, and then replaces it.
  peak = Math.max(peak, live + sizeOf(graph.output));
  const gradients = new Set<string>([graph.output]);
  for (const node of graph.nodes.toReversed()) {
    const own = gradients.delete(node.name) ? sizeOf(node.name) : 0;
    // Every input gets one, also the same a second time; what a gradient is added to stays alone.
    let made = 0;
    let added = 0;
    for (const name of node.inputs) {
      if (name === INPUT) continue;
      made += sizeOf(name);
      if (!gradients.has(name)) added += sizeOf(name);
      gradients.add(name);
    }
    const inPlace = footprints[node.op].gradient === 'over the output' && made === own;
    peak = Math.max(peak, live + (inPlace ? 0 : made));
    live += added - own;
    for (const storage of kept.get(node.name) ?? []) {
      storage.keepers -= 1;
      release(storage);
    }
  }
  return peak;
}

/** Numbers of one image that stay for the backward step beside values: of vectors and narrow heads as many as these. */
function statisticsElements(node: GraphNode, inputs: readonly Shape[]): number {
  // A mean and an inverse deviation a channel; the largest score and a sum a row of scores.
  if (node.op === 'group_norm') return 2 * featuresOf(inputs[0] as Shape);
  return node.op === 'attention' ? 2 * node.heads * attentionShape(node, inputs).tokens : 0;
}

/** What an operation's values and gradients take of memory. */
interface Footprint {
  /** Where its value lies: in memory of its own, in its first input's, or there only where nobody else reads that. */
  readonly value: 'own' | 'of the input' | 'over the input';
  /**
   * What stays for the backward step. `winners`: which element of each window was the largest, counted as f32. `slope`: over the
   * input where nobody else reads that.
   */
  readonly keeps: 'nothing' | 'input' | 'inputs' | 'output' | 'winners' | 'slope';
  /** Where the gradient of its input lies; over that of its output only where they are of one size. */
  readonly gradient: 'own' | 'over the output';
}

const PRODUCT: Footprint = { value: 'own', keeps: 'input', gradient: 'own' };
const MAP: Footprint = { value: 'own', keeps: 'input', gradient: 'over the output' };
const SLOPED: Footprint = { value: 'own', keeps: 'slope', gradient: 'over the output' };
const OVERWRITING: Footprint = { value: 'over the input', keeps: 'output', gradient: 'over the output' };
const MAXIMUM: Footprint = { value: 'own', keeps: 'winners', gradient: 'own' };
const VIEW: Footprint = { value: 'of the input', keeps: 'nothing', gradient: 'over the output' };
const OWN: Footprint = { value: 'own', keeps: 'nothing', gradient: 'own' };

/** As `gradient/` runs them; `test/model/cost.test.ts` holds it against what the kernels' gradients save. */
export const footprints: { readonly [K in OperationName]: Footprint } = {
  dense: PRODUCT,
  tied_dense: PRODUCT,
  conv2d: PRODUCT,
  conv_transpose2d: PRODUCT,
  embedding: PRODUCT,
  attention: { value: 'own', keeps: 'inputs', gradient: 'own' },
  multiply: { value: 'own', keeps: 'inputs', gradient: 'own' },
  batch_norm: MAP,
  group_norm: MAP,
  layer_norm: MAP,
  rms_norm: MAP,
  layer_scale: MAP,
  tanh: SLOPED,
  sigmoid: SLOPED,
  silu: SLOPED,
  hardswish: SLOPED,
  gelu: SLOPED,
  relu: OVERWRITING,
  relu6: OVERWRITING,
  leaky_relu: OVERWRITING,
  softmax: OVERWRITING,
  position_embedding: { value: 'over the input', keeps: 'nothing', gradient: 'over the output' },
  max_pool: MAXIMUM,
  global_max_pool: MAXIMUM,
  adaptive_max_pool: MAXIMUM,
  flatten: VIEW,
  tokens: VIEW,
  reshape: VIEW,
  add: { value: 'own', keeps: 'nothing', gradient: 'over the output' },
  average_pool: OWN,
  global_average_pool: OWN,
  adaptive_average_pool: OWN,
  concat: OWN,
  slice: OWN,
  transpose: OWN,
  class_token: OWN,
  select_token: OWN,
  mean_tokens: OWN,
};
