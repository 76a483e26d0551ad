/** y [count, out] = x [count, in] · Wᵀ + b, with W [out, in]. */
import { matmul } from '../../core/matmul.ts';
import { onlyInput, type Operation } from '../operation.ts';
import { addColumnSums } from './sums.ts';

export const dense: Operation<'dense'> = (pass, node, inputs) => {
  const x = onlyInput(inputs);
  const [m, k] = x.shape as [number, number];
  const n = node.out;
  const weight = pass.value(`${node.name}.weight`);
  const y = pass.heap.allocate([m, n], node.name);
  if (node.bias) pass.core.kernels.fillRowsF32(y.pointer, pass.value(`${node.name}.bias`).pointer, m, n);
  matmul(pass.core, { a: x.pointer, b: weight.pointer, c: y.pointer, m, n, k, transposeB: true, accumulate: node.bias });
  pass.keep(x);
  x.release();
  return {
    output: y,
    backward: (dy, [wanted]) => {
      // dW [out, in] += dyᵀ · x
      const dw = pass.gradient(`${node.name}.weight`);
      matmul(pass.core, { a: dy.pointer, b: x.pointer, c: dw.pointer, m: n, n: k, k: m, transposeA: true, accumulate: true });
      if (node.bias) addColumnSums(pass.core, dy.pointer, m, n, pass.gradient(`${node.name}.bias`).pointer);
      if (wanted !== true) {
        dy.release();
        return [undefined];
      }
      const dx = pass.heap.allocate(x.shape, `gradient at ${node.name}`);
      matmul(pass.core, { a: dy.pointer, b: weight.pointer, c: dx.pointer, m, n: k, k: n });
      dy.release();
      return [dx];
    },
  };
};
