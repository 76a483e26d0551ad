/**
 * A dense layer on the last axis of a value of any rank, as one product over all rows. The weight is read as it is stored, [out, in]
 * or [in, out].
 */
import type { TensorInfo } from '#tfjs';
import { matmul } from '../../core/matmul.ts';
import { matmulLeavingOutZeros, type PlainProduct } from '../../core/sparse-matmul.ts';
import { biasGradient } from './column-sums.ts';
import { defineGradient, defineKernel, required, run, sizeOf, type KernelCall } from './support.ts';

export type DenseAttributes = {
  /** The weight is [in, out]. */
  readonly transposed: boolean;
  /** Products look for zeros to leave out: in pictures, and behind rectifiers. */
  readonly leavesOutZeros: boolean;
};

function multiply({ backend: { core }, attrs }: KernelCall, product: PlainProduct): void {
  if ((attrs as DenseAttributes).leavesOutZeros) matmulLeavingOutZeros(core, product, ['a', 'b']);
  else matmul(core, product);
}

/** {x [.., in], weight, bias?} → [.., out] */
function forward(call: KernelCall): TensorInfo {
  const { backend } = call;
  const x = required(call, 'x');
  const weight = required(call, 'weight');
  const bias = call.inputs['bias'];
  const k = x.shape.at(-1) ?? 1;
  const n = sizeOf(weight) / k;
  const m = sizeOf(x) / k;
  const y = backend.makeOutput([...x.shape.slice(0, -1), n], 'float32');
  const c = backend.pointer(y);
  if (bias !== undefined) backend.core.kernels.fillRowsF32(c, backend.pointer(bias), m, n);
  multiply(call, {
    a: backend.pointer(x), b: backend.pointer(weight), c, m, n, k,
    transposeB: call.attrs['transposed'] !== true, accumulate: bias !== undefined,
  });
  return y;
}

/** {dy [.., out], weight} → [.., in] */
function inputGradient(call: KernelCall): TensorInfo {
  const { backend } = call;
  const dy = required(call, 'dy');
  const weight = required(call, 'weight');
  const k = dy.shape.at(-1) ?? 1;
  const n = sizeOf(weight) / k;
  const dx = backend.makeOutput([...dy.shape.slice(0, -1), n], 'float32');
  multiply(call, {
    a: backend.pointer(dy), b: backend.pointer(weight), c: backend.pointer(dx), m: sizeOf(dy) / k, n, k,
    transposeB: call.attrs['transposed'] === true,
  });
  return dx;
}

/** {a [.., m], b [.., n]} → aᵀ · b over all rows, [m, n] */
function weightGradient(call: KernelCall): TensorInfo {
  const { backend } = call;
  const a = required(call, 'a');
  const b = required(call, 'b');
  const m = a.shape.at(-1) ?? 1;
  const n = b.shape.at(-1) ?? 1;
  const out = backend.makeOutput([m, n], 'float32');
  multiply(call, { a: backend.pointer(a), b: backend.pointer(b), c: backend.pointer(out), m, n, k: sizeOf(a) / m, transposeA: true });
  return out;
}

export function registerDense(): void {
  defineKernel('Dense', forward);
  defineKernel('DenseInputGrad', inputGradient);
  defineKernel('DenseWeightGrad', weightGradient);
  defineGradient('Dense', {
    inputs: ['x', 'weight'],
    gradient: (dy, [x, weight], attrs) => ({
      x: () => run('DenseInputGrad', { dy, weight }, attrs),
      weight: () => run('DenseWeightGrad', attrs['transposed'] === true ? { a: x, b: dy } : { a: dy, b: x }, attrs),
      bias: () => biasGradient(dy),
    }),
  });
}
