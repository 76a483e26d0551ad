/**
 * Networks of tokens and of layer norms, name for name: vision transformers and MLP-Mixers as timm publishes them, GPT-2, DistilBERT
 * and BERT as Hugging Face does, ConvNeXt as torchvision does. Dropout and stochastic depth are left out: they do nothing in
 * evaluation.
 */
import { InvalidArgumentError } from '../core/errors.ts';
import { requireInteger } from '../core/require.ts';
import { GraphBuilder, sequential, type Layer, type Residual } from './builder.ts';
import type { ModelGraph, Shape } from './graph.ts';
import { requireImage, type PresetOptions } from './preset-options.ts';

type Layers = readonly (Layer | Residual)[];

export const transformerPresets = { vit, gpt2, distilbert, bert, mixer, convnext } as const;

const LARGEST = 65_536;

/** timm's ε for its layer norms; GPT-2 has PyTorch's 1e-5. */
const EPSILON = 1e-6;

/** The epsilon of layer norms in BERT and its kin. */
const BERT_EPSILON = 1e-12;

/** The published 16 for images of 112 pixels and more; 4 for smaller ones, where 16 would leave nothing to attend to. */
function patchOf({ input, patch }: PresetOptions): number {
  requireImage(input);
  const side = Math.min(...input.slice(1));
  return requireInteger('patch', patch ?? (side >= 112 ? 16 : 4), 1, side);
}

function depthOf({ depth }: PresetOptions, published: number): number {
  return requireInteger('depth', depth ?? published, 1, 256);
}

/** As wide as the published 64, or nearly. @throws InvalidArgumentError where heads of one width do not make the width. */
function headsOf(options: PresetOptions, width: number): number {
  const heads = requireInteger('heads', options.heads ?? Math.max(1, Math.round(width / 64)), 1, width);
  if (width % heads !== 0)
    throw new InvalidArgumentError({ field: 'heads', expected: `a divisor of the width, ${width}`, got: `${heads}` });
  return heads;
}

/** x + body(x). */
const residual = (body: Layers): Residual => ({ op: 'residual', body });

/** Two dense layers with a GELU between. */
function mlp(name: string, hidden: number, out: number): Layers {
  return [{ op: 'dense', name: `${name}.fc1`, out: hidden }, { op: 'gelu' }, { op: 'dense', name: `${name}.fc2`, out }];
}

/** timm's `vit_tiny_patch16_224` (width 192, 12 blocks, 3 heads) unless told otherwise; `vit_small…` has width 384 and 6 heads. */
function vit(options: PresetOptions): ModelGraph {
  const { input, classes } = options;
  const patch = patchOf(options);
  const width = requireInteger('width', options.width ?? 192, 1, LARGEST);
  const heads = headsOf(options, width);
  const layers: (Layer | Residual)[] = [
    { op: 'conv2d', name: 'patch_embed.proj', out: width, kernel: patch, stride: patch },
    { op: 'tokens' },
    { op: 'class_token', name: 'cls_token' },
    { op: 'position_embedding', name: 'pos_embed', positions: 1 + patches(input, patch), bare: true },
  ];
  for (let index = 0; index < depthOf(options, 12); index++) {
    const block = `blocks.${index}`;
    layers.push(
      residual([
        { op: 'layer_norm', name: `${block}.norm1`, epsilon: EPSILON },
        { op: 'dense', name: `${block}.attn.qkv`, out: 3 * width },
        { op: 'attention', heads },
        { op: 'dense', name: `${block}.attn.proj`, out: width },
      ]),
      residual([{ op: 'layer_norm', name: `${block}.norm2`, epsilon: EPSILON }, ...mlp(`${block}.mlp`, 4 * width, width)]),
    );
  }
  layers.push(
    { op: 'layer_norm', name: 'norm', epsilon: EPSILON },
    { op: 'select_token', index: 0 },
    { op: 'dense', name: 'head', out: classes },
  );
  return sequential(input, layers);
}

function patches([, height = 0, width = 0]: Shape, patch: number): number {
  return Math.floor(height / patch) * Math.floor(width / patch);
}

/** @throws InvalidArgumentError unless the input is [tokens]. */
function tokensOf(input: Shape): number {
  const [tokens] = input;
  if (input.length === 1 && tokens !== undefined) return tokens;
  throw new InvalidArgumentError({ field: 'input', expected: '[tokens]', got: `[${input.join(', ')}]` });
}

/**
 * `GPT2LMHeadModel`: `input` is [tokens], `classes` the vocabulary. The published small one has 50,257 tokens in the vocabulary,
 * 1,024 positions, width 768, 12 blocks and 12 heads. The head shares the weight of the token embedding.
 */
function gpt2(options: PresetOptions): ModelGraph {
  const { input, classes } = options;
  const tokens = tokensOf(input);
  const width = requireInteger('width', options.width ?? 768, 1, LARGEST);
  const heads = headsOf(options, width);
  const positions = requireInteger('positions', options.positions ?? tokens, tokens, LARGEST);
  const builder = new GraphBuilder(input, classes);
  const layers: (Layer | Residual)[] = [
    { op: 'embedding', name: 'transformer.wte', features: width },
    { op: 'position_embedding', name: 'transformer.wpe', positions },
  ];
  for (let index = 0; index < depthOf(options, 12); index++) {
    const block = `transformer.h.${index}`;
    layers.push(
      residual([
        { op: 'layer_norm', name: `${block}.ln_1` },
        { op: 'dense', name: `${block}.attn.c_attn`, out: 3 * width, transposed: true },
        { op: 'attention', heads, causal: true },
        { op: 'dense', name: `${block}.attn.c_proj`, out: width, transposed: true },
      ]),
      residual([
        { op: 'layer_norm', name: `${block}.ln_2` },
        { op: 'dense', name: `${block}.mlp.c_fc`, out: 4 * width, transposed: true },
        { op: 'gelu', approximate: 'tanh' },
        { op: 'dense', name: `${block}.mlp.c_proj`, out: width, transposed: true },
      ]),
    );
  }
  layers.push({ op: 'layer_norm', name: 'transformer.ln_f' }, { op: 'tied_dense', with: 'transformer.wte' });
  return builder.build(builder.chain(builder.input, layers));
}

/** What BERT and its kin are told; `begin` is a builder of the graph, whose padding is 0. */
function textOptions(options: PresetOptions): {
  readonly begin: () => GraphBuilder; readonly width: number; readonly heads: number; readonly positions: number;
  readonly vocabulary: number;
} {
  const { input } = options;
  const tokens = tokensOf(input);
  const width = requireInteger('width', options.width ?? 768, 1, LARGEST);
  const heads = headsOf(options, width);
  const positions = requireInteger('positions', options.positions ?? Math.max(512, tokens), tokens, LARGEST);
  const vocabulary = requireInteger('vocabulary', options.vocabulary ?? 30_522, 2, 2 ** 20);
  return { begin: () => new GraphBuilder(input, vocabulary, 0), width, heads, positions, vocabulary };
}

/** Names of the layers of one of BERT's blocks. */
interface BertBlock {
  readonly queries: string;
  readonly keys: string;
  readonly values: string;
  readonly attended: string;
  readonly attendedNorm: string;
  readonly up: string;
  readonly down: string;
  readonly norm: string;
}

/** Attention that leaves padding out, then two dense layers, each with a norm behind its residual. */
function bertBlock(builder: GraphBuilder, before: string, names: BertBlock, heads: number, width: number): string {
  const [q = '', k = '', v = ''] = [names.queries, names.keys, names.values].map((name) =>
    builder.add({ op: 'dense', name, out: width }, before),
  );
  const attended = builder.chain(builder.add({ op: 'attention', heads, masked: true }, q, k, v), [
    { op: 'dense', name: names.attended, out: width },
  ]);
  return builder.chain(builder.add({ op: 'add' }, attended, before), [
    { op: 'layer_norm', name: names.attendedNorm, epsilon: BERT_EPSILON },
    residual([{ op: 'dense', name: names.up, out: 4 * width }, { op: 'gelu' }, { op: 'dense', name: names.down, out: width }]),
    { op: 'layer_norm', name: names.norm, epsilon: BERT_EPSILON },
  ]);
}

/**
 * `DistilBertForSequenceClassification`: `input` is [tokens], of which 0 is padding. The published base has 30,522 tokens in the
 * vocabulary, 512 positions, width 768, 6 blocks and 12 heads. What a sequence is taken for is read at its first token.
 */
function distilbert(options: PresetOptions): ModelGraph {
  const { begin, width, heads, positions } = textOptions(options);
  const builder = begin();
  let value = builder.chain(builder.input, [
    { op: 'embedding', name: 'distilbert.embeddings.word_embeddings', features: width },
    { op: 'position_embedding', name: 'distilbert.embeddings.position_embeddings', positions },
    { op: 'layer_norm', name: 'distilbert.embeddings.LayerNorm', epsilon: BERT_EPSILON },
  ]);
  for (let index = 0; index < depthOf(options, 6); index++) {
    const block = `distilbert.transformer.layer.${index}`;
    const names: BertBlock = {
      queries: `${block}.attention.q_lin`, keys: `${block}.attention.k_lin`, values: `${block}.attention.v_lin`,
      attended: `${block}.attention.out_lin`, attendedNorm: `${block}.sa_layer_norm`,
      up: `${block}.ffn.lin1`, down: `${block}.ffn.lin2`, norm: `${block}.output_layer_norm`,
    };
    value = bertBlock(builder, value, names, heads, width);
  }
  const scores = builder.chain(value, [
    { op: 'select_token', index: 0 },
    { op: 'dense', name: 'pre_classifier', out: width },
    { op: 'relu' },
    { op: 'dense', name: 'classifier', out: options.classes },
  ]);
  return builder.build(scores);
}

/** [SEP] in the vocabularies of BERT's authors. */
const SEPARATOR = 102;

/**
 * `BertForSequenceClassification` of texts and of pairs of them, whose second begins behind the first separator: `input` is [tokens], of
 * which 0 is padding. The published base has 30,522 tokens in the vocabulary, 512 positions, 2 types, width 768, 12 blocks and 12 heads.
 */
function bert(options: PresetOptions): ModelGraph {
  const { begin, width, heads, positions, vocabulary } = textOptions(options);
  const builder = begin();
  const given = options.separator ?? (SEPARATOR < vocabulary ? SEPARATOR : undefined);
  const separator = given === undefined ? {} : { separator: requireInteger('separator', given, 1, vocabulary - 1) };
  // Types before positions, as the published code adds them: in f32 the other order rounds otherwise.
  let value = builder.chain(builder.input, [
    { op: 'embedding', name: 'bert.embeddings.word_embeddings', features: width },
    { op: 'type_embedding', name: 'bert.embeddings.token_type_embeddings', types: 2, ...separator },
    { op: 'position_embedding', name: 'bert.embeddings.position_embeddings', positions },
    { op: 'layer_norm', name: 'bert.embeddings.LayerNorm', epsilon: BERT_EPSILON },
  ]);
  for (let index = 0; index < depthOf(options, 12); index++) {
    const block = `bert.encoder.layer.${index}`;
    const attention = `${block}.attention`;
    const names: BertBlock = {
      queries: `${attention}.self.query`, keys: `${attention}.self.key`, values: `${attention}.self.value`,
      attended: `${attention}.output.dense`, attendedNorm: `${attention}.output.LayerNorm`,
      up: `${block}.intermediate.dense`, down: `${block}.output.dense`, norm: `${block}.output.LayerNorm`,
    };
    value = bertBlock(builder, value, names, heads, width);
  }
  const scores = builder.chain(value, [
    { op: 'select_token', index: 0 },
    { op: 'dense', name: 'bert.pooler.dense', out: width },
    { op: 'tanh' },
    { op: 'dense', name: 'classifier', out: options.classes },
  ]);
  return builder.build(scores);
}

/** timm's `mixer_b16_224`: width 768, 12 blocks; token layers of half, channel layers of four times the width. */
function mixer(options: PresetOptions): ModelGraph {
  const { input, classes } = options;
  const patch = patchOf(options);
  const width = requireInteger('width', options.width ?? 768, 2, LARGEST);
  const tokens = patches(input, patch);
  const layers: (Layer | Residual)[] = [{ op: 'conv2d', name: 'stem.proj', out: width, kernel: patch, stride: patch }, { op: 'tokens' }];
  for (let index = 0; index < depthOf(options, 12); index++) {
    const block = `blocks.${index}`;
    layers.push(
      residual([
        { op: 'layer_norm', name: `${block}.norm1`, epsilon: EPSILON },
        { op: 'transpose' },
        ...mlp(`${block}.mlp_tokens`, Math.floor(width / 2), tokens),
        { op: 'transpose' },
      ]),
      residual([{ op: 'layer_norm', name: `${block}.norm2`, epsilon: EPSILON }, ...mlp(`${block}.mlp_channels`, 4 * width, width)]),
    );
  }
  layers.push({ op: 'layer_norm', name: 'norm', epsilon: EPSILON }, { op: 'mean_tokens' }, { op: 'dense', name: 'head', out: classes });
  return sequential(input, layers);
}

/**
 * torchvision's `convnext_tiny`: four stages of `width` = 96, 192, 384, 768 channels with 3, 3, 9, 3 blocks. The stem quarters the
 * image and each later stage halves it, so images need 32 pixels.
 */
function convnext(options: PresetOptions): ModelGraph {
  const { input, classes, blocks = [3, 3, 9, 3] } = options;
  requireImage(input);
  const width = requireInteger('width', options.width ?? 96, 1, LARGEST);
  const patch = requireInteger('patch', options.patch ?? 4, 1, Math.min(...input.slice(1)));
  const layers: (Layer | Residual)[] = [
    { op: 'conv2d', name: 'features.0.0', out: width, kernel: patch, stride: patch },
    { op: 'layer_norm', name: 'features.0.1', epsilon: EPSILON },
  ];
  for (const [stage, count] of blocks.entries()) {
    const channels = width << stage;
    if (stage > 0) {
      layers.push(
        { op: 'layer_norm', name: `features.${2 * stage}.0`, epsilon: EPSILON },
        { op: 'conv2d', name: `features.${2 * stage}.1`, out: channels, kernel: 2, stride: 2 },
      );
    }
    for (let index = 0; index < requireInteger(`blocks[${stage}]`, count, 0, 256); index++) {
      const block = `features.${2 * stage + 1}.${index}`;
      layers.push(
        residual([
          { op: 'conv2d', name: `${block}.block.0`, out: channels, kernel: 7, padding: 3, groups: channels },
          { op: 'layer_norm', name: `${block}.block.2`, epsilon: EPSILON },
          { op: 'dense', name: `${block}.block.3`, out: 4 * channels },
          { op: 'gelu' },
          { op: 'dense', name: `${block}.block.5`, out: channels },
          { op: 'layer_scale', name: block, parameter: 'layer_scale', initial: 1e-6 },
        ]),
      );
    }
  }
  layers.push(
    { op: 'global_average_pool' },
    { op: 'layer_norm', name: 'classifier.0', epsilon: EPSILON },
    { op: 'flatten' },
    { op: 'dense', name: 'classifier.2', out: classes },
  );
  return sequential(input, layers);
}
