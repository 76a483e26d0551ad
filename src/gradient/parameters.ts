/**
 * A network's parameters and buffers on the heap, in the layouts that the kernels read: filters are HWIO inside and OIHW
 * outside, everything else is the same on both sides.
 */
import { engine, type Tensor as TfjsTensor } from '#tfjs';
import { InvalidArgumentError } from '../core/errors.ts';
import type { ParameterInfo, ParameterLayout } from '../model/graph.ts';
import type { NamedOuterProducts, OuterProducts } from '../tensor/outer-products.ts';
import {
  F32_BYTES, requireSameLayout, requireWhole, zeros, type NamedTensors, type NetworkState, type Tensor, type TensorWriter,
  type WrittenState,
} from '../tensor/tensor.ts';
import type { HeapBackend } from './backend.ts';

interface Slot {
  readonly info: ParameterInfo;
  readonly value: TfjsTensor;
  /** Sum of the halves that have ended (`summation.ts`); absent until the first. */
  gradient: TfjsTensor | undefined;
  /** Sum of the blocks that have ended in the open half; absent until the first. */
  half: TfjsTensor | undefined;
  /** Sum of the open block; absent until its first contribution. */
  block: TfjsTensor | undefined;
}

export class HeapParameters {
  readonly #backend: HeapBackend;
  readonly #parameters = new Map<string, Slot>();
  readonly #buffers = new Map<string, Slot>();
  /** Gradients that stay outer products, by weight: a part for each backward pass. */
  readonly #factors: ReadonlyMap<string, OuterProducts[]>;
  readonly #spare: NamedOuterProducts | undefined;

  /**
   * Uploads `state`, or lets it be written. Inside a scope of the backend everything ends with it; outside, with `release`.
   * @param factored weights of dense layers whose gradients are not multiplied out.
   * @param spare factors whose arrays `addFactors` may take; not those on the right, which may lie in a batch.
   * @param unread parameters whose numbers nothing asks for: they are left to chance.
   * @throws InvalidArgumentError as `requireLayout`.
   */
  constructor(
    backend: HeapBackend,
    layout: ParameterLayout,
    state: NetworkState | WrittenState,
    factored: ReadonlySet<string> = new Set(),
    spare?: NamedOuterProducts,
    unread: ReadonlySet<string> = new Set(),
  ) {
    this.#backend = backend;
    this.#spare = spare;
    this.#factors = new Map([...factored].map((name) => [name, []]));
    requireLayout('state', layout, state);
    const writeParameter = 'parameters' in state ? writerOf(backend, state.parameters) : state.writeParameter;
    try {
      for (const info of layout.parameters) this.#add(this.#parameters, info, unread.has(info.name) ? () => undefined : writeParameter);
      for (const info of layout.buffers) this.#add(this.#buffers, info, writerOf(backend, state.buffers));
    } catch (error) {
      this.release();
      throw error;
    }
  }

  get names(): readonly string[] {
    return [...this.#parameters.keys()];
  }

  /** Of values and gradients, on the heap. */
  get heapBytes(): number {
    let elements = 0;
    for (const { value, gradient, half, block } of [...this.#parameters.values(), ...this.#buffers.values()]) {
      for (const tensor of [value, gradient, half, block]) elements += tensor?.size ?? 0;
    }
    return F32_BYTES * elements;
  }

  value(name: string): TfjsTensor {
    return this.#slot(name).value;
  }

  /** Address of a parameter or buffer. */
  pointer(name: string): number {
    return this.#backend.pointer(this.#slot(name).value);
  }

  /** Address of a parameter's gradient; 0 while it has none. */
  gradientPointer(name: string): number {
    const { gradient } = this.#slot(name);
    return gradient === undefined ? 0 : this.#backend.pointer(gradient);
  }

  /** Takes over a contribution to the open block: the first becomes its gradient itself, later ones are added to it in place. */
  addGradient(name: string, contribution: TfjsTensor): void {
    const slot = this.#slot(name);
    // Kept alive beyond the tidy of the pass that made it; `endBlock` or `clearGradients` ends it.
    if (slot.block === undefined) slot.block = engine().keep(contribution);
    else this.#join(contribution, slot.block);
  }

  /** Adds the open block to the open half. */
  endBlock(): void {
    this.#carry('block', 'half');
  }

  /** Adds the open half to the gradients. */
  endHalf(): void {
    this.#carry('half', 'gradient');
  }

  /** Whether a weight's gradient stays the outer products it is a sum of. */
  isFactored(name: string): boolean {
    return this.#factors.has(name);
  }

  /** Takes dy [terms, out] and x [terms, in], whose outer products add up to the weight's gradient: copies of tensors, an array itself. */
  addFactors(name: string, dy: TfjsTensor, x: TfjsTensor | Float32Array): void {
    const parts = this.#factors.get(name) ?? [];
    // Of several parts the sum has arrays of its own.
    const spare = parts.length === 0 ? this.#spare?.get(name)?.left : undefined;
    parts.push({ terms: dy.shape[0] as number, left: this.#copy(dy, spare), right: x instanceof Float32Array ? x : this.#copy(x) });
  }

  /** What `addFactors` has gathered since the gradients were cleared. */
  get factors(): ReadonlyMap<string, readonly OuterProducts[]> {
    return this.#factors;
  }

  /**
   * Takes gradients in PyTorch's layouts, as `readGradients` gives them, for this state's own. @throws
   * InvalidArgumentError where they are not the graph's.
   */
  writeGradients(gradients: NamedTensors): void {
    requireSameLayout('gradients', declared([...this.#parameters.values()].map(({ info }) => info)), gradients);
    this.clearGradients();
    for (const slot of this.#parameters.values()) slot.gradient = engine().keep(this.#make(slot.info, writerOf(this.#backend, gradients)));
  }

  clearGradients(): void {
    for (const slot of this.#parameters.values()) {
      for (const sum of ['gradient', 'half', 'block'] as const) {
        slot[sum]?.dispose();
        slot[sum] = undefined;
      }
    }
    for (const parts of this.#factors.values()) parts.length = 0;
  }

  scaleGradients(factor: number): void {
    for (const { gradient } of this.#parameters.values()) {
      if (gradient !== undefined) {
        this.#backend.core.kernels.scaleF32(this.#backend.pointer(gradient), gradient.size, factor);
      }
    }
  }

  readState(): NetworkState {
    const read = (slots: Map<string, Slot>): NamedTensors =>
      new Map([...slots].map(([name, { info, value }]) => [name, this.#read(info, value)]));
    return { parameters: read(this.#parameters), buffers: read(this.#buffers) };
  }

  /**
   * Every parameter's gradient but those that stay factored, in `arrays` where they fit; zeros for one that the loss
   * does not depend on.
   */
  readGradients(arrays?: NamedTensors): NamedTensors {
    return new Map(
      [...this.#parameters]
        .filter(([name]) => !this.isFactored(name))
        .map(([name, { info, gradient }]) => {
          return [name, gradient === undefined ? zeros(info.shape) : this.#read(info, gradient, arrays?.get(name)?.data)];
        }),
    );
  }

  release(): void {
    this.clearGradients();
    for (const { value } of [...this.#parameters.values(), ...this.#buffers.values()]) value.dispose();
    this.#parameters.clear();
    this.#buffers.clear();
  }

  #carry(from: 'block' | 'half', to: 'half' | 'gradient'): void {
    for (const slot of this.#parameters.values()) {
      const addend = slot[from];
      if (addend === undefined) continue;
      slot[from] = undefined;
      if (slot[to] === undefined) slot[to] = addend;
      else this.#join(addend, slot[to]);
    }
  }

  /** sum += addend, whose end it is. */
  #join(addend: TfjsTensor, sum: TfjsTensor): void {
    this.#backend.core.kernels.addF32(this.#backend.pointer(addend), this.#backend.pointer(sum), addend.size);
    addend.dispose();
  }

  #slot(name: string): Slot {
    const slot = this.#parameters.get(name) ?? this.#buffers.get(name);
    if (slot === undefined) throw new InvalidArgumentError({ field: name, expected: 'a parameter of the network', got: 'none' });
    return slot;
  }

  #add(slots: Map<string, Slot>, info: ParameterInfo, write: TensorWriter): void {
    slots.set(info.name, { info, value: this.#make(info, write), gradient: undefined, half: undefined, block: undefined });
  }

  /** The tensor of that name on the heap, in the kernels' layout. */
  #make(info: ParameterInfo, write: TensorWriter): TfjsTensor {
    const { core } = this.#backend;
    const filter = filterAxes(info.shape);
    const [out, perGroup, height, width] = info.shape as [number, number, number, number];
    const shape = filter === undefined ? [...info.shape] : [height, width, perGroup, out];
    const value = engine().makeTensorFromTensorInfo(this.#backend.makeOutput(shape, 'float32'));
    try {
      if (filter === undefined) write(info.name, this.#backend.pointer(value));
      else {
        core.scoped((scratch) => {
          const outside = scratch.f32(value.size, info.name);
          write(info.name, outside);
          core.kernels.reverseAxesF32(outside, this.#backend.pointer(value), ...filter);
        });
      }
    } catch (error) {
      value.dispose();
      throw error;
    }
    return value;
  }

  #copy(tensor: TfjsTensor, into?: Float32Array): Float32Array {
    return copied(this.#backend.core.f32(this.#backend.pointer(tensor), tensor.size), into);
  }

  #read(info: ParameterInfo, inside: TfjsTensor, into?: Float32Array): Tensor {
    const { core } = this.#backend;
    const filter = filterAxes(info.shape);
    if (filter === undefined) return { shape: info.shape, data: this.#copy(inside, into) };
    const data = core.scoped((scratch) => {
      const [out, perGroup, taps] = filter;
      const outside = scratch.f32(inside.size, info.name);
      core.kernels.reverseAxesF32(this.#backend.pointer(inside), outside, taps, perGroup, out);
      return copied(core.f32(outside, inside.size), into);
    });
    return { shape: info.shape, data };
  }
}

/**
 * @throws InvalidArgumentError naming the first tensor whose name or shape is not the graph's, or whose numbers are not
 *   as many as its shape says.
 */
export function requireLayout(role: string, layout: ParameterLayout, state: NetworkState | WrittenState): void {
  const requireTensors = (infos: readonly ParameterInfo[], tensors: NamedTensors): void => {
    requireSameLayout(role, declared(infos), tensors);
    requireWhole(role, tensors);
  };
  if ('parameters' in state) requireTensors(layout.parameters, state.parameters);
  requireTensors(layout.buffers, state.buffers);
}

/** In `into` where it fits, else in an array of its own. */
function copied(values: Float32Array, into: Float32Array | undefined): Float32Array {
  if (into?.length !== values.length) return values.slice();
  into.set(values);
  return into;
}

function writerOf({ core }: HeapBackend, tensors: NamedTensors): TensorWriter {
  return (name, pointer) => {
    const { data } = tensors.get(name) as Tensor;
    core.f32(pointer, data.length).set(data);
  };
}

/** [out, in, taps] of a filter [out, in, height, width]; undefined for other tensors. */
function filterAxes(shape: readonly number[]): [number, number, number] | undefined {
  const [out, perGroup, height, width] = shape;
  if (out === undefined || perGroup === undefined || height === undefined || width === undefined) return undefined;
  return [out, perGroup, height * width];
}

/** Shapes alone, for comparing layouts; the data is never read. */
function declared(infos: readonly ParameterInfo[]): NamedTensors {
  return new Map(infos.map(({ name, shape }) => [name, { shape, data: new Float32Array(0) }]));
}
