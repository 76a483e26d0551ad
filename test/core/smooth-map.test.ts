/** Four-lane f32 functions of the core (exponential, smooth activations and their slopes) against f64, in units of the last place of f32. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCore, type Core } from '../../src/core/core.ts';
import { elementary, type Elementary } from '../../src/core/elementary.ts';

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
function smooth(kind: number, x: Float32Array, what: 'values' | 'slopes'): Float32Array {
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

describe('smooth maps: largest error in ulp', () => {
  test.each<[string, number, number, number, number, (x: number) => number]>([
    ['tanh', 0, -20, 20, 2.5, (x) => f.tanh(x)],
    ['sigmoid', 1, -85, 40, 3, (x) => f.sigmoid(x)],
    ['silu', 2, -80, 40, 3.5, (x) => x * f.sigmoid(x)],
    ['gelu', 3, -12.5, 30, 6.5, (x) => x * below(x)],
    ['gelu (tanh)', 4, -8.5, 30, 3.5, (x) => x * f.sigmoid(argument(x))],
  ])('%s', (_, kind, low, high, bound, exact) => {
    const x = sweep(low, high);
    expect(worst(smooth(kind, x, 'values'), x, exact)).toBeLessThan(bound);
  });

  const slopes: readonly [string, number, number, number, number, (x: number) => readonly [number, number]][] = [
    ['tanh', 0, -40, 40, 5, (x) => [4 * f.sigmoid(2 * x) * f.sigmoid(-2 * x), 0]],
    ['sigmoid', 1, -80, 80, 5, (x) => [f.sigmoid(x) * f.sigmoid(-x), 0]],
    ['silu', 2, -80, 40, 5.5, (x) => [f.sigmoid(x), x * f.sigmoid(x) * f.sigmoid(-x)]],
    ['gelu', 3, -12.5, 30, 7, (x) => [below(x), x * density(x)]],
    ['gelu (tanh)', 4, -8.5, 30, 5.5, (x) => {
      const s = f.sigmoid(argument(x));
      return [s, x * s * f.sigmoid(-argument(x)) * 1.5957691216057308 * (1 + 3 * 0.044715 * x * x)];
    }],
  ];
  test.each(slopes)('slope of %s, in ulp of the larger of its two terms', (_, kind, low, high, bound, terms) => {
    const x = sweep(low, high);
    const got = smooth(kind, x, 'slopes');
    const sum = (at: number): number => terms(at)[0] + terms(at)[1];
    expect(worst(got, x, sum, (at) => Math.max(...terms(at).map(Math.abs)))).toBeLessThan(bound);
  });
});

test('at the ends', () => {
  const x = Float32Array.of(-Infinity, -1e30, -100, 0, 100, 1e30, Infinity, Number.NaN);
  const map = (kind: number): number[] => Array.from(smooth(kind, x, 'values'), (y) => y + 0);
  expect(map(0)).toEqual([-1, -1, -1, 0, 1, 1, 1, Number.NaN]);
  expect(map(1)).toEqual([0, 0, 0, 0.5, 1, 1, 1, Number.NaN]);
  expect(map(2).slice(1)).toEqual([0, 0, 0, 100, Math.fround(1e30), Infinity, Number.NaN]);
  expect(map(3)).toEqual([0, 0, 0, 0, 100, Math.fround(1e30), Infinity, Number.NaN]);
  expect(map(4).slice(1)).toEqual([0, 0, 0, 100, Math.fround(1e30), Infinity, Number.NaN]);
  const exponentials = run((from, to, count) => void core.kernels.exponentials(from, to, count, 0, 1), x);
  expect(Array.from(exponentials.slice(0, 4))).toEqual([0, 0, 0, 1]);
  expect(exponentials[7]).toBeNaN();
});

test.each([0, 1, 2, 3, 4])('map %i gives a number the same bytes wherever it stands, with slopes and without', (kind) => {
  const x = sweep(-6, 6).slice(0, 1000);
  const values = smooth(kind, x, 'values');
  const slopes = smooth(kind, x, 'slopes');
  for (const count of [1, 3, 4, 5, 7, 8, 9, 15, 17]) {
    const part = x.slice(500, 500 + count);
    expect(smooth(kind, part, 'values')).toEqual(values.slice(500, 500 + count));
    expect(smooth(kind, part, 'slopes')).toEqual(slopes.slice(500, 500 + count));
  }
});
