/**
 * How permutations pass through each operation: given the axes of a node's inputs, the axes of its value and of each of
 * its parameters. One rule a kind of operation; the rest of the permutation spec follows.
 */
import type { Axis, AxisSets } from './axis-sets.ts';
import type { GraphNode, OperationName, Shape } from './graph.ts';
import { featureAxis, nodePath } from './operation-support.ts';
import {
  elementwise, featuresOf, first, reasons, withFeatures, type NodeAxes, type PermutationRule as Rule, type ValueAxes,
} from './permutation-rule.ts';
import { sequencePermutationRules } from './permutation-rules-sequence.ts';

const spatial = (sets: AxisSets, shape: Shape): ValueAxes => shape.slice(1).map((extent) => sets.fixed(extent, reasons.spatial));

/** Channels keep their places; height and width are new and fixed. */
const pooling = (_node: GraphNode, inputs: readonly ValueAxes[], shape: Shape, sets: AxisSets): NodeAxes => ({
  value: [first(inputs)[0] ?? [], ...spatial(sets, shape)],
  parameters: {},
});

const convolution: Rule<'conv2d'> = (node, inputs, shape, sets) => {
  const channels = first(inputs)[0] ?? [];
  const kernel = node.kernel.map((extent) => sets.fixed(extent, reasons.kernel));
  let out: Axis;
  let perGroup = channels;
  if (node.groups === 1) {
    out = sets.create(node.out, node.name);
  } else {
    // Whole groups move with their inputs, and the channels within a group in the same way in every group.
    const halves = sets.splitAt(channels, node.groups);
    const within = sets.create(node.out / node.groups, node.name);
    if (halves === null) {
      sets.fix(channels, `not divisible into the ${node.groups} groups of ${nodePath(node)}`);
      perGroup = sets.fixed(1, reasons.single);
      out = [...sets.fixed(node.groups, `groups of ${nodePath(node)}`), ...within];
    } else {
      perGroup = halves[1];
      out = [...halves[0], ...within];
    }
  }
  return { value: [out, ...spatial(sets, shape)], parameters: { weight: [out, perGroup, ...kernel], bias: [out] } };
};

const transposedConvolution: Rule<'conv_transpose2d'> = (node, inputs, shape, sets) => {
  const channels = first(inputs)[0] ?? [];
  const kernel = node.kernel.map((extent) => sets.fixed(extent, reasons.kernel));
  const within = sets.create(node.out / node.groups, node.name);
  let out = within;
  if (node.groups > 1) {
    const halves = sets.splitAt(channels, node.groups);
    if (halves === null) sets.fix(channels, `not divisible into the ${node.groups} groups of ${nodePath(node)}`);
    out = [...(halves?.[0] ?? sets.fixed(node.groups, `groups of ${nodePath(node)}`)), ...within];
  }
  return { value: [out, ...spatial(sets, shape)], parameters: { weight: [channels, within, ...kernel], bias: [out] } };
};

/** Whole groups may move, and the channels within a group in the same way in every group. */
const groupNorm: Rule<'group_norm'> = (node, inputs, _shape, sets) => {
  const channels = first(inputs)[0] ?? [];
  if (sets.splitAt(channels, node.groups) === null) sets.fix(channels, `not divisible into the ${node.groups} groups of ${nodePath(node)}`);
  return { value: first(inputs), parameters: { weight: [channels], bias: [channels] } };
};

/** The channels of each input go on moving by themselves; the tokens of all are the same. */
const concatenation: Rule<'concat'> = (node, inputs, shape, sets, context) => {
  const value = first(inputs);
  for (const other of inputs.slice(1))
    if (value.length === 2) sets.unify(value[0] ?? [], other[0] ?? [], `the concatenation ${JSON.stringify(node.name)}`);
  const channels = sets.concatenate(inputs.map(featuresOf), node.name);
  return channels === null ? stayInPlace(node, inputs, shape, sets, context) : { value: withFeatures(value, channels), parameters: {} };
};

/** What is taken goes on moving by itself, and so does what is left. */
const slicing: Rule<'slice'> = (node, inputs, shape, sets, context) => {
  const taken = sets.slice(featuresOf(first(inputs)), node.start, node.length, node.name);
  return taken === null ? stayInPlace(node, inputs, shape, sets, context) : { value: withFeatures(first(inputs), taken), parameters: {} };
};

/** What is taken out of a factor or a head, or joined of axes that are products, stays where it is. */
const stayInPlace: Rule<'concat' | 'slice'> = (node, inputs, shape, sets) => {
  const reason = `${node.op === 'concat' ? 'concatenated' : 'sliced'} by ${nodePath(node)}`;
  for (const value of inputs) sets.fix(featuresOf(value), reason);
  return { value: withFeatures(first(inputs), sets.fixed(shape[featureAxis(shape)] as number, reason)), parameters: {} };
};

const rules: { readonly [K in OperationName]: Rule<K> } = {
  ...sequencePermutationRules,
  conv2d: convolution,
  conv_transpose2d: transposedConvolution,
  relu: elementwise,
  relu6: elementwise,
  silu: elementwise,
  hardswish: elementwise,
  hardsigmoid: elementwise,
  tanh: elementwise,
  sigmoid: elementwise,
  leaky_relu: elementwise,
  elu: elementwise,
  gelu: elementwise,
  max_pool: pooling,
  average_pool: pooling,
  global_max_pool: pooling,
  global_average_pool: pooling,
  adaptive_max_pool: pooling,
  adaptive_average_pool: pooling,
  batch_norm: (_node, inputs) => {
    const channels = [first(inputs)[0] ?? []];
    return {
      value: first(inputs),
      parameters: { weight: channels, bias: channels, running_mean: channels, running_var: channels },
    };
  },
  group_norm: groupNorm,
  flatten: (_node, inputs) => ({ value: [first(inputs).flat()], parameters: {} }),
  add: (node, inputs, _shape, sets) => {
    for (const other of inputs.slice(1)) {
      for (const [axis, factors] of first(inputs).entries())
        sets.unify(factors, other[axis] ?? [], `the addition ${JSON.stringify(node.name)}`);
    }
    return { value: first(inputs), parameters: {} };
  },
  multiply: (node, inputs, shape, sets) => {
    const [a = [], b = []] = inputs;
    const through = `the product ${JSON.stringify(node.name)}`;
    sets.unify(a[0] ?? [], b[0] ?? [], through);
    if (a.length === 2) {
      sets.unify(a[1] ?? [], b[1] ?? [], through);
      return { value: a, parameters: {} };
    }
    // Positions never move, and a factor [C, 1, 1] has none.
    return { value: [a[0] ?? [], ...spatial(sets, shape)], parameters: {} };
  },
  concat: concatenation,
  slice: slicing,
};

/** The rule of a node's operation, widened to take any node. */
export function permutationRuleOf(node: GraphNode): Rule<OperationName> {
  return rules[node.op] as never;
}
