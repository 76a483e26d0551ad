/**
 * What a network's first layer makes of rows of the data, along the line of a transfer. A dense layer is linear in its
 * weights: with W and b on the line, X · W(t)ᵀ + b(t) = start + t · change, where start = X · W₁⁰ᵀ + b₁⁰ and change is the
 * same of what the line adds to both. The target's is base + t · π(change), because nothing permutes inputs. On a heap
 * with room for them, these are computed once for all rows and points; beside a smaller one anew for each batch, to the
 * same bytes.
 */
import { Scratch } from '../core/core.ts';
import type { Breather } from '../core/breather.ts';
import type { Core } from '../core/core.ts';
import { OutOfMemoryError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { matmulLeavingOutZeros } from '../core/sparse-matmul.ts';
import type { Batch } from '../data/batch.ts';
import { PassingBatches } from '../data/data-set.ts';
import type { DataSet } from '../data/data-set.ts';
import type { RowWriter } from '../gradient/network-inputs.ts';
import { axisPermutations } from '../matching/permutation.ts';
import type { Permutations } from '../matching/permutation.ts';
import type { FirstLayer } from '../model/first-layer.ts';
import type { PermutationSpec, TensorSpec } from '../model/permutation-spec.ts';
import { getTensor } from '../tensor/tensor.ts';
import type { NamedTensors } from '../tensor/tensor.ts';

/** A mini-batch and the rows of the data that it is made of. */
export interface DrawnBatch extends Batch {
  readonly rows: Int32Array;
}

/** Rows that pass the heap at once where it has room. */
const ROWS_AT_ONCE = 512;

/** Bytes of what is known of rows. @param both of the source, too. */
export function startedBytes({ outputs }: FirstLayer, rows: number, both: boolean): number {
  return Float32Array.BYTES_PER_ELEMENT * rows * outputs * (both ? 3 : 2);
}

/** How many of `bytes` are kept on a heap of that cap: all or none. */
export function startedHeapBytes(bytes: number, heapLimitBytes: number): number {
  return bytes <= limits.startedRowShare * heapLimitBytes ? bytes : 0;
}

export interface StartedRowsOptions {
  readonly core: Core;
  readonly layer: FirstLayer;
  readonly spec: PermutationSpec;
  readonly data: DataSet;
  readonly rows: Int32Array;
  /** Both ends of the source's line. */
  readonly start: NamedTensors;
  readonly end: NamedTensors;
  /** θ₂⁰ */
  readonly base: NamedTensors;
  /** Whether the source's outputs are asked for. */
  readonly withSource: boolean;
  /** Rows that may pass a small heap at once: as a gradient takes them. */
  readonly microBatch: number;
  readonly breather: Breather;
}

/** Parameters of the layer, or what they are beyond others, and what they make of all rows where that is kept. */
interface Form {
  readonly of: NamedTensors;
  readonly minus?: NamedTensors;
  /** Address of [rows, outputs]. */
  readonly kept: number | undefined;
}

export class StartedRows implements Disposable {
  readonly #core: Core;
  readonly #layer: FirstLayer;
  readonly #spec: TensorSpec;
  /** The place of each row of the data among those kept. */
  readonly #places: Int32Array;
  /** What stays on the heap. */
  readonly #resident: Scratch;
  readonly #change: Form;
  readonly #base: Form;
  readonly #start: Form | undefined;

  private constructor({ core, layer, spec, data, rows, start, end, base, withSource }: StartedRowsOptions) {
    this.#core = core;
    this.#layer = layer;
    this.#spec = spec.tensors.get(layer.weight) as TensorSpec;
    this.#places = new Int32Array(data.count);
    for (const [place, row] of rows.entries()) this.#places[row] = place;
    this.#resident = new Scratch(core);
    const bytes = startedBytes(layer, rows.length, withSource);
    const pointer = startedHeapBytes(bytes, core.heapLimitBytes) > 0 ? roomFor(this.#resident, bytes) : undefined;
    const room = (form: number): number | undefined =>
      pointer === undefined ? undefined : pointer + form * startedBytes(layer, rows.length, false) / 2;
    this.#change = { of: end, minus: start, kept: room(0) };
    this.#base = { of: base, kept: room(1) };
    this.#start = withSource ? { of: start, kept: room(2) } : undefined;
  }

  /** @throws the signal's reason of `breather`; OutOfMemoryError. */
  static async open(options: StartedRowsOptions): Promise<StartedRows> {
    const started = new StartedRows(options);
    try {
      await started.#keep(options);
      return started;
    } catch (error) {
      started[Symbol.dispose]();
      throw error;
    }
  }

  /** What the source's layer gives for a batch at a point of the line. */
  source(t: number, batch: DrawnBatch): RowWriter {
    return this.#at(t, batch, this.#start as Form, null);
  }

  /** The same of the target, whose units the permutations carry the change to. */
  target(t: number, permutations: Permutations, batch: DrawnBatch): RowWriter {
    return this.#at(t, batch, this.#base, axisPermutations(this.#spec, permutations)[0] ?? null);
  }

  /** Such rows as an array. */
  read(write: RowWriter, count: number): Float32Array {
    return this.#core.scoped((scratch) => {
      const length = count * this.#layer.outputs;
      const pointer = scratch.f32(length, 'outputs of the first layer');
      write(0, count, pointer);
      return this.#core.f32(pointer, length).slice();
    });
  }

  [Symbol.dispose](): void {
    // A core that was disposed of has freed everything.
    if (!this.#core.disposed) this.#resident.release();
  }

  #at(t: number, { rows, inputs }: DrawnBatch, base: Form, order: Int32Array | null): RowWriter {
    const [core, { outputs }] = [this.#core, this.#layer];
    const perInput = inputs.length / rows.length;
    return (first, count, pointer) =>
      core.scoped((scratch) => {
        const columnsPtr = order === null ? 0 : scratch.upload(order, 'order of units');
        const forms = [base, this.#change] as const;
        const [basePtr, changePtr] = forms.every(({ kept }) => kept !== undefined)
          ? forms.map(({ kept }) => kept as number)
          : this.#made(scratch, forms, inputs.subarray(first * perInput, (first + count) * perInput), count);
        const starts = Int32Array.from({ length: count }, (_, i) =>
          base.kept === undefined ? i * outputs : (this.#places[rows[first + i] as number] as number) * outputs,
        );
        core.kernels.shiftRowsF32(
          pointer, basePtr as number, changePtr as number, t, scratch.upload(starts, 'starts of rows'), count, outputs, columnsPtr,
        );
      });
  }

  /** What forms make of some inputs, as long as `scratch` lasts. */
  #made(scratch: Scratch, forms: readonly Form[], inputs: Batch['inputs'], count: number): number[] {
    const pointers = forms.map(() => scratch.f32(count * this.#layer.outputs, 'outputs of the first layer'));
    this.#core.scoped((own) => {
      const x = own.upload(inputs, 'inputs');
      for (const [i, form] of forms.entries())
        this.#core.scoped((weights) => this.#multiply(x, count, this.#upload(weights, form), pointers[i] as number));
    });
    return pointers;
  }

  /**
   * Computes what is kept, all forms of a chunk of rows where their weights have room beside one another. On a smaller heap one
   * weight and a micro-batch are there at a time, because a gradient takes as much.
   */
  async #keep(options: StartedRowsOptions): Promise<void> {
    const forms = [this.#change, this.#base, ...(this.#start === undefined ? [] : [this.#start])];
    if (this.#change.kept === undefined) return;
    const { inputs, outputs } = this.#layer;
    const weights = forms.length * Float32Array.BYTES_PER_ELEMENT * inputs * outputs;
    if (startedHeapBytes(weights, this.#core.heapLimitBytes) > 0) return this.#keepForms(forms, options, ROWS_AT_ONCE);
    for (const form of forms) await this.#keepForms([form], options, Math.min(options.microBatch, ROWS_AT_ONCE));
  }

  async #keepForms(forms: readonly Form[], { rows, data, breather }: StartedRowsOptions, atOnce: number): Promise<void> {
    const { outputs } = this.#layer;
    const batches = new PassingBatches(data);
    const resident = new Scratch(this.#core);
    try {
      const parameters = forms.map((form) => this.#upload(resident, form));
      for (let first = 0; first < rows.length; first += atOnce) {
        const { inputs, count } = batches.make(rows.subarray(first, first + atOnce));
        this.#core.scoped((scratch) => {
          const x = scratch.upload(inputs, 'inputs');
          for (const [i, { kept }] of forms.entries())
            this.#multiply(x, count, parameters[i] as LayerPointers, (kept as number) + Float32Array.BYTES_PER_ELEMENT * first * outputs);
        });
        await breather.pause();
      }
    } finally {
      if (!this.#core.disposed) resident.release();
    }
  }

  /** out = X · Wᵀ + b; each row's bytes are the same whatever rows pass with it. */
  #multiply(x: number, count: number, { weight, bias }: LayerPointers, out: number): void {
    const { inputs, outputs } = this.#layer;
    if (bias !== undefined) this.#core.kernels.fillRowsF32(out, bias, count, outputs);
    const product = { a: x, b: weight, c: out, m: count, n: outputs, k: inputs, transposeB: true, accumulate: bias !== undefined };
    // In relaxed arithmetic zeros that are left out change bytes, and whether they are is chosen by the rows that pass together.
    matmulLeavingOutZeros(this.#core, product, this.#core.arithmetic === 'strict' ? ['a'] : []);
  }

  #upload(scratch: Scratch, { of, minus }: Form): LayerPointers {
    const upload = (name: string): number => {
      const { data } = getTensor(of, name);
      const pointer = scratch.upload(data, name);
      if (minus !== undefined)
        this.#core.scoped((own) => this.#core.kernels.subtractF32(
          pointer, own.upload(getTensor(minus, name).data, name), pointer, data.length,
        ));
      return pointer;
    };
    const { weight, bias } = this.#layer;
    return { weight: upload(weight), bias: bias === undefined ? undefined : upload(bias) };
  }
}

/** Room on the heap; undefined where there is none: what it is for can be computed anew. */
function roomFor(scratch: Scratch, bytes: number): number | undefined {
  try {
    return scratch.bytes(bytes, 'outputs of the first layer');
  } catch (error) {
    if (error instanceof OutOfMemoryError) return undefined;
    throw error;
  }
}

/** Addresses of a layer's parameters. */
interface LayerPointers {
  readonly weight: number;
  readonly bias: number | undefined;
}
