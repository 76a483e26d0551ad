/** The map that goes piece by piece: values and slopes in f64 wherever a number is, over its input and beside it. */
import { engine, type Tensor } from '#tfjs';
import { describe, expect, it } from 'vitest';
import { openedEngine } from './opened-engine.ts';
import { runAll } from '../../src/gradient/kernels/support.ts';

const { core, gradients } = await openedEngine();

/** Three pieces and a rest that is no multiple of four. */
const COUNT = 3 * 1024 + 7;
const even = Float32Array.from({ length: COUNT }, (_, i) => -8 + (16 * i) / (COUNT - 1));
const value = (x: number): number => (x * Math.min(Math.max(x + 3, 0), 6)) / 6;
const slope = (x: number): number => (x <= -3 ? 0 : x >= 3 ? 1 : (2 * x + 3) / 6);

/** [values, slopes] or [values], as the tape asks for them. */
function hardswish(x: Float32Array, attrs: { readonly slopes: boolean; readonly inPlace?: boolean }): Float32Array[] {
  const input = engine().makeTensor(x.slice(), [x.length], 'float32') as Tensor;
  const outputs = runAll('Hardswish', { x: input }, attrs);
  const numbers = outputs.map((output) => output.dataSync<'float32'>().slice());
  for (const tensor of [...outputs, input]) tensor.dispose();
  return numbers as Float32Array[];
}

describe('hardswish', () => {
  const [values, slopes] = hardswish(even, { slopes: true }) as [Float32Array, Float32Array];

  it('values within four roundings, slopes within as many of 1', () => {
    // Four roundings, one of them of 1/6, each of at most 2^−24 of a number; the slope's terms are at most 1.
    for (const [i, x] of even.entries()) {
      expect(Math.abs((values[i] as number) - value(x)), `value at ${x}`).toBeLessThanOrEqual(2 ** -22 * Math.abs(value(x)));
      expect(Math.abs((slopes[i] as number) - slope(x)), `slope at ${x}`).toBeLessThanOrEqual(2 ** -22);
    }
  });

  it('is x itself from 3 on, nothing below −3, and NaN where PyTorch has it', () => {
    const x = Float32Array.of(-Infinity, -1e38, -3, 3, 3e38, Infinity, Number.NaN);
    const [y, dy] = hardswish(x, { slopes: true }) as [Float32Array, Float32Array];
    expect([...y].map((each) => each + 0)).toEqual([Number.NaN, 0, 0, 3, Math.fround(3e38), Infinity, Number.NaN]);
    expect([...dy].map((each) => each + 0)).toEqual([0, 0, 0, 1, 1, 1, Number.NaN]);
  });

  it.each([
    { slopes: false },
    { slopes: false, inPlace: true },
    { slopes: true, inPlace: true },
  ])('the same bytes with %o', (attrs) => {
    const got = hardswish(even, attrs);
    expect(got).toEqual(attrs.slopes ? [values, slopes] : [values]);
    expect(core.liveAllocations).toBe(0);
    expect(gradients.memory.liveTensors).toBe(0);
  });

  it('gives a number the same bytes wherever it stands', () => {
    for (const count of [1, 3, 4, 5, 1023, 1025]) {
      const [part, partSlopes] = hardswish(even.slice(501, 501 + count), { slopes: true });
      expect(part).toEqual(values.slice(501, 501 + count));
      expect(partSlopes).toEqual(slopes.slice(501, 501 + count));
    }
  });
});
