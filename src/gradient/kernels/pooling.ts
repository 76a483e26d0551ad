/**
 * Pooling of NHWC images. MaxPool and MaxPoolGrad replace the stock kernels, which lose the gradient of windows ≤ 0 and give ties to
 * the last maximum; MaxPoolWinners is the form that training uses: it remembers the winning taps in half the bytes of its output,
 * where the gradient by recomputation would keep the whole input. PaddedAveragePool counts padding, as PyTorch does.
 */
import { computePool2DInfo, type TensorInfo } from '#tfjs';
import { elementCount } from '../../tensor/tensor.ts';
import { defineGradient, defineKernel, required, run, type Attributes, type KernelCall } from './support.ts';

interface Pool {
  /** Count, height, width, channels, output height, output width. */
  readonly shape: readonly [number, number, number, number, number, number];
  readonly kernel: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly top: number;
  readonly left: number;
}

type Shape4 = [number, number, number, number];

/** From tfjs's attributes `filterSize`, `strides`, `pad` (explicit: [[0, 0], [top, bottom], [left, right], [0, 0]]). */
function poolOf(xShape: readonly number[], attrs: Attributes): Pool {
  const info = computePool2DInfo(
    xShape as Shape4,
    attrs['filterSize'] as [number, number],
    attrs['strides'] as [number, number],
    1,
    attrs['pad'] as 'valid',
    attrs['dimRoundingMode'] as 'floor',
  );
  const { filterHeight, filterWidth } = info;
  return {
    shape: [info.batchSize, info.inHeight, info.inWidth, info.inChannels, info.outHeight, info.outWidth],
    kernel: [filterHeight, filterWidth],
    stride: [info.strideHeight, info.strideWidth],
    top: info.padInfo.top,
    left: info.padInfo.left,
  };
}

const outputShape = ({ shape: [count, , , channels, height, width] }: Pool): Shape4 => [count, height, width, channels];
const outputElements = (pool: Pool): number => elementCount(outputShape(pool));

/** Winners are u16: the graph has no larger windows (`model/operations.ts`). */
function maximum({ backend }: KernelCall, x: TensorInfo, pool: Pool, yPtr: number, winnersPtr: number): void {
  backend.core.kernels.maxPoolF32(
    backend.pointer(x), yPtr, winnersPtr, ...pool.shape, ...pool.kernel, ...pool.stride, pool.top, pool.left,
  );
}

function scatter({ backend }: KernelCall, dy: TensorInfo, pool: Pool, winnersPtr: number): TensorInfo {
  const [count, height, width, channels] = pool.shape;
  const dx = backend.makeOutput([count, height, width, channels], 'float32');
  backend.core.kernels.maxPoolGradientF32(
    backend.pointer(dy), winnersPtr, backend.pointer(dx), ...pool.shape, ...pool.kernel, ...pool.stride, pool.top, pool.left,
  );
  return dx;
}

function registerMaximum(): void {
  defineKernel('MaxPool', (call) => {
    const x = required(call, 'x');
    const pool = poolOf(x.shape, call.attrs);
    const y = call.backend.makeOutput(outputShape(pool), 'float32');
    call.backend.core.scoped((scratch) => {
      maximum(call, x, pool, call.backend.pointer(y), scratch.bytes(2 * outputElements(pool), 'winners'));
    });
    return y;
  });
  defineKernel('MaxPoolGrad', (call) => {
    const x = required(call, 'input');
    const pool = poolOf(x.shape, call.attrs);
    return call.backend.core.scoped((scratch) => {
      const winners = scratch.bytes(2 * outputElements(pool), 'winners');
      maximum(call, x, pool, scratch.f32(outputElements(pool), 'maxima'), winners);
      return scatter(call, required(call, 'dy'), pool, winners);
    });
  });
  defineGradient('MaxPool', {
    inputs: ['x'],
    outputs: [true],
    gradient: (dy, [x, y], attrs) => ({ x: () => run('MaxPoolGrad', { dy, input: x, output: y }, attrs) }),
  });
  defineKernel('MaxPoolWinners', (call) => {
    const x = required(call, 'x');
    const pool = poolOf(x.shape, call.attrs);
    const y = call.backend.makeOutput(outputShape(pool), 'float32');
    // tfjs has no 16-bit type: two winners share an int32.
    const winners = call.backend.makeOutput([Math.ceil(outputElements(pool) / 2)], 'int32');
    maximum(call, x, pool, call.backend.pointer(y), call.backend.pointer(winners));
    return [y, winners];
  });
  defineKernel('MaxPoolWinnersGrad', (call) => {
    const dy = required(call, 'dy');
    const pool = poolOf([dy.shape[0] as number, ...(call.attrs['imageShape'] as number[])], call.attrs);
    return scatter(call, dy, pool, call.backend.pointer(required(call, 'winners')));
  });
  defineGradient('MaxPoolWinners', {
    outputs: [false, true],
    gradient: (dy, [winners], attrs) => ({ x: () => run('MaxPoolWinnersGrad', { dy, winners }, attrs) }),
  });
}

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
    const pool = poolOf([dy.shape[0] as number, ...(call.attrs['imageShape'] as number[])], call.attrs);
    const [count, height, width, channels] = pool.shape;
    const dx = backend.makeOutput([count, height, width, channels], 'float32');
    backend.core.kernels.averagePoolGradientF32(
      backend.pointer(dy), backend.pointer(dx), ...pool.shape, ...pool.kernel, ...pool.stride, pool.top, pool.left,
    );
    return dx;
  });
  defineGradient('PaddedAveragePool', {
    gradient: (dy, _saved, attrs) => ({ x: () => run('PaddedAveragePoolGrad', { dy }, attrs) }),
  });
}

/** `MaxPoolWinners` and `PaddedAveragePool` need the attribute `imageShape` [height, width, channels] for their gradients. */
export function registerPooling(): void {
  registerMaximum();
  registerAverage();
}
