/** What a gradient history takes, known before anything is computed. */
import { requireSpec } from './permutation.ts';
import { requireInteger } from '../core/require.ts';
import type { PermutationSpec } from '../model/permutation-spec.ts';
import { matchingLayout } from './layout.ts';
import type { MatchingLayout } from './layout.ts';
import { staticSumBytes } from './static-sum.ts';
import { outer } from './term-product.ts';

/** What a history of `pairs` gradient pairs takes at most; rows and columns of zeros are not stored. */
export interface HistorySize {
  /** Independent of the number of pairs: the summed similarity matrices. */
  readonly fixedBytes: number;
  /** Stored gradients of a pair, as f32. */
  readonly bytesPerPair: number;
  /** The same as 8-bit codes. */
  readonly codedBytesPerPair: number;
  /** fixedBytes + pairs · bytesPerPair. */
  readonly totalBytes: number;
}

/**
 * Bytes of a history, before anything is computed. @throws InvalidArgumentError unless `pairs` is an integer ≥ 0, and
 * as `matchingLayout` does.
 */
export function historySize(spec: PermutationSpec, pairs: number, frozenGroups: readonly string[] = []): HistorySize {
  requireSpec(spec);
  return sizeOf(matchingLayout(spec, frozenGroups), requireInteger('pairs', pairs, 0));
}

export function sizeOf(layout: MatchingLayout, pairs: number): HistorySize {
  const summed = new Set(layout.statics.map(({ group }) => group));
  let fixedBytes = 0;
  layout.groups.forEach(({ size }, index) => {
    if (summed.has(index)) fixedBytes += staticSumBytes(size);
  });
  // Target and source, 4 bytes each.
  const bytesPerPair = layout.paired.reduce((bytes, { elements }) => bytes + 8 * elements, 0);
  const codedBytesPerPair = layout.paired.reduce((bytes, { elements, rows, slices }) => bytes + 2 * (elements + 4 * rows * slices), 0);
  return { fixedBytes, bytesPerPair, codedBytesPerPair, totalBytes: fixedBytes + pairs * bytesPerPair };
}

/** What descents remember beside it of similarities, at most, as far as the budget leaves room: of each term two matrices. */
export function rememberedBytes(layout: MatchingLayout): number {
  return 8 * layout.groups.reduce((sum, { terms }) => terms.reduce((of, term) => of + outer(term) * outer(term), sum), 0);
}
