/** Which worker computes what of which job, in which pieces. What comes of it depends on the pieces' order alone. */
import type { StartedBatchArrays } from '../network-inputs.ts';
import type { BatchPart } from '../network.ts';
import { halvesOf, type Block } from '../summation.ts';

/** A part of the job's batch number `batch`. */
export interface DealtPart extends BatchPart {
  readonly batch: number;
}

/** What one worker adds up before others' is added: consecutive blocks of a half of a job, or both its halves. */
export interface Run {
  readonly worker: number;
  /** The half that it belongs to; the first where it is both. */
  readonly half: number;
  readonly pieces: readonly (readonly Block<DealtPart>[])[];
}

/**
 * Most blocks in a half's first run where others share the half: their contributions, a gradient's memory each, wait for
 * it.
 */
const LONGEST_RUN = 4;

/**
 * Deals jobs to the workers that have least to do: whole ones where every worker gets as many, or else by halves. The
 * first blocks of a half are added up where they are computed, as in one thread; each later one comes back by itself,
 * to be added in its turn. Two workers thus read out and send one gradient each. Of equals the last worker is taken
 * first: its state is copied last.
 */
export class Dealer {
  readonly #load: number[];
  readonly #wholeJobs: boolean;

  constructor(workers: number, jobs: number) {
    this.#load = Array.from({ length: workers }, () => 0);
    this.#wholeJobs = jobs % workers === 0;
  }

  deal(parts: readonly DealtPart[]): Run[] {
    const halves = halvesOf(parts);
    if (this.#wholeJobs) return [{ worker: this.#take(parts.length), half: 0, pieces: halves }];
    const sharing = Math.ceil(this.#load.length / 2);
    return halves.flatMap((blocks, half) => {
      const first = sharing === 1 ? blocks.length : Math.min(Math.ceil(blocks.length / sharing), LONGEST_RUN);
      return [blocks.slice(0, first), ...blocks.slice(first).map((block) => [block])]
        .map((own) => ({ worker: this.#take(own.flat().length), half, pieces: [own] }));
    });
  }

  #take(parts: number): number {
    const worker = this.#load.lastIndexOf(Math.min(...this.#load));
    this.#load[worker] = (this.#load[worker] as number) + parts;
    return worker;
  }
}

/** Copies: posting a view would send the whole buffer behind it. */
export function partsOf(batch: StartedBatchArrays, index: number, size: number): DealtPart[] {
  const parts: DealtPart[] = [];
  const { firstOutputs } = batch;
  const perInput = batch.inputs.length / batch.count;
  const perLabel = batch.labels.length / batch.count;
  const perFirst = (firstOutputs?.length ?? 0) / batch.count;
  for (let first = 0; first < batch.count; first += size) {
    const count = Math.min(size, batch.count - first);
    parts.push({
      inputs: batch.inputs.slice(first * perInput, (first + count) * perInput),
      labels: batch.labels.slice(first * perLabel, (first + count) * perLabel),
      ...(firstOutputs === undefined ? {} : { firstOutputs: firstOutputs.slice(first * perFirst, (first + count) * perFirst) }),
      count,
      wholeCount: batch.count,
      batch: index,
    });
  }
  return parts;
}
