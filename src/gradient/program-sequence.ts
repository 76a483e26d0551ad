/** The kernel calls of operations on features and on sequences; continues `program.ts`. Images are [count, H, W, C] inside. */
import { INPUT, parameterName, type GraphNode, type ModelGraph, type NodeOf, type Shape } from '../model/graph.ts';
import { attentionShape, type SequenceNode } from '../model/operations-sequence.ts';
import { elementCount } from '../tensor/tensor.ts';
import type { Instruction, ValueKey } from './instruction.ts';
import type { DenseAttributes } from './kernels/dense.ts';
import type { TypeAttributes } from './kernels/sequence.ts';

/** One call with the node's name as its output. */
function one(node: GraphNode, kernel: string, more: Partial<Instruction>): Instruction[] {
  return [{ output: node.name, kernel, values: { x: node.inputs[0] as string }, parameters: {}, attrs: {}, overwrites: false, ...more }];
}

/** `from` and `to` are shapes inside, without the batch axis. */
export function reinterpret(node: GraphNode, x: ValueKey, from: Shape, to: Shape): Instruction[] {
  return one(node, 'Reinterpret', { values: { x }, attrs: { shape: to, from } });
}

/** Parameters of a call that takes the weight by this name, and the bias where the layer has one. */
export function weightAndBias({ name, bias }: GraphNode & { readonly bias: boolean }, weight: string): Instruction['parameters'] {
  return { [weight]: parameterName(name, 'weight'), ...(bias ? { bias: parameterName(name, 'bias') } : {}) };
}

function dense(node: NodeOf<'dense'>, from: Shape): Instruction[] {
  const transposed = node.transposed === true;
  return one(node, 'Dense', {
    parameters: weightAndBias(node, 'weight'),
    attrs: { transposed, leavesOutZeros: from.length === 1 && !transposed } satisfies DenseAttributes,
  });
}

/** The first `columns` numbers of a table added to every so many of the input. */
function addRows(node: GraphNode, table: string, columns: number): Instruction[] {
  return one(node, 'AddRows', { parameters: { table }, attrs: { columns }, overwrites: true });
}

export function sequenceInstructions(node: SequenceNode, inputs: readonly Shape[], { padding }: ModelGraph): Instruction[] {
  const parameter = (suffix: string): string => parameterName(node.name, suffix);
  const x = node.inputs[0] as string;
  const from = inputs[0] as Shape;
  switch (node.op) {
    case 'dense':
      return dense(node, from);
    case 'layer_norm':
      return one(node, 'RowNorm', {
        parameters: { scale: parameter('weight'), shift: parameter('bias') }, attrs: { epsilon: node.epsilon, centre: true },
      });
    case 'rms_norm':
      return one(node, 'RowNorm', { parameters: { scale: parameter('weight') }, attrs: { epsilon: node.epsilon, centre: false } });
    case 'softmax':
      return one(node, 'SoftmaxRows', { overwrites: true });
    case 'layer_scale':
      return one(node, 'ScaleFeatures', { parameters: { scale: parameter(node.parameter) } });
    case 'tokens':
      return reinterpret(node, x, inside(from), [elementCount(from.slice(1)), from[0] as number]);
    case 'transpose':
      return one(node, 'TransposeTokens', {});
    case 'reshape':
      return reshape(node, from);
    case 'embedding':
      return one(node, 'Embedding', { parameters: { table: parameter('weight') } });
    case 'position_embedding':
      return addRows(node, parameter(node.bare ? '' : 'weight'), elementCount(from));
    case 'type_embedding':
      if (node.separator === undefined) return addRows(node, parameter('weight'), from[1] as number);
      return one(node, 'AddTypeRows', {
        values: { x, tokens: INPUT }, parameters: { table: parameter('weight') },
        attrs: { separator: node.separator, padding } satisfies TypeAttributes, overwrites: true,
      });
    case 'class_token':
      return one(node, 'PrependToken', { parameters: { token: parameter('') } });
    case 'select_token': {
      const taken = Symbol(`${node.name} (token)`);
      const [tokens, features] = from as readonly [number, number];
      return [
        ...one(node, 'TakeTokens', { output: taken, attrs: { first: node.index, tokens: 1, from: tokens } }),
        ...reinterpret(node, taken, [1, features], [features]),
      ];
    }
    case 'mean_tokens': {
      // The pixels of an image one pixel wide.
      const [tokens, features] = from as readonly [number, number];
      const [column, mean] = [Symbol(`${node.name} (column)`), Symbol(`${node.name} (mean)`)];
      const imageShape = [tokens, 1, features];
      const attrs = { filterSize: [tokens, 1], strides: [1, 1], pad: [[0, 0], [0, 0], [0, 0], [0, 0]], imageShape };
      return [
        ...one(node, 'Reinterpret', { output: column, attrs: { shape: imageShape, from } }),
        ...one(node, 'PaddedAveragePool', { output: mean, values: { x: column }, attrs }),
        ...reinterpret(node, mean, [1, 1, features], [features]),
      ];
    }
    case 'attention': {
      const [queries = '', keys, values] = node.inputs;
      const masked = node.masked === true;
      const attrs = { shape: attentionShape(node, inputs), causal: node.causal, ...(masked ? { padding } : {}) };
      const tokens = masked ? { tokens: INPUT } : {};
      if (keys === undefined || values === undefined) return one(node, 'FusedAttention', { values: { queries, ...tokens }, attrs });
      return one(node, 'Attention', { values: { queries, keys, values, ...tokens }, attrs });
    }
    case 'tied_dense':
      return one(node, 'Dense', {
        parameters: { weight: parameterName(node.with, 'weight') },
        attrs: { transposed: false, leavesOutZeros: false } satisfies DenseAttributes,
      });
    default:
      return node satisfies never;
  }
}

/** The extents of a value where it is computed: images have their channels last. */
export function inside(shape: Shape): Shape {
  return shape.length === 3 ? [...shape.slice(1), shape[0] as number] : shape;
}

/** Row-major order is that of [C, H, W], so images are brought there, and back. */
function reshape(node: NodeOf<'reshape'>, from: Shape): Instruction[] {
  const flat = Symbol(`${node.name} (flat)`);
  const elements = elementCount(from);
  const to = node.shape;
  const first: Instruction[] =
    from.length === 3
      ? one(node, 'FlattenChannelsFirst', { output: flat, attrs: { imageShape: inside(from) } })
      : one(node, 'Reinterpret', { output: flat, attrs: { shape: [elements], from } });
  if (to.length !== 3) return [...first, ...reinterpret(node, flat, [elements], to)];
  return [...first, ...one(node, 'ChannelsLast', { values: { x: flat }, attrs: { imageShape: inside(to) } })];
}
