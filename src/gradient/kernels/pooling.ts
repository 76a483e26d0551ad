/** Pooling of NHWC images; both need the attribute `imageShape` [height, width, channels] for their gradients. */
import type { TensorInfo } from '#tfjs';
import { elementCount } from '../../tensor/tensor.ts';
import { defineGradient, defineKernel, required, run, type Attributes } from './support.ts';
import { windowGeometry } from './window-geometry.ts';

interface Pool {
  /** Count, height, width, channels, output height, output width. */
  readonly shape: readonly [number, number, number, number, number, number];
  readonly kernel: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly top: number;
  readonly left: number;
}

/** @param attrs those of a window, and `filterSize` [height, width]. */
function poolOf(xShape: readonly number[], attrs: Attributes): Pool {
  const g = windowGeometry(xShape, attrs['filterSize'] as readonly [number, number], attrs);
  const [top, , left] = g.padding;
  return { shape: [g.count, g.height, g.width, g.channels, g.outHeight, g.outWidth], kernel: g.kernel, stride: g.stride, top, left };
}

/** Of the images that `dy` is the gradient of. */
const poolOfGradient = (dy: TensorInfo, attrs: Attributes): Pool =>
  poolOf([dy.shape[0] as number, ...(attrs['imageShape'] as readonly number[])], attrs);

const outputShape = ({ shape: [count, , , channels, height, width] }: Pool): number[] => [count, height, width, channels];
const inputShape = ({ shape: [count, height, width, channels] }: Pool): number[] => [count, height, width, channels];

/** The winning taps are remembered, in half the bytes of the output: to find them again, the whole input would have to be kept. */
function registerMaximum(): void {
  defineKernel('MaxPool', (call) => {
    const { backend } = call;
    const x = required(call, 'x');
    const pool = poolOf(x.shape, call.attrs);
    const y = backend.makeOutput(outputShape(pool), 'float32');
    // u16, since the graph has no larger windows (`model/operations-image.ts`). tfjs has no 16-bit type: two winners share an int32.
    const winners = backend.makeOutput([Math.ceil(elementCount(y.shape) / 2)], 'int32');
    backend.core.kernels.maxPoolF32(
      backend.pointer(x), backend.pointer(y), backend.pointer(winners), ...pool.shape, ...pool.kernel, ...pool.stride, pool.top, pool.left,
    );
    return [y, winners];
  });
  defineKernel('MaxPoolGrad', (call) => {
    const { backend } = call;
    const dy = required(call, 'dy');
    const pool = poolOfGradient(dy, call.attrs);
    const dx = backend.makeOutput(inputShape(pool), 'float32');
    const winnersPtr = backend.pointer(required(call, 'winners'));
    backend.core.kernels.maxPoolGradientF32(
      backend.pointer(dy), winnersPtr, backend.pointer(dx), ...pool.shape, ...pool.kernel, ...pool.stride, pool.top, pool.left,
    );
    return dx;
  });
  defineGradient('MaxPool', {
    outputs: [false, true],
    gradient: (dy, [winners], attrs) => ({ x: () => run('MaxPoolGrad', { dy, winners }, attrs) }),
  });
}

/** Padding counts as zeros, as in PyTorch. */
function registerAverage(): void {
  defineKernel('PaddedAveragePool', (call) => {
    const { backend } = call;
    const x = required(call, 'x');
    const pool = poolOf(x.shape, call.attrs);
    const y = backend.makeOutput(outputShape(pool), 'float32');
    backend.core.kernels.averagePoolF32(
      backend.pointer(x), backend.pointer(y), ...pool.shape, ...pool.kernel, ...pool.stride, pool.top, pool.left,
    );
    return y;
  });
  defineKernel('PaddedAveragePoolGrad', (call) => {
    const { backend } = call;
    const dy = required(call, 'dy');
    const pool = poolOfGradient(dy, call.attrs);
    const dx = backend.makeOutput(inputShape(pool), 'float32');
    backend.core.kernels.averagePoolGradientF32(
      backend.pointer(dy), backend.pointer(dx), ...pool.shape, ...pool.kernel, ...pool.stride, pool.top, pool.left,
    );
    return dx;
  });
  defineGradient('PaddedAveragePool', {
    gradient: (dy, _saved, attrs) => ({ x: () => run('PaddedAveragePoolGrad', { dy }, attrs) }),
  });
}

export function registerPooling(): void {
  registerMaximum();
  registerAverage();
}
