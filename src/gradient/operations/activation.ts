/** Element-wise activations. The rectifiers work in place and keep their output, the smooth maps keep their input. */
import { onlyInput, overwritable, type Operation, type Pass, type Step } from '../operation.ts';
import type { HeapTensor } from '../tensor-heap.ts';

/** Numbers of the maps in `assembly/activation.ts`. */
const SMOOTH = { tanh: 0, sigmoid: 1, silu: 2, gelu: 3, geluTanh: 4 } as const;

export const relu: Operation<'relu'> = (pass, node, inputs) => rectify(pass, node.name, onlyInput(inputs), 0);
export const leakyRelu: Operation<'leaky_relu'> = (pass, node, inputs) =>
  rectify(pass, node.name, onlyInput(inputs), node.slope);
export const tanh: Operation<'tanh'> = (pass, node, inputs) => map(pass, node.name, onlyInput(inputs), SMOOTH.tanh);
export const sigmoid: Operation<'sigmoid'> = (pass, node, inputs) => map(pass, node.name, onlyInput(inputs), SMOOTH.sigmoid);
export const silu: Operation<'silu'> = (pass, node, inputs) => map(pass, node.name, onlyInput(inputs), SMOOTH.silu);
export const gelu: Operation<'gelu'> = (pass, node, inputs) =>
  map(pass, node.name, onlyInput(inputs), node.approximate === 'tanh' ? SMOOTH.geluTanh : SMOOTH.gelu);

function rectify(pass: Pass, name: string, x: HeapTensor, slope: number): Step {
  const { kernels } = pass.core;
  const y = overwritable(pass, x, name);
  kernels.leakyReluF32(x.pointer, y.pointer, x.elements, slope);
  if (y !== x) x.release();
  pass.keep(y);
  return {
    output: y,
    backward: (dy, [wanted]) => {
      if (wanted !== true) {
        dy.release();
        return [undefined];
      }
      const dx = overwritable(pass, dy, `gradient at ${name}`);
      kernels.leakyReluGradientF32(dy.pointer, y.pointer, dx.pointer, y.elements, slope);
      if (dx !== dy) dy.release();
      return [dx];
    },
  };
}

function map(pass: Pass, name: string, x: HeapTensor, kind: number): Step {
  const { kernels } = pass.core;
  pass.keep(x);
  const y = overwritable(pass, x, name);
  kernels.smoothMapF32(kind, x.pointer, y.pointer, x.elements);
  if (y !== x) x.release();
  return {
    output: y,
    backward: (dy, [wanted]) => {
      if (wanted !== true) {
        dy.release();
        return [undefined];
      }
      const dx = overwritable(pass, dy, `gradient at ${name}`);
      kernels.smoothMapGradientF32(kind, dy.pointer, x.pointer, dx.pointer, x.elements);
      if (dx !== dy) dy.release();
      return [dx];
    },
  };
}
