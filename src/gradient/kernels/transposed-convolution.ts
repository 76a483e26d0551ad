/**
 * Transposed convolution of NHWC images with a filter [kernel height, kernel width, out / groups, in]: forward it is the input
 * gradient of the convolution that it transposes, backward that convolution's forward pass and filter gradient.
 */
import type { TensorInfo } from '#tfjs';
import { biasGradient } from './column-sums.ts';
import { defineGradient, defineKernel, required, run, sizeOf } from './support.ts';

/** {x, filter, bias?}, attributes of conv2d and outputShape [height, width, out]. */
export function registerTransposedConvolution(): void {
  defineKernel('TransposedConv2D', (call) => {
    const { backend } = call;
    const [x, filter, bias] = [required(call, 'x'), required(call, 'filter'), call.inputs['bias']];
    const shape = [x.shape[0] as number, ...(call.attrs['outputShape'] as readonly number[])];
    const y: TensorInfo = run('Conv2DBackpropInput', { dy: x, filter, like: { ...x, shape } }, call.attrs);
    if (bias !== undefined) {
      const channels = sizeOf(bias);
      backend.core.kernels.addRowF32(backend.pointer(y), backend.pointer(bias), backend.pointer(y), sizeOf(y) / channels, channels);
    }
    return y;
  });
  defineGradient('TransposedConv2D', {
    inputs: ['x', 'filter'],
    gradient: (dy, [x, filter], attrs) => {
      return {
        x: () => run('Conv2D', { x: dy, filter }, attrs),
        filter: () => run('Conv2DBackpropFilter', { x: dy, dy: x, like: filter }, attrs),
        bias: () => biasGradient(dy),
      };
    },
  });
}
