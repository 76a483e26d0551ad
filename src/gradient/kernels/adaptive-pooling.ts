/** Adaptive pooling of NHWC images: windows that cover the image in `size` pieces, as PyTorch cuts them. */
import type { TensorInfo } from '#tfjs';
import { defineGradient, defineKernel, required, run, type Attributes, type KernelCall } from './support.ts';

type Extents = readonly [number, number, number, number, number, number];

/** Count, height, width, channels, output height, output width. */
function extents(count: number, imageShape: readonly number[], attrs: Attributes): Extents {
  const [height, width, channels] = imageShape as [number, number, number];
  return [count, height, width, channels, ...(attrs['size'] as readonly [number, number])];
}

const ofInput = (call: KernelCall): Extents => {
  const { shape } = required(call, 'x');
  return extents(shape[0] as number, shape.slice(1), call.attrs);
};
const ofGradient = (call: KernelCall): Extents =>
  extents(required(call, 'dy').shape[0] as number, call.attrs['imageShape'] as readonly number[], call.attrs);

/** Both kernels need the attribute `imageShape` [height, width, channels] for their gradients. */
export function registerAdaptivePooling(): void {
  const output = ({ backend }: KernelCall, [count, , , channels, rows, columns]: Extents): TensorInfo =>
    backend.makeOutput([count, rows, columns, channels], 'float32');
  const input = ({ backend }: KernelCall, [count, height, width, channels]: Extents): TensorInfo =>
    backend.makeOutput([count, height, width, channels], 'float32');
  defineKernel('AdaptiveAveragePool', (call) => {
    const { backend } = call;
    const shape = ofInput(call);
    const y = output(call, shape);
    backend.core.kernels.adaptiveAveragePoolF32(backend.pointer(required(call, 'x')), backend.pointer(y), ...shape);
    return y;
  });
  defineKernel('AdaptiveAveragePoolGrad', (call) => {
    const { backend } = call;
    const shape = ofGradient(call);
    const dx = input(call, shape);
    backend.core.kernels.adaptiveAveragePoolGradientF32(backend.pointer(required(call, 'dy')), backend.pointer(dx), ...shape);
    return dx;
  });
  defineGradient('AdaptiveAveragePool', {
    gradient: (dy, _saved, attrs) => ({ x: () => run('AdaptiveAveragePoolGrad', { dy }, attrs) }),
  });
  defineKernel('AdaptiveMaxPool', (call) => {
    const { backend } = call;
    const shape = ofInput(call);
    const y = output(call, shape);
    const winners = backend.makeOutput(y.shape, 'int32');
    backend.core.kernels.adaptiveMaxPoolF32(backend.pointer(required(call, 'x')), backend.pointer(y), backend.pointer(winners), ...shape);
    return [y, winners];
  });
  defineKernel('AdaptiveMaxPoolGrad', (call) => {
    const { backend } = call;
    const shape = ofGradient(call);
    const [count, height, width, channels, rows, columns] = shape;
    const dx = input(call, shape);
    const winnersPtr = backend.pointer(required(call, 'winners'));
    backend.core.kernels.adaptiveMaxPoolGradientF32(
      backend.pointer(required(call, 'dy')), winnersPtr, backend.pointer(dx), count, height * width, channels, rows * columns,
    );
    return dx;
  });
  defineGradient('AdaptiveMaxPool', {
    outputs: [false, true],
    gradient: (dy, [winners], attrs) => ({ x: () => run('AdaptiveMaxPoolGrad', { dy, winners }, attrs) }),
  });
}
