/** Max pooling and its gradient against plain loops: side by side or overlapping windows, rims, ties, padding. */
import { describe, expect, it } from 'vitest';
import { openCore } from '../../src/core/core.ts';

interface Case {
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  readonly kernel: readonly [number, number];
  readonly stride: readonly [number, number];
  /** Before the first row and column, and behind the last. */
  readonly padding: readonly [number, number];
}

const COUNT = 3;
const cases: readonly (readonly [string, Case])[] = [
  ['side by side, a row and a column left over', { height: 7, width: 9, channels: 8, kernel: [2, 2], stride: [2, 2], padding: [0, 0] }],
  ['side by side, 2×3', { height: 6, width: 6, channels: 4, kernel: [2, 3], stride: [2, 3], padding: [0, 0] }],
  ['of the whole image', { height: 5, width: 4, channels: 12, kernel: [5, 4], stride: [5, 4], padding: [0, 0] }],
  ['side by side, channels no multiple of 4', { height: 4, width: 4, channels: 6, kernel: [2, 2], stride: [2, 2], padding: [0, 0] }],
  ['side by side, the last ones half in the padding', { height: 5, width: 7, channels: 8, kernel: [2, 2], stride: [2, 2], padding: [0, 1] }],
  ['side by side, padded below alone', { height: 5, width: 6, channels: 4, kernel: [3, 2], stride: [3, 2], padding: [0, 1] }],
  ['overlapping, padded', { height: 6, width: 7, channels: 8, kernel: [3, 3], stride: [2, 2], padding: [1, 1] }],
];

/** Few values, so that windows are full of ties. */
const values = (length: number, step: number): Float32Array => Float32Array.from({ length }, (_, i) => (((i * step) % 5) - 2) * 0.5);

function reference({ height, width, channels, kernel, stride, padding }: Case, x: Float32Array, dyOf: (outputs: number) => Float32Array) {
  const [before, behind] = padding;
  const out = (extent: number, k: number, s: number): number => Math.floor((extent + before + behind - k) / s) + 1;
  const [outHeight, outWidth] = [out(height, kernel[0], stride[0]), out(width, kernel[1], stride[1])];
  const y = new Float32Array(COUNT * outHeight * outWidth * channels);
  const dy = dyOf(y.length);
  const dx = new Float32Array(x.length);
  for (let at = 0; at < y.length; at++) {
    const c = at % channels;
    const ox = Math.floor(at / channels) % outWidth;
    const oy = Math.floor(at / (channels * outWidth)) % outHeight;
    const n = Math.floor(at / (channels * outWidth * outHeight));
    let [best, winner] = [-Infinity, -1];
    for (let iy = oy * stride[0] - before; iy < oy * stride[0] - before + kernel[0]; iy++) {
      for (let ix = ox * stride[1] - before; ix < ox * stride[1] - before + kernel[1]; ix++) {
        if (iy < 0 || iy >= height || ix < 0 || ix >= width) continue;
        const from = ((n * height + iy) * width + ix) * channels + c;
        if ((x[from] as number) > best) [best, winner] = [x[from] as number, from];
      }
    }
    y[at] = best;
    dx[winner] = (dx[winner] as number) + (dy[at] as number);
  }
  return { outHeight, outWidth, y, dy, dx };
}

describe('max pooling', () => {
  it.each(cases)('%s', async (_, shape) => {
    using core = await openCore();
    const { height, width, channels, kernel, stride, padding } = shape;
    const x = values(COUNT * height * width * channels, 7);
    const { outHeight, outWidth, y, dy, dx } = reference(shape, x, (outputs) => Float32Array.from({ length: outputs }, (__, i) => i + 1));
    core.scoped((scratch) => {
      const [xPtr, dyPtr, yPtr, winnersPtr] = [scratch.upload(x), scratch.upload(dy), scratch.f32(y.length), scratch.bytes(2 * y.length)];
      // What was there before must not show.
      const dxPtr = scratch.upload(values(x.length, 3));
      const extents = [COUNT, height, width, channels, outHeight, outWidth, ...kernel, ...stride, padding[0], padding[0]] as const;
      core.kernels.maxPoolF32(xPtr, yPtr, winnersPtr, ...extents);
      core.kernels.maxPoolGradientF32(dyPtr, winnersPtr, dxPtr, ...extents);
      expect([...core.f32(yPtr, y.length)]).toEqual([...y]);
      expect([...core.f32(dxPtr, dx.length)]).toEqual([...dx]);
    });
  });
});
