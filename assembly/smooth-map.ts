// Smooth activations and their slopes, four lanes of f32 at a time. A map and its slope come from one exponential of a number ≤ 0, so
// nothing overflows and small results keep their relative accuracy: a scalar f64 evaluation took half of a transformer's step.
import { Exponential, expF32x4 } from "./exponential";
import { GELU_SCRATCH_BYTES, geluF32 } from "./gelu";
import { Halves } from "./halves";

/**
 * Which map, as `smoothMaps` of src/gradient/kernels/activation.ts has them (test/core/two-languages.test.ts). What is
 * none of them traps.
 */
const TANH: i32 = 0;
const SIGMOID: i32 = 1;
const SILU: i32 = 2;
const GELU: i32 = 3; // in gelu.ts
const GELU_TANH: i32 = 4;
const ELU: i32 = 5;

/** The last one to three numbers of an array in the first lanes. */
function loadTail(ptr: usize, count: i32): v128 {
  let x = v128.load32_zero(ptr);
  if (count > 1) x = f32x4.replace_lane(x, 1, load<f32>(ptr, 4));
  if (count > 2) x = f32x4.replace_lane(x, 2, load<f32>(ptr, 8));
  return x;
}

function storeTail(ptr: usize, x: v128, count: i32): void {
  store<f32>(ptr, f32x4.extract_lane(x, 0));
  if (count > 1) store<f32>(ptr, f32x4.extract_lane(x, 1), 4);
  if (count > 2) store<f32>(ptr, f32x4.extract_lane(x, 2), 8);
}

/** What is inlined, so that each map has a loop of its own: a decorator needs a class. */
// oxlint-disable-next-line typescript/no-extraneous-class
abstract class Lanes {
  /** −x where x < 0: the sign bit moves, so NaN stays NaN. */
  @inline
  static withSignOf(size: v128, x: v128): v128 {
    return v128.or(size, v128.and(x, i32x4.splat(-0x80000000)));
  }

  /** 2 √(2/π) (x + 0.044715 x³), in f64: an exponential turns its absolute error into a relative one. */
  @inline
  static cubic(x: v128): v128 {
    return f64x2.mul(x, f64x2.add(f64x2.splat(1.5957691216057308), f64x2.mul(f64x2.mul(x, x), f64x2.splat(0.07135481627159983))));
  }

  /** e^−|Lanes.cubic(x)|: the leading f32 of the f64 exponent, and what it leaves. */
  @inline
  static cubicExponential(x: v128): v128 {
    // Beyond 10 the exponential is 0 anyway.
    const bounded = f32x4.pmin(f32x4.splat(10), f32x4.abs(x));
    const first = f64x2.neg(Lanes.cubic(Halves.low(bounded)));
    const second = f64x2.neg(Lanes.cubic(Halves.high(bounded)));
    const firstHigh = f32x4.demote_f64x2_zero(first);
    const secondHigh = f32x4.demote_f64x2_zero(second);
    const firstLow = f32x4.demote_f64x2_zero(f64x2.sub(first, Halves.low(firstHigh)));
    const secondLow = f32x4.demote_f64x2_zero(f64x2.sub(second, Halves.low(secondHigh)));
    const high = v128.shuffle<i64>(firstHigh, secondHigh, 0, 2);
    const low = v128.shuffle<i64>(firstLow, secondLow, 0, 2);
    const least = f32x4.splat(-87);
    return v128.and(Exponential.ofSum(f32x4.pmax(least, high), low), f32x4.ge(high, least));
  }

  /** σ(v) from e = e^−|v| and v's sign. */
  @inline
  static logistic(e: v128, positive: v128): v128 {
    const one = f32x4.splat(1);
    return f32x4.div(v128.bitselect(one, e, positive), f32x4.add(one, e));
  }

  /** What a map and its slope are made of: e^−2|x| for tanh, e^−|x|, or e^−|cubic(x)|. */
  @inline
  static exponentialOf(kind: i32, x: v128): v128 {
    if (kind == TANH) return expF32x4(f32x4.mul(f32x4.abs(x), f32x4.splat(-2)));
    if (kind == SIGMOID || kind == SILU || kind == ELU) return expF32x4(f32x4.neg(f32x4.abs(x)));
    if (kind == GELU_TANH) return Lanes.cubicExponential(x);
    return unreachable();
  }

  /** tanh x for 0 ≤ a = x < 0.55: an odd polynomial, relative error 1e-9 before rounding. */
  @inline
  static tanhNear(a: v128): v128 {
    const square = f32x4.mul(a, a);
    let sum = f32x4.splat(-0.006282467860728502);
    sum = f32x4.add(f32x4.mul(sum, square), f32x4.splat(0.021077755838632584));
    sum = f32x4.add(f32x4.mul(sum, square), f32x4.splat(-0.05385385826230049));
    sum = f32x4.add(f32x4.mul(sum, square), f32x4.splat(0.13332602381706238));
    sum = f32x4.add(f32x4.mul(sum, square), f32x4.splat(-0.33333319425582886));
    return f32x4.add(a, f32x4.mul(f32x4.mul(a, square), sum));
  }

  /** tanh x: the polynomial below 0.55, (1 − e) / (1 + e) with e = e^−2|x| from there on. */
  @inline
  static tanh(x: v128, e: v128): v128 {
    const one = f32x4.splat(1);
    const a = f32x4.abs(x);
    const far = f32x4.div(f32x4.sub(one, e), f32x4.add(one, e));
    return Lanes.withSignOf(v128.bitselect(Lanes.tanhNear(a), far, f32x4.lt(a, f32x4.splat(0.55))), x);
  }

  /** x above 0, e − 1 with e = e^x elsewhere; near 0, where that cancels, as −2t / (1 + t) with t = tanh(−x / 2). */
  @inline
  static elu(x: v128, e: v128): v128 {
    const one = f32x4.splat(1);
    const half = f32x4.mul(f32x4.abs(x), f32x4.splat(0.5));
    const t = Lanes.tanhNear(half);
    const near = f32x4.div(f32x4.mul(f32x4.splat(-2), t), f32x4.add(one, t));
    const below = v128.bitselect(near, f32x4.sub(e, one), f32x4.lt(half, f32x4.splat(0.55)));
    return v128.bitselect(x, below, f32x4.gt(x, f32x4.splat(0)));
  }

  @inline
  static valueOf(kind: i32, x: v128, e: v128): v128 {
    if (kind == TANH) return Lanes.tanh(x, e);
    if (kind == ELU) return Lanes.elu(x, e);
    const sigmoid = Lanes.logistic(e, f32x4.gt(x, f32x4.splat(0)));
    if (kind == SIGMOID) return sigmoid;
    const y = f32x4.mul(x, sigmoid);
    if (kind == SILU) return y;
    if (kind == GELU_TANH) return v128.bitselect(x, y, f32x4.ne(x, x));
    return unreachable();
  }

  @inline
  static slopeOf(kind: i32, x: v128, e: v128): v128 {
    const one = f32x4.splat(1);
    if (kind == ELU) return v128.bitselect(one, e, f32x4.gt(x, f32x4.splat(0)));
    const inverse = f32x4.div(one, f32x4.add(one, e));
    if (kind == TANH || kind == SIGMOID) {
      // σ′(x) = e / (1 + e)², and tanh′(x) = 4 σ′(2x): nothing cancels, as in 1 − tanh².
      return f32x4.mul(f32x4.mul(e, f32x4.splat(kind == TANH ? 4 : 1)), f32x4.mul(inverse, inverse));
    }
    // The slope of x · σ(v): σ + x · v′ · σ · (1 − σ).
    const positive = f32x4.gt(x, f32x4.splat(0));
    const product = f32x4.mul(e, f32x4.mul(inverse, inverse));
    const size = f32x4.pmin(f32x4.splat(100), f32x4.abs(x));
    const signed = Lanes.withSignOf(size, x);
    let rise: v128;
    if (kind == SILU) rise = signed;
    else if (kind == GELU_TANH)
      rise = f32x4.mul(
        signed, f32x4.add(f32x4.splat(1.5957691216057308), f32x4.mul(f32x4.mul(size, size), f32x4.splat(0.2140644488147995))),
      );
    else return unreachable();
    return f32x4.add(f32x4.mul(v128.bitselect(one, e, positive), inverse), f32x4.mul(rise, product));
  }

  @inline
  static mapAll(kind: i32, xPtr: usize, yPtr: usize, slopePtr: usize, count: i32): void {
    for (; count > 0; count -= 4, xPtr += 16, yPtr += 16) {
      const x = count >= 4 ? v128.load(xPtr) : loadTail(xPtr, count);
      const e = Lanes.exponentialOf(kind, x);
      const y = Lanes.valueOf(kind, x, e);
      if (count >= 4) v128.store(yPtr, y);
      else storeTail(yPtr, y, count);
      if (slopePtr == 0) continue;
      const slope = Lanes.slopeOf(kind, x, e);
      if (count >= 4) v128.store(slopePtr, slope);
      else storeTail(slopePtr, slope, count);
      slopePtr += 16;
    }
  }
}

export function smoothMapScratchBytes(): i32 {
  return GELU_SCRATCH_BYTES;
}

/**
 * y = f(x) for a smooth map and, unless `slopePtr` is 0, slope = f′(x); either may lie over x. Largest errors:
 * test/core/smooth-map.test.ts. `scratchPtr`: `smoothMapScratchBytes`.
 */
export function smoothMapF32(kind: i32, xPtr: usize, yPtr: usize, slopePtr: usize, count: i32, scratchPtr: usize): void {
  if (kind == TANH) Lanes.mapAll(TANH, xPtr, yPtr, slopePtr, count);
  else if (kind == SIGMOID) Lanes.mapAll(SIGMOID, xPtr, yPtr, slopePtr, count);
  else if (kind == SILU) Lanes.mapAll(SILU, xPtr, yPtr, slopePtr, count);
  else if (kind == GELU) geluF32(xPtr, yPtr, slopePtr, count, scratchPtr);
  else if (kind == GELU_TANH) Lanes.mapAll(GELU_TANH, xPtr, yPtr, slopePtr, count);
  else if (kind == ELU) Lanes.mapAll(ELU, xPtr, yPtr, slopePtr, count);
  else unreachable();
}
