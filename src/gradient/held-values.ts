/** Tensors with several owners, and the values of a walk that are still to be read. */
import type { Tensor } from '#tfjs';
import type { HeapBackend } from './backend.ts';
import type { ValueKey } from './instruction.ts';

/** A tensor and how many still need it. */
export class Held {
  readonly tensor: Tensor;
  #holders = 1;

  constructor(tensor: Tensor) {
    this.tensor = tensor;
  }

  hold(): this {
    this.#holders++;
    return this;
  }

  release(): void {
    if (--this.#holders === 0) this.tensor.dispose();
  }

  /** Nobody else reads this buffer, under this tensor or a view of it. */
  isSole(backend: HeapBackend): boolean {
    return this.#holders === 1 && backend.refCount(this.tensor.dataId) === 1;
  }
}

/** Values of a walk over instructions, each until its last reader has taken it. */
export class LiveValues {
  readonly #readers: ReadonlyMap<ValueKey, number>;
  readonly #values = new Map<ValueKey, { readonly held: Held; left: number }>();

  /** @param readers how often each is taken. */
  constructor(readers: ReadonlyMap<ValueKey, number>) {
    this.#readers = readers;
  }

  /** Takes over the caller's hold. */
  put(name: ValueKey, held: Held): void {
    const left = this.#readers.get(name) ?? 0;
    if (left === 0) held.release();
    else this.#values.set(name, { held, left });
  }

  /** One reader's hold: the last reader takes over the walk's own, and may be the only one. */
  take(name: ValueKey): Held {
    const value = this.#values.get(name) as { readonly held: Held; left: number };
    if (--value.left > 0) return value.held.hold();
    this.#values.delete(name);
    return value.held;
  }

  /** Another hold on a value that readers are still to come for. */
  hold(name: ValueKey): Held {
    return (this.#values.get(name) as { readonly held: Held }).held.hold();
  }
}
