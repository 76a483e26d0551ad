/**
 * Four-lane f32 functions of the core (exponential, smooth activations and their slopes) against f64, in units of the
 * last place of f32.
 */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCore, type Core } from '../../src/core/core.ts';
import { elementary, type Elementary } from '../../src/core/elementary.ts';
import { smoothMaps, type SmoothMap } from '../../src/gradient/kernels/activation.ts';

let core: Core;
let f: Elementary;
beforeAll(async () => {
  core = await openCore();
  f = elementary(core);
});
afterAll(() => core[Symbol.dispose]());

const COUNT = 1_000_003; // not a multiple of four or eight: the last numbers take the tail's way

/** Half of them evenly spaced in [low, high], half at every scale down to 2^−40 with both signs where the range has both. */
function sweep(low: number, high: number): Float32Array {
  return Float32Array.from({ length: COUNT }, (_, i) => {
    if (i % 2 === 0) return low + ((high - low) * i) / (COUNT - 1);
    const size = 2 ** (-40 * (i / COUNT)) * Math.max(Math.abs(low), Math.abs(high));
    return low < 0 && (i % 4 === 1 || high <= 0) ? Math.max(low, -size) : Math.min(high, size);
  });
}

/** Spacing of f32 at a value, at least that of the smallest normal number. */
function spacing(value: number): number {
  const bits = new DataView(new ArrayBuffer(4));
  bits.setFloat32(0, Math.max(Math.abs(Math.fround(value)), 2 ** -126));
  return 2 ** (((bits.getUint32(0) >>> 23) & 255) - 150);
}

function run(call: (fromPtr: number, toPtr: number, count: number) => void, x: Float32Array): Float32Array {
  return core.scoped((scratch) => {
    const from = scratch.upload(x);
    const to = scratch.f32(x.length);
    call(from, to, x.length);
    return core.f32(to, x.length).slice();
  });
}

/** A smooth map's values, and its slopes where asked for, as a gradient computes them: over the numbers themselves. */
function smooth(map: SmoothMap, x: Float32Array, what: 'values' | 'slopes'): Float32Array {
  const kind = smoothMaps[map];
  return core.scoped((scratch) => {
    const [from, own, work] = [scratch.upload(x), scratch.f32(x.length), scratch.bytes(core.kernels.smoothMapScratchBytes())];
    if (what === 'values') core.kernels.smoothMapF32(kind, from, from, 0, x.length, work);
    else core.kernels.smoothMapF32(kind, from, own, from, x.length, work);
    return core.f32(from, x.length).slice();
  });
}

/** Largest error in ulp; `scale`: the size that an ulp is taken of, where a result comes of terms that cancel. */
function worst(got: Float32Array, x: Float32Array, exact: (x: number) => number, scale: (x: number) => number = exact): number {
  let largest = 0;
  for (let i = 0; i < x.length; i++) {
    const at = x[i] as number;
    const error = Math.abs((got[i] as number) - exact(at)) / spacing(scale(at));
    if (!(error <= largest)) largest = error;
  }
  return largest;
}

/** Probability that a normal number lies below x, also far below 0 without cancellation: by its continued fraction there. */
function below(x: number): number {
  if (x > -3) return 0.5 * (1 + f.erf(x * Math.SQRT1_2));
  let fraction = 0;
  for (let k = 120; k > 0; k--) fraction = k / (-x + fraction);
  return density(x) / (-x + fraction);
}

const density = (x: number): number => 0.3989422804014327 * f.exp(-0.5 * x * x);
const argument = (x: number): number => 1.5957691216057308 * (x + 0.044715 * x * x * x);

test('exponential on [−87, 88] within 1 ulp, 8.2e-8 relative', () => {
  const x = sweep(-87, 88);
  const got = run((from, to, count) => void core.kernels.exponentials(from, to, count, 0, 1), x);
  expect(worst(got, x, f.exp)).toBeLessThan(1);
  expect(got.reduce((largest, y, i) => Math.max(largest, Math.abs(y / f.exp(x[i] as number) - 1)), 0)).toBeLessThan(8.2e-8);
});

interface Accuracy {
  readonly value: (x: number) => number;
  /** In ulp over the range. */
  readonly valueBound: number;
  readonly valueRange: readonly [number, number];
  /** The two terms that the slope is the sum of. */
  readonly slope: (x: number) => readonly [number, number];
  /** In ulp of the larger of them. */
  readonly slopeBound: number;
  readonly slopeRange: readonly [number, number];
}

const accuracies: Readonly<Record<SmoothMap, Accuracy>> = {
  tanh: {
    value: (x) => f.tanh(x), valueBound: 2.5, valueRange: [-20, 20],
    slope: (x) => [4 * f.sigmoid(2 * x) * f.sigmoid(-2 * x), 0], slopeBound: 5, slopeRange: [-40, 40],
  },
  sigmoid: {
    value: (x) => f.sigmoid(x), valueBound: 3, valueRange: [-85, 40],
    slope: (x) => [f.sigmoid(x) * f.sigmoid(-x), 0], slopeBound: 5, slopeRange: [-80, 80],
  },
  silu: {
    value: (x) => x * f.sigmoid(x), valueBound: 3.5, valueRange: [-80, 40],
    slope: (x) => [f.sigmoid(x), x * f.sigmoid(x) * f.sigmoid(-x)], slopeBound: 5.5, slopeRange: [-80, 40],
  },
  gelu: {
    value: (x) => x * below(x), valueBound: 6.5, valueRange: [-12.5, 30],
    slope: (x) => [below(x), x * density(x)], slopeBound: 7, slopeRange: [-12.5, 30],
  },
  'gelu (tanh)': {
    value: (x) => x * f.sigmoid(argument(x)), valueBound: 3.5, valueRange: [-8.5, 30],
    slope: (x) => {
      const s = f.sigmoid(argument(x));
      return [s, x * s * f.sigmoid(-argument(x)) * 1.5957691216057308 * (1 + 3 * 0.044715 * x * x)];
    },
    slopeBound: 5.5, slopeRange: [-8.5, 30],
  },
  elu: {
    value: (x) => (x > 0 ? x : f.expm1(x)), valueBound: 2.5, valueRange: [-100, 30],
    slope: (x) => [x > 0 ? 1 : f.exp(x), 0], slopeBound: 1, slopeRange: [-87, 30],
  },
};
const maps = Object.keys(accuracies) as SmoothMap[];

test('the document states these bounds', () => {
  const document = readFileSync(new URL('../../docs/gradient.md', import.meta.url), 'utf8');
  const table = document.slice(document.indexOf('Largest errors of the smooth activations'), document.indexOf('| their slopes'));
  const stated = [...table.matchAll(/^\| ([^|]+) \| ([0-9.]+)/gm)].map(([, name, bound]) => [
    (name as string).toLowerCase(),
    Number(bound),
  ]);
  expect(Object.fromEntries(stated)).toEqual(Object.fromEntries(maps.map((map) => [map, accuracies[map].valueBound])));
  const slopes = maps.map((map) => accuracies[map].slopeBound);
  expect(document).toContain(`| their slopes | ${Math.min(...slopes)} to ${Math.max(...slopes)} |`);
});

describe('smooth maps: largest error in ulp', () => {
  test.each(maps)('%s', (map) => {
    const { value, valueBound, valueRange } = accuracies[map];
    const x = sweep(...valueRange);
    expect(worst(smooth(map, x, 'values'), x, value)).toBeLessThan(valueBound);
  });

  test.each(maps)('slope of %s, in ulp of the larger of its two terms', (map) => {
    const { slope, slopeBound, slopeRange } = accuracies[map];
    const x = sweep(...slopeRange);
    const sum = (at: number): number => slope(at)[0] + slope(at)[1];
    expect(worst(smooth(map, x, 'slopes'), x, sum, (at) => Math.max(...slope(at).map(Math.abs)))).toBeLessThan(slopeBound);
  });
});

test('at the ends', () => {
  const x = Float32Array.of(-Infinity, -1e30, -100, 0, 100, 1e30, Infinity, Number.NaN);
  // Where ∞ · 0 is, silu and gelu (tanh) are not the limit.
  const largest = Math.fround(1e30);
  const ends: Readonly<Record<SmoothMap, readonly [from: number, values: readonly number[]]>> = {
    tanh: [0, [-1, -1, -1, 0, 1, 1, 1, Number.NaN]],
    sigmoid: [0, [0, 0, 0, 0.5, 1, 1, 1, Number.NaN]],
    silu: [1, [0, 0, 0, 100, largest, Infinity, Number.NaN]],
    gelu: [0, [0, 0, 0, 0, 100, largest, Infinity, Number.NaN]],
    'gelu (tanh)': [1, [0, 0, 0, 100, largest, Infinity, Number.NaN]],
    elu: [0, [-1, -1, -1, 0, 100, largest, Infinity, Number.NaN]],
  };
  for (const map of maps) {
    const [from, values] = ends[map];
    expect(Array.from(smooth(map, x, 'values').subarray(from), (y) => y + 0), map).toEqual(values);
  }
  const exponentials = run((from, to, count) => void core.kernels.exponentials(from, to, count, 0, 1), x);
  expect(Array.from(exponentials.slice(0, 4))).toEqual([0, 0, 0, 1]);
  expect(exponentials[7]).toBeNaN();
});

test.each(maps)('%s gives a number the same bytes wherever it stands, with slopes and without', (map) => {
  const x = sweep(-6, 6).slice(0, 1000);
  const values = smooth(map, x, 'values');
  const slopes = smooth(map, x, 'slopes');
  for (const count of [1, 3, 4, 5, 7, 8, 9, 15, 17]) {
    const part = x.slice(500, 500 + count);
    expect(smooth(map, part, 'values')).toEqual(values.slice(500, 500 + count));
    expect(smooth(map, part, 'slopes')).toEqual(slopes.slice(500, 500 + count));
  }
});
