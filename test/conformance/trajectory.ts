// What the official loop does around matching: points of the source's trajectory, transferred parameters, batch-norm
// statistics and evaluation, with the recorded settings and our own engine.
import { makeBatch } from '../../src/data/data-set.ts';
import type { Evaluation, Network } from '../../src/gradient/network.ts';
import type { Permutations } from '../../src/matching/permutation.ts';
import { permuteTensors } from '../../src/matching/permutation.ts';
import type { NamedTensors, NetworkState, Tensor } from '../../src/tensor/tensor.ts';
import type { RunRecord } from './manifest.ts';
import type { ReferenceCase } from './reference-case.ts';

/** Element by element in f32. */
function combine(a: NamedTensors, b: NamedTensors, f: (x: number, y: number) => number): NamedTensors {
  return new Map(
    [...a].map(([name, { shape, data }]) => {
      const other = b.get(name) as Tensor;
      return [name, { shape, data: data.map((x, i) => f(x, other.data[i] as number)) }];
    }),
  );
}

export const subtract = (a: NamedTensors, b: NamedTensors): NamedTensors => combine(a, b, (x, y) => x - y);

export class CaseTrajectory {
  readonly #case: ReferenceCase;
  readonly #run: RunRecord;
  readonly #network: Network;
  readonly #first: NamedTensors;
  readonly #update: NamedTensors;
  readonly target: NetworkState;

  constructor(reference: ReferenceCase, run: RunRecord, network: Network) {
    this.#case = reference;
    this.#run = run;
    this.#network = network;
    const last = reference.manifest.hyper.epochs - 1;
    this.#first = reference.checkpoint('source_epoch-1').parameters;
    this.#update = subtract(reference.checkpoint(`source_epoch${last}`).parameters, this.#first);
    this.target = reference.checkpoint('target_epoch-1');
  }

  /** The source's parameters at step k: a recorded checkpoint, or a point of the line. */
  point(k: number): NamedTensors {
    const { points, alphas } = this.#run;
    if (points !== null) return this.#case.checkpoint(points[k] as string).parameters;
    const alpha = Math.fround(alphas?.[k] as number);
    return combine(this.#first, this.#update, (start, step) => start + Math.fround(alpha * step));
  }

  /** θ₂⁰ + π(θ₁ᵏ − θ₁⁰), with the target's buffers. */
  transferred(k: number, permutations: Permutations): NetworkState {
    const moved = permuteTensors(this.#case.spec, subtract(this.point(k), this.point(0)), permutations);
    return { parameters: combine(this.target.parameters, moved, (x, y) => x + y), buffers: this.target.buffers };
  }

  /** Re-estimates batch-norm statistics over the batches given, if any. */
  withStatistics(state: NetworkState, batches: readonly (readonly number[])[] | undefined): NetworkState {
    if (batches === undefined || batches.length === 0 || state.buffers.size === 0) return state;
    const estimate = this.#network.estimateStatistics(state);
    for (const rows of batches) estimate.add(this.#case.batch(rows));
    return estimate.state();
  }

  evaluate(state: NetworkState): Evaluation {
    return this.#network.evaluate(state, [makeBatch(this.#case.validation, [...this.#case.validation.labels.keys()])]);
  }

  /** Mean gradients of both nets over the same batches. */
  gradients(parameters: NamedTensors, batches: readonly (readonly number[])[]): { losses: readonly number[]; gradients: NamedTensors } {
    return this.#network.gradient({ parameters, buffers: this.target.buffers }, batches.map((rows) => this.#case.batch(rows)));
  }
}
