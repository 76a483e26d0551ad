// Rectifiers and their gradients, sums and multiples. `y` may be `x`, `dx` may be `dy`.

/** y = x for x > 0, slope · x otherwise (slope 0: ReLU). */
export function leakyReluF32(xPtr: usize, yPtr: usize, count: i32, slope: f32): void {
  const end = xPtr + ((<usize>count) << 2);
  const vectorEnd = xPtr + ((<usize>(count & ~3)) << 2);
  const zero = f32x4.splat(0);
  const slopes = f32x4.splat(slope);
  if (slope == 0) {
    for (; xPtr < vectorEnd; xPtr += 16, yPtr += 16) {
      const x = v128.load(xPtr);
      // Not `max`: NaN must pass, and −0 must not appear.
      v128.store(yPtr, v128.andnot(x, f32x4.le(x, zero)));
    }
  } else {
    for (; xPtr < vectorEnd; xPtr += 16, yPtr += 16) {
      const x = v128.load(xPtr);
      v128.store(yPtr, v128.bitselect(x, f32x4.mul(x, slopes), f32x4.gt(x, zero)));
    }
  }
  for (; xPtr < end; xPtr += 4, yPtr += 4) {
    const x = load<f32>(xPtr);
    store<f32>(yPtr, slope == 0 ? (x <= 0 ? 0 : x) : x > 0 ? x : x * slope);
  }
}

/** dx = dy where y > 0, slope · dy elsewhere: the output tells the sign as well as the input for a slope in [0, 1]. */
export function leakyReluGradientF32(dyPtr: usize, yPtr: usize, dxPtr: usize, count: i32, slope: f32): void {
  const end = yPtr + ((<usize>count) << 2);
  const vectorEnd = yPtr + ((<usize>(count & ~3)) << 2);
  const zero = f32x4.splat(0);
  const slopes = f32x4.splat(slope);
  for (; yPtr < vectorEnd; yPtr += 16, dyPtr += 16, dxPtr += 16) {
    const positive = f32x4.gt(v128.load(yPtr), zero);
    const dy = v128.load(dyPtr);
    v128.store(dxPtr, slope == 0 ? v128.and(dy, positive) : v128.bitselect(dy, f32x4.mul(dy, slopes), positive));
  }
  for (; yPtr < end; yPtr += 4, dyPtr += 4, dxPtr += 4) {
    const dy = load<f32>(dyPtr);
    store<f32>(dxPtr, load<f32>(yPtr) > 0 ? dy : slope == 0 ? 0 : dy * slope);
  }
}

/** y += x. */
export function addF32(xPtr: usize, yPtr: usize, count: i32): void {
  const end = xPtr + ((<usize>count) << 2);
  const vectorEnd = xPtr + ((<usize>(count & ~3)) << 2);
  for (; xPtr < vectorEnd; xPtr += 16, yPtr += 16) v128.store(yPtr, f32x4.add(v128.load(yPtr), v128.load(xPtr)));
  for (; xPtr < end; xPtr += 4, yPtr += 4) store<f32>(yPtr, load<f32>(yPtr) + load<f32>(xPtr));
}

/** x *= factor. */
export function scaleF32(xPtr: usize, count: i32, factor: f32): void {
  const end = xPtr + ((<usize>count) << 2);
  for (; xPtr < end; xPtr += 4) store<f32>(xPtr, load<f32>(xPtr) * factor);
}
