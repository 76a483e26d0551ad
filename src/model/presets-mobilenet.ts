/**
 * torchvision's networks of inverted residuals, layer for layer and name for name, so that its checkpoints load as they are: MobileNetV2
 * (Sandler et al. 2018, table 2), MobileNetV3 (Howard et al. 2019, tables 1 and 2) and EfficientNet-B0 (Tan and Le 2019, table 1).
 * Dropout and stochastic depth are left out: they have no parameters and do nothing in evaluation.
 */
import { requireChoice } from '../core/require.ts';
import { GraphBuilder, sequential, type Layer, type LayerOf, type Residual } from './builder.ts';
import type { ModelGraph } from './graph.ts';
import { requireFactor, requireImage, type PresetOptions } from './preset-options.ts';

/** MobileNetV2's stages: expansion, channels, blocks, stride of the first block. */
const stages = [
  [1, 16, 1, 1],
  [6, 24, 2, 2],
  [6, 32, 3, 2],
  [6, 64, 4, 2],
  [6, 96, 3, 1],
  [6, 160, 3, 2],
  [6, 320, 1, 1],
] as const;

function mobilenetV2({ input, classes, width = 1, stem: chosen }: PresetOptions): ModelGraph {
  requireImage(input);
  requireFactor(width);
  const small = isSmall(chosen);
  let channels = roundedChannels(32 * width);
  const layers: (Layer | Residual)[] = [
    ...normed('features.0.0', 'features.0.1', { out: channels, kernel: 3, stride: small ? 1 : 2, padding: 1 }),
    { op: 'relu6' },
  ];
  let position = 1;
  for (const [stage, [expansion, published, blocks, stride]] of stages.entries()) {
    const out = roundedChannels(published * width);
    for (let index = 0; index < blocks; index++) {
      const step = index > 0 || (small && stage === 1) ? 1 : stride;
      const body = invertedResidual(`features.${position}.conv`, channels, out, expansion, step);
      if (step === 1 && channels === out) layers.push({ op: 'residual', body });
      else layers.push(...body);
      channels = out;
      position += 1;
    }
  }
  const last = roundedChannels(1280 * Math.max(1, width));
  layers.push(
    ...normed(`features.${position}.0`, `features.${position}.1`, { out: last, kernel: 1 }),
    { op: 'relu6' },
    { op: 'global_average_pool' },
    { op: 'flatten' },
    { op: 'dense', name: 'classifier.1', out: classes },
  );
  return sequential(input, layers);
}

/** 1×1 up (where there is an expansion), depthwise 3×3, 1×1 down without a rectifier. */
function invertedResidual(name: string, channels: number, out: number, expansion: number, stride: number): readonly Layer[] {
  const hidden = channels * expansion;
  const layers: Layer[] = [];
  let position = 0;
  if (expansion !== 1)
    layers.push(...normed(`${name}.${position}.0`, `${name}.${position++}.1`, { out: hidden, kernel: 1 }), { op: 'relu6' });
  layers.push(
    ...normed(`${name}.${position}.0`, `${name}.${position++}.1`, { out: hidden, kernel: 3, stride, padding: 1, groups: hidden }),
    { op: 'relu6' },
    ...normed(`${name}.${position}`, `${name}.${position + 1}`, { out, kernel: 1 }),
  );
  return layers;
}

type Activation = 'relu' | 'hardswish' | 'silu';

/** MobileNetV3's blocks: kernel, channels within and out, whether they are squeezed and excited, activation, stride. */
type Row = readonly [kernel: number, expanded: number, out: number, excited: boolean, activation: Activation, stride: 1 | 2];

const largeRows: readonly Row[] = [
  [3, 16, 16, false, 'relu', 1],
  [3, 64, 24, false, 'relu', 2],
  [3, 72, 24, false, 'relu', 1],
  [5, 72, 40, true, 'relu', 2],
  [5, 120, 40, true, 'relu', 1],
  [5, 120, 40, true, 'relu', 1],
  [3, 240, 80, false, 'hardswish', 2],
  [3, 200, 80, false, 'hardswish', 1],
  [3, 184, 80, false, 'hardswish', 1],
  [3, 184, 80, false, 'hardswish', 1],
  [3, 480, 112, true, 'hardswish', 1],
  [3, 672, 112, true, 'hardswish', 1],
  [5, 672, 160, true, 'hardswish', 2],
  [5, 960, 160, true, 'hardswish', 1],
  [5, 960, 160, true, 'hardswish', 1],
];

const smallRows: readonly Row[] = [
  [3, 16, 16, true, 'relu', 2],
  [3, 72, 24, false, 'relu', 2],
  [3, 88, 24, false, 'relu', 1],
  [5, 96, 40, true, 'hardswish', 2],
  [5, 240, 40, true, 'hardswish', 1],
  [5, 240, 40, true, 'hardswish', 1],
  [5, 120, 48, true, 'hardswish', 1],
  [5, 144, 48, true, 'hardswish', 1],
  [5, 288, 96, true, 'hardswish', 2],
  [5, 576, 96, true, 'hardswish', 1],
  [5, 576, 96, true, 'hardswish', 1],
];

function mobilenetV3(rows: readonly Row[], hidden: number): (options: PresetOptions) => ModelGraph {
  return ({ input, classes, width = 1, stem }) => {
    requireImage(input);
    requireFactor(width);
    const norm: Norm = { epsilon: 1e-3, momentum: 0.01 };
    const strideOf = stridesFor(stem);
    const builder = new GraphBuilder(input);
    let channels = roundedChannels(16 * width);
    let value = builder.chain(builder.input, [
      ...normed('features.0.0', 'features.0.1', { out: channels, kernel: 3, stride: strideOf(2), padding: 1 }, norm),
      { op: 'hardswish' },
    ]);
    for (const [index, [kernel, published, last, excited, activation, stride]] of rows.entries()) {
      const [expanded, out] = [roundedChannels(published * width), roundedChannels(last * width)];
      value = excitedResidual(builder, value, {
        name: `features.${index + 1}.block`, channels, expanded, out, kernel, stride: strideOf(stride), activation, norm,
        ...(excited
          ? { excitation: { squeezed: roundedChannels(Math.floor(expanded / 4)), activation: 'relu', gate: 'hardsigmoid' } }
          : {}),
      });
      channels = out;
    }
    const position = rows.length + 1;
    return builder.build(builder.chain(value, [
      ...normed(`features.${position}.0`, `features.${position}.1`, { out: 6 * channels, kernel: 1 }, norm),
      { op: 'hardswish' },
      { op: 'global_average_pool' },
      { op: 'flatten' },
      { op: 'dense', name: 'classifier.0', out: roundedChannels(hidden * width) },
      { op: 'hardswish' },
      { op: 'dense', name: 'classifier.3', out: classes },
    ]));
  };
}

/** EfficientNet-B0's stages: expansion, kernel, channels, blocks, stride of the first block. */
const efficientStages = [
  [1, 3, 16, 1, 1],
  [6, 3, 24, 2, 2],
  [6, 5, 40, 2, 2],
  [6, 3, 80, 3, 2],
  [6, 5, 112, 3, 1],
  [6, 5, 192, 4, 2],
  [6, 3, 320, 1, 1],
] as const;

function efficientnetB0({ input, classes, width = 1, stem }: PresetOptions): ModelGraph {
  requireImage(input);
  requireFactor(width);
  const strideOf = stridesFor(stem);
  const builder = new GraphBuilder(input);
  let channels = roundedChannels(32 * width);
  let value = builder.chain(builder.input, [
    ...normed('features.0.0', 'features.0.1', { out: channels, kernel: 3, stride: strideOf(2), padding: 1 }),
    { op: 'silu' },
  ]);
  for (const [stage, [expansion, kernel, published, blocks, stride]] of efficientStages.entries()) {
    const out = roundedChannels(published * width);
    for (let index = 0; index < blocks; index++) {
      value = excitedResidual(builder, value, {
        name: `features.${stage + 1}.${index}.block`, channels, expanded: channels * expansion, out, kernel,
        stride: index === 0 ? strideOf(stride) : 1, activation: 'silu',
        // A quarter of what comes in, not of what that is expanded to.
        excitation: { squeezed: Math.floor(channels / 4), activation: 'silu', gate: 'sigmoid' },
      });
      channels = out;
    }
  }
  const position = efficientStages.length + 1;
  return builder.build(builder.chain(value, [
    ...normed(`features.${position}.0`, `features.${position}.1`, { out: 4 * channels, kernel: 1 }),
    { op: 'silu' },
    { op: 'global_average_pool' },
    { op: 'flatten' },
    { op: 'dense', name: 'classifier.1', out: classes },
  ]));
}

export const mobilenetPresets = {
  mobilenet_v2: mobilenetV2,
  mobilenet_v3_large: mobilenetV3(largeRows, 1280),
  mobilenet_v3_small: mobilenetV3(smallRows, 1024),
  efficientnet_b0: efficientnetB0,
} as const;

interface ExcitedBlock {
  readonly name: string;
  readonly channels: number;
  readonly expanded: number;
  readonly out: number;
  readonly kernel: number;
  readonly stride: number;
  readonly activation: Activation;
  readonly norm?: Norm;
  /** Squeeze and excitation, where the block has it: channels between its two convolutions, and what stands behind each. */
  readonly excitation?: { readonly squeezed: number; readonly activation: 'relu' | 'silu'; readonly gate: 'hardsigmoid' | 'sigmoid' };
}

/** 1×1 up (where there is an expansion), depthwise, squeeze and excitation (where the block has it), 1×1 down without an activation. */
function excitedResidual(builder: GraphBuilder, input: string, block: ExcitedBlock): string {
  const { name, channels, expanded, out, kernel, stride, activation, norm, excitation } = block;
  let position = 0;
  const part = (settings: Convolution): readonly Layer[] =>
    normed(`${name}.${position}.0`, `${name}.${position++}.1`, settings, norm);
  const layers: Layer[] = [];
  if (expanded !== channels) layers.push(...part({ out: expanded, kernel: 1 }), { op: activation });
  layers.push(...part({ out: expanded, kernel, stride, padding: (kernel - 1) / 2, groups: expanded }), { op: activation });
  let value = builder.chain(input, layers);
  if (excitation !== undefined) {
    const gate = builder.chain(value, [
      { op: 'global_average_pool' },
      { op: 'conv2d', name: `${name}.${position}.fc1`, out: excitation.squeezed, kernel: 1 },
      { op: excitation.activation },
      { op: 'conv2d', name: `${name}.${position++}.fc2`, out: expanded, kernel: 1 },
      { op: excitation.gate },
    ]);
    value = builder.add({ op: 'multiply' }, value, gate);
  }
  value = builder.chain(value, part({ out, kernel: 1 }));
  return stride === 1 && channels === out ? builder.add({ op: 'add' }, value, input) : value;
}

/** Whether the first two reductions are left out for small images, as the usual CIFAR variants do: 32×32 ends at 4×4. */
function isSmall(stem: PresetOptions['stem']): boolean {
  return requireChoice('stem', stem ?? 'imagenet', ['imagenet', 'cifar']) === 'cifar';
}

/** What becomes of each published stride in turn. */
function stridesFor(stem: PresetOptions['stem']): (stride: 1 | 2) => 1 | 2 {
  let left = isSmall(stem) ? 2 : 0;
  return (stride) => (stride === 2 && left-- > 0 ? 1 : stride);
}

type Convolution = Omit<LayerOf<'conv2d'>, 'op' | 'name' | 'bias'>;
type Norm = Omit<LayerOf<'batch_norm'>, 'op' | 'name'>;

function normed(convolution: string, norm: string, settings: Convolution, numbers: Norm = {}): readonly Layer[] {
  return [{ op: 'conv2d', name: convolution, bias: false, ...settings }, { op: 'batch_norm', name: norm, ...numbers }];
}

/** The nearest multiple of 8, at least 8 and not below nine tenths of the number (torchvision's `_make_divisible`). */
function roundedChannels(channels: number): number {
  const nearest = Math.max(8, Math.floor((channels + 4) / 8) * 8);
  return nearest < 0.9 * channels ? nearest + 8 : nearest;
}
