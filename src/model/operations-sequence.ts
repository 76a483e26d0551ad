/**
 * Rules of the operations that act on features, whatever stands before them (dense, norms, softmax), and of those that
 * make, mix and end sequences of tokens.
 */
import { elementCount } from '../tensor/tensor.ts';
import {
  ONE,
  asImage,
  elementwise,
  featureAxis,
  featuresOf,
  first,
  misfit,
  none,
  show, showAll,
  type Named,
  type OperationRule,
  type ParameterDeclaration,
} from './operation-support.ts';
import type { GraphNode, NodeOf, OperationOf, Shape } from './operation-types.ts';

/** The one input as [tokens, features]. */
function asSequence(node: Named, inputs: readonly Shape[]): readonly [number, number] {
  const [tokens, features, ...rest] = first(inputs);
  if (tokens === undefined || features === undefined || rest.length > 0) {
    return misfit(node, 'an input of shape [tokens, features]', show(first(inputs)));
  }
  return [tokens, features];
}

/** A norm over the features. PyTorch's default ε for LayerNorm is 1e-5. */
function norm<K extends 'layer_norm' | 'rms_norm'>(op: K, shift: boolean): OperationRule<K> {
  return {
    arity: ONE,
    parse: (fields) => ({ op, epsilon: fields.number('epsilon', 1e-5, 1e-12, 1) }) as OperationOf<K>,
    shape: (_node, inputs) => first(inputs),
    parameters: (_node, inputs) => {
      const shape = [featuresOf(first(inputs))];
      const scale: ParameterDeclaration = { suffix: 'weight', shape, role: 'scale', fanIn: 0 };
      return shift ? [scale, { suffix: 'bias', shape, role: 'shift', fanIn: 0 }] : [scale];
    },
  };
}

/** [queries, keys, values] and the head's widths of an attention. */
export interface AttentionShape {
  readonly tokens: number;
  readonly heads: number;
  readonly keyHeads: number;
  /** Width of a head's queries and keys, and of its values. */
  readonly headFeatures: number;
  readonly valueFeatures: number;
}

/** @throws InvalidArgumentError where the inputs do not divide into heads. */
export function attentionShape(node: NodeOf<'attention'>, inputs: readonly Shape[]): AttentionShape {
  const { heads, key_heads: keyHeads } = node;
  if (heads % keyHeads !== 0) misfit(node, `heads that divide evenly over ${keyHeads} key_heads`, `${heads}`);
  if (inputs.length === 2) misfit(node, 'one input (queries, keys and values side by side) or three', '2');
  for (const input of inputs) asSequence(node, [input]);
  const [tokens = 0] = first(inputs);
  const whole = (features: number, parts: number, what: string): number => {
    if (features % parts !== 0) misfit(node, `${what} that divide into ${parts} heads`, `${features}`);
    return features / parts;
  };
  const [queries, keys, values] = inputs.map(featuresOf) as [number, number | undefined, number | undefined];
  if (keys === undefined || values === undefined) {
    const width = whole(queries, heads + 2 * keyHeads, 'features of queries, keys and values');
    return { tokens, heads, keyHeads, headFeatures: width, valueFeatures: width };
  }
  const headFeatures = whole(queries, heads, 'features of queries');
  if (keys !== keyHeads * headFeatures) misfit(node, `${keyHeads * headFeatures} features of keys`, `${keys}`);
  if (inputs.some(([length]) => length !== tokens)) misfit(node, 'inputs of one length', showAll(inputs));
  return { tokens, heads, keyHeads, headFeatures, valueFeatures: whole(values, keyHeads, 'features of values') };
}

export type SequenceOperation =
  | 'dense' | 'layer_norm' | 'rms_norm' | 'softmax' | 'layer_scale' | 'tokens' | 'transpose' | 'reshape' | 'embedding'
  | 'position_embedding' | 'type_embedding' | 'class_token' | 'select_token' | 'mean_tokens' | 'attention' | 'tied_dense';

/** A node of this family. */
export type SequenceNode = Extract<GraphNode, { op: SequenceOperation }>;

export const sequenceRules: { readonly [K in SequenceOperation]: OperationRule<K> } = {
  dense: {
    arity: ONE,
    parse: (fields) => ({
      op: 'dense',
      out: fields.count('out'),
      bias: fields.flag('bias', true),
      // Left out where it says nothing, so that the JSON of older graphs, and bundles with it, keep their bytes.
      ...(fields.flag('transposed', false) ? { transposed: true as const } : {}),
    }),
    shape: (node, inputs) => first(inputs).with(featureAxis(first(inputs)), node.out),
    parameters: ({ out, bias, transposed }, inputs) => {
      const fanIn = featuresOf(first(inputs));
      const weight: ParameterDeclaration = transposed
        ? { suffix: 'weight', shape: [fanIn, out], role: 'weight', fanIn, outAxis: 1 }
        : { suffix: 'weight', shape: [out, fanIn], role: 'weight', fanIn };
      return bias ? [weight, { suffix: 'bias', shape: [out], role: 'bias', fanIn }] : [weight];
    },
  },
  layer_norm: norm('layer_norm', true),
  rms_norm: norm('rms_norm', false),
  softmax: elementwise(() => ({ op: 'softmax' })),
  layer_scale: {
    arity: ONE,
    parse: (fields) => ({
      op: 'layer_scale',
      parameter: fields.choice('parameter', ['gamma', 'layer_scale'], 'gamma'),
      initial: fields.number('initial', 1e-6, 0, 1e6),
    }),
    shape: (_node, inputs) => first(inputs),
    parameters: ({ parameter, initial }, inputs) => {
      const features = featuresOf(first(inputs));
      return [{ suffix: parameter, shape: parameter === 'gamma' ? [features] : [features, 1, 1], role: 'scale', fanIn: 0, initial }];
    },
  },
  tokens: {
    arity: ONE,
    parse: () => ({ op: 'tokens' }),
    shape: (node, inputs) => {
      const [channels, height, width] = asImage(node, inputs);
      return [height * width, channels];
    },
    parameters: none,
  },
  transpose: {
    arity: ONE,
    parse: () => ({ op: 'transpose' }),
    shape: (node, inputs) => asSequence(node, inputs).toReversed(),
    parameters: none,
  },
  reshape: {
    arity: ONE,
    parse: (fields) => ({ op: 'reshape', shape: fields.shape('shape', 3) }),
    shape: (node, inputs) => {
      if (elementCount(node.shape) !== elementCount(first(inputs)))
        misfit(node, `${elementCount(node.shape)} elements for ${show(node.shape)}`, show(first(inputs)));
      return node.shape;
    },
    parameters: none,
  },
  embedding: {
    arity: ONE,
    parse: (fields) => ({ op: 'embedding', features: fields.count('features') }),
    shape: (node, inputs) => [...first(inputs), node.features],
    parameters: (node, _inputs, { vocabulary }) => [
      { suffix: 'weight', shape: [vocabulary ?? 1, node.features], role: 'embedding', fanIn: 0, outAxis: 1 },
    ],
  },
  position_embedding: {
    arity: ONE,
    parse: (fields) => ({ op: 'position_embedding', positions: fields.count('positions'), bare: fields.flag('bare', false) }),
    shape: (node, inputs) => {
      const [tokens] = asSequence(node, inputs);
      if (tokens > node.positions) misfit(node, `at most ${node.positions} tokens`, `${tokens}`);
      return first(inputs);
    },
    parameters: ({ positions, bare }, inputs) => {
      const features = featuresOf(first(inputs));
      return bare
        ? [{ suffix: '', shape: [1, positions, features], role: 'embedding', fanIn: 0, outAxis: 2 }]
        : [{ suffix: 'weight', shape: [positions, features], role: 'embedding', fanIn: 0, outAxis: 1 }];
    },
  },
  type_embedding: {
    arity: ONE,
    parse: (fields) => {
      const types = fields.count('types');
      // As of `dense`.
      const separator = fields.take('separator') === undefined ? {} : { separator: fields.index('separator', 0) };
      return { op: 'type_embedding', types, ...separator };
    },
    shape: (node, inputs, { input, vocabulary = 0, padding }) => {
      const [tokens, features] = asSequence(node, inputs);
      const { types, separator } = node;
      if (separator === undefined) return [tokens, features];
      if (types < 2) misfit(node, 'two types or more where there is a separator', `${types}`);
      if (separator >= vocabulary) misfit(node, `a separator below the graph's vocabulary, ${vocabulary}`, `${separator}`);
      if (separator === padding) misfit(node, 'a separator that is not the padding', `${separator}`);
      if (tokens !== input[0]) misfit(node, `the ${input[0]} tokens of the network's input, which tell the types`, `${tokens}`);
      return [tokens, features];
    },
    parameters: ({ types }, inputs) => [
      { suffix: 'weight', shape: [types, featuresOf(first(inputs))], role: 'embedding', fanIn: 0, outAxis: 1 },
    ],
  },
  class_token: {
    arity: ONE,
    parse: () => ({ op: 'class_token' }),
    shape: (node, inputs) => {
      const [tokens, features] = asSequence(node, inputs);
      return [tokens + 1, features];
    },
    parameters: (_node, inputs) => [{ suffix: '', shape: [1, 1, featuresOf(first(inputs))], role: 'embedding', fanIn: 0, outAxis: 2 }],
  },
  select_token: {
    arity: ONE,
    parse: (fields) => ({ op: 'select_token', index: fields.index('index', 0) }),
    shape: (node, inputs) => {
      const [tokens, features] = asSequence(node, inputs);
      if (node.index >= tokens) misfit(node, `an index below the ${tokens} tokens`, `${node.index}`);
      return [features];
    },
    parameters: none,
  },
  mean_tokens: {
    arity: ONE,
    parse: () => ({ op: 'mean_tokens' }),
    shape: (node, inputs) => [asSequence(node, inputs)[1]],
    parameters: none,
  },
  attention: {
    arity: [1, 3],
    parse: (fields) => {
      const heads = fields.count('heads');
      const [keyHeads, causal] = [fields.count('key_heads', heads), fields.flag('causal', false)];
      // As of `dense`.
      return { op: 'attention', heads, key_heads: keyHeads, causal, ...(fields.flag('masked', false) ? { masked: true as const } : {}) };
    },
    shape: (node, inputs, { input, padding }) => {
      const { tokens, heads, valueFeatures } = attentionShape(node, inputs);
      if (node.masked) {
        if (padding === undefined) misfit(node, "masked only where the graph has a padding", 'masked');
        if (tokens !== input[0]) misfit(node, `the ${input[0]} tokens of the network's input, which tell what is masked`, `${tokens}`);
        // Of a row that sees nothing but padding before it no weight would be a number.
        if (node.causal) misfit(node, 'masked or causal', 'both');
      }
      return [tokens, heads * valueFeatures];
    },
    parameters: none,
  },
  tied_dense: {
    arity: ONE,
    parse: (fields) => ({ op: 'tied_dense', with: fields.text('with') }),
    shape: (node, inputs, { nodes, vocabulary = 0 }) => {
      const owner = nodes.find(({ name }) => name === node.with);
      if (owner?.op !== 'embedding') return misfit(node, 'the name of an embedding', JSON.stringify(node.with));
      const shape = first(inputs);
      if (featuresOf(shape) !== owner.features) misfit(node, `${owner.features} features, the embedding's`, show(shape));
      return shape.with(featureAxis(shape), vocabulary);
    },
    parameters: none,
  },
};

export function isSequenceNode(node: GraphNode): node is SequenceNode {
  return Object.hasOwn(sequenceRules, node.op);
}
