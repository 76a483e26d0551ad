/**
 * Depthwise convolution against its roof: the longer of the times that a loop takes which reads and writes the same bytes and computes
 * nothing (`streaming.ts`), and that the same multiplications and additions take in registers alone (`arithmetic-peak.ts`). And against
 * the same convolution of stock tfjs-wasm, which has a forward pass only.
 */
import { engine, type Tensor } from '#tfjs';
import { openArithmeticPeak } from './arithmetic-peak.ts';
import { median, timed, warmUp } from './measure.ts';
import type { StockTfjs } from './stock-tfjs.ts';
import { openStreaming } from './streaming.ts';

/** Share of the roof. */
const BAR = 0.8;

/** Name, images, extent, channels, kernel, stride. */
const shapes = [
  ['MobileNetV2 144 at 56²', 8, 56, 144, 3, 1],
  ['MobileNetV2 144 at 56², stride 2', 8, 56, 144, 3, 2],
  ['MobileNetV2 384 at 14²', 16, 14, 384, 3, 1],
  ['512 at 14²', 8, 14, 512, 3, 1],
  ['MobileNetV2 960 at 7²', 16, 7, 960, 3, 1],
  ['EfficientNet 480 at 14², 5×5', 4, 14, 480, 5, 1],
  ['ConvNeXt 96 at 56², 7×7', 4, 56, 96, 7, 1],
  ['ConvNeXt 384 at 14², 7×7', 8, 14, 384, 7, 1],
] as const;

export async function depthwise(
  stock: StockTfjs,
  judge: (record: { readonly [field: string]: string | number }, figure: number, relation: 'at least', bar: number) => void,
): Promise<void> {
  const peak = await openArithmeticPeak(), streaming = await openStreaming();
  for (const [name, count, extent, channels, kernel, stride] of shapes) {
    const pad = (kernel - 1) / 2;
    const side = Math.floor((extent + 2 * pad - kernel) / stride) + 1;
    const random = (shape: number[]): Tensor =>
      engine().makeTensor(
        Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => ((i * 7919) % 1009) / 1009 - 0.5),
        shape,
        'float32',
      );
    const [x, filter, dy] = [
      random([count, extent, extent, channels]),
      random([kernel, kernel, 1, channels]),
      random([count, side, side, channels]),
    ];
    const attrs = {
      strides: [stride, stride], pad: [[0, 0], [pad, pad], [pad, pad], [0, 0]], dataFormat: 'NHWC', dilations: [1, 1], groups: channels,
    };
    const bytes = 4 * (x.size + dy.size);
    const directions = {
      forward: ['Conv2D', { x, filter }, attrs],
      'input gradient': ['Conv2DBackpropInput', { dy, filter, like: x }, attrs],
      'filter gradient': ['Conv2DBackpropFilter', { x, dy, like: filter }, attrs],
    } as const;
    const stockX = stock.randomUniform([count, extent, extent, channels]) as ReturnType<StockTfjs['tensor4d']>;
    const stockFilter = stock.randomUniform([kernel, kernel, channels, 1]) as ReturnType<StockTfjs['tensor4d']>;
    const stockOnce = (): void => stock.depthwiseConv2d(stockX, stockFilter, stride, 'same').dispose();
    const [xBytes, dyBytes] = [4 * x.size, 4 * dy.size];
    const streams = {
      forward: streaming(xBytes, dyBytes),
      'input gradient': streaming(dyBytes, xBytes),
      'filter gradient': streaming(xBytes + dyBytes, 0),
    };
    for (const [direction, [kernelName, inputs, attributes]] of Object.entries(directions)) {
      const once = (): void => (engine().runKernel(kernelName, inputs as never, attributes as never) as unknown as Tensor).dispose();
      const stream = streams[direction as keyof typeof streams].once;
      const samples = interleaved({ stream, peak: peak.once, once, stockOnce });
      const flops = 2 * dy.size * kernel * kernel;
      const arithmetic = (samples.peak * flops) / peak.flops;
      const share = Math.max(samples.stream, arithmetic) / samples.once;
      judge(
        {
          bench: 'depthwise',
          direction,
          shape: name,
          MB: bytes / 1e6,
          'GB/s': bytes / samples.once / 1e6,
          'streamed GB/s': bytes / samples.stream / 1e6,
          'GFLOP/s': flops / samples.once / 1e6,
          'arithmetic GFLOP/s': flops / arithmetic / 1e6,
          bound: samples.stream > arithmetic ? 'memory' : 'arithmetic',
          'ratio to the roof': share,
          ...(direction === 'forward' ? { 'times stock': samples.stockOnce / samples.once } : {}),
        },
        share,
        'at least',
        BAR,
      );
    }
    for (const tensor of [x, filter, dy, stockX, stockFilter]) tensor.dispose();
  }
}

/** Median milliseconds of each body, seven samples of about 40 ms taken in turn. */
function interleaved<K extends string>(bodies: { readonly [name in K]: () => void }): { readonly [name in K]: number } {
  const names = Object.keys(bodies) as K[];
  const repeats = new Map(names.map((name) => [name, 2 * warmUp(bodies[name], 400)]));
  const samples = new Map<K, number[]>(names.map((name) => [name, []]));
  for (let round = 0; round < 7; round++) {
    for (const name of names) samples.get(name)?.push(timed(repeats.get(name) as number, bodies[name]));
  }
  return Object.fromEntries([...samples].map(([name, list]) => [name, median(list)])) as { [name in K]: number };
}
