/** Statistics of batch norms: of one batch each, and their cumulative average over batches. */
import { InvalidArgumentError } from '../core/errors.ts';
import type { ParameterLayout } from '../model/graph.ts';
import { elementCount, type NamedTensors, type Tensor } from '../tensor/tensor.ts';

/** Statistics of one batch-norm node in one pass, over `rows` values a channel. */
export interface BatchStatistics {
  readonly node: string;
  readonly rows: number;
  /** [channels] */
  readonly mean: Float32Array;
  /** [channels], divided by `rows` (biased). */
  readonly variance: Float32Array;
}

/** The average, over the batches added, of batch mean and unbiased batch variance (PyTorch's reset followed by momentum None). */
export class StatisticsAverage {
  readonly #buffers: ReadonlyMap<string, Tensor>;
  #batches = 0;

  constructor(layout: ParameterLayout) {
    this.#buffers = new Map(layout.buffers.map(({ name, shape }) => [name, { shape, data: new Float32Array(elementCount(shape)) }]));
  }

  /** Adds all nodes' statistics of one batch; the average depends on the order of batches by rounding. */
  add(found: readonly BatchStatistics[]): void {
    const weight = 1 / ++this.#batches;
    for (const { node, rows, mean, variance } of found) {
      this.#average(`${node}.running_mean`, mean, 1, weight);
      this.#average(`${node}.running_var`, variance, rows / (rows - 1), weight);
    }
  }

  /** As buffers of a state. @throws InvalidArgumentError where no batch has been added. */
  buffers(): NamedTensors {
    if (this.#batches === 0) throw new InvalidArgumentError({ field: 'batches', expected: 'at least one batch', got: 'none' });
    return this.#buffers;
  }

  /** buffer += (scale · value − buffer) · weight. */
  #average(name: string, values: Float32Array, scale: number, weight: number): void {
    const { data } = this.#buffers.get(name) as Tensor;
    for (let c = 0; c < data.length; c++) {
      const before = data[c] as number;
      data[c] = before + ((values[c] as number) * scale - before) * weight;
    }
  }
}
