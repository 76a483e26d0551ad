/** The points that a transfer visits: θ₁ along the source's trajectory, and θ₂⁰ + π(θ₁ − θ₁⁰) beside it. */
import type { Core } from '../core/core.ts';
import { limits } from '../core/limits.ts';
import { permutedChange, pointAt, pointBetween, readWritten } from '../matching/permuted-change.ts';
import type { TrajectoryPoint } from '../matching/permuted-change.ts';
import type { Permutations } from '../matching/permutation.ts';
import { ResidentLine } from '../matching/resident-line.ts';
import type { PermutationSpec } from '../model/permutation-spec.ts';
import { getTensor, tensorBytes, zeros } from '../tensor/tensor.ts';
import type { NamedTensors, TensorWriter } from '../tensor/tensor.ts';

/** Parameters of source and target at one point, as `T` holds them. */
export interface TransferPair<T> {
  readonly source: T;
  readonly target: T;
}

export type Side = keyof TransferPair<unknown>;

export interface PointsOptions {
  readonly core: Core;
  readonly spec: PermutationSpec;
  /** θ₂⁰ */
  readonly target: NamedTensors;
  /** Both ends of the source's trajectory. */
  readonly start: NamedTensors;
  readonly end: NamedTensors;
  /** By step: fractions of the line between the ends, or numbers of checkpoints where `read` is given. */
  readonly points: readonly number[];
  readonly read?: (checkpoint: number) => Promise<NamedTensors>;
  /** Parameters that the target keeps as they are. */
  readonly skip: (name: string) => boolean;
}

export class Points implements Disposable {
  readonly #options: PointsOptions;
  /** The line on the heap, where there is one and it is small. */
  readonly #line: ResidentLine | undefined;
  #passed: TransferPair<NamedTensors> | undefined;
  /**
   * By number, as many as `limits.readCheckpointBytes` holds: GMT passes each point at every later step, and a bundle
   * may be at the other end of a wire.
   */
  readonly #read = new Map<number, NamedTensors>();
  #readBytes = 0;

  constructor(options: PointsOptions) {
    this.#options = options;
    const { core, spec, start, end, target, read } = options;
    this.#line = read === undefined ? ResidentLine.open(core, spec, start, end, target) : undefined;
  }

  [Symbol.dispose](): void {
    this.#line?.[Symbol.dispose]();
  }

  /** θ₁ at a step. */
  async sourceAt(step: number): Promise<NamedTensors> {
    return readWritten(this.#options.core, (await this.#source(step)).write, this.#options.start);
  }

  /**
   * Both sides at a step, to be computed on the heap where a gradient reads them. GMT passes T(T − 1) / 2 points:
   * arrays for them, even the same ones at each, were nine copies of an MLP 512's parameters a point.
   */
  async pass(step: number, permutations: Permutations): Promise<TransferPair<TensorWriter>> {
    const { spec, core, target, skip, points } = this.#options;
    const point = points[step] as number;
    const { write, writeChange } = await this.#source(step);
    if (writeChange === undefined) return { source: write, target: arraysOf(core, target) };
    const onLine = this.#line !== undefined && point !== 1;
    const changed = onLine ? this.#line.permutedChange(point, permutations) : permutedChange(core, spec, target, writeChange, permutations);
    const kept = arraysOf(core, target);
    return { source: onLine ? this.#line.point(point) : write, target: (name, pointer) => (skip(name) ? kept : changed)(name, pointer) };
  }

  /** The same as arrays, which are written anew for the next: what goes to workers. */
  async passAsArrays(step: number, permutations: Permutations): Promise<TransferPair<NamedTensors>> {
    const { core, start, target: base } = this.#options;
    const { source, target } = await this.pass(step, permutations);
    this.#passed ??= { source: alike(start), target: alike(base) };
    readWritten(core, source, start, this.#passed.source);
    readWritten(core, target, base, this.#passed.target);
    return this.#passed;
  }

  /** θ₂ at a step, in arrays of `into` where it is given. */
  async arrive(step: number, permutations: Permutations, into?: NamedTensors): Promise<NamedTensors> {
    const { core, target } = this.#options;
    return readWritten(core, (await this.pass(step, permutations)).target, target, into);
  }

  async #source(step: number): Promise<TrajectoryPoint> {
    const { core, spec, points, start, end, read } = this.#options;
    const point = points[step] as number;
    if (read !== undefined) return pointAt(core, spec, start, this.#read.get(point) ?? this.#keep(point, await read(point)));
    if (point !== 0 && point !== 1) return pointBetween(core, spec, start, end, point);
    return pointAt(core, spec, start, point === 0 ? start : end);
  }

  #keep(checkpoint: number, parameters: NamedTensors): NamedTensors {
    const bytes = tensorBytes(parameters);
    if (this.#readBytes + bytes <= limits.readCheckpointBytes) {
      this.#read.set(checkpoint, parameters);
      this.#readBytes += bytes;
    }
    return parameters;
  }
}

function arraysOf(core: Core, tensors: NamedTensors): TensorWriter {
  return (name, pointer) => {
    const { data } = getTensor(tensors, name);
    core.f32(pointer, data.length).set(data);
  };
}

function alike(tensors: NamedTensors): NamedTensors {
  return new Map([...tensors].map(([name, { shape }]) => [name, zeros(shape)]));
}
