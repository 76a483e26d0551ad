/**
 * Batch norm in training mode over all axes but the last: normalises with the batch's own statistics (biased variance) and
 * differentiates through them (`assembly/batch-norm.ts`). tfjs has no kernel for it; composed of its operations it would take ten passes.
 */
import { InvalidArgumentError } from '../../core/errors.ts';
import type { TensorInfo } from '#tfjs';
import { defineGradient, defineKernel, outputLike, required, runAll, sizeOf, type KernelCall } from './support.ts';

/** {x, scale, offset}, {epsilon} → [y, mean, variance]. */
function forward(call: KernelCall): TensorInfo[] {
  const { backend } = call;
  const { kernels } = backend.core;
  const x = required(call, 'x');
  const channels = x.shape.at(-1) ?? 1;
  const rows = sizeOf(x) / channels;
  if (rows < 2) {
    throw new InvalidArgumentError({ field: 'batch_norm', expected: 'at least 2 values a channel in training mode', got: `${rows}` });
  }
  const y = backend.makeOutput(x.shape, 'float32');
  const mean = backend.makeOutput([channels], 'float32');
  const variance = backend.makeOutput([channels], 'float32');
  backend.core.scoped((scratch) =>
    kernels.batchNormF32(
      backend.pointer(x), backend.pointer(y), rows, channels, backend.pointer(required(call, 'scale')), backend.pointer(required(call, 'offset')),
      call.attrs['epsilon'] as number, backend.pointer(mean), backend.pointer(variance), scratch.bytes(kernels.batchNormScratchBytes(channels)),
    ),
  );
  return [y, mean, variance];
}

/** {dy, x, scale, mean, variance}, {epsilon} → [dx, gradient of scale, gradient of offset]. */
function backward(call: KernelCall): TensorInfo[] {
  const { backend } = call;
  const { kernels } = backend.core;
  const dy = required(call, 'dy');
  const x = required(call, 'x');
  const channels = x.shape.at(-1) ?? 1;
  const dScale = backend.makeOutput([channels], 'float32');
  const dOffset = backend.makeOutput([channels], 'float32');
  const dx = outputLike(call, dy);
  backend.core.scoped((scratch) =>
    kernels.batchNormGradientF32(
      backend.pointer(dy), backend.pointer(x), backend.pointer(dx), sizeOf(x) / channels, channels, backend.pointer(required(call, 'scale')),
      call.attrs['epsilon'] as number, backend.pointer(required(call, 'mean')), backend.pointer(required(call, 'variance')),
      backend.pointer(dScale), backend.pointer(dOffset), scratch.bytes(kernels.batchNormScratchBytes(channels)),
    ),
  );
  return [dx, dScale, dOffset];
}

export function registerBatchNorm(): void {
  defineKernel('BatchNormTraining', forward);
  defineKernel('BatchNormTrainingGrad', backward);
  defineGradient('BatchNormTraining', {
    inputs: ['x', 'scale'],
    outputs: [false, true, true],
    gradient: (dy, [x, scale, mean, variance], { epsilon, gradientInPlace }) => {
      // One kernel computes all three; whichever is asked for first runs it.
      let results: ReturnType<typeof runAll> | undefined;
      const result = (index: number) => () => {
        results ??= runAll('BatchNormTrainingGrad', { dy, x, scale, mean, variance }, { epsilon, inPlace: gradientInPlace });
        return results[index] as (typeof results)[number];
      };
      return { x: result(0), scale: result(1), offset: result(2) };
    },
  });
}
