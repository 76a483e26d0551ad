// Sums over rows. Every long sum runs in f64, four columns at a time: exacter than pairwise f32 (stock tfjs-wasm adds one million
// f32 in sequence and loses 2e-5), in a fixed order, and still bound by memory.

/** sums[j] (f64) += Σ_i x[i, j]. */
export function columnSumsF32(xPtr: usize, rows: i32, columns: i32, sumsPtr: usize): void {
  for (let i: i32 = 0; i < rows; i++) {
    let sumPtr = sumsPtr;
    let j: i32 = 0;
    for (; j + 4 <= columns; j += 4) {
      const x = v128.load(xPtr);
      v128.store(sumPtr, f64x2.add(v128.load(sumPtr), f64x2.promote_low_f32x4(x)));
      const high = v128.shuffle<i64>(x, x, 1, 1);
      v128.store(sumPtr, f64x2.add(v128.load(sumPtr, 16), f64x2.promote_low_f32x4(high)), 16);
      xPtr += 16;
      sumPtr += 32;
    }
    for (; j < columns; j++) {
      store<f64>(sumPtr, load<f64>(sumPtr) + <f64>load<f32>(xPtr));
      xPtr += 4;
      sumPtr += 8;
    }
  }
}

/**
 * sums[j] (f64) += Σ_i a[i, j] and sums[columns + j] += Σ_i a[i, j] · b[i, j], each product exact; `b` may be `a`. One pass for both, row
 * after row: these arrays come from memory. Eight columns of a block of rows at a time, with their sums in registers, were as fast from the
 * second cache and took twice as long from memory, where the processor then no longer reads ahead (1.0 ns a value).
 */
export function columnMomentsF32(aPtr: usize, bPtr: usize, rows: i32, columns: i32, sumsPtr: usize): void {
  const rowBytes = (<usize>columns) << 2;
  const productsPtr = sumsPtr + rowBytes * 2;
  for (let i: i32 = 0; i < rows; i++) {
    let at: usize = 0;
    for (; at + 16 <= rowBytes; at += 16) {
      const a = v128.load(aPtr + at);
      const b = v128.load(bPtr + at);
      const sumPtr = sumsPtr + at * 2;
      const productPtr = productsPtr + at * 2;
      const low = f64x2.promote_low_f32x4(a);
      const high = f64x2.promote_low_f32x4(v128.shuffle<i64>(a, a, 1, 1));
      v128.store(sumPtr, f64x2.add(v128.load(sumPtr), low));
      v128.store(sumPtr, f64x2.add(v128.load(sumPtr, 16), high), 16);
      v128.store(productPtr, f64x2.add(v128.load(productPtr), f64x2.mul(low, f64x2.promote_low_f32x4(b))));
      const product = f64x2.mul(high, f64x2.promote_low_f32x4(v128.shuffle<i64>(b, b, 1, 1)));
      v128.store(productPtr, f64x2.add(v128.load(productPtr, 16), product), 16);
    }
    for (; at < rowBytes; at += 4) {
      const a = <f64>load<f32>(aPtr + at);
      store<f64>(sumsPtr + at * 2, load<f64>(sumsPtr + at * 2) + a);
      store<f64>(productsPtr + at * 2, load<f64>(productsPtr + at * 2) + a * <f64>load<f32>(bPtr + at));
    }
    aPtr += rowBytes;
    bPtr += rowBytes;
  }
}

/** sums[j] (f64) += Σ_i a[i, j] · b[i, j], each product exact. */
export function columnProductSumsF32(aPtr: usize, bPtr: usize, rows: i32, columns: i32, sumsPtr: usize): void {
  for (let i: i32 = 0; i < rows; i++) {
    let sumPtr = sumsPtr;
    let j: i32 = 0;
    for (; j + 4 <= columns; j += 4) {
      const a = v128.load(aPtr);
      const b = v128.load(bPtr);
      const low = f64x2.mul(f64x2.promote_low_f32x4(a), f64x2.promote_low_f32x4(b));
      const aHigh = f64x2.promote_low_f32x4(v128.shuffle<i64>(a, a, 1, 1));
      const high = f64x2.mul(aHigh, f64x2.promote_low_f32x4(v128.shuffle<i64>(b, b, 1, 1)));
      v128.store(sumPtr, f64x2.add(v128.load(sumPtr), low));
      v128.store(sumPtr, f64x2.add(v128.load(sumPtr, 16), high), 16);
      aPtr += 16;
      bPtr += 16;
      sumPtr += 32;
    }
    for (; j < columns; j++) {
      store<f64>(sumPtr, load<f64>(sumPtr) + <f64>load<f32>(aPtr) * <f64>load<f32>(bPtr));
      aPtr += 4;
      bPtr += 4;
      sumPtr += 8;
    }
  }
}

/** to[j] (f32) += sums[j] (f64), rounded once. */
export function addSumsF32(sumsPtr: usize, toPtr: usize, columns: i32): void {
  for (let j: i32 = 0; j < columns; j++) {
    const at = toPtr + ((<usize>j) << 2);
    store<f32>(at, <f32>(<f64>load<f32>(at) + load<f64>(sumsPtr + ((<usize>j) << 3))));
  }
}

/** Σ a[i] · b[i], each product exact, in four f64 sums of every fourth, which are added last; numbers behind the last whole four join the first. */
export function innerF32(aPtr: usize, bPtr: usize, count: i32): f64 {
  let low = f64x2.splat(0), high = f64x2.splat(0);
  const whole = aPtr + ((<usize>(count & ~3)) << 2);
  const end = aPtr + ((<usize>count) << 2);
  for (; aPtr < whole; aPtr += 16, bPtr += 16) {
    const a = v128.load(aPtr);
    const b = v128.load(bPtr);
    low = f64x2.add(low, f64x2.mul(f64x2.promote_low_f32x4(a), f64x2.promote_low_f32x4(b)));
    const aHigh = f64x2.promote_low_f32x4(v128.shuffle<i64>(a, a, 1, 1));
    high = f64x2.add(high, f64x2.mul(aHigh, f64x2.promote_low_f32x4(v128.shuffle<i64>(b, b, 1, 1))));
  }
  let first = f64x2.extract_lane(low, 0);
  for (; aPtr < end; aPtr += 4, bPtr += 4) first += <f64>load<f32>(aPtr) * <f64>load<f32>(bPtr);
  return first + f64x2.extract_lane(low, 1) + (f64x2.extract_lane(high, 0) + f64x2.extract_lane(high, 1));
}
