/**
 * Labelled images as bytes, their split into training and held-out rows, and seeded mini-batches.
 */
import { InvalidArgumentError, describe, requireInteger, requireNumber } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { Random, streams } from '../tensor/random.ts';

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

/** What a network is fed at once. */
export interface Batch {
  /** [count, channels, height, width]; token numbers [count, tokens] as integers. */
  readonly inputs: Float32Array | Int32Array;
  /** [count]; [count, tokens] where each token has a label of its own. */
  readonly labels: Int32Array;
  readonly count: number;
}

/** u8 / 255: what `imageSet` uses unless told otherwise. */
const UNIT_SCALE = 1 / 255;

/**
 * A checked image set; `count` is taken from the labels, `classes` from the largest label unless given.
 * @throws InvalidArgumentError for no images, sizes that disagree, or a label that is not below `classes`.
 */
export function imageSet(fields: {
  readonly name: string;
  readonly images: Uint8Array;
  readonly labels: Uint8Array;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly classes?: number;
  readonly scale?: readonly number[];
  readonly offset?: readonly number[];
}): ImageSet {
  const { name, images, labels } = fields;
  const channels = requireInteger(`${name}.channels`, fields.channels, 1, 4096);
  const height = requireInteger(`${name}.height`, fields.height, 1, 65_536);
  const width = requireInteger(`${name}.width`, fields.width, 1, 65_536);
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
 * The usual normalisation (u8 / 255 − mean) / standard deviation as scale and offset.
 * @param mean per channel, of values in 0 … 1
 */
export function normalised(set: ImageSet, mean: readonly number[], standardDeviation: readonly number[]): ImageSet {
  for (const value of standardDeviation) requireNumber('standardDeviation', value, Number.MIN_VALUE);
  return imageSet({
    ...set,
    scale: standardDeviation.map((deviation) => 1 / (255 * deviation)),
    offset: standardDeviation.map((deviation, channel) => -(mean[channel] ?? Number.NaN) / deviation),
  });
}

/** Mean and standard deviation of each channel in 0 … 1, over all images; sums of integers, so exact in any order. */
export function channelStatistics(set: ImageSet): { mean: number[]; standardDeviation: number[] } {
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
 * The rows of a set as a mini-batch, in the order given (a row may occur more than once).
 * @param into a batch whose memory is taken where it suffices; it is not to be read any more.
 * @throws InvalidArgumentError for no rows or one out of range.
 */
export function makeBatch(set: ImageSet, rows: Int32Array | readonly number[], into?: Batch): Batch {
  if (rows.length === 0) throw new InvalidArgumentError({ field: 'rows', expected: 'at least one row', got: 'none' });
  const { channels, images } = set;
  const area = set.height * set.width;
  const tables = tablesOf(set);
  const inputs = new Float32Array(...room(rows.length * channels * area, into?.inputs));
  const labels = new Int32Array(...room(rows.length, into?.labels));
  let to = 0;
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i] as number;
    if (!Number.isInteger(row) || row < 0 || row >= set.count) {
      throw new InvalidArgumentError({ field: `rows[${i}]`, expected: `a row in [0, ${set.count - 1}]`, got: `${row}` });
    }
    labels[i] = set.labels[row] as number;
    let from = row * channels * area;
    for (let channel = 0; channel < channels; channel++) {
      const table = tables[channel] as Float32Array;
      for (const end = to + area; to < end; to++, from++) inputs[to] = table[images[from] as number] as number;
    }
  }
  return { inputs, labels, count: rows.length };
}

/** What a typed array of so many elements of four bytes is made of: the memory of `array`, or new. */
export function room(elements: number, array: Float32Array | Int32Array | undefined): [ArrayBufferLike, number, number] {
  return array !== undefined && array.buffer.byteLength >= 4 * elements ? [array.buffer, 0, elements] : [new ArrayBuffer(4 * elements), 0, elements];
}

/** A set's tables, made once: 0.2 ms each, for every mini-batch. */
const knownTables = new WeakMap<ImageSet, readonly Float32Array[]>();

function tablesOf(set: ImageSet): readonly Float32Array[] {
  const known = knownTables.get(set) ?? set.scale.map((scale, channel) => transformTable(scale, set.offset[channel] as number));
  knownTables.set(set, known);
  return known;
}

/** All 256 values of u8 · scale + offset: a lookup a pixel instead of two roundings. */
function transformTable(scale: number, offset: number): Float32Array {
  const scale32 = Math.fround(scale);
  const offset32 = Math.fround(offset);
  return Float32Array.from({ length: 256 }, (_unused, value) => Math.fround(value * scale32) + offset32);
}

/** The rows of `set` as a set of its own (copied). */
export function selectRows(set: ImageSet, rows: Int32Array | readonly number[], name = set.name): ImageSet {
  const size = set.channels * set.height * set.width;
  const images = new Uint8Array(rows.length * size);
  const labels = new Uint8Array(rows.length);
  for (let i = 0; i < rows.length; i++) {
    const row = requireInteger(`rows[${i}]`, rows[i], 0, set.count - 1);
    images.set(set.images.subarray(row * size, (row + 1) * size), i * size);
    labels[i] = set.labels[row] as number;
  }
  return imageSet({ ...set, name, images, labels });
}

/**
 * Rows 0 … count − 1 in two random parts, each in ascending order. The held-out part has `fraction` of them, rounded,
 * but at least one where `fraction` > 0.
 * @throws InvalidArgumentError where no training row would be left.
 */
export function splitRows(count: number, fraction: number, seed: number): { training: Int32Array; heldOut: Int32Array } {
  requireInteger('count', count, 1, 2 ** 31 - 1);
  requireNumber('heldOutFraction', fraction, 0, 1);
  const heldOutCount = fraction === 0 ? 0 : Math.max(1, Math.round(count * fraction));
  if (heldOutCount >= count) {
    throw new InvalidArgumentError({
      field: 'heldOutFraction',
      expected: 'a fraction that leaves at least one row for training',
      got: `${fraction} of ${count} rows`,
    });
  }
  const order = new Random(seed, streams.split).permutation(count);
  return { heldOut: order.slice(0, heldOutCount).toSorted(), training: order.slice(heldOutCount).toSorted() };
}

/**
 * Endless mini-batches: every epoch visits every row once, in a new random order; the last batch of an epoch is smaller
 * where the rows do not divide evenly (as PyTorch's loader does by default).
 */
export class BatchSampler {
  readonly batchSize: number;
  readonly batchesPerEpoch: number;
  readonly #order: Int32Array;
  readonly #random: Random;
  #position: number;
  #epoch = -1;

  /** @throws InvalidArgumentError for no rows or a batch size below one. */
  constructor(rows: Int32Array, batchSize: number, random: Random) {
    if (rows.length === 0) throw new InvalidArgumentError({ field: 'rows', expected: 'at least one row', got: 'none' });
    this.batchSize = requireInteger('batchSize', batchSize, 1, 2 ** 31 - 1);
    this.batchesPerEpoch = Math.ceil(rows.length / batchSize);
    this.#order = rows.slice();
    this.#position = rows.length;
    this.#random = random;
  }

  /** The epoch (from 0) that the latest batch belongs to; −1 before the first. */
  get epoch(): number {
    return this.#epoch;
  }

  /** True after the last batch of an epoch (and before the first of all). */
  get atEpochEnd(): boolean {
    return this.#position === this.#order.length;
  }

  /** The rows of the next batch. */
  next(): Int32Array {
    const start = this.#advance();
    return this.#order.slice(start, this.#position);
  }

  /** Passes over the next `batches` as if they had been drawn: how a resumed job comes to where it was. */
  skip(batches: number): void {
    for (let batch = 0; batch < batches; batch++) this.#advance();
  }

  /** Where the next batch starts; it ends at the new position. */
  #advance(): number {
    if (this.atEpochEnd) {
      this.#random.shuffle(this.#order);
      this.#position = 0;
      this.#epoch += 1;
    }
    const start = this.#position;
    this.#position = Math.min(start + this.batchSize, this.#order.length);
    return start;
  }
}

/** Consecutive rows in batches of at most `batchSize`, for evaluation. */
export function* sequentialBatches(set: ImageSet, batchSize: number, rows?: Int32Array): Generator<Batch> {
  requireInteger('batchSize', batchSize, 1, 2 ** 31 - 1);
  const order = rows ?? Int32Array.from({ length: set.count }, (_unused, row) => row);
  for (let start = 0; start < order.length; start += batchSize) yield makeBatch(set, order.subarray(start, start + batchSize));
}

/**
 * The images of some classes only, relabelled 0 … k − 1 in the order given (the ten-class subset of CIFAR-100, say).
 * @throws InvalidArgumentError for a class that occurs twice, is out of range or has no image.
 */
export function selectClasses(set: ImageSet, classes: readonly number[]): ImageSet {
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
