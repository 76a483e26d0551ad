/**
 * torchvision's MobileNetV2 (Sandler et al. 2018, table 2), layer for layer and name for name, so that its checkpoints load as they
 * are. Dropout is left out: it has no parameters and does nothing in evaluation.
 */
import { requireChoice } from '../core/require.ts';
import { sequential, type Layer, type Residual } from './builder.ts';
import type { ModelGraph } from './graph.ts';
import { requireFactor, requireImage, type PresetOptions } from './preset-options.ts';

/** Expansion, channels, blocks, stride of the first block. */
const stages = [
  [1, 16, 1, 1],
  [6, 24, 2, 2],
  [6, 32, 3, 2],
  [6, 64, 4, 2],
  [6, 96, 3, 1],
  [6, 160, 3, 2],
  [6, 320, 1, 1],
] as const;

export function mobilenetV2({ input, classes, width = 1, stem: chosen }: PresetOptions): ModelGraph {
  requireImage(input);
  requireFactor(width);
  // For small images the first two reductions are left out, as the usual CIFAR variants do: 32×32 ends at 4×4.
  const small = requireChoice('stem', chosen ?? 'imagenet', ['imagenet', 'cifar']) === 'cifar';
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

type Convolution = Omit<Extract<Layer, { op: 'conv2d' }>, 'op' | 'name' | 'bias'>;

function normed(convolution: string, norm: string, settings: Convolution): readonly Layer[] {
  return [{ op: 'conv2d', name: convolution, bias: false, ...settings }, { op: 'batch_norm', name: norm }];
}

/** The nearest multiple of 8, at least 8 and not below nine tenths of the number (torchvision's `_make_divisible`). */
function roundedChannels(channels: number): number {
  const nearest = Math.max(8, Math.floor((channels + 4) / 8) * 8);
  return nearest < 0.9 * channels ? nearest + 8 : nearest;
}
