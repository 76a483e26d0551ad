/**
 * Elementary functions whose every bit is the same in every runtime, which JavaScript's `Math.exp`, `log`, `pow`, `sin`,
 * `cos` and `tanh` are not: f64, evaluated by the WebAssembly core (`assembly/elementary.ts`).
 */
import type { Core } from './core.ts';

export interface Elementary {
  /** e^x, within 1 ulp. */
  exp(x: number): number;
  /** e^x − 1, within 2 ulp also next to 0. */
  expm1(x: number): number;
  /** Natural logarithm, within 1 ulp; NaN below 0. */
  log(x: number): number;
  /** base^exponent for base > 0 (NaN below); relative error about |exponent · ln base| · 1e-16. */
  pow(base: number, exponent: number): number;
  /** Within 1 ulp for |x| ≤ 1,647,099 (2^20 quarter turns); NaN beyond. */
  sin(x: number): number;
  /** As `sin`. */
  cos(x: number): number;
  /** Within 2 ulp. */
  tanh(x: number): number;
  /** 1 / (1 + e^−x), within 2 ulp. */
  sigmoid(x: number): number;
  /** The error function, 2/√π · ∫₀ˣ e^(−t²) dt, within 2 ulp. */
  erf(x: number): number;
}

/** The functions of an open core; `const { cos } = elementary(core)` is fine. */
export function elementary({ kernels }: Core): Elementary {
  return {
    exp: kernels.expF64,
    expm1: kernels.expm1F64,
    log: kernels.logF64,
    pow: kernels.powF64,
    sin: kernels.sinF64,
    cos: kernels.cosF64,
    tanh: kernels.tanhF64,
    sigmoid: kernels.sigmoidF64,
    erf: kernels.erfF64,
  };
}
