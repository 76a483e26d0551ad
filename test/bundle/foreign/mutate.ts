// Seeded damage to good files: the same seed makes the same damage everywhere.

/** Integers that parsers mishandle: ends of ranges, signs, sizes just past common caps. */
const INTERESTING = [0, 1, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0xffff, 0x1_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

export interface Mutator {
  /** A damaged copy of one of `seeds`, which are not changed. */
  next(seeds: readonly Uint8Array[]): Uint8Array;
}

export function mutator(seed: number): Mutator {
  let state = (seed ^ 0x9e37_79b9) >>> 0 || 1;
  const below = (bound: number): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % Math.max(bound, 1);
  };
  const mutations: readonly ((bytes: Uint8Array) => Uint8Array)[] = [
    (bytes) => {
      bytes[below(bytes.length)]! ^= 1 << below(8);
      return bytes;
    },
    (bytes) => bytes.fill(INTERESTING[below(5)] as number, ...pair(bytes.length, 1)),
    (bytes) => {
      bytes[below(bytes.length)] = below(256);
      return bytes;
    },
    (bytes) => bytes.subarray(0, below(bytes.length)),
    (bytes) => {
      const [from, to] = pair(bytes.length, 64);
      return join(bytes.subarray(0, from), bytes.subarray(to));
    },
    (bytes) => {
      const [from, to] = pair(bytes.length, 64);
      return join(bytes.subarray(0, to), bytes.subarray(from));
    },
    (bytes) => {
      const width = [2, 4, 8][below(3)] as number;
      if (bytes.length < width) return bytes;
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const at = below(bytes.length - width + 1);
      const value = INTERESTING[below(INTERESTING.length)] as number;
      if (width === 2) view.setUint16(at, value, below(8) > 0);
      else if (width === 4) view.setUint32(at, value, below(8) > 0);
      else view.setBigUint64(at, below(4) === 0 ? 2n ** 63n + BigInt(value) : BigInt(value), below(8) > 0);
      return bytes;
    },
    (bytes) => {
      const [from, to] = pair(bytes.length, 32);
      return bytes.copyWithin(below(bytes.length), from, to);
    },
  ];
  const pair = (length: number, most: number): [number, number] => {
    const from = below(length);
    return [from, Math.min(length, from + 1 + below(most))];
  };
  return {
    next: (seeds) => {
      let bytes: Uint8Array = (seeds[below(seeds.length)] as Uint8Array).slice();
      for (let i = below(4); i >= 0 && bytes.length > 0; i--)
        bytes = (mutations[below(mutations.length)] as (b: Uint8Array) => Uint8Array)(bytes);
      return bytes;
    },
  };
}

function join(a: Uint8Array, b: Uint8Array): Uint8Array {
  const whole = new Uint8Array(a.length + b.length);
  whole.set(a);
  whole.set(b, a.length);
  return whole;
}
