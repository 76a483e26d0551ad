/**
 * Named tensors in JavaScript memory: the currency between floors. A network's parameters, its gradients and its
 * buffers are all a `NamedTensors`; what is written to the WebAssembly heap without being held first is a `TensorWriter`.
 */
import { InvalidArgumentError, NotFiniteError } from '../core/errors.ts';

/** Bytes of one of a tensor's numbers. */
export const F32_BYTES = 4;

/** A dense f32 tensor, C order. `data.length` is the product of `shape`. */
export interface Tensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** Parameter name → tensor, in the order of the graph (PyTorch's names and layouts: OIHW, [out, in]). */
export type NamedTensors = ReadonlyMap<string, Tensor>;

/**
 * Numbers that are computed where they are read: writes a tensor's, in C order of PyTorch's layout, to an address of
 * the WebAssembly heap.
 */
export type TensorWriter = (name: string, pointer: number) => void;

/** All numbers of a network: what is trained, and what is counted along the way (batch-norm statistics). */
export interface NetworkState {
  readonly parameters: NamedTensors;
  /** `running_mean` and `running_var` of batch norm; empty for networks without. Never permuted by gradient matching alone. */
  readonly buffers: NamedTensors;
}

/** A state whose parameters are written to the heap instead of being read out of arrays. */
export interface WrittenState {
  readonly writeParameter: TensorWriter;
  readonly buffers: NamedTensors;
}

/** Number of elements of a shape; 1 for the scalar shape []. */
export function elementCount(shape: readonly number[]): number {
  let count = 1;
  for (const extent of shape) count *= extent;
  return count;
}

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((extent, axis) => extent === b[axis]);
}

/** Bytes that the numbers take. */
export function tensorBytes(tensors: NamedTensors): number {
  return [...tensors.values()].reduce((bytes, { data }) => bytes + data.byteLength, 0);
}

export function zeros(shape: readonly number[]): Tensor {
  return { shape, data: new Float32Array(elementCount(shape)) };
}

/** The tensor of that name. @throws InvalidArgumentError where there is none. */
export function getTensor(tensors: NamedTensors, name: string): Tensor {
  const found = tensors.get(name);
  if (found === undefined) {
    throw new InvalidArgumentError({ field: name, expected: 'a tensor of this name', got: 'none' });
  }
  return found;
}

/**
 * Every tensor has as many numbers as its shape says: of others, what reads them by shape would take a part, or `undefined` behind the end.
 * @throws InvalidArgumentError naming the first that has not, under `role`.
 */
export function requireWhole(role: string, tensors: NamedTensors): void {
  for (const [name, { shape, data }] of tensors) {
    const count = elementCount(shape);
    if (data.length === count) continue;
    throw new InvalidArgumentError({
      field: `${role}.${name}`,
      expected: `${count} numbers for shape [${shape.join(', ')}]`,
      got: `${data.length}`,
    });
  }
}

/**
 * Throws unless `b` has exactly the names and shapes of `a`; the message names the first difference.
 * @param role what `b` is called in the message, e.g. `target`.
 */
export function requireSameLayout(role: string, a: NamedTensors, b: NamedTensors): void {
  for (const [name, { shape }] of a) {
    const other = b.get(name);
    if (other === undefined) {
      throw new InvalidArgumentError({
        field: `${role}.${name}`,
        expected: `a tensor of shape [${shape.join(', ')}]`,
        got: 'none of that name',
      });
    }
    if (!sameShape(shape, other.shape)) {
      throw new InvalidArgumentError({
        field: `${role}.${name}`,
        expected: `shape [${shape.join(', ')}]`,
        got: `[${other.shape.join(', ')}]`,
      });
    }
  }
  for (const name of b.keys()) {
    if (!a.has(name)) {
      throw new InvalidArgumentError({ field: `${role}.${name}`, expected: 'no tensor of this name', got: 'one' });
    }
  }
}

/** The first tensor and index, `name[i]`, that holds NaN or an infinity. */
export function firstNotFinite(tensors: NamedTensors): { readonly at: string; readonly value: number } | undefined {
  for (const [name, { data }] of tensors) {
    for (let i = 0; i < data.length; i++) {
      // x − x is 0 for finite x and NaN otherwise: one subtraction instead of a call to Number.isFinite.
      const value = data[i] as number;
      if (value - value !== 0) return { at: `${name}[${i}]`, value };
    }
  }
  return undefined;
}

/** @throws NotFiniteError naming the first tensor and index that holds NaN or an infinity. */
export function requireFinite(role: string, tensors: NamedTensors): void {
  const found = firstNotFinite(tensors);
  if (found !== undefined) throw new NotFiniteError({ field: `${role}.${found.at}`, expected: 'a finite number', got: `${found.value}` });
}

/** The same of parameters and buffers. */
export function requireFiniteState(role: string, { parameters, buffers }: NetworkState): void {
  requireFinite(role, parameters);
  requireFinite(role, buffers);
}

/** The same numbers in memory of their own. */
export function copyState({ parameters, buffers }: NetworkState): NetworkState {
  const copy = (tensors: NamedTensors): NamedTensors =>
    new Map([...tensors].map(([name, { shape, data }]) => [name, { shape: [...shape], data: data.slice() }]));
  return { parameters: copy(parameters), buffers: copy(buffers) };
}
