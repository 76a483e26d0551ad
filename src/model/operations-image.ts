/** Rules of the rarer operations on images: transposed convolution, adaptive pooling, group norm. */
import type { OperationOf, Shape, NodeOf } from './operation-types.ts';
import { ONE, asImage, first, misfit, none, show, type OperationRule, type ParameterDeclaration } from './operation-support.ts';

function adaptivePool<K extends 'adaptive_max_pool' | 'adaptive_average_pool'>(op: K): OperationRule<K> {
  return {
    arity: ONE,
    parse: (fields) => ({ op, size: fields.pair('size') }) as OperationOf<K>,
    shape: (node: NodeOf<'adaptive_max_pool' | 'adaptive_average_pool'>, inputs) => [asImage(node, inputs)[0], ...node.size],
    parameters: none,
  };
}

const transposedConvolution: OperationRule<'conv_transpose2d'> = {
  arity: ONE,
  parse: (fields) => ({
    op: 'conv_transpose2d',
    out: fields.count('out'),
    kernel: fields.pair('kernel'),
    stride: fields.pair('stride', [1, 1]),
    padding: fields.padding('padding'),
    output_padding: fields.extents('output_padding', [0, 0]),
    dilation: fields.pair('dilation', [1, 1]),
    groups: fields.count('groups', 1),
    bias: fields.flag('bias', true),
  }),
  shape: (node, inputs) => {
    const [channels, height, width] = asImage(node, inputs);
    if (channels % node.groups !== 0 || node.out % node.groups !== 0) {
      misfit(node, `input and output channels divisible by ${node.groups} groups`, `${channels} and ${node.out}`);
    }
    // Otherwise the convolution that this is the transpose of would not come from an image of that size.
    if (node.output_padding.some((extra, axis) => extra >= (node.stride[axis] as number))) {
      misfit(node, `output_padding below the stride ${show(node.stride)}`, show(node.output_padding));
    }
    const [top, bottom, left, right] = node.padding;
    const extent = (from: number, axis: 0 | 1, padding: number): number =>
      (from - 1) * node.stride[axis] - padding + node.dilation[axis] * (node.kernel[axis] - 1) + node.output_padding[axis] + 1;
    const [rows, columns] = [extent(height, 0, top + bottom), extent(width, 1, left + right)];
    if (rows < 1 || columns < 1) misfit(node, 'padding that leaves a pixel', `${rows}×${columns} pixels`);
    return [node.out, rows, columns];
  },
  parameters: (node, inputs) => {
    const perGroup = node.out / node.groups;
    // PyTorch's fan-in of such a layer: weight.size(1) · kernel.
    const fanIn = perGroup * node.kernel[0] * node.kernel[1];
    const shape: Shape = [asImage(node, inputs)[0], perGroup, ...node.kernel];
    const weight: ParameterDeclaration = { suffix: 'weight', shape, role: 'weight', fanIn };
    return node.bias ? [weight, { suffix: 'bias', shape: [node.out], role: 'bias', fanIn }] : [weight];
  },
};

const groupNorm: OperationRule<'group_norm'> = {
  arity: ONE,
  parse: (fields) => ({ op: 'group_norm', groups: fields.count('groups', 1), epsilon: fields.number('epsilon', 1e-5, 1e-12, 1) }),
  shape: (node, inputs) => {
    const shape = first(inputs);
    if (shape.length !== 1 && shape.length !== 3) misfit(node, 'an input [features] or [channels, height, width]', show(shape));
    if ((shape[0] as number) % node.groups !== 0) misfit(node, `channels divisible by ${node.groups} groups`, `${shape[0]}`);
    return shape;
  },
  parameters: (_node, inputs) => {
    const shape = first(inputs).slice(0, 1);
    return [
      { suffix: 'weight', shape, role: 'scale', fanIn: 0 },
      { suffix: 'bias', shape, role: 'shift', fanIn: 0 },
    ];
  },
};

export const imageRules = {
  conv_transpose2d: transposedConvolution,
  adaptive_max_pool: adaptivePool('adaptive_max_pool'),
  adaptive_average_pool: adaptivePool('adaptive_average_pool'),
  group_norm: groupNorm,
} as const;
