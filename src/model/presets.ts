/**
 * Networks by name. Parameter names follow the published PyTorch code of each, so that its checkpoints load as they are.
 */
import { InvalidArgumentError, requireChoice, requireInteger } from '../core/errors.ts';
import { GraphBuilder, sequential, type Layer, type Residual } from './builder.ts';
import type { ModelGraph, Shape } from './graph.ts';

export interface PresetOptions {
  /** [channels, height, width] or, for `mlp`, also [features]. */
  readonly input: Shape;
  readonly classes: number;
  /** `mlp`: hidden widths. Default [512]. */
  readonly widths?: readonly number[];
  /** `mlp`: between the dense layers. Default 'relu'. */
  readonly activation?: 'relu' | 'none';
  /** `mlp`: biases. Default true. */
  readonly bias?: boolean;
  /**
   * Convolutional presets: for `conv4/6/8` a factor on the published channel counts (default 1; channels are rounded, at
   * least 1); for `small-conv` and `resnet-small` the channels of the first stage (default 32 and 16).
   */
  readonly width?: number;
}

const presets = { mlp, conv4, conv6, conv8, 'small-conv': smallConv, 'resnet-small': resnetSmall } as const;

export type PresetName = keyof typeof presets;

export const presetNames = Object.keys(presets) as readonly PresetName[];

/**
 * The graph of a named network.
 * @throws InvalidArgumentError for an unknown name or an option that does not fit it.
 */
export function preset(name: PresetName, options: PresetOptions): ModelGraph {
  requireInteger('classes', options.classes, 1, 2 ** 20);
  return presets[requireChoice('preset', name, presetNames)](options);
}

/** Multi-layer perceptron: `linear1` … `linearN`. */
function mlp({ input, classes, widths = [512], activation = 'relu', bias = true }: PresetOptions): ModelGraph {
  requireChoice('activation', activation, ['relu', 'none']);
  const layers: Layer[] = input.length === 1 ? [] : [{ op: 'flatten' }];
  for (const [index, out] of widths.entries()) {
    layers.push({ op: 'dense', name: `linear${index + 1}`, out, bias });
    if (activation === 'relu') layers.push({ op: 'relu' });
  }
  layers.push({ op: 'dense', name: `linear${widths.length + 1}`, out: classes, bias });
  return sequential(input, layers);
}

/**
 * The Conv-2k nets of Frankle and Carbin as the learning-transfer paper uses them: pairs of 3×3 convolutions between
 * 2×2 poolings, then a pooling of what is left to 1×1 (so that the head sees channels alone and stays permutable), then
 * 1×1 convolutions. The last pooling is global, so any input size works; for 32×32 it is the paper's 4×4.
 * Names are those of two `nn.Sequential`, `convs` and `linear`.
 */
function convNet(
  stages: readonly number[],
  head: readonly number[],
  { input, classes }: PresetOptions,
): ModelGraph {
  requireImage(input);
  const layers: Layer[] = [];
  let position = 0;
  for (const [index, out] of stages.entries()) {
    if (index > 0) {
      layers.push({ op: 'max_pool', kernel: 2 });
      position += 1;
    }
    for (let twice = 0; twice < 2; twice++) {
      layers.push({ op: 'conv2d', name: `convs.${position}`, out, kernel: 3, padding: 1 }, { op: 'relu' });
      position += 2;
    }
  }
  layers.push({ op: 'global_max_pool' });
  for (const [index, out] of head.entries()) {
    layers.push({ op: 'conv2d', name: `linear.${2 * index}`, out, kernel: 1 }, { op: 'relu' });
  }
  layers.push({ op: 'conv2d', name: `linear.${2 * head.length}`, out: classes, kernel: 1 }, { op: 'flatten' });
  return sequential(input, layers);
}

function scaled(channels: readonly number[], factor = 1): readonly number[] {
  if (!(factor > 0 && factor <= 64)) {
    throw new InvalidArgumentError({ field: 'width', expected: 'a factor in (0, 64]', got: String(factor) });
  }
  return channels.map((count) => Math.max(1, Math.round(count * factor)));
}

function conv4(options: PresetOptions): ModelGraph {
  return convNet(scaled([64, 128], options.width), scaled([256, 256], options.width), options);
}

function conv6(options: PresetOptions): ModelGraph {
  return convNet(scaled([64, 128, 256], options.width), scaled([256, 256], options.width), options);
}

function conv8(options: PresetOptions): ModelGraph {
  return convNet(scaled([64, 128, 256, 512], options.width), scaled([256, 256], options.width), options);
}

/** Two stages of `width` and 2·`width` channels and a hidden head layer of 3·`width`. */
function smallConv(options: PresetOptions): ModelGraph {
  const width = requireInteger('width', options.width ?? 32, 1, 4096);
  return convNet([width, 2 * width], [3 * width], options);
}

/**
 * A batch-norm residual net with torchvision's names: a stem of `width` channels, then three basic blocks of `width`,
 * 2·`width` and 4·`width`; the last two halve the image and have a projection shortcut.
 */
function resnetSmall({ input, classes, width: given }: PresetOptions): ModelGraph {
  requireImage(input);
  const width = requireInteger('width', given ?? 16, 1, 4096);
  const builder = new GraphBuilder(input);
  let value = builder.chain(builder.input, [
    { op: 'conv2d', name: 'conv1', out: width, kernel: 3, padding: 1, bias: false },
    { op: 'batch_norm', name: 'bn1' },
    { op: 'relu' },
  ]);
  value = builder.chain(value, [
    ...basicBlock('layer1.0', width, 1, false),
    ...basicBlock('layer2.0', 2 * width, 2, true),
    ...basicBlock('layer3.0', 4 * width, 2, true),
    { op: 'global_average_pool' },
    { op: 'flatten' },
    { op: 'dense', name: 'fc', out: classes },
  ]);
  return builder.build(value);
}

/** torchvision's BasicBlock: two 3×3 convolutions with batch norm beside a shortcut, ReLU after the sum. */
function basicBlock(name: string, out: number, stride: number, project: boolean): readonly (Layer | Residual)[] {
  const shortcut: readonly Layer[] = project
    ? [
        { op: 'conv2d', name: `${name}.downsample.0`, out, kernel: 1, stride, bias: false },
        { op: 'batch_norm', name: `${name}.downsample.1` },
      ]
    : [];
  return [
    {
      op: 'residual',
      body: [
        { op: 'conv2d', name: `${name}.conv1`, out, kernel: 3, stride, padding: 1, bias: false },
        { op: 'batch_norm', name: `${name}.bn1` },
        { op: 'relu' },
        { op: 'conv2d', name: `${name}.conv2`, out, kernel: 3, padding: 1, bias: false },
        { op: 'batch_norm', name: `${name}.bn2` },
      ],
      shortcut,
    },
    { op: 'relu' },
  ];
}

function requireImage(input: Shape): void {
  if (input.length !== 3) {
    throw new InvalidArgumentError({ field: 'input', expected: '[channels, height, width]', got: `[${input.join(', ')}]` });
  }
}
