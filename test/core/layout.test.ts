/**
 * Permutations of axes on the heap against index arithmetic: shapes on both sides of the kernels' blocks and strips,
 * and nothing written beyond.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openCore, type Core } from '../../src/core/core.ts';

let core: Core;
beforeAll(async () => {
  core = await openCore();
});
afterAll(() => core[Symbol.dispose]());

const GUARD = -7;

/** What `kernel` makes of 0, 1, 2, … `count`, with four elements behind its output, which must stay as they were. */
function permuted(count: number, kernel: (from: number, to: number) => void): number[] {
  return core.scoped((scratch) => {
    const from = scratch.upload(Float32Array.from({ length: count }, (_, i) => i), 'from');
    const to = scratch.upload(new Float32Array(count + 4).fill(GUARD), 'to');
    kernel(from, to);
    const out = [...core.f32(to, count + 4)];
    expect(out.slice(count)).toEqual([GUARD, GUARD, GUARD, GUARD]);
    return out.slice(0, count);
  });
}

it.each([
  [1, 1, 1], [1, 5, 1], [1, 64, 1], [1, 5, 9], [9, 5, 1], [5, 1, 9], [3, 2, 4], [16, 3, 9], [9, 3, 16], [17, 4, 9], [9, 4, 35], [33, 7, 18],
  [18, 7, 33], [64, 5, 1], [15, 2, 15], [50, 1, 49],
])('reverses [%i, %i, %i]', (a, b, c) => {
  const out = permuted(a * b * c, (from, to) => core.kernels.reverseAxesF32(from, to, a, b, c));
  expect(out).toEqual(Array.from({ length: a * b * c }, (_, at) => {
    const [k, j, i] = [Math.floor(at / (b * a)), Math.floor(at / a) % b, at % a];
    return (i * b + j) * c + k;
  }));
});

it.each([[1, 1, 1], [1, 4, 4], [2, 5, 7], [3, 16, 3], [1, 33, 18]])('transposes %i matrices of %i × %i', (count, rows, columns) => {
  const out = permuted(count * rows * columns, (from, to) => core.kernels.transposeF32(from, to, count, rows, columns));
  expect(out).toEqual(Array.from({ length: count * rows * columns }, (_, at) => {
    const [n, j, i] = [Math.floor(at / (rows * columns)), Math.floor(at / rows) % columns, at % rows];
    return (n * rows + i) * columns + j;
  }));
});
