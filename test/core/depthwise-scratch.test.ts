/** Depthwise kernels write nothing outside of what they compute and of the scratch whose size they tell, and read nothing beyond images. */
import { describe, expect, it } from 'vitest';
import { openCore } from '../../src/core/core.ts';

const core = await openCore();
const { kernels } = core;

const MARGIN_BYTES = 2 ** 15;
/** A NaN that no arithmetic makes. */
const MARK = 0x7fab_adcd;

interface Shape {
  readonly kernel: 3 | 5 | 7;
  readonly stride: 1 | 2;
  /** Height, width, channels. */
  readonly extent: readonly [number, number, number];
}

/** `bytes`, marks or `values`, with margins of marks on both sides. */
class Guarded {
  readonly pointer: number;
  readonly #block: number;
  readonly #bytes: number;

  constructor(bytes: number, values?: (i: number) => number) {
    this.#bytes = 4 * Math.ceil(bytes / 4);
    this.#block = core.allocate(this.#bytes + 2 * MARGIN_BYTES, 'a test');
    this.pointer = this.#block + MARGIN_BYTES;
    this.#words().fill(MARK);
    if (values) core.f32(this.pointer, bytes / 4).forEach((_, i, all) => void (all[i] = values(i)));
  }

  intact(): boolean {
    const words = this.#words();
    const isMark = (word: number): boolean => word === MARK;
    return words.subarray(0, MARGIN_BYTES / 4).every(isMark) && words.subarray(-MARGIN_BYTES / 4).every(isMark);
  }

  free(): void {
    core.free(this.#block);
  }

  #words(): Uint32Array {
    const { buffer, byteOffset, byteLength } = core.u8(this.#block, this.#bytes + 2 * MARGIN_BYTES);
    return new Uint32Array(buffer, byteOffset, byteLength / 4);
  }
}

function scratchBytes({ kernel, stride, extent: [, width, channels] }: Shape, outHeight: number, outWidth: number): number {
  return kernel === 3
    ? kernels.depthwise3ScratchBytes(width, outWidth, outHeight, channels, stride)
    : kernels.depthwiseLargeScratchBytes(kernel, width, channels, outHeight);
}

function check(shape: Shape): void {
  const { kernel, stride, extent: [height, width, channels] } = shape;
  const pad = (kernel - 1) / 2;
  const [outHeight, outWidth] = [height, width].map((extent) => Math.floor((extent - 1) / stride) + 1) as [number, number];
  const [xBytes, wBytes, yBytes] = [height * width, kernel ** 2, outHeight * outWidth].map((pixels) => 4 * pixels * channels) as
    [number, number, number];
  const value = (i: number): number => ((i * 7) % 11) - 5;
  const [x, w, dy] = [xBytes, wBytes, yBytes].map((bytes) => new Guarded(bytes, value)) as [Guarded, Guarded, Guarded];
  const geometry = [1, height, width, channels, outHeight, outWidth] as const;
  const run = (what: string, bytes: number, kernelOf: (to: number, scratch: number) => void): void => {
    const [to, scratch] = [new Guarded(bytes), new Guarded(scratchBytes(shape, outHeight, outWidth))];
    kernelOf(to.pointer, scratch.pointer);
    const finite = core.f32(to.pointer, bytes / 4).every(Number.isFinite);
    expect({ what, finite, to: to.intact(), scratch: scratch.intact() }).toEqual({ what, finite: true, to: true, scratch: true });
    to.free();
    scratch.free();
  };
  run('output', yBytes, (to, scratch) => {
    if (kernel === 3) kernels.depthwise3F32(x.pointer, w.pointer, 0, to, ...geometry, stride, pad, pad, scratch);
    else kernels.depthwiseLargeF32(kernel, x.pointer, w.pointer, 0, to, ...geometry, pad, pad, scratch);
  });
  run('filter gradient', wBytes, (to, scratch) => {
    if (kernel === 3) kernels.depthwise3FilterGradientF32(x.pointer, dy.pointer, to, ...geometry, stride, pad, pad, scratch);
    else kernels.depthwiseLargeFilterGradientF32(kernel, x.pointer, dy.pointer, to, ...geometry, pad, pad, scratch);
  });
  if (stride === 2) {
    run('input gradient', xBytes, (to, scratch) => {
      kernels.depthwise3InputGradientF32(dy.pointer, w.pointer, to, ...geometry, pad, pad, scratch);
    });
  }
  expect([x, w, dy].every((input) => input.intact())).toBe(true);
  for (const input of [x, w, dy]) input.free();
}

const shapesOf: readonly Pick<Shape, 'kernel' | 'stride'>[] = [
  { kernel: 3, stride: 1 }, { kernel: 3, stride: 2 }, { kernel: 5, stride: 1 }, { kernel: 7, stride: 1 },
];

describe.each(shapesOf)('depthwise $kernel×$kernel, stride $stride', (of) => {
  it.each<Shape['extent']>([
    // In copies, 17 channels take the room of 48, 516 that of 528.
    [9, 241, 17], [1, 241, 17], [11, 64, 18], [7, 7, 1025], [9, 7, 512], [5, 128, 516], [4, 128, 32], [8, 256, 4], [9, 512, 6], [1, 1, 512],
    [2, 1, 5], [30, 3, 129],
  ])('of %d×%d pixels, %d channels', (...extent) => {
    check({ ...of, extent });
  });

  it('has more scratch than 32 bits count for an image that nearly fills the heap', () => {
    // Three rows at least, each pixel of a copy three lines; with stride 2 twice as many channels and two rows as in the image.
    const [width, channels] = of.stride === 2 ? [2 ** 22, 129] : [2 ** 23, 17];
    const least = of.stride === 2 ? 2 * 4 * width * channels : of.kernel * 192 * width;
    expect(least).toBeGreaterThan(2 ** 32);
    expect(scratchBytes({ ...of, extent: [1, width, channels] }, 1, width)).toBeGreaterThanOrEqual(least);
  });
});
