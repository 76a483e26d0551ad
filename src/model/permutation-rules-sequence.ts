/**
 * How permutations pass through operations on features and on sequences. Norms over features commute with any permutation of
 * them; an attention lets whole heads move, and within a head queries with keys and values by themselves.
 */
import { elementCount } from '../tensor/tensor.ts';
import type { Axis, AxisSegment, AxisSet, AxisSets } from './axis-sets.ts';
import type { GraphNode } from './graph.ts';
import { attentionShape, type SequenceOperation } from './operations-sequence.ts';
import {
  elementwise, featuresOf, first, reasons, withFeatures, type NodeAxes, type PermutationRule, type ValueAxes,
} from './permutation-rule.ts';

const features = (inputs: readonly ValueAxes[]): Axis => featuresOf(first(inputs));

const norm = (_node: GraphNode, inputs: readonly ValueAxes[]): NodeAxes => ({
  value: first(inputs),
  parameters: { weight: [features(inputs)], bias: [features(inputs)] },
});

const extentOf = (axis: Axis): number => elementCount(axis.map(({ size }) => size));

/** Cuts the factors of all axes, one behind the other, into axes of these extents; null where a factor lies across a cut. */
function cut(sets: AxisSets, axis: Axis, extents: readonly number[]): Axis[] | null {
  const axes: Axis[] = [];
  let rest = axis;
  for (const extent of extents.slice(0, -1)) {
    const halves = sets.splitAt(rest, extent);
    if (halves === null) return null;
    axes.push(halves[0]);
    rest = halves[1];
  }
  return [...axes, rest];
}

export const sequencePermutationRules: { readonly [K in SequenceOperation]: PermutationRule<K> } = {
  dense: (node, inputs, _shape, sets) => {
    const out = sets.create(node.out, node.name);
    const into = features(inputs);
    return { value: withFeatures(first(inputs), out), parameters: { weight: node.transposed ? [into, out] : [out, into], bias: [out] } };
  },
  layer_norm: norm,
  rms_norm: norm,
  // Equivariant: a softmax of permuted features is the permuted softmax.
  softmax: elementwise,
  layer_scale: (node, inputs, _shape, sets) => {
    const one = sets.fixed(1, reasons.single);
    const scale = features(inputs);
    return { value: first(inputs), parameters: { [node.parameter]: node.parameter === 'gamma' ? [scale] : [scale, one, one] } };
  },
  tokens: (_node, inputs) => {
    const [channels = [], height = [], width = []] = first(inputs);
    return { value: [[...height, ...width], channels], parameters: {} };
  },
  transpose: (_node, inputs) => ({ value: first(inputs).toReversed(), parameters: {} }),
  reshape: (node, inputs, _shape, sets) => {
    const axis = first(inputs).flat();
    const axes = cut(sets, axis, node.shape);
    if (axes !== null) {
      // Three extents are an image: what reads it relies on height and width staying, as they do in every other image.
      for (const position of axes.length === 3 ? axes.slice(1) : []) sets.fix(position, reasons.spatial);
      return { value: axes, parameters: {} };
    }
    const reason = `its factors do not fit the reshape ${JSON.stringify(node.name)}`;
    sets.fix(axis, reason);
    return { value: node.shape.map((extent) => sets.fixed(extent, reason)), parameters: {} };
  },
  embedding: (node, inputs, _shape, sets, { vocabulary }) => {
    const out = sets.create(node.features, node.name);
    // Row i belongs to token i, which the data decide.
    return { value: [...first(inputs), out], parameters: { weight: [sets.fixed(vocabulary, reasons.vocabulary), out] } };
  },
  position_embedding: (node, inputs, _shape, sets) => {
    const positions = sets.fixed(node.positions, reasons.token);
    sets.fix(first(inputs)[0] ?? [], reasons.token);
    const table = [positions, features(inputs)];
    return { value: first(inputs), parameters: node.bare ? { '': [sets.fixed(1, reasons.single), ...table] } : { weight: table } };
  },
  type_embedding: (node, inputs, _shape, sets) => {
    // Without a separator the same for every token, so that these stay free to move.
    if (node.separator !== undefined) sets.fix(first(inputs)[0] ?? [], reasons.token);
    return { value: first(inputs), parameters: { weight: [sets.fixed(node.types, reasons.type), features(inputs)] } };
  },
  class_token: (_node, inputs, shape, sets) => {
    sets.fix(first(inputs)[0] ?? [], reasons.token);
    const one = sets.fixed(1, reasons.single);
    return {
      value: [sets.fixed(shape[0] as number, reasons.token), features(inputs)],
      parameters: { '': [one, one, features(inputs)] },
    };
  },
  select_token: (_node, inputs, _shape, sets) => {
    sets.fix(first(inputs)[0] ?? [], reasons.token);
    return { value: [features(inputs)], parameters: {} };
  },
  mean_tokens: (_node, inputs) => ({ value: [features(inputs)], parameters: {} }),
  attention: (node, inputs, _shape, sets) => {
    const extents = inputs.map((axes) => axes.map(extentOf));
    const { heads, keyHeads, headFeatures, valueFeatures } = attentionShape(node, extents);
    const [scores, values] = sets.family(keyHeads, [headFeatures, valueFeatures], node.inputs[0] as string) as [Axis, Axis];
    const stretch = (axis: Axis, repeat: number): AxisSegment => ({ set: axis[0] as AxisSet, blocks: keyHeads, repeat });
    const sharing = heads / keyHeads;
    const [queries, keys, read] = [stretch(scores, sharing), stretch(scores, 1), stretch(values, 1)];
    const through = `the attention ${JSON.stringify(node.name)}`;
    const tie = (axes: ValueAxes | undefined, name: string, ...segments: AxisSegment[]): void =>
      sets.unify(axes?.[1] ?? [], sets.arrange(segments, name), through);
    if (inputs.length === 1) tie(inputs[0], node.inputs[0] as string, queries, keys, read);
    else for (const [i, segment] of [queries, keys, read].entries()) tie(inputs[i], node.inputs[i] as string, segment);
    // Tokens meet one another in the order of their positions where the attention is causal, and those of the input tell what is
    // masked; without either they are a set.
    if (node.causal || node.masked) for (const axes of inputs) sets.fix(axes[0] ?? [], reasons.token);
    for (const axes of inputs.slice(1)) sets.unify(first(inputs)[0] ?? [], axes[0] ?? [], through);
    return { value: [first(inputs)[0] ?? [], sets.arrange([stretch(values, sharing)], node.name)], parameters: {} };
  },
  tied_dense: (node, inputs, _shape, sets, { tensorAxes }) => {
    const [vocabulary = [], columns = []] = tensorAxes.get(`${node.with}.weight`) ?? [];
    sets.unify(features(inputs), columns, `the weight of ${JSON.stringify(node.with)}`);
    return { value: withFeatures(first(inputs), vocabulary), parameters: {} };
  },
};
