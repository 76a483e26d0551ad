// The product that leaves out zeros: the bytes of the tiled one, at rims and beyond a block of sums too.
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { type Core, openCore } from '../../src/core/core.ts';
import { matmul } from '../../src/core/matmul.ts';
import { gramLeavingOutZeros, matmulLeavingOutZeros, type PlainProduct } from '../../src/core/sparse-matmul.ts';
import { sparseValues } from '../portable/values.ts';

let core: Core;
beforeAll(async () => {
  core = await openCore();
});
afterAll(() => core[Symbol.dispose]());

test.each([
  [4, 1, 1], [8, 31, 3], [128, 32, 256], [132, 33, 257], [5, 65, 12], [261, 96, 600], [63, 70, 514],
])('%i by %i over %i terms: the bytes of the tiled product', (m, n, k) => {
  for (const share of [0, 0.1, 0.6, 1]) {
    for (const [transposeA, transposeB] of [[true, false], [false, false], [false, true], [true, true]] as const) {
      core.scoped((scratch) => {
        const [a, b] = [scratch.upload(sparseValues(m * k, 1, share)), scratch.upload(sparseValues(k * n, 2, 1))];
        // What is there is added to; a guard behind must stay.
        const before = sparseValues(m * n + 8, 3, 1);
        const [sparse, tiled] = [scratch.upload(before), scratch.upload(before)];
        core.kernels.sparseProductF32(
          a, b, sparse, m, n, k, Number(transposeA), Number(transposeB), scratch.bytes(core.kernels.sparseProductScratchBytes()),
        );
        matmul(core, { a, b, c: tiled, m, n, k, transposeA, transposeB, accumulate: true });
        expect(core.f32(sparse, m * n + 8).slice()).toEqual(core.f32(tiled, m * n + 8).slice());
      });
    }
  }
  expect(core.liveAllocations).toBe(0);
});

/** How often each of the two products was computed by `body`. */
function calls(body: (core: Core) => void): { sparse: number; tiled: number } {
  const sparse = vi.spyOn(core.kernels, 'sparseProductF32');
  const tiled = vi.spyOn(core.kernels, 'matmulF32');
  body(core);
  const counts = { sparse: sparse.mock.calls.length, tiled: tiled.mock.calls.length };
  sparse.mockRestore();
  tiled.mockRestore();
  return counts;
}

describe('matmulLeavingOutZeros', () => {
  const [m, n, k] = [96, 128, 300];
  const product = (ofA: number, ofB: number, options: Partial<PlainProduct>, operands: readonly ('a' | 'b')[]): ReturnType<typeof calls> =>
    calls(() => {
      core.scoped((scratch) => {
        const [a, b] = [scratch.upload(sparseValues(m * k, 1, ofA)), scratch.upload(sparseValues(k * n, 2, ofB))];
        const before = sparseValues(m * n, 3, 1);
        const [c, expected] = [scratch.upload(before), scratch.upload(before)];
        core.kernels.productF32(
          a, options.transposeA === true ? 1 : k, options.transposeA === true ? m : 1, 0, 1, 0, 1,
          b, options.transposeB === true ? 1 : n, options.transposeB === true ? k : 1, 0, 0,
          expected, n, m, n, k, Number(options.accumulate ?? false), scratch.bytes(core.kernels.matmulScratchBytes(m, n, k)),
        );
        matmulLeavingOutZeros(core, { a, b, c, m, n, k, ...options }, operands);
        expect(core.f32(c, m * n).slice()).toEqual(core.f32(expected, m * n).slice());
      });
    });

  test.each([true, false])('zeros of either operand, transposed or not (A %s), are left out: the same bytes', (transposeA) => {
    for (const transposeB of [true, false]) {
      for (const accumulate of [true, false]) {
        expect(product(0.3, 1, { transposeA, transposeB, accumulate }, ['a', 'b'])).toEqual({ sparse: 1, tiled: 0 });
      }
      expect(product(1, 0.3, { transposeA, transposeB }, ['a', 'b'])).toEqual({ sparse: 1, tiled: 0 });
      expect(product(0.5, 0.1, { transposeA, transposeB }, ['a', 'b'])).toEqual({ sparse: 1, tiled: 0 });
    }
  });

  test('zeros are multiplied where they are few, not asked for, or those of B in a product that is added', () => {
    expect(product(0.9, 0.9, {}, ['a', 'b'])).toEqual({ sparse: 0, tiled: 1 });
    expect(product(0.3, 1, {}, ['b'])).toEqual({ sparse: 0, tiled: 1 });
    expect(product(1, 0.3, { accumulate: true }, ['a', 'b'])).toEqual({ sparse: 0, tiled: 1 });
  });
});

test.each([
  [1, 5], [31, 40], [32, 300], [45, 784], [130, 513],
])('A · Aᵀ of %i rows over %i terms: the bytes of the whole product, in part of its work', (m, k) => {
  for (const share of [0.2, 1]) {
    core.scoped((scratch) => {
      const a = scratch.upload(sparseValues(m * k, 4, share));
      const [c, whole] = [scratch.upload(sparseValues(m * m + 8, 5, 1)), scratch.upload(sparseValues(m * m + 8, 5, 1))];
      matmul(core, { a, b: a, c: whole, m, n: m, k, transposeB: true });
      const { sparse, tiled } = calls(() => gramLeavingOutZeros(core, { a, c, m, k }));
      expect({ sparse, tiled }).toEqual(share < 1 && m >= 64 ? { sparse: 1, tiled: 0 } : { sparse: 0, tiled: Math.ceil(m / 32) });
      expect(core.f32(c, m * m + 8).slice()).toEqual(core.f32(whole, m * m + 8).slice());
    });
  }
});
