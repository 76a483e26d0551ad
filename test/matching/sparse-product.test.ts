// The product that leaves out zeros: the bytes of the tiled one, at rims and beyond a block of sums too.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Core, openCore } from '../../src/core/core.ts';
import { matmul } from '../../src/core/matmul.ts';

let core: Core;
beforeAll(async () => {
  core = await openCore();
});
afterAll(() => core[Symbol.dispose]());

/** Reproducible values in [−1, 1), all but `share` of them zero. */
function values(count: number, seed: number, share: number): Float32Array {
  let state = (seed * 2654435761 + 12345) >>> 0;
  const next = (): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 31 - 1;
  return Float32Array.from({ length: count }, () => {
    const value = next();
    return (next() + 1) / 2 < share ? value : 0;
  });
}

test.each([
  [4, 1, 1], [8, 31, 3], [128, 32, 256], [132, 33, 257], [260, 96, 600], [64, 70, 513],
])('%i by %i over %i terms: the bytes of the tiled product', (m, n, k) => {
  for (const share of [0, 0.1, 0.6, 1]) {
    core.scoped((scratch) => {
      const [a, b] = [scratch.upload(values(m * k, 1, share)), scratch.upload(values(k * n, 2, 1))];
      // What is there is added to; a guard behind must stay.
      const before = values(m * n + 8, 3, 1);
      const [sparse, tiled] = [scratch.upload(before), scratch.upload(before)];
      core.kernels.sparseProductF32(a, b, sparse, m, n, k, scratch.bytes(core.kernels.sparseProductScratchBytes()));
      matmul(core, { a, b, c: tiled, m, n, k, transposeA: true, accumulate: true });
      expect(core.f32(sparse, m * n + 8).slice()).toEqual(core.f32(tiled, m * n + 8).slice());
    });
  }
  expect(core.liveAllocations).toBe(0);
});
