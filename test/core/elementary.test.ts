/** exp, log, sin and their kin in the core against the engine's Math, in units of the last place. */
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

/** Distance in units of the last place of `expected`. */
function ulps(got: number, expected: number): number {
  if (Object.is(got, expected) || (got === 0 && expected === 0)) return 0;
  const bits = new DataView(new ArrayBuffer(8));
  bits.setFloat64(0, Math.abs(expected));
  bits.setBigUint64(0, bits.getBigUint64(0) + 1n);
  return Math.abs(got - expected) / (bits.getFloat64(0) - Math.abs(expected));
}

/** Evenly spaced points and their neighbours, plus a geometric ladder towards 0. */
function* points(low: number, high: number, count = 20_000): Generator<number> {
  for (let i = 0; i <= count; i++) yield low + ((high - low) * i) / count;
  for (let x = 1; x > 1e-300; x *= 0.7310585786) {
    if (x >= low && x <= high) yield x;
    if (-x >= low && -x <= high) yield -x;
  }
}

function worst(mine: (x: number) => number, theirs: (x: number) => number, low: number, high: number): number {
  let largest = 0;
  for (const x of points(low, high)) {
    const error = ulps(mine(x), theirs(x));
    if (!(error <= largest)) largest = error;
  }
  return largest;
}

describe('elementary functions against the engine\'s Math (itself within 1 ulp)', () => {
  test.each<[keyof Elementary & keyof Math, number, number, number]>([
    ['exp', -745, 709.7, 2],
    ['exp', -1, 1, 2],
    ['expm1', -40, 709.7, 3],
    ['expm1', -0.5, 0.5, 3],
    ['log', 1e-300, 2, 2],
    ['log', 0.5, 1.5, 2],
    ['log', 1, 1e300, 2],
    ['sin', -10, 10, 2],
    ['sin', -1_600_000, 1_600_000, 2],
    ['cos', -10, 10, 2],
    ['cos', -1_600_000, 1_600_000, 2],
    ['tanh', -25, 25, 3],
    ['tanh', -0.5, 0.5, 3],
  ])('%s on [%d, %d] within %d ulp', (name, low, high, bound) => {
    expect(worst(f[name] as (x: number) => number, Math[name] as (x: number) => number, low, high)).toBeLessThanOrEqual(bound);
  });

  test('sigmoid within 4 ulp of 1 / (1 + e^−x) in the engine\'s Math', () => {
    expect(worst(f.sigmoid, (x) => 1 / (1 + Math.exp(-x)), -700, 40)).toBeLessThanOrEqual(4);
  });

  test('pow: relative error below (2 + |exponent · ln base|) · 2e-16', () => {
    for (const base of [1e-9, 0.3, 0.999, 1, 1.5, 10, 12_345]) {
      for (const exponent of [-7.5, -1, -0.01, 0, 0.5, 1, 3, 20]) {
        const expected = base ** exponent;
        const bound = (2 + Math.abs(exponent * Math.log(base))) * 2e-16;
        expect(Math.abs(f.pow(base, exponent) / expected - 1)).toBeLessThanOrEqual(bound);
      }
    }
  });

  test('at the ends', () => {
    expect([f.exp(-Infinity), f.exp(-746), f.exp(0), f.exp(710), f.exp(Infinity), f.exp(Number.NaN)]).toEqual([
      0,
      0,
      1,
      Infinity,
      Infinity,
      Number.NaN,
    ]);
    expect([f.expm1(-Infinity), f.expm1(0), f.expm1(Infinity), f.expm1(Number.NaN)]).toEqual([-1, 0, Infinity, Number.NaN]);
    expect([f.log(-1), f.log(0), f.log(1), f.log(Infinity), f.log(Number.NaN)]).toEqual([Number.NaN, -Infinity, 0, Infinity, Number.NaN]);
    expect(f.log(5e-324)).toBeCloseTo(-744.4400719213812, 12);
    expect([f.sin(2e6), f.cos(-2e6), f.sin(Infinity), f.cos(Number.NaN)]).toEqual([Number.NaN, Number.NaN, Number.NaN, Number.NaN]);
    expect([f.sin(0), f.cos(0)]).toEqual([0, 1]);
    expect([f.tanh(-Infinity), f.tanh(0), f.tanh(40), f.tanh(Number.NaN)]).toEqual([-1, 0, 1, Number.NaN]);
    expect([f.sigmoid(-Infinity), f.sigmoid(0), f.sigmoid(Infinity)]).toEqual([0, 0.5, 1]);
    expect([f.erf(-Infinity), f.erf(0), f.erf(7), f.erf(Number.NaN)]).toEqual([-1, 0, 1, Number.NaN]);
    expect([f.pow(-1, 2), f.pow(0, 2), f.pow(7, 0)]).toEqual([Number.NaN, 0, 1]);
  });
});

describe('erf', () => {
  // 17 digits from an arbitrary-precision library.
  test.each([
    [1e-10, 1.1283791670955126e-10],
    [0.1, 0.1124629160182849],
    [0.5, 0.5204998778130465],
    [0.9999999, 0.842700751438961],
    [1.0000001, 0.8427008344604605],
    [1.5, 0.9661051464753108],
    [1.9999999, 0.9953222629522538],
    [2.0000001, 0.9953222670856509],
    [2.5, 0.999593047982555],
    [3.5, 0.9999992569016276],
    [5.5, 0.9999999999999927],
  ])('erf(±%d) within 2 ulp', (x, expected) => {
    expect(ulps(f.erf(x), expected)).toBeLessThanOrEqual(2);
    expect(f.erf(-x)).toBe(-f.erf(x));
  });

  test('within 1e-15 of its Maclaurin series everywhere below 3', () => {
    for (const x of points(-3, 3, 3000)) {
      // e^(−x²) Σ 2ⁿ x^(2n+1) / (2n+1)!!: all terms of one sign.
      let term = x;
      let sum = x;
      for (let n = 1; n < 120; n++) {
        term *= (2 * x * x) / (2 * n + 1);
        sum += term;
      }
      expect(Math.abs(f.erf(x) - 1.1283791670955126 * Math.exp(-x * x) * sum)).toBeLessThan(1e-15);
    }
  });
});
