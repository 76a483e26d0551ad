/** Image sets: checks, batches as the network sees them. */
import { describe, expect, test } from 'vitest';
import { imageSetFromArray } from '../../src/data/array-images.ts';
import { makeBatch } from '../../src/data/data-set.ts';
import {
  channelStatistics,
  imageSet,
  normalised,
  selectClasses,
  selectRows,
  shrink,
  type ImageSet,
} from '../../src/data/image-set.ts';
import { expectTyped } from '../bundle/support.ts';

/** Five images of 2 channels, 2 × 3; pixel p of image i is 40 · i + p. */
const set: ImageSet = imageSet({
  name: 'five',
  images: Uint8Array.from({ length: 60 }, (_unused, p) => 40 * Math.floor(p / 12) + (p % 12)),
  labels: Uint8Array.of(0, 2, 1, 2, 0),
  channels: 2,
  height: 2,
  width: 3,
  scale: [0.1, 1 / 3],
  offset: [-0.5, 7],
});

describe('imageSet', () => {
  test('classes default to the largest label + 1', () => {
    expect([set.count, set.classes]).toEqual([5, 3]);
  });

  test.each<[string, object, RegExp]>([
    ['no images', { images: new Uint8Array(), labels: new Uint8Array() }, /five.labels: expected at least one image/],
    ['too few bytes', { images: new Uint8Array(59) }, /five.images: expected 5 images of 2×2×3 bytes, got 59 bytes/],
    ['pixels as floats', { images: new Float32Array(60) }, /five.images: expected a Uint8Array, a byte each, got Float32Array of 240/],
    ['a label below 0', { labels: [0, 2, -1, 2, 0] }, /five.labels: expected a Uint8Array, a byte each, got \[0, 2, -1/],
    ['labels as text', { labels: ['cat', 'dog', 'cat', 'dog', 'cat'] }, /five.labels: expected a Uint8Array.*got \["cat"/],
    ['a label out of range', { classes: 2 }, /five.labels\[1\]: expected a label below 2, got 2/],
    ['more classes than a byte counts', { classes: 257 }, /five.classes/],
    ['a scale of the wrong length', { scale: [1] }, /five.scale: expected 2 numbers/],
    ['an offset that is not finite', { offset: [0, Number.NaN] }, /five.offset: expected a finite number/],
  ])('%s is refused', (_what, change, message) => {
    const { images, labels, channels, height, width, name } = set;
    expect(() => imageSet({ name, images, labels, channels, height, width, ...change })).toThrow(message);
  });
});

describe('makeBatch', () => {
  test('u8 · scale + offset per channel, each step rounded to f32; rows in the order given, repeats allowed', () => {
    const batch = makeBatch(set, [4, 1, 4]);
    expect([...batch.labels]).toEqual([0, 2, 0]);
    const expected = [4, 1, 4].flatMap((image) =>
      Array.from({ length: 12 }, (_unused, p) => {
        const channel = p < 6 ? 0 : 1;
        const scaled = Math.fround((40 * image + p) * Math.fround(set.scale[channel]!));
        return Math.fround(scaled + Math.fround(set.offset[channel]!));
      }),
    );
    expect([...batch.inputs]).toEqual(expected);
  });

  test.each([[[]], [[5]], [[-1]], [[0.5]]])('rows %j are refused', (rows) => {
    expect(() => makeBatch(set, rows)).toThrow(/^rows/);
  });
});

test('normalised: a set has mean 0 and deviation 1 by its own statistics', () => {
  const { mean, standardDeviation } = channelStatistics(set);
  const { inputs } = makeBatch(normalised(set, mean, standardDeviation), [0, 1, 2, 3, 4]);
  for (const channel of [0, 1]) {
    const values = [...inputs].filter((_unused, i) => Math.floor(i / 6) % 2 === channel);
    const average = values.reduce((sum, x) => sum + x, 0) / values.length;
    const variance = values.reduce((sum, x) => sum + (x - average) ** 2, 0) / values.length;
    expect(average).toBeCloseTo(0, 5);
    expect(variance).toBeCloseTo(1, 5);
  }
});

test('a deviation of 0 cannot normalise', () => {
  expect(() => normalised(set, [0, 0], [1, 0])).toThrow(/standardDeviation/);
});

test('selectRows and selectClasses copy what they name', () => {
  const rows = selectRows(set, [3, 0]);
  expect([...rows.labels]).toEqual([2, 0]);
  expect(rows.images[0]).toBe(120);
  const classes = selectClasses(set, [2, 0]);
  expect([...classes.labels]).toEqual([1, 0, 0, 1]);
  expect([classes.classes, classes.images[12]]).toEqual([2, 40]);
  expect(() => selectClasses(set, [2, 2])).toThrow(/classes\[1\]/);
  expect(() => selectClasses(set, [3])).toThrow(/classes\[0\]/);
});

test('shrink averages whole blocks, half up', () => {
  const small = shrink(set, 2);
  expect([small.height, small.width]).toEqual([1, 1]);
  // Channel 0 of image 0: (0 + 1 + 3 + 4) / 4 = 2; channel 1: (6 + 7 + 9 + 10) / 4 = 8.
  expect([...small.images.subarray(0, 4)]).toEqual([2, 8, 42, 48]);
  // Of four pixels a quarter, a half and three quarters.
  const quarters = imageSet({
    name: 'quarters', images: Uint8Array.of(0, 0, 0, 1, 0, 1, 1, 0, 1, 0, 1, 1), labels: Uint8Array.of(0), channels: 3, height: 2, width: 2,
  });
  expect([...shrink(quarters, 2).images]).toEqual([0, 1, 1]);
});

test('imageSetFromArray: channels are moved of every image, or the count is refused', async () => {
  const images = Uint8Array.from({ length: 2 * 5 * 5 * 3 }, (_, i) => i);
  const labels = Uint8Array.of(0, 1);
  const colour = imageSetFromArray({ name: 'x', shape: [2, 5, 5, 3], images, labels });
  for (let image = 0; image < 2; image++)
    for (let channel = 0; channel < 3; channel++)
      for (let pixel = 0; pixel < 25; pixel++)
        expect(colour.images[(image * 3 + channel) * 25 + pixel]).toBe(images[(image * 25 + pixel) * 3 + channel]);
  // Labels and bytes of two images, a shape of one or three: taken as they were, the channels would be pixels.
  for (const count of [1, 3]) {
    const { field } = await expectTyped(() => imageSetFromArray({ name: 'x', shape: [count, 5, 5, 3], images, labels }), 'invalid-argument');
    expect(field).toBe('x.labels');
  }
});
