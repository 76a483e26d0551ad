/** Depthwise convolution (one channel a group, one filter a channel) in all three directions, on kernels of its own (`assembly/depthwise.ts`). */
import type { Core } from '../../core/core.ts';
import type { Geometry } from './convolution-geometry.ts';

export function isDepthwise(g: Geometry): boolean {
  return g.groups > 1 && g.groupIn === 1 && g.groupOut === 1;
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
    core.kernels.depthwiseF32(
      imagePtr, filterPtr, biasPtr, yPtr, g.count, g.height, g.width, g.channels, g.outHeight, g.outWidth, ...g.kernel, ...g.stride,
      ...g.dilation, top, left, scratch.bytes(core.kernels.depthwiseScratchBytes(g.width, g.channels, g.kernel[0]), 'window rows'),
    );
  });
}

/** Of stride 1 a convolution of dy by the rotated filter, which stores each pixel once; scattering loads and stores it for every tap. */
export function depthwiseInputGradient(core: Core, g: Geometry, { dyPtr, filterPtr, dxPtr }: { readonly dyPtr: number; readonly filterPtr: number; readonly dxPtr: number }): void {
  const [top, , left] = g.padding;
  const [kernelHeight, kernelWidth] = g.kernel;
  if (g.stride[0] !== 1 || g.stride[1] !== 1) {
    core.kernels.depthwiseInputGradientF32(
      dyPtr, filterPtr, dxPtr, g.count, g.height, g.width, g.channels, g.outHeight, g.outWidth, ...g.kernel, ...g.stride, ...g.dilation, top, left,
    );
    return;
  }
  core.scoped((scratch) => {
    const rotated = scratch.f32(g.taps * g.channels, 'rotated filter');
    core.kernels.rotateFilterF32(filterPtr, rotated, kernelWidth, 0, 1, kernelHeight, 0, 1, kernelWidth, 1, g.channels, 1);
    core.kernels.depthwiseF32(
      dyPtr, rotated, 0, dxPtr, g.count, g.outHeight, g.outWidth, g.channels, g.height, g.width, ...g.kernel, 1, 1, ...g.dilation,
      (kernelHeight - 1) * g.dilation[0] - top, (kernelWidth - 1) * g.dilation[1] - left,
      scratch.bytes(core.kernels.depthwiseScratchBytes(g.outWidth, g.channels, kernelHeight), 'window rows'),
    );
  });
}

export function depthwiseFilterGradient(core: Core, g: Geometry, { imagePtr, dyPtr, dwPtr }: { readonly imagePtr: number; readonly dyPtr: number; readonly dwPtr: number }): void {
  const [top, , left] = g.padding;
  const elements = g.taps * g.channels;
  core.scoped((scratch) => {
    const sums = scratch.f64(elements, 'filter gradient');
    core.kernels.depthwiseFilterGradientF32(
      imagePtr, dyPtr, sums, g.count, g.height, g.width, g.channels, g.outHeight, g.outWidth, ...g.kernel, ...g.stride, ...g.dilation, top, left,
      scratch.f32(g.width * g.channels + 1, 'a row of zeros'),
    );
    core.f32(dwPtr, elements).set(core.f64(sums, elements));
  });
}
