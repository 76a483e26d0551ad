/**
 * Presets against torchvision's state dicts: every name and shape, in order, from lists written here by its modules (not from our
 * builder), parameter counts as published, and loading of a file with these names.
 */
import { describe, expect, test } from 'vitest';
import { writeSafetensors, type RawTensor } from '../../src/bundle/safetensors.ts';
import { readForeign } from '../../src/bundle/foreign/formats.ts';
import { stateFromForeign } from '../../src/bundle/foreign/network.ts';
import { parameterLayout } from '../../src/model/graph.ts';
import { preset, type PresetName, type PresetOptions } from '../../src/model/presets.ts';
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
];

const size = (shape: readonly number[]): number => shape.reduce((product, extent) => product * extent, 1);

test('every preset with these names has its list', () => {
  const listed = new Set(cases.map(([name]) => name));
  expect(Object.keys(torchvisionPresets).filter((name) => !listed.has(name as PresetName))).toEqual([]);
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

describe.each(['resnet18', 'mobilenet_v2'] as const)('a file with the names of %s', (name) => {
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
