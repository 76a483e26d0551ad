import { expect, test } from 'vitest';
import { limits } from '../../src/core/limits.ts';
import { BatchPieces } from '../../src/data/batch-pieces.ts';
import { makeBatch } from '../../src/data/data-set.ts';
import type { ImageSet } from '../../src/data/image-set.ts';

function pictures(count: number, side: number): ImageSet {
  return {
    name: 'pictures',
    count,
    channels: 1,
    height: side,
    width: side,
    classes: 3,
    scale: [1 / 255],
    offset: [0],
    images: Uint8Array.from({ length: count * side * side }, (_, i) => (i * 37) % 256),
    labels: Uint8Array.from({ length: count }, (_, i) => i % 3),
  };
}

const rows = Int32Array.of(4, 0, 6, 2, 5);
const copied = (pieces: BatchPieces) =>
  Array.from(pieces, ({ inputs, labels, count }) => ({ inputs: inputs.slice(), labels: labels.slice(), count }));

test.each([true, false])('pieces are the batches of their rows, each time, the last with what is left; recurring: %s', (recurring) => {
  const set = pictures(7, 4);
  const pieces = new BatchPieces(set, rows, 2, recurring);
  const expected = [makeBatch(set, [4, 0]), makeBatch(set, [6, 2]), makeBatch(set, [5])];
  expect(pieces.count).toBe(5);
  expect(copied(pieces)).toEqual(expected);
  expect(copied(pieces)).toEqual(expected);
});

test('recurring pieces are made once as long as they are small, others in the memory of the one before', () => {
  const small = new BatchPieces(pictures(7, 4), rows, 2, true);
  expect([...small].every((batch, i) => batch === [...small][i])).toBe(true);
  const side = Math.ceil(Math.sqrt(limits.keptBatchBytes / 4 / rows.length)) + 1;
  for (const passing of [new BatchPieces(pictures(7, 4), rows, 2, false), new BatchPieces(pictures(7, side), rows, 2, true)]) {
    expect(new Set(Array.from(passing, ({ inputs }) => inputs.buffer)).size).toBe(1);
  }
});
