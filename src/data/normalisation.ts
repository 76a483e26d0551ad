/**
 * What images are normalised by: (byte ÷ 255 − mean) ÷ std, or byte ÷ maximum. Bundles carry it, so that whatever reads one shows its
 * networks the images that they were trained on.
 */
import { listed } from '../core/describe.ts';
import { InvalidArgumentError } from '../core/errors.ts';
import { isImageSet } from './data-set.ts';
import type { DataSet } from './data-set.ts';
import { normalised, requireImages } from './image-set.ts';
import type { ImageSet } from './image-set.ts';

/** Each a number per channel, or one for all. */
export interface Normalisation {
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

/** What errors call the two. */
interface NormalisationFields {
  readonly mean: string;
  readonly std: string;
}

const optionFields: NormalisationFields = { mean: 'pixelMean', std: 'pixelStd' };

/** With a number per channel. @throws InvalidArgumentError for another number of means or deviations. */
function perChannel({ mean, std }: Normalisation, channels: number, fields = optionFields): Normalisation {
  const each = (field: string, values: readonly number[]): readonly number[] => {
    if (values.length === channels) return values;
    if (values.length === 1) return Array.from({ length: channels }, () => values[0] as number);
    throw new InvalidArgumentError({
      field,
      expected: channels === 1 ? 'one number, for one channel' : `one number, or ${channels} for as many channels`,
      got: `${values.length}`,
    });
  };
  return { mean: each(fields.mean, mean), std: each(fields.std, std) };
}

/**
 * What the images of a network were normalised by, with a number per channel. @param input that of its graph: vectors tell no channels,
 * so that it is as given then. @throws as `perChannel`.
 */
export function normalisationFor(input: readonly number[], given: Normalisation, fields = optionFields): Normalisation {
  return input.length === 1 ? given : perChannel(given, input[0] as number, fields);
}

export function withNormalisation(set: ImageSet, normalisation: Normalisation): ImageSet {
  const { mean, std } = perChannel(normalisation, set.channels);
  return normalised(set, mean, std);
}

/** What goes into a bundle beside its record: nothing where images were met as byte ÷ 255, or by scales of a library's caller. */
interface NormalisationRecord {
  readonly normalisation?: Normalisation;
  /** The byte that is 1 to the network, where that is not 255. */
  readonly pixelMaximum?: number;
}

/** @param set what was trained on, where it is at hand: of few grey levels its largest byte is 1 to the network. */
export function normalisationRecord(normalisation: Normalisation | undefined, set?: DataSet): NormalisationRecord {
  if (normalisation !== undefined) return { normalisation: { ...normalisation } };
  if (set === undefined || !isImageSet(set)) return {};
  const [scale = 0] = set.scale;
  const pixelMaximum = Math.round(1 / scale);
  const isOne = pixelMaximum < 255 && scale === 1 / pixelMaximum && set.scale.every((each) => each === scale);
  return isOne && set.offset.every((each) => each === 0) ? { pixelMaximum } : {};
}

/** What a bundle says of it; undefined where it says nothing that could be one. */
export function recordedNormalisation(training: unknown): Normalisation | undefined {
  const { normalisation } = (training ?? {}) as { readonly normalisation?: { readonly mean?: unknown; readonly std?: unknown } | null };
  const { mean, std } = normalisation ?? {};
  return areNumbers(mean, 0) && areNumbers(std, SMALLEST_DEVIATION) ? { mean, std } : undefined;
}

/** The byte that entered its networks as 1, where a bundle says so. */
export function recordedPixelMaximum(training: unknown): number | undefined {
  const { pixelMaximum: maximum } = (training ?? {}) as { readonly pixelMaximum?: unknown };
  return typeof maximum === 'number' && Number.isInteger(maximum) && maximum >= 1 && maximum <= 255 ? maximum : undefined;
}

/**
 * The images as the networks of a trajectory met them: normalised, or with the byte as 1, that its `training` says, and as they are
 * where that says nothing.
 * @param training the `training` of an opened bundle. @throws InvalidArgumentError where it is of another number of channels, or a
 *   pixel is above that byte.
 */
export function normalisedAsRecorded(set: ImageSet, training: unknown): ImageSet {
  const recorded = recordedNormalisation(training);
  requireImages(set);
  if (recorded !== undefined) {
    const other = [recorded.mean, recorded.std].find(({ length }) => length !== 1 && length !== set.channels);
    if (other === undefined) return withNormalisation(set, recorded);
    throw new InvalidArgumentError({
      field: 'images', expected: `${other.length} channels, as of those that the source was trained on`, got: `${set.channels}`,
    });
  }
  const maximum = recordedPixelMaximum(training);
  if (maximum === undefined) return set;
  const over = set.images.find((byte) => byte > maximum);
  if (over === undefined) return { ...set, scale: set.scale.map(() => 1 / maximum), offset: set.offset.map(() => 0) };
  throw new InvalidArgumentError({
    field: 'images', expected: `pixels of at most ${maximum}, as the bundle was trained on`, got: `${over}`,
  });
}

/**
 * @throws InvalidArgumentError for images that enter a network otherwise than a trajectory's record says. Where it names the byte that
 *   is 1, images with a byte above that are of another depth and have another such byte: these may have any scale.
 */
export function requireNormalisation(field: string, set: ImageSet, training: unknown): void {
  const recorded = recordedNormalisation(training);
  const maximum = recordedPixelMaximum(training);
  if (recorded === undefined && maximum === undefined) return;
  const { scale, offset } = recorded === undefined
    ? { scale: set.scale.map(() => 1 / (maximum ?? 255)), offset: set.offset.map(() => 0) }
    : withNormalisation(set, recorded);
  // However they were computed: another order of the same operations is no other normalisation.
  const near = (got: readonly number[], wanted: readonly number[]): boolean =>
    wanted.every((value, channel) => Math.abs((got[channel] ?? Number.NaN) - value) <= 1e-6 * Math.max(1, Math.abs(value)));
  const hasScale = near(set.scale.map((each) => 255 * each), scale.map((each) => 255 * each));
  const isDeeper = (): boolean => recorded === undefined && maximum !== undefined && set.images.some((byte) => byte > maximum);
  if (near(set.offset, offset) && (hasScale || isDeeper())) return;
  const how = recorded === undefined
    ? `as byte ÷ ${maximum}, as the source's were`
    : `normalised as the source's were, by mean ${numbers(recorded.mean)} and deviation ${numbers(recorded.std)}`;
  throw new InvalidArgumentError({
    field,
    expected: `images ${how} (normalisedAsRecorded(images, source.training))`,
    got: `scale ${numbers(set.scale)} and offset ${numbers(set.offset)}`,
  });
}

/** One a channel, of which a network of vectors has as many as it has inputs. */
const numbers = (values: readonly number[]): string => listed(values.map(String));

/** Smallest deviation of values in 0 … 1: below it inputs would be millions. */
export const SMALLEST_DEVIATION = 1e-6;

function areNumbers(values: unknown, minimum: number): values is readonly number[] {
  return Array.isArray(values) && values.length > 0 && values.every((value) => typeof value === 'number' && value >= minimum && value <= 1);
}
