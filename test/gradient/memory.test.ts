/** The estimate of a gradient's heap: enough to run in, and not far above what an uncapped gradient takes. */
import { describe, expect, it } from 'vitest';
import { openCore } from '../../src/core/core.ts';
import { BudgetError } from '../../src/core/errors.ts';
import { openGradientEngine } from '../../src/gradient/engine.ts';
import { gradientHeapBytes, planMicroBatch } from '../../src/gradient/memory.ts';
import { preset, type PresetName, type PresetOptions } from '../../src/model/presets.ts';
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

describe('planMicroBatch', () => {
  const graph = preset('conv8', { input: [3, 32, 32], classes: 10, width: 0.5 });
  it('halves until the estimate fits', () => {
    expect(planMicroBatch(graph, 100, 2 ** 30)).toBe(100);
    const planned = planMicroBatch(graph, 100, 40 * 2 ** 20);
    expect([50, 25, 13, 7, 4, 2, 1]).toContain(planned);
    expect(gradientHeapBytes(graph, planned, Math.ceil(100 / planned))).toBeLessThanOrEqual(40 * 2 ** 20);
    expect(gradientHeapBytes(graph, 2 * planned, Math.ceil(50 / planned))).toBeGreaterThan(40 * 2 ** 20);
  });
  it('says how much one image takes where nothing fits', () => {
    expect(() => planMicroBatch(graph, 100, 2 ** 20)).toThrow(BudgetError);
    expect(() => planMicroBatch(graph, 100, 2 ** 20)).toThrow(String(gradientHeapBytes(graph, 1, 100)));
  });
});
