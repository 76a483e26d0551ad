/**
 * Convolutions over mostly zeros, forward and both gradients: the same bytes as plain f32 sums in the same order, and
 * the shares that they are chosen by.
 */
import { describe, expect, it } from 'vitest';
import { openCore } from '../../src/core/core.ts';
import type { Core } from '../../src/core/core.ts';
import type { Geometry } from '../../src/gradient/kernels/convolution-geometry.ts';
import {
  imagesAtOnce,
  insideShare,
  sparseFilterGradient,
  sparseForward,
  sparseInputGradient,
  suitsSparseFilterGradient,
} from '../../src/gradient/kernels/sparse-convolution.ts';
import { sparseValues, values } from '../portable/values.ts';

/** Windows that a filter's gradient sums before it adds them to what is there. */
const WINDOWS = 256;
/** Terms that an output sums before: as many rows of taps as fit into 36 KB with 16 output channels. */
const rowTerms = (kernel: number, channels: number): number =>
  kernel * channels * Math.max(1, Math.min(kernel, Math.floor((36 * 1024) / (kernel * channels * 16 * 4))));

function geometryOf(
  count: number, height: number, width: number, channels: number, out: number, kernel: number, padding: number,
): Geometry {
  const [outHeight, outWidth] = [height + 2 * padding - kernel + 1, width + 2 * padding - kernel + 1];
  return {
    count, height, width, channels, outHeight, outWidth, out, groups: 1, groupIn: channels, groupOut: out, kernel: [kernel, kernel],
    taps: kernel * kernel,
    stride: [1, 1], dilation: [1, 1], padding: [padding, padding, padding, padding],
  };
}

/** Σ of products in blocks of terms, each sum in f32; block sums are added to `start`. */
function blockedSum(start: number, block: number, terms: readonly (readonly [number, number])[]): number {
  let total = start;
  for (let first = 0; first < terms.length; first += block) {
    let sum = 0;
    for (const [a, b] of terms.slice(first, first + block)) sum = Math.fround(sum + Math.fround(a * b));
    total = Math.fround(total + sum);
  }
  return total;
}

/** Every index of an array of these extents, in row-major order. */
function indices<Extents extends readonly number[]>(...extents: Extents): { [K in keyof Extents]: number }[] {
  const all = extents.reduce<number[][]>(
    (some, extent) => some.flatMap((index) => Array.from({ length: extent }, (_, i) => [...index, i])),
    [[]],
  );
  return all as { [K in keyof Extents]: number }[];
}

/** Reads an image [count, height, width, channels], zero outside. */
const reader =
  (image: Float32Array, height: number, width: number, channels: number) =>
  (n: number, y: number, x: number, c: number): number =>
    y < 0 || y >= height || x < 0 || x >= width ? 0 : (image[((n * height + y) * width + x) * channels + c] as number);

function references(g: Geometry, x: Float32Array, filter: Float32Array, dy: Float32Array, start: Float32Array) {
  const [k, [top, , left]] = [g.kernel[0], g.padding];
  const [xAt, dyAt] = [reader(x, g.height, g.width, g.channels), reader(dy, g.outHeight, g.outWidth, g.out)];
  const weight = (ky: number, kx: number, c: number, o: number): number => filter[((ky * k + kx) * g.channels + c) * g.out + o] as number;
  const y = indices(g.count, g.outHeight, g.outWidth, g.out).map(([n, oy, ox, o], at) =>
    blockedSum(start[at] as number, rowTerms(k, g.channels), indices(k, k, g.channels).map(([ky, kx, c]) =>
      [xAt(n, oy + ky - top, ox + kx - left, c), weight(ky, kx, c, o)])));
  const dx = indices(g.count, g.height, g.width, g.channels).map(([n, iy, ix, c]) =>
    blockedSum(0, rowTerms(k, g.out), indices(k, k, g.out).map(([ky, kx, o]) =>
      [dyAt(n, iy + ky - (k - 1 - top), ix + kx - (k - 1 - left), o), weight(k - 1 - ky, k - 1 - kx, c, o)])));
  const dw = indices(k, k, g.channels, g.out).map(([ky, kx, c, o]) =>
    blockedSum(0, WINDOWS, indices(g.count, g.outHeight, g.outWidth).map(([n, oy, ox]) =>
      [xAt(n, oy + ky - top, ox + kx - left, c), dyAt(n, oy, ox, o)])));
  return { y: Float32Array.from(y), dx: Float32Array.from(dx), dw: Float32Array.from(dw) };
}

function compute(core: Core, g: Geometry, images: 1 | 2, x: Float32Array, filter: Float32Array, dy: Float32Array, start: Float32Array) {
  return core.scoped((scratch) => {
    const [top, , left] = g.padding;
    const [height, width] = [g.height + 2 * top, g.width + 2 * left];
    const [xPtr, filterPtr, dyPtr, yPtr] = [scratch.upload(x), scratch.upload(filter), scratch.upload(dy), scratch.upload(start)];
    const [dxPtr, dwPtr] = [scratch.f32(x.length), scratch.f32(filter.length)];
    sparseForward(core, { ...g, top, left }, images, xPtr, filterPtr, yPtr);
    sparseInputGradient(core, g, images, { dy: dyPtr, filter: filterPtr, dx: dxPtr });
    const padded = scratch.f32(g.count * height * width * g.channels);
    core.kernels.placeImagesF32(xPtr, padded, g.count, g.height, g.width, g.channels, height, width, top, left, 1, 1, 1);
    const rows = scratch.i32(g.count * g.outHeight * g.outWidth);
    core.kernels.windowOffsets(rows, g.count, height, width, g.channels, g.outHeight, g.outWidth, 1, 1);
    sparseFilterGradient(core, g, width, { image: padded, rows, dy: dyPtr, dw: dwPtr });
    return { y: core.f32(yPtr, start.length).slice(), dx: core.f32(dxPtr, x.length).slice(), dw: core.f32(dwPtr, filter.length).slice() };
  });
}

describe('sparse convolution', () => {
  for (const [name, g] of [
    ['32 to 64 channels, 3×3', geometryOf(2, 6, 7, 32, 64, 3, 1)],
    ['more images than are listed at once', geometryOf(6, 20, 20, 32, 4, 1, 0)],
    ['64 to 36 channels, 3×3 without padding', geometryOf(1, 5, 5, 64, 36, 3, 0)],
    ['4 to 8 channels, 5×5, several blocks of rows', geometryOf(3, 12, 11, 4, 8, 5, 2)],
    ['128 to 4 channels, 1×1', geometryOf(2, 3, 3, 128, 4, 1, 0)],
  ] as const) {
    it.each([1, 2] as const)(`${name}: %i images at once`, async (images) => {
      using core = await openCore();
      const x = sparseValues(g.count * g.height * g.width * g.channels, 1, 0.4);
      const dy = sparseValues(g.count * g.outHeight * g.outWidth * g.out, 2, 0.2);
      const filter = values(g.taps * g.channels * g.out, 3);
      const start = values(dy.length, 4);
      const [got, expected] = [compute(core, g, images, x, filter, dy, start), references(g, x, filter, dy, start)];
      for (const side of ['y', 'dx', 'dw'] as const) expect(got[side], side).toEqual(expected[side]);
    });
  }

  it('counts the taps that lie inside', () => {
    // Of 3 · 4 taps along an axis of four pixels, two lie in the padding.
    expect(insideShare(geometryOf(1, 4, 4, 8, 8, 3, 1))).toBeCloseTo((10 / 12) ** 2, 12);
    expect(insideShare(geometryOf(1, 4, 4, 8, 8, 3, 0))).toBe(1);
    expect(insideShare({ ...geometryOf(1, 2, 4, 8, 8, 1, 3), outHeight: 8, outWidth: 10 })).toBeCloseTo((2 / 8) * (4 / 10), 12);
  });

  it('of nothing but zeros is zero, and dense images are left to the product', async () => {
    using core = await openCore();
    const g = geometryOf(1, 4, 4, 8, 8, 3, 1);
    const zeros = new Float32Array(128);
    const got = compute(core, g, 1, zeros, values(9 * 64, 3), zeros, values(128, 4));
    expect(got.y).toEqual(values(128, 4));
    expect([...got.dx, ...got.dw].every((value) => value === 0)).toBe(true);
    core.scoped((scratch) => {
      expect(suitsSparseFilterGradient(core, g, scratch.upload(sparseValues(128, 1, 0.5)), 16)).toBe(true);
      expect(suitsSparseFilterGradient(core, g, scratch.upload(values(128, 1)), 16)).toBe(false);
      expect(suitsSparseFilterGradient(core, { ...g, stride: [2, 2] }, scratch.upload(zeros), 16)).toBe(false);
    });
  });

  it('takes images two by two where their zeros coincide', async () => {
    using core = await openCore();
    const g = geometryOf(2, 4, 4, 8, 8, 3, 1);
    const [half, full] = [sparseValues(128, 1, 0.5), values(128, 1)];
    // Zero where `half` is not.
    const rest = full.map((value, i) => (half[i] === 0 ? value : 0));
    core.scoped((scratch) => {
      const of = (...images: readonly Float32Array[]): number =>
        imagesAtOnce(
          core,
          { ...g, count: images.length },
          scratch.upload(Float32Array.from(images.flatMap((image) => [...image]))),
          16,
          8,
          32,
        );
      expect(of(half, half)).toBe(2);
      expect(of(half, rest)).toBe(1);
      expect(of(half)).toBe(1);
      expect(of(half, half, half, half, half)).toBe(2);
      expect(of(full, full)).toBe(2);
      const wide = { ...geometryOf(2, 4, 4, 8, 8, 1, 0) };
      expect(imagesAtOnce(core, wide, scratch.upload(Float32Array.from([...full, ...full])), 16, 8, 8)).toBe(0);
    });
  });

  it('lists nothing that is multiplied a few times only', async () => {
    using core = await openCore();
    const images = sparseValues(128 * 64, 1, 0.5);
    core.scoped((scratch) => {
      const pointer = scratch.upload(images);
      const of = (kernel: number, out: number): number =>
        imagesAtOnce(core, geometryOf(8, 8, 8, 16, out, kernel, (kernel - 1) / 2), pointer, 64, 16, out);
      expect([of(1, 8), of(1, 16), of(1, 64), of(5, 16)].map((count) => count > 0)).toEqual([false, false, true, true]);
      const ofGradient = (channels: number): boolean =>
        suitsSparseFilterGradient(core, geometryOf(8, 8, 8, channels, 16, 1, 0), pointer, 512);
      expect([ofGradient(16), ofGradient(64)]).toEqual([false, true]);
    });
  });

  it('tells from a sample of larger batches what all of them would', async () => {
    using core = await openCore();
    const [count, side, channels] = [9, 12, 128];
    const g = geometryOf(count, side, side, channels, channels, 1, 0);
    const dense = values(count * side * side * channels, 1).map((value) => value || 1);
    /** Numbers stay where `keeps` says so. */
    const chosen = (keeps: (n: number, y: number, x: number, c: number) => boolean): readonly [0 | 1 | 2, boolean] => {
      const kept = dense.map((value, i) => {
        const pixel = Math.floor(i / channels);
        const [n, y] = [Math.floor(pixel / side ** 2), Math.floor(pixel / side) % side];
        return keeps(n, y, pixel % side, i % channels) ? value : 0;
      });
      return core.scoped((scratch) => {
        const pointer = scratch.upload(kept);
        return [
          imagesAtOnce(core, g, pointer, side * side, channels, channels), suitsSparseFilterGradient(core, g, pointer, count * side * side),
        ];
      });
    };
    expect(chosen(() => true), 'dense').toEqual([0, false]);
    expect(chosen(() => false), 'zero').toEqual([1, true]);
    expect(chosen((_n, _y, _x, c) => c % 2 === 0), 'every other channel').toEqual([2, true]);
    expect(chosen((_n, y) => y < side / 2), 'upper halves').toEqual([2, true]);
    expect(chosen((n) => n < 4), 'some of the images').toEqual([2, true]);
    expect(chosen((n) => n % 2 === 0), 'one of each pair').toEqual([1, true]);
    expect(chosen((n, y, x) => (y % 2) * 2 + (x % 2) === (n * 7 + y * 5 + x * 3) % 4), 'a pixel of four').toEqual([1, true]);
    expect(chosen((_n, _y, x, c) => (x + c) % 10 !== 0), 'nine of ten').toEqual([0, false]);
  });
});
