/** Sum and Mean with f64 accumulators: the stock kernel adds a million f32 one after the other and loses 2e-5. */
import type { TensorInfo } from '#tfjs';
import { elementCount } from '../../tensor/tensor.ts';
import { defineGradient, defineKernel, required, run, sizeOf, type KernelCall } from './support.ts';

/** The attribute `axis`, counted from the front: one, several, or all where it is missing. */
function summedAxes({ attrs }: KernelCall, { length: rank }: readonly number[]): ReadonlySet<number> {
  const given = (attrs['axis'] as number | number[] | null | undefined) ?? Array.from({ length: rank }, (_, axis) => axis);
  return new Set((Array.isArray(given) ? given : [given]).map((axis) => (axis < 0 ? axis + rank : axis)));
}

/** Sum over `axis`, divided by `divisor(elements summed)`. */
function reduce(call: KernelCall, divisor: (count: number) => number): TensorInfo {
  const { backend } = call;
  const x = required(call, 'x');
  const axes = summedAxes(call, x.shape);
  const kept = x.shape.map((_, axis) => axis).filter((axis) => !axes.has(axis));
  const keptExtents = kept.map((axis) => x.shape[axis] as number);
  const shape = call.attrs['keepDims'] === true ? x.shape.map((extent, axis) => (axes.has(axis) ? 1 : extent)) : keptExtents;
  const columns = elementCount(keptExtents);
  const rows = sizeOf(x) / Math.max(1, columns);
  // The kernel sums over rows, so summed axes must come first.
  const order = [...[...axes].toSorted((a, b) => a - b), ...kept];
  const sorted = order.every((axis, i) => axis === i) ? undefined : run('Transpose', { x }, { perm: order });
  const { core } = backend;
  const out = backend.makeOutput(shape, 'float32');
  core.scoped((scratch) => {
    const sums = scratch.f64(columns, 'sums');
    core.f64(sums, columns).fill(0);
    core.kernels.columnSumsF32(backend.pointer(sorted ?? x), rows, columns, sums);
    const by = divisor(rows);
    core.f32(backend.pointer(out), columns).set(core.f64(sums, columns).map((sum) => sum / by));
  });
  sorted?.dispose();
  return out;
}

export function registerReduction(): void {
  defineKernel('Sum', (call) => reduce(call, () => 1));
  defineKernel('Mean', (call) => reduce(call, (count) => count));
  for (const name of ['Sum', 'Mean']) {
    defineGradient(name, {
      inputs: ['x'],
      gradient: (dy, [x], attrs) => ({
        x: () => run('SpreadSum', { dy, like: x as TensorInfo }, { ...attrs, mean: name === 'Mean' }),
      }),
    });
  }
  // Every summed element gets its sum's gradient.
  defineKernel('SpreadSum', (call) => {
    const { backend } = call;
    const dy = required(call, 'dy');
    const like = required(call, 'like');
    const axes = summedAxes(call, like.shape);
    const out = backend.makeOutput(like.shape, 'float32');
    const from = backend.core.f32(backend.pointer(dy), sizeOf(dy));
    const to = backend.core.f32(backend.pointer(out), sizeOf(out));
    const count = call.attrs['mean'] === true ? sizeOf(like) / sizeOf(dy) : 1;
    for (let i = 0; i < to.length; i++) {
      let rest = i;
      let index = 0;
      let stride = 1;
      for (let axis = like.shape.length - 1; axis >= 0; axis--) {
        const extent = like.shape[axis] as number;
        if (!axes.has(axis)) {
          index += (rest % extent) * stride;
          stride *= extent;
        }
        rest = Math.floor(rest / extent);
      }
      to[i] = (from[index] as number) / count;
    }
    return out;
  });
}
