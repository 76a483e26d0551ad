/**
 * Element-wise maps. The rectifiers keep their output and may write in place; the others keep their slope, most of which
 * comes with the value, in place of their input.
 */
import type { Core } from '../../core/core.ts';
import { UnsupportedError } from '../../core/errors.ts';
import { defineGradient, defineKernel, outputLike, required, run, sizeOf, type Attributes, type KernelCall } from './support.ts';

/** The smooth maps, by their numbers in `assembly/smooth-map.ts`. */
export const smoothMaps = { tanh: 0, sigmoid: 1, silu: 2, gelu: 3, 'gelu (tanh)': 4, elu: 5 } as const;

export type SmoothMap = keyof typeof smoothMaps;

export type MapAttributes = {
  /** Whether the slope is wanted too. */
  readonly slopes: boolean;
};

/** What the kernel `SmoothMap` is told. A type, so that an operation without a number does not compile. */
export type SmoothMapAttributes = MapAttributes & { readonly map: SmoothMap };

/** What the kernel `Elu` is told. */
export type EluAttributes = MapAttributes & { readonly alpha: number };

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

/** Writes y = f(x) and, unless `slopePtr` is 0, slope = f′(x), either of which may lie over x. */
type Map = (call: KernelCall, xPtr: number, yPtr: number, slopePtr: number, count: number) => void;

/**
 * {x}, {slopes, …} → [y, slope] to differentiate, which needs the slope, or [y]. In place, x's buffer takes the slope,
 * or y.
 */
function defineMap(name: string, map: Map): void {
  defineKernel(name, (call) => {
    const { backend } = call;
    const x = required(call, 'x');
    if (call.attrs['slopes'] !== true) {
      const y = outputLike(call, x);
      map(call, backend.pointer(x), backend.pointer(y), 0, sizeOf(x));
      return y;
    }
    const y = backend.makeOutput(x.shape, 'float32');
    const slope = outputLike(call, x);
    map(call, backend.pointer(x), backend.pointer(y), backend.pointer(slope), sizeOf(x));
    return [y, slope];
  });
  defineGradient(name, {
    outputs: [false, true],
    gradient: (dy, [slope], { gradientInPlace }) => ({ x: () => run('MapGrad', { dy, slope }, { inPlace: gradientInPlace }) }),
  });
}

function smoothMap({ backend: { core } }: KernelCall, map: SmoothMap, xPtr: number, yPtr: number, slopePtr: number, count: number): void {
  const { kernels } = core;
  core.scoped((scratch) =>
    kernels.smoothMapF32(smoothMaps[map], xPtr, yPtr, slopePtr, count, scratch.bytes(kernels.smoothMapScratchBytes())),
  );
}

/** The smooth map has alpha 1. Any other is the slope of a rectifier behind it, as exact: the map leaves every sign as it is. */
function elu(call: KernelCall, xPtr: number, yPtr: number, slopePtr: number, count: number): void {
  const { kernels } = call.backend.core;
  const { alpha } = call.attrs as EluAttributes;
  smoothMap(call, 'elu', xPtr, yPtr, slopePtr, count);
  if (alpha === 1) return;
  kernels.leakyReluF32(yPtr, yPtr, count, alpha);
  if (slopePtr !== 0) kernels.leakyReluGradientF32(slopePtr, yPtr, slopePtr, count, alpha);
}

function registerMaps(): void {
  defineMap('SmoothMap', (call, ...rest) => smoothMap(call, (call.attrs as SmoothMapAttributes).map, ...rest));
  defineMap('Elu', elu);
  defineMap('Hardswish', hardswish);
  defineKernel('MapGrad', (call) => {
    const dy = required(call, 'dy');
    const { backend } = call;
    const dx = outputLike(call, dy);
    backend.core.kernels.multiplyRowF32(backend.pointer(dy), backend.pointer(required(call, 'slope')), backend.pointer(dx), 1, sizeOf(dy));
    return dx;
  });
}

/** Numbers that go through all steps of a map together: with what they become, they stay in the nearest cache. */
const PIECE = 1024;

/** Pointers to rows as long as a piece: of 3, of 1 / 6 and one to write. */
interface PieceRows {
  readonly threes: number;
  readonly sixths: number;
  readonly free: number;
}

/** Calls `step` piece by piece, with the bytes before the piece and the numbers in it. */
function byPieces({ backend: { core } }: KernelCall, count: number, step: (at: number, length: number, rows: PieceRows) => void): void {
  core.scoped((scratch) => {
    const constants = (value: number): number => {
      const pointer = scratch.f32(PIECE);
      core.f32(pointer, PIECE).fill(value);
      return pointer;
    };
    const rows: PieceRows = { threes: constants(3), sixths: constants(1 / 6), free: scratch.f32(PIECE) };
    for (let start = 0; start < count; start += PIECE) step(4 * start, Math.min(PIECE, count - start), rows);
  });
}

/** y = relu6(x + 3) / 6 of one piece; y may be x. From 3 on it is 1, since 6 · (1 / 6) rounds to 1. */
function hardSigmoidPiece({ kernels }: Core, xPtr: number, yPtr: number, length: number, { threes, sixths }: PieceRows): void {
  kernels.addRowF32(xPtr, threes, yPtr, 1, length);
  kernels.clampF32(yPtr, yPtr, length, 6);
  kernels.multiplyRowF32(yPtr, sixths, yPtr, 1, length);
}

/**
 * x · h with h = relu6(x + 3) / 6, and its slope h + x · h′: as exact as a kernel of its own, and x itself from 3 on. At −3 and 3, where
 * it has two slopes, that of the outer side.
 */
function hardswish(call: KernelCall, xPtr: number, yPtr: number, slopePtr: number, count: number): void {
  const { core } = call.backend;
  const { kernels } = core;
  byPieces(call, count, (at, length, rows) => {
    const { sixths, free: h } = rows;
    const x = xPtr + at;
    hardSigmoidPiece(core, x, h, length, rows);
    // y may lie over x, and so may the slope, which reads it once more.
    kernels.multiplyRowF32(x, h, yPtr + at, 1, length);
    if (slopePtr === 0) return;
    const slope = slopePtr + at;
    kernels.clampGradientF32(x, h, slope, length, 1);
    kernels.multiplyRowF32(slope, sixths, slope, 1, length);
    kernels.addF32(h, slope, length);
  });
}

/**
 * A rectifier: its value tells its slope, 1 / 6 where it is between 0 and 1, which is where x is between −3 and 3. Only the last number
 * below 3 is rounded up to the value 1, and with it to the slope 0.
 */
function registerHardSigmoid(): void {
  defineKernel('HardSigmoid', (call) => {
    const { backend } = call;
    const x = required(call, 'x');
    const y = outputLike(call, x);
    const [xPtr, yPtr] = [backend.pointer(x), backend.pointer(y)];
    byPieces(call, sizeOf(x), (at, length, rows) => hardSigmoidPiece(backend.core, xPtr + at, yPtr + at, length, rows));
    return y;
  });
  defineKernel('HardSigmoidGrad', (call) => {
    const { backend } = call;
    const { kernels } = backend.core;
    const dy = required(call, 'dy');
    const dx = outputLike(call, dy);
    const [dyPtr, yPtr, dxPtr] = [backend.pointer(dy), backend.pointer(required(call, 'y')), backend.pointer(dx)];
    byPieces(call, sizeOf(dy), (at, length, { sixths }) => {
      kernels.clampGradientF32(dyPtr + at, yPtr + at, dxPtr + at, length, 1);
      kernels.multiplyRowF32(dxPtr + at, sixths, dxPtr + at, 1, length);
    });
    return dx;
  });
  defineGradient('HardSigmoid', {
    outputs: [true],
    gradient: (dy, [y], { gradientInPlace }) => ({ x: () => run('HardSigmoidGrad', { dy, y }, { inPlace: gradientInPlace }) }),
  });
}

export function registerActivations(): void {
  registerRectifiers();
  registerClamp();
  registerHardSigmoid();
  registerMaps();
}
