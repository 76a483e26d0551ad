/** The estimate of a gradient's heap: enough to run in, and not far above what an uncapped gradient takes. */
import { describe, expect, it } from 'vitest';
import { openCore } from '../../src/core/core.ts';
import { BudgetError } from '../../src/core/errors.ts';
import { openGradientEngine } from '../../src/gradient/engine.ts';
import { fitGradient, gradientHeapBytes, planMicroBatch } from '../../src/gradient/memory.ts';
import { GraphBuilder, sequential, type Layer } from '../../src/model/builder.ts';
import { peakElements } from '../../src/model/activation-memory.ts';
import { recomputedFlops } from '../../src/model/cost.ts';
import { inferShapes, type ModelGraph } from '../../src/model/graph.ts';
import { preset, type PresetName, type PresetOptions } from '../../src/model/presets.ts';
import { cutsOf, segmentsOf } from '../../src/model/segments.ts';
import { elementCount } from '../../src/tensor/tensor.ts';
import { randomBatch, randomState } from './checks.ts';

/** What tfjs's binary starts with. */
const INITIAL_BYTES = 16 * 2 ** 20;

const cases: readonly [PresetName, PresetOptions, readonly number[]][] = [
  ['conv8', { input: [3, 32, 32], classes: 10, width: 0.5 }, [16, 32]],
  ['conv8', { input: [3, 32, 32], classes: 10 }, [2]],
  ['conv4', { input: [3, 32, 32], classes: 10 }, [32]],
  ['mlp', { input: [784], classes: 10, widths: [1024, 1024] }, [128]],
  ['resnet18', { input: [3, 32, 32], classes: 10, width: 32 }, [8, 32]],
  ['vgg11', { input: [3, 32, 32], classes: 10, width: 0.25 }, [32]],
];

describe.each(cases)('%s %o', (name, options, sizes) => {
  const graph = preset(name, options);
  it.each(sizes)('%i images fit into what was reckoned, which is at most 1.7 times what they take', async (images) => {
    const reckoned = gradientHeapBytes(graph, images);
    expect(reckoned).toBeGreaterThan(INITIAL_BYTES);
    const heapOf = async (cap: { readonly heapLimitBytes?: number }): Promise<number> => {
      using core = await openCore(cap);
      using engine = openGradientEngine(core);
      engine.compile(graph).gradient(randomState(graph, 1), [randomBatch(graph, images, 2)]);
      return core.heapBytes;
    };
    expect(await heapOf({ heapLimitBytes: reckoned })).toBeLessThanOrEqual(reckoned);
    // How much is zero, and need not be transformed, shows only in the run.
    expect(reckoned).toBeLessThan(1.7 * (await heapOf({})));
  });
});

/** The value behind `before`, joined with itself, and `behind` it. */
function joined(
  input: readonly number[],
  before: readonly Layer[],
  op: 'add' | 'concat',
  times: number,
  behind: readonly Layer[],
): ModelGraph {
  const builder = new GraphBuilder(input);
  const value = builder.chain(builder.input, before);
  return builder.build(
    builder.chain(builder.add({ op }, ...Array.from({ length: times }, () => value)), [...behind, { op: 'dense', name: 'end', out: 3 }]),
  );
}

const narrowHeads = (name: string): Layer[] => [{ op: 'dense', name, out: 12 }, { op: 'attention', heads: 4 }];

const depthwiseOf = (input: readonly [channels: number, height: number, width: number], kernel: number): ModelGraph => sequential(input, [
  { op: 'conv2d', name: 'a', out: input[0], kernel, padding: (kernel - 1) / 2, groups: input[0] }, { op: 'global_average_pool' },
  { op: 'flatten' }, { op: 'dense', name: 'end', out: 3 },
]);

// A value that is read several times, statistics as large as values, windows that reach far: `npm run fuzz:graphs`
// found each beyond its estimate.
describe.each<[string, ModelGraph, number]>([
  ['a sum of four', joined([120], [], 'add', 4, []), 20_000],
  [
    'a concatenation of eight',
    joined(
      [1, 8, 8], [{ op: 'conv2d', name: 'wide', out: 10, kernel: 1 }], 'concat', 8, [{ op: 'global_average_pool' }, { op: 'flatten' }],
    ),
    1200,
  ],
  ['group norms of vectors', sequential([12], [
    { op: 'dense', name: 'a', out: 36 }, { op: 'group_norm', groups: 6 }, { op: 'group_norm', groups: 1 },
    { op: 'dense', name: 'b', out: 3 },
  ]), 20_000],
  ['attention of narrow heads', sequential([3, 4, 4], [
    { op: 'tokens' }, ...['a', 'b', 'c', 'd'].flatMap(narrowHeads), { op: 'mean_tokens' }, { op: 'dense', name: 'end', out: 3 },
  ]), 8000],
  ['a dilated transposed convolution', sequential([29, 6, 2], [
    { op: 'conv_transpose2d', name: 'a', out: 4, kernel: 3, padding: 1, dilation: [2, 3] }, { op: 'global_average_pool' },
    { op: 'flatten' }, { op: 'dense', name: 'end', out: 3 },
  ]), 2500],
  // Numbers of images move where they are flattened: the rectifier keeps them before, the scale behind.
  ['images that are kept and flattened', sequential([8, 64, 64], [
    { op: 'relu' }, { op: 'flatten' }, { op: 'layer_scale', name: 'a' }, { op: 'dense', name: 'end', out: 2 },
  ]), 400],
  ['images that are kept and reshaped', sequential([8, 64, 64], [
    { op: 'relu' }, { op: 'reshape', shape: [16, 32, 64] }, { op: 'layer_scale', name: 'a' }, { op: 'global_average_pool' }, { op: 'flatten' },
    { op: 'dense', name: 'end', out: 2 },
  ]), 400],
  // Of one row, or two, the copy of the rows under a strip is larger than the image.
  ['a depthwise 7×7 convolution of one row', depthwiseOf([64, 1, 8192], 7), 1],
  ['a depthwise 7×7 convolution of two rows', depthwiseOf([64, 2, 16_384], 7), 1],
  ['a depthwise 5×5 convolution of one row', depthwiseOf([64, 1, 16_384], 5), 1],
  ['a depthwise 3×3 convolution of one row', depthwiseOf([64, 1, 16_384], 3), 1],
])('%s', (_name, graph, images) => {
  it(`${images} images fit into what was reckoned`, async () => {
    const reckoned = gradientHeapBytes(graph, images);
    expect(reckoned).toBeGreaterThan(INITIAL_BYTES);
    using core = await openCore({ heapLimitBytes: reckoned });
    using engine = openGradientEngine(core);
    const { gradients } = engine.compile(graph).gradient(randomState(graph, 1), [randomBatch(graph, images, 2)]);
    expect([...gradients.values()].every(({ data }) => data.every(Number.isFinite))).toBe(true);
  });
});

describe.each<[PresetName, PresetOptions, number]>([
  ['resnet18', { input: [3, 32, 32], classes: 10, width: 16, stem: 'cifar' }, 64],
  ['mobilenet_v2', { input: [3, 32, 32], classes: 10, width: 0.35, stem: 'cifar' }, 16],
  ['mobilenet_v3_small', { input: [3, 32, 32], classes: 10, width: 0.35, stem: 'cifar' }, 16],
  ['gpt2', { input: [64], classes: 500, width: 64, depth: 3, heads: 2 }, 32],
])('fitGradient of %s %o, a batch of %i', (name, options, images) => {
  it('takes the fewest FLOPs of all that fits, as trying every cut finds them, and the fewest bytes where nothing does', () => {
    const graph = preset(name, options);
    const shapes = inferShapes(graph);
    const whole = gradientHeapBytes(graph, images);
    const peak = peakElements(graph, shapes);
    const elements = graph.nodes.map((node) => elementCount(shapes.get(node.name) ?? []));
    const ways = cutsOf(graph, elements).flatMap((ends) => [0, ...ends].map((_, recomputed) => {
      const segments = segmentsOf(graph, ends, recomputed);
      // All but the values is the same of every cut.
      const bytes = whole - 1.15 * 4 * images * (peak - peakElements(graph, shapes, segments));
      return { bytes, flops: images * recomputedFlops(graph, shapes, segments) };
    }));
    for (const share of [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]) {
      const limit = Math.floor(share * whole);
      const fitting = ways.filter(({ bytes }) => bytes <= limit);
      const found = fitGradient(graph, images, 1, limit);
      if (fitting.length > 0) expect([share, found.recomputedFlops]).toEqual([share, Math.min(...fitting.map(({ flops }) => flops))]);
      else expect(Math.abs(found.bytes - Math.min(...ways.map(({ bytes }) => bytes)))).toBeLessThan(2);
    }
  });
});

describe('planMicroBatch', () => {
  const graph = preset('conv8', { input: [3, 32, 32], classes: 10, width: 0.5 });
  it('halves until the estimate fits', () => {
    expect(planMicroBatch(graph, 100, 2 ** 30)).toBe(100);
    const planned = planMicroBatch(graph, 100, 40 * 2 ** 20);
    expect([50, 25, 13, 7, 4, 2, 1]).toContain(planned);
    expect(gradientHeapBytes(graph, planned, Math.ceil(100 / planned))).toBeLessThanOrEqual(40 * 2 ** 20);
    expect(gradientHeapBytes(graph, 2 * planned, Math.ceil(50 / planned))).toBeGreaterThan(40 * 2 ** 20);
  });
  it('takes the whole batch where sums of gradients leave no room for parts of it', () => {
    const wide = preset('vit', { input: [3, 32, 32], classes: 10, width: 192, depth: 6, heads: 3 });
    // So large a batch that it fits with values computed anew alone.
    const batch = [8, 10, 12, 14, 16, 20, 24].find((images) => gradientHeapBytes(wide, images) > fitGradient(wide, 1, images, 0).bytes) ?? 0;
    const [parts, whole] = [fitGradient(wide, 1, batch, 0).bytes, fitGradient(wide, batch, 1, 0).bytes];
    expect(whole).toBeLessThan(parts);
    expect(planMicroBatch(wide, batch, parts)).toBe(1);
    expect(planMicroBatch(wide, batch, parts - 1)).toBe(batch);
    // What the error asks for is what the same call then takes.
    expect(() => planMicroBatch(wide, batch, whole - 1)).toThrow(
      expect.objectContaining({ code: 'budget', requiredBytes: whole, expected: `at least ${whole}, for ${batch} images at once` }),
    );
    expect(planMicroBatch(wide, batch, whole)).toBe(batch);
  });
  it('says how much one image takes where nothing fits', () => {
    expect(() => planMicroBatch(graph, 100, 2 ** 20)).toThrow(BudgetError);
    const least = fitGradient(graph, 1, 100, 2 ** 20).bytes;
    expect(() => planMicroBatch(graph, 100, 2 ** 20)).toThrow(String(least));
    expect(least).toBeLessThan(gradientHeapBytes(graph, 1, 100));
    expect(planMicroBatch(graph, 100, least)).toBe(1);
  });
});
