/** Winograd's form of the 3×3 convolution and its gradients against sums in f64. */
import { describe, expect, it } from 'vitest';
import { engine, type Tensor } from '#tfjs';
import { normals, relativeError } from './checks.ts';
import { openedEngine, outputOf } from './opened-engine.ts';

const { gradients } = await openedEngine();

/** Calls `visit(y, x, w)` with the indices of every product of a 3×3 convolution, NHWC and HWIO. */
function eachProduct(
  [count, height, width, channels]: readonly [number, number, number, number], out: number, [top, left]: readonly [number, number],
  rows: number, columns: number, visit: (y: number, x: number, w: number) => void,
): void {
  for (let n = 0; n < count; n++) {
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) {
        for (let tap = 0; tap < 9; tap++) {
          const row = r + Math.floor(tap / 3) - top;
          const column = c + (tap % 3) - left;
          if (row < 0 || row >= height || column < 0 || column >= width) continue;
          for (let i = 0; i < channels; i++) {
            const x = ((n * height + row) * width + column) * channels + i;
            for (let o = 0; o < out; o++) visit(((n * rows + r) * columns + c) * out + o, x, (tap * channels + i) * out + o);
          }
        }
      }
    }
  }
}

describe("Winograd's form (64 channels or more): output and both gradients within 1e-6 of f64", () => {
  for (const [name, shape, out, [top, bottom, left, right]] of [
    ['8×8, whole tiles, several runs of tiles', [5, 8, 8, 64], 64, [1, 1, 1, 1]],
    ['5×7, partial tiles, asymmetric padding, 68 outputs', [2, 5, 7, 64], 68, [0, 2, 1, 0]],
    ['no padding, batch of one, 72 inputs', [1, 6, 5, 72], 64, [0, 0, 0, 0]],
    ['one output pixel', [3, 3, 3, 64], 64, [0, 0, 0, 0]],
    ['padding above kernel − 1', [2, 4, 3, 64], 64, [3, 1, 0, 4]],
  ] as const) {
    it(name, () => {
      const [count, height, width, channels] = shape;
      const rows = height + top + bottom - 2;
      const columns = width + left + right - 2;
      const data = {
        x: normals(count * height * width * channels, 1),
        filter: normals(9 * channels * out, 2),
        dy: normals(count * rows * columns * out, 3),
        bias: normals(out, 4),
      };
      const make = (values: Float32Array, dims: readonly number[]): Tensor => engine().makeTensor(values, [...dims], 'float32');
      const tensors = {
        x: make(data.x, shape),
        filter: make(data.filter, [3, 3, channels, out]),
        dy: make(data.dy, [count, rows, columns, out]),
        bias: make(data.bias, [out]),
      };
      const attrs = { strides: [1, 1], dilations: [1, 1], pad: [[0, 0], [top, bottom], [left, right], [0, 0]] };
      const { x, filter, dy, bias } = tensors;
      const got = {
        y: outputOf('Conv2D', { x, filter, bias }, attrs),
        dx: outputOf('Conv2DBackpropInput', { dy, filter, like: x }, attrs),
        dw: outputOf('Conv2DBackpropFilter', { x, dy, like: filter }, attrs),
      };
      const want = {
        y: Float64Array.from({ length: data.dy.length }, (_, i) => data.bias[i % out] as number),
        dx: new Float64Array(data.x.length),
        dw: new Float64Array(data.filter.length),
      };
      eachProduct(shape, out, [top, left], rows, columns, (atY, atX, atW) => {
        want.y[atY] = (want.y[atY] as number) + (data.x[atX] as number) * (data.filter[atW] as number);
        want.dx[atX] = (want.dx[atX] as number) + (data.dy[atY] as number) * (data.filter[atW] as number);
        want.dw[atW] = (want.dw[atW] as number) + (data.dy[atY] as number) * (data.x[atX] as number);
      });
      expect(relativeError(got.y, want.y)).toBeLessThan(1e-6);
      expect(relativeError(got.dx, want.dx)).toBeLessThan(1e-6);
      expect(relativeError(got.dw, want.dw)).toBeLessThan(1e-6);
      for (const tensor of Object.values(tensors)) tensor.dispose();
      expect(gradients.memory.liveTensors).toBe(0);
    });
  }
});
