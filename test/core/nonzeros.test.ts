// Shares of numbers that are not zero, against counts in JavaScript.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Core, openCore } from '../../src/core/core.ts';
import { shareOfNonZero, sharesOfNonZero, type SharesOfNonZero } from '../../src/core/nonzeros.ts';

let core: Core;
beforeAll(async () => {
  core = await openCore();
});
afterAll(() => core[Symbol.dispose]());

/** Of images of `elements` numbers, of which `isNonZero` says which are not zero. */
function shares(count: number, elements: number, isNonZero: (image: number, place: number) => boolean): SharesOfNonZero {
  const numbers = Float32Array.from({ length: count * elements }, (_, i) =>
    isNonZero(Math.floor(i / elements), i % elements) ? (i % 2 === 0 ? 1e-45 : -3) : i % 3 === 0 ? -0 : 0,
  );
  return core.scoped((scratch) => sharesOfNonZero(core, scratch.upload(numbers), count, elements));
}

/** 32 bits of an index, mixed. */
function hash(index: number): number {
  const once = Math.imul(index ^ (index >>> 16), 0x45d9f3b);
  const twice = Math.imul(once ^ (once >>> 16), 0x45d9f3b);
  return (twice ^ (twice >>> 16)) >>> 0;
}

describe('few numbers are all counted', () => {
  test.each([1, 2, 3, 5, 8, 13, 31, 1000])('%i numbers of one image', (elements) => {
    const counted = Array.from({ length: elements }, (_, i) => (i * 7) % 5 < 2).filter(Boolean).length;
    expect(shares(1, elements, (_, place) => (place * 7) % 5 < 2)).toEqual({ each: counted / elements, either: counted / elements });
    const numbers = Float32Array.from({ length: elements }, (_, i) => Number((i * 7) % 5 < 2));
    expect(core.scoped((scratch) => shareOfNonZero(core, scratch.upload(numbers), elements))).toBe(counted / elements);
  });

  test('pairs of images: complements, equals, and an odd one that is left out', () => {
    expect(shares(4, 64, (image, place) => place % 2 === image % 2)).toEqual({ each: 0.5, either: 1 });
    expect(shares(4, 64, (_, place) => place % 4 === 0)).toEqual({ each: 0.25, either: 0.25 });
    expect(shares(3, 64, (image) => image === 2)).toEqual({ each: 0, either: 0 });
  });
});

describe('of many numbers a sample is counted', () => {
  test.each([
    ['one image', 1, 1_000_003 & ~3],
    ['ten images', 10, 100_000],
    ['many small images', 20_000, 8],
  ])('%s: a third at random, within four deviations', (_, count, elements) => {
    const isNonZero = (image: number, place: number): boolean => hash(image * elements + place + 1) < 2 ** 32 / 3;
    const { each, either } = shares(count, elements, isNonZero);
    const places = Math.min(64 * 512, 64 * elements);
    expect(Math.abs(each - 1 / 3)).toBeLessThan(4 * Math.sqrt(2 / 9 / places));
    expect(Math.abs(either - (count === 1 ? 1 / 3 : 5 / 9))).toBeLessThan(4 * Math.sqrt(20 / 81 / places));
  });

  test('the sample is spread over the places of an image and over images', () => {
    expect(shares(1, 400_000, (_, place) => place >= 300_000).each).toBeCloseTo(1 / 4, 1);
    expect(shares(40, 10_000, (image) => image < 10).each).toBeCloseTo(1 / 4, 1);
    expect(shares(1, 400_000, (_, place) => place >= 395_000).each).toBeGreaterThan(0);
  });
});
