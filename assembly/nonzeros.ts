// Which numbers are not zero: counted in a sample, and listed as entries of 8 bytes, the value (f32) and a byte offset (u32)
// of what it is multiplied with.

/** A sample of more numbers is of so many stretches: all numbers of MobileNetV2 at 224², counted before, took 3 % of a step. */
const STRETCHES: i32 = 64;
const STRETCH: i32 = 512;
const GOLDEN_RATIO: f64 = 0.6180339887498949;

/**
 * Counts in a sample of `count` images of `elements` numbers, or of so many pairs of images that follow one another (`images` 2, `elements`
 * a multiple of 4): at countsPtr [3] (i32) the places that it looks at in an image, how many of their numbers, of both images, are not
 * zero, and in how many places one of the two images has such a number. Stretches are spread over images and, by the golden ratio, over the
 * places in them.
 */
export function sampleNonZeroF32(dataPtr: usize, images: i32, count: i32, elements: i32, countsPtr: usize): void {
  const isFew = <i64>count * <i64>elements <= <i64>(STRETCHES * STRETCH);
  const stretches = isFew ? count : STRETCHES;
  const length = isFew ? elements : min(STRETCH, elements);
  const imageBytes = (<usize>elements) << 2;
  store<i32>(countsPtr, stretches * length);
  store<i64>(countsPtr + 4, 0);
  for (let i: i32 = 0; i < stretches; i++) {
    const image = isFew ? i : <i32>(<i64>i * <i64>count / <i64>stretches);
    const turn = <f64>i * GOLDEN_RATIO;
    const place = <i32>(<f64>(elements - length) * (turn - floor<f64>(turn))) & ~3;
    const firstPtr = dataPtr + imageBytes * <usize>(image * images) + ((<usize>place) << 2);
    if (images == 2) countNonZeroOfTwo(firstPtr, firstPtr + imageBytes, length, countsPtr + 4);
    else {
      const nonZero = countNonZero(firstPtr, length);
      store<i32>(countsPtr, load<i32>(countsPtr, 4) + nonZero, 4);
      store<i32>(countsPtr, load<i32>(countsPtr, 8) + nonZero, 8);
    }
  }
}

/** Counts numbers that are not zero, eight per loop iteration: half the time of four (0.137 → 0.069 ns a number). */
function countNonZero(dataPtr: usize, count: i32): i32 {
  const end = dataPtr + ((<usize>count) << 2);
  const whole = dataPtr + ((<usize>(count & ~7)) << 2);
  let zeros = i32x4.splat(0);
  for (; dataPtr < whole; dataPtr += 32) {
    zeros = i32x4.add(zeros, i32x4.add(f32x4.eq(v128.load(dataPtr), f32x4.splat(0)), f32x4.eq(v128.load(dataPtr, 16), f32x4.splat(0))));
  }
  let nonZero = (count & ~7) + sumOfLanes(zeros);
  for (; dataPtr < end; dataPtr += 4) if (load<f32>(dataPtr) != 0) nonZero++;
  return nonZero;
}

/**
 * Of `count` numbers of one image and those in the same places of another: how many are not zero, and in how many places one of the two is
 * not. `count` is a multiple of 4; added to the i32s at countsPtr.
 */
function countNonZeroOfTwo(firstPtr: usize, secondPtr: usize, count: i32, countsPtr: usize): void {
  const zero = f32x4.splat(0);
  // Lanes count downwards: true is −1.
  let each = i32x4.splat(0), either = i32x4.splat(0);
  const bytes = (<usize>count) << 2;
  for (let at: usize = 0; at < bytes; at += 16) {
    const first = f32x4.ne(v128.load(firstPtr + at), zero);
    const second = f32x4.ne(v128.load(secondPtr + at), zero);
    each = i32x4.add(each, i32x4.add(first, second));
    either = i32x4.add(either, v128.or(first, second));
  }
  store<i32>(countsPtr, load<i32>(countsPtr) - sumOfLanes(each));
  store<i32>(countsPtr, load<i32>(countsPtr, 4) - sumOfLanes(either), 4);
}

/** Bytes of the orders of lanes that `squeezeLanes` fills and `putFour` reads. */
export const ORDERS_BYTES: i32 = 256;

/** For each of the 16 sets of lanes, a shuffle that moves them to the front. */
export function squeezeLanes(ordersPtr: usize): void {
  for (let set: i32 = 0; set < 16; set++) {
    let toPtr = ordersPtr + ((<usize>set) << 4);
    for (let lane: i32 = 0; lane < 4; lane++) {
      store<u32>(toPtr, 0x03020100 + lane * 0x04040404);
      toPtr += (<usize>((set >> lane) & 1)) << 2;
    }
  }
}

/**
 * Those of four numbers that are not zero as entries; returns where the next one goes. Four are written whichever they
 * are: which numbers are zero is past predicting, and a branch a number, or one for four, took 1.6 to 5 times as long.
 */
export function putFour(entriesPtr: usize, values: v128, offsets: v128, ordersPtr: usize): usize {
  const set = i32x4.bitmask(f32x4.ne(values, f32x4.splat(0)));
  const order = v128.load(ordersPtr + ((<usize>set) << 4));
  const kept = i8x16.swizzle(values, order);
  const at = i8x16.swizzle(offsets, order);
  v128.store(entriesPtr, v128.shuffle<i32>(kept, at, 0, 4, 1, 5));
  v128.store(entriesPtr, v128.shuffle<i32>(kept, at, 2, 6, 3, 7), 16);
  return entriesPtr + ((<usize>popcnt(set)) << 3);
}

function sumOfLanes(x: v128): i32 {
  return i32x4.extract_lane(x, 0) + i32x4.extract_lane(x, 1) + i32x4.extract_lane(x, 2) + i32x4.extract_lane(x, 3);
}
