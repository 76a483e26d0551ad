// The short form of `npm run conformance`: the shared reference cases without draws of our own. Skips, loudly, where they
// are not at hand; and the harness itself must be able to fail.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { openCompute } from '../../src/transfer/compute.ts';
import { largestDifference, relativeError, tensorsError } from './errors.ts';
import { conformance, type ReportLine } from './report.ts';

const cases = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..', 'shared', 'cases');
const present = existsSync(cases);
if (!present) console.warn('SKIPPED: the reference cases (../shared/cases) are not here; nothing was held against the official code');

describe.skipIf(!present)('reference cases of the official code', () => {
  test.each(['mlp_digits8', 'conv4', 'convbn4', 'safetensors'])('%s', async (name) => {
    using compute = await openCompute();
    const lines: ReportLine[] = [];
    for await (const line of conformance(compute, [join(cases, name)], { draws: 0 })) lines.push(line);
    expect(lines.length).toBeGreaterThan(4);
    for (const { run, failures } of lines) expect(failures, run).toEqual([]);
    // Not vacuous: gradients, laps and steps were really looked at.
    if (name !== 'safetensors')
      expect(lines.some(({ checked }) => Number(checked?.['gradients']) > 0 && Number(checked?.['laps']) > 0)).toBe(true);
    expect(compute.core.liveAllocations).toBe(0);
  });
});

describe('errors', () => {
  const tensors = (...values: number[]) => new Map([['a', { shape: [values.length], data: Float32Array.from(values) }]]);

  test('are those of the definitions, and infinite where something is missing', () => {
    expect(relativeError([3, 4.5], [3, 4])).toBeCloseTo(0.1, 12);
    expect(relativeError([], [1])).toBe(Infinity);
    expect(tensorsError(tensors(1, 2), tensors(1, 2))).toBe(0);
    expect(tensorsError(new Map(), tensors(1))).toBe(Infinity);
    expect(tensorsError(tensors(Number.NaN), tensors(1))).toBe(Infinity);
    expect(largestDifference(tensors(1, 2.5), tensors(1, 2))).toBe(0.5);
    expect(largestDifference(tensors(1), tensors(1, 2))).toBe(Infinity);
  });
});
