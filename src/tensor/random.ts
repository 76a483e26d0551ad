/**
 * Seeded random numbers from integers alone: Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as
 * easy as 1, 2, 3", SC 2011). Counter-based: number i of a stream is a function of (seed, stream, index, i), so streams
 * never overlap, need no state to be stored, and are the same in every runtime.
 */
import type { Core } from '../core/core.ts';
import { requireInteger, requireNumber } from '../core/require.ts';

/**
 * One purpose, one stream: drawing more for one never shifts another. A number stays with its purpose for good, since
 * results follow from it; 8 was that of one that is gone.
 */
export const streams = {
  initialise: 1,
  split: 2,
  batches: 3,
  sweepOrder: 4,
  permutation: 5,
  generatedImages: 6,
  statistics: 7,
  rowSums: 9,
} as const;

type Stream = (typeof streams)[keyof typeof streams];

/** Which random numbers: as the arguments of `Random`. */
export interface Draw {
  readonly seed: number;
  readonly stream: Stream;
  readonly index?: number;
}

const WORDS = 2 ** 32;

/**
 * One block: ten rounds on `counter` under `key`, written to `out` (4 words each; `key` 2). All are u32.
 * Exact in f64: each 32 × 32 product is put together from 16-bit halves.
 */
export function philoxBlock(counter: Uint32Array, key: Uint32Array, out: Uint32Array): void {
  let c0 = counter[0] as number;
  let c1 = counter[1] as number;
  let c2 = counter[2] as number;
  let c3 = counter[3] as number;
  let k0 = key[0] as number;
  let k1 = key[1] as number;
  for (let round = 0; round < 10; round++) {
    // The multipliers of the paper, 0xD2511F53 and 0xCD9E8D57.
    const high0 = multiplyHigh(0xd2511f53, c0);
    const low0 = Math.imul(0xd2511f53, c0);
    const high1 = multiplyHigh(0xcd9e8d57, c2);
    const low1 = Math.imul(0xcd9e8d57, c2);
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c1 = low1 >>> 0;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c3 = low0 >>> 0;
    // Weyl sequence of the golden ratio and of √3 − 1.
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

/** Upper 32 bits of the 64-bit product of two u32. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  // Every term is below 2^32 and every sum below 2^53: no rounding.
  const middle = aHigh * bLow + Math.floor((aLow * bLow) / 65_536);
  return aHigh * bHigh + Math.floor(middle / 65_536) + Math.floor((aLow * bHigh + (middle % 65_536)) / 65_536);
}

/** The key and the first counter of a stream. Checks all three. */
function philoxSetup({ seed, stream, index = 0 }: Draw): { key: Uint32Array; counter: Uint32Array } {
  requireInteger('seed', seed, 0);
  requireInteger('stream', stream, 0, WORDS - 1);
  requireInteger('index', index, 0, WORDS - 1);
  return { key: Uint32Array.of(seed % WORDS, Math.floor(seed / WORDS)), counter: Uint32Array.of(0, 0, index, stream) };
}

/** A stream of random numbers, from its start. */
export class Random {
  readonly #key: Uint32Array;
  readonly #counter: Uint32Array;
  readonly #block = new Uint32Array(4);
  #next = 4;

  /**
   * @param seed a safe integer ≥ 0.
   * @param stream what the numbers are for.
   * @param index which of many alike, e.g. the step or the parameter.
   * @throws InvalidArgumentError
   */
  constructor(seed: number, stream: Stream, index = 0) {
    ({ key: this.#key, counter: this.#counter } = philoxSetup({ seed, stream, index }));
  }

  /** 32 random bits. */
  u32(): number {
    if (this.#next === 4) {
      philoxBlock(this.#counter, this.#key, this.#block);
      const low = ((this.#counter[0] as number) + 1) >>> 0;
      this.#counter[0] = low;
      if (low === 0) this.#counter[1] = (this.#counter[1] as number) + 1;
      this.#next = 0;
    }
    return this.#block[this.#next++] as number;
  }

  /** An integer in [0, bound), each equally likely (draws that would favour small results are thrown away). */
  below(bound: number): number {
    requireInteger('bound', bound, 1, WORDS);
    const fair = WORDS - (WORDS % bound);
    let word = this.u32();
    while (word >= fair) word = this.u32();
    return word % bound;
  }

  /** A multiple of 2^−53 in [0, 1). */
  uniform(): number {
    const high = this.u32() >>> 5;
    return (high * 67_108_864 + (this.u32() >>> 6)) / 9_007_199_254_740_992;
  }

  /** 0 … n − 1 in random order. */
  permutation(n: number): Int32Array {
    const order = new Int32Array(requireInteger('n', n, 0, 2 ** 31 - 1));
    for (let i = 0; i < n; i++) order[i] = i;
    this.shuffle(order);
    return order;
  }

  /** Fisher–Yates, in place. */
  shuffle(items: Int32Array): void {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      const held = items[i] as number;
      items[i] = items[j] as number;
      items[j] = held;
    }
  }
}

/**
 * Fills `data` with uniform numbers: element i is low + (high − low) · (word i of the stream >>> 8) / 2^24, rounded to
 * f32 (so `high` itself can occur by rounding).
 * @throws InvalidArgumentError for a bound that is not finite.
 */
export function fillUniform(core: Core, data: Float32Array, [low, high]: readonly [number, number], draw: Draw): void {
  requireNumber('low', low);
  requireNumber('high', high);
  fill(core, 'fillUniformF32', data, [low, high], draw);
}

/**
 * Fills `data` with normal numbers by Box–Muller in f64: elements 2i and 2i + 1 come from the words 2i and 2i + 1 of the
 * stream. The tails end at 6.8 standard deviations.
 * @throws InvalidArgumentError for a mean or deviation that is not finite, or a negative deviation.
 */
export function fillNormal(core: Core, data: Float32Array, [mean, standardDeviation]: readonly [number, number], draw: Draw): void {
  requireNumber('mean', mean);
  requireNumber('standardDeviation', standardDeviation, 0);
  fill(core, 'fillNormalF32', data, [mean, standardDeviation], draw);
}

/** Elements a call: 256 KiB of scratch, whatever the size of the tensor. A multiple of 4, so that chunks end with blocks. */
const CHUNK_ELEMENTS = 65_536;

function fill(
  core: Core, kernel: 'fillUniformF32' | 'fillNormalF32', data: Float32Array, parameters: readonly [number, number], draw: Draw,
): void {
  const { stream, index = 0 } = draw;
  const { key } = philoxSetup(draw);
  core.scoped((scratch) => {
    const pointer = scratch.f32(Math.min(data.length, CHUNK_ELEMENTS), 'random numbers');
    for (let start = 0; start < data.length; start += CHUNK_ELEMENTS) {
      const count = Math.min(CHUNK_ELEMENTS, data.length - start);
      core.kernels[kernel](pointer, count, ...parameters, start / 4, index, stream, key[0] as number, key[1] as number);
      data.set(core.f32(pointer, count), start);
    }
  });
}
