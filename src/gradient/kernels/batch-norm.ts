/**
 * Batch norm in training mode over all axes but the last: normalises with the batch's own statistics (biased variance) and
 * differentiates through them (`assembly/batch-norm.ts`). tfjs has no kernel for it; composed of its operations it would take ten passes.
 */
import { InvalidArgumentError } from '../../core/errors.ts';
import type { Tensor, TensorInfo } from '#tfjs';
import { defineGradient, defineKernel, outputLike, required, run, runAll, sizeOf, together, type InputGradients, type KernelCall } from './support.ts';

/** {x, scale, offset}, {epsilon, ceiling of the rectifier taken along, if there is one} → [y, statistics [2, channels]: mean, variance]. */
function forward(call: KernelCall): TensorInfo[] {
  const { backend } = call;
  const { kernels } = backend.core;
  const x = required(call, 'x');
  const channels = x.shape.at(-1) ?? 1;
  const rows = sizeOf(x) / channels;
  if (rows < 2) {
    throw new InvalidArgumentError({ field: 'batch_norm', expected: 'at least 2 values a channel in training mode', got: `${rows}` });
  }
  const { epsilon, ceiling = 0 } = call.attrs as { readonly epsilon: number; readonly ceiling?: number };
  const y = backend.makeOutput(x.shape, 'float32');
  const statistics = backend.makeOutput([2, channels], 'float32');
  const meanPtr = backend.pointer(statistics);
  backend.core.scoped((scratch) =>
    kernels.batchNormF32(
      backend.pointer(x), backend.pointer(y), rows, channels, backend.pointer(required(call, 'scale')), backend.pointer(required(call, 'offset')),
      epsilon, meanPtr, meanPtr + 4 * channels, ceiling, scratch.bytes(kernels.batchNormScratchBytes(channels)),
    ),
  );
  return [y, statistics];
}

/** {dy, x, scale, statistics}, {epsilon} → [dx, gradient of scale, gradient of offset]. */
function backward(call: KernelCall): TensorInfo[] {
  const { backend } = call;
  const { kernels } = backend.core;
  const dy = required(call, 'dy');
  const x = required(call, 'x');
  const channels = x.shape.at(-1) ?? 1;
  const meanPtr = backend.pointer(required(call, 'statistics'));
  const dScale = backend.makeOutput([channels], 'float32');
  const dOffset = backend.makeOutput([channels], 'float32');
  const dx = outputLike(call, dy);
  backend.core.scoped((scratch) =>
    kernels.batchNormGradientF32(
      backend.pointer(dy), backend.pointer(x), backend.pointer(dx), sizeOf(x) / channels, channels, backend.pointer(required(call, 'scale')),
      call.attrs['epsilon'] as number, meanPtr, meanPtr + 4 * channels, backend.pointer(dScale), backend.pointer(dOffset),
      scratch.bytes(kernels.batchNormScratchBytes(channels)),
    ),
  );
  return [dx, dScale, dOffset];
}

/** Of the one kernel that computes all three. */
function inputGradients(gradients: () => Tensor[]): InputGradients {
  const result = together(gradients);
  return { x: result(0), scale: result(1), offset: result(2) };
}

export function registerBatchNorm(): void {
  defineKernel('BatchNormTraining', forward);
  defineKernel('BatchNormTrainingGrad', backward);
  defineGradient('BatchNormTraining', {
    inputs: ['x', 'scale'],
    outputs: [false, true],
    gradient: (dy, [x, scale, statistics], { epsilon, gradientInPlace }) =>
      inputGradients(() => runAll('BatchNormTrainingGrad', { dy, x, scale, statistics }, { epsilon, inPlace: gradientInPlace })),
  });
  // With the rectifier behind it, which the output tells the gradient of.
  defineKernel('RectifiedBatchNormTraining', forward);
  defineGradient('RectifiedBatchNormTraining', {
    inputs: ['x', 'scale'],
    outputs: [true, true],
    gradient: (dy, [x, scale, y, statistics], { epsilon, ceiling, gradientInPlace }) =>
      inputGradients(() => {
        const masked = run('ClampGrad', { dy, y }, { ceiling, inPlace: gradientInPlace });
        return runAll('BatchNormTrainingGrad', { dy: masked, x, scale, statistics }, { epsilon, inPlace: true });
      }),
  });
}
