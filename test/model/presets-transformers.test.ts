/** Presets of transformers and their kin against what timm, Hugging Face and torchvision publish: counts, names, shapes. */
import { describe, expect, test } from 'vitest';
import { labelsPerInput, outputClasses, parameterLayout, type ModelGraph } from '../../src/model/graph.ts';
import { lintPermutationSpec } from '../../src/model/permutation-lint.ts';
import { derivePermutationSpec } from '../../src/model/permutation-spec.ts';
import { preset, type PresetName, type PresetOptions } from '../../src/model/presets.ts';
import { elementCount } from '../../src/tensor/tensor.ts';

const imageNet: PresetOptions = { input: [3, 224, 224], classes: 1000 };
const gpt2: PresetOptions = { input: [1024], classes: 50_257 };

const count = (graph: ModelGraph): number => parameterLayout(graph).parameters.reduce((sum, { shape }) => sum + elementCount(shape), 0);
const shapesOf = (graph: ModelGraph): Map<string, readonly number[]> =>
  new Map(parameterLayout(graph).parameters.map(({ name, shape }) => [name, shape]));

describe('published sizes', () => {
  test.each<[string, PresetName, PresetOptions, number, number]>([
    // name, preset, options, numbers, tensors of the published state dict
    ['vit_tiny_patch16_224', 'vit', imageNet, 5_717_416, 152],
    ['vit_small_patch16_224', 'vit', { ...imageNet, width: 384 }, 22_050_664, 152],
    ['gpt2', 'gpt2', gpt2, 124_439_808, 148],
    ['gpt2-medium', 'gpt2', { ...gpt2, width: 1024, depth: 24 }, 354_823_168, 292],
    ['distilbert-base-uncased, two classes', 'distilbert', { input: [128], classes: 2 }, 66_955_010, 104],
    ['bert-base-uncased, two classes', 'bert', { input: [128], classes: 2 }, 109_483_778, 201],
    ['mixer_b16_224', 'mixer', imageNet, 59_880_472, 150],
    ['mixer_s16_224', 'mixer', { ...imageNet, width: 512, depth: 8 }, 18_528_264, 102],
    ['convnext_tiny', 'convnext', imageNet, 28_589_128, 182],
  ])('%s', (_published, name, options, numbers, tensors) => {
    const graph = preset(name, options);
    expect(count(graph)).toBe(numbers);
    expect(parameterLayout(graph).parameters).toHaveLength(tensors);
    expect(parameterLayout(graph).buffers).toEqual([]);
  });

  test('names and shapes of vit_tiny_patch16_224 (timm)', () => {
    const shapes = shapesOf(preset('vit', imageNet));
    expect(Object.fromEntries([...shapes].filter(([name]) => !/^blocks\.([1-9]|1\d)\./.test(name)))).toEqual({
      cls_token: [1, 1, 192],
      pos_embed: [1, 197, 192],
      'patch_embed.proj.weight': [192, 3, 16, 16],
      'patch_embed.proj.bias': [192],
      'blocks.0.norm1.weight': [192],
      'blocks.0.norm1.bias': [192],
      'blocks.0.attn.qkv.weight': [576, 192],
      'blocks.0.attn.qkv.bias': [576],
      'blocks.0.attn.proj.weight': [192, 192],
      'blocks.0.attn.proj.bias': [192],
      'blocks.0.norm2.weight': [192],
      'blocks.0.norm2.bias': [192],
      'blocks.0.mlp.fc1.weight': [768, 192],
      'blocks.0.mlp.fc1.bias': [768],
      'blocks.0.mlp.fc2.weight': [192, 768],
      'blocks.0.mlp.fc2.bias': [192],
      'norm.weight': [192],
      'norm.bias': [192],
      'head.weight': [1000, 192],
      'head.bias': [1000],
    });
    expect(shapes.has('blocks.11.mlp.fc2.bias')).toBe(true);
  });

  test('names and shapes of GPT-2 (Hugging Face): Conv1D weights are [in, out], the head has none of its own', () => {
    const shapes = shapesOf(preset('gpt2', gpt2));
    expect(Object.fromEntries([...shapes].filter(([name]) => !/\.h\.([1-9]|1\d)\./.test(name)))).toEqual({
      'transformer.wte.weight': [50_257, 768],
      'transformer.wpe.weight': [1024, 768],
      'transformer.h.0.ln_1.weight': [768],
      'transformer.h.0.ln_1.bias': [768],
      'transformer.h.0.attn.c_attn.weight': [768, 2304],
      'transformer.h.0.attn.c_attn.bias': [2304],
      'transformer.h.0.attn.c_proj.weight': [768, 768],
      'transformer.h.0.attn.c_proj.bias': [768],
      'transformer.h.0.ln_2.weight': [768],
      'transformer.h.0.ln_2.bias': [768],
      'transformer.h.0.mlp.c_fc.weight': [768, 3072],
      'transformer.h.0.mlp.c_fc.bias': [3072],
      'transformer.h.0.mlp.c_proj.weight': [3072, 768],
      'transformer.h.0.mlp.c_proj.bias': [768],
      'transformer.ln_f.weight': [768],
      'transformer.ln_f.bias': [768],
    });
  });

  test('names and shapes of DistilBERT (Hugging Face)', () => {
    const shapes = shapesOf(preset('distilbert', { input: [128], classes: 2 }));
    expect(Object.fromEntries([...shapes].filter(([name]) => !/\.layer\.[1-5]\./.test(name)))).toEqual({
      'distilbert.embeddings.word_embeddings.weight': [30_522, 768],
      'distilbert.embeddings.position_embeddings.weight': [512, 768],
      'distilbert.embeddings.LayerNorm.weight': [768],
      'distilbert.embeddings.LayerNorm.bias': [768],
      'distilbert.transformer.layer.0.attention.q_lin.weight': [768, 768],
      'distilbert.transformer.layer.0.attention.q_lin.bias': [768],
      'distilbert.transformer.layer.0.attention.k_lin.weight': [768, 768],
      'distilbert.transformer.layer.0.attention.k_lin.bias': [768],
      'distilbert.transformer.layer.0.attention.v_lin.weight': [768, 768],
      'distilbert.transformer.layer.0.attention.v_lin.bias': [768],
      'distilbert.transformer.layer.0.attention.out_lin.weight': [768, 768],
      'distilbert.transformer.layer.0.attention.out_lin.bias': [768],
      'distilbert.transformer.layer.0.sa_layer_norm.weight': [768],
      'distilbert.transformer.layer.0.sa_layer_norm.bias': [768],
      'distilbert.transformer.layer.0.ffn.lin1.weight': [3072, 768],
      'distilbert.transformer.layer.0.ffn.lin1.bias': [3072],
      'distilbert.transformer.layer.0.ffn.lin2.weight': [768, 3072],
      'distilbert.transformer.layer.0.ffn.lin2.bias': [768],
      'distilbert.transformer.layer.0.output_layer_norm.weight': [768],
      'distilbert.transformer.layer.0.output_layer_norm.bias': [768],
      'pre_classifier.weight': [768, 768],
      'pre_classifier.bias': [768],
      'classifier.weight': [2, 768],
      'classifier.bias': [2],
    });
    expect(shapes.has('distilbert.transformer.layer.5.output_layer_norm.bias')).toBe(true);
  });

  test('names and shapes of BERT (Hugging Face)', () => {
    const graph = preset('bert', { input: [128], classes: 2 });
    const shapes = shapesOf(graph);
    expect(Object.fromEntries([...shapes].filter(([name]) => !/\.layer\.([1-9]|1\d)\./.test(name)))).toEqual({
      'bert.embeddings.word_embeddings.weight': [30_522, 768],
      'bert.embeddings.position_embeddings.weight': [512, 768],
      'bert.embeddings.token_type_embeddings.weight': [2, 768],
      'bert.embeddings.LayerNorm.weight': [768],
      'bert.embeddings.LayerNorm.bias': [768],
      'bert.encoder.layer.0.attention.self.query.weight': [768, 768],
      'bert.encoder.layer.0.attention.self.query.bias': [768],
      'bert.encoder.layer.0.attention.self.key.weight': [768, 768],
      'bert.encoder.layer.0.attention.self.key.bias': [768],
      'bert.encoder.layer.0.attention.self.value.weight': [768, 768],
      'bert.encoder.layer.0.attention.self.value.bias': [768],
      'bert.encoder.layer.0.attention.output.dense.weight': [768, 768],
      'bert.encoder.layer.0.attention.output.dense.bias': [768],
      'bert.encoder.layer.0.attention.output.LayerNorm.weight': [768],
      'bert.encoder.layer.0.attention.output.LayerNorm.bias': [768],
      'bert.encoder.layer.0.intermediate.dense.weight': [3072, 768],
      'bert.encoder.layer.0.intermediate.dense.bias': [3072],
      'bert.encoder.layer.0.output.dense.weight': [768, 3072],
      'bert.encoder.layer.0.output.dense.bias': [768],
      'bert.encoder.layer.0.output.LayerNorm.weight': [768],
      'bert.encoder.layer.0.output.LayerNorm.bias': [768],
      'bert.pooler.dense.weight': [768, 768],
      'bert.pooler.dense.bias': [768],
      'classifier.weight': [2, 768],
      'classifier.bias': [2],
    });
    expect(shapes.has('bert.encoder.layer.11.output.LayerNorm.bias')).toBe(true);
    // What the names and shapes do not tell. In f32 the other order of the two tables would round otherwise.
    expect(graph.nodes.slice(0, 3).map(({ name, inputs }) => [name, inputs])).toEqual([
      ['bert.embeddings.word_embeddings', ['input']],
      ['bert.embeddings.token_type_embeddings', ['bert.embeddings.word_embeddings']],
      ['bert.embeddings.position_embeddings', ['bert.embeddings.token_type_embeddings']],
    ]);
    const settings = (op: string): object[] => graph.nodes.flatMap((node) => (node.op === op ? [{ ...node, name: '', inputs: [] }] : []));
    const shared = { name: '', inputs: [] };
    expect(settings('layer_norm')).toEqual(Array.from({ length: 25 }, () => ({ op: 'layer_norm', epsilon: 1e-12, ...shared })));
    expect(settings('gelu')).toEqual(Array.from({ length: 12 }, () => ({ op: 'gelu', approximate: 'none', ...shared })));
    const attention = { op: 'attention', heads: 12, key_heads: 12, causal: false, masked: true, ...shared };
    expect(settings('attention')).toEqual(Array.from({ length: 12 }, () => attention));
  });

  test.each<[string, Partial<PresetOptions>, number | undefined]>([
    ['102 of the published vocabulary', {}, 102],
    ['102 of the smallest that has it', { vocabulary: 103 }, 102],
    ['none of a smaller one', { vocabulary: 102 }, undefined],
    ['that of the option', { separator: 4 }, 4],
    ['that of the option, in a smaller vocabulary', { vocabulary: 9, separator: 8 }, 8],
  ])("BERT's separator is %s", (_, options, separator) => {
    const graph = preset('bert', { input: [8], classes: 2, width: 8, depth: 1, heads: 1, ...options });
    expect(graph.nodes.flatMap((node) => (node.op === 'type_embedding' ? [node] : []))).toEqual([
      {
        op: 'type_embedding', name: 'bert.embeddings.token_type_embeddings', inputs: ['bert.embeddings.word_embeddings'], types: 2,
        ...(separator === undefined ? {} : { separator }),
      },
    ]);
  });

  test.each([0, 9, -1, 1.5])('a separator of %d is refused in a vocabulary of 9, whose 0 is padding', (separator) => {
    expect(() => preset('bert', { input: [8], classes: 2, width: 8, depth: 1, vocabulary: 9, separator })).toThrow(
      `separator: expected an integer in [1, 8], got ${separator}`,
    );
  });

  test.each<[PresetName, PresetOptions, Record<string, number[]>]>([
    [
      'mixer',
      imageNet,
      {
        'stem.proj.weight': [768, 3, 16, 16],
        'blocks.11.norm1.bias': [768],
        'blocks.0.mlp_tokens.fc1.weight': [384, 196],
        'blocks.0.mlp_tokens.fc2.weight': [196, 384],
        'blocks.3.mlp_channels.fc1.weight': [3072, 768],
        'norm.weight': [768],
        'head.bias': [1000],
      },
    ],
    [
      'convnext',
      imageNet,
      {
        'features.0.0.weight': [96, 3, 4, 4],
        'features.0.1.bias': [96],
        'features.1.0.layer_scale': [96, 1, 1],
        'features.1.2.block.0.weight': [96, 1, 7, 7],
        'features.1.0.block.2.weight': [96],
        'features.1.0.block.3.weight': [384, 96],
        'features.1.0.block.5.weight': [96, 384],
        'features.2.0.weight': [96],
        'features.2.1.weight': [192, 96, 2, 2],
        'features.5.8.block.5.bias': [384],
        'features.7.2.layer_scale': [768, 1, 1],
        'classifier.0.weight': [768],
        'classifier.2.weight': [1000, 768],
      },
    ],
    ['vit', { input: [3, 32, 32], classes: 10, patch: 4 }, { pos_embed: [1, 65, 192], 'patch_embed.proj.weight': [192, 3, 4, 4] }],
  ])('names and shapes of %s', (name, options, expected) => {
    const shapes = shapesOf(preset(name, options));
    for (const [tensor, shape] of Object.entries(expected)) expect(shapes.get(tensor), tensor).toEqual(shape);
  });
});

test('heads are of one width', () => {
  const refused = /^heads: expected a divisor of the width, 64, got 5$/;
  expect(() => preset('gpt2', { input: [8], classes: 10, width: 64, depth: 1, heads: 5 })).toThrow(refused);
  expect(() => preset('vit', { input: [3, 32, 32], classes: 10, width: 64, depth: 1, heads: 5 })).toThrow(refused);
});

test.each(['distilbert', 'bert'] as const)('%s has one label a sequence, 0 for padding, at least as many positions as tokens', (name) => {
  const graph = preset(name, { input: [600], classes: 3, width: 8, depth: 1, heads: 2, vocabulary: 31 });
  expect([outputClasses(graph), labelsPerInput(graph), graph.vocabulary, graph.padding]).toEqual([3, 1, 31, 0]);
  expect(shapesOf(graph).get(`${name}.embeddings.position_embeddings.weight`)).toEqual([600, 8]);
  expect(() => preset(name, { input: [600], classes: 3, positions: 512 })).toThrow(/^positions: expected an integer .*600/);
});

describe('a language model', () => {
  test('scores every token', () => {
    const graph = preset('gpt2', { input: [12], classes: 31, width: 8, depth: 1, heads: 2 });
    expect(outputClasses(graph)).toBe(31);
    expect(labelsPerInput(graph)).toBe(12);
  });

  test('wants token numbers, and so does a classifier of text', () => {
    expect(() => preset('distilbert', { input: [1, 28, 28], classes: 10 })).toThrow(/input: expected \[tokens\]/);
    expect(() => preset('bert', { input: [1, 28, 28], classes: 10 })).toThrow(/input: expected \[tokens\]/);
    expect(() => preset('gpt2', { input: [1, 28, 28], classes: 10 })).toThrow(/input: expected \[tokens\]/);
  });
});

test.each<[PresetName, PresetOptions, string[]]>([
  ['vit', { input: [3, 32, 32], classes: 10, depth: 1 }, ['patch_embed.proj', 'blocks.0.attn.qkv', 'blocks.0.mlp.fc1']],
  [
    'gpt2',
    { input: [8], classes: 100, depth: 1, width: 64, heads: 4 },
    ['transformer.wte', 'transformer.h.0.attn.c_attn', 'transformer.h.0.mlp.c_fc'],
  ],
  [
    'distilbert',
    { input: [8], classes: 3, depth: 1, width: 64, heads: 4, vocabulary: 100 },
    [
      'distilbert.embeddings.word_embeddings', 'distilbert.transformer.layer.0.attention.q_lin', 'distilbert.transformer.layer.0.ffn.lin1',
      'pre_classifier',
    ],
  ],
  [
    'bert',
    { input: [8], classes: 3, depth: 1, width: 64, heads: 4, vocabulary: 100 },
    [
      'bert.embeddings.word_embeddings', 'bert.encoder.layer.0.attention.self.query', 'bert.encoder.layer.0.intermediate.dense',
      'bert.pooler.dense',
    ],
  ],
  [
    'mixer',
    { input: [3, 32, 32], classes: 10, depth: 1, width: 32 },
    ['stem.proj', 'blocks.0.mlp_tokens.fc1', 'blocks.0.mlp_channels.fc1'],
  ],
])('groups of one block of %s: the residual stream is one, and each block has its own', (name, options, groups) => {
  const graph = preset(name, options);
  const spec = derivePermutationSpec(graph);
  expect(spec.groups.map(({ id }) => id).toSorted()).toEqual(groups.toSorted());
  expect(lintPermutationSpec(graph, spec)).toEqual([]);
  const heads = spec.groups.find(({ structure }) => structure !== undefined);
  if (name === 'vit') expect(heads?.structure).toEqual({ blocks: 3, parts: [64, 64] });
  if (/^(gpt2|distilbert|bert)$/.test(name)) expect(heads?.structure).toEqual({ blocks: 4, parts: [16, 16] });
});
