/**
 * Batch norm in training mode over all axes but the last: normalises with the batch's own statistics (biased variance) and
 * differentiates through them. tfjs has no kernel for it; composed of its operations it would take ten passes. Sums are f64.
 */
import { InvalidArgumentError } from '../../core/errors.ts';
import type { Core } from '../../core/core.ts';
import type { TensorInfo } from '#tfjs';
import { defineGradient, defineKernel, outputLike, required, runAll, sizeOf, type KernelCall } from './support.ts';

/** {x, scale, offset}, {epsilon} → [y, mean, variance]. */
function forward(call: KernelCall): TensorInfo[] {
  const { backend } = call;
  const { core } = backend;
  const x = required(call, 'x');
  const channels = x.shape.at(-1) ?? 1;
  const rows = sizeOf(x) / channels;
  if (rows < 2) {
    throw new InvalidArgumentError({ field: 'batch_norm', expected: 'at least 2 values a channel in training mode', got: `${rows}` });
  }
  const y = backend.makeOutput(x.shape, 'float32');
  const mean = backend.makeOutput([channels], 'float32');
  const variance = backend.makeOutput([channels], 'float32');
  const moments = columnMoments(core, backend.pointer(x), rows, channels);
  core.f32(backend.pointer(mean), channels).set(moments.mean);
  core.f32(backend.pointer(variance), channels).set(moments.variance);
  core.scoped((scratch) => {
    const weights = core.f32(backend.pointer(required(call, 'scale')), channels);
    const epsilon = call.attrs['epsilon'] as number;
    // Loops: `Float32Array.from` with a callback goes through the array's iterator, ten times as slow.
    const scales = new Float32Array(channels);
    for (let c = 0; c < channels; c++) scales[c] = (weights[c] as number) / Math.sqrt((moments.variance[c] as number) + epsilon);
    const scalePtr = scratch.upload(scales);
    core.kernels.normaliseF32(
      backend.pointer(x), backend.pointer(y), rows, channels, backend.pointer(mean), scalePtr, backend.pointer(required(call, 'offset')),
    );
  });
  return [y, mean, variance];
}

/** {dy, x, scale, mean, variance}, {epsilon} → [dx, gradient of scale, gradient of offset]. */
function backward(call: KernelCall): TensorInfo[] {
  const { backend } = call;
  const { core } = backend;
  const dy = required(call, 'dy');
  const x = required(call, 'x');
  const channels = x.shape.at(-1) ?? 1;
  const rows = sizeOf(x) / channels;
  const read = (name: string): Float32Array => core.f32(backend.pointer(required(call, name)), channels).slice();
  const [means, variances, weights] = [read('mean'), read('variance'), read('scale')];
  const epsilon = call.attrs['epsilon'] as number;
  const { sums, products } = gradientSums(core, backend.pointer(dy), backend.pointer(x), rows, channels, means);
  // dx = a · (dy − mean(dy) − (x − mean) · inverse² · mean(dy · (x − mean))), a = scale · inverse
  const vector = (): Float32Array => new Float32Array(channels);
  const [scales, offsets, slopes, scaleGradient] = [vector(), vector(), vector(), vector()] as const;
  for (let c = 0; c < channels; c++) {
    const inverse = 1 / Math.sqrt((variances[c] as number) + epsilon);
    const a = inverse * (weights[c] as number);
    scales[c] = a;
    offsets[c] = (a * (sums[c] as number)) / rows;
    slopes[c] = (a * (inverse * inverse) * (products[c] as number)) / rows;
    scaleGradient[c] = (products[c] as number) * inverse;
  }
  const dScale = backend.makeOutput([channels], 'float32');
  const dOffset = backend.makeOutput([channels], 'float32');
  core.f32(backend.pointer(dScale), channels).set(scaleGradient);
  core.f32(backend.pointer(dOffset), channels).set(sums);
  const dx = outputLike(call, dy);
  core.scoped((scratch) => {
    const scale = scratch.upload(scales);
    const offset = scratch.upload(offsets);
    const slope = scratch.upload(slopes);
    core.kernels.normaliseGradientF32(
      backend.pointer(dy), backend.pointer(x), backend.pointer(dx), rows, channels,
      backend.pointer(required(call, 'mean')), scale, offset, slope,
    );
  });
  return [dx, dScale, dOffset];
}

function columnMoments(core: Core, xPtr: number, rows: number, channels: number) {
  return core.scoped((scratch) => {
    const sums = scratch.f64(2 * channels, 'batch statistics');
    core.f64(sums, 2 * channels).fill(0);
    core.kernels.columnMomentsF32(xPtr, xPtr, rows, channels, sums);
    const mean = core.f64(sums, channels).map((sum) => sum / rows);
    // In f64 the cancellation costs at most 1e-16 · mean² of a variance that f32 data resolve to 1e-7 · mean².
    const variance = core
      .f64(sums + 8 * channels, channels)
      .map((sum, c) => Math.max(0, sum / rows - (mean[c] as number) * (mean[c] as number)));
    return { mean, variance };
  });
}

/** Σ dy and Σ dy · (x − mean) a channel. */
function gradientSums(core: Core, dyPtr: number, xPtr: number, rows: number, channels: number, mean: Float32Array) {
  return core.scoped((scratch) => {
    const pointer = scratch.f64(2 * channels, 'gradient sums');
    core.f64(pointer, 2 * channels).fill(0);
    core.kernels.columnMomentsF32(dyPtr, xPtr, rows, channels, pointer);
    const sums = core.f64(pointer, channels).slice();
    const products = core.f64(pointer + 8 * channels, channels).map((sum, c) => sum - (mean[c] as number) * (sums[c] as number));
    return { sums, products };
  });
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
