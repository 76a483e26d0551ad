/** Max, average and global pooling of NHWC images. */
import type { Padding, Pair } from '../../model/graph.ts';
import { UnsupportedError } from '../../core/errors.ts';
import { imageShape, onlyInput, type Operation, type Pass, type Step } from '../operation.ts';
import type { HeapTensor } from '../tensor-heap.ts';

interface Window {
  readonly kernel: Pair;
  readonly stride: Pair;
  readonly padding: Padding;
}

/** Count, height, width, channels, output height and width: the arguments that all four kernels share. */
type PoolShape = readonly [number, number, number, number, number, number];

const NO_PADDING: Padding = [0, 0, 0, 0];

export const maxPool: Operation<'max_pool'> = (pass, node, inputs) => poolMaximum(pass, node.name, node, onlyInput(inputs));

export const globalMaxPool: Operation<'global_max_pool'> = (pass, node, inputs) => {
  const x = onlyInput(inputs);
  return poolMaximum(pass, node.name, wholeImage(x), x);
};

export const averagePool: Operation<'average_pool'> = (pass, node, inputs) =>
  poolAverage(pass, node.name, node, onlyInput(inputs));

export const globalAveragePool: Operation<'global_average_pool'> = (pass, node, inputs) => {
  const x = onlyInput(inputs);
  return poolAverage(pass, node.name, wholeImage(x), x);
};

function poolMaximum(pass: Pass, name: string, { kernel, stride, padding }: Window, x: HeapTensor): Step {
  const { kernels } = pass.core;
  // The winning tap of a window is stored as u16.
  if (kernel[0] * kernel[1] > 65_536) {
    throw new UnsupportedError({ field: name, expected: 'a window of at most 65536 pixels', got: `${kernel.join('×')}` });
  }
  const shape = poolShape({ kernel, stride, padding }, x);
  const [count, , , channels, outHeight, outWidth] = shape;
  const y = pass.heap.allocate([count, outHeight, outWidth, channels], name);
  const taps = pass.heap.allocate(y.shape, `winners of ${name}`, 2);
  kernels.maxPoolF32(x.pointer, y.pointer, taps.pointer, ...shape, ...kernel, ...stride, padding[0], padding[2]);
  const xShape = x.shape;
  // Only the winners are kept: half the bytes of the output, where the input would be four times the output.
  pass.keep(taps);
  taps.release();
  x.release();
  return {
    output: y,
    backward: (dy, [wanted]) => {
      if (wanted !== true) {
        dy.release();
        return [undefined];
      }
      const dx = pass.heap.allocate(xShape, `gradient at ${name}`);
      kernels.maxPoolGradientF32(dy.pointer, taps.pointer, dx.pointer, ...shape, kernel[1], ...stride, padding[0], padding[2]);
      dy.release();
      return [dx];
    },
  };
}

function poolAverage(pass: Pass, name: string, { kernel, stride, padding }: Window, x: HeapTensor): Step {
  const { kernels } = pass.core;
  const shape = poolShape({ kernel, stride, padding }, x);
  const [count, , , channels, outHeight, outWidth] = shape;
  const y = pass.heap.allocate([count, outHeight, outWidth, channels], name);
  kernels.averagePoolF32(x.pointer, y.pointer, ...shape, ...kernel, ...stride, padding[0], padding[2]);
  const xShape = x.shape;
  x.release();
  return {
    output: y,
    backward: (dy, [wanted]) => {
      if (wanted !== true) {
        dy.release();
        return [undefined];
      }
      const dx = pass.heap.allocate(xShape, `gradient at ${name}`);
      kernels.averagePoolGradientF32(dy.pointer, dx.pointer, ...shape, ...kernel, ...stride, padding[0], padding[2]);
      dy.release();
      return [dx];
    },
  };
}

function poolShape({ kernel, stride, padding }: Window, x: HeapTensor): PoolShape {
  const [count, height, width, channels] = imageShape(x);
  const [top, bottom, left, right] = padding;
  return [
    count, height, width, channels,
    Math.floor((height + top + bottom - kernel[0]) / stride[0]) + 1,
    Math.floor((width + left + right - kernel[1]) / stride[1]) + 1,
  ];
}

function wholeImage(x: HeapTensor): Window {
  const [, height, width] = imageShape(x);
  return { kernel: [height, width], stride: [height, width], padding: NO_PADDING };
}
