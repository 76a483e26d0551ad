// Element-wise maps and their gradients. `y` may be `x`, `dx` may be `dy`. Transcendental functions are evaluated in f64.
import { erfF64, expF64, sigmoidF64, tanhF64 } from "./elementary";

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

/** Which smooth map: shared by the two functions below and `SMOOTH` in src/gradient. */
const TANH: i32 = 0;
const SIGMOID: i32 = 1;
const SILU: i32 = 2;
const GELU: i32 = 3; // 4: its tanh approximation

const SQRT_2_OVER_PI: f64 = 0.7978845608028654;

function smooth(kind: i32, x: f64): f64 {
  if (kind == TANH) return tanhF64(x);
  if (kind == SIGMOID) return sigmoidF64(x);
  if (kind == SILU) return x * sigmoidF64(x);
  if (kind == GELU) return 0.5 * x * (1.0 + erfF64(x * Math.SQRT1_2));
  return 0.5 * x * (1.0 + tanhF64(SQRT_2_OVER_PI * (x + 0.044715 * x * x * x)));
}

function smoothSlope(kind: i32, x: f64): f64 {
  if (kind == TANH) {
    const t = tanhF64(x);
    return 1.0 - t * t;
  }
  if (kind == SIGMOID) {
    const s = sigmoidF64(x);
    return s * (1.0 - s);
  }
  if (kind == SILU) {
    const s = sigmoidF64(x);
    return s + x * s * (1.0 - s);
  }
  if (kind == GELU) return 0.5 * (1.0 + erfF64(x * Math.SQRT1_2)) + x * 0.3989422804014327 * expF64(-0.5 * x * x);
  const t = tanhF64(SQRT_2_OVER_PI * (x + 0.044715 * x * x * x));
  return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * SQRT_2_OVER_PI * (1.0 + 3.0 * 0.044715 * x * x);
}

/** y = f(x) for a smooth map. */
export function smoothMapF32(kind: i32, xPtr: usize, yPtr: usize, count: i32): void {
  const end = xPtr + ((<usize>count) << 2);
  for (; xPtr < end; xPtr += 4, yPtr += 4) store<f32>(yPtr, <f32>smooth(kind, <f64>load<f32>(xPtr)));
}

/** dx = dy · f′(x) for a smooth map. */
export function smoothMapGradientF32(kind: i32, dyPtr: usize, xPtr: usize, dxPtr: usize, count: i32): void {
  const end = xPtr + ((<usize>count) << 2);
  for (; xPtr < end; xPtr += 4, dyPtr += 4, dxPtr += 4) {
    store<f32>(dxPtr, <f32>(<f64>load<f32>(dyPtr) * smoothSlope(kind, <f64>load<f32>(xPtr))));
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
