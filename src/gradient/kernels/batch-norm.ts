/**
 * Batch norm over all axes but the last (`assembly/batch-norm.ts`): in training mode by the batch's own statistics (biased variance), which
 * it differentiates through, and by running ones. tfjs has no kernel for the first; its scalar one for the second took a third of an
 * evaluation of ResNet-18 and MobileNetV2.
 */
import { InvalidArgumentError } from '../../core/errors.ts';
import type { TensorInfo } from '#tfjs';
import { defineGradient, defineKernel, outputLike, required, runAll, sizeOf, together, type KernelCall } from './support.ts';

interface Numbers {
  readonly epsilon: number;
  /** Ceiling of a rectifier taken along. */
  readonly ceiling?: number;
  /** Its name in the graph. */
  readonly node?: string;
}

/**
 * {x, scale, offset}, {epsilon, ceiling of the rectifier taken along, if there is one} → [y, statistics [3, channels]: mean,
 * variance, slope].
 */
function forward(call: KernelCall): TensorInfo[] {
  const { backend } = call;
  const { kernels } = backend.core;
  const x = required(call, 'x');
  const channels = x.shape.at(-1) ?? 1;
  const rows = sizeOf(x) / channels;
  const { epsilon, ceiling = 0, node = 'batch_norm' } = call.attrs as unknown as Numbers;
  if (rows < 2) {
    throw new InvalidArgumentError({ field: node, expected: 'at least 2 values a channel for batch norm in training', got: `${rows}` });
  }
  const y = backend.makeOutput(x.shape, 'float32');
  const statistics = backend.makeOutput([3, channels], 'float32');
  backend.core.scoped((scratch) =>
    kernels.batchNormF32(
      backend.pointer(x), backend.pointer(y), rows, channels, backend.pointer(required(call, 'scale')),
      backend.pointer(required(call, 'offset')),
      epsilon, backend.pointer(statistics), ceiling, scratch.bytes(kernels.batchNormScratchBytes(channels)),
    ),
  );
  return [y, statistics];
}

/** {dy, x, scale, offset, statistics} and the forward pass's numbers → [dx, gradient of scale, gradient of offset]. */
function backward(call: KernelCall): TensorInfo[] {
  const { backend } = call;
  const { kernels } = backend.core;
  const dy = required(call, 'dy');
  const x = required(call, 'x');
  const channels = x.shape.at(-1) ?? 1;
  const { epsilon, ceiling = 0 } = call.attrs as unknown as Numbers;
  const dScale = backend.makeOutput([channels], 'float32');
  const dOffset = backend.makeOutput([channels], 'float32');
  const dx = outputLike(call, dy);
  backend.core.scoped((scratch) =>
    kernels.batchNormGradientF32(
      backend.pointer(dy), backend.pointer(x), backend.pointer(dx), sizeOf(x) / channels, channels,
      backend.pointer(required(call, 'scale')),
      backend.pointer(required(call, 'offset')), epsilon, backend.pointer(required(call, 'statistics')), ceiling, backend.pointer(dScale),
      backend.pointer(dOffset), scratch.bytes(kernels.batchNormScratchBytes(channels)),
    ),
  );
  return [dx, dScale, dOffset];
}

/** {x, scale, offset, mean, variance} and the numbers of training mode → y, over x where its reader is the last. */
function byStatistics(call: KernelCall): TensorInfo {
  const { backend } = call;
  const x = required(call, 'x');
  const channels = x.shape.at(-1) ?? 1;
  const { epsilon, ceiling = 0 } = call.attrs as unknown as Numbers;
  const y = outputLike(call, x);
  const pointer = (name: string): number => backend.pointer(required(call, name));
  backend.core.scoped((scratch) =>
    backend.core.kernels.batchNormByStatisticsF32(
      backend.pointer(x), backend.pointer(y), sizeOf(x) / channels, channels, pointer('scale'), pointer('offset'), epsilon, pointer('mean'),
      pointer('variance'), ceiling, scratch.f32(channels, 'slopes of channels'),
    ),
  );
  return y;
}

export function registerBatchNorm(): void {
  defineKernel('BatchNorm', byStatistics);
  defineKernel('BatchNormTraining', forward);
  defineKernel('BatchNormTrainingGrad', backward);
  defineGradient('BatchNormTraining', {
    inputs: ['x', 'scale', 'offset'],
    outputs: [false, true],
    gradient: (dy, [x, scale, offset, statistics], { epsilon, ceiling, gradientInPlace }) => {
      const result = together(() =>
        runAll('BatchNormTrainingGrad', { dy, x, scale, offset, statistics }, { epsilon, ceiling, inPlace: gradientInPlace }),
      );
      return { x: result(0), scale: result(1), offset: result(2) };
    },
  });
}
