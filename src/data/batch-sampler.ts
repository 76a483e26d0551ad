/** Which rows a mini-batch takes: seeded, epoch by epoch. */
import { InvalidArgumentError } from '../core/errors.ts';
import { requireInteger } from '../core/require.ts';
import type { Random } from '../tensor/random.ts';

const LARGEST_BATCH = 2 ** 31 - 1;

/** Batches of one pass over so many rows, the last of which may be smaller. @throws InvalidArgumentError for a batch size below one. */
export function batchesInEpoch(rows: number, batchSize: number): number {
  return Math.ceil(rows / requireInteger('batchSize', batchSize, 1, LARGEST_BATCH));
}

/**
 * Endless mini-batches: every epoch visits every row once, in a new random order; the last batch of an epoch is smaller
 * where the rows do not divide evenly (as PyTorch's loader does by default).
 */
export class BatchSampler {
  readonly batchSize: number;
  readonly #order: Int32Array;
  readonly #random: Random;
  #position: number;

  /** @throws InvalidArgumentError for no rows or a batch size below one. */
  constructor(rows: Int32Array, batchSize: number, random: Random) {
    if (rows.length === 0) throw new InvalidArgumentError({ field: 'rows', expected: 'at least one row', got: 'none' });
    this.batchSize = requireInteger('batchSize', batchSize, 1, LARGEST_BATCH);
    this.#order = rows.slice();
    this.#position = rows.length;
    this.#random = random;
  }

  /** True after the last batch of an epoch (and before the first of all). */
  get atEpochEnd(): boolean {
    return this.#position === this.#order.length;
  }

  /** The rows of the next batch. */
  next(): Int32Array {
    const start = this.#advance();
    return this.#order.slice(start, this.#position);
  }

  /** Passes over the next `batches` as if they had been drawn: how a resumed job comes to where it was. */
  skip(batches: number): void {
    for (let batch = 0; batch < batches; batch++) this.#advance();
  }

  /** Where the next batch starts; it ends at the new position. */
  #advance(): number {
    if (this.atEpochEnd) {
      this.#random.shuffle(this.#order);
      this.#position = 0;
    }
    const start = this.#position;
    this.#position = Math.min(start + this.batchSize, this.#order.length);
    return start;
  }
}
