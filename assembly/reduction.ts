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

/** Bytes of an operand that `columnMomentsF32` reads before it goes back for the next eight columns: both operands stay in the first cache. */
const BLOCK_BYTES: i32 = 12288;

/**
 * sums[j] (f64) += Σ_i a[i, j] and sums[columns + j] += Σ_i a[i, j] · b[i, j], each product exact; `b` may be `a`. One pass for both, eight
 * columns of a block of rows with their sums in registers, in the order of `columnSumsF32` and `columnProductSumsF32`: the same bytes.
 */
export function columnMomentsF32(aPtr: usize, bPtr: usize, rows: i32, columns: i32, sumsPtr: usize): void {
  const rowBytes = (<usize>columns) << 2;
  const blockRows = max(8, BLOCK_BYTES / max(1, columns << 2));
  const productsPtr = sumsPtr + (<usize>columns << 3);
  for (let first: i32 = 0; first < rows; first += blockRows) {
    const count = min(blockRows, rows - first);
    let j: i32 = 0;
    for (; j + 8 <= columns; j += 8) {
      const sumPtr = sumsPtr + (<usize>j << 3);
      const productPtr = productsPtr + (<usize>j << 3);
      let s0 = v128.load(sumPtr);
      let s1 = v128.load(sumPtr, 16);
      let s2 = v128.load(sumPtr, 32);
      let s3 = v128.load(sumPtr, 48);
      let p0 = v128.load(productPtr);
      let p1 = v128.load(productPtr, 16);
      let p2 = v128.load(productPtr, 32);
      let p3 = v128.load(productPtr, 48);
      let at = aPtr + (<usize>j << 2);
      let bt = bPtr + (<usize>j << 2);
      for (let i: i32 = 0; i < count; i++) {
        let a = v128.load(at);
        let b = v128.load(bt);
        let low = f64x2.promote_low_f32x4(a);
        s0 = f64x2.add(s0, low);
        p0 = f64x2.add(p0, f64x2.mul(low, f64x2.promote_low_f32x4(b)));
        low = f64x2.promote_low_f32x4(v128.shuffle<i64>(a, a, 1, 1));
        s1 = f64x2.add(s1, low);
        p1 = f64x2.add(p1, f64x2.mul(low, f64x2.promote_low_f32x4(v128.shuffle<i64>(b, b, 1, 1))));
        a = v128.load(at, 16);
        b = v128.load(bt, 16);
        low = f64x2.promote_low_f32x4(a);
        s2 = f64x2.add(s2, low);
        p2 = f64x2.add(p2, f64x2.mul(low, f64x2.promote_low_f32x4(b)));
        low = f64x2.promote_low_f32x4(v128.shuffle<i64>(a, a, 1, 1));
        s3 = f64x2.add(s3, low);
        p3 = f64x2.add(p3, f64x2.mul(low, f64x2.promote_low_f32x4(v128.shuffle<i64>(b, b, 1, 1))));
        at += rowBytes;
        bt += rowBytes;
      }
      v128.store(sumPtr, s0);
      v128.store(sumPtr, s1, 16);
      v128.store(sumPtr, s2, 32);
      v128.store(sumPtr, s3, 48);
      v128.store(productPtr, p0);
      v128.store(productPtr, p1, 16);
      v128.store(productPtr, p2, 32);
      v128.store(productPtr, p3, 48);
    }
    for (; j < columns; j++) {
      let sum = load<f64>(sumsPtr + (<usize>j << 3));
      let product = load<f64>(productsPtr + (<usize>j << 3));
      for (let i: i32 = 0; i < count; i++) {
        const at = <usize>i * rowBytes + (<usize>j << 2);
        const a = <f64>load<f32>(aPtr + at);
        sum += a;
        product += a * <f64>load<f32>(bPtr + at);
      }
      store<f64>(sumsPtr + (<usize>j << 3), sum);
      store<f64>(productsPtr + (<usize>j << 3), product);
    }
    aPtr += <usize>count * rowBytes;
    bPtr += <usize>count * rowBytes;
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
