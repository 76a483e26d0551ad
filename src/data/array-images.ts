/** Images as arrays of bytes, the way numpy has them: grey or colour, channels last or first. */
import { describe } from '../core/describe.ts';
import { InvalidArgumentError } from '../core/errors.ts';
import { requireList, requireInteger, requireMembers } from '../core/require.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';
import { imageSet } from './image-set.ts';
import type { ImageSet } from './image-set.ts';

export interface ArrayImagesFields {
  readonly name: string;
  /** [count, height, width], [count, height, width, channels] or [count, channels, height, width]. */
  readonly shape: readonly number[];
  readonly images: Uint8Array;
  /** [count] */
  readonly labels: Uint8Array;
  /** Default: the largest label + 1. */
  readonly classes?: number;
}

const fieldNames: OptionNames<ArrayImagesFields> = { name: true, shape: true, images: true, labels: true, classes: true };

/** An axis of at most so many is one of channels. */
const MOST_CHANNELS = 4;

/**
 * An image set from an array. Channels are the axis of at most four; images of four pixels and fewer on a side are taken to have
 * them last.
 * @throws InvalidArgumentError for other shapes, sizes that disagree and labels that are not below `classes`.
 */
export function imageSetFromArray(fields: ArrayImagesFields): ImageSet {
  requireMembers('fields', fields, ['name', 'shape', 'images', 'labels']);
  requireOptions('imageSetFromArray', fields, fieldNames);
  const { name, images, labels, classes } = fields;
  const shape = requireList(`${name}.shape`, fields.shape, (field, extent) => requireInteger(field, extent, 1, 2 ** 31));
  const [count = 0, ...axes] = shape;
  // Here, since the shape's own count decides how channels are moved, and `imageSet` takes that of the labels.
  if (labels.length !== count)
    throw new InvalidArgumentError({ field: `${name}.labels`, expected: `${count}, one an image`, got: `${labels.length}` });
  const make = (channels: number, height: number, width: number, planes: Uint8Array): ImageSet =>
    imageSet({ name, images: planes, labels, channels, height, width, ...(classes === undefined ? {} : { classes }) });
  const [first, second, third] = axes as [number, number, number];
  if (axes.length === 2) return make(1, first, second, images);
  if (axes.length === 3 && third <= MOST_CHANNELS) return make(third, first, second, channelsFirst(images, count, first * second, third));
  if (axes.length === 3 && first <= MOST_CHANNELS) return make(first, second, third, images);
  throw new InvalidArgumentError({
    field: `${name}.shape`,
    expected: `[count, height, width], with up to ${MOST_CHANNELS} channels last or before the height`,
    got: describe(shape),
  });
}

/** [count, pixels, channels] → [count, channels, pixels]. Sizes that disagree are told by `imageSet`. */
function channelsFirst(images: Uint8Array, count: number, pixels: number, channels: number): Uint8Array {
  const size = pixels * channels;
  if (channels === 1 || images.length !== count * size) return images;
  const planes = new Uint8Array(images.length);
  for (let image = 0; image < count; image++) {
    for (let channel = 0; channel < channels; channel++) {
      const plane = image * size + channel * pixels;
      for (let pixel = 0, at = image * size + channel; pixel < pixels; pixel++, at += channels)
        planes[plane + pixel] = images[at] as number;
    }
  }
  return planes;
}
