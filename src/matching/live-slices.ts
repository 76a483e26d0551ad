/** What of a tensor's pairs is not zero, and alone stored and multiplied: live rows and columns, live units. */
import { exactRows } from './coding.ts';
import type { CodedRows } from './coding.ts';
import type { PairedTensor, StaticTensor } from './layout.ts';

/**
 * One side of one pair of a paired tensor: the matrices [slice][live row][live column], without the rows and columns
 * that are zero in every slice. ReLU units that no image of a batch wakes have zero gradients; in a Conv8 they were a
 * third of all units, and nothing is lost by neither storing nor multiplying them.
 */
export interface LiveSlices {
  readonly data: CodedRows;
  /** Frobenius norm before coding. */
  readonly norm: number;
  /** Ascending. */
  readonly rows: Int32Array;
  readonly columns: Int32Array;
}

/** One stored pair of a tensor. */
export interface StoredPair {
  readonly target: LiveSlices;
  readonly source: LiveSlices;
}

/** [a, rows, b, columns, c] → [a·b·c][live rows][live columns], each element times `scale`; `norm` is the result's. */
export function liveSlices(tensor: PairedTensor, data: Float32Array, scale: number, norm: number): LiveSlices {
  const [before, between, behind] = tensor.extents;
  const rows = liveRows(tensor, data);
  const columns = liveColumns(tensor, data);
  const offsets = columns.map((column) => column * behind);
  const out = new Float32Array(tensor.slices * rows.length * columns.length);
  let at = 0;
  // Written in order: a 3 × 3 kernel would be nine write streams a power of two apart, which evict one another from L1.
  for (let i = 0; i < before; i++) {
    for (let j = 0; j < between; j++) {
      for (let k = 0; k < behind; k++) {
        for (let r = 0; r < rows.length; r++) {
          const from = ((i * tensor.rows + (rows[r] as number)) * between + j) * tensor.columns * behind + k;
          for (let c = 0; c < offsets.length; c++) out[at++] = (data[from + (offsets[c] as number)] as number) * scale;
        }
      }
    }
  }
  return { data: exactRows(out), norm, rows, columns };
}

function liveRows({ extents: [before, between, behind], rows, columns }: PairedTensor, data: Float32Array): Int32Array {
  const run = between * columns * behind;
  return select(rows, (row) => {
    for (let i = 0; i < before; i++) if (anyNonZero(data, (i * rows + row) * run, run)) return true;
    return false;
  });
}

function liveColumns({ extents: [before, between, behind], rows, columns }: PairedTensor, data: Float32Array): Int32Array {
  return select(columns, (column) => {
    for (let block = 0; block < before * rows * between; block++) {
      if (anyNonZero(data, (block * columns + column) * behind, behind)) return true;
    }
    return false;
  });
}

/** Units of a static tensor with any non-zero element. */
export function liveUnits({ before, size, after }: StaticTensor, data: Float32Array): Int32Array {
  return select(size, (unit) => {
    for (let p = 0; p < before; p++) if (anyNonZero(data, (p * size + unit) * after, after)) return true;
    return false;
  });
}

/** Offsets of the places around a static tensor's axis that are not zero for all units on either side. */
export function liveOffsets({ before, size, after }: StaticTensor, target: Float32Array, source: Float32Array): Int32Array {
  const offsetOf = (place: number): number => Math.floor(place / after) * size * after + (place % after);
  const isLive = (data: Float32Array, offset: number): boolean => {
    for (let unit = 0; unit < size; unit++) if (data[offset + unit * after] !== 0) return true;
    return false;
  };
  return select(before * after, (place) => isLive(target, offsetOf(place)) && isLive(source, offsetOf(place))).map(offsetOf);
}

function select(count: number, isLive: (unit: number) => boolean): Int32Array {
  const live: number[] = [];
  for (let unit = 0; unit < count; unit++) if (isLive(unit)) live.push(unit);
  return Int32Array.from(live);
}

function anyNonZero(data: Float32Array, from: number, count: number): boolean {
  for (let at = from; at < from + count; at++) if (data[at] !== 0) return true;
  return false;
}

/** Position of each of `count` units in a list of live ones, −1 for the others. */
export function positionsOf(live: Int32Array, count: number): Int32Array {
  const positions = new Int32Array(count).fill(-1);
  for (let position = 0; position < live.length; position++) positions[live[position] as number] = position;
  return positions;
}

/** The slices with their dead rows and columns put back, [slices][rows][columns]. */
export function expandSlices(tensor: PairedTensor, live: LiveSlices, out: Float32Array): void {
  const data = new Float32Array(live.data.length);
  live.data.decode(0, data);
  out.fill(0);
  for (let slice = 0, at = 0; slice < tensor.slices; slice++) {
    for (const row of live.rows) {
      const to = (slice * tensor.rows + row) * tensor.columns;
      for (const column of live.columns) out[to + column] = data[at++] as number;
    }
  }
}
