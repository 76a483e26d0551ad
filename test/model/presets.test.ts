/** Presets: parameter counts and names known from PyTorch, and the reference cases' architectures. */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { graphFromArchitecture } from '../conformance/architecture.ts';
import { inferShapes, outputClasses, parameterLayout, type ModelGraph } from '../../src/model/graph.ts';
import { preset, presetNames, readsOption, type PresetName, type PresetOptions } from '../../src/model/presets.ts';
import { elementCount } from '../../src/tensor/tensor.ts';

const count = (graph: ModelGraph): number =>
  parameterLayout(graph).parameters.reduce((sum, { shape }) => sum + elementCount(shape), 0);

const grey: PresetOptions = { input: [1, 28, 28], classes: 10 };
const imageNet: PresetOptions = { input: [3, 224, 224], classes: 1000 };
const colour: PresetOptions = { input: [3, 32, 32], classes: 10 };

describe('presets', () => {
  test.each(presetNames.filter((name) => !/^(gpt2|distilbert|bert)$/.test(name)))(
    '%s gives class scores for 28×28, 32×32 and 14×14 images (VGG, ConvNeXt: from 32×32)',
    (name) => {
      for (const input of name.startsWith('vgg') || name === 'convnext'
        ? [
            [3, 32, 32],
            [1, 64, 32],
          ]
        : [
            [1, 28, 28],
            [3, 32, 32],
            [1, 14, 14],
          ]) {
        expect(outputClasses(preset(name, { input, classes: 7 }))).toBe(7);
      }
    },
  );

  test('mlp: widths, bias, activation and flat inputs', () => {
    expect(count(preset('mlp', { ...grey, widths: [512, 512] }))).toBe(784 * 512 + 512 + 512 * 512 + 512 + 5120 + 10);
    const plain = preset('mlp', { input: [784], classes: 10, widths: [4096], activation: 'none', bias: false });
    expect(plain.nodes.map(({ op }) => op)).toEqual(['dense', 'dense']);
    expect(count(plain)).toBe(784 * 4096 + 40_960);
    expect(count(preset('mlp', { ...grey, widths: [] }))).toBe(7850);
  });

  test('conv8 at 32×32 is the paper\'s: 3×3 pairs of 64, 128, 256, 512 and a 1×1 head of 256, 256', () => {
    const graph = preset('conv8', colour);
    // Σ in·out·9 + out over the eight, Σ in·out + out over the head.
    const convolutions = [3, 64, 64, 128, 128, 256, 256, 512].map(
      (channels, i) => [channels, [64, 64, 128, 128, 256, 256, 512, 512][i]!] as const,
    );
    const expected =
      convolutions.reduce((sum, [from, to]) => sum + from * to * 9 + to, 0) + (512 * 256 + 256) + (256 * 256 + 256) + (256 * 10 + 10);
    expect(count(graph)).toBe(expected);
    const shapes = inferShapes(graph);
    expect(shapes.get('convs.17')).toEqual([512, 4, 4]);
    expect(shapes.get('global_max_pool1')).toEqual([512, 1, 1]);
  });

  test('width scales conv4, conv6 and conv8', () => {
    expect(
      parameterLayout(preset('conv8', { ...colour, width: 0.25 })).parameters.find(({ name }) => name === 'convs.17.weight')?.shape,
    ).toEqual([128, 128, 3, 3]);
    expect(() => preset('conv4', { ...colour, width: 0 })).toThrow(/width: expected a factor/);
  });

  test('resnet-small has torchvision\'s names and halves the image twice', () => {
    const graph = preset('resnet-small', { ...colour, width: 8 });
    const names = parameterLayout(graph).parameters.map(({ name }) => name);
    expect(names).toContain('layer2.0.downsample.1.weight');
    expect(names.at(-1)).toBe('fc.bias');
    expect(inferShapes(graph).get('layer3.0.bn2')).toEqual([32, 8, 8]);
  });

  test.each<[PresetName, PresetOptions, Record<string, number[]>]>([
    [
      'resnet18',
      imageNet,
      {
        'conv1.weight': [64, 3, 7, 7],
        'layer2.0.downsample.0.weight': [128, 64, 1, 1],
        'layer4.1.bn2.running_var': [512],
        'fc.weight': [1000, 512],
      },
    ],
    ['resnet34', imageNet, { 'layer3.5.conv2.weight': [256, 256, 3, 3], 'layer1.2.bn1.weight': [64] }],
    [
      'resnet50',
      imageNet,
      {
        'layer1.0.downsample.0.weight': [256, 64, 1, 1],
        'layer3.5.conv3.weight': [1024, 256, 1, 1],
        'layer4.0.conv2.weight': [512, 512, 3, 3],
        'fc.weight': [1000, 2048],
      },
    ],
    ['vgg11', imageNet, { 'features.18.weight': [512, 512, 3, 3], 'classifier.0.weight': [4096, 25_088], 'classifier.6.bias': [1000] }],
    ['vgg16_bn', imageNet, { 'features.40.weight': [512, 512, 3, 3], 'features.41.running_mean': [512], 'features.0.bias': [64] }],
    ['resnet18', { input: [3, 32, 32], classes: 100, stem: 'cifar' }, { 'conv1.weight': [64, 3, 3, 3], 'fc.bias': [100] }],
  ])("%s (%j) has torchvision's names and shapes", (name, options, expected) => {
    const { parameters, buffers } = parameterLayout(preset(name, options));
    const shapes = new Map([...parameters, ...buffers].map((info) => [info.name, info.shape]));
    for (const [tensor, shape] of Object.entries(expected)) expect(shapes.get(tensor), tensor).toEqual(shape);
  });

  test('residual nets halve the image five times from the ImageNet stem, three times from the small one', () => {
    const last = (options: PresetOptions): readonly number[] | undefined => inferShapes(preset('resnet50', options)).get('layer4.2.bn3');
    expect(last(imageNet)).toEqual([2048, 7, 7]);
    expect(last({ input: [3, 32, 32], classes: 10, stem: 'cifar', width: 4 })).toEqual([128, 4, 4]);
  });

  const every: Required<Omit<PresetOptions, 'input' | 'classes'>> = {
    widths: [8], activation: 'relu', bias: true, width: 2, depth: 1, heads: 1, patch: 1, positions: 99, vocabulary: 7, separator: 5,
    blocks: [1], stem: 'imagenet',
  };

  test.each(presetNames)('%s takes the options that it reads, and refuses each other by its name', (name) => {
    const read = new Set<PropertyKey>();
    const given: PresetOptions = { ...colour, ...(/^(gpt2|distilbert|bert)$/.test(name) ? { input: [16] } : {}) };
    preset(name, new Proxy(given, { get: (target, option: keyof PresetOptions) => (read.add(option), target[option]) }));
    for (const option of Object.keys(every) as (keyof typeof every)[]) {
      expect(readsOption(name, option), option).toBe(read.has(option));
      const call = () => preset(name, { ...given, [option]: every[option] });
      if (read.has(option)) expect(call, option).not.toThrow();
      else expect(call, option).toThrow(expect.objectContaining({ code: 'invalid-argument', field: option }));
    }
  });

  test('an option of another preset is said to be that, and one that is undefined is none', () => {
    expect(() => preset('mlp', { ...grey, width: 8 })).toThrow(
      'width: expected an option of preset mlp, got one that it does not have (did you mean widths?)',
    );
    expect(preset('mlp', { ...grey, width: undefined } as unknown as PresetOptions)).toEqual(preset('mlp', grey));
  });

  test('an unknown preset is refused', () => {
    expect(() => preset('conv9' as 'conv8', grey)).toThrow(/preset: expected one of mlp, conv4/);
  });
});

const cases = new URL('../../../shared/cases/', import.meta.url);

describe.skipIf(!existsSync(cases))('architectures of the reference cases (skipped where ../shared is absent)', () => {
  test.each(['mlp_digits8', 'conv4', 'convbn4'])('%s: the layout is the manifest\'s', (name) => {
    const manifest = JSON.parse(readFileSync(new URL(`${name}/manifest.json`, cases), 'utf8'));
    const graph = graphFromArchitecture(manifest.architecture);
    const { parameters, buffers } = parameterLayout(graph);
    expect(parameters.map((info) => info.name)).toEqual(manifest.param_names);
    for (const info of parameters) expect(info.shape).toEqual(manifest.param_shapes[info.name]);
    const stored = manifest.checkpoints['source_epoch0'].buffers as Record<string, { shape: number[] }>;
    expect(buffers.map((info) => [info.name, info.shape])).toEqual(Object.entries(stored).map(([key, { shape }]) => [key, shape]));
  });

  test('small-conv of width 8 is the reference\'s conv4', () => {
    const manifest = JSON.parse(readFileSync(new URL('conv4/manifest.json', cases), 'utf8'));
    expect(preset('small-conv', { input: [1, 8, 8], classes: 10, width: 8 })).toEqual(graphFromArchitecture(manifest.architecture));
  });
});

describe('graphFromArchitecture', () => {
  const layers = [{ op: 'flatten' }, { op: 'dense', name: 'fc', in: 4, out: 2, bias: true }];

  test('a residual of two lists', () => {
    const graph = graphFromArchitecture({
      input: [2, 4, 4],
      layers: [
        {
          op: 'residual',
          body: [{ op: 'conv2d', name: 'a', in: 2, out: 3, kernel: 3, stride: 2, padding: 1, bias: false }],
          shortcut: [{ op: 'conv2d', name: 'b', in: 2, out: 3, kernel: 1, stride: 2, padding: 0, bias: false }],
        },
        { op: 'global_average_pool' },
        { op: 'flatten' },
      ],
    });
    expect(graph.nodes.find(({ op }) => op === 'add')?.inputs).toEqual(['a', 'b']);
  });

  test('a stated width that does not hold is refused', () => {
    expect(() => graphFromArchitecture({ input: [1, 3, 2], layers })).toThrow(/layer "fc": expected 6 inputs, got 4/);
  });

  test('an unknown layer is refused', () => {
    expect(() => graphFromArchitecture({ input: [4], layers: [{ op: 'dropout' }] })).toThrow(
      /layers\[0\].op: expected a layer of the reference cases, got "dropout"/,
    );
  });
});
