// GELU by the normal distribution, x · Φ(x), and its slope Φ(x) + x · φ(x), both from one exponential; eight numbers per loop
// iteration. The 26 constants are loaded from memory: as immediates V8 builds each of them anew, in general registers, at every use
// (3.9 → 3.1 ns a number). Two vectors that share each load bring it to 2.4 ns. Computing the slope again in the backward pass took
// 3.9 ns for that alone.

/** Bytes of scratch: the constants, then eight numbers in and out for the last ones of an array. */
export const GELU_SCRATCH_BYTES: i32 = 256;
const TAIL: usize = 128;

/** Beyond it the normal distribution's tail Q is subnormal in f32 and counts as 0. */
const FARTHEST_TAIL: f32 = 12.875;

// Places in the table.
const LOG2E: i32 = 0;
const ROUNDING: i32 = 1; // 1.5 · 2^23: a small number plus this has the nearest integer in its last bits
const LN2_HIGH: i32 = 2; // 9 bits: k times it is exact
const LN2_LOW: i32 = 3;
const POWERS: i32 = 4; // five coefficients of e^r, as in exponential.ts
const ONE: i32 = 9;
const MINUS_HALF: i32 = 10;
const FARTHEST: i32 = 11;
const RATIO_SCALE: i32 = 12;
const RATIO: i32 = 13; // ten coefficients
const DENSITY: i32 = 23; // 1 / √(2π)
const HIGH_BITS: i32 = 24;
const SIGN: i32 = 25;

function put(tablePtr: usize, place: i32, value: f32): void {
  store<f32>(tablePtr + (<usize>place << 2), value);
}

function at(tablePtr: usize, place: i32): v128 {
  return v128.load_splat<f32>(tablePtr + (<usize>place << 2));
}

function writeTable(table: usize): void {
  put(table, LOG2E, <f32>Math.LOG2E);
  put(table, ROUNDING, 12582912.0);
  put(table, LN2_HIGH, 0.693359375);
  put(table, LN2_LOW, -2.12194440e-4);
  put(table, POWERS, 0.001381461857818067);
  put(table, POWERS + 1, 0.008368715643882751);
  put(table, POWERS + 2, 0.04166838899254799);
  put(table, POWERS + 3, 0.1666652113199234);
  put(table, POWERS + 4, 0.4999999403953552);
  put(table, ONE, 1);
  put(table, MINUS_HALF, -0.5);
  put(table, FARTHEST, FARTHEST_TAIL);
  put(table, RATIO_SCALE, 0.35);
  put(table, RATIO, 0.004792582709342241);
  put(table, RATIO + 1, -0.05449467897415161);
  put(table, RATIO + 2, 0.20177653431892395);
  put(table, RATIO + 3, -0.33009326457977295);
  put(table, RATIO + 4, 0.2185051590204239);
  put(table, RATIO + 5, -0.05343905836343765);
  put(table, RATIO + 6, 0.11541160196065903);
  put(table, RATIO + 7, 0.11784691363573074);
  put(table, RATIO + 8, 0.1400832235813141);
  put(table, RATIO + 9, 0.13961097598075867);
  put(table, DENSITY, 0.3989422804014327);
  store<i32>(table + (<usize>HIGH_BITS << 2), -0x1000);
  store<i32>(table + (<usize>SIGN << 2), -0x80000000);
}

function mulAdd(a: v128, b: v128, c: v128): v128 {
  return f32x4.add(f32x4.mul(a, b), c);
}

/**
 * Steps for each of the two vectors, written side by side so that they share the constants:
 * a = min(|x|, farthest tail), e = e^(−a²/2) with a² in two parts (its rounding alone would cost 80 ulp where the result is small),
 * Q(a) = e · t · P(t) the probability that a normal number exceeds a, with t = 1 / (1 + 0.35 a) and P of degree 9 by weighted least
 * squares on Chebyshev points (the Lawson iteration), relative error 1.7e-8 before rounding. Then y = max(x, 0) − a · Q, and the slope is
 * Q or 1 − Q, and ± a · e / √(2π). NaN passes into y by max(x, 0).
 */
function pairs(table: usize, xPtr: usize, yPtr: usize, slopePtr: usize, count: i32): void {
  const zero = f32x4.splat(0);
  for (; count > 0; count -= 8) {
    const x0 = v128.load(xPtr);
    const x1 = v128.load(xPtr, 16);
    const farthest = at(table, FARTHEST);
    const a0 = f32x4.pmin(farthest, f32x4.abs(x0));
    const a1 = f32x4.pmin(farthest, f32x4.abs(x1));
    let c = at(table, HIGH_BITS);
    const high0 = v128.and(a0, c); // 12 bits: its square is exact
    const high1 = v128.and(a1, c);
    c = at(table, MINUS_HALF);
    const low0 = f32x4.mul(f32x4.mul(f32x4.sub(a0, high0), f32x4.add(a0, high0)), c);
    const low1 = f32x4.mul(f32x4.mul(f32x4.sub(a1, high1), f32x4.add(a1, high1)), c);
    const z0 = f32x4.mul(f32x4.mul(high0, high0), c);
    const z1 = f32x4.mul(f32x4.mul(high1, high1), c);

    // e^(z + low), as in exponential.ts.
    const rounding = at(table, ROUNDING);
    c = at(table, LOG2E);
    const shifted0 = mulAdd(z0, c, rounding);
    const shifted1 = mulAdd(z1, c, rounding);
    const k0 = f32x4.sub(shifted0, rounding);
    const k1 = f32x4.sub(shifted1, rounding);
    c = at(table, LN2_HIGH);
    let d = at(table, LN2_LOW);
    const r0 = f32x4.add(f32x4.sub(z0, f32x4.mul(k0, c)), f32x4.sub(low0, f32x4.mul(k0, d)));
    const r1 = f32x4.add(f32x4.sub(z1, f32x4.mul(k1, c)), f32x4.sub(low1, f32x4.mul(k1, d)));
    c = at(table, POWERS);
    d = at(table, POWERS + 1);
    let sum0 = mulAdd(c, r0, d);
    let sum1 = mulAdd(c, r1, d);
    c = at(table, POWERS + 2);
    sum0 = mulAdd(sum0, r0, c);
    sum1 = mulAdd(sum1, r1, c);
    c = at(table, POWERS + 3);
    sum0 = mulAdd(sum0, r0, c);
    sum1 = mulAdd(sum1, r1, c);
    c = at(table, POWERS + 4);
    sum0 = mulAdd(sum0, r0, c);
    sum1 = mulAdd(sum1, r1, c);
    const one = at(table, ONE);
    sum0 = f32x4.add(mulAdd(sum0, f32x4.mul(r0, r0), r0), one);
    sum1 = f32x4.add(mulAdd(sum1, f32x4.mul(r1, r1), r1), one);
    const e0 = v128.and(i32x4.add(sum0, i32x4.shl(shifted0, 23)), f32x4.lt(a0, farthest));
    const e1 = v128.and(i32x4.add(sum1, i32x4.shl(shifted1, 23)), f32x4.lt(a1, farthest));

    c = at(table, RATIO_SCALE);
    const t0 = f32x4.div(one, mulAdd(a0, c, one));
    const t1 = f32x4.div(one, mulAdd(a1, c, one));
    c = at(table, RATIO);
    d = at(table, RATIO + 1);
    sum0 = mulAdd(c, t0, d);
    sum1 = mulAdd(c, t1, d);
    c = at(table, RATIO + 2);
    sum0 = mulAdd(sum0, t0, c);
    sum1 = mulAdd(sum1, t1, c);
    c = at(table, RATIO + 3);
    sum0 = mulAdd(sum0, t0, c);
    sum1 = mulAdd(sum1, t1, c);
    c = at(table, RATIO + 4);
    sum0 = mulAdd(sum0, t0, c);
    sum1 = mulAdd(sum1, t1, c);
    c = at(table, RATIO + 5);
    sum0 = mulAdd(sum0, t0, c);
    sum1 = mulAdd(sum1, t1, c);
    c = at(table, RATIO + 6);
    sum0 = mulAdd(sum0, t0, c);
    sum1 = mulAdd(sum1, t1, c);
    c = at(table, RATIO + 7);
    sum0 = mulAdd(sum0, t0, c);
    sum1 = mulAdd(sum1, t1, c);
    c = at(table, RATIO + 8);
    sum0 = mulAdd(sum0, t0, c);
    sum1 = mulAdd(sum1, t1, c);
    c = at(table, RATIO + 9);
    sum0 = mulAdd(sum0, t0, c);
    sum1 = mulAdd(sum1, t1, c);
    const q0 = f32x4.mul(e0, f32x4.mul(sum0, t0));
    const q1 = f32x4.mul(e1, f32x4.mul(sum1, t1));

    v128.store(yPtr, f32x4.sub(v128.andnot(x0, f32x4.le(x0, zero)), f32x4.mul(a0, q0)));
    v128.store(yPtr, f32x4.sub(v128.andnot(x1, f32x4.le(x1, zero)), f32x4.mul(a1, q1)), 16);
    if (slopePtr != 0) {
      c = at(table, SIGN);
      d = at(table, DENSITY);
      const rise0 = f32x4.mul(v128.or(a0, v128.and(x0, c)), f32x4.mul(e0, d));
      const rise1 = f32x4.mul(v128.or(a1, v128.and(x1, c)), f32x4.mul(e1, d));
      v128.store(slopePtr, f32x4.add(v128.bitselect(f32x4.sub(one, q0), q0, f32x4.gt(x0, zero)), rise0));
      v128.store(slopePtr, f32x4.add(v128.bitselect(f32x4.sub(one, q1), q1, f32x4.gt(x1, zero)), rise1), 16);
      slopePtr += 32;
    }
    xPtr += 32;
    yPtr += 32;
  }
}

/** y = x · Φ(x) and, unless `slopePtr` is 0, its slope; either may lie over x. `scratchPtr`: `GELU_SCRATCH_BYTES`. */
export function geluF32(xPtr: usize, yPtr: usize, slopePtr: usize, count: i32, scratchPtr: usize): void {
  writeTable(scratchPtr);
  const whole = count & ~7;
  const bytes = <usize>(count - whole) << 2;
  const offset = <usize>whole << 2;
  const tail = scratchPtr + TAIL;
  // Read before anything is written: y or the slope may lie over x.
  memory.fill(tail, 0, 32);
  memory.copy(tail, xPtr + offset, bytes);
  pairs(scratchPtr, xPtr, yPtr, slopePtr, whole);
  if (bytes == 0) return;
  pairs(scratchPtr, tail, tail + 32, slopePtr == 0 ? 0 : tail + 64, 8);
  memory.copy(yPtr + offset, tail + 32, bytes);
  if (slopePtr != 0) memory.copy(slopePtr + offset, tail + 64, bytes);
}
