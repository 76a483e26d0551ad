/**
 * Presets against torchvision's state dicts: every name and shape, in order, from lists written here by its modules (not from our
 * builder), parameter counts as published, and loading of a file with these names.
 */
import { describe, expect, test } from 'vitest';
import { writeSafetensors, type RawTensor } from '../../src/bundle/safetensors.ts';
import { readForeign } from '../../src/bundle/foreign/formats.ts';
import { stateFromForeign } from '../../src/bundle/foreign/network.ts';
import { inferShapes, parameterLayout } from '../../src/model/graph.ts';
import { preset, type PresetName, type PresetOptions } from '../../src/model/presets.ts';
import { mobilenetPresets } from '../../src/model/presets-mobilenet.ts';
import { torchvisionPresets } from '../../src/model/presets-torchvision.ts';

type Entry = readonly [name: string, shape: readonly number[]];

const conv = (name: string, out: number, from: number, kernel: number): Entry => [`${name}.weight`, [out, from, kernel, kernel]];
const bias = (name: string, out: number): Entry => [`${name}.bias`, [out]];
const linear = (name: string, out: number, from: number): Entry[] => [[`${name}.weight`, [out, from]], bias(name, out)];
const norm = (name: string, channels: number): Entry[] =>
  ['weight', 'bias', 'running_mean', 'running_var'].map((suffix): Entry => [`${name}.${suffix}`, [channels]]);

function resnet(counts: readonly number[], bottleneck: boolean, classes: number, stem: number): Entry[] {
  const entries: Entry[] = [conv('conv1', 64, 3, stem), ...norm('bn1', 64)];
  let from = 64;
  for (const [stage, count] of counts.entries()) {
    const planes = [64, 128, 256, 512][stage] as number;
    const out = bottleneck ? planes * 4 : planes;
    for (let block = 0; block < count; block++) {
      const name = `layer${stage + 1}.${block}`;
      const kernels = bottleneck ? [1, 3, 1] : [3, 3];
      const widths = bottleneck ? [planes, planes, out] : [planes, out];
      let inner = from;
      for (const [i, kernel] of kernels.entries()) {
        entries.push(conv(`${name}.conv${i + 1}`, widths[i] as number, inner, kernel), ...norm(`${name}.bn${i + 1}`, widths[i] as number));
        inner = widths[i] as number;
      }
      if (block === 0 && (stage > 0 || bottleneck))
        entries.push(conv(`${name}.downsample.0`, out, from, 1), ...norm(`${name}.downsample.1`, out));
      from = out;
    }
  }
  return [...entries, ...linear('fc', classes, from)];
}

/** torchvision's `cfgs`: 'M' is a pooling. */
const cfgs = {
  A: [64, 'M', 128, 'M', 256, 256, 'M', 512, 512, 'M', 512, 512, 'M'],
  B: [64, 64, 'M', 128, 128, 'M', 256, 256, 'M', 512, 512, 'M', 512, 512, 'M'],
  D: [64, 64, 'M', 128, 128, 'M', 256, 256, 256, 'M', 512, 512, 512, 'M', 512, 512, 512, 'M'],
  E: [64, 64, 'M', 128, 128, 'M', 256, 256, 256, 256, 'M', 512, 512, 512, 512, 'M', 512, 512, 512, 512, 'M'],
} as const;

function vgg(cfg: keyof typeof cfgs, batchNorm: boolean): Entry[] {
  const entries: Entry[] = [];
  let position = 0;
  let from = 3;
  for (const item of cfgs[cfg]) {
    if (item === 'M') {
      position += 1;
      continue;
    }
    entries.push(conv(`features.${position}`, item, from, 3), bias(`features.${position}`, item));
    if (batchNorm) entries.push(...norm(`features.${position + 1}`, item));
    position += batchNorm ? 3 : 2;
    from = item;
  }
  return [
    ...entries,
    ...linear('classifier.0', 4096, 25_088),
    ...linear('classifier.3', 4096, 4096),
    ...linear('classifier.6', 1000, 4096),
  ];
}

/** Input and output channels of the seventeen blocks features.1 … features.17. */
const mobileBlocks = [
  [32, 16], [16, 24], [24, 24], [24, 32], [32, 32], [32, 32], [32, 64], [64, 64], [64, 64], [64, 64], [64, 96], [96, 96], [96, 96],
  [96, 160], [160, 160], [160, 160], [160, 320],
] as const;

function mobilenetV2(classes: number): Entry[] {
  const entries: Entry[] = [conv('features.0.0', 32, 3, 3), ...norm('features.0.1', 32)];
  for (const [i, [from, out]] of mobileBlocks.entries()) {
    const name = `features.${i + 1}.conv`;
    if (i === 0) {
      entries.push(conv(`${name}.0.0`, 32, 1, 3), ...norm(`${name}.0.1`, 32), conv(`${name}.1`, 16, 32, 1), ...norm(`${name}.2`, 16));
      continue;
    }
    const hidden = 6 * from;
    entries.push(
      conv(`${name}.0.0`, hidden, from, 1),
      ...norm(`${name}.0.1`, hidden),
      conv(`${name}.1.0`, hidden, 1, 3),
      ...norm(`${name}.1.1`, hidden),
      conv(`${name}.2`, out, hidden, 1),
      ...norm(`${name}.3`, out),
    );
  }
  return [...entries, conv('features.18.0', 1280, 320, 1), ...norm('features.18.1', 1280), ...linear('classifier.1', classes, 1280)];
}

/** `Conv2dNormActivation`: a convolution `0` and its norm `1`. */
const convNorm = (name: string, out: number, from: number, kernel: number): Entry[] => [
  conv(`${name}.0`, out, from, kernel), ...norm(`${name}.1`, out),
];
const withBias = (name: string, out: number, from: number): Entry[] => [conv(name, out, from, 1), bias(name, out)];

/** Channels in, within and out, kernel, channels between the two convolutions of squeeze and excitation (0: none). */
type ExcitedBlock = readonly [from: number, expanded: number, out: number, kernel: number, squeezed: number];

function excitedBlock(name: string, [from, expanded, out, kernel, squeezed]: ExcitedBlock): Entry[] {
  const parts: ((part: string) => Entry[])[] = [];
  if (expanded !== from) parts.push((part) => convNorm(part, expanded, from, 1));
  parts.push((part) => convNorm(part, expanded, 1, kernel));
  if (squeezed > 0) parts.push((part) => [...withBias(`${part}.fc1`, squeezed, expanded), ...withBias(`${part}.fc2`, expanded, squeezed)]);
  parts.push((part) => convNorm(part, out, expanded, 1));
  return parts.flatMap((entries, i) => entries(`${name}.block.${i}`));
}

const v3Large: readonly ExcitedBlock[] = [
  [16, 16, 16, 3, 0], [16, 64, 24, 3, 0], [24, 72, 24, 3, 0], [24, 72, 40, 5, 24], [40, 120, 40, 5, 32], [40, 120, 40, 5, 32],
  [40, 240, 80, 3, 0], [80, 200, 80, 3, 0], [80, 184, 80, 3, 0], [80, 184, 80, 3, 0], [80, 480, 112, 3, 120], [112, 672, 112, 3, 168],
  [112, 672, 160, 5, 168], [160, 960, 160, 5, 240], [160, 960, 160, 5, 240],
];

const v3Small: readonly ExcitedBlock[] = [
  [16, 16, 16, 3, 8], [16, 72, 24, 3, 0], [24, 88, 24, 3, 0], [24, 96, 40, 5, 24], [40, 240, 40, 5, 64], [40, 240, 40, 5, 64],
  [40, 120, 48, 5, 32], [48, 144, 48, 5, 40], [48, 288, 96, 5, 72], [96, 576, 96, 5, 144], [96, 576, 96, 5, 144],
];

/** The same at half width: products rounded to multiples of 8, and not below nine tenths. */
const v3SmallHalved: readonly ExcitedBlock[] = [
  [8, 8, 8, 3, 8], [8, 40, 16, 3, 0], [16, 48, 16, 3, 0], [16, 48, 24, 5, 16], [24, 120, 24, 5, 32], [24, 120, 24, 5, 32],
  [24, 64, 24, 5, 16], [24, 72, 24, 5, 24], [24, 144, 48, 5, 40], [48, 288, 48, 5, 72], [48, 288, 48, 5, 72],
];

function mobilenetV3(blocks: readonly ExcitedBlock[], hidden: number, classes: number): Entry[] {
  const [first, last] = [blocks[0]?.[0] as number, blocks.at(-1)?.[2] as number];
  return [
    ...convNorm('features.0', first, 3, 3),
    ...blocks.flatMap((block, i) => excitedBlock(`features.${i + 1}`, block)),
    ...convNorm(`features.${blocks.length + 1}`, 6 * last, last, 1),
    ...linear('classifier.0', hidden, 6 * last),
    ...linear('classifier.3', classes, hidden),
  ];
}

/** Stage by stage, features.1 … features.7. */
const b0: readonly (readonly ExcitedBlock[])[] = [
  [[32, 32, 16, 3, 8]],
  [[16, 96, 24, 3, 4], [24, 144, 24, 3, 6]],
  [[24, 144, 40, 5, 6], [40, 240, 40, 5, 10]],
  [[40, 240, 80, 3, 10], [80, 480, 80, 3, 20], [80, 480, 80, 3, 20]],
  [[80, 480, 112, 5, 20], [112, 672, 112, 5, 28], [112, 672, 112, 5, 28]],
  [[112, 672, 192, 5, 28], [192, 1152, 192, 5, 48], [192, 1152, 192, 5, 48], [192, 1152, 192, 5, 48]],
  [[192, 1152, 320, 3, 48]],
];

function efficientnetB0(classes: number): Entry[] {
  return [
    ...convNorm('features.0', 32, 3, 3),
    ...b0.flatMap((blocks, stage) => blocks.flatMap((block, i) => excitedBlock(`features.${stage + 1}.${i}`, block))),
    ...convNorm('features.8', 1280, 320, 1),
    ...linear('classifier.1', classes, 1280),
  ];
}

const imageNet: PresetOptions = { input: [3, 224, 224], classes: 1000 };
const small: PresetOptions = { input: [3, 32, 32], classes: 10, stem: 'cifar' };

/** The last number: parameters as torchvision publishes them with its weights; of the small ones by their lists. */
const cases: readonly (readonly [PresetName, PresetOptions, readonly Entry[], number])[] = [
  ['resnet18', imageNet, resnet([2, 2, 2, 2], false, 1000, 7), 11_689_512],
  ['resnet34', imageNet, resnet([3, 4, 6, 3], false, 1000, 7), 21_797_672],
  ['resnet50', imageNet, resnet([3, 4, 6, 3], true, 1000, 7), 25_557_032],
  ['resnet101', imageNet, resnet([3, 4, 23, 3], true, 1000, 7), 44_549_160],
  ['resnet152', imageNet, resnet([3, 8, 36, 3], true, 1000, 7), 60_192_808],
  ['resnet18', small, resnet([2, 2, 2, 2], false, 10, 3), 11_173_962],
  ['vgg11', imageNet, vgg('A', false), 132_863_336],
  ['vgg11_bn', imageNet, vgg('A', true), 132_868_840],
  ['vgg13', imageNet, vgg('B', false), 133_047_848],
  ['vgg13_bn', imageNet, vgg('B', true), 133_053_736],
  ['vgg16', imageNet, vgg('D', false), 138_357_544],
  ['vgg16_bn', imageNet, vgg('D', true), 138_365_992],
  ['vgg19', imageNet, vgg('E', false), 143_667_240],
  ['vgg19_bn', imageNet, vgg('E', true), 143_678_248],
  ['vgg16', { ...imageNet, input: [3, 32, 32], stem: 'imagenet' }, vgg('D', false), 138_357_544],
  ['mobilenet_v2', imageNet, mobilenetV2(1000), 3_504_872],
  ['mobilenet_v2', small, mobilenetV2(10), 2_236_682],
  ['mobilenet_v3_large', imageNet, mobilenetV3(v3Large, 1280, 1000), 5_483_032],
  ['mobilenet_v3_small', imageNet, mobilenetV3(v3Small, 1024, 1000), 2_542_856],
  ['mobilenet_v3_small', { ...small, width: 0.5 }, mobilenetV3(v3SmallHalved, 512, 10), 409_394],
  ['efficientnet_b0', imageNet, efficientnetB0(1000), 5_288_548],
  ['efficientnet_b0', small, efficientnetB0(10), 4_020_358],
];

const size = (shape: readonly number[]): number => shape.reduce((product, extent) => product * extent, 1);

test('every preset with these names has its list', () => {
  const listed = new Set(cases.map(([name]) => name));
  expect(Object.keys({ ...torchvisionPresets, ...mobilenetPresets }).filter((name) => !listed.has(name as PresetName))).toEqual([]);
});

describe.each(cases)('%s %j', (name, options, entries, count) => {
  const graph = preset(name, options);
  const { parameters, buffers } = parameterLayout(graph);

  test(`has torchvision's names and shapes, and ${count} parameters`, () => {
    const ours = new Map([...parameters, ...buffers].map((info) => [info.name, info.shape]));
    expect([...ours.keys()].toSorted()).toEqual(entries.map(([entry]) => entry).toSorted());
    for (const [entry, shape] of entries) expect(ours.get(entry), entry).toEqual(shape);
    expect(parameters.map((info) => info.name)).toEqual(entries.map(([entry]) => entry).filter((entry) => !/running_/.test(entry)));
    expect(parameters.reduce((sum, info) => sum + size(info.shape), 0)).toBe(count);
  });
});

describe.each(['resnet18', 'mobilenet_v2', 'mobilenet_v3_small', 'efficientnet_b0'] as const)('a file with the names of %s', (name) => {
  const graph = preset(name, imageNet);
  const entries = cases.find(([preset_, options]) => preset_ === name && options === imageNet)?.[2] as readonly Entry[];
  const file = (rename: (entry: string) => string): Uint8Array => {
    const tensors = new Map<string, RawTensor>();
    for (const [i, [entry, shape]] of entries.entries()) {
      tensors.set(rename(entry), { dtype: 'F32', shape, bytes: new Uint8Array(new Float32Array(size(shape)).fill(i + 1).buffer) });
      if (entry.endsWith('running_var'))
        tensors.set(rename(entry.replace('running_var', 'num_batches_tracked')), { dtype: 'I64', shape: [], bytes: new Uint8Array(8) });
    }
    return writeSafetensors(tensors);
  };

  test.each([['as torchvision saves it', ''], ['saved under DataParallel', 'module.']])('loads %s', async (_how, prefix) => {
    const { state, report } = stateFromForeign(
      graph,
      await readForeign({ name: 'model.safetensors', bytes: file((entry) => prefix + entry) }),
      [],
      'model',
    );
    expect(report).toMatchObject({ fits: true, prefix, missing: [], unexpected: [], misshapen: [] });
    for (const [i, [entry]] of entries.entries()) {
      const data = (state?.parameters.get(entry) ?? state?.buffers.get(entry))?.data;
      expect([data?.[0], data?.at(-1)]).toEqual([i + 1, i + 1]);
    }
  });
});

/** What no name tells: the settings of torchvision's modules, and which blocks have a shortcut. */
describe('between the parameters', () => {
  const sizes = (name: PresetName, options: PresetOptions): (readonly number[])[] => {
    const graph = preset(name, options);
    const shapes = inferShapes(graph);
    return graph.nodes.flatMap((node) =>
      node.op === 'conv2d' && node.stride[0] === 2 ? [(shapes.get(node.name) as readonly number[]).slice(1)] : [],
    );
  };
  const sums = (name: PresetName): string[] => {
    const graph = preset(name, imageNet);
    const norms = graph.nodes.flatMap((node) => (node.op === 'add' ? [node.inputs[0] as string] : []));
    return norms.map((norm_) => norm_.replace(/\.block.*/, ''));
  };
  const counted = (name: PresetName): Record<string, number> => {
    const counts: Record<string, number> = {};
    for (const { op } of preset(name, imageNet).nodes) {
      if (/^(relu|silu|hard|sigmoid|multiply|global)/.test(op)) counts[op] = (counts[op] ?? 0) + 1;
    }
    return counts;
  };

  test('MobileNetV3: strides, shortcuts, activations and norms', () => {
    expect(sizes('mobilenet_v3_large', imageNet).map(([height]) => height)).toEqual([112, 56, 28, 14, 7]);
    expect(sizes('mobilenet_v3_small', imageNet).map(([height]) => height)).toEqual([112, 56, 28, 14, 7]);
    expect(sizes('mobilenet_v3_large', small)).toEqual([[16, 16], [8, 8], [4, 4]]);
    expect(sizes('mobilenet_v3_small', small)).toEqual([[16, 16], [8, 8], [4, 4]]);
    expect(sums('mobilenet_v3_large')).toEqual([1, 3, 5, 6, 8, 9, 10, 12, 14, 15].map((i) => `features.${i}`));
    expect(sums('mobilenet_v3_small')).toEqual([3, 5, 6, 8, 10, 11].map((i) => `features.${i}`));
    // Of the large one 1 + 2 · 5 rectifiers of blocks and 8 of excitations; 2 · 9 hardswishes of blocks and 3 of stem and head.
    expect(counted('mobilenet_v3_large')).toEqual({ relu: 19, hardswish: 21, hardsigmoid: 8, multiply: 8, global_average_pool: 9 });
    expect(counted('mobilenet_v3_small')).toEqual({ relu: 14, hardswish: 19, hardsigmoid: 9, multiply: 9, global_average_pool: 10 });
    for (const name of ['mobilenet_v3_large', 'mobilenet_v3_small'] as const) {
      const norms = preset(name, imageNet).nodes.filter(({ op }) => op === 'batch_norm');
      for (const node of norms) expect(node).toMatchObject({ epsilon: 1e-3, momentum: 0.01 });
    }
  });

  test('EfficientNet-B0: strides, shortcuts, activations and norms', () => {
    expect(sizes('efficientnet_b0', imageNet).map(([height]) => height)).toEqual([112, 56, 28, 14, 7]);
    expect(sizes('efficientnet_b0', small)).toEqual([[16, 16], [8, 8], [4, 4]]);
    expect(sums('efficientnet_b0')).toEqual(
      ['2.1', '3.1', '4.1', '4.2', '5.1', '5.2', '6.1', '6.2', '6.3'].map((block) => `features.${block}`),
    );
    // Stem, head, the first block's one and two of each other; one of each of the 16 excitations.
    expect(counted('efficientnet_b0')).toEqual({ silu: 49, sigmoid: 16, multiply: 16, global_average_pool: 17 });
    const norms = preset('efficientnet_b0', imageNet).nodes.filter(({ op }) => op === 'batch_norm');
    for (const node of norms) expect(node).toMatchObject({ epsilon: 1e-5, momentum: 0.1 });
  });
});
