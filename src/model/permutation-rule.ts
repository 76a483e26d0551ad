/** What a permutation rule says, and what many rules share. The rules stand in `permutation-rules*.ts`. */
import type { Axis, AxisSets } from './axis-sets.ts';
import type { GraphNode, NodeOf, OperationName, Shape } from './graph.ts';
import { featureAxis } from './operation-support.ts';

/** The axes of a value, without the batch axis. */
export type ValueAxes = readonly Axis[];

export interface NodeAxes {
  readonly value: ValueAxes;
  /** By the suffix of the parameter or buffer. */
  readonly parameters: Readonly<Record<string, readonly Axis[]>>;
}

interface RuleContext {
  /** Axes of the parameters of earlier nodes, for operations that share them. */
  readonly tensorAxes: ReadonlyMap<string, readonly Axis[]>;
  /** Tokens in the vocabulary of the network's input; 1 where it has none. */
  readonly vocabulary: number;
}

export type PermutationRule<K extends OperationName> = (
  node: NodeOf<K>, inputs: readonly ValueAxes[], shape: Shape, sets: AxisSets, context: RuleContext,
) => NodeAxes;

export const reasons = {
  input: 'network input',
  output: 'class axis of the output',
  spatial: 'spatial position',
  token: 'position of the token',
  vocabulary: 'number of the token',
  type: 'type of the token',
  mixed: 'mixed by the softmax',
  kernel: 'kernel position',
  single: 'one unit alone',
} as const;

export const first = (inputs: readonly ValueAxes[]): ValueAxes => inputs[0] ?? [];

/** The axis of a value's features. */
export const featuresOf = (value: ValueAxes): Axis => value[featureAxis(value)] ?? [];

/** The value with another axis of features. */
export const withFeatures = (value: ValueAxes, features: Axis): ValueAxes => value.with(featureAxis(value), features);

/** The operation acts on every element by itself, so what permutes its input permutes its output. */
export const elementwise = (_node: GraphNode, inputs: readonly ValueAxes[]): NodeAxes => ({ value: first(inputs), parameters: {} });
