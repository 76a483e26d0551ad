/** The rectifier that goes piece by piece: values and gradients in f64 wherever a number is, over its input and beside it. */
import { engine, type Tensor } from '#tfjs';
import { describe, expect, it } from 'vitest';
import { openedEngine } from './opened-engine.ts';
import { run } from '../../src/gradient/kernels/support.ts';

const { core, gradients } = await openedEngine();

/** Three pieces and a rest that is no multiple of four. */
const COUNT = 3 * 1024 + 7;
const even = Float32Array.from({ length: COUNT }, (_, i) => -8 + (16 * i) / (COUNT - 1));
/** What comes back from above: no two alike. */
const dy = even.map((_, i) => 1 + i / COUNT);

type Where = { readonly inPlace?: boolean };

function call(kernel: string, inputs: { readonly [name: string]: Float32Array }, attrs: Where): Float32Array {
  const tensors = Object.fromEntries(
    Object.entries(inputs).map(([name, values]) => [name, engine().makeTensor(values.slice(), [values.length], 'float32') as Tensor]),
  );
  const output = run(kernel, tensors, attrs);
  const numbers = output.dataSync<'float32'>().slice();
  for (const tensor of [output, ...Object.values(tensors)]) tensor.dispose();
  return numbers;
}

const hardsigmoid = (x: Float32Array, attrs: Where = {}): Float32Array => call('HardSigmoid', { x }, attrs);
const back = (from: Float32Array, y: Float32Array, attrs: Where = {}): Float32Array => call('HardSigmoidGrad', { dy: from, y }, attrs);

/** Neighbours of ±3 in f32. */
const [innerFloor, outerFloor, innerCeiling, outerCeiling] = [-3 + 2 ** -22, -3 - 2 ** -22, 3 - 2 ** -22, 3 + 2 ** -22];

describe('hardsigmoid', () => {
  const values = hardsigmoid(even);
  const slopes = back(dy, values);

  it('values within 2^−22 of f64, gradients within two roundings: a sixth between −3 and 3, and nothing elsewhere', () => {
    for (const [i, x] of even.entries()) {
      expect(Math.abs((values[i] as number) - Math.min(Math.max(x + 3, 0), 6) / 6), `value at ${x}`).toBeLessThanOrEqual(2 ** -22);
      const slope = Math.abs(x) < 3 ? (dy[i] as number) / 6 : 0;
      expect(Math.abs((slopes[i] as number) - slope), `gradient at ${x}`).toBeLessThanOrEqual(2 ** -23 * slope);
    }
  });

  it('is exactly 0 up to −3 and 1 from 3 on, and NaN of NaN', () => {
    const x = Float32Array.of(-Infinity, -1e38, outerFloor, -3, 3, outerCeiling, 3e38, Infinity, Number.NaN);
    const y = hardsigmoid(x);
    expect([...y].map((each) => each + 0)).toEqual([0, 0, 0, 0, 1, 1, 1, 1, Number.NaN]);
    expect([...back(x.map(() => 1), y)].map((each) => each + 0)).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0]);
  });

  it("has a slope right beside both kinks, but at the last number below 3, whose sum with 3 rounds to 6", () => {
    const x = Float32Array.of(innerFloor, -1, 0, 1, 3 - 2 ** -21, innerCeiling);
    const sixth = Math.fround(1 / 6);
    expect([...back(x.map(() => 1), hardsigmoid(x))]).toEqual([sixth, sixth, sixth, sixth, sixth, 0]);
  });

  it('the same bytes in place', () => {
    expect(hardsigmoid(even, { inPlace: true })).toEqual(values);
    expect(back(dy, values, { inPlace: true })).toEqual(slopes);
    expect(core.liveAllocations).toBe(0);
    expect(gradients.memory.liveTensors).toBe(0);
  });

  it('gives a number the same bytes wherever it stands', () => {
    for (const count of [1, 3, 4, 5, 1023, 1025]) {
      const part = hardsigmoid(even.slice(501, 501 + count));
      expect(part).toEqual(values.slice(501, 501 + count));
      expect(back(dy.slice(501, 501 + count), part)).toEqual(slopes.slice(501, 501 + count));
    }
  });
});
