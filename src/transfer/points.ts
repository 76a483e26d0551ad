/** The points that a transfer visits: θ₁ along the source's trajectory, and θ₂⁰ + π(θ₁ − θ₁⁰) beside it. */
import type { Core } from '../core/core.ts';
import { limits } from '../core/limits.ts';
import { addPermutedChange, interpolate } from '../matching/permuted-change.ts';
import type { Permutations } from '../matching/permutation.ts';
import type { PermutationSpec } from '../model/permutation-spec.ts';
import { tensorBytes, zeros } from '../tensor/tensor.ts';
import type { NamedTensors } from '../tensor/tensor.ts';

/** Parameters of source and target at one point. */
export interface TransferPair {
  readonly source: NamedTensors;
  readonly target: NamedTensors;
}

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

export class Points {
  readonly #options: PointsOptions;
  readonly #changing: NamedTensors;
  /** Where the last step arrived: the next one takes its newest pair of gradients there. */
  #arrived: (TransferPair & { readonly step: number; readonly permutations: Permutations }) | undefined;
  #passed: TransferPair | undefined;
  /** By number, as many as `limits.readCheckpointBytes` holds: GMT passes each point at every later step, and a bundle may be at the other end of a wire. */
  readonly #read = new Map<number, NamedTensors>();
  #readBytes = 0;

  constructor(options: PointsOptions) {
    this.#options = options;
    this.#changing = new Map([...options.target].filter(([name]) => !options.skip(name)));
  }

  /** θ₁ at a step, in arrays of `into` where it has to be computed. */
  async sourceAt(step: number, into?: NamedTensors): Promise<NamedTensors> {
    const { core, points, start, end, read } = this.#options;
    const point = points[step] as number;
    if (read !== undefined) return this.#read.get(point) ?? this.#keep(point, await read(point));
    if (point === 0) return start;
    return point === 1 ? end : interpolate(core, start, end, point, into);
  }

  #keep(checkpoint: number, parameters: NamedTensors): NamedTensors {
    const bytes = tensorBytes(parameters);
    if (this.#readBytes + bytes <= limits.readCheckpointBytes) {
      this.#read.set(checkpoint, parameters);
      this.#readBytes += bytes;
    }
    return parameters;
  }

  /** Both sides at a step, the caller's to keep. */
  async arrive(step: number, permutations: Permutations): Promise<TransferPair> {
    this.#arrived = { ...(await this.#pair(step, permutations)), step, permutations };
    return this.#arrived;
  }

  /**
   * Both sides at a step in passing: the arrays are written anew for the next. GMT passes T(T − 1) / 2 points, and arrays of their own for each
   * cost an MLP 512 a sixth of its time, in page faults and garbage collection.
   */
  async pass(step: number, permutations: Permutations): Promise<TransferPair> {
    const arrived = this.#arrived;
    if (arrived?.step === step && arrived.permutations === permutations) return arrived;
    this.#passed ??= { source: alike(this.#options.start), target: alike(this.#options.target) };
    return this.#pair(step, permutations, this.#passed);
  }

  async #pair(step: number, permutations: Permutations, into?: TransferPair): Promise<TransferPair> {
    const { core, spec, target, start } = this.#options;
    const source = await this.sourceAt(step, into?.source);
    // At the start nothing has changed.
    if (source === start) return { source, target };
    const changed = addPermutedChange(core, spec, this.#changing, source, start, permutations, into?.target);
    // In the order of the target's.
    return { source, target: new Map([...target].map(([name, tensor]) => [name, changed.get(name) ?? tensor])) };
  }
}

function alike(tensors: NamedTensors): NamedTensors {
  return new Map([...tensors].map(([name, { shape }]) => [name, zeros(shape)]));
}
