/** Losses over few and many classes (`assembly/loss.ts` computes them in two ways) against sums in f64. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openCore, type Core } from '../../src/core/core.ts';

let core: Core;
beforeAll(async () => {
  core = await openCore();
});
afterAll(() => core[Symbol.dispose]());

const rows = 7;
const scale = 1 / 3;

test.each([[10, 0], [255, 0.1], [256, 0], [257, 0.1], [1003, 0], [1003, 0.25]])('%i classes, smoothing %f', (classes, smoothing) => {
  const logits = Float32Array.from({ length: rows * classes }, (_, i) => ((i * 7919) % 1009) / 60 - (i % 5 === 0 ? 12 : 0));
  // One row's label has nearly all of the probability: there it and the target cancel.
  logits[classes + 3] = 40;
  const labels = Int32Array.from({ length: rows }, (_, i) => (i === 1 ? 3 : (i * 37) % classes));
  let loss = 0;
  const gradient = Float64Array.from(logits, () => 0);
  const bound = Float64Array.from(logits, () => 0);
  for (let i = 0; i < rows; i++) {
    const row = Array.from(logits.subarray(i * classes, (i + 1) * classes));
    const largest = Math.max(...row);
    const log = largest + Math.log(row.reduce((sum, z) => sum + Math.exp(z - largest), 0));
    for (const [j, z] of row.entries()) {
      const target = (j === labels[i] ? 1 - smoothing : 0) + smoothing / classes;
      loss += target * (log - z);
      const probability = Math.exp(z - log);
      gradient[i * classes + j] = (probability - target) * scale;
      // In f32 the exponent has an absolute error, z − largest times half an ulp, that the exponential turns into a relative one.
      bound[i * classes + j] =
        (probability * (3e-7 + 6e-8 * (largest - z)) + 2e-7 * (smoothing / classes) + 1e-7 * Math.abs(probability - target)) * scale;
    }
  }
  core.scoped((scratch) => {
    const [x, y, own] = [scratch.upload(logits), scratch.upload(labels), scratch.f32(logits.length)];
    const run = (to: number): number =>
      smoothing === 0
        ? core.kernels.softmaxCrossEntropyF32(x, y, to, rows, classes, scale)
        : core.kernels.targetLossF32(0, x, y, to, rows, classes, smoothing, scale);
    expect(Math.abs(run(own) / loss - 1)).toBeLessThan(1e-7);
    const got = core.f32(own, logits.length).slice();
    for (const [i, exact] of gradient.entries()) {
      expect(Math.abs((got[i] as number) - exact), `gradient ${i}`).toBeLessThanOrEqual((bound[i] as number) + 1e-38);
    }
    run(x);
    expect(core.f32(x, logits.length)).toEqual(got);
  });
});
