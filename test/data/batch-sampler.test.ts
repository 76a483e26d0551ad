/** The sampler of mini-batches. */
import { describe, expect, test } from 'vitest';
import { BatchSampler, batchesInEpoch } from '../../src/data/batch-sampler.ts';
import { Random, streams } from '../../src/tensor/random.ts';

describe('BatchSampler', () => {
  test('an epoch visits every row once; its last batch is smaller; the next epoch has another order', () => {
    const rows = Int32Array.from({ length: 10 }, (_unused, i) => 100 + i);
    const sampler = new BatchSampler(rows, 4, new Random(1, streams.batches));
    expect(batchesInEpoch(rows.length, 4)).toBe(3);
    const epochs = [0, 1].map(() => {
      const batches = Array.from({ length: 3 }, () => sampler.next());
      expect(sampler.atEpochEnd).toBe(true);
      expect(batches.map(({ length }) => length)).toEqual([4, 4, 2]);
      return batches.flatMap((batch) => [...batch]);
    });
    for (const epoch of epochs) expect(epoch.toSorted()).toEqual([...rows]);
    expect(epochs[0]).not.toEqual(epochs[1]);
    expect([...rows]).toEqual([...rows].toSorted());
  });

  test('a batch larger than the rows is all of them', () => {
    expect(new BatchSampler(Int32Array.of(7, 8), 5, new Random(1, streams.batches)).next().length).toBe(2);
  });

  test('no rows and a batch size of 0 are refused', () => {
    expect(() => new BatchSampler(new Int32Array(), 1, new Random(1, streams.batches))).toThrow(/rows/);
    expect(() => new BatchSampler(Int32Array.of(1), 0, new Random(1, streams.batches))).toThrow(/batchSize/);
  });
});
