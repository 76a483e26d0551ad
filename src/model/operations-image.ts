/** Rules of the operations on images: convolutions, poolings, the norms of channels, and flatten. */
import { elementCount } from '../tensor/tensor.ts';
import type { NodeOf, OperationOf, Pair } from './operation-types.ts';
import { ONE, asImage, first, misfit, none, show, windows, type OperationRule, type ParameterDeclaration } from './operation-support.ts';

const convolution: OperationRule<'conv2d'> = {
  arity: ONE,
  parse: (fields) => ({
    op: 'conv2d',
    out: fields.count('out'),
    kernel: fields.pair('kernel'),
    stride: fields.pair('stride', [1, 1]),
    padding: fields.padding('padding'),
    dilation: fields.pair('dilation', [1, 1]),
    groups: fields.count('groups', 1),
    bias: fields.flag('bias', true),
  }),
  shape: (node, inputs) => {
    const image = asImage(node, inputs);
    requireWholeGroups(node, image[0]);
    return [node.out, ...windows(node, image, node.kernel, node.stride, node.padding, node.dilation)];
  },
  parameters: (node, inputs) => weightAndBias(node, node.out, asImage(node, inputs)[0] / node.groups),
};

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
    requireWholeGroups(node, channels);
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
  parameters: (node, inputs) => weightAndBias(node, asImage(node, inputs)[0], node.out / node.groups),
};

type Convolution = NodeOf<'conv2d'> | NodeOf<'conv_transpose2d'>;

function requireWholeGroups(node: Convolution, channels: number): void {
  if (channels % node.groups === 0 && node.out % node.groups === 0) return;
  misfit(node, `input and output channels divisible by ${node.groups} groups`, `${channels} and ${node.out}`);
}

/** A weight [rows, perGroup, kernel height, kernel width]; its fan-in is PyTorch's of both kinds, weight.size(1) · kernel. */
function weightAndBias(node: Convolution, rows: number, perGroup: number): readonly ParameterDeclaration[] {
  const fanIn = perGroup * node.kernel[0] * node.kernel[1];
  const weight: ParameterDeclaration = { suffix: 'weight', shape: [rows, perGroup, ...node.kernel], role: 'weight', fanIn };
  return node.bias ? [weight, { suffix: 'bias', shape: [node.out], role: 'bias', fanIn }] : [weight];
}

/** Which pixel of a window is its largest is kept as a u16. */
const LARGEST_MAXIMUM = 2 ** 16;

type PoolNode = NodeOf<'max_pool' | 'average_pool' | 'global_max_pool' | 'global_average_pool'>;

function requireNamedWinner(node: PoolNode, [height, width]: Pair): void {
  if ((node.op === 'max_pool' || node.op === 'global_max_pool') && height * width > LARGEST_MAXIMUM)
    misfit(node, `a window of at most ${LARGEST_MAXIMUM} pixels`, `${height}×${width}`);
}

function pool<K extends 'max_pool' | 'average_pool'>(op: K): OperationRule<K> {
  return {
    arity: ONE,
    parse: (fields) => {
      const kernel = fields.pair('kernel');
      return { op, kernel, stride: fields.pair('stride', kernel), padding: fields.padding('padding') } as OperationOf<K>;
    },
    shape: (node: NodeOf<'max_pool' | 'average_pool'>, inputs) => {
      const image = asImage(node, inputs);
      const [top, bottom, left, right] = node.padding;
      // Otherwise a window could lie in the padding alone: a maximum of nothing.
      if (Math.max(top, bottom) >= node.kernel[0] || Math.max(left, right) >= node.kernel[1]) {
        misfit(node, `padding below the kernel ${show(node.kernel)}`, show(node.padding));
      }
      requireNamedWinner(node, node.kernel);
      return [image[0], ...windows(node, image, node.kernel, node.stride, node.padding, [1, 1])];
    },
    parameters: none,
  };
}

function globalPool<K extends 'global_max_pool' | 'global_average_pool'>(op: K): OperationRule<K> {
  return {
    arity: ONE,
    parse: () => ({ op }) as OperationOf<K>,
    shape: (node: NodeOf<'global_max_pool' | 'global_average_pool'>, inputs) => {
      const [channels, height, width] = asImage(node, inputs);
      requireNamedWinner(node, [height, width]);
      return [channels, 1, 1];
    },
    parameters: none,
  };
}

function adaptivePool<K extends 'adaptive_max_pool' | 'adaptive_average_pool'>(op: K): OperationRule<K> {
  return {
    arity: ONE,
    parse: (fields) => ({ op, size: fields.pair('size') }) as OperationOf<K>,
    shape: (node: NodeOf<'adaptive_max_pool' | 'adaptive_average_pool'>, inputs) => [asImage(node, inputs)[0], ...node.size],
    parameters: none,
  };
}

const batchNorm: OperationRule<'batch_norm'> = {
  arity: ONE,
  parse: (fields) => ({
    op: 'batch_norm',
    epsilon: fields.number('epsilon', 1e-5, 1e-12, 1),
    momentum: fields.number('momentum', 0.1, 0, 1),
  }),
  shape: (node, inputs) => {
    const shape = first(inputs);
    if (shape.length !== 1 && shape.length !== 3) misfit(node, 'an input [features] or [channels, height, width]', show(shape));
    return shape;
  },
  parameters: (_node, inputs) => {
    const shape = first(inputs).slice(0, 1);
    return [
      { suffix: 'weight', shape, role: 'scale', fanIn: 0 },
      { suffix: 'bias', shape, role: 'shift', fanIn: 0 },
      { suffix: 'running_mean', shape, role: 'running_mean', fanIn: 0 },
      { suffix: 'running_var', shape, role: 'running_variance', fanIn: 0 },
    ];
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

const flatten: OperationRule<'flatten'> = {
  arity: ONE,
  parse: () => ({ op: 'flatten' }),
  shape: (_node, inputs) => [elementCount(first(inputs))],
  parameters: none,
};

export const imageRules = {
  conv2d: convolution,
  conv_transpose2d: transposedConvolution,
  max_pool: pool('max_pool'),
  average_pool: pool('average_pool'),
  global_max_pool: globalPool('global_max_pool'),
  global_average_pool: globalPool('global_average_pool'),
  adaptive_max_pool: adaptivePool('adaptive_max_pool'),
  adaptive_average_pool: adaptivePool('adaptive_average_pool'),
  batch_norm: batchNorm,
  group_norm: groupNorm,
  flatten,
} as const;
