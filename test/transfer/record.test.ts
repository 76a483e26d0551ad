/** Records tell apart whatever makes results differ: equal ones mean equal results. */
import { afterAll, expect, test } from 'vitest';
import type { ImageSet } from '../../src/data/image-set.ts';
import { initialise } from '../../src/model/initialise.ts';
import { openCompute } from '../../src/transfer/compute.ts';
import { train } from '../../src/transfer/train.ts';
import { transfer } from '../../src/transfer/transfer.ts';
import { networks, quadrants } from './networks.ts';

const compute = await openCompute();
afterAll(() => compute[Symbol.dispose]());
const data = quadrants(200, 3);
const graph = networks.mlp;

test('the same bytes as images that enter the network otherwise: records differ, not only results', async () => {
  const otherwise: ImageSet = { ...data, scale: data.scale.map((scale) => scale / 2) };
  const results = [];
  for (const images of [data, otherwise]) {
    const trained = await train({ graph, data: images, seed: 1, epochs: 1, compute });
    const target = initialise(compute.core, graph, { seed: 2 });
    const source = (await train({ graph, data, seed: 1, epochs: 1, compute })).trajectory;
    const ported = await transfer({ source, target, data: images, method: 'fgmt', seed: 1, steps: 2, stopRule: 'last', compute });
    results.push([trained.record, ported.record] as const);
  }
  const [plain, scaled] = results as [(typeof results)[number], (typeof results)[number]];
  for (const i of [0, 1] as const) {
    expect(scaled[i].sha256).not.toBe(plain[i].sha256);
    expect(scaled[i].inputs).toEqual(plain[i].inputs);
    expect(scaled[i].settings['data']).toEqual({ ...(plain[i].settings['data'] as object), scale: otherwise.scale });
    expect({ ...scaled[i].settings, data: null }).toEqual({ ...plain[i].settings, data: null });
  }
  // What the caller handed over is not frozen with the record.
  expect(Object.isFrozen(data.scale)).toBe(false);
});
