/** Filling by the core's kernels against the stream one number at a time, and moments of the normal fill. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCore, type Core } from '../../src/core/core.ts';
import { Random, fillNormal, fillUniform, streams } from '../../src/tensor/random.ts';

let core: Core;
beforeAll(async () => {
  core = await openCore();
});
afterAll(() => core[Symbol.dispose]());

const SEED = 3 * 2 ** 32 + 4_000_000_001;

describe('fillUniform', () => {
  test.each([0, 1, 2, 3, 4, 5, 7, 65_535, 65_536, 65_541])('%d elements are the words of the stream', (count) => {
    const data = new Float32Array(count);
    fillUniform(core, data, [-0.25, 0.75], { seed: SEED, stream: streams.initialise, index: 4_000_000_000 });
    const random = new Random(SEED, streams.initialise, 4_000_000_000);
    const expected = new Float32Array(count);
    for (let i = 0; i < count; i++) expected[i] = -0.25 + (random.u32() >>> 8) / 2 ** 24;
    expect(Buffer.compare(Buffer.from(data.buffer), Buffer.from(expected.buffer))).toBe(0);
  });

  test('a shorter fill is the start of a longer one; other seeds share nothing', () => {
    const long = new Float32Array(100);
    const short = new Float32Array(10);
    const other = new Float32Array(100);
    fillUniform(core, long, [0, 1], { seed: 1, stream: streams.split });
    fillUniform(core, short, [0, 1], { seed: 1, stream: streams.split });
    fillUniform(core, other, [0, 1], { seed: 2, stream: streams.split });
    expect(long.slice(0, 10)).toEqual(short);
    expect(other.filter((x, i) => x === long[i])).toHaveLength(0);
  });
});

describe('fillNormal', () => {
  test('Box–Muller on the words of the stream, to f32', () => {
    const data = new Float32Array(10_003);
    fillNormal(core, data, [1.5, 0.5], { seed: SEED, stream: streams.initialise, index: 2 });
    const random = new Random(SEED, streams.initialise, 2);
    for (let i = 0; i < data.length; i += 2) {
      const radius = 0.5 * Math.sqrt(-2 * Math.log((random.u32() + 0.5) / 2 ** 32));
      const angle = 2 * Math.PI * (random.u32() / 2 ** 32);
      expect(data[i]).toBeCloseTo(1.5 + radius * Math.cos(angle), 6);
      if (i + 1 < data.length) expect(data[i + 1]).toBeCloseTo(1.5 + radius * Math.sin(angle), 6);
    }
  });

  test('moments of 200,000 are those of the normal distribution within five standard errors', () => {
    const count = 200_000;
    const data = new Float32Array(count);
    fillNormal(core, data, [0, 1], { seed: 5, stream: streams.initialise });
    const moment = (power: number): number => data.reduce((sum, x) => sum + x ** power, 0) / count;
    expect(Math.abs(moment(1))).toBeLessThan(5 * Math.sqrt(1 / count));
    expect(Math.abs(moment(2) - 1)).toBeLessThan(5 * Math.sqrt(2 / count));
    expect(Math.abs(moment(3))).toBeLessThan(5 * Math.sqrt(15 / count));
    expect(Math.abs(moment(4) - 3)).toBeLessThan(5 * Math.sqrt(96 / count));
  });
});

test.each([
  ['low', () => fillUniform(core, new Float32Array(1), [Number.NaN, 1], { seed: 1, stream: streams.split })],
  ['standardDeviation', () => fillNormal(core, new Float32Array(1), [0, -1], { seed: 1, stream: streams.split })],
  ['seed', () => fillNormal(core, new Float32Array(1), [0, 1], { seed: 0.5, stream: streams.split })],
])('a bad %s is refused by name', (field, call) => {
  expect(call).toThrow(new RegExp(`^${field}: expected`));
});

test('nothing stays allocated', () => {
  expect(core.liveAllocations).toBe(0);
});
