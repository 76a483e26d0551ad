/** Statistics of batch norms: of one batch each, and their cumulative average over batches. */
import { describe } from '../core/describe.ts';
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

  /**
   * Adds all nodes' statistics of one batch; the average depends on the order of batches by rounding.
   * @throws InvalidArgumentError for those of another network; nothing of them stays then.
   */
  add(found: readonly BatchStatistics[]): void {
    this.#require(found);
    const weight = 1 / ++this.#batches;
    for (const { node, rows, mean, variance } of found) {
      this.#average(`${node}.running_mean`, mean, 1, weight);
      this.#average(`${node}.running_var`, variance, rows / (rows - 1), weight);
    }
  }

  #require(found: readonly BatchStatistics[]): void {
    const nodes = new Set(found.map(({ node }) => node));
    const channelsOf = (name: string): number | undefined => this.#buffers.get(name)?.data.length;
    const fits = ({ node, mean, variance }: BatchStatistics): boolean =>
      channelsOf(`${node}.running_mean`) === mean.length && channelsOf(`${node}.running_var`) === variance.length;
    if (nodes.size === found.length && 2 * nodes.size === this.#buffers.size && found.every(fits)) return;
    throw new InvalidArgumentError({
      field: 'statistics',
      expected: `those of each batch norm of the network once: ${describe([...this.#buffers.keys()])}`,
      got: describe([...nodes]),
    });
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
