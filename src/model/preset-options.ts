/** What a network by name can be told, and what several of them ask of it. */
import { InvalidArgumentError } from '../core/errors.ts';
import type { Shape } from './graph.ts';

export interface PresetOptions {
  /** [channels, height, width] or, for `mlp`, also [features]; [tokens] for `gpt2`, `distilbert` and `bert`. */
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
   * rounded, at least 1), for `mobilenet_…` and `efficientnet_b0` one whose products are rounded to multiples of 8; for `small-conv`
   * and `resnet…` the channels of the first stage (default 32; 16 and 64), for `convnext` too (96). `vit`, `mixer`, `gpt2`, `distilbert`,
   * `bert`: features of a token (default 768, of `vit` 192).
   */
  readonly width?: number;
  /** `vit`, `mixer`, `gpt2`, `distilbert`, `bert`: blocks (default 12, of `distilbert` 6). */
  readonly depth?: number;
  /** `vit`, `gpt2`, `distilbert`, `bert`: heads of an attention (default: width ÷ 64, rounded, and at least 1). */
  readonly heads?: number;
  /** `vit`, `mixer`: pixels of a patch's side (default 16, or 4 below 112 pixels); `convnext`: the same of its stem (default 4). */
  readonly patch?: number;
  /**
   * `gpt2`, `distilbert`, `bert`: rows of the table of positions (default as many as tokens, 1,024 in GPT-2's published weights; of
   * `distilbert` and `bert` 512, or as many as tokens where those are more).
   */
  readonly positions?: number;
  /** `distilbert`, `bert`: tokens there are (default 30,522). */
  readonly vocabulary?: number;
  /**
   * `bert`: the token that ends each text. What stands behind the first one of a sequence is of type 1, as the second text of a pair is.
   * Default 102, [SEP] in the vocabularies of BERT's authors; none, and type 0 for all, where the vocabulary ends before it.
   */
  readonly separator?: number;
  /** `convnext`: blocks of each stage (default 3, 3, 9, 3). */
  readonly blocks?: readonly number[];
  /**
   * `resnet18/34/50`: 7×7 stride 2 and a pooling (default), or for small images 3×3 stride 1 without pooling. `mobilenet_…`,
   * `efficientnet_b0`: with `cifar` the first two reductions are left out. `vgg…`: with `imagenet` torchvision's adaptive pooling to
   * 7×7 stands before the dense layers, so that its checkpoints fit images of any size; without, they see what is left of the image.
   */
  readonly stem?: 'imagenet' | 'cifar';
}

/** @throws InvalidArgumentError unless the input is [channels, height, width]. */
export function requireImage(input: Shape): void {
  if (input.length !== 3) {
    throw new InvalidArgumentError({ field: 'input', expected: '[channels, height, width]', got: `[${input.join(', ')}]` });
  }
}

/** @throws InvalidArgumentError unless a `width` that multiplies published channel counts is in (0, 64]. */
export function requireFactor(width: number): void {
  if (!(width > 0 && width <= 64)) {
    throw new InvalidArgumentError({ field: 'width', expected: 'a factor in (0, 64]', got: String(width) });
  }
}

/** Published channel counts times a factor, rounded, at least 1. @throws InvalidArgumentError as `requireFactor`. */
export function scaledChannels(channels: readonly number[], factor = 1): readonly number[] {
  requireFactor(factor);
  return channels.map((count) => Math.max(1, Math.round(count * factor)));
}
