/** The allocator and the scope of the compute core: sizes that are none, sizes beyond 32 bits, where allocations lie, traps. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openCore, type Core } from '../../src/core/core.ts';
import { InvalidArgumentError, KernelError, OutOfMemoryError } from '../../src/core/errors.ts';
import { Random, streams } from '../../src/tensor/random.ts';

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

it('large allocations of round sizes lie well apart modulo 4096, also where one was freed', () => {
  const apart = (a: number, b: number): number => Math.min((a - b) & 4095, (b - a) & 4095);
  for (const bytes of [2 ** 16, 2 ** 20, 3 * 2 ** 20 - 16]) {
    const pointers = Array.from({ length: 8 }, () => core.allocate(bytes, 'a test'));
    core.free(pointers[7] as number);
    pointers[7] = core.allocate(bytes, 'a test');
    for (const [i, pointer] of pointers.entries()) {
      core.u8(pointer, bytes).fill(i + 1);
      expect(pointer % 16).toBe(0);
      for (const earlier of pointers.slice(Math.max(0, i - 4), i)) expect(apart(pointer, earlier)).toBeGreaterThanOrEqual(400);
    }
    for (const [i, pointer] of pointers.entries()) {
      expect(core.u8(pointer, bytes).every((value) => value === i + 1)).toBe(true);
      core.free(pointer);
    }
  }
  expect(core.liveAllocations).toBe(0);
});

describe('what is free at the end of the heap and what it may grow by', () => {
  const MB = 2 ** 20;

  it('are one room', () => {
    // 20 MB are free below the end and some 20 are left to grow by: neither alone has room for 30.
    const below = core.allocate(22 * MB, 'a test');
    core.free(core.allocate(20 * MB, 'a test'));
    expect(core.heapBytes - below).toBeLessThan(52 * MB);
    const pointer = core.allocate(30 * MB, 'a test');
    expect(pointer).toBeGreaterThanOrEqual(below + 22 * MB);
    core.u8(pointer, 30 * MB).fill(1);
    core.free(pointer);
    core.free(below);
    expect(core.liveAllocations).toBe(0);
  });

  it('are had whatever was there before, to half a megabyte', () => {
    const random = new Random(1, streams.batches);
    for (let round = 0; round < 20; round++) {
      const blocks = new Map<number, number>();
      for (let i = 0; i < 60; i++) {
        const bytes = random.below(2 ** (10 + random.below(13)));
        try {
          blocks.set(core.allocate(bytes, 'a test'), bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(OutOfMemoryError);
        }
        for (const pointer of blocks.keys()) {
          if (random.below(4) > 0) continue;
          core.free(pointer);
          blocks.delete(pointer);
        }
      }
      const end = Math.max(0, ...[...blocks].map(([pointer, bytes]) => pointer + bytes));
      core.free(core.allocate(core.heapLimitBytes - Math.max(end, 2 ** 17) - MB / 2, 'a test'));
      for (const pointer of blocks.keys()) core.free(pointer);
    }
    expect(core.liveAllocations).toBe(0);
  });

  it.each([0, 1, 4, 7, 8, 12])('are one room where the heap has grown by megabytes and %i bytes', (odd) => {
    const blocks = [15, 17, 19].map((size) => core.allocate(size * MB + odd, 'a test'));
    for (const pointer of blocks) core.free(pointer);
    // There is nothing left to grow by that would hold as many.
    const pointer = core.allocate(51 * MB, 'a test');
    expect(Math.abs(pointer - (blocks[0] as number)), 'the first block’s place, but for how large ones are staggered').toBeLessThan(4096);
  });

  it('are left alone where both together are too small', () => {
    const below = core.allocate(30 * MB, 'a test');
    const heap = core.heapBytes;
    expect(() => core.allocate(40 * MB, 'a test')).toThrow(OutOfMemoryError);
    expect(core.heapBytes).toBe(heap);
    core.free(below);
  });
});

it('a trap within a scope is a typed error, after which everything is freed', () => {
  const body = (): void => core.scoped((scratch) => core.kernels.addF32(scratch.f32(4), 0xffff_fff0, 4));
  expect(body).toThrow(KernelError);
  expect(body).toThrow(/RuntimeError/);
  expect(core.liveAllocations).toBe(0);
});
