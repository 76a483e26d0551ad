/** The extents of a convolution of NHWC images, from tfjs's attributes. */
import { computeConv2DInfo } from '#tfjs';
import { describe } from '../../core/describe.ts';
import { UnsupportedError } from '../../core/errors.ts';
import type { Attributes } from './support.ts';

/** Everything that the three directions need to know. */
export interface Geometry {
  readonly count: number;
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  readonly outHeight: number;
  readonly outWidth: number;
  readonly out: number;
  readonly groups: number;
  readonly groupIn: number;
  readonly groupOut: number;
  readonly kernel: readonly [number, number];
  readonly taps: number;
  readonly stride: readonly [number, number];
  readonly dilation: readonly [number, number];
  /** Top, bottom, left, right. */
  readonly padding: readonly [number, number, number, number];
}

type Shape4 = [number, number, number, number];

/** `attrs`: tfjs's own for conv2d, and `groups`. */
export function geometry(xShape: readonly number[], filterShape: readonly number[], attrs: Attributes, depthwise: boolean): Geometry {
  const dataFormat = attrs['dataFormat'] ?? 'NHWC';
  if (dataFormat !== 'NHWC') throw new UnsupportedError({ field: 'conv2d.dataFormat', expected: 'NHWC', got: describe(dataFormat) });
  const info = computeConv2DInfo(
    xShape as Shape4,
    filterShape as Shape4,
    attrs['strides'] as [number, number],
    (attrs['dilations'] ?? 1) as [number, number],
    attrs['pad'] as 'valid',
    attrs['dimRoundingMode'] as 'floor',
    depthwise,
  );
  const groups = depthwise ? info.inChannels : ((attrs['groups'] as number | undefined) ?? 1);
  const { top, bottom, left, right } = info.padInfo;
  return {
    count: info.batchSize,
    height: info.inHeight,
    width: info.inWidth,
    channels: info.inChannels,
    outHeight: info.outHeight,
    outWidth: info.outWidth,
    out: info.outChannels,
    groups,
    groupIn: info.inChannels / groups,
    groupOut: info.outChannels / groups,
    kernel: [info.filterHeight, info.filterWidth],
    taps: info.filterHeight * info.filterWidth,
    stride: [info.strideHeight, info.strideWidth],
    dilation: [info.dilationHeight, info.dilationWidth],
    padding: [top, bottom, left, right],
  };
}

