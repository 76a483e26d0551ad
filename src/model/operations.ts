/**
 * What every operation accepts, gives and owns: one rule a kind, here or in a file of its family. A new operation is a
 * member of `Operations` in `operation-types.ts` and a rule; how it carries permutations stands in
 * `permutation-rules.ts`, its arithmetic in `gradient/`.
 */
import { elementCount, sameShape } from '../tensor/tensor.ts';
import type { FieldReader } from './fields.ts';
import type { GraphNode, NodeOf, OperationName, OperationOf, Pair, Shape } from './operation-types.ts';
import {
  ONE, asImage, elementwise, first, misfit, none, show, windows, type GraphContext, type OperationRule, type ParameterDeclaration,
} from './operation-support.ts';
import { combiningRules } from './operations-combining.ts';
import { imageRules } from './operations-image.ts';
import { sequenceRules } from './operations-sequence.ts';

/** Which pixel of a window is its largest is kept as a u16. */
const LARGEST_MAXIMUM = 2 ** 16;

function requireNamedWinner(node: NodeOf<'max_pool' | 'average_pool' | 'global_max_pool' | 'global_average_pool'>, [height, width]: Pair): void {
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

const rules: { readonly [K in OperationName]: OperationRule<K> } = {
  ...imageRules,
  ...combiningRules,
  ...sequenceRules,
  conv2d: {
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
      if (image[0] % node.groups !== 0 || node.out % node.groups !== 0) {
        misfit(node, `input and output channels divisible by ${node.groups} groups`, `${image[0]} and ${node.out}`);
      }
      return [node.out, ...windows(node, image, node.kernel, node.stride, node.padding, node.dilation)];
    },
    parameters: (node, inputs) => {
      const perGroup = asImage(node, inputs)[0] / node.groups;
      const fanIn = perGroup * node.kernel[0] * node.kernel[1];
      const weight: ParameterDeclaration = {
        suffix: 'weight',
        shape: [node.out, perGroup, ...node.kernel],
        role: 'weight',
        fanIn,
      };
      return node.bias ? [weight, { suffix: 'bias', shape: [node.out], role: 'bias', fanIn }] : [weight];
    },
  },
  relu: elementwise(() => ({ op: 'relu' })),
  silu: elementwise(() => ({ op: 'silu' })),
  hardswish: elementwise(() => ({ op: 'hardswish' })),
  relu6: elementwise(() => ({ op: 'relu6' })),
  tanh: elementwise(() => ({ op: 'tanh' })),
  sigmoid: elementwise(() => ({ op: 'sigmoid' })),
  leaky_relu: elementwise((fields) => ({ op: 'leaky_relu', slope: fields.number('slope', 0.01, 0, 1) })),
  gelu: elementwise((fields) => ({ op: 'gelu', approximate: fields.choice('approximate', ['none', 'tanh'], 'none') })),
  max_pool: pool('max_pool'),
  average_pool: pool('average_pool'),
  global_max_pool: globalPool('global_max_pool'),
  global_average_pool: globalPool('global_average_pool'),
  batch_norm: {
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
  },
  flatten: {
    arity: ONE,
    parse: () => ({ op: 'flatten' }),
    shape: (_node, inputs) => [elementCount(first(inputs))],
    parameters: none,
  },
  add: {
    arity: [2, Infinity],
    parse: () => ({ op: 'add' }),
    shape: (node, inputs) => {
      for (const shape of inputs) {
        if (!sameShape(shape, first(inputs))) misfit(node, 'inputs of one shape', inputs.map(show).join(' and '));
      }
      return first(inputs);
    },
    parameters: none,
  },
};

export const operationNames: ReadonlySet<string> = new Set(Object.keys(rules));

/** The rule of a node's operation, widened to take any node (TypeScript cannot correlate the union of rules with the union of nodes). */
export function ruleOf(operation: { readonly op: OperationName }): {
  readonly arity: readonly [number, number];
  readonly parse: (fields: FieldReader) => OperationOf<OperationName>;
  readonly shape: (node: GraphNode, inputs: readonly Shape[], graph: GraphContext) => Shape;
  readonly parameters: (node: GraphNode, inputs: readonly Shape[], graph: GraphContext) => readonly ParameterDeclaration[];
} {
  return rules[operation.op] as never;
}
