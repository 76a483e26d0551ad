/** Rules of the operations that join values and take them apart: products, concatenation, slices. */
import { sameShape } from '../tensor/tensor.ts';
import type { Shape } from './operation-types.ts';
import { ONE, first, misfit, none, show, type OperationRule } from './operation-support.ts';

const multiply: OperationRule<'multiply'> = {
  arity: [2, 2],
  parse: () => ({ op: 'multiply' }),
  shape: (node, inputs) => {
    const [a = [], b = []] = inputs;
    if (sameShape(a, b)) return a;
    // One factor a channel, as squeeze-and-excitation has it.
    const perChannel = a.length === 3 && b.length === 3 && a[0] === b[0];
    if (perChannel && b[1] === 1 && b[2] === 1) return a;
    if (perChannel && a[1] === 1 && a[2] === 1) return b;
    return misfit(node, 'inputs of one shape, or [C, H, W] and [C, 1, 1]', inputs.map(show).join(' and '));
  },
  parameters: none,
};

function requireChannels(node: { readonly name: string; readonly op: string }, shape: Shape): Shape {
  if (shape.length !== 1 && shape.length !== 3) misfit(node, 'inputs [features] or [channels, height, width]', show(shape));
  return shape;
}

const concat: OperationRule<'concat'> = {
  arity: [2, Infinity],
  parse: () => ({ op: 'concat' }),
  shape: (node, inputs) => {
    const [, ...rest] = requireChannels(node, first(inputs));
    for (const shape of inputs) {
      if (!sameShape(shape.slice(1), rest)) misfit(node, 'inputs that differ in their channels only', inputs.map(show).join(' and '));
    }
    return [inputs.reduce((sum, shape) => sum + (shape[0] as number), 0), ...rest];
  },
  parameters: none,
};

const slice: OperationRule<'slice'> = {
  arity: ONE,
  parse: (fields) => ({ op: 'slice', start: fields.index('start', 0), length: fields.count('length') }),
  shape: (node, inputs) => {
    const [channels = 0, ...rest] = requireChannels(node, first(inputs));
    if (node.start + node.length > channels) {
      misfit(node, `start + length of at most ${channels} channels`, `${node.start} + ${node.length}`);
    }
    return [node.length, ...rest];
  },
  parameters: none,
};

export const combiningRules = { multiply, concat, slice } as const;
