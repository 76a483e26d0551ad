/** Kernels of batch norm and their sums a channel against f64, on shapes that take every way through them and data that cancel. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCore, type Core } from '../../src/core/core.ts';

let core: Core;
beforeAll(async () => {
  core = await openCore();
});
afterAll(() => core[Symbol.dispose]());

/** Channels in fours and ones. */
const shapes = [[2, 1], [15, 3], [16, 4], [17, 8], [33, 7], [100, 13], [1000, 24], [301, 256], [40, 512], [5, 37]] as const;

/** Deterministic numbers about `mean`, spread 1, with a row far away first where `outlier` says so. */
function numbers(rows: number, channels: number, seed: number, mean: number, outlier = 0): Float32Array {
  let state = seed;
  return Float32Array.from({ length: rows * channels }, (_, i) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return mean * (1 + (i % channels) / channels) + 3.4 * (state / 2 ** 32 - 0.5) + (i < channels ? outlier : 0);
  });
}

const column = (x: Float32Array, channels: number, c: number): number[] => Array.from(x.filter((_, i) => i % channels === c));
const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

function moments(x: Float32Array, rows: number, channels: number): { readonly sums: Float64Array; readonly squares: Float64Array } {
  return core.scoped((scratch) => {
    const sums = scratch.f64(2 * channels);
    core.f64(sums, 2 * channels).fill(0);
    const xPtr = scratch.upload(x);
    core.kernels.columnMomentsF32(xPtr, rows, channels, sums);
    return { sums: core.f64(sums, channels).slice(), squares: core.f64(sums + 8 * channels, channels).slice() };
  });
}

function norm(x: Float32Array, dy: Float32Array, weight: Float32Array, shift: Float32Array, channels: number, ceiling = 0) {
  return core.scoped((scratch) => {
    const rows = x.length / channels;
    const [xPtr, dyPtr, weightPtr, shiftPtr] = [x, dy, weight, shift].map((values) => scratch.upload(values)) as [
      number,
      number,
      number,
      number,
    ];
    const [yPtr, statistics, dWeight, dShift] = [
      scratch.f32(x.length), scratch.f32(3 * channels), scratch.f32(channels), scratch.f32(channels),
    ];
    const space = scratch.bytes(core.kernels.batchNormScratchBytes(channels));
    core.kernels.batchNormF32(xPtr, yPtr, rows, channels, weightPtr, shiftPtr, 1e-5, statistics, ceiling, space);
    core.kernels.batchNormGradientF32(
      dyPtr, xPtr, dyPtr, rows, channels, weightPtr, shiftPtr, 1e-5, statistics, ceiling, dWeight, dShift, space,
    );
    const read = (pointer: number, length: number): Float32Array => core.f32(pointer, length).slice();
    return {
      y: read(yPtr, x.length), dx: read(dyPtr, x.length),
      mean: read(statistics, channels), variance: read(statistics + 4 * channels, channels), dWeight: read(dWeight, channels),
      dShift: read(dShift, channels),
    };
  });
}

describe.each(shapes)('%i rows of %i channels', (rows, channels) => {
  test.each([
    ['about zero', 0, 0],
    ['about 1000', 1000, 0],
    ['a first row 100 deviations away', 1, 100],
  ])('moments %s lose nothing in f64', (_, mean, outlier) => {
    const x = numbers(rows, channels, 5, mean, outlier);
    const { sums, squares } = moments(x, rows, channels);
    for (let c = 0; c < channels; c += 1 + (channels >> 4)) {
      const values = column(x, channels, c);
      const exact = sum(values) / rows;
      const variance = sum(values.map((value) => (value - exact) ** 2)) / rows;
      const got = (sums[c] as number) / rows;
      expect(Math.abs(got - exact)).toBeLessThan(1e-13 * (Math.sqrt(variance) + Math.abs(exact)));
      expect(Math.abs((squares[c] as number) / rows - got * got - variance)).toBeLessThan(1e-13 * (variance + exact * exact));
    }
  });

  test('outputs and gradients are those of the formula in f64', () => {
    const x = numbers(rows, channels, 1, 2);
    const dy = numbers(rows, channels, 2, 0.3);
    const weight = numbers(1, channels, 3, 1);
    const shift = numbers(1, channels, 4, 0);
    const got = norm(x, dy, weight, shift, channels);
    for (let c = 0; c < channels; c += 1 + (channels >> 4)) {
      const [values, gradients] = [column(x, channels, c), column(dy, channels, c)];
      const mean = sum(values) / rows;
      const variance = sum(values.map((value) => (value - mean) ** 2)) / rows;
      const inverse = 1 / Math.sqrt(variance + 1e-5);
      const unit = values.map((value) => (value - mean) * inverse);
      const [w, b] = [weight[c] as number, shift[c] as number];
      const product = sum(gradients.map((value, i) => value * (unit[i] as number)));
      const near = (value: number | undefined, expected: number, scale: number): void =>
        expect(Math.abs((value as number) - expected), `channel ${c}: ${value} for ${expected}`).toBeLessThan(4e-6 * scale);
      near(got.mean[c], mean, 1 + Math.abs(mean));
      near(got.variance[c], variance, variance);
      near(got.dWeight[c], product, sum(gradients.map((value, i) => Math.abs(value * (unit[i] as number)))));
      near(got.dShift[c], sum(gradients), sum(gradients.map(Math.abs)));
      for (let i = 0; i < rows; i++) {
        near(got.y[i * channels + c], (unit[i] as number) * w + b, Math.abs(w) + Math.abs(b));
        const dx = w * inverse * ((gradients[i] as number) - sum(gradients) / rows - ((unit[i] as number) * product) / rows);
        near(got.dx[i * channels + c], dx, Math.abs(w) * inverse * 4);
      }
    }
  });
});

/** Means within `meanBound` of mean and deviation, variances within a share of themselves. */
function expectStatistics(x: Float32Array, channels: number, meanBound: number, varianceBound: number): void {
  const rows = x.length / channels;
  const ones = new Float32Array(channels).fill(1);
  const got = norm(x, x.slice(), ones, ones, channels);
  for (let c = 0; c < channels; c++) {
    const values = column(x, channels, c);
    const mean = sum(values) / rows;
    const variance = sum(values.map((value) => (value - mean) ** 2)) / rows;
    const label = `channel ${c} of ${rows} rows`;
    expect(Math.abs((got.mean[c] as number) - mean), label).toBeLessThan(meanBound * (Math.abs(mean) + Math.sqrt(variance)));
    expect(Math.abs((got.variance[c] as number) - variance), label).toBeLessThan(varianceBound * variance);
  }
}

test.each([
  ['about zero', 0, 0],
  ['about 1000', 1000, 0],
  ['about a million', 1e6, 0],
  ['with a first row 3000 deviations away', 1, 3000],
])('statistics of values %s are right to 1e-6, of few rows and of many', (_, center, outlier) => {
  for (const [rows, channels] of [[2, 3], [63, 5], [64, 5], [71, 6], [1003, 9], [20_000, 4]] as const) {
    const x = numbers(rows, channels, 6, center, outlier);
    expectStatistics(x, channels, 1e-7, 1e-6);
  }
});

test.each([10, 100, -3000])('statistics are right to 2e-6 where the first rows of all quarters lie %i from two values', (away) => {
  for (const [rows, channels] of [[64, 5], [1003, 9], [20_000, 4]] as const) {
    const quarter = rows >> 2;
    const x = Float32Array.from({ length: rows * channels }, (_, i) => {
      const [row, c] = [Math.floor(i / channels), i % channels];
      // In the last channel no row lies apart, so that its pivot stays.
      const apart = row % quarter === 0 && row < 4 * quarter && c < channels - 1;
      return apart ? away : (row * 7) % 10 === c % 10 ? 0.3 : 0.1;
    });
    expectStatistics(x, channels, 2e-7, 2e-6);
  }
});

test.each([
  ['without a rectifier', 0],
  ['with one', Infinity],
  ['with a ceiling', 0.7],
])('by given statistics, %s: the formula in f64, also over its input', (_, ceiling) => {
  for (const [rows, channels] of shapes) {
    const [x, weight, shift, mean] = [1, 2, 3, 4].map((seed) => numbers(seed === 1 ? rows : 1, channels, seed, 1)) as [
      Float32Array, Float32Array, Float32Array, Float32Array,
    ];
    const variance = numbers(1, channels, 5, 0).map((value, c) => (c % 3 === 0 ? 0 : value * value));
    const [y, over] = core.scoped((scratch) => {
      const [xPtr, yPtr, slopes] = [scratch.upload(x), scratch.f32(x.length), scratch.f32(channels)];
      const given = [weight, shift, mean, variance].map((values) => scratch.upload(values)) as [number, number, number, number];
      const [weightPtr, shiftPtr, ...statistics] = given;
      for (const to of [yPtr, xPtr])
        core.kernels.batchNormByStatisticsF32(xPtr, to, rows, channels, weightPtr, shiftPtr, 1e-3, ...statistics, ceiling, slopes);
      return [core.f32(yPtr, x.length).slice(), core.f32(xPtr, x.length).slice()];
    });
    expect(over).toEqual(y);
    for (const [i, got] of y.entries()) {
      const c = i % channels;
      const slope = (weight[c] as number) / Math.sqrt((variance[c] as number) + 1e-3);
      const plain = ((x[i] as number) - (mean[c] as number)) * slope + (shift[c] as number);
      const wanted = ceiling === 0 ? plain : Math.min(Math.max(plain, 0), ceiling);
      const scale = Math.abs(slope) * (Math.abs(x[i] as number) + Math.abs(mean[c] as number)) + Math.abs(shift[c] as number);
      expect(Math.abs(got - wanted), `${i} of ${rows} × ${channels}: ${got} for ${wanted}`).toBeLessThanOrEqual(3e-7 * scale);
    }
  }
});

test.each([
  ['a rectifier', Infinity],
  ['a ceiling', 0.7],
])('%s in the same pass gives the bytes of one behind it', (_, ceiling) => {
  for (const [rows, channels] of shapes) {
    const inputs = [
      numbers(rows, channels, 1, 2),
      numbers(rows, channels, 2, 0),
      numbers(1, channels, 3, 1),
      numbers(1, channels, 4, 0),
    ] as const;
    const [x, dy, weight, shift] = inputs;
    const { y } = norm(...inputs, channels);
    const together = norm(...inputs, channels, ceiling);
    expect(together.y).toEqual(y.map((value) => (value > 0 ? Math.min(value, Math.fround(ceiling)) : 0)));
    const isInside = (value: number): boolean => value > 0 && value < Math.fround(ceiling);
    expect(rows * channels < 10 || (y.some(isInside) && !y.every(isInside))).toBe(true);
    const apart = norm(x, dy.map((value, i) => (isInside(y[i] as number) ? value : 0)), weight, shift, channels);
    for (const name of ['dx', 'dWeight', 'dShift'] as const) expect(together[name], name).toEqual(apart[name]);
  }
});

test('a channel has the same bytes wherever it stands', () => {
  const [rows, channels] = [77, 15];
  const order = Array.from({ length: channels }, (_, c) => (c * 4 + 3) % channels);
  const permuted = (x: Float32Array): Float32Array => x.map((_, i) => x[i - (i % channels) + (order[i % channels] as number)] as number);
  const inputs = [
    numbers(rows, channels, 1, 2),
    numbers(rows, channels, 2, 0.3),
    numbers(1, channels, 3, 1),
    numbers(1, channels, 4, 0),
  ] as const;
  const plain = norm(...inputs, channels);
  const [x, dy, weight, shift] = inputs.map(permuted) as [Float32Array, Float32Array, Float32Array, Float32Array];
  const moved = norm(x, dy, weight, shift, channels);
  for (const name of ['y', 'dx', 'mean', 'variance', 'dWeight', 'dShift'] as const) expect(moved[name]).toEqual(permuted(plain[name]));
  // In f64 itself, behind a row that small numbers are lost in: rounding to f32 hides the order of additions.
  const few = numbers(7, channels, 5, 1, 1e16);
  const [sums, movedSums] = [moments(few, 7, channels), moments(permuted(few), 7, channels)];
  for (const name of ['sums', 'squares'] as const) {
    expect([...movedSums[name]]).toEqual(order.map((c) => sums[name][c]));
  }
});
