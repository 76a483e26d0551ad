/**
 * 3×3 convolutions of stride 1 by Winograd's F(2×2, 3×3): sixteen products of [tiles, in] · [in, out] where the direct form does
 * the work of thirty-six. Tiles are taken in runs whose transforms stay in the cache. Measured against the direct product in
 * bench/gradient.ts (1.4 to 2.3 Y where the direct form reaches 1.1 to 1.3); errors stay within 1e-6.
 */
import type { Core, Scratch } from '../../core/core.ts';
import type { Geometry } from './convolution-geometry.ts';

/** Bytes of transformed input and output of one run of tiles: about the second-level cache. */
const RUN_BYTES = 2 ** 20;
/**
 * Fewest channels on both sides. In the direct form equal windows give equal bytes; here they round by their place in the tile, so
 * max pooling no longer sees a tie between them and may send a gradient to another pixel than PyTorch does. Small nets on
 * images with blank areas are full of such ties (the reference cases' conv4: parameters 5e-3 off after an epoch instead of
 * 4e-7), and gain little here.
 */
const LEAST_CHANNELS = 64;
/** Fewer tiles than this leave the packing of the transformed filter unpaid. */
const LEAST_TILES = 64;

export function suitsWinograd(g: Geometry): boolean {
  return (
    g.groups === 1 &&
    g.taps === 9 && g.kernel[0] === 3 &&
    g.stride[0] * g.stride[1] * g.dilation[0] * g.dilation[1] === 1 &&
    g.channels % 4 === 0 && g.out % 4 === 0 &&
    g.channels >= LEAST_CHANNELS && g.out >= LEAST_CHANNELS
  );
}

/** Multiplications as a share of the direct form's: tiles reach over the rim of images with an odd extent. */
export function winogradShare(g: Geometry): number {
  const covered = 4 * Math.ceil(g.outHeight / 2) * Math.ceil(g.outWidth / 2);
  return ((4 / 9) * covered) / (g.outHeight * g.outWidth);
}

interface Tiling {
  readonly y: number;
  readonly x: number;
  readonly all: number;
  /** Tiles of one run. */
  readonly run: number;
}

function tilingOf(g: Geometry): Tiling {
  const y = Math.ceil(g.outHeight / 2);
  const x = Math.ceil(g.outWidth / 2);
  const all = g.count * y * x;
  const run = Math.max(LEAST_TILES, Math.floor(RUN_BYTES / (4 * 16 * (g.channels + g.out))));
  return { y, x, all, run: Math.min(all, run) };
}

/**
 * Bytes from one of sixteen matrices to the next (`assembly/winograd.ts`): an odd number of lines. On the EPYC, convolutions of 64 to 512
 * channels take 5 to 20 % less time so.
 */
function pitchOf(elements: number): number {
  return 64 * (Math.ceil(elements / 16) | 1);
}

/** The image with its padding, large enough that every tile's 4×4 patch lies inside. */
function padded(core: Core, scratch: Scratch, g: Geometry, tiling: Tiling, imagePtr: number, top: number, left: number) {
  const height = 2 * tiling.y + 2;
  const width = 2 * tiling.x + 2;
  const pointer = scratch.f32(g.count * height * width * g.channels, 'padded images');
  core.kernels.placeImagesF32(imagePtr, pointer, g.count, g.height, g.width, g.channels, height, width, top, left, 1, 1, 1);
  return { pointer, height, width };
}

/** y = image ∗ filter (+ bias unless 0), the image placed at (top, left) of its padded copy. */
export function winogradForward(
  core: Core,
  g: Geometry,
  operands: { readonly imagePtr: number; readonly filterPtr: number; readonly biasPtr: number; readonly yPtr: number },
  top: number,
  left: number,
): void {
  const { kernels } = core;
  const tiling = tilingOf(g);
  core.scoped((scratch) => {
    const image = padded(core, scratch, g, tiling, operands.imagePtr, top, left);
    const pitch = { u: pitchOf(g.channels * g.out), v: pitchOf(tiling.run * g.channels), m: pitchOf(tiling.run * g.out) };
    const u = scratch.bytes(16 * pitch.u, 'transformed filter');
    kernels.winogradFilterF32(operands.filterPtr, u, g.channels * g.out, pitch.u);
    const v = scratch.bytes(16 * pitch.v, 'transformed images');
    const m = scratch.bytes(16 * pitch.m, 'transformed output');
    const panels = scratch.bytes(kernels.matmulScratchBytes(tiling.run, g.out, g.channels), 'packed panels');
    for (let first = 0; first < tiling.all; first += tiling.run) {
      const tiles = Math.min(tiling.run, tiling.all - first);
      kernels.winogradInputF32(image.pointer, v, first, tiles, tiling.y, tiling.x, image.height, image.width, g.channels, pitch.v);
      for (let i = 0; i < 16; i++) {
        kernels.matmulF32(
          v + i * pitch.v, u + i * pitch.u, m + i * pitch.m,
          tiles, g.out, g.channels, 0, 0, 0, g.channels, g.out, g.out, 0, 0, 0, 0, panels,
        );
      }
      kernels.winogradOutputF32(
        m, operands.yPtr, operands.biasPtr, first, tiles, tiling.y, tiling.x, g.outHeight, g.outWidth, g.out, pitch.m,
      );
    }
  });
}

/** dW [3, 3, in, out] = Σ over tiles of transformed imageᵀ · transformed gradient. */
export function winogradFilterGradient(
  core: Core,
  g: Geometry,
  operands: { readonly imagePtr: number; readonly dyPtr: number; readonly dwPtr: number },
): void {
  const { kernels } = core;
  const tiling = tilingOf(g);
  core.scoped((scratch) => {
    const image = padded(core, scratch, g, tiling, operands.imagePtr, g.padding[0], g.padding[2]);
    const pitch = { v: pitchOf(tiling.run * g.channels), p: pitchOf(tiling.run * g.out), s: pitchOf(g.channels * g.out) };
    const v = scratch.bytes(16 * pitch.v, 'transformed images');
    const p = scratch.bytes(16 * pitch.p, 'transformed gradient');
    const s = scratch.bytes(16 * pitch.s, 'transformed filter gradient');
    const panels = scratch.bytes(kernels.matmulScratchBytes(g.channels, g.out, tiling.run), 'packed panels');
    for (let first = 0; first < tiling.all; first += tiling.run) {
      const tiles = Math.min(tiling.run, tiling.all - first);
      kernels.winogradInputF32(image.pointer, v, first, tiles, tiling.y, tiling.x, image.height, image.width, g.channels, pitch.v);
      kernels.winogradGradientF32(operands.dyPtr, p, first, tiles, tiling.y, tiling.x, g.outHeight, g.outWidth, g.out, pitch.p);
      for (let i = 0; i < 16; i++) {
        kernels.matmulF32(
          v + i * pitch.v, p + i * pitch.p, s + i * pitch.s,
          g.channels, g.out, tiles, 1, 0, Number(first > 0), g.channels, g.out, g.out, 0, 0, 0, 0, panels,
        );
      }
    }
    kernels.winogradFilterGradientF32(s, operands.dwPtr, g.channels * g.out, pitch.s);
  });
}
