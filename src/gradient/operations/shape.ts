/** Operations that move or join values without arithmetic of their own. */
import { onlyInput, overwritable, type Operation } from '../operation.ts';
import type { HeapTensor } from '../tensor-heap.ts';

/** [count, height, width, channels] → [count, channels · height · width] in PyTorch's order (channels slowest). */
export const flatten: Operation<'flatten'> = (pass, node, inputs) => {
  const x = onlyInput(inputs);
  const [count = 0, ...rest] = x.shape;
  const channels = rest.at(-1) ?? 1;
  const pixels = x.elements / Math.max(1, count * channels);
  const y = pass.heap.allocate([count, pixels * channels], node.name);
  pass.core.kernels.transposeF32(x.pointer, y.pointer, count, pixels, channels);
  const xShape = x.shape;
  x.release();
  return {
    output: y,
    backward: (dy, [wanted]) => {
      if (wanted !== true) {
        dy.release();
        return [undefined];
      }
      const dx = pass.heap.allocate(xShape, `gradient at ${node.name}`);
      pass.core.kernels.transposeF32(dy.pointer, dx.pointer, count, channels, pixels);
      dy.release();
      return [dx];
    },
  };
};

/** Sum of inputs of one shape, from left to right. */
export const add: Operation<'add'> = (pass, node, inputs) => {
  const { core } = pass;
  const [first, ...others] = inputs as readonly [HeapTensor, ...HeapTensor[]];
  const y = overwritable(pass, first, node.name);
  if (y !== first) {
    core.f32(y.pointer, y.elements).set(core.f32(first.pointer, first.elements));
    first.release();
  }
  for (const other of others) {
    core.kernels.addF32(other.pointer, y.pointer, y.elements);
    other.release();
  }
  return {
    output: y,
    backward: (dy, wanted) => {
      const gradients = wanted.map((want) => (want ? dy.retain() : undefined));
      dy.release();
      return gradients;
    },
  };
};
