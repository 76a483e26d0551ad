/**
 * BatchMatMul and _FusedMatMul on the tiled product. Stock tfjs-wasm takes a scalar path for every transpose and batch (0.6–1.5
 * GFLOP/s), adds the bias once per block of 48 there, and keeps packed weights by id, blind to changes in place.
 */
import { assertAndGetBroadcastShape, type TensorInfo } from '#tfjs';
import { describe } from '../../core/describe.ts';
import { InvalidArgumentError, UnsupportedError } from '../../core/errors.ts';
import { matmulLeavingOutZeros } from '../../core/sparse-matmul.ts';
import { elementCount } from '../../tensor/tensor.ts';
import { defineGradient, defineKernel, required, run, sizeOf, type KernelCall } from './support.ts';

interface Product {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  /** Batch axes of the result. */
  readonly batch: readonly number[];
}

function productOf(call: KernelCall): Product {
  const a = required(call, 'a');
  const b = required(call, 'b');
  const transposeA = call.attrs['transposeA'] === true;
  const transposeB = call.attrs['transposeB'] === true;
  const [aRows = 1, aColumns = 1] = a.shape.slice(-2);
  const [bRows = 1, bColumns = 1] = b.shape.slice(-2);
  const k = transposeA ? aRows : aColumns;
  if (k !== (transposeB ? bColumns : bRows)) {
    throw new InvalidArgumentError({ field: 'matMul', expected: 'equal inner extents', got: `${describe(a.shape)} and ${describe(b.shape)}` });
  }
  return {
    m: transposeA ? aColumns : aRows,
    n: transposeB ? bRows : bColumns,
    k,
    transposeA,
    transposeB,
    batch: assertAndGetBroadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2)),
  };
}

/** Which matrix of an operand with these batch axes belongs to the i-th matrix of the result. */
function matrixIndex(operand: readonly number[], batch: readonly number[], i: number): number {
  let index = 0;
  let stride = 1;
  for (let axis = 1; axis <= batch.length; axis++) {
    const extent = batch.at(-axis) as number;
    const own = operand.at(-axis) ?? 1;
    if (own > 1) index += (i % extent) * stride;
    stride *= own;
    i = Math.floor(i / extent);
  }
  return index;
}

/** The product into a new tensor, every row of which starts as `bias` when there is one. */
function multiply(call: KernelCall, bias: TensorInfo | undefined): TensorInfo {
  const { backend } = call;
  const a = required(call, 'a');
  const b = required(call, 'b');
  const { m, n, k, transposeA, transposeB, batch } = productOf(call);
  const out = backend.makeOutput([...batch, m, n], 'float32');
  const pointers = { a: backend.pointer(a), b: backend.pointer(b), c: backend.pointer(out) };
  const count = elementCount(batch);
  if (bias !== undefined) {
    if (sizeOf(bias) !== n) {
      throw new UnsupportedError({ field: 'matMul.bias', expected: `${n} values`, got: describe(bias.shape) });
    }
    backend.core.kernels.fillRowsF32(pointers.c, backend.pointer(bias), count * m, n);
  }
  for (let i = 0; i < count; i++) {
    matmulLeavingOutZeros(backend.core, {
      a: pointers.a + 4 * m * k * matrixIndex(a.shape.slice(0, -2), batch, i),
      b: pointers.b + 4 * k * n * matrixIndex(b.shape.slice(0, -2), batch, i),
      c: pointers.c + 4 * m * n * i,
      m,
      n,
      k,
      transposeA,
      transposeB,
      accumulate: bias !== undefined,
    }, ['a', 'b']);
  }
  return out;
}

/** Applies a fused activation to a kernel's output where it stands. */
export function activate(call: KernelCall, out: TensorInfo): TensorInfo {
  const activation = call.attrs['activation'] ?? 'linear';
  if (activation === 'linear') return out;
  if (activation !== 'relu') {
    call.backend.disposeData(out.dataId);
    throw new UnsupportedError({ field: 'activation', expected: 'linear or relu', got: describe(activation) });
  }
  const pointer = call.backend.pointer(out);
  call.backend.core.kernels.leakyReluF32(pointer, pointer, sizeOf(out), 0);
  return out;
}

export function registerMatmul(): void {
  defineKernel('BatchMatMul', (call) => multiply(call, undefined));
  defineKernel('_FusedMatMul', (call) => activate(call, multiply(call, call.inputs['bias'])));
  const factors = (dy: TensorInfo, a: TensorInfo, b: TensorInfo, transposeA: boolean, transposeB: boolean) => ({
    a: () =>
      transposeA
        ? run('BatchMatMul', { a: b, b: dy }, { transposeA: transposeB, transposeB: true })
        : run('BatchMatMul', { a: dy, b }, { transposeA: false, transposeB: !transposeB }),
    b: () =>
      transposeB
        ? run('BatchMatMul', { a: dy, b: a }, { transposeA: true, transposeB: transposeA })
        : run('BatchMatMul', { a, b: dy }, { transposeA: !transposeA, transposeB: false }),
  });
  defineGradient('BatchMatMul', {
    inputs: ['a', 'b'],
    gradient: (dy, [a, b], attrs) =>
      factors(dy, a as TensorInfo, b as TensorInfo, attrs['transposeA'] === true, attrs['transposeB'] === true),
  });
  // Linear form only: what the graph's dense layer uses.
  defineGradient('_FusedMatMul', {
    inputs: ['a', 'b'],
    gradient: (dy, [a, b], attrs) => ({
      ...factors(dy, a as TensorInfo, b as TensorInfo, attrs['transposeA'] === true, attrs['transposeB'] === true),
      bias: () => run('Sum', { x: dy }, { axis: dy.shape.slice(0, -1).map((_, axis) => axis), keepDims: false }),
    }),
  });
}
