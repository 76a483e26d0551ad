/** `verify` on networks of every kind, and `plan` against what the transfer then takes. */
import { afterAll, expect, test } from 'vitest';
import { initialise } from '../../src/model/initialise.ts';
import { preset } from '../../src/model/presets.ts';
import { openCompute } from '../../src/transfer/compute.ts';
import { plan } from '../../src/transfer/plan.ts';
import { trajectoryFromStates } from '../../src/transfer/trajectory.ts';
import { transfer } from '../../src/transfer/transfer.ts';
import { verify } from '../../src/transfer/verify.ts';
import { networks, quadrants } from './networks.ts';

const compute = await openCompute();
afterAll(() => compute[Symbol.dispose]());

test.each(Object.entries(networks))('%s: a random permutation keeps the function and moves the weights', async (_, graph) => {
  const result = await verify({ graph, state: initialise(compute.core, graph, { seed: 3 }), compute });
  expect(result).toMatchObject({ passed: true, problems: [] });
  expect(result.movedFraction).toBeGreaterThan(0.3);
  expect(result.largestOutput).toBeGreaterThan(1e-3);
  expect(result.largestOutputDifference).toBeLessThanOrEqual(1e-5 * result.largestOutput);
});

test('a network whose groups have two units or one is judged too', async () => {
  for (const width of [1, 2]) {
    const graph = preset('mlp', { input: [4], widths: [width], classes: 3 });
    for (let seed = 1; seed <= 8; seed++) {
      const { passed, movedFraction } = await verify({ graph, state: initialise(compute.core, graph, { seed: 3 }), seed, compute });
      expect({ width, seed, passed, moved: movedFraction > 0 }).toEqual({ width, seed, passed: true, moved: width > 1 });
    }
  }
});

test.each(['naive', 'fgmt', 'gmt'] as const)('the plan of %s counts the gradients that the transfer then takes', async (method) => {
  const graph = networks.mlp;
  const [a, b] = [1, 2].map((seed) => initialise(compute.core, graph, { seed }));
  const choices = { method, steps: 3, batchesPerStep: 2, batchSize: 16, stopRule: 'last' } as const;
  const source = trajectoryFromStates(graph, [{ label: 'start', state: a! }, { label: 'end', state: b! }]);
  const run = await transfer({ ...choices, source, target: b!, data: quadrants(100, 1), seed: 1, compute });
  const planned = plan({ ...choices, graph });
  expect(planned.gradients).toBe(run.counts.gradients);
  expect(planned.matchings).toBe(run.counts.matchings);
  expect(planned.bytes.parameters).toBe(4 * (24 * 64 + 24 + 16 * 24 + 16 + 4 * 16 + 4));
});

test('the plan turns FLOPs into seconds at the rate given, and measures one where it can', () => {
  const graph = networks.mlp;
  const at = plan({ graph, method: 'gmt', flopsPerSecond: 1e9 });
  const total = at.flops.gradients + at.flops.similarity + at.flops.assignment;
  expect(at.seconds).toBe(total / 1e9);
  expect(plan({ graph, method: 'gmt', compute }).seconds).toBeGreaterThan(0);
});
