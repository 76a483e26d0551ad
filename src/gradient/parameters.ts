/**
 * A network's parameters and buffers on the heap, in the layouts that the kernels read: filters are HWIO inside and OIHW
 * outside, everything else is the same on both sides.
 */
import { InvalidArgumentError, KernelError } from '../core/errors.ts';
import type { ParameterInfo, ParameterLayout } from '../model/graph.ts';
import { requireSameLayout, type NamedTensors, type NetworkState, type Tensor } from '../tensor/tensor.ts';
import type { HeapTensor, TensorHeap } from './tensor-heap.ts';

interface Slot {
  readonly info: ParameterInfo;
  readonly value: HeapTensor;
  readonly gradient: HeapTensor | undefined;
}

export class HeapParameters {
  readonly #heap: TensorHeap;
  readonly #parameters = new Map<string, Slot>();
  readonly #buffers = new Map<string, Slot>();

  /**
   * Uploads `state`; with `withGradients`, a gradient of zeros stands beside every parameter.
   * @throws InvalidArgumentError naming the first tensor whose name or shape is not the graph's.
   */
  constructor(heap: TensorHeap, layout: ParameterLayout, state: NetworkState, withGradients: boolean) {
    this.#heap = heap;
    requireSameLayout('state.parameters', declared(layout.parameters), state.parameters);
    requireSameLayout('state.buffers', declared(layout.buffers), state.buffers);
    try {
      for (const info of layout.parameters) this.#add(this.#parameters, info, state.parameters, withGradients);
      for (const info of layout.buffers) this.#add(this.#buffers, info, state.buffers, false);
    } catch (error) {
      this.release();
      throw error;
    }
  }

  get names(): readonly string[] {
    return [...this.#parameters.keys()];
  }

  value(name: string): HeapTensor {
    return this.#slot(name).value;
  }

  gradient(name: string): HeapTensor {
    const { gradient } = this.#slot(name);
    if (gradient === undefined) throw new KernelError({ field: name, expected: 'a gradient', got: 'none in this pass' });
    return gradient;
  }

  zeroGradients(): void {
    for (const { gradient } of this.#parameters.values()) {
      if (gradient !== undefined) this.#heap.core.f32(gradient.pointer, gradient.elements).fill(0);
    }
  }

  scaleGradients(factor: number): void {
    for (const { gradient } of this.#parameters.values()) {
      if (gradient !== undefined) this.#heap.core.kernels.scaleF32(gradient.pointer, gradient.elements, factor);
    }
  }

  readState(): NetworkState {
    return { parameters: this.#read(this.#parameters, 'value'), buffers: this.#read(this.#buffers, 'value') };
  }

  readGradients(): NamedTensors {
    return this.#read(this.#parameters, 'gradient');
  }

  release(): void {
    for (const { value, gradient } of [...this.#parameters.values(), ...this.#buffers.values()]) {
      value.release();
      gradient?.release();
    }
    this.#parameters.clear();
    this.#buffers.clear();
  }

  #slot(name: string): Slot {
    const slot = this.#parameters.get(name) ?? this.#buffers.get(name);
    if (slot === undefined) throw new InvalidArgumentError({ field: name, expected: 'a parameter of the network', got: 'none' });
    return slot;
  }

  #add(slots: Map<string, Slot>, info: ParameterInfo, tensors: NamedTensors, withGradients: boolean): void {
    const { core } = this.#heap;
    const value = this.#heap.allocate(info.shape, info.name);
    const data = (tensors.get(info.name) as Tensor).data;
    const filter = filterAxes(info.shape);
    if (filter === undefined) {
      core.f32(value.pointer, value.elements).set(data);
    } else {
      core.scoped((scratch) => {
        const outside = scratch.upload(data, info.name);
        core.kernels.reverseAxesF32(outside, value.pointer, ...filter);
      });
    }
    // Registered before its gradient is allocated, so that running out of memory there frees this too.
    slots.set(info.name, { info, value, gradient: undefined });
    if (withGradients) slots.set(info.name, { info, value, gradient: this.#heap.zeros(info.shape, `gradient of ${info.name}`) });
  }

  #read(slots: Map<string, Slot>, which: 'value' | 'gradient'): NamedTensors {
    const { core } = this.#heap;
    const tensors = new Map<string, Tensor>();
    for (const [name, slot] of slots) {
      const inside = which === 'value' ? slot.value : this.gradient(name);
      const filter = filterAxes(slot.info.shape);
      const data =
        filter === undefined
          ? core.f32(inside.pointer, inside.elements).slice()
          : core.scoped((scratch) => {
              const [out, perGroup, taps] = filter;
              const outside = scratch.f32(inside.elements, name);
              core.kernels.reverseAxesF32(inside.pointer, outside, taps, perGroup, out);
              return core.f32(outside, inside.elements).slice();
            });
      tensors.set(name, { shape: slot.info.shape, data });
    }
    return tensors;
  }
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
