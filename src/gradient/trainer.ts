/** Training in place: parameters, gradients and the optimiser's moments stay on the heap from step to step. */
import { InvalidArgumentError } from '../core/errors.ts';
import { requireNumber } from '../core/require.ts';
import type { Batch } from '../data/batch.ts';
import type { ModelGraph, NodeOf, ParameterLayout } from '../model/graph.ts';
import type { NamedTensors, NetworkState } from '../tensor/tensor.ts';
import { Optimiser, type OptimiserSettings, type OptimiserState } from './optimiser.ts';
import { HeapParameters } from './parameters.ts';
import type { BatchStatistics } from './batch-statistics.ts';
import type { HeapBackend } from './backend.ts';

/** What a trainer needs of a network; the network makes its trainers, so it is not imported here. */
export interface Trainable {
  readonly graph: ModelGraph;
  readonly layout: ParameterLayout;
  /** The sum of the gradients of the batches' mean losses goes into `parameters`. @returns those losses. */
  accumulateGradient(parameters: HeapParameters, batches: readonly Batch[], onStatistics?: (statistics: BatchStatistics) => void): number[];
}

/** One training run; `Network.trainer` makes it, and it holds heap until it is disposed of. */
export class Trainer implements Disposable {
  readonly #network: Trainable;
  readonly #backend: HeapBackend;
  readonly #parameters: HeapParameters;
  readonly #optimiser: Optimiser;
  #disposed = false;

  constructor(network: Trainable, backend: HeapBackend, state: NetworkState, settings: OptimiserSettings) {
    this.#network = network;
    this.#backend = backend;
    this.#parameters = new HeapParameters(backend, network.layout, state);
    try {
      this.#optimiser = new Optimiser(backend, this.#parameters, settings);
    } catch (error) {
      this.#parameters.release();
      throw error;
    }
  }

  /**
   * One step down the gradient of the batch's mean loss; running statistics of batch norm move by its momentum.
   * @returns the loss before the step.
   * @throws as `Network.gradient`; the parameters are unchanged then.
   */
  step(batch: Batch, learningRate: number): number {
    this.#requireOpen();
    requireNumber('learningRate', learningRate, 0);
    const seen: BatchStatistics[] = [];
    try {
      const [loss] = this.#backend.scope(() =>
        this.#network.accumulateGradient(this.#parameters, [batch], (statistics) => seen.push(statistics)),
      );
      for (const statistics of seen) this.#moveStatistics(statistics);
      this.#backend.scope(() => this.#optimiser.step(this.#parameters, learningRate));
      return loss as number;
    } finally {
      this.#parameters.clearGradients();
    }
  }

  /**
   * One step down gradients that workers computed at this trainer's state: the bytes of `step` with their batch. Not for batch norm,
   * whose running statistics the batch moves too.
   * @throws InvalidArgumentError for gradients that are not the graph's; OutOfMemoryError. The parameters are unchanged then.
   */
  apply(gradients: NamedTensors, learningRate: number): void {
    this.#requireOpen();
    requireNumber('learningRate', learningRate, 0);
    try {
      this.#backend.scope(() => {
        this.#parameters.writeGradients(gradients);
        this.#optimiser.step(this.#parameters, learningRate);
      });
    } finally {
      this.#parameters.clearGradients();
    }
  }

  /** A copy of the state now. */
  state(): NetworkState {
    this.#requireOpen();
    return this.#parameters.readState();
  }

  /** What the optimiser remembers: with `state`, all that the next step depends on. */
  optimiserState(): OptimiserState {
    this.#requireOpen();
    return this.#optimiser.state();
  }

  /** Goes on from where another trainer's `optimiserState` was taken. @throws InvalidArgumentError where it does not fit. */
  restoreOptimiser(state: OptimiserState): void {
    this.#requireOpen();
    this.#optimiser.restore(state);
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#optimiser.release();
    this.#parameters.release();
  }

  #requireOpen(): void {
    if (this.#disposed) throw new InvalidArgumentError({ field: 'trainer', expected: 'an open trainer', got: 'a disposed one' });
  }

  /** running ← (1 − momentum) · running + momentum · batch, with the unbiased variance. */
  #moveStatistics({ node, rows, mean, variance }: BatchStatistics): void {
    const { momentum } = this.#network.graph.nodes.find(({ name }) => name === node) as NodeOf<'batch_norm'>;
    const move = (suffix: string, values: Float32Array, scale: number): void => {
      const name = `${node}.${suffix}`;
      const view = this.#backend.core.f32(this.#parameters.pointer(name), this.#parameters.value(name).size);
      for (let c = 0; c < view.length; c++) {
        view[c] = (1 - momentum) * (view[c] as number) + momentum * scale * (values[c] as number);
      }
    };
    move('running_mean', mean, 1);
    move('running_var', variance, rows / (rows - 1));
  }
}
