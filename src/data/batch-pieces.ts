/** Rows of a set that are passed whole, in pieces: what a network is evaluated on. */
import { limits } from '../core/limits.ts';
import type { Batch } from './batch.ts';
import { PassingBatches, isImageSet, isTokenSet, makeBatch } from './data-set.ts';
import type { DataSet } from './data-set.ts';

export class BatchPieces implements Iterable<Batch> {
  /** Rows of all pieces together. */
  readonly count: number;
  readonly #set: DataSet;
  readonly #rows: Int32Array;
  readonly #size: number;
  readonly #passing: PassingBatches;
  readonly #kept: Batch[] = [];
  readonly #keeps: boolean;

  /**
   * @param rows numbers of rows of the set, in the order in which they are passed.
   * @param size rows a piece; the last may have fewer.
   * @param recurring whether they are passed again and again, so that up to `limits.keptBatchBytes` of them are made once.
   */
  constructor(set: DataSet, rows: Int32Array, size: number, recurring: boolean) {
    this.count = rows.length;
    this.#set = set;
    this.#rows = rows;
    this.#size = size;
    this.#passing = new PassingBatches(set);
    this.#keeps = recurring && rows.length * bytesOfRow(set) <= limits.keptBatchBytes;
  }

  /** What came before may be overwritten by the next. */
  *[Symbol.iterator](): Iterator<Batch> {
    for (let piece = 0; piece < this.pieces; piece++) yield this.#keeps ? this.#keep(piece) : this.#passing.make(this.#rowsOf(piece));
  }

  /** Up to `many` pieces that are there at the same time. */
  *together(many: number): Generator<readonly Batch[]> {
    for (let first = 0; first < this.pieces; first += many) {
      yield Array.from({ length: Math.min(many, this.pieces - first) }, (_, i) =>
        this.#keeps ? this.#keep(first + i) : makeBatch(this.#set, this.#rowsOf(first + i)),
      );
    }
  }

  get pieces(): number {
    return Math.ceil(this.count / this.#size);
  }

  #rowsOf(piece: number): Int32Array {
    return this.#rows.subarray(piece * this.#size, (piece + 1) * this.#size);
  }

  #keep(piece: number): Batch {
    return (this.#kept[piece] ??= makeBatch(this.#set, this.#rowsOf(piece)));
  }
}

/** Bytes that a row takes in a batch, its labels included. */
function bytesOfRow(set: DataSet): number {
  if (isImageSet(set)) return 4 * (set.channels * set.height * set.width + 1);
  return 4 * (isTokenSet(set) ? 2 * set.length : set.length + 1);
}
