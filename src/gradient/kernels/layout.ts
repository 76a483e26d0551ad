/**
 * Views; changes between PyTorch's NCHW, in which images come in and flattened features are ordered, and tfjs's NHWC;
 * tokens in the place of features.
 */
import type { TensorInfo } from '#tfjs';
import { elementCount } from '../../tensor/tensor.ts';
import { defineGradient, defineKernel, required, run, sizeOf, viewOf, type KernelCall } from './support.ts';

/** [count, rows, columns] → `shape` with every matrix transposed; a view where that moves nothing. */
function transposed(call: KernelCall, count: number, rows: number, columns: number, shape: number[]): TensorInfo {
  const { backend } = call;
  const x = required(call, 'x');
  if (rows === 1 || columns === 1) return viewOf(backend, x, shape);
  const y = backend.makeOutput(shape, 'float32');
  backend.core.kernels.transposeF32(backend.pointer(x), backend.pointer(y), count, rows, columns);
  return y;
}

function registerViews(): void {
  // Stock tfjs copies. A tensor that shares its buffer is not written in place (`tape.ts`).
  defineKernel('Identity', (call) => viewOf(call.backend, required(call, 'x'), required(call, 'x').shape));
  // The same buffer under another shape, {x [count, ..]}, {shape, from}: both without the batch axis.
  defineKernel('Reinterpret', (call) => {
    const x = required(call, 'x');
    return viewOf(call.backend, x, [x.shape[0] as number, ...(call.attrs['shape'] as number[])]);
  });
  defineGradient('Reinterpret', { gradient: (dy, _saved, { from }) => ({ x: () => run('Reinterpret', { x: dy }, { shape: from }) }) });
}

function registerImages(): void {
  // {x: count images as NCHW}, {imageShape [height, width, channels]} → [count, height, width, channels]
  defineKernel('ChannelsLast', (call) => {
    const x = required(call, 'x');
    const [height, width, channels] = call.attrs['imageShape'] as [number, number, number];
    const count = sizeOf(x) / (height * width * channels);
    return transposed(call, count, channels, height * width, [count, height, width, channels]);
  });
  // Its input may come flat: the gradient goes back as [count, channels · height · width].
  defineGradient('ChannelsLast', { gradient: (dy) => ({ x: () => run('FlattenChannelsFirst', { x: dy }) }) });
  // {x [count, height, width, channels]} → [count, channels · height · width], channels slowest
  defineKernel('FlattenChannelsFirst', (call) => {
    const [count = 0, ...rest] = required(call, 'x').shape;
    const channels = rest.at(-1) ?? 1;
    const pixels = elementCount(rest.slice(0, -1));
    return transposed(call, count, pixels, channels, [count, pixels * channels]);
  });
  defineGradient('FlattenChannelsFirst', {
    gradient: (dy, _saved, { imageShape }) => ({
      x: () =>
        (imageShape as readonly number[]).length === 1 ? run('Identity', { x: dy }) : run('ChannelsLast', { x: dy }, { imageShape }),
    }),
  });
}

function registerTokenTransposes(): void {
  // {x [count, a, b]} → [count, b, a]
  defineKernel('TransposeTokens', (call) => {
    const { backend } = call;
    const x = required(call, 'x');
    const [count = 0, a = 0, b = 0] = x.shape;
    const y = backend.makeOutput([count, b, a], 'float32');
    backend.core.kernels.transposeF32(backend.pointer(x), backend.pointer(y), count, a, b);
    return y;
  });
  defineGradient('TransposeTokens', { gradient: (dy) => ({ x: () => run('TransposeTokens', { x: dy }) }) });
}

export function registerLayout(): void {
  registerViews();
  registerImages();
  registerTokenTransposes();
}
