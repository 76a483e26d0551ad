/** Networks that several frameworks publish, each under names of its own: from theirs to those of the presets. */
import type { NameRule } from './name-rules.ts';

export interface NamingScheme {
  /** Whose names they are, for reports. */
  readonly name: string;
  /** A tensor that every network of the scheme has: what stands before it is a prefix of all of them. */
  readonly anchor: string;
  /** Those without a new name are of parts that networks of the kind have elsewhere and this one does not read. */
  readonly rules: readonly NameRule[];
  /** It changes few names, and the others are the network's own: it is tried before these, unless the network has its anchor itself. */
  readonly changesFew?: true;
}

/** Modules by their own name and the preset's: all tensors directly within them. */
const modules = (pairs: readonly (readonly [from: string, to: string])[]): readonly NameRule[] => pairs.map(([from, to]) => {
  const wildcards = from.split('*').length - 1;
  return { from: `${from}.*`, to: `${to}.$${wildcards + 1}` };
});

const TORCHVISION_BLOCK = 'encoder.layers.encoder_layer_*';

/** Layouts are the same: `nn.MultiheadAttention` stacks queries, keys and values in its `in_proj` as timm does in `attn.qkv`. */
const torchvisionVit: NamingScheme = {
  name: "torchvision's vision transformer",
  anchor: 'class_token',
  rules: [
    { from: 'class_token', to: 'cls_token' },
    { from: 'encoder.pos_embedding', to: 'pos_embed' },
    { from: `${TORCHVISION_BLOCK}.self_attention.in_proj_*`, to: 'blocks.$1.attn.qkv.$2' },
    ...modules([
      ['conv_proj', 'patch_embed.proj'],
      [`${TORCHVISION_BLOCK}.ln_1`, 'blocks.$1.norm1'],
      [`${TORCHVISION_BLOCK}.self_attention.out_proj`, 'blocks.$1.attn.proj'],
      [`${TORCHVISION_BLOCK}.ln_2`, 'blocks.$1.norm2'],
      [`${TORCHVISION_BLOCK}.mlp.0`, 'blocks.$1.mlp.fc1'],
      [`${TORCHVISION_BLOCK}.mlp.3`, 'blocks.$1.mlp.fc2'],
      // Before torchvision 0.13.
      [`${TORCHVISION_BLOCK}.mlp.linear_1`, 'blocks.$1.mlp.fc1'],
      [`${TORCHVISION_BLOCK}.mlp.linear_2`, 'blocks.$1.mlp.fc2'],
      ['encoder.ln', 'norm'],
      ['heads.head', 'head'],
    ]),
  ],
};

/** What transformers calls the parts of a block: in files that it saves, and from version 5 on in the network and its `state_dict`. */
const vitBlocks = {
  saved: {
    block: 'encoder.layer.*', attention: ['attention.attention.query', 'attention.attention.key', 'attention.attention.value'],
    projection: 'attention.output.dense', up: 'intermediate.dense', down: 'output.dense',
  },
  state: {
    block: 'layers.*', attention: ['attention.q_proj', 'attention.k_proj', 'attention.v_proj'],
    projection: 'attention.o_proj', up: 'mlp.fc1', down: 'mlp.fc2',
  },
} as const;

/**
 * Hugging Face keeps the network under its own name and the classifier beside it; a base model's file has neither that
 * name nor a classifier.
 * @param module `vit.`, or nothing for a base model.
 */
function huggingFaceVit(module: string, names: keyof typeof vitBlocks): NamingScheme {
  const { attention, projection, up, down, ...parts } = vitBlocks[names];
  const block = `${module}${parts.block}`;
  return {
    name: "Hugging Face's vision transformer",
    // Both kinds have a `cls_token`.
    anchor: names === 'saved' ? `${module}embeddings.cls_token` : `${module}${parts.block.replace('*', '0')}.${attention[0]}.weight`,
    rules: [
      // A base model's summary of its first token, which classifiers do without.
      { from: `${module}pooler.dense.*`, to: null },
      { from: `${module}embeddings.cls_token`, to: 'cls_token' },
      { from: `${module}embeddings.position_embeddings`, to: 'pos_embed' },
      ...attention.map((name, part): NameRule => ({ from: `${block}.${name}.*`, to: 'blocks.$1.attn.qkv.$2', part: [part, 3] })),
      ...modules([
        [`${module}embeddings.patch_embeddings.projection`, 'patch_embed.proj'],
        [`${block}.layernorm_before`, 'blocks.$1.norm1'],
        [`${block}.${projection}`, 'blocks.$1.attn.proj'],
        [`${block}.layernorm_after`, 'blocks.$1.norm2'],
        [`${block}.${up}`, 'blocks.$1.mlp.fc1'],
        [`${block}.${down}`, 'blocks.$1.mlp.fc2'],
        [`${module}layernorm`, 'norm'],
        ['classifier', 'head'],
      ]),
    ],
  };
}

/** A name of either kind as one of the other. */
function otherVitName(from: keyof typeof vitBlocks, to: keyof typeof vitBlocks): (name: string) => string {
  const partsOf = ({ attention, projection, up, down }: (typeof vitBlocks)[keyof typeof vitBlocks]): readonly string[] =>
    [...attention, projection, up, down, 'layernorm_before', 'layernorm_after'];
  const [theirs, ours] = [partsOf(vitBlocks[from]), partsOf(vitBlocks[to])];
  const block = vitBlocks[from].block.replaceAll('.', '\\.').replace('*', '(\\d+)');
  const pattern = new RegExp(`^(.*\\.)?${block}\\.(.+)\\.(weight|bias)$`);
  return (name) => {
    const [, module = '', layer = '', part = '', kind = ''] = pattern.exec(name) ?? [];
    const index = theirs.indexOf(part);
    return index < 0 ? name : `${module}${vitBlocks[to].block.replace('*', layer)}.${ours[index]}.${kind}`;
  };
}

/**
 * Under which names the tensors of a base's file may be known to an adapter: adapters have the names that the network had where they
 * were trained, and not those that files are saved by.
 */
export const adapterNames: readonly ((name: string) => string)[] = [
  (name) => name, otherVitName('saved', 'state'), otherVitName('state', 'saved'),
  // Of BERT's first release, which transformers renames as it loads.
  (name) => name.replace(/(?<=(^|\.)LayerNorm\.)(gamma|beta)$/, (kind) => (kind === 'gamma' ? 'weight' : 'bias')),
];

const STAGES = [0, 1, 2, 3] as const;

function huggingFaceResnet(module: string): NamingScheme {
  const layers = STAGES.flatMap((stage) => {
    const [from, to] = [`${module}encoder.stages.${stage}.layers.*`, `layer${stage + 1}.$1`];
    const convolutions = [0, 1, 2].flatMap(
      (k) =>
        [
          [`${from}.layer.${k}.convolution`, `${to}.conv${k + 1}`],
          [`${from}.layer.${k}.normalization`, `${to}.bn${k + 1}`],
        ] as const,
    );
    return [
      ...convolutions,
      [`${from}.shortcut.convolution`, `${to}.downsample.0`],
      [`${from}.shortcut.normalization`, `${to}.downsample.1`],
    ] as const;
  });
  return {
    name: "Hugging Face's ResNet",
    anchor: `${module}embedder.embedder.convolution.weight`,
    rules: modules([
      [`${module}embedder.embedder.convolution`, 'conv1'],
      [`${module}embedder.embedder.normalization`, 'bn1'],
      ...layers,
      ['classifier.1', 'fc'],
    ]),
  };
}

/** What the three publishers of ConvNeXt call the parts that torchvision numbers. */
interface ConvnextNames {
  readonly stem: string;
  readonly stemNorm: string;
  /** Norm and convolution before a later stage. */
  readonly reduction: (stage: number) => string;
  readonly block: (stage: number) => string;
  /** Depthwise convolution, norm, both dense layers, and the scale, a tensor by itself. */
  readonly inBlock: readonly [convolution: string, norm: string, up: string, down: string, scale: string];
  readonly norm: string;
  readonly head: string;
}

function convnext(name: string, { stem, stemNorm, reduction, block, inBlock, norm, head }: ConvnextNames): NamingScheme {
  const [convolution, blockNorm, up, down, scale] = inBlock;
  return {
    name,
    anchor: `${stem}.weight`,
    rules: [
      ...STAGES.map((stage): NameRule => ({ from: `${block(stage)}.*.${scale}`, to: `features.${2 * stage + 1}.$1.layer_scale` })),
      ...modules([
        [stem, 'features.0.0'], [stemNorm, 'features.0.1'], [norm, 'classifier.0'], [head, 'classifier.2'],
        ...STAGES.flatMap((stage): readonly (readonly [string, string])[] => {
          const [from, to] = [`${block(stage)}.*`, `features.${2 * stage + 1}.$1.block`];
          return [
            [`${from}.${convolution}`, `${to}.0`],
            [`${from}.${blockNorm}`, `${to}.2`],
            [`${from}.${up}`, `${to}.3`],
            [`${from}.${down}`, `${to}.5`],
            ...(stage === 0 ? [] : [0, 1].map((k) => [`${reduction(stage)}.${k}`, `features.${2 * stage}.${k}`] as const)),
          ];
        }),
      ]),
    ],
  };
}

function huggingFaceConvnext(module: string): NamingScheme {
  return convnext("Hugging Face's ConvNeXt", {
    stem: `${module}embeddings.patch_embeddings`,
    stemNorm: `${module}embeddings.layernorm`,
    reduction: (stage) => `${module}encoder.stages.${stage}.downsampling_layer`,
    block: (stage) => `${module}encoder.stages.${stage}.layers`,
    inBlock: ['dwconv', 'layernorm', 'pwconv1', 'pwconv2', 'layer_scale_parameter'],
    norm: `${module}layernorm`,
    head: 'classifier',
  });
}

const timmConvnext = convnext("timm's ConvNeXt", {
  stem: 'stem.0', stemNorm: 'stem.1', reduction: (stage) => `stages.${stage}.downsample`, block: (stage) => `stages.${stage}.blocks`,
  inBlock: ['conv_dw', 'norm', 'mlp.fc1', 'mlp.fc2', 'gamma'], norm: 'head.norm', head: 'head.fc',
});

const authorsConvnext = convnext("the ConvNeXt authors' code", {
  stem: 'downsample_layers.0.0',
  stemNorm: 'downsample_layers.0.1',
  reduction: (stage) => `downsample_layers.${stage}`,
  block: (stage) => `stages.${stage}`,
  inBlock: ['dwconv', 'norm', 'pwconv1', 'pwconv2', 'gamma'],
  norm: 'norm',
  head: 'head',
});

/** Blocks of each stage of MobileNetV2: timm counts within stages, torchvision through them all. */
const MOBILENET_BLOCKS = [1, 2, 3, 4, 3, 3, 1] as const;

/**
 * Not that of Hugging Face, whose weights come from TensorFlow: its strides pad right and bottom, so the same weights
 * are another network.
 */
const timmMobilenetV2: NamingScheme = {
  name: "timm's MobileNetV2",
  anchor: 'conv_stem.weight',
  rules: modules([
    ['conv_stem', 'features.0.0'],
    ['bn1', 'features.0.1'],
    ['conv_head', 'features.18.0'],
    ['bn2', 'features.18.1'],
    ['classifier', 'classifier.1'],
    ...MOBILENET_BLOCKS.flatMap((blocks, stage) =>
      Array.from({ length: blocks }, (_, index): readonly (readonly [string, string])[] => {
        const before = MOBILENET_BLOCKS.slice(0, stage).reduce((sum, count) => sum + count, 0);
        const [from, to] = [`blocks.${stage}.${index}`, `features.${1 + before + index}.conv`];
        // The first has no expansion, so that its convolutions are one fewer.
        if (stage === 0)
          return [
            [`${from}.conv_dw`, `${to}.0.0`],
            [`${from}.bn1`, `${to}.0.1`],
            [`${from}.conv_pw`, `${to}.1`],
            [`${from}.bn2`, `${to}.2`],
          ];
        return [
          [`${from}.conv_pw`, `${to}.0.0`],
          [`${from}.bn1`, `${to}.0.1`],
          [`${from}.conv_dw`, `${to}.1.0`],
          [`${from}.bn2`, `${to}.1.1`],
          [`${from}.conv_pwl`, `${to}.2`],
          [`${from}.bn3`, `${to}.3`],
        ];
      }).flat(),
    ),
  ]),
};

/** As the authors' TensorFlow checkpoints have it; the model.safetensors of bert-base-uncased still does. */
const olderBert: NamingScheme = {
  name: "BERT's first release",
  anchor: 'embeddings.LayerNorm.gamma',
  rules: [
    { from: '**.LayerNorm.gamma', to: '$1.LayerNorm.weight' },
    { from: '**.LayerNorm.beta', to: '$1.LayerNorm.bias' },
  ],
  changesFew: true,
};

/** Heads that bases are published with, under the very names of the rest: by a tensor of the network, what they are called. */
const otherHeads: readonly (readonly [network: string, names: RegExp])[] = [
  // DistilBERT as a masked language model.
  ['distilbert.embeddings.word_embeddings.weight', /^vocab_(transform|layer_norm|projector)\.(weight|bias)$/],
  // BERT as one, and as what tells whether a sentence follows another.
  ['bert.embeddings.word_embeddings.weight', /^cls\.(predictions\.(decoder|transform\.dense)|seq_relationship)\.(weight|bias)$/],
  ['bert.embeddings.word_embeddings.weight', /^cls\.predictions\.(bias|transform\.LayerNorm\.(weight|bias|gamma|beta))$/],
];

/** Whether a tensor that the network lacks is of another head that its base is published with. */
export function isOtherHead(name: string, network: ReadonlyMap<string, unknown>): boolean {
  return otherHeads.some(([tensor, names]) => network.has(tensor) && names.test(name));
}

/** A base model's names end those of the same model with a classifier, so they come after them. */
const schemes: readonly NamingScheme[] = [
  torchvisionVit, huggingFaceVit('vit.', 'state'), huggingFaceVit('', 'state'), huggingFaceVit('vit.', 'saved'), huggingFaceVit('', 'saved'),
  huggingFaceResnet('resnet.'), huggingFaceResnet(''), huggingFaceConvnext('convnext.'), huggingFaceConvnext(''), timmConvnext, authorsConvnext, timmMobilenetV2, olderBert,
];

/** A scheme with its rules under the prefix that its names have in a file. */
export type FoundScheme = Pick<NamingScheme, 'name' | 'rules' | 'changesFew'>;

/** The schemes that `names` may be of; none of which there are several networks. `network`: the names that are to come out. */
export function namingSchemesOf(names: Iterable<string>, network: Iterable<string>): readonly FoundScheme[] {
  const [list, own] = [[...names], [...network]];
  return schemes.flatMap((scheme): FoundScheme[] => {
    const { anchor, rules, changesFew } = scheme;
    const isAnchor = (one: string): boolean => one === anchor || one.endsWith(`.${anchor}`);
    const prefixes = list.filter(isAnchor).map((one) => one.slice(0, -anchor.length));
    const [prefix] = prefixes;
    // Of rules, these are wildcards and references.
    if (prefix === undefined || prefixes.length > 1 || /[*$]/.test(prefix)) return [];
    if (changesFew && own.some(isAnchor)) return [];
    const within = (rule: NameRule): NameRule => ({ ...rule, from: prefix + rule.from, to: rule.to === null ? null : prefix + rule.to });
    return [{ ...scheme, rules: rules.map(within) }];
  });
}
