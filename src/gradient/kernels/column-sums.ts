/** Sums over all rows of a value in f64: gradients of what is added to every row. */
import type { Tensor } from '#tfjs';
import { elementCount } from '../../tensor/tensor.ts';
import { defineKernel, required, run, sizeOf, sumInDoubles } from './support.ts';

/** Gradient of a bias, one number a feature, from [.., features]. */
export function biasGradient(dy: Tensor): Tensor {
  const features = dy.shape.at(-1) ?? 1;
  return run('ColumnSums', { x: dy }, { columns: features, shape: [features] });
}

export function registerColumnSums(): void {
  // {x}, {columns, shape}: the rows of `columns` numbers added up, as a tensor of `shape`, zeros behind them where that is larger
  defineKernel('ColumnSums', (call) => {
    const { backend } = call;
    const { core } = backend;
    const x = required(call, 'x');
    const { columns, shape } = call.attrs as { readonly columns: number; readonly shape: number[] };
    const out = backend.makeOutput(shape, 'float32');
    const to = backend.pointer(out);
    sumInDoubles(backend, to, columns, (sums) => core.kernels.columnSumsF32(backend.pointer(x), sizeOf(x) / columns, columns, sums));
    core.f32(to, elementCount(shape)).fill(0, columns);
    return out;
  });
}
