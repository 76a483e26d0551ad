/**
 * Depthwise convolution against its roof: the lower of what a plain SIMD triad (y += x, two reads and a write) moves in
 * the same moments, over two arrays that together are as large as the shape's two tensors so that the same caches hold
 * them, and of what a loop in registers alone computes (`arithmetic-peak.ts`), in bytes that each direction must read
 * and write at least. And against the same convolution of stock tfjs-wasm, which has a forward pass only.
 */
import { engine, type Tensor } from '#tfjs';
import type { Core } from '../src/core/core.ts';
import { openArithmeticPeak } from './arithmetic-peak.ts';
import { median, timed, warmUp } from './measure.ts';
import type { StockTfjs } from './stock-tfjs.ts';

/** Of the roof. */
const BAR = 0.8;

/** Name, images, extent, channels, kernel, stride. */
const shapes = [
  ['MobileNetV2 144 at 56²', 8, 56, 144, 3, 1],
  ['MobileNetV2 144 at 56², stride 2', 8, 56, 144, 3, 2],
  ['MobileNetV2 384 at 14²', 16, 14, 384, 3, 1],
  ['512 at 14²', 8, 14, 512, 3, 1],
  ['MobileNetV2 960 at 7²', 16, 7, 960, 3, 1],
  ['ConvNeXt 96 at 56², 7×7', 4, 56, 96, 7, 1],
] as const;

export async function depthwise(
  core: Core,
  stock: StockTfjs,
  judge: (record: { readonly [field: string]: string | number }, figure: number, relation: 'at least', bar: number) => void,
): Promise<void> {
  const peak = await openArithmeticPeak();
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
    core.scoped((scratch) => {
      const triadSize = Math.round((x.size + dy.size) / 2);
      const [from, to] = [scratch.f32(triadSize), scratch.f32(triadSize)];
      core.f32(from, triadSize).fill(1);
      const triad = (): void => core.kernels.addF32(from, to, triadSize);
      for (const [direction, [kernelName, inputs, attributes]] of Object.entries(directions)) {
        const once = (): void => (engine().runKernel(kernelName, inputs as never, attributes as never) as unknown as Tensor).dispose();
        const samples = interleaved({ triad, peak: peak.once, once, stockOnce });
        const triadRate = (12 * triadSize) / samples.triad / 1e6;
        const rate = bytes / samples.once / 1e6;
        const flops = 2 * dy.size * kernel * kernel;
        const arithmeticRate = (peak.flops / samples.peak / 1e6) * (bytes / flops);
        const roof = Math.min(triadRate, arithmeticRate);
        judge(
          {
            bench: 'depthwise',
            direction,
            shape: name,
            MB: bytes / 1e6,
            'GB/s': rate,
            'triad GB/s': triadRate,
            'arithmetic GB/s': arithmeticRate,
            bound: triadRate < arithmeticRate ? 'memory' : 'arithmetic',
            'ratio to the roof': rate / roof,
            'GFLOP/s': flops / samples.once / 1e6,
            ...(direction === 'forward' ? { 'times stock': samples.stockOnce / samples.once } : {}),
          },
          rate / roof,
          'at least',
          BAR,
        );
      }
    });
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
