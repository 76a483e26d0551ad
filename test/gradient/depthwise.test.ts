/**
 * Depthwise convolution and both gradients against sums in f64, tap by tap: extents, channels and paddings that leave
 * remainders everywhere.
 */
import { describe, expect, it } from 'vitest';
import { engine } from '#tfjs';
import { normals, relativeError } from './checks.ts';
import { openedEngine, outputOf } from './opened-engine.ts';

await openedEngine();

interface Case {
  readonly kernel: number;
  readonly stride: number;
  readonly dilation: number;
  /** Height, width, channels. */
  readonly extent: readonly [number, number, number];
  /** Top, bottom, left, right. */
  readonly padding: readonly [number, number, number, number];
}

const count = 2;
const reach = ({ kernel, dilation }: Case): number => (kernel - 1) * dilation + 1;
const outExtent = (c: Case): readonly [number, number] => {
  const [top, bottom, left, right] = c.padding;
  return [
    Math.floor((c.extent[0] + top + bottom - reach(c)) / c.stride) + 1,
    Math.floor((c.extent[1] + left + right - reach(c)) / c.stride) + 1,
  ];
};

/** Every product of the convolution: indices into y, x and w. */
function eachProduct(c: Case, visit: (y: number, x: number, w: number) => void): void {
  const [height, width, channels] = c.extent;
  const [rows, columns] = outExtent(c);
  for (let n = 0; n < count; n++) {
    for (let oy = 0; oy < rows; oy++) {
      for (let ox = 0; ox < columns; ox++) {
        for (let tap = 0; tap < c.kernel ** 2; tap++) {
          const y = oy * c.stride - c.padding[0] + Math.floor(tap / c.kernel) * c.dilation;
          const x = ox * c.stride - c.padding[2] + (tap % c.kernel) * c.dilation;
          if (y < 0 || y >= height || x < 0 || x >= width) continue;
          for (let i = 0; i < channels; i++) {
            visit(((n * rows + oy) * columns + ox) * channels + i, ((n * height + y) * width + x) * channels + i, tap * channels + i);
          }
        }
      }
    }
  }
}

function check(c: Case): void {
  const [height, width, channels] = c.extent;
  const [rows, columns] = outExtent(c);
  const shapes = {
    x: [count, height, width, channels],
    filter: [c.kernel, c.kernel, 1, channels],
    dy: [count, rows, columns, channels],
    bias: [channels],
  };
  const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b);
  const [x, filter, dy, bias] = Object.values(shapes).map((shape, i) => normals(size(shape), i + 1)) as [
    Float32Array,
    Float32Array,
    Float32Array,
    Float32Array,
  ];
  const expected = {
    y: Float64Array.from(dy, (_, i) => bias[i % channels] as number),
    dx: new Float64Array(x.length),
    dw: new Float64Array(filter.length),
  };
  eachProduct(c, (yAt, xAt, wAt) => {
    (expected.y[yAt] as number) += (x[xAt] as number) * (filter[wAt] as number);
    (expected.dx[xAt] as number) += (dy[yAt] as number) * (filter[wAt] as number);
    (expected.dw[wAt] as number) += (dy[yAt] as number) * (x[xAt] as number);
  });
  const [top, bottom, left, right] = c.padding;
  const attrs = {
    strides: [c.stride, c.stride],
    pad: [
      [0, 0],
      [top, bottom],
      [left, right],
      [0, 0],
    ],
    dilations: [c.dilation, c.dilation],
    groups: channels,
  };
  const tensors = {
    x: engine().makeTensor(x, shapes.x, 'float32'),
    filter: engine().makeTensor(filter, shapes.filter, 'float32'),
    dy: engine().makeTensor(dy, shapes.dy, 'float32'),
    bias: engine().makeTensor(bias, shapes.bias, 'float32'),
  };
  const label = JSON.stringify(c);
  const y = outputOf('Conv2D', { x: tensors.x, filter: tensors.filter, bias: tensors.bias }, attrs);
  expect(relativeError(y, expected.y), `output ${label}`).toBeLessThan(1e-6);
  const dx = outputOf('Conv2DBackpropInput', { dy: tensors.dy, filter: tensors.filter, like: tensors.x }, attrs);
  expect(relativeError(dx, expected.dx), `input gradient ${label}`).toBeLessThan(1e-6);
  const dw = outputOf('Conv2DBackpropFilter', { x: tensors.x, dy: tensors.dy, like: tensors.filter }, attrs);
  expect(relativeError(dw, expected.dw), `filter gradient ${label}`).toBeLessThan(1e-6);
  for (const tensor of Object.values(tensors)) tensor.dispose();
}

const paddings = [[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 1], [2, 2, 2, 2], [1, 4, 2, 5], [4, 0, 3, 1]] as const;
const extents = [[1, 1], [2, 3], [5, 4], [7, 6], [9, 11]] as const;

describe('depthwise convolution, output and both gradients within 1e-6 of f64', () => {
  for (const [kernel, stride, dilation] of [
    [3, 1, 1],
    [3, 2, 1],
    [3, 1, 2],
    [3, 3, 1],
    [5, 1, 1],
    [5, 2, 1],
    [7, 1, 1],
    [7, 2, 1],
  ] as const) {
    it(`${kernel}×${kernel}, stride ${stride}, dilation ${dilation}`, () => {
      for (const [height, width] of extents) {
        for (const channels of [3, 4, 6, 13]) {
          for (const padding of paddings) {
            const c: Case = { kernel, stride, dilation, extent: [height, width, channels], padding };
            if (Math.min(...outExtent(c)) > 0) check(c);
          }
        }
      }
    });
  }

  it('strips of rows: images of every height and width, with rows outside above, below and both', () => {
    const rims = [[1, 1, 1, 1], [0, 1, 0, 1], [2, 0, 3, 2], [3, 3, 3, 3]] as const;
    for (const [kernel, stride] of [[3, 1], [3, 2], [5, 1], [7, 1]] as const) {
      for (let extent = 1; extent <= 24; extent++) {
        for (const padding of rims) {
          for (const [height, width] of [[extent, 3], [5, extent]] as const) {
            const c: Case = { kernel, stride, dilation: 1, extent: [height, width, 6], padding };
            if (Math.min(...outExtent(c)) > 0) check(c);
          }
        }
      }
    }
  });

  it('images whose rows or pixels lie a power of two apart, which are copied strip by strip', () => {
    for (const kernel of [3, 5, 7]) {
      for (const extent of [[9, 8, 512], [6, 5, 1026], [13, 64, 16], [9, 256, 6], [11, 16, 64]] as const) {
        for (const padding of [[1, 1, 1, 1], [3, 2, 4, 3], [0, 4, 0, 2]] as const) {
          const c: Case = { kernel, stride: 1, dilation: 1, extent, padding };
          if (Math.min(...outExtent(c)) > 0) check(c);
        }
      }
    }
  });

  it('NaN of a pixel reaches what its windows reach, and nothing at the rim or in other channels', () => {
    for (const [kernel, stride, channels] of [[3, 1, 6], [3, 2, 6], [7, 1, 6], [3, 1, 512], [7, 1, 128]] as const) {
      for (const padding of [[1, 1, 1, 1], [3, 2, 4, 3]] as const) {
        const c: Case = { kernel, stride, dilation: 1, extent: [9, 8, channels], padding };
        const [rows, columns] = outExtent(c);
        const [xSize, ySize] = [count * 9 * 8 * channels, count * rows * columns * channels];
        const attrs = {
          strides: [stride, stride], pad: [[0, 0], padding.slice(0, 2), padding.slice(2), [0, 0]], dilations: [1, 1], groups: channels,
        };
        const filter = engine().makeTensor(normals(kernel * kernel * channels, 1), [kernel, kernel, 1, channels], 'float32');
        const spoilt = (size: number, at: number) => normals(size, 2).map((value, i) => (i === at ? NaN : value));
        // All corners of the first image, the middle, and the last channel of all.
        for (const [row, column] of [[0, 0], [0, 1], [1, 0], [0.5, 0.5], [1, 1]] as const) {
          const of = (height: number, width: number) =>
            (Math.round(row * (height - 1)) * width + Math.round(column * (width - 1))) * channels + (row === 1 ? channels - 1 : 0);
          const [xNaN, dyNaN] = [of(9, 8), of(rows, columns)];
          const reached = { y: new Set<number>(), dx: new Set<number>(), dw: new Set<number>() };
          eachProduct(c, (y, x, w) => {
            if (x === xNaN) {
              reached.y.add(y);
              reached.dw.add(w);
            }
            if (y === dyNaN) reached.dx.add(x);
          });
          const x = engine().makeTensor(spoilt(xSize, xNaN), [count, 9, 8, channels], 'float32');
          const dy = engine().makeTensor(spoilt(ySize, dyNaN), [count, rows, columns, channels], 'float32');
          const whole = engine().makeTensor(normals(ySize, 3), [count, rows, columns, channels], 'float32');
          const nans = (values: Float32Array) => [...values.keys()].filter((i) => Number.isNaN(values[i]));
          const sorted = (set: Set<number>) => [...set].toSorted((a, b) => a - b);
          const label = JSON.stringify({ ...c, row, column });
          expect(nans(outputOf('Conv2D', { x, filter }, attrs)), label).toEqual(sorted(reached.y));
          expect(nans(outputOf('Conv2DBackpropInput', { dy, filter, like: x }, attrs)), label).toEqual(sorted(reached.dx));
          expect(nans(outputOf('Conv2DBackpropFilter', { x, dy: whole, like: filter }, attrs)), label).toEqual(sorted(reached.dw));
          for (const tensor of [x, dy, whole]) tensor.dispose();
        }
        filter.dispose();
      }
    }
  });

  it('many pixels and channels: sums that go into f64 in the middle of a strip, blocks that are summed up one part after the other', () => {
    for (const kernel of [5, 7]) check({ kernel, stride: 1, dilation: 1, extent: [61, 59, 66], padding: [3, 3, 3, 3] });
    check({ kernel: 7, stride: 1, dilation: 1, extent: [29, 47, 70], padding: [5, 1, 0, 6] });
    for (const kernel of [5, 7]) check({ kernel, stride: 1, dilation: 1, extent: [9, 11, 202], padding: [3, 3, 3, 3] });
    for (const stride of [1, 2]) check({ kernel: 3, stride, dilation: 1, extent: [61, 59, 66], padding: [1, 1, 1, 1] });
    for (const stride of [1, 2]) check({ kernel: 3, stride, dilation: 1, extent: [23, 29, 512], padding: [1, 1, 1, 1] });
  });
});
