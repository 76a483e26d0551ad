/**
 * conv2d of NHWC images with a filter [kernel height, kernel width, in / groups, out], depthwise included, and both gradients. Each
 * direction is one matrix product a group over a padded copy, addressed by tables (`assembly/matmul.ts`,
 * `assembly/convolution.ts`), where none of the other forms is faster: lists of what is not zero, Winograd's, depthwise strips, products
 * without tables, and for gradients of few channels patches that are folded.
 */
import type { TensorInfo } from '#tfjs';
import type { Core, Scratch } from '../../core/core.ts';
import { matmul } from '../../core/matmul.ts';
import { biasGradient } from './column-sums.ts';
import { geometry, type Geometry } from './convolution-geometry.ts';
import { depthwiseFilterGradient, depthwiseForward, depthwiseInputGradient, isDepthwise } from './depthwise.ts';
import { imagesAtOnce, sparseFilterGradient, sparseForward, sparseInputGradient, suitsSparseFilterGradient } from './sparse-convolution.ts';
import { defineGradient, defineKernel, required, run, type KernelCall } from './support.ts';
import { suitsWinograd, winogradFilterGradient, winogradForward } from './winograd.ts';

/** A padded image and the tables that address its windows. */
interface Windows {
  readonly imagePtr: number;
  readonly rowsPtr: number;
  readonly tapsPtr: number;
  /** How many entries of the taps' table follow one another, each one more than the last. */
  readonly tapsRun: number;
}

/** 1×1 of stride 1: a product of images and filter as they lie, without tables. */
function isPointwise(g: Geometry): boolean {
  return g.groups * g.taps * g.stride[0] * g.stride[1] === 1 && g.padding.every((pixels) => pixels === 0);
}

/** {x, filter, bias?}, {strides, pad, dilations, groups} → y */
function forward(call: KernelCall): TensorInfo {
  const { backend } = call;
  const { core } = backend;
  const x = required(call, 'x');
  const filter = required(call, 'filter');
  const bias = call.inputs['bias'];
  const g = geometry(x.shape, filter.shape, call.attrs);
  const rows = g.count * g.outHeight * g.outWidth;
  const out = backend.makeOutput([g.count, g.outHeight, g.outWidth, g.out], 'float32');
  const yPtr = backend.pointer(out);
  const filterPtr = backend.pointer(filter);
  const images = imagesAtOnce(core, g, backend.pointer(x), g.height * g.width, g.channels, g.out);
  if (images !== 0) {
    const [top, , left] = g.padding;
    if (bias === undefined) core.f32(yPtr, rows * g.out).fill(0);
    else core.kernels.fillRowsF32(yPtr, backend.pointer(bias), rows, g.out);
    sparseForward(core, { ...g, top, left }, images, backend.pointer(x), filterPtr, yPtr);
    return out;
  }
  const pointers = { imagePtr: backend.pointer(x), filterPtr, biasPtr: bias === undefined ? 0 : backend.pointer(bias), yPtr };
  if (suitsWinograd(g)) {
    const [top, , left] = g.padding;
    winogradForward(core, g, pointers, top, left);
    return out;
  }
  if (isDepthwise(g)) {
    depthwiseForward(core, g, pointers);
    return out;
  }
  if (bias !== undefined) core.kernels.fillRowsF32(yPtr, backend.pointer(bias), rows, g.out);
  if (isPointwise(g)) {
    matmul(core, { a: backend.pointer(x), b: filterPtr, c: yPtr, m: rows, n: g.out, k: g.channels, accumulate: bias !== undefined });
    return out;
  }
  core.scoped((scratch) => {
    const windows = inputWindows(core, scratch, g, backend.pointer(x));
    const panels = scratch.bytes(core.kernels.matmulScratchBytes(rows, g.groupOut, g.taps * g.groupIn), 'packed panels');
    for (let i = 0; i < g.groups; i++) {
      core.kernels.productF32(
        windows.imagePtr + 4 * i * g.groupIn, 1, 1, windows.rowsPtr, 1, windows.tapsPtr, windows.tapsRun,
        filterPtr + 4 * i * g.groupOut, g.out, 1, 0, 0,
        yPtr + 4 * i * g.groupOut, g.out, rows, g.groupOut, g.taps * g.groupIn, Number(bias !== undefined), panels,
      );
    }
  });
  return out;
}

/** {x, dy, like: the filter}, attributes of Conv2D → dW [taps · groupIn, out] = windowsᵀ · dy. */
function filterGradient(call: KernelCall): TensorInfo {
  const { backend } = call;
  const { core } = backend;
  const x = required(call, 'x');
  const { shape } = required(call, 'like');
  const g = geometry(x.shape, shape, call.attrs);
  const rows = g.count * g.outHeight * g.outWidth;
  const out = backend.makeOutput(shape, 'float32');
  const dyPtr = backend.pointer(required(call, 'dy'));
  const dwPtr = backend.pointer(out);
  if (suitsSparseFilterGradient(core, g, dyPtr, rows)) {
    core.scoped((scratch) => {
      const { imagePtr, rowsPtr } = inputWindows(core, scratch, g, backend.pointer(x));
      sparseFilterGradient(core, g, g.width + g.padding[2] + g.padding[3], { image: imagePtr, rows: rowsPtr, dy: dyPtr, dw: dwPtr });
    });
    return out;
  }
  if (suitsWinograd(g)) {
    winogradFilterGradient(core, g, { imagePtr: backend.pointer(x), dyPtr, dwPtr });
    return out;
  }
  if (isDepthwise(g)) {
    depthwiseFilterGradient(core, g, { imagePtr: backend.pointer(x), dyPtr, dwPtr });
    return out;
  }
  if (isPointwise(g)) {
    matmul(core, { a: backend.pointer(x), b: dyPtr, c: dwPtr, m: g.channels, n: g.out, k: rows, transposeA: true });
    return out;
  }
  core.scoped((scratch) => {
    const windows = inputWindows(core, scratch, g, backend.pointer(x));
    const panels = scratch.bytes(core.kernels.matmulScratchBytes(g.taps * g.groupIn, g.groupOut, rows), 'packed panels');
    for (let i = 0; i < g.groups; i++) {
      core.kernels.productF32(
        windows.imagePtr + 4 * i * g.groupIn, 1, 1, windows.tapsPtr, windows.tapsRun, windows.rowsPtr, 1,
        dyPtr + 4 * i * g.groupOut, g.out, 1, 0, 0,
        dwPtr + 4 * i * g.groupOut, g.out, g.taps * g.groupIn, g.groupOut, rows, 0, panels,
      );
    }
  });
  return out;
}

/**
 * The pixels of one axis of dx that lie at one position between two strides, and what reaches them: pixel first + step · p
 * gathers taps tap + spacing · t from dy at start + p − reach + t′ · dilation, t′ counting the taps backwards.
 */
interface Phase {
  readonly first: number;
  readonly pixels: number;
  readonly tap: number;
  readonly spacing: number;
  readonly taps: number;
  readonly dilation: number;
  readonly start: number;
  readonly reach: number;
}

const greatestCommonDivisor = (a: number, b: number): number => (b === 0 ? a : greatestCommonDivisor(b, a % b));

/** The phases of an axis: as many as the stride, some of them without a tap. */
function phasesOf(extent: number, kernel: number, stride: number, dilation: number, before: number): Phase[] {
  const common = greatestCommonDivisor(stride, dilation);
  const spacing = stride / common;
  return Array.from({ length: Math.min(stride, extent) }, (_, first) => {
    let tap = 0;
    while (tap < spacing && (first + before - tap * dilation) % stride !== 0) tap++;
    const taps = tap < Math.min(spacing, kernel) ? Math.ceil((kernel - tap) / spacing) : 0;
    return {
      first,
      pixels: Math.floor((extent - 1 - first) / stride) + 1,
      tap,
      spacing,
      taps,
      dilation: dilation / common,
      start: (first + before - tap * dilation) / stride,
      reach: Math.max(0, taps - 1) * (dilation / common),
    };
  });
}

/**
 * {dy, filter, like: of the shape of x}, attributes of Conv2D → dx, phase by phase of the stride: each is a convolution of dy without
 * stride by the taps that meet there, rotated. Inserting zeros between dy's pixels instead would multiply the work by the square of the
 * stride (measured: 9 GFLOP/s for 36).
 */
function inputGradient(call: KernelCall): TensorInfo {
  const { backend } = call;
  const { core } = backend;
  const filter = required(call, 'filter');
  const { shape } = required(call, 'like');
  const g = geometry(shape, filter.shape, call.attrs);
  const out = backend.makeOutput(shape, 'float32');
  const pointers = { dy: backend.pointer(required(call, 'dy')), filter: backend.pointer(filter), dx: backend.pointer(out) };
  const images = imagesAtOnce(core, g, pointers.dy, g.outHeight * g.outWidth, g.out, g.channels);
  if (images !== 0) {
    sparseInputGradient(core, g, images, pointers);
    return out;
  }
  if (suitsWinograd(g)) {
    core.scoped((scratch) => {
      // The gradient is a convolution of dy by the rotated filter, with the roles of the two images exchanged.
      const rotated = scratch.f32(9 * g.channels * g.out, 'rotated filter');
      core.kernels.rotateFilterF32(pointers.filter, rotated, 3, 0, 1, 3, 0, 1, 3, g.channels, g.out, 1);
      const backwards = {
        ...g, height: g.outHeight, width: g.outWidth, channels: g.out, outHeight: g.height, outWidth: g.width, out: g.channels,
      };
      const operands = { imagePtr: pointers.dy, filterPtr: rotated, biasPtr: 0, yPtr: pointers.dx };
      winogradForward(core, backwards, operands, 2 - g.padding[0], 2 - g.padding[2]);
    });
    return out;
  }
  if (g.groups === 1 && g.channels < LEAST_PHASE_CHANNELS) {
    foldedGradient(core, g, pointers);
    return out;
  }
  if (isDepthwise(g)) {
    depthwiseInputGradient(core, g, { dyPtr: pointers.dy, filterPtr: pointers.filter, dxPtr: pointers.dx });
    return out;
  }
  if (isPointwise(g)) {
    const rows = g.count * g.height * g.width;
    matmul(core, { a: pointers.dy, b: pointers.filter, c: pointers.dx, m: rows, n: g.channels, k: g.out, transposeB: true });
    return out;
  }
  const rowPhases = phasesOf(g.height, g.kernel[0], g.stride[0], g.dilation[0], g.padding[0]);
  const columnPhases = phasesOf(g.width, g.kernel[1], g.stride[1], g.dilation[1], g.padding[2]);
  const single = rowPhases.length * columnPhases.length === 1;
  // Of a single phase, only one without a tap is not written: an image no larger than the stride may lie between all taps.
  if (!single || rowPhases[0]?.taps === 0 || columnPhases[0]?.taps === 0)
    core.f32(pointers.dx, g.count * g.height * g.width * g.channels).fill(0);
  for (const rows of rowPhases) {
    for (const columns of columnPhases) {
      if (rows.taps * columns.taps === 0) continue;
      core.scoped((scratch) => {
        const phase = g.count * rows.pixels * columns.pixels;
        const target = single ? pointers.dx : scratch.f32(phase * g.channels, 'a phase of the gradient');
        phaseGradient(core, scratch, g, rows, columns, pointers, target);
        if (single) return;
        core.kernels.placeImagesF32(
          target, pointers.dx, g.count, rows.pixels, columns.pixels, g.channels, g.height, g.width,
          rows.first, columns.first, g.stride[0], g.stride[1], 0,
        );
      });
    }
  }
  return out;
}

/**
 * Fewer channels than this (images) fill a fifth or less of the product's tile of 16 columns, phase by phase. Then dx
 * goes the other way round: patches = dy · filterᵀ, with a column for each tap and channel, are added onto their
 * windows (a 7×7 stem of three channels: 1.0 Y instead of 0.2).
 */
const LEAST_PHASE_CHANNELS = 4;
/** Bytes of patches at once: they stay in the second-level cache until they are folded. */
const PATCH_BYTES = 2 ** 18;

function foldedGradient(core: Core, g: Geometry, pointers: { readonly dy: number; readonly filter: number; readonly dx: number }): void {
  const { kernels } = core;
  const [top, bottom, left, right] = g.padding;
  const [height, width] = [g.height + top + bottom, g.width + left + right];
  const columns = g.taps * g.channels;
  const windows = g.count * g.outHeight * g.outWidth;
  const most = Math.min(windows, Math.max(64, Math.floor(PATCH_BYTES / (4 * columns))));
  core.scoped((scratch) => {
    const exact = height === g.height && width === g.width;
    const padded = exact ? pointers.dx : scratch.f32(g.count * height * width * g.channels, 'padded gradient');
    const patches = scratch.f32(most * columns, 'patches');
    const panels = scratch.bytes(kernels.matmulScratchBytes(most, columns, g.out), 'packed panels');
    core.f32(padded, g.count * height * width * g.channels).fill(0);
    for (let first = 0; first < windows; first += most) {
      const rows = Math.min(most, windows - first);
      kernels.matmulF32(
        pointers.dy + 4 * first * g.out, pointers.filter, patches, rows, columns, g.out, 0, 1, 0, g.out, g.out, columns, 0, 0, 0, 0, panels,
      );
      kernels.foldPatchesF32(
        patches, padded, first, rows, g.outHeight, g.outWidth, height, width, g.channels, ...g.kernel, ...g.stride, ...g.dilation,
      );
    }
    if (exact) return;
    kernels.placeImagesF32(padded, pointers.dx, g.count, height, width, g.channels, g.height, g.width, -top, -left, 1, 1, 0);
  });
}

/** target [count, rows, columns, channels] = one phase of dx. */
function phaseGradient(
  core: Core,
  scratch: Scratch,
  g: Geometry,
  rows: Phase,
  columns: Phase,
  pointers: { readonly dy: number; readonly filter: number },
  target: number,
): void {
  const { kernels } = core;
  const height = rows.pixels + rows.reach;
  const width = columns.pixels + columns.reach;
  const [top, left] = [rows.reach - rows.start, columns.reach - columns.start];
  let padded = pointers.dy;
  if (height !== g.outHeight || width !== g.outWidth || top !== 0 || left !== 0) {
    padded = scratch.f32(g.count * height * width * g.out, 'padded gradient');
    kernels.placeImagesF32(pointers.dy, padded, g.count, g.outHeight, g.outWidth, g.out, height, width, top, left, 1, 1, 1);
  }
  const taps = rows.taps * columns.taps;
  const [m, k] = [g.count * rows.pixels * columns.pixels, taps * g.groupOut];
  const rowsPtr = scratch.i32(m, 'window table');
  kernels.windowOffsets(rowsPtr, g.count, height, width, g.out, rows.pixels, columns.pixels, 1, 1);
  const tapsPtr = scratch.i32(k, 'tap table');
  kernels.tapOffsets(tapsPtr, width, g.out, rows.taps, columns.taps, g.groupOut, rows.dilation, columns.dilation);
  const rotated = scratch.f32(taps * g.groupIn * g.out, 'rotated filter');
  kernels.rotateFilterF32(
    pointers.filter, rotated, g.kernel[1], rows.tap, rows.spacing, rows.taps, columns.tap, columns.spacing, columns.taps,
    g.groupIn, g.out, g.groups,
  );
  const panels = scratch.bytes(kernels.matmulScratchBytes(m, g.groupIn, k), 'packed panels');
  for (let i = 0; i < g.groups; i++) {
    kernels.productF32(
      padded + 4 * i * g.groupOut, 1, 1, rowsPtr, 1, tapsPtr, g.groupOut,
      rotated + 4 * i * k * g.groupIn, g.groupIn, 1, 0, 0,
      target + 4 * i * g.groupIn, g.channels, m, g.groupIn, k, 0, panels,
    );
  }
}

/** The input with its padding (a copy only where there is padding) and the tables over it. */
function inputWindows(core: Core, scratch: Scratch, g: Geometry, xPtr: number): Windows {
  const [top, bottom, left, right] = g.padding;
  const height = g.height + top + bottom;
  const width = g.width + left + right;
  let imagePtr = xPtr;
  if (height !== g.height || width !== g.width) {
    imagePtr = scratch.f32(g.count * height * width * g.channels, 'padded images');
    core.kernels.placeImagesF32(xPtr, imagePtr, g.count, g.height, g.width, g.channels, height, width, top, left, 1, 1, 1);
  }
  const rowsPtr = scratch.i32(g.count * g.outHeight * g.outWidth, 'window table');
  core.kernels.windowOffsets(rowsPtr, g.count, height, width, g.channels, g.outHeight, g.outWidth, ...g.stride);
  const tapsPtr = scratch.i32(g.taps * g.groupIn, 'tap table');
  core.kernels.tapOffsets(tapsPtr, width, g.channels, ...g.kernel, g.groupIn, ...g.dilation);
  // Channels side by side and, where nothing lies between the taps of a row, these: patches of three channels are read as vectors then.
  const tapsRun = g.groups === 1 && g.dilation[1] === 1 ? g.kernel[1] * g.channels : g.groupIn;
  return { imagePtr, rowsPtr, tapsPtr, tapsRun };
}

/** The gradients are also those of `TransposedConv2D`, the other way round. */
export function registerConvolution(): void {
  defineKernel('Conv2D', forward);
  defineKernel('Conv2DBackpropInput', inputGradient);
  defineKernel('Conv2DBackpropFilter', filterGradient);
  defineGradient('Conv2D', {
    inputs: ['x', 'filter'],
    gradient: (dy, [x, filter], attrs) => ({
      x: () => run('Conv2DBackpropInput', { dy, filter, like: x }, attrs),
      filter: () => run('Conv2DBackpropFilter', { x, dy, like: filter }, attrs),
      bias: () => biasGradient(dy),
    }),
  });
}
