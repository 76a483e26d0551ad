/** Rows of a set, of images or tokens, in training and held-out ones. */
import { InvalidArgumentError } from '../core/errors.ts';
import { requireInteger, requireNumber } from '../core/require.ts';
import { Random, streams } from '../tensor/random.ts';

/**
 * Rows 0 … count − 1 in two random parts, each in ascending order. The held-out part has `fraction` of them, rounded,
 * but at least one where `fraction` > 0.
 * @throws InvalidArgumentError where no training row would be left.
 */
export function splitRows(count: number, fraction: number, seed: number): { training: Int32Array; heldOut: Int32Array } {
  const heldOut = heldOutCount(count, fraction);
  const order = new Random(seed, streams.split).permutation(count);
  return { heldOut: order.slice(0, heldOut).toSorted(), training: order.slice(heldOut).toSorted() };
}

/** How many of `count` rows `splitRows` holds out. @throws as that. */
export function heldOutCount(count: number, fraction: number): number {
  requireInteger('count', count, 1, 2 ** 31 - 1);
  requireNumber('heldOutFraction', fraction, 0, 1);
  const heldOut = fraction === 0 ? 0 : Math.max(1, Math.round(count * fraction));
  if (heldOut < count) return heldOut;
  throw new InvalidArgumentError({
    field: 'heldOutFraction',
    expected: 'a fraction that leaves at least one row for training',
    got: `${fraction} of ${count} rows`,
  });
}
