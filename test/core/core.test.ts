/** The allocator and the scope of the compute core: sizes that are none, sizes beyond 32 bits, where allocations lie, traps. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openCore, type Core } from '../../src/core/core.ts';
import { InvalidArgumentError, KernelError, OutOfMemoryError } from '../../src/core/errors.ts';

let core: Core;
beforeEach(async () => {
  core = await openCore({ heapLimitBytes: 64 * 2 ** 20 });
});
afterEach(() => core[Symbol.dispose]());

describe('sizes', () => {
  // Modulo 2^32 all of these are small enough to be had.
  it.each([2 ** 31, 2 ** 32, 2 ** 32 + 64, 3 * 2 ** 32 + 1, 2 ** 52, 64 * 2 ** 20 + 1])('of %d bytes are out of memory', (bytes) => {
    const heap = core.heapBytes;
    expect(() => core.allocate(bytes, 'a test')).toThrow(OutOfMemoryError);
    expect(() => core.scoped((scratch) => scratch.f64(bytes / 8))).toThrow(OutOfMemoryError);
    expect([core.heapBytes, core.liveAllocations]).toEqual([heap, 0]);
  });

  it.each([NaN, -8, 0.5, Infinity, -(2 ** 32) + 64, 1e300])('%d is none', (bytes) => {
    expect(() => core.allocate(bytes, 'a test')).toThrow(InvalidArgumentError);
    expect(core.liveAllocations).toBe(0);
  });

  it('that a kernel tells in 32 bits do not wrap', () => {
    // 8 · 128 · 2^22 bytes of scores are 2^32, of which nothing is left but the panels of the product.
    const tokens = 2 ** 22;
    const told = core.kernels.attentionScratchBytes(tokens, 1, 1);
    expect(told).toBeLessThan(2 ** 22);
    expect(() => core.scoped((scratch) => scratch.told(told, 8 * 64 * tokens, 'scores'))).toThrow(OutOfMemoryError);
    // Those with the highest bit set are no negative ones, and those that do not wrap are taken as told.
    expect(() => core.scoped((scratch) => scratch.told(-4096, 0, 'scores'))).toThrow(OutOfMemoryError);
    core.scoped((scratch) => {
      const [first, second] = [scratch.told(4096, 100, 'a'), scratch.told(4096, 100, 'b')];
      expect(Math.abs(second - first)).toBeGreaterThanOrEqual(4096);
    });
  });
});

it('allocations of any size lie at multiples of 16, apart from one another, and all of what was taken is given back', () => {
  const blocks = Array.from({ length: 100 }, (_, bytes) => ({ bytes, pointer: core.allocate(bytes, 'a test') }));
  blocks.sort((a, b) => a.pointer - b.pointer);
  for (const [i, { bytes, pointer }] of blocks.entries()) {
    expect(pointer % 16).toBe(0);
    expect(blocks[i + 1]?.pointer ?? Infinity).toBeGreaterThanOrEqual(pointer + Math.max(1, bytes));
  }
  for (const { pointer } of blocks) core.free(pointer);
  // A gigabyte in all, in a heap of 64 MB.
  for (let i = 0; i < 1024; i++) core.free(core.allocate(2 ** 20 + 8 * i, 'a test'));
  expect(core.liveAllocations).toBe(0);
});

it('a trap within a scope is a typed error, after which everything is freed', () => {
  const body = (): void => core.scoped((scratch) => core.kernels.addF32(scratch.f32(4), 0xffff_fff0, 4));
  expect(body).toThrow(KernelError);
  expect(body).toThrow(/RuntimeError/);
  expect(core.liveAllocations).toBe(0);
});
