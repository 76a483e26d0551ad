/** A graph as a list of tfjs kernel calls: which kernel, on which values and parameters, with which attributes. */
import { inferShapes, parameterName, type GraphNode, type ModelGraph, type Padding, type Shape } from '../model/graph.ts';
import { featuresOf } from '../model/operation-support.ts';
import { isSequenceNode } from '../model/operations-sequence.ts';
import { elementCount } from '../tensor/tensor.ts';
import type { Instruction, LinkedInstruction, ValueKey } from './instruction.ts';
import type { EluAttributes, MapAttributes, SmoothMapAttributes } from './kernels/activation.ts';
import type { Attributes } from './kernels/support.ts';
import { inside, reinterpret, sequenceInstructions, weightAndBias } from './program-sequence.ts';

export interface Program {
  readonly instructions: readonly LinkedInstruction[];
  readonly output: string;
  /** Value → number of its readers; the program's output counts one more. */
  readonly readers: ReadonlyMap<ValueKey, number>;
  /** Values with a parameter at or before them: those that a gradient must reach. */
  readonly reached: ReadonlySet<ValueKey>;
}

/** @param training batch norm by the batch's statistics instead of the running ones. */
export function compileProgram(graph: ModelGraph, trained: ReadonlySet<string>, training: boolean): Program {
  const shapes = inferShapes(graph);
  const plain = graph.nodes.flatMap((node, i) =>
    instructionsOf(node, node.inputs.map((name) => shapes.get(name) as Shape), shapes.get(node.name) as Shape, graph, training)
      .map((each) => ({ ...each, node: i })),
  );
  const instructions = withRectifiers(plain, readersOf(plain, graph.output));
  const readers = readersOf(instructions, graph.output);
  const reached = new Set<ValueKey>();
  for (const { output, values, parameters } of instructions) {
    const sources = Object.values(values);
    if (sources.some((name) => reached.has(name)) || Object.values(parameters).some((name) => trained.has(name))) {
      reached.add(output);
    }
  }
  return { instructions: instructions.map((each) => linked(each, reached)), output: graph.output, readers, reached };
}

/** An instruction and the place of its node in the graph. */
type PlacedInstruction = Instruction & Pick<LinkedInstruction, 'node'>;

function linked(instruction: PlacedInstruction, reached: ReadonlySet<ValueKey>): LinkedInstruction {
  const operands = Object.entries(instruction.values);
  return {
    ...instruction,
    operands,
    parameterInputs: Object.entries(instruction.parameters),
    reachedOperands: operands.filter(([, value]) => reached.has(value)),
    gradientAttrs: {
      inPlace: { ...instruction.attrs, gradientInPlace: true },
      apart: { ...instruction.attrs, gradientInPlace: false },
    },
  };
}

function readersOf(instructions: readonly Instruction[], output: string): Map<ValueKey, number> {
  const readers = new Map<ValueKey, number>([[output, 1]]);
  for (const { values } of instructions) for (const name of Object.values(values)) readers.set(name, (readers.get(name) ?? 0) + 1);
  return readers;
}

/** Where min(max(x, 0), ·) ends. */
function ceilingOf({ kernel, attrs }: Instruction): number | undefined {
  return kernel === 'Relu' ? Infinity : kernel === 'Clamp' ? (attrs['ceiling'] as number) : undefined;
}

const NORMS: ReadonlySet<string> = new Set(['BatchNorm', 'BatchNormTraining']);

/** A batch norm takes a rectifier along that alone reads it: its last pass writes the rectifier's value as fast as its own. */
function withRectifiers(
  instructions: readonly PlacedInstruction[], readers: ReadonlyMap<ValueKey, number>,
): readonly PlacedInstruction[] {
  const rectifiers = new Map(
    instructions.filter((each) => ceilingOf(each) !== undefined).map((each) => [each.values['x'] as ValueKey, each]),
  );
  const taken = new Set<Instruction>();
  const joined = instructions.map((each) => {
    const rectifier = rectifiers.get(each.output);
    if (!NORMS.has(each.kernel) || rectifier === undefined || readers.get(each.output) !== 1) return each;
    taken.add(rectifier);
    return {
      ...each,
      output: rectifier.output,
      attrs: { ...each.attrs, ceiling: ceilingOf(rectifier) },
    };
  });
  return joined.filter((each) => !taken.has(each));
}

/** tfjs's explicit padding. */
const explicit = ([top, bottom, left, right]: Padding): number[][] => [[0, 0], [top, bottom], [left, right], [0, 0]];

function instructionsOf(node: GraphNode, inputs: readonly Shape[], shape: Shape, graph: ModelGraph, training: boolean): Instruction[] {
  const x = node.inputs[0] as string;
  const imageShape = inside(inputs[0] as Shape);
  const parameter = (suffix: string): string => parameterName(node.name, suffix);
  const one = (kernel: string, attrs: Attributes = {}, more: Partial<Instruction> = {}): Instruction[] => [
    { output: node.name, kernel, values: { x }, parameters: {}, attrs, overwrites: false, ...more },
  ];
  const pool = (kernel: string, filterSize: readonly number[], strides: readonly number[], padding: Padding): Instruction[] =>
    one(kernel, { filterSize, strides, pad: explicit(padding), imageShape });
  switch (node.op) {
    case 'conv2d':
      return one(
        'Conv2D',
        { strides: node.stride, pad: explicit(node.padding), dilations: node.dilation, groups: node.groups },
        { parameters: weightAndBias(node, 'filter') },
      );
    case 'conv_transpose2d': {
      const [height, width] = shape.slice(1) as [number, number];
      return one(
        'TransposedConv2D',
        {
          strides: node.stride,
          pad: explicit(node.padding),
          dilations: node.dilation,
          groups: node.groups,
          outputShape: [height, width, node.out],
        },
        { parameters: weightAndBias(node, 'filter') },
      );
    }
    case 'relu':
      return one('Relu', {}, { overwrites: true });
    case 'relu6':
      return one('Clamp', { ceiling: 6 }, { overwrites: true });
    case 'leaky_relu':
      return one('LeakyRelu', { alpha: node.slope }, { overwrites: true });
    case 'tanh':
    case 'sigmoid':
    case 'silu':
    case 'gelu': {
      const map = node.op === 'gelu' && node.approximate === 'tanh' ? 'gelu (tanh)' : node.op;
      return one('SmoothMap', { map, slopes: training } satisfies SmoothMapAttributes, { overwrites: true });
    }
    case 'elu':
      return one('Elu', { alpha: node.alpha, slopes: training } satisfies EluAttributes, { overwrites: true });
    case 'hardswish':
      return one('Hardswish', { slopes: training } satisfies MapAttributes, { overwrites: true });
    case 'hardsigmoid':
      return one('HardSigmoid', {}, { overwrites: true });
    case 'max_pool':
      return pool('MaxPool', node.kernel, node.stride, node.padding);
    case 'average_pool':
      return pool('PaddedAveragePool', node.kernel, node.stride, node.padding);
    case 'global_max_pool':
      return pool('MaxPool', imageShape.slice(0, 2), [1, 1], [0, 0, 0, 0]);
    case 'global_average_pool':
      return pool('PaddedAveragePool', imageShape.slice(0, 2), [1, 1], [0, 0, 0, 0]);
    case 'adaptive_max_pool':
      return one('AdaptiveMaxPool', { size: node.size, imageShape });
    case 'adaptive_average_pool':
      return one('AdaptiveAveragePool', { size: node.size, imageShape });
    case 'group_norm':
      return one('GroupNorm', { groups: node.groups, epsilon: node.epsilon }, {
        parameters: { scale: parameter('weight'), offset: parameter('bias') },
      });
    case 'batch_norm': {
      const affine = { scale: parameter('weight'), offset: parameter('bias') };
      if (training) return one('BatchNormTraining', { epsilon: node.epsilon, node: node.name }, { parameters: affine });
      const running = { mean: parameter('running_mean'), variance: parameter('running_var') };
      return one('BatchNorm', { epsilon: node.epsilon }, { parameters: { ...affine, ...running }, overwrites: true });
    }
    case 'flatten':
      if (inputs[0]?.length === 2) return reinterpret(node, x, inputs[0], [elementCount(inputs[0])]);
      return one('FlattenChannelsFirst', { imageShape });
    case 'multiply': {
      // The factor a channel, if there is one, comes second.
      const [a, b] = elementCount(inputs[0] as Shape) >= elementCount(inputs[1] as Shape) ? node.inputs : node.inputs.toReversed();
      return one('MultiplyChannels', {}, { values: { a: a as string, b: b as string } });
    }
    case 'concat':
      return one('ConcatChannels', { widths: inputs.map(featuresOf) }, {
        values: Object.fromEntries(node.inputs.map((name, i) => [`x${i}`, name])),
      });
    case 'slice':
      return one('SliceChannels', { start: node.start, length: node.length, channels: featuresOf(inputs[0] as Shape) });
    case 'add': {
      const others = node.inputs.slice(1);
      const sums = others.map((_, i): ValueKey => (i + 1 === others.length ? node.name : Symbol(`${node.name} (first ${i + 2})`)));
      // The sum of the first two takes memory of its own, and the others are added to it.
      return others.map((b, i) => ({
        output: sums[i] as ValueKey, kernel: 'AddAlike', values: { x: sums[i - 1] ?? x, b }, parameters: {}, attrs: {}, overwrites: i > 0,
      }));
    }
    default:
      return isSequenceNode(node) ? sequenceInstructions(node, inputs, graph) : (node satisfies never);
  }
}
