/** Labelled images as bytes: sets, and sets made of others. */
import { describe } from '../core/describe.ts';
import { InvalidArgumentError } from '../core/errors.ts';
import { requireInteger, requireList, requireMembers, requireNumber } from '../core/require.ts';
import { limits } from '../core/limits.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';

/** The input of a network is x = u8 · scale + offset per channel, each operation rounded to f32. */
export interface ImageSet {
  readonly name: string;
  /** [count, channels, height, width] */
  readonly images: Uint8Array;
  /** [count], each below `classes`. */
  readonly labels: Uint8Array;
  readonly count: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly classes: number;
  /** [channels] */
  readonly scale: readonly number[];
  /** [channels] */
  readonly offset: readonly number[];
}

/** u8 / 255: what `imageSet` uses unless told otherwise. */
const UNIT_SCALE = 1 / 255;

/** What `imageSet` makes a checked set of. */
export interface ImageSetFields {
  readonly name: string;
  /** [count, channels, height, width] */
  readonly images: Uint8Array;
  /** [count] */
  readonly labels: Uint8Array;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  /** Default: the largest label + 1. */
  readonly classes?: number;
  /** Per channel; default 1/255. */
  readonly scale?: readonly number[];
  /** Per channel; default 0. */
  readonly offset?: readonly number[];
  /** Without effect, and taken so that `{ ...set, images }` can be given: the images are counted anew. */
  readonly count?: number;
}

const fieldNames: OptionNames<ImageSetFields> = {
  name: true, images: true, labels: true, channels: true, height: true, width: true, classes: true, scale: true, offset: true, count: true,
};

/**
 * A checked image set; `count` is taken from the labels, `classes` from the largest label unless given.
 * @throws InvalidArgumentError for no images, sizes that disagree, or a label that is not below `classes`.
 */
export function imageSet(fields: ImageSetFields): ImageSet {
  requireMembers('fields', fields, ['name', 'images', 'labels', 'channels', 'height', 'width']);
  requireOptions('imageSet', fields, fieldNames);
  const { name, images, labels } = fields;
  const channels = requireInteger(`${name}.channels`, fields.channels, 1, 4096);
  const height = requireInteger(`${name}.height`, fields.height, 1, 65_536);
  const width = requireInteger(`${name}.width`, fields.width, 1, 65_536);
  // Of other arrays floats would be read as bytes, and labels below 0 or text pass for class 0.
  for (const [what, value] of [['images', images], ['labels', labels]] as const)
    if (!(value instanceof Uint8Array))
      throw new InvalidArgumentError({ field: `${name}.${what}`, expected: 'a Uint8Array, a byte each', got: describe(value) });
  const count = labels.length;
  if (count === 0) throw new InvalidArgumentError({ field: `${name}.labels`, expected: 'at least one image', got: 'none' });
  if (images.length !== count * channels * height * width) {
    throw new InvalidArgumentError({
      field: `${name}.images`,
      expected: `${count} images of ${channels}×${height}×${width} bytes`,
      got: `${images.length} bytes`,
    });
  }
  let largest = 0;
  for (const label of labels) if (label > largest) largest = label;
  const classes = fields.classes === undefined ? largest + 1 : requireInteger(`${name}.classes`, fields.classes, 1, limits.classes);
  if (largest >= classes) {
    throw new InvalidArgumentError({
      field: `${name}.labels[${labels.indexOf(largest)}]`,
      expected: `a label below ${classes}`,
      got: `${largest}`,
    });
  }
  const perChannel = (what: string, values: readonly number[] | undefined, fallback: number): readonly number[] => {
    if (values === undefined) return Array.from({ length: channels }, () => fallback);
    if (values.length !== channels) {
      throw new InvalidArgumentError({ field: `${name}.${what}`, expected: `${channels} numbers`, got: describe(values) });
    }
    return values.map((value) => requireNumber(`${name}.${what}`, value));
  };
  return {
    name,
    images,
    labels,
    count,
    channels,
    height,
    width,
    classes,
    scale: perChannel('scale', fields.scale, UNIT_SCALE),
    offset: perChannel('offset', fields.offset, 0),
  };
}

/**
 * The usual normalisation (u8 / 255 − mean) / standard deviation as scale and offset. Pixels and labels are shared with `set`.
 * @param mean per channel, of values in 0 … 1; `standardDeviation` likewise, above 0
 * @throws InvalidArgumentError where either is not one number a channel.
 */
export function normalised(set: ImageSet, mean: readonly number[], standardDeviation: readonly number[]): ImageSet {
  requireImages(set);
  requireList('mean', mean, (field, value) => requireNumber(field, value, -Number.MAX_VALUE, Number.MAX_VALUE));
  requireList('standardDeviation', standardDeviation, (field, value) => requireNumber(field, value, Number.MIN_VALUE));
  return imageSet({
    ...set,
    scale: standardDeviation.map((deviation) => 1 / (255 * deviation)),
    offset: standardDeviation.map((deviation, channel) => -(mean[channel] ?? Number.NaN) / deviation),
  });
}

/** Mean and standard deviation of each channel in 0 … 1, over all images; sums of integers, so exact in any order. */
export function channelStatistics(set: ImageSet): { mean: number[]; standardDeviation: number[] } {
  requireImages(set);
  const { channels, height, width, count, images } = set;
  const area = height * width;
  const mean: number[] = [];
  const standardDeviation: number[] = [];
  for (let channel = 0; channel < channels; channel++) {
    let sum = 0;
    let squares = 0;
    for (let image = 0; image < count; image++) {
      const start = (image * channels + channel) * area;
      for (let i = start; i < start + area; i++) {
        const value = images[i] as number;
        sum += value;
        squares += value * value;
      }
    }
    const average = sum / (count * area);
    mean.push(average / 255);
    standardDeviation.push(Math.sqrt(Math.max(0, squares / (count * area) - average * average)) / 255);
  }
  return { mean, standardDeviation };
}

/**
 * The rows of `set` as a set of its own (copied), in the order given. @throws InvalidArgumentError for no rows, or one
 * that `set` does not have.
 */
export function selectRows(set: ImageSet, rows: Int32Array | readonly number[], name?: string): ImageSet {
  requireImages(set);
  requireMembers('rows', rows, ['length'], 'numbers of rows');
  const size = set.channels * set.height * set.width;
  const images = new Uint8Array(rows.length * size);
  const labels = new Uint8Array(rows.length);
  for (let i = 0; i < rows.length; i++) {
    const row = requireInteger(`rows[${i}]`, rows[i], 0, set.count - 1);
    images.set(set.images.subarray(row * size, (row + 1) * size), i * size);
    labels[i] = set.labels[row] as number;
  }
  return imageSet({ ...set, name: name ?? set.name, images, labels });
}

/**
 * The images of some classes only, relabelled 0 … k − 1 in the order given (the ten-class subset of CIFAR-100, say).
 * @throws InvalidArgumentError for a class that occurs twice, is out of range or has no image.
 */
export function selectClasses(set: ImageSet, classes: readonly number[]): ImageSet {
  requireImages(set);
  requireList('classes', classes, (_, label) => label);
  const relabelled = new Map<number, number>();
  for (const [index, label] of classes.entries()) {
    requireInteger(`classes[${index}]`, label, 0, set.classes - 1);
    if (relabelled.has(label) || !set.labels.includes(label)) {
      throw new InvalidArgumentError({ field: `classes[${index}]`, expected: 'a class that has images, named once', got: `${label}` });
    }
    relabelled.set(label, index);
  }
  const rows = Int32Array.from(set.labels.keys()).filter((row) => relabelled.has(set.labels[row] as number));
  const selected = selectRows(set, rows);
  return imageSet({ ...selected, labels: selected.labels.map((label) => relabelled.get(label) as number), classes: classes.length });
}

/** The set with every `factor` × `factor` block of pixels averaged (rounded half up); incomplete blocks at the edges are dropped. */
export function shrink(set: ImageSet, factor: number): ImageSet {
  requireInteger('factor', factor, 1, Math.min(set.height, set.width));
  const height = Math.floor(set.height / factor);
  const width = Math.floor(set.width / factor);
  const planes = set.count * set.channels;
  const images = new Uint8Array(planes * height * width);
  for (let plane = 0; plane < planes; plane++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        let sum = 0;
        for (let dy = 0; dy < factor; dy++) {
          const start = (plane * set.height + y * factor + dy) * set.width + x * factor;
          for (let dx = 0; dx < factor; dx++) sum += set.images[start + dx] as number;
        }
        images[(plane * height + y) * width + x] = Math.floor(sum / (factor * factor) + 0.5);
      }
    }
  }
  return imageSet({ ...set, images, height, width });
}

export function requireImages(set: unknown): void {
  requireMembers('set', set, ['images', 'labels', 'channels'], 'a set of images: imageSet(), imageSetFromIdx() …');
}
