// Byte planes and quantised steps of f32 data. A plane holds the i-th byte of every element: signs and exponents
// compress together, mantissas get out of the way. Steps are differences to the previous state as a reader decodes it,
// so what quantising loses in one checkpoint is made good in the next (error feedback).

/** dst ^= src. */
export function xorBytes(dst: usize, src: usize, bytes: i32): void {
  let i = 0;
  for (; i + 16 <= bytes; i += 16) v128.store(dst + i, v128.xor(v128.load(dst + i), v128.load(src + i)));
  for (; i < bytes; i++) store<u8>(dst + i, load<u8>(dst + i) ^ load<u8>(src + i));
}

/** `count` 4-byte elements to four planes of `count` bytes, least significant first. */
export function splitPlanes(src: usize, dst: usize, count: i32): void {
  const p1 = dst + count;
  const p2 = p1 + count;
  const p3 = p2 + count;
  let i = 0;
  for (; i + 16 <= count; i += 16) {
    const from = src + (i << 2);
    // Two rounds of unzipping: bytes 0 and 2 with 1 and 3 apart, then each of the four.
    const a = v128.load(from);
    const b = v128.load(from, 16);
    const c = v128.load(from, 32);
    const d = v128.load(from, 48);
    const even0 = i8x16.shuffle(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const even1 = i8x16.shuffle(c, d, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const odd0 = i8x16.shuffle(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    const odd1 = i8x16.shuffle(c, d, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    v128.store(dst + i, i8x16.shuffle(even0, even1, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30));
    v128.store(p1 + i, i8x16.shuffle(odd0, odd1, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30));
    v128.store(p2 + i, i8x16.shuffle(even0, even1, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31));
    v128.store(p3 + i, i8x16.shuffle(odd0, odd1, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31));
  }
  for (; i < count; i++) {
    const from = src + (i << 2);
    store<u8>(dst + i, load<u8>(from));
    store<u8>(p1 + i, load<u8>(from, 1));
    store<u8>(p2 + i, load<u8>(from, 2));
    store<u8>(p3 + i, load<u8>(from, 3));
  }
}

/** The inverse of `splitPlanes`. */
export function joinPlanes(src: usize, dst: usize, count: i32): void {
  const p1 = src + count;
  const p2 = p1 + count;
  const p3 = p2 + count;
  let i = 0;
  for (; i + 16 <= count; i += 16) {
    const to = dst + (i << 2);
    const a = v128.load(src + i);
    const b = v128.load(p1 + i);
    const c = v128.load(p2 + i);
    const d = v128.load(p3 + i);
    const low0 = i8x16.shuffle(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const low1 = i8x16.shuffle(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    const high0 = i8x16.shuffle(c, d, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const high1 = i8x16.shuffle(c, d, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    v128.store(to, i8x16.shuffle(low0, high0, 0, 1, 16, 17, 2, 3, 18, 19, 4, 5, 20, 21, 6, 7, 22, 23));
    v128.store(to, i8x16.shuffle(low0, high0, 8, 9, 24, 25, 10, 11, 26, 27, 12, 13, 28, 29, 14, 15, 30, 31), 16);
    v128.store(to, i8x16.shuffle(low1, high1, 0, 1, 16, 17, 2, 3, 18, 19, 4, 5, 20, 21, 6, 7, 22, 23), 32);
    v128.store(to, i8x16.shuffle(low1, high1, 8, 9, 24, 25, 10, 11, 26, 27, 12, 13, 28, 29, 14, 15, 30, 31), 48);
  }
  for (; i < count; i++) {
    const to = dst + (i << 2);
    store<u8>(to, load<u8>(src + i));
    store<u8>(to, load<u8>(p1 + i), 1);
    store<u8>(to, load<u8>(p2 + i), 2);
    store<u8>(to, load<u8>(p3 + i), 3);
  }
}

const BLOCK: i32 = 128;

/**
 * Quantises target − decoded in blocks of 128 to integers of magnitude ≤ `levels` (127 or 7), one byte each, with one
 * f32 scale a block, and moves `decoded` to what a reader will have. Any f32 may come in: a block whose step is not
 * finite gets scale 0, and the error that the caller computes tells.
 */
export function quantiseSteps(target: usize, decoded: usize, scales: usize, steps: usize, count: i32, levels: f32): void {
  for (let begin = 0; begin < count; begin += BLOCK) {
    const end = min<i32>(begin + BLOCK, count);
    let largest: f32 = 0;
    for (let i = begin; i < end; i++) {
      const step = load<f32>(target + (i << 2)) - load<f32>(decoded + (i << 2));
      largest = max<f32>(largest, abs<f32>(step)); // NaN stays NaN
    }
    let scale: f32 = largest / levels;
    // Below the smallest normal number the quotient below would leave the range of integers.
    if (!(scale >= 1.17549435e-38) || scale - scale != 0) scale = 0;
    store<f32>(scales + ((begin >> 7) << 2), scale);
    for (let i = begin; i < end; i++) {
      if (scale == 0) {
        store<i8>(steps + i, 0);
        continue;
      }
      const before = load<f32>(decoded + (i << 2));
      const step = load<f32>(target + (i << 2)) - before;
      const q: f32 = max<f32>(min<f32>(nearest<f32>(step / scale), levels), -levels);
      store<i8>(steps + i, <i8>(<i32>q));
      store<f32>(decoded + (i << 2), before + scale * q);
    }
  }
}

/** decoded += scale · step, the very sums of `quantiseSteps`: two roundings, product and sum, as numpy's float32 does. */
export function addSteps(decoded: usize, scales: usize, steps: usize, count: i32): void {
  for (let begin = 0; begin < count; begin += BLOCK) {
    const end = min<i32>(begin + BLOCK, count);
    const scale = load<f32>(scales + ((begin >> 7) << 2));
    const scale4 = f32x4.splat(scale);
    let i = begin;
    for (; i + 4 <= end; i += 4) {
      const q = f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(i16x8.extend_low_i8x16_s(v128.load32_zero(steps + i))));
      const place = decoded + (i << 2);
      v128.store(place, f32x4.add(v128.load(place), f32x4.mul(scale4, q)));
    }
    for (; i < end; i++) {
      const place = decoded + (i << 2);
      store<f32>(place, load<f32>(place) + scale * <f32>load<i8>(steps + i));
    }
  }
}

/** Signed bytes in −7 … 7 to nibbles, offset by 8, even elements in the low half. The last odd one pairs with a zero step. */
export function packNibbles(src: usize, dst: usize, count: i32): void {
  for (let i = 0; i < count; i += 2) {
    const low = load<i8>(src + i) + 8;
    const high = i + 1 < count ? load<i8>(src + i + 1) + 8 : 8;
    store<u8>(dst + (i >> 1), <u8>(low | (high << 4)));
  }
}

export function unpackNibbles(src: usize, dst: usize, count: i32): void {
  for (let i = 0; i < count; i += 2) {
    const pair = <i32>load<u8>(src + (i >> 1));
    store<i8>(dst + i, <i8>((pair & 15) - 8));
    if (i + 1 < count) store<i8>(dst + i + 1, <i8>((pair >> 4) - 8));
  }
}
