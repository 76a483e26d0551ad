/**
 * What images are normalised by: (byte ÷ 255 − mean) ÷ std. Bundles carry it, so that whatever reads one shows its
 * networks the images that they were trained on.
 */
import { InvalidArgumentError } from '../core/errors.ts';
import { normalised } from './image-set.ts';
import type { ImageSet } from './image-set.ts';

/** Each a number per channel, or one for all. */
export interface Normalisation {
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

/** With a number per channel. @throws InvalidArgumentError for another number of means or deviations. */
export function perChannel({ mean, std }: Normalisation, channels: number): Normalisation {
  const each = (field: string, values: readonly number[]): readonly number[] => {
    if (values.length === channels) return values;
    if (values.length === 1) return Array.from({ length: channels }, () => values[0] as number);
    throw new InvalidArgumentError({
      field,
      expected: channels === 1 ? 'one number, for one channel' : `one number, or ${channels} for as many channels`,
      got: `${values.length}`,
    });
  };
  return { mean: each('pixelMean', mean), std: each('pixelStd', std) };
}

export function withNormalisation(set: ImageSet, normalisation: Normalisation): ImageSet {
  const { mean, std } = perChannel(normalisation, set.channels);
  return normalised(set, mean, std);
}

/** What goes into a bundle beside its record, only where images were normalised. */
export function normalisationRecord(normalisation: Normalisation | undefined): {
  readonly normalisation?: { readonly [key in keyof Normalisation]: readonly number[] };
} {
  return normalisation === undefined ? {} : { normalisation: { ...normalisation } };
}

/** What a bundle says of it; undefined where it says nothing that could be one. */
export function recordedNormalisation(training: unknown): Normalisation | undefined {
  const { normalisation } = (training ?? {}) as { readonly normalisation?: { readonly mean?: unknown; readonly std?: unknown } | null };
  const { mean, std } = normalisation ?? {};
  return areNumbers(mean, 0) && areNumbers(std, SMALLEST_DEVIATION) ? { mean, std } : undefined;
}

/** Of values in 0 … 1; smaller ones would make inputs of millions. */
export const SMALLEST_DEVIATION = 1e-6;

function areNumbers(values: unknown, minimum: number): values is readonly number[] {
  return Array.isArray(values) && values.length > 0 && values.every((value) => typeof value === 'number' && value >= minimum && value <= 1);
}
