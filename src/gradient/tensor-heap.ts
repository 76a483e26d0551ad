/**
 * Tensors on the WebAssembly heap: reference-counted, freed the moment nobody needs them, and all of them when a scope
 * ends or throws. Freeing during the backward pass, instead of at its end as a tape of closures would, is what bounds the peak.
 */
import type { Core } from '../core/core.ts';
import { KernelError } from '../core/errors.ts';
import { elementCount } from '../tensor/tensor.ts';

/** Inside `gradient/` images are [count, height, width, channels] and vectors [count, features]. */
export class HeapTensor {
  readonly pointer: number;
  readonly shape: readonly number[];
  readonly elements: number;
  /** Holders. With one holder, that holder may overwrite the tensor in place. */
  references = 1;
  readonly #free: (tensor: HeapTensor) => void;

  constructor(pointer: number, shape: readonly number[], free: (tensor: HeapTensor) => void) {
    this.pointer = pointer;
    this.shape = shape;
    this.elements = elementCount(shape);
    this.#free = free;
  }

  retain(): this {
    this.references++;
    return this;
  }

  release(): void {
    if (this.references < 1) {
      throw new KernelError({ field: 'tensor', expected: 'a live tensor', got: `[${this.shape.join(', ')}] released twice` });
    }
    if (--this.references === 0) this.#free(this);
  }
}

export class TensorHeap {
  readonly core: Core;
  readonly #scopes: Set<HeapTensor>[] = [];
  #live = 0;
  #liveBytes = 0;
  #peakBytes = 0;

  constructor(core: Core) {
    this.core = core;
  }

  /** Tensors now on the heap: zero between calls when no trainer is open. */
  get liveTensors(): number {
    return this.#live;
  }

  /** Most bytes that tensors held at one moment since `resetPeak`. */
  get peakBytes(): number {
    return this.#peakBytes;
  }

  resetPeak(): void {
    this.#peakBytes = this.#liveBytes;
  }

  /**
   * An uninitialised tensor, owned by the caller and by the innermost scope.
   * @throws OutOfMemoryError naming `purpose`.
   */
  allocate(shape: readonly number[], purpose: string, bytesPerElement = 4): HeapTensor {
    const bytes = elementCount(shape) * bytesPerElement;
    const pointer = this.core.allocate(bytes, purpose);
    const scope = this.#scopes.at(-1);
    const tensor = new HeapTensor(pointer, shape, (freed) => {
      scope?.delete(freed);
      this.core.free(pointer);
      this.#live--;
      this.#liveBytes -= bytes;
    });
    scope?.add(tensor);
    this.#live++;
    this.#liveBytes += bytes;
    this.#peakBytes = Math.max(this.#peakBytes, this.#liveBytes);
    return tensor;
  }

  /** A tensor of zeros. */
  zeros(shape: readonly number[], purpose: string): HeapTensor {
    const tensor = this.allocate(shape, purpose);
    this.core.f32(tensor.pointer, tensor.elements).fill(0);
    return tensor;
  }

  /** A tensor with this content. */
  upload(data: Float32Array, shape: readonly number[], purpose: string): HeapTensor {
    const tensor = this.allocate(shape, purpose);
    this.core.f32(tensor.pointer, tensor.elements).set(data);
    return tensor;
  }

  /** Runs `body`; whatever it allocated and still holds afterwards is freed, also when it throws. */
  scope<T>(body: () => T): T {
    const owned = new Set<HeapTensor>();
    this.#scopes.push(owned);
    try {
      return body();
    } finally {
      this.#scopes.pop();
      for (const tensor of owned) {
        tensor.references = 1;
        tensor.release();
      }
    }
  }
}
