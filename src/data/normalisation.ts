/** What images are normalised by: (byte ÷ 255 − mean) ÷ std. Bundles carry it, so that every command on one sees the images its networks were trained on. */
import { normalised } from '../data/image-set.ts';
import type { ImageSet } from '../data/image-set.ts';
import { UsageError } from './exit.ts';

/** Each a number per channel, or one for all. */
export interface Normalisation {
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

/** With a number per channel. @param of whose channels they are, in the error. @throws UsageError for another number of means or deviations. */
export function perChannel({ mean, std }: Normalisation, channels: number, of: string): Normalisation {
  const each = (option: string, values: readonly number[]): readonly number[] => {
    if (values.length === channels) return values;
    if (values.length === 1) return Array.from({ length: channels }, () => values[0] as number);
    throw new UsageError(`${option} has ${values.length} numbers; ${of} ${channels === 1 ? 'one channel' : `${channels} channels`}`);
  };
  return { mean: each('--pixel-mean', mean), std: each('--pixel-std', std) };
}

export function withNormalisation(set: ImageSet, normalisation: Normalisation): ImageSet {
  const { mean, std } = perChannel(normalisation, set.channels, `images of ${set.name} have`);
  return normalised(set, mean, std);
}

/** What goes into a bundle beside its record, only where images were normalised. */
export function normalisationRecord(normalisation: Normalisation | undefined): { readonly normalisation?: { readonly [key in keyof Normalisation]: readonly number[] } } {
  return normalisation === undefined ? {} : { normalisation: { ...normalisation } };
}

/** What a bundle says of it; undefined where it says nothing that could be one. */
export function recordedNormalisation(training: unknown): Normalisation | undefined {
  const { normalisation } = (training ?? {}) as { readonly normalisation?: { readonly mean?: unknown; readonly std?: unknown } | null };
  const { mean, std } = normalisation ?? {};
  return areNumbers(mean, 0) && areNumbers(std, 1e-6) ? { mean, std } : undefined;
}

function areNumbers(values: unknown, minimum: number): values is readonly number[] {
  return Array.isArray(values) && values.length > 0 && values.every((value) => typeof value === 'number' && value >= minimum && value <= 1);
}
