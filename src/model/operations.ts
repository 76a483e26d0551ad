/**
 * What every operation accepts, gives and owns: one rule a kind, those of activations here, the others in the files of
 * their families. A new operation is a member of `Operations` in `operation-types.ts` and a rule; how it carries
 * permutations stands in `permutation-rules.ts`, its arithmetic in `gradient/`.
 */
import type { FieldReader } from './fields.ts';
import type { GraphNode, OperationName, OperationOf, Shape } from './operation-types.ts';
import { elementwise, type GraphContext, type OperationRule, type ParameterDeclaration } from './operation-support.ts';
import { combiningRules } from './operations-combining.ts';
import { imageRules } from './operations-image.ts';
import { sequenceRules } from './operations-sequence.ts';

const rules: { readonly [K in OperationName]: OperationRule<K> } = {
  ...imageRules,
  ...combiningRules,
  ...sequenceRules,
  relu: elementwise(() => ({ op: 'relu' })),
  silu: elementwise(() => ({ op: 'silu' })),
  hardswish: elementwise(() => ({ op: 'hardswish' })),
  hardsigmoid: elementwise(() => ({ op: 'hardsigmoid' })),
  relu6: elementwise(() => ({ op: 'relu6' })),
  tanh: elementwise(() => ({ op: 'tanh' })),
  sigmoid: elementwise(() => ({ op: 'sigmoid' })),
  leaky_relu: elementwise((fields) => ({ op: 'leaky_relu', slope: fields.number('slope', 0.01, 0, 1) })),
  elu: elementwise((fields) => ({ op: 'elu', alpha: fields.number('alpha', 1, 0, 1e6) })),
  gelu: elementwise((fields) => ({ op: 'gelu', approximate: fields.choice('approximate', ['none', 'tanh'], 'none') })),
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
