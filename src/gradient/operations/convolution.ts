/**
 * conv2d of NHWC images with a filter [kernel height, kernel width, in / groups, out], and both gradients. Each direction is
 * one matrix product a group over a padded copy, addressed by tables (`assembly/matmul.ts`, `assembly/convolution.ts`).
 */
import type { Core, Scratch } from '../../core/core.ts';
import type { NodeOf } from '../../model/graph.ts';
import { imageShape, onlyInput, type Operation, type Pass } from '../operation.ts';
import type { HeapTensor } from '../tensor-heap.ts';
import { addColumnSums } from './sums.ts';

/** Extents of one convolution. */
interface Extents {
  readonly count: number;
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  readonly outHeight: number;
  readonly outWidth: number;
  readonly out: number;
  readonly groupIn: number;
  readonly groupOut: number;
  readonly taps: number;
}

/** A padded image and the tables that address the windows of a stride-`stride` convolution over it. */
interface Windows {
  readonly imagePtr: number;
  readonly rowsPtr: number;
  readonly tapsPtr: number;
}

export const conv2d: Operation<'conv2d'> = (pass, node, inputs) => {
  const x = onlyInput(inputs);
  const e = extents(node, x);
  const { core } = pass;
  const weight = pass.value(`${node.name}.weight`);
  const rows = e.count * e.outHeight * e.outWidth;
  const y = pass.heap.allocate([e.count, e.outHeight, e.outWidth, e.out], node.name);
  if (node.bias) core.kernels.fillRowsF32(y.pointer, pass.value(`${node.name}.bias`).pointer, rows, e.out);
  core.scoped((scratch) => {
    const windows = inputWindows(core, scratch, node, e, x.pointer);
    const panels = scratch.bytes(core.kernels.matmulScratchBytes(rows, e.groupOut, e.taps * e.groupIn), 'packed panels');
    for (let g = 0; g < node.groups; g++) {
      core.kernels.productF32(
        windows.imagePtr + 4 * g * e.groupIn, 1, 1, windows.rowsPtr, 1, windows.tapsPtr, e.groupIn,
        weight.pointer + 4 * g * e.groupOut, e.out, 1, 0, 0,
        y.pointer + 4 * g * e.groupOut, e.out, rows, e.groupOut, e.taps * e.groupIn, Number(node.bias), panels,
      );
    }
  });
  pass.keep(x);
  x.release();
  return {
    output: y,
    backward: (dy, [wanted]) => {
      filterGradient(pass, node, e, x, dy);
      if (node.bias) addColumnSums(core, dy.pointer, rows, e.out, pass.gradient(`${node.name}.bias`).pointer);
      const dx = wanted === true ? inputGradient(pass, node, e, dy, weight) : undefined;
      dy.release();
      return [dx];
    },
  };
};

/** dW [taps · groupIn, out] += windowsᵀ · dy. */
function filterGradient(pass: Pass, node: NodeOf<'conv2d'>, e: Extents, x: HeapTensor, dy: HeapTensor): void {
  const { core } = pass;
  const rows = e.count * e.outHeight * e.outWidth;
  const dw = pass.gradient(`${node.name}.weight`);
  core.scoped((scratch) => {
    const windows = inputWindows(core, scratch, node, e, x.pointer);
    const panels = scratch.bytes(core.kernels.matmulScratchBytes(e.taps * e.groupIn, e.groupOut, rows), 'packed panels');
    for (let g = 0; g < node.groups; g++) {
      core.kernels.productF32(
        windows.imagePtr + 4 * g * e.groupIn, 1, 1, windows.tapsPtr, e.groupIn, windows.rowsPtr, 1,
        dy.pointer + 4 * g * e.groupOut, e.out, 1, 0, 0,
        dw.pointer + 4 * g * e.groupOut, e.out, e.taps * e.groupIn, e.groupOut, rows, 1, panels,
      );
    }
  });
}

/** dx: the gradient, with zeros between its pixels for strides and a rim of kernel − 1, convolved with the rotated filter. */
function inputGradient(pass: Pass, node: NodeOf<'conv2d'>, e: Extents, dy: HeapTensor, weight: HeapTensor): HeapTensor {
  const { core } = pass;
  const [kernelHeight, kernelWidth] = node.kernel;
  const [dilationY, dilationX] = node.dilation;
  const paddedHeight = e.height + (kernelHeight - 1) * dilationY;
  const paddedWidth = e.width + (kernelWidth - 1) * dilationX;
  const rows = e.count * e.height * e.width;
  const dx = pass.heap.allocate([e.count, e.height, e.width, e.channels], `gradient at ${node.name}`);
  core.scoped((scratch) => {
    const padded = scratch.f32(e.count * paddedHeight * paddedWidth * e.out, 'padded gradient');
    core.kernels.padImagesF32(
      dy.pointer, padded, e.count, e.outHeight, e.outWidth, e.out, paddedHeight, paddedWidth,
      (kernelHeight - 1) * dilationY - node.padding[0], (kernelWidth - 1) * dilationX - node.padding[2], ...node.stride,
    );
    const rowsPtr = scratch.i32(rows, 'window table');
    core.kernels.windowOffsets(rowsPtr, e.count, paddedHeight, paddedWidth, e.out, e.height, e.width, 1, 1);
    const tapsPtr = scratch.i32(e.taps * e.groupOut, 'tap table');
    core.kernels.tapOffsets(tapsPtr, paddedWidth, e.out, kernelHeight, kernelWidth, e.groupOut, dilationY, dilationX);
    const rotated = scratch.f32(weight.elements, 'rotated filter');
    core.kernels.rotateFilterF32(weight.pointer, rotated, e.taps, e.groupIn, e.out, node.groups);
    const panels = scratch.bytes(core.kernels.matmulScratchBytes(rows, e.groupIn, e.taps * e.groupOut), 'packed panels');
    for (let g = 0; g < node.groups; g++) {
      core.kernels.productF32(
        padded + 4 * g * e.groupOut, 1, 1, rowsPtr, 1, tapsPtr, e.groupOut,
        rotated + 4 * g * e.taps * e.groupOut * e.groupIn, e.groupIn, 1, 0, 0,
        dx.pointer + 4 * g * e.groupIn, e.channels, rows, e.groupIn, e.taps * e.groupOut, 0, panels,
      );
    }
  });
  return dx;
}

/** The input with its padding (a copy only where there is padding) and the tables over it. */
function inputWindows(core: Core, scratch: Scratch, node: NodeOf<'conv2d'>, e: Extents, xPtr: number): Windows {
  const [top, bottom, left, right] = node.padding;
  const height = e.height + top + bottom;
  const width = e.width + left + right;
  let imagePtr = xPtr;
  if (height !== e.height || width !== e.width) {
    imagePtr = scratch.f32(e.count * height * width * e.channels, 'padded images');
    core.kernels.padImagesF32(xPtr, imagePtr, e.count, e.height, e.width, e.channels, height, width, top, left, 1, 1);
  }
  const rowsPtr = scratch.i32(e.count * e.outHeight * e.outWidth, 'window table');
  core.kernels.windowOffsets(rowsPtr, e.count, height, width, e.channels, e.outHeight, e.outWidth, ...node.stride);
  const tapsPtr = scratch.i32(e.taps * e.groupIn, 'tap table');
  core.kernels.tapOffsets(tapsPtr, width, e.channels, ...node.kernel, e.groupIn, ...node.dilation);
  return { imagePtr, rowsPtr, tapsPtr };
}

function extents(node: NodeOf<'conv2d'>, x: HeapTensor): Extents {
  const [count, height, width, channels] = imageShape(x);
  const [top, bottom, left, right] = node.padding;
  const spanY = node.dilation[0] * (node.kernel[0] - 1) + 1;
  const spanX = node.dilation[1] * (node.kernel[1] - 1) + 1;
  return {
    count,
    height,
    width,
    channels,
    outHeight: Math.floor((height + top + bottom - spanY) / node.stride[0]) + 1,
    outWidth: Math.floor((width + left + right - spanX) / node.stride[1]) + 1,
    out: node.out,
    groupIn: channels / node.groups,
    groupOut: node.out / node.groups,
    taps: node.kernel[0] * node.kernel[1],
  };
}
