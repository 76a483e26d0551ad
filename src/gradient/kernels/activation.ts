/**
 * Element-wise maps. The rectifiers keep their output and may write in place; the smooth maps keep their input and are evaluated
 * four lanes of f32 at a time.
 */
import { UnsupportedError } from '../../core/errors.ts';
import { defineGradient, defineKernel, outputLike, required, run, sizeOf, type Attributes } from './support.ts';

/** Numbers of the maps in `assembly/smooth-map.ts`. */
const SMOOTH = { Tanh: 0, Sigmoid: 1, Silu: 2, Gelu: 3, GeluTanh: 4 } as const;

function slopeOf(attrs: Attributes): number {
  const alpha = (attrs['alpha'] as number | undefined) ?? 0;
  // The gradient reads the sign off the output, which a negative slope would hide.
  if (alpha < 0) throw new UnsupportedError({ field: 'leakyRelu.alpha', expected: 'a slope ≥ 0', got: `${alpha}` });
  return alpha;
}

function registerRectifiers(): void {
  for (const name of ['Relu', 'LeakyRelu']) {
    defineKernel(name, (call) => {
      const x = required(call, 'x');
      const slope = slopeOf(call.attrs);
      const y = outputLike(call, x);
      call.backend.core.kernels.leakyReluF32(call.backend.pointer(x), call.backend.pointer(y), sizeOf(x), slope);
      return y;
    });
    defineGradient(name, {
      outputs: [true],
      gradient: (dy, [y], { alpha, gradientInPlace }) => ({
        x: () => run('RectifierGrad', { dy, y }, { alpha, inPlace: gradientInPlace }),
      }),
    });
  }
  defineKernel('RectifierGrad', (call) => {
    const dy = required(call, 'dy');
    const { backend } = call;
    const dx = outputLike(call, dy);
    const yPtr = backend.pointer(required(call, 'y'));
    backend.core.kernels.leakyReluGradientF32(backend.pointer(dy), yPtr, backend.pointer(dx), sizeOf(dy), slopeOf(call.attrs));
    return dx;
  });
}

function registerSmooth(): void {
  for (const [name, kind] of Object.entries(SMOOTH)) {
    defineKernel(name, (call) => {
      const x = required(call, 'x');
      const y = outputLike(call, x);
      call.backend.core.kernels.smoothMapF32(kind, call.backend.pointer(x), call.backend.pointer(y), sizeOf(x));
      return y;
    });
    defineGradient(name, {
      inputs: ['x'],
      gradient: (dy, [x], { gradientInPlace }) => ({
        x: () => run('SmoothGrad', { dy, x }, { kind, inPlace: gradientInPlace }),
      }),
    });
  }
  defineKernel('SmoothGrad', (call) => {
    const dy = required(call, 'dy');
    const { backend } = call;
    const dx = outputLike(call, dy);
    const xPtr = backend.pointer(required(call, 'x'));
    backend.core.kernels.smoothMapGradientF32(
      call.attrs['kind'] as number, backend.pointer(dy), xPtr, backend.pointer(dx), sizeOf(dy),
    );
    return dx;
  });
}

export function registerActivations(): void {
  registerRectifiers();
  registerSmooth();
}
