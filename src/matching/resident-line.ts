/**
 * The points of `permuted-change.ts` along one line whose ends, and what their change is added to, stay on the heap
 * while points are written: of an MLP 512's GMT that spares five copies of its parameters a pair. For networks that are
 * small beside the heap, which never shrinks.
 */
import { Scratch } from '../core/core.ts';
import type { Core } from '../core/core.ts';
import { limits } from '../core/limits.ts';
import type { PermutationSpec, TensorSpec } from '../model/permutation-spec.ts';
import { getTensor, tensorBytes } from '../tensor/tensor.ts';
import type { NamedTensors, TensorWriter } from '../tensor/tensor.ts';
import { axisPermutations, requirePermutations, requireSpecShape, specOf, walkOf } from './permutation.ts';
import type { Permutations } from './permutation.ts';

/** What such a line takes of a heap for parameters of so many bytes; 0 where they are too many. */
export function residentLineBytes(parameterBytes: number, heapLimitBytes: number): number {
  const bytes = 3 * parameterBytes;
  return bytes <= limits.residentLineShare * heapLimitBytes ? bytes : 0;
}

/** One tensor: addresses of its numbers. */
interface Resident {
  readonly spec: TensorSpec;
  readonly length: number;
  readonly start: number;
  readonly end: number;
  readonly base: number;
}

export class ResidentLine implements Disposable {
  readonly #core: Core;
  readonly #spec: PermutationSpec;
  readonly #scratch: Scratch;
  readonly #tensors = new Map<string, Resident>();

  private constructor(core: Core, spec: PermutationSpec) {
    this.#core = core;
    this.#spec = spec;
    this.#scratch = new Scratch(core);
  }

  /**
   * The line from `start` to `end` and `base`, copied to the heap; undefined where they are too large for it.
   * @throws InvalidArgumentError for a tensor that the spec or one of them lacks or has in another shape.
   */
  static open(core: Core, spec: PermutationSpec, start: NamedTensors, end: NamedTensors, base: NamedTensors): ResidentLine | undefined {
    if (residentLineBytes(tensorBytes(base), core.heapLimitBytes) === 0) return undefined;
    const line = new ResidentLine(core, spec);
    try {
      for (const name of base.keys()) line.#add(name, start, end, base);
    } catch (error) {
      line[Symbol.dispose]();
      throw error;
    }
    return line;
  }

  /** start + c·(end − start). */
  point(c: number): TensorWriter {
    return (name, pointer) => {
      const { start, end, length } = this.#tensor(name);
      this.#core.kernels.interpolateF32(start, end, c, pointer, length);
    };
  }

  /** base + π(point − start). @throws as `requirePermutations`. */
  permutedChange(c: number, perms: Permutations): TensorWriter {
    requirePermutations(this.#spec, perms);
    return (name, pointer) => {
      const { spec, start, end, base, length } = this.#tensor(name);
      const { starts, run, columns } = walkOf(length, spec.view, axisPermutations(spec, perms));
      this.#core.scoped((scratch) => {
        const startsPtr = scratch.upload(starts, 'starts of runs');
        const columnsPtr = columns === null ? 0 : scratch.upload(columns, 'columns');
        this.#core.kernels.addGatheredMoveF32(pointer, base, start, end, c, startsPtr, starts.length, columns?.length ?? run, columnsPtr);
      });
    };
  }

  [Symbol.dispose](): void {
    // A core that was disposed of has freed everything.
    if (!this.#core.disposed) this.#scratch.release();
  }

  #add(name: string, start: NamedTensors, end: NamedTensors, base: NamedTensors): void {
    const spec = specOf(this.#spec, name);
    const upload = (tensors: NamedTensors): number => {
      const tensor = getTensor(tensors, name);
      requireSpecShape(spec, tensor, name);
      return this.#scratch.upload(tensor.data, `points of ${name}`);
    };
    this.#tensors.set(name, {
      spec,
      length: getTensor(base, name).data.length,
      start: upload(start),
      end: upload(end),
      base: upload(base),
    });
  }

  #tensor(name: string): Resident {
    return this.#tensors.get(name) as Resident;
  }
}
