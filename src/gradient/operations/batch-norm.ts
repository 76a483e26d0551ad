/**
 * Batch norm over all axes but the last. Training mode normalises with the batch's own statistics (biased variance) and
 * differentiates through them; evaluation mode uses running_mean and running_var. Statistics are f64 sums.
 */
import { InvalidArgumentError } from '../../core/errors.ts';
import { onlyInput, overwritable, type Operation, type Pass } from '../operation.ts';
import type { HeapTensor } from '../tensor-heap.ts';

interface Moments {
  readonly mean: Float64Array;
  /** Biased. */
  readonly variance: Float64Array;
}

export const batchNorm: Operation<'batch_norm'> = (pass, node, inputs) => {
  const { core } = pass;
  const x = onlyInput(inputs);
  const channels = x.shape.at(-1) ?? 1;
  const rows = x.elements / channels;
  const weight = pass.value(`${node.name}.weight`);
  const bias = pass.value(`${node.name}.bias`);
  const { mean, variance } = pass.training ? batchMoments(pass, node.name, x, rows, channels) : runningMoments(pass, node.name, channels);
  const inverse = variance.map((value) => 1 / Math.sqrt(value + node.epsilon));
  const means = pass.heap.upload(Float32Array.from(mean), [channels], `mean of ${node.name}`);
  pass.keep(means);
  pass.keep(x);
  const y = overwritable(pass, x, node.name);
  core.scoped((scratch) => {
    const weights = core.f32(weight.pointer, channels).slice();
    const scale = scratch.upload(Float32Array.from(inverse, (value, c) => value * (weights[c] as number)));
    core.kernels.normaliseF32(x.pointer, y.pointer, rows, channels, means.pointer, scale, bias.pointer);
  });
  means.release();
  if (y !== x) x.release();
  return {
    output: y,
    backward: (dy, [wanted]) => {
      const { sums, products } = gradientSums(pass, dy, x, rows, channels, mean);
      addTo(pass, `${node.name}.bias`, sums);
      addTo(pass, `${node.name}.weight`, products.map((value, c) => value * (inverse[c] as number)));
      if (wanted !== true) {
        dy.release();
        return [undefined];
      }
      // dx = a · (dy − mean(dy) − (x − mean) · inverse² · mean(dy · (x − mean))), a = weight · inverse
      const weights = core.f32(weight.pointer, channels).slice();
      const a = inverse.map((value, c) => value * (weights[c] as number));
      const dx = overwritable(pass, dy, `gradient at ${node.name}`);
      core.scoped((scratch) => {
        const scale = scratch.upload(Float32Array.from(a));
        const offset = scratch.upload(Float32Array.from(a, (value, c) => (value * (sums[c] as number)) / rows));
        const slope = scratch.upload(
          Float32Array.from(a, (value, c) => (value * square(inverse[c] as number) * (products[c] as number)) / rows),
        );
        core.kernels.normaliseGradientF32(dy.pointer, x.pointer, dx.pointer, rows, channels, means.pointer, scale, offset, slope);
      });
      if (dx !== dy) dy.release();
      return [dx];
    },
  };
};

function batchMoments(pass: Pass, name: string, x: HeapTensor, rows: number, channels: number): Moments {
  if (rows < 2) {
    throw new InvalidArgumentError({
      field: `${name} (batch_norm)`,
      expected: 'at least 2 values a channel in training mode',
      got: `${rows}`,
    });
  }
  const { core } = pass;
  const moments = core.scoped((scratch) => {
    const sums = scratch.f64(2 * channels, 'batch statistics');
    core.f64(sums, 2 * channels).fill(0);
    core.kernels.columnSumsF32(x.pointer, rows, channels, sums);
    core.kernels.columnSquareSumsF32(x.pointer, rows, channels, sums + 8 * channels);
    const mean = core.f64(sums, channels).map((sum) => sum / rows);
    // In f64 the cancellation costs at most 1e-16 · mean² of a variance that f32 data resolve to 1e-7 · mean².
    const variance = core
      .f64(sums + 8 * channels, channels)
      .map((sum, c) => Math.max(0, sum / rows - (mean[c] as number) * (mean[c] as number)));
    return { mean, variance };
  });
  pass.reportStatistics({ node: name, rows, ...moments });
  return moments;
}

function runningMoments(pass: Pass, name: string, channels: number): Moments {
  const read = (suffix: string): Float64Array =>
    Float64Array.from(pass.core.f32(pass.value(`${name}.${suffix}`).pointer, channels));
  return { mean: read('running_mean'), variance: read('running_var') };
}

/** Σ dy and Σ dy · (x − mean) a channel. */
function gradientSums(pass: Pass, dy: HeapTensor, x: HeapTensor, rows: number, channels: number, mean: Float64Array) {
  const { core } = pass;
  return core.scoped((scratch) => {
    const pointer = scratch.f64(2 * channels, 'gradient sums');
    core.f64(pointer, 2 * channels).fill(0);
    core.kernels.columnSumsF32(dy.pointer, rows, channels, pointer);
    core.kernels.columnProductSumsF32(dy.pointer, x.pointer, rows, channels, pointer + 8 * channels);
    const sums = core.f64(pointer, channels).slice();
    const products = core
      .f64(pointer + 8 * channels, channels)
      .map((sum, c) => sum - (mean[c] as number) * (sums[c] as number));
    return { sums, products };
  });
}

const square = (value: number): number => value * value;

function addTo(pass: Pass, parameter: string, values: Float64Array): void {
  const gradient = pass.gradient(parameter);
  const view = pass.core.f32(gradient.pointer, gradient.elements);
  for (let c = 0; c < view.length; c++) view[c] = (view[c] as number) + (values[c] as number);
}
