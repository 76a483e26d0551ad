/**
 * Convolutions of stride 1 over images that are mostly zeros: gradients behind a max pooling (at most one pixel of a window; of a
 * global one, one of the whole image) and behind rectifiers. Only what is not zero, and no padding, is multiplied
 * (`assembly/sparse-convolution.ts`): an infinity or NaN that only meets zeros leaves no trace.
 */
import type { Core } from '../../core/core.ts';
import { shareOfNonZero, sharesOfNonZero } from '../../core/nonzeros.ts';
import type { Geometry } from './convolution-geometry.ts';
import { suitsWinograd, winogradShare } from './winograd.ts';

/**
 * Rates at which non-zeros are multiplied, as shares of the tiled product's (46 GFLOP/s where nothing else runs): entry
 * by entry of one image, which loads bound, and of two images, where what is not zero in one of them counts.
 */
const RATE_OF_ONE = 0.75;
const RATE_OF_TWO = 0.95;
/** Listing a number takes as long as the tiled product takes for so many multiplications. */
const LISTING = 14;
/** What lists must leave of the other form's time: the filter is packed besides. */
const LARGEST_TIME = 0.9;
/** A multiplication of Winograd's form takes longer than the tiled product's by this: its transforms. */
const TIME_OF_WINOGRAD = 1.2;
/** Bytes of entries at once: they stay in the second-level cache. */
const ENTRY_BYTES = 2 ** 19;

function isSparsable(g: Geometry, channels: number, out: number): boolean {
  return g.groups === 1 && g.stride[0] * g.stride[1] * g.dilation[0] * g.dilation[1] === 1 && channels % 4 === 0 && out % 4 === 0;
}

/** The longest that non-zeros may take, in the time of the direct product. */
function longest(g: Geometry): number {
  return LARGEST_TIME * (suitsWinograd(g) ? TIME_OF_WINOGRAD * winogradShare(g) : 1);
}

/**
 * How many images' non-zeros are multiplied together, 1 or 2, where a convolution over images [g.count, pixels,
 * channels] with `out` channels is done faster so, or else 0; looks at a sample of them. The same bytes for 1 and 2.
 */
export function imagesAtOnce(core: Core, g: Geometry, imagesPtr: number, pixels: number, channels: number, out: number): 0 | 1 | 2 {
  if (!isSparsable(g, channels, out)) return 0;
  const { each, either } = sharesOfNonZero(core, imagesPtr, g.count, pixels * channels);
  const [one, two] = [each / RATE_OF_ONE, either / RATE_OF_TWO];
  if (Math.min(one, two) * insideShare(g) + LISTING / (g.taps * out) > longest(g)) return 0;
  return g.count > 1 && two < one ? 2 : 1;
}

/** Whether a filter's gradient is computed faster from the non-zeros of dy [rows, g.out]; looks at a sample. */
export function suitsSparseFilterGradient(core: Core, g: Geometry, dyPtr: number, rows: number): boolean {
  if (!isSparsable(g, g.channels, g.out)) return false;
  return shareOfNonZero(core, dyPtr, rows * g.out) / RATE_OF_ONE + LISTING / (g.taps * g.channels) <= longest(g);
}

/** Share of all windows' taps that lies inside the image and not in its padding, 0 to 1. */
export function insideShare(g: Geometry): number {
  const along = (extent: number, outExtent: number, kernel: number, before: number): number => {
    let inside = 0;
    for (let at = -before; at < outExtent - before; at++) inside += Math.max(0, Math.min(extent, at + kernel) - Math.max(0, at));
    return inside / (outExtent * kernel);
  };
  return along(g.height, g.outHeight, g.kernel[0], g.padding[0]) * along(g.width, g.outWidth, g.kernel[1], g.padding[2]);
}

/** An image [count, height, width, channels] and what it is convolved with to [count, outHeight, outWidth, out]. */
export interface SparseConvolution extends
  Pick<Geometry, 'count' | 'height' | 'width' | 'channels' | 'outHeight' | 'outWidth' | 'out' | 'kernel'> {
  /** Padding before the first row and column. */
  readonly top: number;
  readonly left: number;
}

/** y += image ∗ filter [kernel height, kernel width, channels, out], `images` at once. */
export function sparseForward(core: Core, c: SparseConvolution, images: 1 | 2, imagePtr: number, filterPtr: number, yPtr: number): void {
  const { kernels } = core;
  const [elements, outElements] = [c.height * c.width * c.channels, c.outHeight * c.outWidth * c.out];
  const groups = Math.floor(c.count / images);
  const most = Math.min(groups, Math.max(1, Math.floor(ENTRY_BYTES / (8 * images * elements))));
  const terms = c.kernel[0] * c.kernel[1] * c.channels;
  core.scoped((scratch) => {
    const packed = scratch.bytes(kernels.packedFilterBytes(terms, c.out), 'packed filter');
    const starts = scratch.i32(most * c.height * c.width + 1, 'starts of pixels');
    const entries = scratch.bytes(8 * images * (most * elements + 4), 'entries of pixels');
    const orders = scratch.bytes(kernels.sparsePixelsScratchBytes(), 'orders of lanes');
    const sums = scratch.bytes(kernels.sparseConvolutionScratchBytes(), 'sums of a chunk');
    kernels.packFilterF32(filterPtr, packed, terms, c.out, images);
    for (let first = 0; first < groups; first += most) {
      const count = Math.min(most, groups - first);
      const fromPtr = imagePtr + 4 * first * images * elements;
      const toPtr = yPtr + 4 * first * images * outElements;
      kernels.sparsePixelsF32(fromPtr, images, count, c.height, c.width, c.channels, starts, entries, orders);
      kernels.sparseConvolutionF32(
        starts, packed, toPtr, images, count, c.height, c.width, c.outHeight, c.outWidth, c.channels, c.out, ...c.kernel, c.top, c.left,
        sums,
      );
    }
  });
  const last = groups * images;
  if (last < c.count) sparseForward(core, { ...c, count: 1 }, 1, imagePtr + 4 * last * elements, filterPtr, yPtr + 4 * last * outElements);
}

/** dx = dy ∗ the rotated filter. */
export function sparseInputGradient(
  core: Core, g: Geometry, images: 1 | 2, pointers: { readonly dy: number; readonly filter: number; readonly dx: number },
): void {
  const [height, width] = g.kernel;
  core.scoped((scratch) => {
    const rotated = scratch.f32(g.taps * g.channels * g.out, 'rotated filter');
    core.kernels.rotateFilterF32(pointers.filter, rotated, width, 0, 1, height, 0, 1, width, g.channels, g.out, 1);
    core.f32(pointers.dx, g.count * g.height * g.width * g.channels).fill(0);
    const c = {
      count: g.count, height: g.outHeight, width: g.outWidth, channels: g.out, outHeight: g.height, outWidth: g.width, out: g.channels,
      kernel: g.kernel, top: height - 1 - g.padding[0], left: width - 1 - g.padding[2],
    };
    sparseForward(core, c, images, pointers.dy, rotated, pointers.dx);
  });
}

/** dW [taps · channels, out] from the padded image [count, ·, paddedWidth, channels] and the offsets of its windows. */
export function sparseFilterGradient(
  core: Core, g: Geometry, paddedWidth: number,
  pointers: { readonly image: number; readonly rows: number; readonly dy: number; readonly dw: number },
): void {
  const { kernels } = core;
  const terms = g.taps * g.channels;
  core.scoped((scratch) => {
    const transposed = scratch.f32(terms * g.out, 'transposed gradient of a filter');
    core.f32(transposed, terms * g.out).fill(0);
    kernels.sparseFilterGradientF32(
      pointers.dy, pointers.image, pointers.rows, transposed, g.count * g.outHeight * g.outWidth, g.out, g.kernel[0],
      g.kernel[1] * g.channels,
      paddedWidth * g.channels, scratch.told(kernels.sparseFilterGradientScratchBytes(g.out), 2048 * g.out, 'entries of rows'),
    );
    kernels.transposeF32(transposed, pointers.dw, 1, g.out, terms);
  });
}
