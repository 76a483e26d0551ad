/**
 * Convolutions of stride 1 over images that are mostly zeros: gradients behind a max pooling (at most one pixel of a window; of a
 * global one, one of the whole image) and behind rectifiers. Only what is not zero is multiplied (`assembly/sparse-convolution.ts`), in
 * the order of the tiled product: where `channels` divides 256 the bytes are those of the direct form, whichever way is taken.
 */
import type { Core } from '../../core/core.ts';
import type { Geometry } from './convolution-geometry.ts';
import { suitsWinograd } from './winograd.ts';

/**
 * Largest share of numbers that are not zero. What is multiplied goes at 0.8 of the tiled product's rate (29 of 36 GFLOP/s), so a share of 0.5
 * takes 0.7 of its time and 0.15 a third; Winograd's form does 0.44 of the multiplications (Conv8 at half width: 0.5 costs 1.25 times its time).
 */
const LARGEST_SHARE = 0.6;
const LARGEST_SHARE_FOR_WINOGRAD = 0.3;
/** Terms that the tiled product sums before it adds them to what is there. */
const BLOCK_TERMS = 256;

/** Whether a convolution over `image` [pixels, channels] with `out` channels is done faster from its non-zeros; looks at all of it. */
export function suitsSparse(core: Core, g: Geometry, image: number, pixels: number, channels: number, out: number): boolean {
  if (g.groups !== 1 || g.stride[0] * g.stride[1] * g.dilation[0] * g.dilation[1] !== 1) return false;
  if (channels % 4 !== 0 || out % 4 !== 0) return false;
  const share = core.kernels.countNonZeroF32(image, pixels * channels) / (pixels * channels);
  return share <= (suitsWinograd(g) ? LARGEST_SHARE_FOR_WINOGRAD : LARGEST_SHARE);
}

/** An image [count, height, width, channels] and what it is convolved with to [count, outHeight, outWidth, out]. */
export interface SparseConvolution {
  readonly count: number;
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  readonly outHeight: number;
  readonly outWidth: number;
  readonly out: number;
  readonly kernel: readonly [number, number];
  /** Padding before the first row and column. */
  readonly top: number;
  readonly left: number;
}

/** y += image ∗ filter [kernel height, kernel width, channels, out]. */
export function sparseForward(core: Core, c: SparseConvolution, imagePtr: number, filterPtr: number, yPtr: number): void {
  const { kernels } = core;
  const pixels = c.count * c.height * c.width;
  core.scoped((scratch) => {
    const starts = scratch.i32(pixels + 1, 'starts of pixels');
    const entries = scratch.bytes(8 * (kernels.countNonZeroF32(imagePtr, pixels * c.channels) + 1), 'entries of pixels');
    kernels.sparsePixelsF32(imagePtr, c.count * c.height, c.width, c.channels, 4 * c.channels * c.out, 4 * c.out, starts, entries);
    kernels.sparseConvolutionF32(
      starts, filterPtr, yPtr, c.count, c.height, c.width, c.outHeight, c.outWidth, c.channels, c.out, ...c.kernel, c.top, c.left,
      Math.max(1, Math.floor(BLOCK_TERMS / c.channels)), scratch.bytes(kernels.sparseConvolutionScratchBytes(c.outWidth), 'partial sums'),
    );
  });
}

/** dx = dy ∗ the rotated filter. */
export function sparseInputGradient(core: Core, g: Geometry, pointers: { readonly dy: number; readonly filter: number; readonly dx: number }): void {
  const [height, width] = g.kernel;
  core.scoped((scratch) => {
    const rotated = scratch.f32(g.taps * g.channels * g.out, 'rotated filter');
    core.kernels.rotateFilterF32(pointers.filter, rotated, width, 0, 1, height, 0, 1, width, g.channels, g.out, 1);
    core.f32(pointers.dx, g.count * g.height * g.width * g.channels).fill(0);
    const c = {
      count: g.count, height: g.outHeight, width: g.outWidth, channels: g.out, outHeight: g.height, outWidth: g.width, out: g.channels,
      kernel: g.kernel, top: height - 1 - g.padding[0], left: width - 1 - g.padding[2],
    };
    sparseForward(core, c, pointers.dy, rotated, pointers.dx);
  });
}

/** dW [taps · channels, out] from the padded image [count, ·, paddedWidth, channels] and the offsets of its windows. */
export function sparseFilterGradient(
  core: Core, g: Geometry, paddedWidth: number, pointers: { readonly image: number; readonly rows: number; readonly dy: number; readonly dw: number },
): void {
  const { kernels } = core;
  const terms = g.taps * g.channels;
  core.scoped((scratch) => {
    const transposed = scratch.f32(terms * g.out, 'transposed gradient of a filter');
    core.f32(transposed, terms * g.out).fill(0);
    kernels.sparseFilterGradientF32(
      pointers.dy, pointers.image, pointers.rows, transposed, g.count * g.outHeight * g.outWidth, g.out, g.kernel[0], g.kernel[1] * g.channels,
      paddedWidth * g.channels, scratch.bytes(kernels.sparseFilterGradientScratchBytes(g.out), 'entries of rows'),
    );
    kernels.transposeF32(transposed, pointers.dw, 1, g.out, terms);
  });
}
