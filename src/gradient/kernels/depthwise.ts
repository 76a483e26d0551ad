/**
 * Depthwise convolution (one channel a group, one filter a channel) in all three directions, on kernels of its own
 * (`assembly/depthwise*.ts`).
 */
import type { Core, Scratch } from '../../core/core.ts';
import type { Geometry } from './convolution-geometry.ts';

export function isDepthwise(g: Geometry): boolean {
  return g.groups > 1 && g.groupIn === 1 && g.groupOut === 1;
}

/** Whether the kernels of 3×3 filters take it. */
function suits3(g: Geometry, left: number): boolean {
  return (
    g.kernel.every((extent) => extent === 3) && g.dilation.every((step) => step === 1) && g.stride[0] === g.stride[1] &&
    g.stride[0] <= 2 && g.channels >= 4 && left >= 0
  );
}

/** @param outHeight rows of what is computed, or of dy. */
function scratch3(
  core: Core, scratch: Scratch, { channels, stride: [stride] }: Geometry, width: number, outWidth: number, outHeight: number,
): number {
  return scratch.bytes(
    core.kernels.depthwise3ScratchBytes(width, outWidth, outHeight, channels, stride), 'taps or sums, and the rows under a strip',
  );
}

/** Whether the kernels of 5×5 and 7×7 filters take it. */
function suitsLarge(g: Geometry, left: number): boolean {
  return (
    g.kernel[0] === g.kernel[1] && (g.kernel[0] === 5 || g.kernel[0] === 7) && g.dilation.every((step) => step === 1) &&
    g.stride.every((step) => step === 1) && g.channels >= 4 && left >= 0
  );
}

/** @param outHeight rows of what is computed, or of dy: of a flat image a strip is lower, and `gradientHeapBytes` reckons with that. */
function scratchLarge(
  core: Core, scratch: Scratch, [kernel]: Geometry['kernel'], width: number, channels: number, outHeight: number,
): number {
  return scratch.bytes(
    core.kernels.depthwiseLargeScratchBytes(kernel, width, channels, outHeight), 'taps or sums, and the rows under a strip',
  );
}

interface Pointers {
  readonly imagePtr: number;
  readonly filterPtr: number;
  /** 0: none. */
  readonly biasPtr: number;
  readonly yPtr: number;
}

export function depthwiseForward(core: Core, g: Geometry, { imagePtr, filterPtr, biasPtr, yPtr }: Pointers): void {
  const [top, , left] = g.padding;
  core.scoped((scratch) => {
    if (suitsLarge(g, left)) {
      core.kernels.depthwiseLargeF32(
        g.kernel[0], imagePtr, filterPtr, biasPtr, yPtr, g.count, g.height, g.width, g.channels, g.outHeight, g.outWidth, top, left,
        scratchLarge(core, scratch, g.kernel, g.width, g.channels, g.outHeight),
      );
      return;
    }
    if (suits3(g, left)) {
      core.kernels.depthwise3F32(
        imagePtr, filterPtr, biasPtr, yPtr, g.count, g.height, g.width, g.channels, g.outHeight, g.outWidth, g.stride[0], top, left,
        scratch3(core, scratch, g, g.width, g.outWidth, g.outHeight),
      );
      return;
    }
    core.kernels.depthwiseF32(
      imagePtr, filterPtr, biasPtr, yPtr, g.count, g.height, g.width, g.channels, g.outHeight, g.outWidth, ...g.kernel, ...g.stride,
      ...g.dilation, top, left, scratch.bytes(core.kernels.depthwiseScratchBytes(g.width, g.channels, g.kernel[0]), 'window rows'),
    );
  });
}

/** With stride 1, a convolution of dy by the rotated filter, which stores each pixel once; scattering loads and stores it for every tap. */
export function depthwiseInputGradient(
  core: Core, g: Geometry, { dyPtr, filterPtr, dxPtr }: { readonly dyPtr: number; readonly filterPtr: number; readonly dxPtr: number },
): void {
  const [top, , left] = g.padding;
  const [kernelHeight, kernelWidth] = g.kernel;
  if (g.stride[0] !== 1 || g.stride[1] !== 1) {
    if (suits3(g, left)) {
      core.scoped((scratch) => {
        core.kernels.depthwise3InputGradientF32(
          dyPtr, filterPtr, dxPtr, g.count, g.height, g.width, g.channels, g.outHeight, g.outWidth, top, left,
          scratch3(core, scratch, g, g.width, g.outWidth, g.outHeight),
        );
      });
      return;
    }
    core.kernels.depthwiseInputGradientF32(
      dyPtr, filterPtr, dxPtr, g.count, g.height, g.width, g.channels, g.outHeight, g.outWidth, ...g.kernel, ...g.stride,
      ...g.dilation, top, left,
    );
    return;
  }
  core.scoped((scratch) => {
    const rotated = scratch.f32(g.taps * g.channels, 'rotated filter');
    core.kernels.rotateFilterF32(filterPtr, rotated, kernelWidth, 0, 1, kernelHeight, 0, 1, kernelWidth, 1, g.channels, 1);
    if (suitsLarge(g, kernelWidth - 1 - left)) {
      // Input and output change places.
      core.kernels.depthwiseLargeF32(
        g.kernel[0], dyPtr, rotated, 0, dxPtr, g.count, g.outHeight, g.outWidth, g.channels, g.height, g.width, kernelHeight - 1 - top,
        kernelWidth - 1 - left, scratchLarge(core, scratch, g.kernel, g.outWidth, g.channels, g.height),
      );
      return;
    }
    if (suits3(g, 2 - left)) {
      core.kernels.depthwise3F32(
        dyPtr, rotated, 0, dxPtr, g.count, g.outHeight, g.outWidth, g.channels, g.height, g.width, 1, 2 - top, 2 - left,
        scratch3(core, scratch, g, g.outWidth, g.width, g.height),
      );
      return;
    }
    core.kernels.depthwiseF32(
      dyPtr, rotated, 0, dxPtr, g.count, g.outHeight, g.outWidth, g.channels, g.height, g.width, ...g.kernel, 1, 1, ...g.dilation,
      (kernelHeight - 1) * g.dilation[0] - top, (kernelWidth - 1) * g.dilation[1] - left,
      scratch.bytes(core.kernels.depthwiseScratchBytes(g.outWidth, g.channels, kernelHeight), 'window rows'),
    );
  });
}

export function depthwiseFilterGradient(
  core: Core, g: Geometry, { imagePtr, dyPtr, dwPtr }: { readonly imagePtr: number; readonly dyPtr: number; readonly dwPtr: number },
): void {
  const [top, , left] = g.padding;
  const elements = g.taps * g.channels;
  core.scoped((scratch) => {
    if (suitsLarge(g, left)) {
      core.kernels.depthwiseLargeFilterGradientF32(
        g.kernel[0], imagePtr, dyPtr, dwPtr, g.count, g.height, g.width, g.channels, g.outHeight, g.outWidth, top, left,
        scratchLarge(core, scratch, g.kernel, g.width, g.channels, g.outHeight),
      );
      return;
    }
    if (suits3(g, left)) {
      core.kernels.depthwise3FilterGradientF32(
        imagePtr, dyPtr, dwPtr, g.count, g.height, g.width, g.channels, g.outHeight, g.outWidth, g.stride[0], top, left,
        scratch3(core, scratch, g, g.width, g.outWidth, g.outHeight),
      );
      return;
    }
    const sums = scratch.f64(elements, 'filter gradient');
    core.kernels.depthwiseFilterGradientF32(
      imagePtr, dyPtr, sums, g.count, g.height, g.width, g.channels, g.outHeight, g.outWidth, ...g.kernel, ...g.stride,
      ...g.dilation, top, left,
      scratch.f32(g.width * g.channels + 1, 'a row of zeros'),
    );
    core.f32(dwPtr, elements).set(core.f64(sums, elements));
  });
}
