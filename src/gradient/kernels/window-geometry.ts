/** Where the windows of a convolution or a pooling lie on NHWC images. The attributes have tfjs's names. */
import type { Attributes } from './support.ts';

type Pair = readonly [number, number];

export interface WindowGeometry {
  /** Images. */
  readonly count: number;
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  readonly outHeight: number;
  readonly outWidth: number;
  readonly kernel: Pair;
  readonly stride: Pair;
  readonly dilation: Pair;
  /** Top, bottom, left, right. */
  readonly padding: readonly [number, number, number, number];
}

interface WindowAttributes {
  readonly strides: Pair;
  /** [0, 0], [top, bottom], [left, right], [0, 0] */
  readonly pad: readonly [Pair, Pair, Pair, Pair];
  readonly dilations?: Pair;
}

export function windowGeometry(xShape: readonly number[], kernel: Pair, attrs: Attributes): WindowGeometry {
  const [count, height, width, channels] = xShape as readonly [number, number, number, number];
  const { strides: stride, pad, dilations: dilation = [1, 1] } = attrs as unknown as WindowAttributes;
  const [, [top, bottom], [left, right]] = pad;
  const along = (axis: 0 | 1, padded: number): number =>
    Math.floor((padded - dilation[axis] * (kernel[axis] - 1) - 1) / stride[axis]) + 1;
  return {
    count,
    height,
    width,
    channels,
    outHeight: along(0, height + top + bottom),
    outWidth: along(1, width + left + right),
    kernel,
    stride,
    dilation,
    padding: [top, bottom, left, right],
  };
}
