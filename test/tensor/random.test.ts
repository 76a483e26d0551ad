/** Philox against Random123's known answers and a version in big integers; what is drawn from it. */
import { describe, expect, test } from 'vitest';
import { Random, philoxBlock, streams } from '../../src/tensor/random.ts';

const hex = (text: string): Uint32Array => Uint32Array.from(text.split(' '), (word) => Number.parseInt(word, 16));

/** The same function in arbitrary precision. */
function philoxBigInt(counter: number[], key: number[]): number[] {
  const word = 0xffffffffn;
  let [c0, c1, c2, c3] = counter.map(BigInt) as [bigint, bigint, bigint, bigint];
  let [k0, k1] = key.map(BigInt) as [bigint, bigint];
  for (let round = 0; round < 10; round++) {
    const p0 = 0xd2511f53n * c0;
    const p1 = 0xcd9e8d57n * c2;
    [c0, c1, c2, c3] = [(p1 >> 32n) ^ c1 ^ k0, p1 & word, (p0 >> 32n) ^ c3 ^ k1, p0 & word];
    k0 = (k0 + 0x9e3779b9n) & word;
    k1 = (k1 + 0xbb67ae85n) & word;
  }
  return [c0, c1, c2, c3].map(Number);
}

describe('Philox4x32-10', () => {
  // Random123's kat_vectors, the lines `philox4x32 10`: counter, key, result.
  test.each([
    ['00000000 00000000 00000000 00000000', '00000000 00000000', '6627e8d5 e169c58d bc57ac4c 9b00dbd8'],
    ['ffffffff ffffffff ffffffff ffffffff', 'ffffffff ffffffff', '408f276d 41c83b0e a20bc7c6 6d5451fd'],
    ['243f6a88 85a308d3 13198a2e 03707344', 'a4093822 299f31d0', 'd16cfe09 94fdcceb 5001e420 24126ea1'],
  ])('known answer for counter %s', (counter, key, expected) => {
    const out = new Uint32Array(4);
    philoxBlock(hex(counter), hex(key), out);
    expect([...out]).toEqual([...hex(expected)]);
  });

  test('agrees with a BigInt implementation on random counters', () => {
    const random = new Random(7, streams.permutation);
    for (let trial = 0; trial < 200; trial++) {
      const counter = Uint32Array.from({ length: 4 }, () => random.u32());
      const key = Uint32Array.from({ length: 2 }, () => random.u32());
      const out = new Uint32Array(4);
      philoxBlock(counter, key, out);
      expect([...out]).toEqual(philoxBigInt([...counter], [...key]));
    }
  });
});

describe('Random', () => {
  test('a stream is the blocks of its counter: (block, 0, index, stream) under the halves of the seed', () => {
    const seed = 5 * 2 ** 32 + 77;
    const random = new Random(seed, streams.batches, 9);
    const drawn = Array.from({ length: 12 }, () => random.u32());
    const expected = [0, 1, 2].flatMap((block) => philoxBigInt([block, 0, 9, streams.batches], [77, 5]));
    expect(drawn).toEqual(expected);
  });

  test('seed, stream and index each change every number', () => {
    const base = new Random(1, streams.split, 0);
    const others = [new Random(2, streams.split, 0), new Random(1, streams.batches, 0), new Random(1, streams.split, 1)];
    const head = Array.from({ length: 8 }, () => base.u32());
    for (const other of others) expect(head.filter((word) => word === other.u32())).toEqual([]);
  });

  test('below is fair to within five standard deviations and spans the whole word', () => {
    const random = new Random(3, streams.sweepOrder);
    const counts = new Int32Array(7);
    for (let i = 0; i < 70_000; i++) counts[random.below(7)]! += 1;
    for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(5 * Math.sqrt(10_000 * (6 / 7)));
    expect(random.below(1)).toBe(0);
    expect(new Random(3, streams.sweepOrder).below(2 ** 32)).toBe(new Random(3, streams.sweepOrder).u32());
  });

  test('below throws away the words that would favour small results', () => {
    const [random, plain] = [new Random(4, streams.split), new Random(4, streams.split)];
    // Of a bound of three quarters of all words every fourth is thrown away.
    const bound = 3 * 2 ** 30;
    const words = Array.from({ length: 400 }, () => plain.u32()).filter((word) => word < bound);
    expect(words.length).toBeLessThan(350);
    expect(words.map(() => random.below(bound))).toEqual(words);
  });

  test('uniform lies in [0, 1) with mean 1/2 and variance 1/12', () => {
    const random = new Random(11, streams.initialise);
    let sum = 0;
    let squares = 0;
    let least = 1;
    let most = 0;
    for (let i = 0; i < 50_000; i++) {
      const x = random.uniform();
      least = Math.min(least, x);
      most = Math.max(most, x);
      sum += x;
      squares += (x - 0.5) ** 2;
    }
    expect(least).toBeGreaterThanOrEqual(0);
    expect(most).toBeLessThan(1);
    expect(sum / 50_000).toBeCloseTo(0.5, 2);
    expect(squares / 50_000).toBeCloseTo(1 / 12, 2);
  });

  test('every order of four is equally likely', () => {
    const random = new Random(5, streams.permutation);
    const seen = new Map<string, number>();
    for (let i = 0; i < 24_000; i++) {
      const order = random.permutation(4).join('');
      seen.set(order, (seen.get(order) ?? 0) + 1);
    }
    expect(seen.size).toBe(24);
    for (const count of seen.values()) expect(Math.abs(count - 1000)).toBeLessThan(5 * Math.sqrt(1000));
  });

  test.each([[-1], [1.5], [Number.NaN], [2 ** 53]])('seed %s is refused', (seed) => {
    expect(() => new Random(seed, streams.split)).toThrow(/seed: expected an integer/);
  });

  test('a bound of 0 is refused', () => {
    expect(() => new Random(1, streams.split).below(0)).toThrow(/bound/);
  });
});
