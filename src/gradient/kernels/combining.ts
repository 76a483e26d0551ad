/** Sums and products of two values, concatenation and slices along channels (the last axis). */
import type { Tensor, TensorInfo } from '#tfjs';
import {
  defineGradient, defineKernel, outputLike, required, run, sizeOf, sumInDoubles, type InputGradients, type KernelCall,
} from './support.ts';

const channelsOf = (info: TensorInfo): number => info.shape.at(-1) ?? 1;
const withChannels = (info: TensorInfo, channels: number): number[] => [...info.shape.slice(0, -1), channels];

/** How `b` is repeated along `a`, as [images, rows an image, columns]: b has a's shape, or [count, 1, 1, channels]. */
function factorRows(a: TensorInfo, b: TensorInfo): readonly [number, number, number] {
  if (sizeOf(a) === sizeOf(b)) return [1, 1, sizeOf(a)];
  const count = a.shape[0] as number;
  return [count, sizeOf(a) / sizeOf(b), channelsOf(a)];
}

/** y = a · b, one row of b for all rows of an image. */
function multiply(call: KernelCall, a: TensorInfo, b: TensorInfo): TensorInfo {
  const { backend } = call;
  const y = backend.makeOutput(a.shape, 'float32');
  const [images, rows, columns] = factorRows(a, b);
  const [aPtr, bPtr, yPtr] = [backend.pointer(a), backend.pointer(b), backend.pointer(y)];
  for (let n = 0; n < images; n++) {
    const at = 4 * n * rows * columns;
    backend.core.kernels.multiplyRowF32(aPtr + at, bPtr + 4 * n * columns, yPtr + at, rows, columns);
  }
  return y;
}

/** Gradient of b: Σ over an image's rows of dy · a, in f64. */
function factorGradient(call: KernelCall): TensorInfo {
  const { backend } = call;
  const [a, b, dy] = [required(call, 'a'), required(call, 'b'), required(call, 'dy')];
  const [images, rows, columns] = factorRows(a, b);
  if (images === 1 && rows === 1) return multiply(call, dy, a);
  const db = backend.makeOutput(b.shape, 'float32');
  const [aPtr, dyPtr, dbPtr] = [backend.pointer(a), backend.pointer(dy), backend.pointer(db)];
  for (let n = 0; n < images; n++) {
    const at = 4 * n * rows * columns;
    sumInDoubles(backend, dbPtr + 4 * n * columns, columns, (sums) =>
      backend.core.kernels.columnProductSumsF32(dyPtr + at, aPtr + at, rows, columns, sums),
    );
  }
  return db;
}

/** x + b of one shape: a gradient that allowed for broadcasting, as that of tfjs's `Add`, would keep both. */
function registerSums(): void {
  defineKernel('AddAlike', (call) => {
    const { backend } = call;
    const [x, b] = [required(call, 'x'), required(call, 'b')];
    const y = outputLike(call, x);
    backend.core.kernels.addRowF32(backend.pointer(x), backend.pointer(b), backend.pointer(y), 1, sizeOf(x));
    return y;
  });
  const pass = (dy: Tensor) => (): Tensor => run('Identity', { x: dy });
  defineGradient('AddAlike', { gradient: (dy) => ({ x: pass(dy), b: pass(dy) }) });
}

function registerProducts(): void {
  defineKernel('MultiplyChannels', (call) => multiply(call, required(call, 'a'), required(call, 'b')));
  defineKernel('MultiplyChannelsFactorGrad', factorGradient);
  defineGradient('MultiplyChannels', {
    inputs: ['a', 'b'],
    gradient: (dy, [a, b]) => ({
      a: () => run('MultiplyChannels', { a: dy, b }),
      b: () => run('MultiplyChannelsFactorGrad', { dy, a, b }),
    }),
  });
}

function registerBlocks(): void {
  // {x0, x1, …}, {widths: channels of each}
  defineKernel('ConcatChannels', (call) => {
    const { backend } = call;
    const parts = (call.attrs['widths'] as readonly number[]).map((_, i) => required(call, `x${i}`));
    const [first] = parts as [TensorInfo];
    const channels = parts.reduce((sum, part) => sum + channelsOf(part), 0);
    const rows = sizeOf(first) / channelsOf(first);
    const y = backend.makeOutput(withChannels(first, channels), 'float32');
    let at = backend.pointer(y);
    for (const part of parts) {
      const width = channelsOf(part);
      backend.core.kernels.copyBlocks(backend.pointer(part), 4 * width, at, 4 * channels, 4 * width, rows);
      at += 4 * width;
    }
    return y;
  });
  defineGradient('ConcatChannels', {
    gradient: (dy, _saved, attrs) => {
      const rules: { [input: string]: () => Tensor } = {};
      let start = 0;
      for (const [i, length] of (attrs['widths'] as readonly number[]).entries()) {
        const from = start;
        rules[`x${i}`] = () => run('SliceChannels', { x: dy }, { start: from, length });
        start += length;
      }
      return rules satisfies InputGradients;
    },
  });
  // {x}, {start, length; channels of x, for the gradient}
  defineKernel('SliceChannels', (call) => {
    const { backend } = call;
    const x = required(call, 'x');
    const { start, length } = call.attrs as { readonly start: number; readonly length: number };
    const y = backend.makeOutput(withChannels(x, length), 'float32');
    const rows = sizeOf(x) / channelsOf(x);
    backend.core.kernels.copyBlocks(backend.pointer(x) + 4 * start, 4 * channelsOf(x), backend.pointer(y), 4 * length, 4 * length, rows);
    return y;
  });
  defineKernel('SliceChannelsGrad', (call) => {
    const { backend } = call;
    const dy = required(call, 'dy');
    const { start, length, channels } = call.attrs as { readonly start: number; readonly length: number; readonly channels: number };
    const dx = backend.makeOutput(withChannels(dy, channels), 'float32');
    const dxPtr = backend.pointer(dx);
    backend.core.f32(dxPtr, sizeOf(dx)).fill(0);
    backend.core.kernels.copyBlocks(backend.pointer(dy), 4 * length, dxPtr + 4 * start, 4 * channels, 4 * length, sizeOf(dy) / length);
    return dx;
  });
  defineGradient('SliceChannels', { gradient: (dy, _saved, attrs) => ({ x: () => run('SliceChannelsGrad', { dy }, attrs) }) });
}

export function registerCombining(): void {
  registerSums();
  registerProducts();
  registerBlocks();
}
