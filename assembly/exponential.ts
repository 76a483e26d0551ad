// exp and log in f64 without tables: the same bytes in every engine, which JavaScript's Math does not promise.

/** e^x, relative error below 4e-16. */
export function expF64(x: f64): f64 {
  if (x != x) return x;
  if (x > 709.782712893384) return Infinity;
  if (x < -745.2) return 0;
  // x = k · ln 2 + r with |r| ≤ ln 2 / 2; ln 2 in two parts so that r keeps its last bits.
  const k = nearest(x * Math.LOG2E);
  const r = x - k * 0.6931471803691238 - k * 1.9082149292705877e-10;
  // Taylor to r^13: the next term is below 2e-17.
  let sum: f64 = 1.0 / 6227020800.0;
  sum = sum * r + 1.0 / 479001600.0;
  sum = sum * r + 1.0 / 39916800.0;
  sum = sum * r + 1.0 / 3628800.0;
  sum = sum * r + 1.0 / 362880.0;
  sum = sum * r + 1.0 / 40320.0;
  sum = sum * r + 1.0 / 5040.0;
  sum = sum * r + 1.0 / 720.0;
  sum = sum * r + 1.0 / 120.0;
  sum = sum * r + 1.0 / 24.0;
  sum = sum * r + 1.0 / 6.0;
  sum = sum * r + 0.5;
  sum = sum * r + 1.0;
  sum = sum * r + 1.0;
  // Two factors, since 2^k alone may leave the exponent range.
  const half = <i64>k >> 1;
  const rest = <i64>k - half;
  return sum * reinterpret<f64>((half + 1023) << 52) * reinterpret<f64>((rest + 1023) << 52);
}

/** Natural logarithm of a positive normal x, relative error below 4e-16. */
export function logF64(x: f64): f64 {
  const bits = reinterpret<i64>(x);
  let exponent = ((bits >> 52) & 0x7ff) - 1023;
  let mantissa = reinterpret<f64>((bits & 0x000fffffffffffff) | 0x3ff0000000000000);
  if (mantissa > Math.SQRT2) {
    mantissa *= 0.5;
    exponent += 1;
  }
  // ln m = 2 · artanh((m − 1) / (m + 1)); |t| ≤ 0.1716, so t^21 is below 1e-16.
  const t = (mantissa - 1.0) / (mantissa + 1.0);
  const square = t * t;
  let sum: f64 = 0;
  for (let n: i32 = 21; n > 0; n -= 2) sum = sum * square + 1.0 / <f64>n;
  return 2.0 * t * sum + <f64>exponent * 1.9082149292705877e-10 + <f64>exponent * 0.6931471803691238;
}
