// Elementary functions in f64 without tables, so that their bytes are the same in every engine (JavaScript's Math
// promises no last bits). Errors are stated in units of the last place (ulp) as test/core/elementary.test.ts measures them.

const LN2_HIGH: f64 = 0.6931471803691238; // the leading 32 bits: k times it is exact for |k| < 2^21
const LN2_LOW: f64 = 1.9082149292705877e-10;

/** 2^k for k in [−1022, 1023]. */
function powerOfTwo(k: i64): f64 {
  return reinterpret<f64>((k + 1023) << 52);
}

/** sum · 2^k in two factors, since 2^k alone may leave the exponent range. */
function scale(sum: f64, k: i64): f64 {
  const half = k >> 1;
  return sum * powerOfTwo(half) * powerOfTwo(k - half);
}

/** e^r − 1 − r for |r| ≤ ln 2 / 2: Taylor from r²/2 to r^14, whose next term is below 1e-19. */
function expTail(r: f64): f64 {
  let sum: f64 = 1.0 / 87178291200.0;
  sum = sum * r + 1.0 / 6227020800.0;
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
  return sum * r * r;
}

/** e^x, within 1 ulp; subnormal results within 2^−1074. */
export function expF64(x: f64): f64 {
  if (x != x) return x;
  if (x > 709.782712893384) return Infinity;
  if (x < -745.1332191019412) return 0;
  const k = nearest(x * Math.LOG2E);
  const high = x - k * LN2_HIGH;
  const low = k * LN2_LOW;
  const r = high - low;
  // What r lost in rounding comes back with the small terms.
  return scale(1.0 + (high - (low - expTail(r))), <i64>k);
}

/** e^x − 1, within 2 ulp, also next to 0. */
export function expm1F64(x: f64): f64 {
  if (x != x) return x;
  if (x > 709.782712893384) return Infinity;
  if (x < -44.0) return -1;
  const k = nearest(x * Math.LOG2E);
  const high = x - k * LN2_HIGH;
  const low = k * LN2_LOW;
  const tail = high - (low - expTail(high - low)); // e^r − 1
  if (k == 0) return tail;
  // 2^k · (1 + tail) − 1 with the subtraction where nothing cancels.
  if (k > 54) return scale(1.0 + tail, <i64>k);
  const whole = <i64>k;
  return powerOfTwo(whole) * (1.0 - powerOfTwo(-whole) + tail);
}

/** Natural logarithm, within 1 ulp: NaN below 0, −∞ at 0. */
export function logF64(x: f64): f64 {
  if (x != x || x == Infinity) return x;
  if (x <= 0) return x == 0 ? -Infinity : NaN;
  let exponent: i64 = 0;
  let value = x;
  if (value < 2.2250738585072014e-308) {
    value *= 18014398509481984.0; // 2^54: out of the subnormals
    exponent = -54;
  }
  const bits = reinterpret<i64>(value);
  exponent += ((bits >> 52) & 0x7ff) - 1023;
  let mantissa = reinterpret<f64>((bits & 0x000fffffffffffff) | 0x3ff0000000000000);
  if (mantissa > Math.SQRT2) {
    mantissa *= 0.5;
    exponent += 1;
  }
  // ln(1 + f) = 2 artanh(s), s = f / (2 + f), |s| ≤ 0.1716; 2s = f − f²/2 + s·f²/2 keeps the leading term f exact.
  const f = mantissa - 1.0;
  const s = f / (2.0 + f);
  const square = s * s;
  let series: f64 = 2.0 / 23.0;
  for (let n: i32 = 21; n >= 3; n -= 2) series = series * square + 2.0 / <f64>n;
  series *= square;
  const half = 0.5 * f * f;
  const k = <f64>exponent;
  return k * LN2_HIGH - (half - (s * (half + series) + k * LN2_LOW) - f);
}

/** base^exponent for a base > 0: e^(exponent · ln base), so its relative error is about |exponent · ln base| · 1e-16. */
export function powF64(base: f64, exponent: f64): f64 {
  return exponent == 0 ? 1 : expF64(exponent * logF64(base));
}

/** sin(r + low) for |r| ≤ π/4: Taylor to r^17. */
function sinKernel(r: f64, low: f64): f64 {
  const square = r * r;
  let sum: f64 = 1.0 / 355687428096000.0;
  sum = sum * square - 1.0 / 1307674368000.0;
  sum = sum * square + 1.0 / 6227020800.0;
  sum = sum * square - 1.0 / 39916800.0;
  sum = sum * square + 1.0 / 362880.0;
  sum = sum * square - 1.0 / 5040.0;
  sum = sum * square + 1.0 / 120.0;
  sum = sum * square - 1.0 / 6.0;
  return r + (r * square * sum + low * (1.0 - 0.5 * square));
}

/** cos(r + low) for |r| ≤ π/4: Taylor to r^18. */
function cosKernel(r: f64, low: f64): f64 {
  const square = r * r;
  let sum: f64 = -1.0 / 6402373705728000.0;
  sum = sum * square + 1.0 / 20922789888000.0;
  sum = sum * square - 1.0 / 87178291200.0;
  sum = sum * square + 1.0 / 479001600.0;
  sum = sum * square - 1.0 / 3628800.0;
  sum = sum * square + 1.0 / 40320.0;
  sum = sum * square - 1.0 / 720.0;
  sum = sum * square + 1.0 / 24.0;
  const half = 0.5 * square;
  const leading = 1.0 - half;
  // 1 − half rounds; its error (1 − leading) − half is exact.
  return leading + (1.0 - leading - half + (square * square * sum - r * low));
}

// π/2 in three parts of 33, 33 and 53 bits: k times the first two is exact for |k| < 2^20.
const HALF_PI_1: f64 = 1.5707963267341256;
const HALF_PI_2: f64 = 6.077100506303966e-11;
const HALF_PI_3: f64 = 2.0222662487959506e-21;
const LARGEST_ANGLE: f64 = 1647099.0; // 2^20 · π/2

/** sin x (quarter 0) or cos x (quarter 1), within 1 ulp for |x| ≤ 1,647,099 and NaN beyond. */
function circular(x: f64, quarter: i32): f64 {
  if (!(abs(x) <= LARGEST_ANGLE)) return NaN;
  const k = nearest(x * 0.6366197723675814);
  const high = x - k * HALF_PI_1;
  const middle = k * HALF_PI_2;
  const r = high - middle;
  const low = high - r - middle - k * HALF_PI_3;
  const at = (<i32>k + quarter) & 3;
  const value = at & 1 ? cosKernel(r, low) : sinKernel(r, low);
  return at & 2 ? -value : value;
}

export function sinF64(x: f64): f64 {
  return circular(x, 0);
}

export function cosF64(x: f64): f64 {
  return circular(x, 1);
}

/** tanh x, within 2 ulp. */
export function tanhF64(x: f64): f64 {
  if (abs(x) > 22.0) return copysign<f64>(1, x);
  const e = expm1F64(2.0 * abs(x));
  return copysign<f64>(e / (e + 2.0), x);
}

/** 1 / (1 + e^−x), within 2 ulp. */
export function sigmoidF64(x: f64): f64 {
  if (x < 0) {
    const e = expF64(x);
    return e / (1.0 + e);
  }
  return 1.0 / (1.0 + expF64(-x));
}

/** erf(x) / x in t = x² for |x| ≤ 1: Chebyshev interpolation of degree 11, relative error 1e-16. */
function erfNear(t: f64): f64 {
  let sum: f64 = -7.795898827002142e-10;
  sum = sum * t + 1.3720064546777686e-08;
  sum = sum * t - 1.6208483801871705e-07;
  sum = sum * t + 1.6447424703317362e-06;
  sum = sum * t - 1.492473690741966e-05;
  sum = sum * t + 0.00012055294904839707;
  sum = sum * t - 0.0008548325975389692;
  sum = sum * t + 0.0052239776071164225;
  sum = sum * t - 0.02686617064323777;
  sum = sum * t + 0.11283791670945006;
  sum = sum * t - 0.37612638903183543;
  sum = sum * t + 1.1283791670955126;
  return sum;
}

/** x · e^(x²) · erfc(x) in y = 4 / x − 3 for x in [1, 2]: Chebyshev interpolation of degree 15, relative error 1e-16. */
function erfcMiddle(y: f64): f64 {
  let sum: f64 = 9.554796082627911e-12;
  sum = sum * y - 2.8605438668138976e-11;
  sum = sum * y + 2.3567233764665185e-12;
  sum = sum * y + 3.5149265008525193e-10;
  sum = sum * y - 2.7601285522035914e-09;
  sum = sum * y + 1.5027978975747895e-08;
  sum = sum * y - 6.190410486284837e-08;
  sum = sum * y + 1.6981996339544047e-07;
  sum = sum * y + 3.422951384908558e-08;
  sum = sum * y - 4.423082114055607e-06;
  sum = sum * y + 3.680539059551572e-05;
  sum = sum * y - 0.00019713177813035122;
  sum = sum * y + 0.0006295812459789906;
  sum = sum * y + 0.0012092420392836793;
  sum = sum * y - 0.04227024444636872;
  sum = sum * y + 0.4681795920385405;
  return sum;
}

/** The same in y = 6 / x − 2 for x in [2, 6]: degree 16. */
function erfcFar(y: f64): f64 {
  let sum: f64 = -1.266954529157733e-12;
  sum = sum * y - 8.026070348896283e-12;
  sum = sum * y + 6.742373802608665e-11;
  sum = sum * y - 1.9419537188322138e-10;
  sum = sum * y + 7.098089876568261e-11;
  sum = sum * y + 2.542738230373935e-09;
  sum = sum * y - 1.5839419473041883e-08;
  sum = sum * y + 4.793588496067791e-08;
  sum = sum * y + 1.123988435951922e-08;
  sum = sum * y - 1.017269648326905e-06;
  sum = sum * y + 5.915637459721023e-06;
  sum = sum * y - 1.2430256581458006e-05;
  sum = sum * y - 7.918369000748392e-05;
  sum = sum * y + 0.00090592689852599;
  sum = sum * y - 0.0032048013171038447;
  sum = sum * y - 0.02382655673980729;
  sum = sum * y + 0.5370034535441699;
  return sum;
}

/** The error function, within 2 ulp. */
export function erfF64(x: f64): f64 {
  const size = abs(x);
  if (size <= 1.0) return x * erfNear(x * x);
  if (size >= 6.0) return x != x ? x : copysign<f64>(1, x);
  const scaled = size <= 2.0 ? erfcMiddle(4.0 / size - 3.0) : erfcFar(6.0 / size - 2.0);
  return copysign<f64>(1.0 - (scaled * expF64(-x * x)) / size, x);
}
