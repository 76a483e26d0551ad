// Four f32 as two halves of two f64.

// oxlint-disable-next-line typescript/no-extraneous-class -- the linter cannot read a decorated function
export abstract class Halves {
  @inline
  static low(x: v128): v128 {
    return f64x2.promote_low_f32x4(x);
  }

  @inline
  static high(x: v128): v128 {
    return f64x2.promote_low_f32x4(v128.shuffle<i64>(x, x, 1, 1));
  }

  /** Adds x to four f64 sums. */
  @inline
  static addTo(sumsPtr: usize, x: v128): void {
    v128.store(sumsPtr, f64x2.add(v128.load(sumsPtr), Halves.low(x)));
    v128.store(sumsPtr, f64x2.add(v128.load(sumsPtr, 16), Halves.high(x)), 16);
  }
}
