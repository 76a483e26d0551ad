/**
 * Group norm of [count, …, channels]: each image's groups of consecutive channels are normalised by their own mean and biased
 * variance. Sums are f64 and per channel first, so that either direction reads an image twice, as batch norm does.
 */
import type { Core } from '../../core/core.ts';
import type { TensorInfo } from '#tfjs';
import { defineGradient, defineKernel, outputLike, required, runAll, sizeOf, together, type KernelCall } from './support.ts';

interface Extents {
  readonly count: number;
  readonly pixels: number;
  readonly channels: number;
  readonly groups: number;
}

function extentsOf(x: TensorInfo, groups: number): Extents {
  const count = x.shape[0] as number;
  const channels = x.shape.at(-1) as number;
  return { count, pixels: sizeOf(x) / (count * channels), channels, groups };
}

/** Each group's mean of a value a channel, given back a channel. */
function overGroups(sums: Float64Array, { pixels, channels, groups }: Extents): Float64Array {
  const width = channels / groups;
  const means = new Float64Array(channels);
  for (let first = 0; first < channels; first += width) {
    let sum = 0;
    for (let c = first; c < first + width; c++) sum += sums[c] as number;
    means.fill(sum / (width * pixels), first, first + width);
  }
  return means;
}

/** Mean and variance of one image's groups, a value a channel. */
function moments(core: Core, xPtr: number, extents: Extents): { readonly mean: Float64Array; readonly variance: Float64Array } {
  const { pixels, channels } = extents;
  return core.scoped((scratch) => {
    const sums = scratch.f64(2 * channels, 'group statistics');
    core.f64(sums, 2 * channels).fill(0);
    core.kernels.columnMomentsF32(xPtr, pixels, channels, sums);
    const mean = overGroups(core.f64(sums, channels), extents);
    // The two cancel, but each square is exact in f64: of a mean 10⁴ deviations from 0 the variance keeps seven digits.
    const squares = overGroups(core.f64(sums + 8 * channels, channels), extents);
    const variance = squares.map((square, c) => Math.max(0, square - (mean[c] as number) * (mean[c] as number)));
    return { mean, variance };
  });
}

/** {x, scale, offset}, {groups, epsilon} → [y, means [count, channels], inverse deviations [count, channels]]. */
function forward(call: KernelCall): TensorInfo[] {
  const { backend } = call;
  const { core } = backend;
  const x = required(call, 'x');
  const extents = extentsOf(x, call.attrs['groups'] as number);
  const { count, pixels, channels } = extents;
  const epsilon = call.attrs['epsilon'] as number;
  const y = backend.makeOutput(x.shape, 'float32');
  const means = backend.makeOutput([count, channels], 'float32');
  const inverses = backend.makeOutput([count, channels], 'float32');
  core.scoped((scratch) => {
    const scalePtr = scratch.f32(channels);
    for (let n = 0; n < count; n++) {
      const [at, row] = [4 * n * pixels * channels, 4 * n * channels];
      const { mean, variance } = moments(core, backend.pointer(x) + at, extents);
      const inverse = variance.map((value) => 1 / Math.sqrt(value + epsilon));
      const weights = core.f32(backend.pointer(required(call, 'scale')), channels);
      core.f32(backend.pointer(means) + row, channels).set(mean);
      core.f32(backend.pointer(inverses) + row, channels).set(inverse);
      core.f32(scalePtr, channels).set(inverse.map((value, c) => value * (weights[c] as number)));
      core.kernels.normaliseF32(
        backend.pointer(x) + at, backend.pointer(y) + at, pixels, channels, backend.pointer(means) + row, scalePtr,
        backend.pointer(required(call, 'offset')), 0,
      );
    }
  });
  return [y, means, inverses];
}

/** {dy, x, scale, means, inverses}, {groups} → [dx, gradient of scale, gradient of offset]. */
function backward(call: KernelCall): TensorInfo[] {
  const { backend } = call;
  const { core } = backend;
  const dy = required(call, 'dy');
  const x = required(call, 'x');
  const extents = extentsOf(x, call.attrs['groups'] as number);
  const { count, pixels, channels } = extents;
  const dScale = new Float64Array(channels);
  const dOffset = new Float64Array(channels);
  const dx = outputLike(call, dy);
  core.scoped((scratch) => {
    const sumsPtr = scratch.f64(2 * channels, 'gradient sums');
    const [aPtr, offsetPtr, slopePtr] = [scratch.f32(channels), scratch.f32(channels), scratch.f32(channels)];
    const weights = core.f32(backend.pointer(required(call, 'scale')), channels).slice();
    for (let n = 0; n < count; n++) {
      const [at, row] = [4 * n * pixels * channels, 4 * n * channels];
      const meanPtr = backend.pointer(required(call, 'means')) + row;
      const mean = core.f32(meanPtr, channels).slice();
      const inverse = core.f32(backend.pointer(required(call, 'inverses')) + row, channels).slice();
      core.f64(sumsPtr, 2 * channels).fill(0);
      core.kernels.columnCrossMomentsF32(backend.pointer(dy) + at, backend.pointer(x) + at, pixels, channels, sumsPtr);
      const sums = core.f64(sumsPtr, channels).slice();
      // Σ dy · x̂, x̂ = (x − mean) · inverse
      const products = core
        .f64(sumsPtr + 8 * channels, channels)
        .map((sum, c) => (sum - (mean[c] as number) * (sums[c] as number)) * (inverse[c] as number));
      for (let c = 0; c < channels; c++) {
        dOffset[c] = (dOffset[c] as number) + (sums[c] as number);
        dScale[c] = (dScale[c] as number) + (products[c] as number);
      }
      // dx = inverse · (γ dy − mean over the group of γ dy − x̂ · mean over the group of γ dy x̂)
      const weighted = (values: Float64Array): Float64Array =>
        overGroups(values.map((value, c) => value * (weights[c] as number)), extents);
      const [meanGradient, meanProduct] = [weighted(sums), weighted(products)];
      core.f32(aPtr, channels).set(inverse.map((value, c) => value * (weights[c] as number)));
      core.f32(offsetPtr, channels).set(meanGradient.map((value, c) => value * (inverse[c] as number)));
      core.f32(slopePtr, channels).set(meanProduct.map((value, c) => value * (inverse[c] as number) * (inverse[c] as number)));
      core.kernels.normaliseGradientF32(
        backend.pointer(dy) + at, backend.pointer(x) + at, backend.pointer(dx) + at, pixels, channels, meanPtr, aPtr, offsetPtr, slopePtr,
      );
    }
  });
  const vector = (values: Float64Array): TensorInfo => {
    const out = backend.makeOutput([channels], 'float32');
    core.f32(backend.pointer(out), channels).set(values);
    return out;
  };
  return [dx, vector(dScale), vector(dOffset)];
}

export function registerGroupNorm(): void {
  defineKernel('GroupNorm', forward);
  defineKernel('GroupNormGrad', backward);
  defineGradient('GroupNorm', {
    inputs: ['x', 'scale'],
    outputs: [false, true, true],
    gradient: (dy, [x, scale, means, inverses], { groups, gradientInPlace }) => {
      const result = together(() => runAll('GroupNormGrad', { dy, x, scale, means, inverses }, { groups, inPlace: gradientInPlace }));
      return { x: result(0), scale: result(1), offset: result(2) };
    },
  });
}
