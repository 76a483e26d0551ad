// An orthonormal basis of the space that the rows of a matrix span, from random sums of its rows: the sums, and taking out of a
// vector what a basis already spans. All in f64, in a fixed order.
import { Halves } from "./halves";

/** The sum of a·b over two vectors of `width` f64; four running sums, then the rest one by one. */
function dot(aPtr: usize, bPtr: usize, width: i32): f64 {
  let s0 = f64x2.splat(0), s1 = f64x2.splat(0), s2 = f64x2.splat(0), s3 = f64x2.splat(0);
  let j: i32 = 0;
  for (; j + 8 <= width; j += 8) {
    s0 = f64x2.add(s0, f64x2.mul(v128.load(aPtr), v128.load(bPtr)));
    s1 = f64x2.add(s1, f64x2.mul(v128.load(aPtr, 16), v128.load(bPtr, 16)));
    s2 = f64x2.add(s2, f64x2.mul(v128.load(aPtr, 32), v128.load(bPtr, 32)));
    s3 = f64x2.add(s3, f64x2.mul(v128.load(aPtr, 48), v128.load(bPtr, 48)));
    aPtr += 64;
    bPtr += 64;
  }
  const s = f64x2.add(f64x2.add(s0, s1), f64x2.add(s2, s3));
  let sum = f64x2.extract_lane(s, 0) + f64x2.extract_lane(s, 1);
  for (; j < width; j++) {
    sum += load<f64>(aPtr) * load<f64>(bPtr);
    aPtr += 8;
    bPtr += 8;
  }
  return sum;
}

/** y += factor · x over `width` f64. */
function addMultiple(yPtr: usize, xPtr: usize, factor: f64, width: i32): void {
  const f = f64x2.splat(factor);
  let j: i32 = 0;
  for (; j + 4 <= width; j += 4) {
    v128.store(yPtr, f64x2.add(v128.load(yPtr), f64x2.mul(v128.load(xPtr), f)));
    v128.store(yPtr, f64x2.add(v128.load(yPtr, 16), f64x2.mul(v128.load(xPtr, 16), f)), 16);
    yPtr += 32;
    xPtr += 32;
  }
  for (; j < width; j++) {
    store<f64>(yPtr, load<f64>(yPtr) + load<f64>(xPtr) * factor);
    yPtr += 8;
    xPtr += 8;
  }
}

/** sums[place i, :] (f64) += factor i (f64) · x[i, :] (f32); `width` columns in both. */
export function scaledRowSumsF32(xPtr: usize, rows: i32, width: i32, placesPtr: usize, factorsPtr: usize, sumsPtr: usize): void {
  for (let i: i32 = 0; i < rows; i++) {
    const factor = load<f64>(factorsPtr + ((<usize>i) << 3));
    const factors = f64x2.splat(factor);
    let sumPtr = sumsPtr + ((<usize>(load<i32>(placesPtr + ((<usize>i) << 2)) * width)) << 3);
    let j: i32 = 0;
    for (; j + 4 <= width; j += 4) {
      const x = v128.load(xPtr);
      v128.store(sumPtr, f64x2.add(v128.load(sumPtr), f64x2.mul(Halves.low(x), factors)));
      const high = Halves.high(x);
      v128.store(sumPtr, f64x2.add(v128.load(sumPtr, 16), f64x2.mul(high, factors)), 16);
      xPtr += 16;
      sumPtr += 32;
    }
    for (; j < width; j++) {
      store<f64>(sumPtr, load<f64>(sumPtr) + <f64>load<f32>(xPtr) * factor);
      xPtr += 4;
      sumPtr += 8;
    }
  }
}

/**
 * Takes out of the vector what `count` orthonormal rows span. Twice, because once leaves rounding errors of the size of what
 * was taken out ("twice is enough", Kahan in Parlett, "The Symmetric Eigenvalue Problem"). @returns the square of its norm.
 */
export function orthogonaliseF64(basisPtr: usize, count: i32, vectorPtr: usize, width: i32): f64 {
  const rowBytes = (<usize>width) << 3;
  for (let pass: i32 = 0; pass < 2; pass++) {
    let rowPtr = basisPtr;
    for (let i: i32 = 0; i < count; i++) {
      addMultiple(vectorPtr, rowPtr, -dot(rowPtr, vectorPtr, width), width);
      rowPtr += rowBytes;
    }
  }
  return dot(vectorPtr, vectorPtr, width);
}
