/**
 * tfjs's own cpu backend and its tape as a second opinion on gradients. tfjs-core registers no gradients by itself and its
 * deep imports cannot be loaded by Node, so it is bundled once, with a copy of the engine that nothing else shares.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import type * as Core from '@tensorflow/tfjs-core';
import type { Batch } from '../../src/data/batch.ts';
import type { Loss } from '../../src/gradient/loss.ts';
import { inferShapes, parameterLayout, parameterName, type GraphNode, type ModelGraph, type NodeOf } from '../../src/model/graph.ts';
import { isSequenceNode } from '../../src/model/operations-sequence.ts';
import { sequenceTfjs } from './tfjs-sequence.ts';
import type { NetworkState, Tensor } from '../../src/tensor/tensor.ts';

export type Tfjs = typeof Core;
type Pair = [number, number];

/** tfjs-core with all gradients on the cpu backend: in f32, its matrix products' sums too, and in f64. */
export interface References {
  readonly f32: Tfjs;
  readonly f64: Tfjs;
}

export async function openReferences(): Promise<References> {
  return { f32: await openTfjs('f32'), f64: await openTfjs('f64') };
}

/** @param precision 'f64' replaces every Float32Array of tfjs: the same code then computes in doubles throughout. */
async function openTfjs(precision: 'f32' | 'f64'): Promise<Tfjs> {
  const outfile = join(process.cwd(), 'build', 'tfjs-cpu', `${process.pid}-${precision}.mjs`);
  mkdirSync(join(outfile, '..'), { recursive: true });
  await build({
    stdin: {
      contents:
        "export * from '@tensorflow/tfjs-core'; import '@tensorflow/tfjs-core/dist/register_all_gradients'; import " +
        "'@tensorflow/tfjs-backend-cpu';",
      resolveDir: process.cwd(),
    },
    outfile,
    bundle: true,
    format: 'esm',
    platform: 'neutral',
    mainFields: ['module', 'main'],
    external: ['node-fetch', 'util', 'string_decoder', 'worker_threads', 'perf_hooks', 'fs', 'path', 'os', 'crypto'],
    // tfjs keeps its engine in the global object: each bundle gets one of its own.
    banner: { js: 'const ownGlobal = {};' },
    define: {
      process: 'undefined',
      window: 'undefined',
      self: 'undefined',
      global: 'ownGlobal',
      ...(precision === 'f64' ? { Float32Array: 'Float64Array' } : {}),
    },
    logLevel: 'error',
  });
  const tf = (await import(pathToFileURL(outfile).href)) as Tfjs;
  tf.env().setPlatform('none', {
    fetch: () => Promise.reject(new Error('no network')),
    now: () => 0,
    encode: (text: string) => new TextEncoder().encode(text),
    decode: (bytes: Uint8Array) => new TextDecoder().decode(bytes),
    isTypedArray: (value: unknown): value is Float32Array => ArrayBuffer.isView(value),
  } as never);
  await tf.setBackend('cpu');
  if (precision === 'f32') sumProductsInF32(tf);
  return tf;
}

/** tfjs's cpu backend adds up a product's terms in f64, as JavaScript computes; an f32 reference rounds each of them. */
function sumProductsInF32(tf: Tfjs): void {
  const valuesOf = (backend: unknown, { dataId }: Core.TensorInfo): Float32Array =>
    (backend as { readonly data: { get(id: object): { readonly values: Float32Array } } }).data.get(dataId).values;
  tf.unregisterKernel('BatchMatMul', 'cpu');
  tf.registerKernel({
    kernelName: 'BatchMatMul',
    backendName: 'cpu',
    kernelFunc: ({ inputs, attrs, backend }) => {
      const [a, b] = [inputs['a'], inputs['b']] as [Core.TensorInfo, Core.TensorInfo];
      const { transposeA, transposeB } = attrs as unknown as Core.BatchMatMulAttrs;
      const [aRows, aColumns, bRows, bColumns] = [...a.shape.slice(-2), ...b.shape.slice(-2)] as [number, number, number, number];
      const [m, k, n] = [transposeA ? aColumns : aRows, transposeA ? aRows : aColumns, transposeB ? bRows : bColumns];
      const [aCount, bCount] = [a, b].map(({ shape }) => shape.slice(0, -2).reduce((product, extent) => product * extent, 1)) as [
        number,
        number,
      ];
      const count = Math.max(aCount, bCount);
      const [from, by] = [valuesOf(backend, a), valuesOf(backend, b)];
      const out = new Float32Array(count * m * n);
      for (let at = 0; at < out.length; at++) {
        const [item, i, j] = [Math.floor(at / (m * n)), Math.floor(at / n) % m, at % n];
        const [aStart, bStart] = [(item % aCount) * aRows * aColumns, (item % bCount) * bRows * bColumns];
        let sum = 0;
        for (let l = 0; l < k; l++) {
          const x = from[aStart + (transposeA ? l * aColumns + i : i * aColumns + l)] as number;
          const y = by[bStart + (transposeB ? j * bColumns + l : l * bColumns + j)] as number;
          sum = Math.fround(sum + Math.fround(x * y));
        }
        out[at] = sum;
      }
      const shape = [...(aCount === count ? a : b).shape.slice(0, -2), m, n];
      return (backend as { makeTensorInfo(shape: number[], dtype: 'float32', values: Float32Array): Core.TensorInfo }).makeTensorInfo(
        shape,
        'float32',
        out,
      );
    },
  });
}

/** Whether tfjs can differentiate this node at all. */
export function tfjsSupports(node: GraphNode): boolean {
  // "dilation rates greater than 1 are not yet supported in gradients".
  if (node.op === 'conv_transpose2d') return node.groups === 1 && Math.max(...node.dilation) === 1;
  if (node.op === 'adaptive_max_pool' || node.op === 'adaptive_average_pool') return false;
  return node.op !== 'conv2d' || Math.max(...node.dilation) === 1;
}

/** Gradient of the mean loss by tfjs's tape on its cpu backend, in PyTorch's layouts. */
export function tfjsGradient(
  tf: Tfjs,
  graph: ModelGraph,
  state: NetworkState,
  batch: Batch,
  kind: Loss,
): ReadonlyMap<string, Float64Array> {
  const { parameters } = parameterLayout(graph);
  const results = new Map<string, Float64Array>();
  tf.tidy(() => {
    const inside = parameters.map(({ name, shape }) => {
      const value = tf.tensor((state.parameters.get(name) as Tensor).data, [...shape]);
      return shape.length === 4 ? tf.transpose(value, [2, 3, 1, 0]) : value;
    });
    const labels = tf.tensor1d(Array.from(batch.labels), 'int32');
    const loss = (...values: Core.Tensor[]): Core.Scalar => {
      const named = new Map(parameters.map(({ name }, i) => [name, values[i] as Core.Tensor]));
      const scores = forward(tf, graph, named, batch);
      return meanLoss(tf, tf.reshape(scores, [-1, scores.shape.at(-1) as number]) as Core.Tensor2D, labels, kind);
    };
    const gradients = tf.grads(loss)(inside);
    for (const [i, { name, shape }] of parameters.entries()) {
      const gradient = gradients[i] as Core.Tensor;
      const outside = shape.length === 4 ? tf.transpose(gradient, [3, 2, 0, 1]) : gradient;
      results.set(name, Float64Array.from(outside.dataSync()));
    }
  });
  return results;
}

function meanLoss(tf: Tfjs, logits: Core.Tensor2D, labels: Core.Tensor1D, loss: Loss): Core.Scalar {
  const [count, classes] = logits.shape;
  const targets = tf.cast(tf.oneHot(labels, classes), 'float32');
  if (loss.kind === 'mean-squared-error') return tf.mean(tf.square(tf.sub(logits, targets)));
  if (loss.kind === 'binary-cross-entropy') {
    // softplus(z) − z · t
    return tf.mean(tf.sub(tf.add(tf.relu(logits), tf.log1p(tf.exp(tf.neg(tf.abs(logits))))), tf.mul(logits, targets)));
  }
  const smooth = tf.add(tf.mul(targets, 1 - loss.labelSmoothing), loss.labelSmoothing / classes);
  return tf.neg(tf.div(tf.sum(tf.mul(smooth, tf.logSoftmax(logits))), count));
}

function forward(tf: Tfjs, graph: ModelGraph, parameters: ReadonlyMap<string, Core.Tensor>, batch: Batch): Core.Tensor {
  const shapes = inferShapes(graph);
  const input = tf.tensor(batch.inputs, [batch.count, ...graph.input], graph.vocabulary === undefined ? 'float32' : 'int32');
  const values = new Map<string, Core.Tensor>([['input', graph.input.length === 3 ? tf.transpose(input, [0, 2, 3, 1]) : input]]);
  for (const node of graph.nodes) {
    const operands = node.inputs.map((name) => values.get(name) as Core.Tensor);
    const shape = shapes.get(node.name) as readonly number[];
    const of = (name: string): Core.Tensor => parameters.get(name) as Core.Tensor;
    values.set(node.name, apply(tf, node, shape, operands, of, input, graph.padding));
  }
  return values.get(graph.output) as Core.Tensor;
}

function apply(
  tf: Tfjs, node: GraphNode, shape: readonly number[], operands: readonly Core.Tensor[], of: (name: string) => Core.Tensor,
  tokens: Core.Tensor, padding: number | undefined,
): Core.Tensor {
  const get = (suffix: string): Core.Tensor => of(`${node.name}.${suffix}`);
  const x = operands[0] as Core.Tensor4D;
  switch (node.op) {
    case 'conv2d':
      return convolve(tf, node, x, get);
    case 'conv_transpose2d': {
      const [out, height, width] = shape as [number, number, number];
      const [top, bottom, left, right] = node.padding;
      const pads: [[number, number], [number, number], [number, number], [number, number]] = [[0, 0], [top, bottom], [left, right], [0, 0]];
      const y = tf.conv2dTranspose(x, get('weight') as Core.Tensor4D, [x.shape[0], height, width, out], [...node.stride] as Pair, pads);
      return node.bias ? tf.add(y, get('bias')) : y;
    }
    case 'adaptive_max_pool':
    case 'adaptive_average_pool':
      throw new Error('tfjs has no adaptive pooling');
    case 'group_norm': {
      const grouped = tf.reshape(x, [x.shape[0], -1, node.groups, (x.shape.at(-1) as number) / node.groups]);
      const centred = tf.sub(grouped, tf.mean(grouped, [1, 3], true));
      const variance = tf.mean(tf.square(centred), [1, 3], true);
      const normed = tf.reshape(tf.mul(centred, tf.rsqrt(tf.add(variance, node.epsilon))), x.shape);
      return tf.add(tf.mul(normed, get('weight')), get('bias'));
    }
    case 'multiply':
      return tf.mul(operands[0] as Core.Tensor, operands[1] as Core.Tensor);
    case 'concat':
      return tf.concat([...operands], -1);
    case 'slice':
      return tf.slice(x, [...x.shape.slice(0, -1).map(() => 0), node.start], [...x.shape.slice(0, -1), node.length]);
    case 'relu6':
      return tf.relu6(x);
    case 'relu':
      return tf.relu(x);
    case 'leaky_relu':
      return tf.leakyRelu(x, node.slope);
    case 'elu':
      return tf.add(tf.relu(x), tf.mul(node.alpha, tf.sub(tf.exp(tf.minimum(x, 0)), 1)));
    case 'tanh':
      return tf.tanh(x);
    case 'sigmoid':
      return tf.sigmoid(x);
    case 'silu':
      return tf.mul(x, tf.sigmoid(x));
    case 'hardsigmoid':
      return tf.div(tf.relu6(tf.add(x, 3)), 6);
    case 'hardswish':
      return tf.div(tf.mul(x, tf.relu6(tf.add(x, 3))), 6);
    case 'gelu':
      return node.approximate === 'tanh'
        ? tf.mul(tf.mul(x, 0.5), tf.add(1, tf.tanh(tf.mul(Math.sqrt(2 / Math.PI), tf.add(x, tf.mul(0.044715, tf.mul(x, tf.mul(x, x))))))))
        : tf.mul(tf.mul(x, 0.5), tf.add(1, tf.erf(tf.mul(x, Math.SQRT1_2))));
    case 'max_pool':
      return tf.maxPool(pad(tf, x, node.padding, -1e30), [...node.kernel] as Pair, [...node.stride] as Pair, 'valid');
    case 'average_pool':
      return tf.avgPool(pad(tf, x, node.padding, 0), [...node.kernel] as Pair, [...node.stride] as Pair, 'valid');
    case 'global_max_pool':
      return tf.maxPool(x, [x.shape[1], x.shape[2]], 1, 'valid');
    case 'global_average_pool':
      return tf.mean(x, [1, 2], true);
    case 'batch_norm': {
      const axes = x.shape.map((_, axis) => axis).slice(0, -1);
      const centred = tf.sub(x, tf.mean(x, axes, true));
      const variance = tf.mean(tf.square(centred), axes, true);
      return tf.add(tf.mul(tf.mul(centred, tf.rsqrt(tf.add(variance, node.epsilon))), get('weight')), get('bias'));
    }
    case 'flatten':
      return tf.reshape(x.rank === 4 ? tf.transpose(x, [0, 3, 1, 2]) : (x as Core.Tensor), [x.shape[0], -1]);
    case 'add':
      return operands.reduce((sum, operand) => tf.add(sum, operand));
    default:
      if (!isSequenceNode(node)) return node satisfies never;
      return sequenceTfjs(tf, node, operands, (suffix) => of(parameterName(node.name, suffix)), of, tokens, padding);
  }
}

function convolve(tf: Tfjs, node: NodeOf<'conv2d'>, x: Core.Tensor4D, get: (suffix: string) => Core.Tensor): Core.Tensor {
  const padded = pad(tf, x, node.padding, 0);
  const filter = get('weight') as Core.Tensor4D;
  if (node.groups > 1 && node.groups === padded.shape[3] && node.groups === node.out) {
    const single = tf.transpose(filter, [0, 1, 3, 2]) as Core.Tensor4D;
    const y = tf.depthwiseConv2d(padded, single, [...node.stride] as Pair, 'valid');
    return node.bias ? tf.add(y, get('bias')) : y;
  }
  // A single part cannot be split: the gradient of tfjs's split wants all parts.
  const images: Core.Tensor4D[] = node.groups === 1 ? [padded] : tf.split(padded, node.groups, 3);
  const filters: Core.Tensor4D[] = node.groups === 1 ? [filter] : tf.split(filter, node.groups, 3);
  const parts = images.map((image, g): Core.Tensor =>
    tf.conv2d<Core.Tensor4D>(image, filters[g] as Core.Tensor4D, [...node.stride] as Pair, 'valid'),
  );
  const y = parts.length === 1 ? (parts[0] as Core.Tensor) : tf.concat(parts, 3);
  return node.bias ? tf.add(y, get('bias')) : y;
}

function pad(tf: Tfjs, x: Core.Tensor4D, [top, bottom, left, right]: readonly number[], value: number): Core.Tensor4D {
  const widths: [[number, number], [number, number], [number, number], [number, number]] = [
    [0, 0], [top as number, bottom as number], [left as number, right as number], [0, 0],
  ];
  return Math.max(...widths.flat()) === 0 ? x : tf.pad(x, widths, value);
}
