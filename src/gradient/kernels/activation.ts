/**
 * Element-wise maps. The rectifiers keep their output and may write in place; the smooth maps keep their slope, which comes of the
 * same exponential as their value, in place of their input.
 */
import type { TensorInfo } from '#tfjs';
import { UnsupportedError } from '../../core/errors.ts';
import { defineGradient, defineKernel, outputLike, required, run, sizeOf, type Attributes } from './support.ts';

/** The smooth maps, by their numbers in `assembly/smooth-map.ts`. */
export const smoothMaps = { tanh: 0, sigmoid: 1, silu: 2, gelu: 3, 'gelu (tanh)': 4 } as const;

export type SmoothMap = keyof typeof smoothMaps;

/** What the kernel `SmoothMap` is told. A type, so that an operation without a number does not compile. */
export type SmoothMapAttributes = {
  readonly map: SmoothMap;
  /** Whether the slope is wanted too. */
  readonly slopes: boolean;
};

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

function registerClamp(): void {
  // {x}, {ceiling} → min(max(x, 0), ceiling)
  defineKernel('Clamp', (call) => {
    const x = required(call, 'x');
    const y = outputLike(call, x);
    call.backend.core.kernels.clampF32(call.backend.pointer(x), call.backend.pointer(y), sizeOf(x), call.attrs['ceiling'] as number);
    return y;
  });
  defineKernel('ClampGrad', (call) => {
    const { backend } = call;
    const dy = required(call, 'dy');
    const dx = outputLike(call, dy);
    const yPtr = backend.pointer(required(call, 'y'));
    backend.core.kernels.clampGradientF32(backend.pointer(dy), yPtr, backend.pointer(dx), sizeOf(dy), call.attrs['ceiling'] as number);
    return dx;
  });
  defineGradient('Clamp', {
    outputs: [true],
    gradient: (dy, [y], { ceiling, gradientInPlace }) => ({ x: () => run('ClampGrad', { dy, y }, { ceiling, inPlace: gradientInPlace }) }),
  });
}

function registerSmooth(): void {
  // {x}, {map, slopes} → [y, slope] to differentiate, which needs the slope, or [y]. In place, x's buffer takes the slope, or y.
  defineKernel('SmoothMap', (call) => {
    const { backend } = call;
    const { kernels } = backend.core;
    const x = required(call, 'x');
    const { map: name, slopes } = call.attrs as SmoothMapAttributes;
    const map = (y: TensorInfo, slope?: TensorInfo): void =>
      backend.core.scoped((scratch) => {
        const slopePtr = slope === undefined ? 0 : backend.pointer(slope);
        kernels.smoothMapF32(smoothMaps[name], backend.pointer(x), backend.pointer(y), slopePtr, sizeOf(x), scratch.bytes(kernels.smoothMapScratchBytes()));
      });
    if (!slopes) {
      const y = outputLike(call, x);
      map(y);
      return y;
    }
    const y = backend.makeOutput(x.shape, 'float32');
    const slope = outputLike(call, x);
    map(y, slope);
    return [y, slope];
  });
  defineGradient('SmoothMap', {
    outputs: [false, true],
    gradient: (dy, [slope], { gradientInPlace }) => ({
      x: () => run('SmoothMapGrad', { dy, slope }, { inPlace: gradientInPlace }),
    }),
  });
  defineKernel('SmoothMapGrad', (call) => {
    const dy = required(call, 'dy');
    const { backend } = call;
    const dx = outputLike(call, dy);
    backend.core.kernels.multiplyRowF32(backend.pointer(dy), backend.pointer(required(call, 'slope')), backend.pointer(dx), 1, sizeOf(dy));
    return dx;
  });
}

export function registerActivations(): void {
  registerRectifiers();
  registerClamp();
  registerSmooth();
}
