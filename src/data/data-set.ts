/** Images, tokens or sequences of them: what a network is trained on, behind one way to a mini-batch. */
import type { Batch } from './batch.ts';
import { makeImageBatch } from './image-batch.ts';
import type { ImageSet } from './image-set.ts';
import { makeSequenceBatch, type SequenceSet } from './sequence-set.ts';
import { makeTokenBatch, type TokenSet } from './token-set.ts';

export type DataSet = ImageSet | TokenSet | SequenceSet;

export function isImageSet(set: DataSet): set is ImageSet {
  return 'images' in set;
}

export function isTokenSet(set: DataSet): set is TokenSet {
  return 'tokens' in set;
}

/**
 * The rows of a set as a mini-batch, in the order given.
 * @param into as of `makeImageBatch`.
 * @throws InvalidArgumentError for no rows or one out of range.
 */
export function makeBatch(set: DataSet, rows: Int32Array | readonly number[], into?: Batch): Batch {
  if (isImageSet(set)) return makeImageBatch(set, rows, into);
  return isTokenSet(set) ? makeTokenBatch(set, rows, into) : makeSequenceBatch(set, rows, into);
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
    this.#last = makeBatch(this.#set, rows, this.#last);
    return this.#last;
  }
}
