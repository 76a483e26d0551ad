/** The built-in pair of tasks: its bytes, that parts share no image, and what the network sees. */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCore, type Core } from '../../src/core/core.ts';
import { generateTaskPair } from '../../src/data/generated.ts';
import type { ImageSet } from '../../src/data/image-set.ts';

let core: Core;
beforeAll(async () => {
  core = await openCore();
});
afterAll(() => core[Symbol.dispose]());

const hash = (...sets: ImageSet[]): string => {
  const sum = createHash('sha256');
  for (const { images, labels } of sets) sum.update(images).update(labels);
  return sum.digest('hex');
};

describe('generateTaskPair', () => {
  // A change of these bytes changes every figure that rests on the embedded data: deliberate only.
  test.each([
    [1, 'dc9f72239ac0cfbf6d986f1af0a52cd01d138b777d95973b54cf19970b51392a'],
    [2 ** 33 + 5, '6087e5f4f2bd8c46cf5fee57c13457d1224ba25311e9e1226ff47a2e592819a6'],
  ])('SHA-256 of 200 + 50 images of both tasks, seed %d', (seed, expected) => {
    const { before, after } = generateTaskPair(core, { seed, trainCount: 200, testCount: 50 });
    expect(hash(before.train, before.test, after.train, after.test)).toBe(expected);
  });

  test('a smaller set is the start of a larger one', () => {
    const small = generateTaskPair(core, { seed: 3, trainCount: 20, testCount: 10 });
    const large = generateTaskPair(core, { seed: 3, trainCount: 60, testCount: 30 });
    expect(large.after.train.images.subarray(0, 20 * 784)).toEqual(small.after.train.images);
    expect(large.before.test.images.subarray(0, 10 * 784)).toEqual(small.before.test.images);
  });

  test('tasks, parts and seeds share no image; classes are balanced; ink covers neither nothing nor everything', () => {
    const one = generateTaskPair(core, { seed: 4, trainCount: 100, testCount: 100 });
    const two = generateTaskPair(core, { seed: 5, trainCount: 100, testCount: 100 });
    const seen = new Set<string>();
    for (const set of [one.before.train, one.before.test, one.after.train, one.after.test, two.before.train, two.after.test]) {
      for (let i = 0; i < set.count; i++) {
        const image = set.images.subarray(i * 784, (i + 1) * 784);
        seen.add(Buffer.from(image).toString('base64'));
        const bright = image.filter((pixel) => pixel > 110).length;
        expect(bright).toBeGreaterThan(20);
        expect(bright).toBeLessThan(500);
      }
      const counts = new Int32Array(10);
      for (const label of set.labels) counts[label]! += 1;
      expect([...counts]).toEqual(Array.from({ length: 10 }, () => 10));
    }
    expect(seen.size).toBe(600);
  });

  test('pixels become −1 … 1', () => {
    const { scale, offset } = generateTaskPair(core, { seed: 1, trainCount: 1, testCount: 1 }).before.train;
    expect([offset[0], 255 * scale[0]! + offset[0]!]).toEqual([-1, 1]);
  });

  test.each([
    ['seed', { seed: -1 }],
    ['trainCount', { seed: 1, trainCount: 0 }],
    ['testCount', { seed: 1, testCount: 2 ** 21 }],
  ])('a bad %s is refused', (field, options) => {
    expect(() => generateTaskPair(core, options)).toThrow(new RegExp(`^${field}: expected`));
  });
});
