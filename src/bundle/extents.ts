/** Shapes that files state. */
import { describe } from '../core/describe.ts';
import { LimitError, MalformedFileError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';

/**
 * Elements of a shape read from a file. Every partial product of its non-zero extents is within the cap: whether [0, 2^60, 2^60]
 * overflows must not depend on the order of the factors.
 * @param field what the shape is called in errors.
 * @throws MalformedFileError for an extent that is no integer ≥ 0, LimitError beyond `limits.tensorRank` or `limits.tensorElements`.
 */
export function countElements(field: string, shape: readonly number[]): number {
  if (shape.length > limits.tensorRank) {
    throw new LimitError({ field, expected: `at most ${limits.tensorRank} axes`, got: `${shape.length}` });
  }
  let product = 1;
  for (const extent of shape) {
    if (!Number.isSafeInteger(extent) || extent < 0) {
      throw new MalformedFileError({ field, expected: 'extents that are integers ≥ 0', got: describe(extent) });
    }
    product *= Math.max(extent, 1);
    if (product > limits.tensorElements) {
      throw new LimitError({ field, expected: `at most ${limits.tensorElements} elements`, got: `[${shape.join(', ')}]` });
    }
  }
  return shape.includes(0) ? 0 : product;
}
