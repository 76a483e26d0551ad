/**
 * torchvision's residual and VGG networks, layer for layer and name for name, so that its checkpoints load as they are.
 * Dropout is left out: it has no parameters and does nothing in evaluation.
 */
import { requireChoice, requireInteger } from '../core/require.ts';
import { sequential, type Layer, type Residual } from './builder.ts';
import type { ModelGraph } from './graph.ts';
import { requireImage, scaledChannels, type PresetOptions } from './preset-options.ts';

type Preset = (options: PresetOptions) => ModelGraph;

/** Blocks of the four stages (He et al. 2016, table 1). */
const resnet18 = resnet(basicBlock, [2, 2, 2, 2], 1);
const resnet34 = resnet(basicBlock, [3, 4, 6, 3], 1);
const resnet50 = resnet(bottleneck, [3, 4, 6, 3], 4);
const resnet101 = resnet(bottleneck, [3, 4, 23, 3], 4);
const resnet152 = resnet(bottleneck, [3, 8, 36, 3], 4);

/** Convolutions of the five stages (Simonyan and Zisserman 2015, columns A, B, D and E). */
const vgg11 = [1, 1, 2, 2, 2];
const vgg13 = [2, 2, 2, 2, 2];
const vgg16 = [2, 2, 3, 3, 3];
const vgg19 = [2, 2, 4, 4, 4];

export const torchvisionPresets = {
  resnet18,
  resnet34,
  resnet50,
  resnet101,
  resnet152,
  vgg11: vgg(vgg11, false),
  vgg11_bn: vgg(vgg11, true),
  vgg13: vgg(vgg13, false),
  vgg13_bn: vgg(vgg13, true),
  vgg16: vgg(vgg16, false),
  vgg16_bn: vgg(vgg16, true),
  vgg19: vgg(vgg19, false),
  vgg19_bn: vgg(vgg19, true),
} as const;

type Block = (name: string, channels: number, stride: number, project: boolean) => readonly (Layer | Residual)[];

function resnet(block: Block, blocks: readonly number[], expansion: number): Preset {
  return ({ input, classes, width: given, stem: chosen }) => {
    requireImage(input);
    const width = requireInteger('width', given ?? 64, 1, 4096);
    const stem = requireChoice('stem', chosen ?? 'imagenet', ['imagenet', 'cifar']);
    const small = stem === 'cifar';
    const layers: (Layer | Residual)[] = [
      { op: 'conv2d', name: 'conv1', out: width, kernel: small ? 3 : 7, stride: small ? 1 : 2, padding: small ? 1 : 3, bias: false },
      { op: 'batch_norm', name: 'bn1' },
      { op: 'relu' },
    ];
    if (!small) layers.push({ op: 'max_pool', kernel: 3, stride: 2, padding: 1 });
    let channels = width;
    for (const [stage, count] of blocks.entries()) {
      const inner = width << stage;
      for (let index = 0; index < count; index++) {
        const stride = stage > 0 && index === 0 ? 2 : 1;
        const project = stride !== 1 || channels !== inner * expansion;
        layers.push(...block(`layer${stage + 1}.${index}`, inner, stride, project));
        channels = inner * expansion;
      }
    }
    layers.push({ op: 'global_average_pool' }, { op: 'flatten' }, { op: 'dense', name: 'fc', out: classes });
    return sequential(input, layers);
  };
}

/** Two 3×3 convolutions with batch norm beside a shortcut, ReLU after the sum. */
export function basicBlock(name: string, channels: number, stride: number, project: boolean): readonly (Layer | Residual)[] {
  return residual(name, channels, stride, project, [
    { op: 'conv2d', name: `${name}.conv1`, out: channels, kernel: 3, stride, padding: 1, bias: false },
    { op: 'batch_norm', name: `${name}.bn1` },
    { op: 'relu' },
    { op: 'conv2d', name: `${name}.conv2`, out: channels, kernel: 3, padding: 1, bias: false },
    { op: 'batch_norm', name: `${name}.bn2` },
  ]);
}

/** 1×1 down, 3×3, 1×1 up to four times the channels; the stride in the 3×3 (torchvision's "v1.5"). */
function bottleneck(name: string, channels: number, stride: number, project: boolean): readonly (Layer | Residual)[] {
  return residual(name, 4 * channels, stride, project, [
    { op: 'conv2d', name: `${name}.conv1`, out: channels, kernel: 1, bias: false },
    { op: 'batch_norm', name: `${name}.bn1` },
    { op: 'relu' },
    { op: 'conv2d', name: `${name}.conv2`, out: channels, kernel: 3, stride, padding: 1, bias: false },
    { op: 'batch_norm', name: `${name}.bn2` },
    { op: 'relu' },
    { op: 'conv2d', name: `${name}.conv3`, out: 4 * channels, kernel: 1, bias: false },
    { op: 'batch_norm', name: `${name}.bn3` },
  ]);
}

function residual(name: string, out: number, stride: number, project: boolean, body: readonly Layer[]): readonly (Layer | Residual)[] {
  const projection: readonly Layer[] = [
    { op: 'conv2d', name: `${name}.downsample.0`, out, kernel: 1, stride, bias: false },
    { op: 'batch_norm', name: `${name}.downsample.1` },
  ];
  return [{ op: 'residual', body, shortcut: project ? projection : [] }, { op: 'relu' }];
}

/**
 * 3×3 convolutions with ReLU in five stages of 64 … 512 channels, each ended by a 2×2 pooling, then three dense layers.
 * The adaptive pooling to 7×7 that torchvision puts between is the identity at 224×224; without the stem `imagenet`, other sizes go
 * to the first dense layer as they are, which then has another width.
 */
function vgg(stages: readonly number[], norm: boolean): Preset {
  return ({ input, classes, width, stem }) => {
    requireImage(input);
    if (stem !== undefined) requireChoice('stem', stem, ['imagenet']);
    const channels = scaledChannels([64, 128, 256, 512, 512], width);
    const [hidden = 0] = scaledChannels([4096], width);
    const layers: Layer[] = [];
    let position = 0;
    for (const [stage, count] of stages.entries()) {
      for (let index = 0; index < count; index++) {
        layers.push({ op: 'conv2d', name: `features.${position}`, out: channels[stage] as number, kernel: 3, padding: 1 });
        if (norm) layers.push({ op: 'batch_norm', name: `features.${position + 1}` });
        layers.push({ op: 'relu' });
        position += norm ? 3 : 2;
      }
      layers.push({ op: 'max_pool', kernel: 2 });
      position += 1;
    }
    if (stem === 'imagenet') layers.push({ op: 'adaptive_average_pool', size: 7 });
    layers.push(
      { op: 'flatten' },
      { op: 'dense', name: 'classifier.0', out: hidden },
      { op: 'relu' },
      { op: 'dense', name: 'classifier.3', out: hidden },
      { op: 'relu' },
      { op: 'dense', name: 'classifier.6', out: classes },
    );
    return sequential(input, layers);
  };
}
