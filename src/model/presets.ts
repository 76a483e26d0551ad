/**
 * Networks by name. Parameter names follow the published PyTorch code of each, so that its checkpoints load as they are.
 */
import { requireChoice, requireInteger } from '../core/errors.ts';
import { GraphBuilder, sequential, type Layer } from './builder.ts';
import type { ModelGraph, Shape } from './graph.ts';
import { mobilenetV2 } from './presets-mobilenet.ts';
import { basicBlock, requireImage, scaledChannels, torchvisionPresets } from './presets-torchvision.ts';
import { transformerPresets } from './presets-transformers.ts';

export interface PresetOptions {
  /** [channels, height, width] or, for `mlp`, also [features]; [tokens] for `gpt2`. */
  readonly input: Shape;
  /** Classes; for `gpt2` the vocabulary. */
  readonly classes: number;
  /** `mlp`: hidden widths. Default [512]. */
  readonly widths?: readonly number[];
  /** `mlp`: between the dense layers. Default 'relu'. */
  readonly activation?: 'relu' | 'none';
  /** `mlp`: biases. Default true. */
  readonly bias?: boolean;
  /**
   * Convolutional presets: for `conv4/6/8` and `vgg…` a factor on the published channel counts (default 1; channels are
   * rounded, at least 1), for `mobilenet_v2` one whose products are rounded to multiples of 8; for `small-conv` and `resnet…` the channels of the first
   * stage (default 32; 16 and 64), for `convnext` too (96). `vit`, `mixer`, `gpt2`: features of a token (default 192, 768, 768).
   */
  readonly width?: number;
  /** `vit`, `mixer`, `gpt2`: blocks (default 12). */
  readonly depth?: number;
  /** `vit`, `gpt2`: heads of an attention (default one for 64 features). */
  readonly heads?: number;
  /** `vit`, `mixer`: pixels of a patch's side (default 16, or 4 below 112 pixels); `convnext`: the same of its stem (default 4). */
  readonly patch?: number;
  /** `gpt2`: rows of the table of positions (default as many as tokens; 1,024 in the published weights). */
  readonly positions?: number;
  /** `convnext`: blocks of each stage (default 3, 3, 9, 3). */
  readonly blocks?: readonly number[];
  /**
   * `resnet18/34/50`: 7×7 stride 2 and a pooling (default), or for small images 3×3 stride 1 without pooling. `mobilenet_v2`: with
   * `cifar` the first two reductions are left out. `vgg…`: with `imagenet` torchvision's adaptive pooling to 7×7 stands before the
   * dense layers, so that its checkpoints fit images of any size; without, they see what is left of the image.
   */
  readonly stem?: 'imagenet' | 'cifar';
}

const presets = { mlp, conv4, conv6, conv8, 'small-conv': smallConv, 'resnet-small': resnetSmall, ...torchvisionPresets, mobilenet_v2: mobilenetV2, ...transformerPresets } as const;

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

function conv4(options: PresetOptions): ModelGraph {
  return convNet(scaledChannels([64, 128], options.width), scaledChannels([256, 256], options.width), options);
}

function conv6(options: PresetOptions): ModelGraph {
  return convNet(scaledChannels([64, 128, 256], options.width), scaledChannels([256, 256], options.width), options);
}

function conv8(options: PresetOptions): ModelGraph {
  return convNet(scaledChannels([64, 128, 256, 512], options.width), scaledChannels([256, 256], options.width), options);
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
