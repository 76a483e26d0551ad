/** Tensors as views of bytes: offset and strides in elements. */
import { InvalidArgumentError, describe } from '../../core/errors.ts';
import { dtypeBits } from '../dtype.ts';
import type { RawTensor } from '../safetensors.ts';

export interface StridedView {
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}

/** Strides of a row-major tensor. */
export function rowMajorStrides(shape: readonly number[]): number[] {
  const strides = shape.map(() => 1);
  for (let axis = shape.length - 2; axis >= 0; axis--) strides[axis] = (strides[axis + 1] as number) * (shape[axis + 1] as number);
  return strides;
}

/** Whether a view's elements stand one after the other in row-major order. */
export function isContiguous({ shape, strides }: StridedView): boolean {
  const expected = rowMajorStrides(shape);
  // The stride of an axis of one element is never taken, and PyTorch leaves anything there.
  return shape.every((extent, axis) => extent === 1 || strides[axis] === expected[axis]);
}

/** Row-major copy of a view whose elements have `width` bytes. The view must lie within `bytes`. */
export function gather(bytes: Uint8Array, { offset, shape, strides }: StridedView, width: number): Uint8Array<ArrayBuffer> {
  const elements = shape.reduce((product, extent) => product * extent, 1);
  const result = new Uint8Array(elements * width);
  const index = shape.map(() => 0);
  let from = offset * width;
  for (let to = 0; to < result.length; to += width) {
    for (let b = 0; b < width; b++) result[to + b] = bytes[from + b] as number;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      const stride = (strides[axis] as number) * width;
      const next = (index[axis] as number) + 1;
      from += stride;
      index[axis] = next;
      if (next < (shape[axis] as number)) break;
      from -= stride * next;
      index[axis] = 0;
    }
  }
  return result;
}

/**
 * The tensor with its axes in another order: axis i of the result is axis `order[i]` of the tensor, as in numpy.
 * @throws InvalidArgumentError unless `order` names every axis once.
 */
export function transposeRaw(field: string, tensor: RawTensor, order: readonly number[]): RawTensor {
  const { dtype, shape, bytes } = tensor;
  if (order.length !== shape.length || new Set(order).size !== order.length || order.some((axis) => !Number.isInteger(axis) || axis < 0 || axis >= shape.length)) {
    throw new InvalidArgumentError({ field, expected: `each of the ${shape.length} axes of [${shape.join(', ')}] once`, got: describe(order) });
  }
  const all = rowMajorStrides(shape);
  const view = { offset: 0, shape: order.map((axis) => shape[axis] as number), strides: order.map((axis) => all[axis] as number) };
  return { dtype, shape: view.shape, bytes: isContiguous(view) ? bytes : gather(bytes, view, dtypeBits[dtype] / 8) };
}
