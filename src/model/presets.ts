/**
 * Networks by name. Parameter names follow the published PyTorch code of each, so that its checkpoints load as they are.
 */
import { requireChoice, requireInteger, requireMembers } from '../core/require.ts';
import { requireOptions } from '../core/options.ts';
import { GraphBuilder, sequential, type Layer } from './builder.ts';
import type { ModelGraph } from './graph.ts';
import { mobilenetPresets } from './presets-mobilenet.ts';
import { basicBlock, torchvisionPresets } from './presets-torchvision.ts';
import { transformerPresets } from './presets-transformers.ts';
import { requireImage, scaledChannels, type PresetOptions } from './preset-options.ts';

export type { PresetOptions };

const presets = {
  mlp,
  conv4,
  conv6,
  conv8,
  'small-conv': smallConv,
  'resnet-small': resnetSmall,
  ...torchvisionPresets,
  ...mobilenetPresets,
  ...transformerPresets,
} as const;

export type PresetName = keyof typeof presets;

export const presetNames = Object.keys(presets) as readonly PresetName[];

/** Which networks read each option besides shape and classes; with any other it would change nothing. */
const readBy: { readonly [O in Exclude<keyof PresetOptions, 'input' | 'classes'>]: RegExp } = {
  widths: /^mlp$/,
  activation: /^mlp$/,
  bias: /^mlp$/,
  width: /^(?!mlp$)/,
  depth: /^(vit|gpt2|distilbert|bert|mixer)$/,
  heads: /^(vit|gpt2|distilbert|bert)$/,
  patch: /^(vit|mixer|convnext)$/,
  positions: /^(gpt2|distilbert|bert)$/,
  vocabulary: /^(distilbert|bert)$/,
  separator: /^bert$/,
  blocks: /^convnext$/,
  stem: /^(resnet\d+|mobilenet_v\d.*|efficientnet.*|vgg.*)$/,
};

/** Whether a named network reads that option. */
export function readsOption(name: PresetName, option: keyof typeof readBy): boolean {
  return readBy[option].test(name);
}

/**
 * The graph of a named network.
 * @throws InvalidArgumentError for an unknown name, an option that this network does not read, or one that does not fit it.
 */
export function preset(name: PresetName, options: PresetOptions): ModelGraph {
  const make = presets[requireChoice('preset', name, presetNames)];
  requireMembers('options', options, ['input', 'classes']);
  const read = Object.entries(readBy).filter(([, names]) => names.test(name));
  requireOptions(`preset ${name}`, options, { input: true, classes: true, ...Object.fromEntries(read) });
  requireInteger('classes', options.classes, 1, 2 ** 20);
  return make(options);
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
