/** The short form of `npm run realdata`: one pair, fewer images, the order of the methods rather than their figures. */
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { openCompute } from '../../src/index.ts';
import { heldOutPercent, runCase, sharedData, testPercent } from './cases.ts';

const data = sharedData(fileURLToPath(new URL('../..', import.meta.url)));
const size = { trainCount: 2000, testCount: 1000, epochs: 4, pairs: 1 };

it.skipIf(data === undefined)('ports a Fashion-MNIST fine-tune between MNIST bases far better than the plain shift', async () => {
  using compute = await openCompute();
  const { outcomes } = await runCase('mnist-to-fashion', data as string, size, compute);
  for (const method of ['fgmt', 'gmt'] as const) {
    expect(heldOutPercent(outcomes, method, 'last')).toBeGreaterThan(heldOutPercent(outcomes, 'naive', 'last') + 10);
    expect(testPercent(outcomes, method, 0)).toBeGreaterThan(testPercent(outcomes, 'scratch', 0) + 30);
  }
});
