// Random numbers in bulk: Philox4x32-10, word for word the streams of src/tensor/random.ts.
import { cosF64, logF64, sinF64 } from "./elementary";

// The four words of the latest block: a kernel cannot return four numbers, and globals need no memory.
let word0: u32 = 0;
let word1: u32 = 0;
let word2: u32 = 0;
let word3: u32 = 0;

/** Block number `block` of the stream with counter (block, 0, index, stream) under the key (low, high). */
function philox(block: u32, index: u32, stream: u32, keyLow: u32, keyHigh: u32): void {
  let c0 = block;
  let c1: u32 = 0;
  let c2 = index;
  let c3 = stream;
  let k0 = keyLow;
  let k1 = keyHigh;
  for (let round = 0; round < 10; round++) {
    const product0 = <u64>c0 * 0xd2511f53;
    const product1 = <u64>c2 * 0xcd9e8d57;
    c0 = <u32>(product1 >> 32) ^ c1 ^ k0;
    c1 = <u32>product1;
    c2 = <u32>(product0 >> 32) ^ c3 ^ k1;
    c3 = <u32>product0;
    k0 += 0x9e3779b9;
    k1 += 0xbb67ae85;
  }
  word0 = c0;
  word1 = c1;
  word2 = c2;
  word3 = c3;
}

/** out[i] = low + (high − low) · (word 4 · firstBlock + i >>> 8) / 2^24 in f64, rounded to f32. */
export function fillUniformF32(
  outPtr: usize, count: i32, low: f64, high: f64, firstBlock: u32, index: u32, stream: u32, keyLow: u32, keyHigh: u32,
): void {
  const step = (high - low) / 16777216.0;
  for (let i = 0; i < count; i += 4) {
    philox(firstBlock + (<u32>i >> 2), index, stream, keyLow, keyHigh);
    const at = outPtr + ((<usize>i) << 2);
    store<f32>(at, <f32>(low + step * <f64>(word0 >> 8)));
    if (i + 1 < count) store<f32>(at, <f32>(low + step * <f64>(word1 >> 8)), 4);
    if (i + 2 < count) store<f32>(at, <f32>(low + step * <f64>(word2 >> 8)), 8);
    if (i + 3 < count) store<f32>(at, <f32>(low + step * <f64>(word3 >> 8)), 12);
  }
}

const TWO_POW_MINUS_32: f64 = 2.3283064365386963e-10;
const TAU: f64 = 6.283185307179586;

/**
 * Box–Muller: each pair of words (u, v) gives radius · cos and radius · sin of the angle 2π · v / 2^32, with radius
 * √(−2 ln((u + ½) / 2^32)), at most 6.8 standard deviations.
 */
export function fillNormalF32(
  outPtr: usize, count: i32, mean: f64, deviation: f64, firstBlock: u32, index: u32, stream: u32, keyLow: u32, keyHigh: u32,
): void {
  for (let i = 0; i < count; i += 4) {
    philox(firstBlock + (<u32>i >> 2), index, stream, keyLow, keyHigh);
    const at = outPtr + ((<usize>i) << 2);
    for (let pair = 0; pair < 2; pair++) {
      const first = i + 2 * pair;
      if (first >= count) break;
      const u = pair ? word2 : word0;
      const v = pair ? word3 : word1;
      const radius = deviation * sqrt<f64>(-2.0 * logF64((<f64>u + 0.5) * TWO_POW_MINUS_32));
      const angle = TAU * (<f64>v * TWO_POW_MINUS_32);
      const to = at + ((<usize>pair) << 3);
      store<f32>(to, <f32>(mean + radius * cosF64(angle)));
      if (first + 1 < count) store<f32>(to, <f32>(mean + radius * sinF64(angle)), 4);
    }
  }
}
