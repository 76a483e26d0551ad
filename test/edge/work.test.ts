/** What a request would cost is refused by what its solver takes. */
import { expect, it } from 'vitest';
import { requireWork } from '../../src/edge/work.ts';
import type { RequestOptions } from '../../src/edge/options.ts';
import { plan } from '../../src/transfer/plan.ts';
import { preset } from '../../src/model/presets.ts';

it('counts the matchings of the solver that is asked for, to the operation', () => {
  const graph = preset('mlp', { input: [1, 28, 28], widths: [256, 256], classes: 10 });
  const inputs = { graph, checkpoints: 2, images: 200 };
  const operations = (choices: Partial<RequestOptions>): number =>
    Object.values(plan({ method: 'fgmt', ...choices, ...inputs }).flops).reduce((sum, part) => sum + part, 0);
  const ask = (maxFlops: number, choices: Partial<RequestOptions>) => () =>
    requireWork(
      { heapLimitBytes: 2 ** 25, maxGradients: 1e6, maxHistoryBytes: 1e12, maxFlops }, { method: 'fgmt', seed: 1, ...choices }, inputs,
    );
  const descent = operations({});
  for (const solver of ['seeded-starts', 'frank-wolfe'] as const) {
    const needed = operations({ solver });
    expect(needed).toBeGreaterThan(1.5 * descent);
    expect(ask(descent, { solver })).toThrow(/floating-point operations of at most/);
    expect(ask(needed - 1, { solver })).toThrow(/floating-point operations/);
    expect(ask(needed, { solver })).not.toThrow();
    // Fewer sweeps cost less, and more than a descent takes by itself no more.
    expect(operations({ solver, maxSweeps: 1 })).toBeLessThan(needed);
    expect(operations({ solver, maxSweeps: 10_000 })).toBe(needed);
  }
  expect(ask(descent, {})).not.toThrow();
});
