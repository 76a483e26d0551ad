/** Images or tokens: what a network is trained on, behind one way to a mini-batch. */
import type { Batch } from './batch.ts';
import { makeImageBatch } from './image-batch.ts';
import type { ImageSet } from './image-set.ts';
import { makeTokenBatch, type TokenSet } from './token-set.ts';

export type DataSet = ImageSet | TokenSet;

export function isTokenSet(set: DataSet): set is TokenSet {
  return 'tokens' in set;
}

/** The rows of a set as a mini-batch, in the order given. @throws InvalidArgumentError for no rows or one out of range. */
export function makeBatch(set: DataSet, rows: Int32Array | readonly number[]): Batch {
  return isTokenSet(set) ? makeTokenBatch(set, rows) : makeImageBatch(set, rows);
}

/** Mini-batches in passing, each in the memory of the one before: memory of their own costs page faults and garbage collection. */
export class PassingBatches {
  readonly #set: DataSet;
  #last: Batch | undefined;

  constructor(set: DataSet) {
    this.#set = set;
  }

  /** As `makeBatch`; what was made before is not to be read any more. */
  make(rows: Int32Array | readonly number[]): Batch {
    this.#last = isTokenSet(this.#set) ? makeTokenBatch(this.#set, rows, this.#last) : makeImageBatch(this.#set, rows, this.#last);
    return this.#last;
  }
}
