/** A gradient pair as matching takes it: checked against the layout, cut into the layout's pieces and weighed. */
import { getTensor, requireFinite, requireSameLayout, requireWhole } from '../tensor/tensor.ts';
import type { NamedTensors } from '../tensor/tensor.ts';
import { selectPiece } from './arrangement.ts';
import type { MatchingLayout } from './layout.ts';
import { pairSums, pairWeights } from './pair-weights.ts';
import type { PairWeights } from './pair-weights.ts';
import { requireSpecShape, specOf } from './permutation.ts';

/** Both sides of an entry of the layout, unscaled. */
export interface PairPiece {
  readonly target: Float32Array;
  readonly source: Float32Array;
  readonly weights: PairWeights;
}

/**
 * Every entry of the layout that the pair has, by name, in the layout's order.
 * @throws InvalidArgumentError where the two disagree, a shape is not the spec's or data are not of their shape;
 *   NotFiniteError for NaN or infinities.
 */
export function pairPieces(
  layout: MatchingLayout,
  target: NamedTensors,
  source: NamedTensors,
  normalise: boolean,
): ReadonlyMap<string, PairPiece> {
  requireSameLayout('source', target, source);
  requireKnownShapes(layout, target);
  for (const [role, tensors] of [
    ['target', target],
    ['source', source],
  ] as const)
    requireWhole(role, tensors);
  const pieces = new Map(
    [...layout.statics, ...layout.paired].flatMap(({ name, tensor, selection }): [string, PairPiece][] => {
      const data = target.get(tensor)?.data;
      if (data === undefined) return [];
      const [t, s] = [selectPiece(selection, data), selectPiece(selection, getTensor(source, tensor).data)];
      return [[name, { target: t, source: s, weights: pairWeights(pairSums(t, s), normalise) }]];
    }),
  );
  // A sum of squares of f32 in f64 is finite exactly when every element is: the elements are only looked at to name one.
  if (![...pieces.values()].every(({ weights }) => Number.isFinite(weights.squaredNorms))) {
    requireFinite('gradient of target', target);
    requireFinite('gradient of source', source);
  }
  return pieces;
}

function requireKnownShapes({ spec, paired }: MatchingLayout, tensors: NamedTensors): void {
  for (const [name, tensor] of tensors) requireSpecShape(specOf(spec, name), tensor, name);
  for (const { tensor } of paired) getTensor(tensors, tensor);
}
