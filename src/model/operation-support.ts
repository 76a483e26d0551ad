/** What the rules of operations are made of: their type, shapes of windows, and the refusal of inputs that do not fit. */
import { describe, listed } from '../core/describe.ts';
import { InvalidArgumentError } from '../core/errors.ts';
import type { FieldReader } from './fields.ts';
import type { ModelGraph, NodeOf, OperationName, OperationOf, Padding, Pair, ParameterRole, Shape } from './operation-types.ts';

export interface ParameterDeclaration {
  readonly suffix: string;
  readonly shape: Shape;
  readonly role: ParameterRole;
  readonly fanIn: number;
  readonly outAxis?: number;
  readonly initial?: number;
}

/** What a rule may know of the network around its node. */
export type GraphContext = Pick<ModelGraph, 'input' | 'vocabulary' | 'padding' | 'nodes'>;

export interface OperationRule<K extends OperationName> {
  /** Fewest and most inputs. */
  readonly arity: readonly [number, number];
  /** The operation's own fields; the caller refuses what is left. */
  readonly parse: (fields: FieldReader) => OperationOf<K>;
  /** Shape of the value. @throws InvalidArgumentError where the inputs do not fit. */
  readonly shape: (node: NodeOf<K>, inputs: readonly Shape[], graph: GraphContext) => Shape;
  /** Parameters and buffers in PyTorch's order. */
  readonly parameters: (node: NodeOf<K>, inputs: readonly Shape[], graph: GraphContext) => readonly ParameterDeclaration[];
}

export const ONE: readonly [number, number] = [1, 1];
export const none = (): readonly ParameterDeclaration[] => [];

export interface Named {
  readonly name: string;
  readonly op: string;
}

/** How errors name a node. */
export function nodePath(node: Named): string {
  return `graph node ${describe(node.name)} (${node.op})`;
}

export function misfit(node: Named, expected: string, got: string): never {
  throw new InvalidArgumentError({ field: nodePath(node), expected, got });
}

export const show = (shape: Shape): string => `[${shape.join(', ')}]`;

export const showAll = (shapes: readonly Shape[]): string => listed(shapes.map(show), ' and ');

/** The one input as [channels, height, width]. */
export function asImage(node: Named, inputs: readonly Shape[]): readonly [number, number, number] {
  const [channels, height, width, ...rest] = inputs[0] ?? [];
  if (channels === undefined || height === undefined || width === undefined || rest.length > 0) {
    return misfit(node, 'an input of shape [channels, height, width]', show(inputs[0] ?? []));
  }
  return [channels, height, width];
}

export const first = (inputs: readonly Shape[]): Shape => inputs[0] ?? [];

/** Where the features of a value stand among its axes: the channels of an image, the last axis of everything else. */
export function featureAxis(value: { readonly length: number }): number {
  return value.length === 3 ? 0 : value.length - 1;
}

export function featuresOf(shape: Shape): number {
  return shape[featureAxis(shape)] as number;
}

/** floor((extent + padding − dilation · (kernel − 1) − 1) / stride) + 1: the windows that fit, as PyTorch counts them. */
export function windows(
  node: Named,
  [, height, width]: readonly [number, number, number],
  [kernelHeight, kernelWidth]: Pair,
  [strideHeight, strideWidth]: Pair,
  [top, bottom, left, right]: Padding,
  [dilationHeight, dilationWidth]: Pair,
): Pair {
  const rows = Math.floor((height + top + bottom - dilationHeight * (kernelHeight - 1) - 1) / strideHeight) + 1;
  const columns = Math.floor((width + left + right - dilationWidth * (kernelWidth - 1) - 1) / strideWidth) + 1;
  if (rows < 1 || columns < 1) {
    misfit(node, `an input that holds one window of ${kernelHeight}×${kernelWidth}`, `${height}×${width} before padding`);
  }
  return [rows, columns];
}

/** An operation without parameters that leaves the shape as it is. */
export function elementwise<K extends OperationName>(parse: (fields: FieldReader) => OperationOf<K>): OperationRule<K> {
  return { arity: ONE, parse, shape: (_node, inputs) => first(inputs), parameters: none };
}
