/** Rules of the operations that join values and take them apart: sums, products, concatenation, slices. */
import { sameShape } from '../tensor/tensor.ts';
import type { Shape } from './operation-types.ts';
import { ONE, featureAxis, featuresOf, first, misfit, none, showAll, type OperationRule } from './operation-support.ts';

const add: OperationRule<'add'> = {
  arity: [2, Infinity],
  parse: () => ({ op: 'add' }),
  shape: (node, inputs) => {
    for (const shape of inputs) {
      if (!sameShape(shape, first(inputs))) misfit(node, 'inputs of one shape', showAll(inputs));
    }
    return first(inputs);
  },
  parameters: none,
};

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
    return misfit(node, 'inputs of one shape, or [C, H, W] and [C, 1, 1]', showAll(inputs));
  },
  parameters: none,
};

const concat: OperationRule<'concat'> = {
  arity: [2, Infinity],
  parse: () => ({ op: 'concat' }),
  shape: (node, inputs) => {
    const shape = first(inputs);
    const others = (one: Shape): Shape => one.with(featureAxis(one), 1);
    if (inputs.some((one) => one.length !== shape.length || !sameShape(others(one), others(shape)))) {
      misfit(node, 'inputs that differ in their channels (or features) only', showAll(inputs));
    }
    return shape.with(featureAxis(shape), inputs.reduce((sum, one) => sum + featuresOf(one), 0));
  },
  parameters: none,
};

const slice: OperationRule<'slice'> = {
  arity: ONE,
  parse: (fields) => ({ op: 'slice', start: fields.index('start', 0), length: fields.count('length') }),
  shape: (node, inputs) => {
    const shape = first(inputs);
    const channels = featuresOf(shape);
    if (node.start + node.length > channels) {
      misfit(node, `start + length of at most ${channels} channels`, `${node.start} + ${node.length}`);
    }
    return shape.with(featureAxis(shape), node.length);
  },
  parameters: none,
};

export const combiningRules = { add, multiply, concat, slice } as const;
