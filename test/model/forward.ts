/**
 * A slow, plain f64 forward pass of a graph for one input: the independent twin that the tests compare against. It
 * shares nothing with `src/gradient` and little with `src/model` (only the graph's types and shapes).
 */
import { inferShapes, parameterName, type GraphNode, type ModelGraph } from '../../src/model/graph.ts';
import { sequenceForward } from './forward-sequence.ts';

export type Values = { readonly shape: readonly number[]; readonly data: Float64Array };
export type Parameters64 = ReadonlyMap<string, Float64Array>;

const at = (data: Float64Array, index: number): number => data[index] as number;

/** The output of the network in evaluation mode; `training` normalises batch norm by the statistics of this one input. */
export function forward(graph: ModelGraph, parameters: Parameters64, input: Float64Array, training = false): Float64Array {
  const shapes = inferShapes(graph);
  const values = new Map<string, Values>([['input', { shape: graph.input, data: input }]]);
  for (const node of graph.nodes) {
    const inputs = node.inputs.map((name) => values.get(name) as Values);
    const shape = shapes.get(node.name) as readonly number[];
    values.set(node.name, { shape, data: evaluate(node, inputs, shape, parameters, training) });
  }
  return (values.get(graph.output) as Values).data;
}

function evaluate(node: GraphNode, inputs: readonly Values[], shape: readonly number[], parameters: Parameters64, training: boolean): Float64Array {
  const { data, shape: from } = inputs[0] as Values;
  const get = (suffix: string): Float64Array | undefined => parameters.get(`${node.name}.${suffix}`);
  const each = (f: (x: number) => number): Float64Array => data.map(f);
  switch (node.op) {
    case 'conv2d':
      return convolve(node, data, from, shape, get('weight') as Float64Array, get('bias'));
    case 'relu':
      return each((x) => Math.max(x, 0));
    case 'relu6':
      return each((x) => Math.min(Math.max(x, 0), 6));
    case 'silu':
      return each((x) => x / (1 + Math.exp(-x)));
    case 'tanh':
      return each(Math.tanh);
    case 'sigmoid':
      return each((x) => 1 / (1 + Math.exp(-x)));
    case 'leaky_relu':
      return each((x) => (x < 0 ? x * node.slope : x));
    case 'gelu':
      return each((x) => 0.5 * x * (1 + Math.tanh(0.7978845608028654 * (x + 0.044715 * x ** 3))));
    case 'max_pool':
    case 'average_pool':
      return pool(node, data, from, shape);
    case 'global_max_pool':
    case 'global_average_pool': {
      const [channels, height, width] = from as [number, number, number];
      const area = height * width;
      return Float64Array.from({ length: channels }, (_unused, c) => {
        const plane = data.subarray(c * area, (c + 1) * area);
        return node.op === 'global_max_pool' ? Math.max(...plane) : plane.reduce((sum, x) => sum + x, 0) / area;
      });
    }
    case 'batch_norm': {
      const channels = from[0] as number;
      const area = data.length / channels;
      return data.map((x, i) => {
        const c = Math.floor(i / area);
        const plane = data.subarray(c * area, (c + 1) * area);
        const batchMean = plane.reduce((sum, v) => sum + v, 0) / area;
        const batchVariance = plane.reduce((sum, v) => sum + (v - batchMean) ** 2, 0) / area;
        const mean = training ? batchMean : at(get('running_mean') as Float64Array, c);
        const variance = training ? batchVariance : at(get('running_var') as Float64Array, c);
        return ((x - mean) / Math.sqrt(variance + node.epsilon)) * at(get('weight') as Float64Array, c) + at(get('bias') as Float64Array, c);
      });
    }
    case 'conv_transpose2d':
      return transposed(node, data, from, shape, get('weight') as Float64Array, get('bias'));
    case 'adaptive_max_pool':
    case 'adaptive_average_pool':
      return adaptivePool(node, data, from, shape);
    case 'group_norm': {
      const size = data.length / node.groups;
      const area = data.length / (from[0] as number);
      return data.map((x, i) => {
        const group = data.subarray(Math.floor(i / size) * size, (Math.floor(i / size) + 1) * size);
        const mean = group.reduce((sum, v) => sum + v, 0) / size;
        const variance = group.reduce((sum, v) => sum + (v - mean) ** 2, 0) / size;
        const c = Math.floor(i / area);
        return ((x - mean) / Math.sqrt(variance + node.epsilon)) * at(get('weight') as Float64Array, c) + at(get('bias') as Float64Array, c);
      });
    }
    case 'multiply': {
      const [a, b] = inputs as [Values, Values];
      const area = shape.slice(1).reduce((product, extent) => product * extent, 1);
      const factor = ({ data: values }: Values, i: number): number => at(values, values.length === shape[0] ? Math.floor(i / area) : i);
      return Float64Array.from({ length: Math.max(a.data.length, b.data.length) }, (_unused, i) => factor(a, i) * factor(b, i));
    }
    case 'concat':
      if (shape.length === 2) {
        const [tokens = 0] = shape;
        const row = (value: Values, token: number): number[] => [...value.data.subarray((token * value.data.length) / tokens, ((token + 1) * value.data.length) / tokens)];
        return Float64Array.from(Array.from({ length: tokens }, (_unused, token) => inputs.flatMap((value) => row(value, token))).flat());
      }
      return Float64Array.from(inputs.flatMap((value) => [...value.data]));
    case 'slice': {
      const features = from[1] as number;
      if (shape.length === 2) return data.filter((_unused, i) => i % features >= node.start && i % features < node.start + node.length);
      const area = data.length / (from[0] as number);
      return data.slice(node.start * area, (node.start + node.length) * area);
    }
    case 'flatten':
      return data;
    case 'add':
      return data.map((_unused, i) => inputs.reduce((sum, value) => sum + at(value.data, i), 0));
    default:
      return sequenceForward(
        node, inputs.map((value) => value.data), inputs.map((value) => value.shape), shape, (suffix) => parameters.get(parameterName(node.name, suffix)), (name) => parameters.get(name),
      );
  }
}

function convolve(
  node: Extract<GraphNode, { op: 'conv2d' }>,
  data: Float64Array,
  from: readonly number[],
  shape: readonly number[],
  weight: Float64Array,
  bias: Float64Array | undefined,
): Float64Array {
  const [channels, height, width] = from as [number, number, number];
  const [out, rows, columns] = shape as [number, number, number];
  const [kh, kw] = node.kernel;
  const inGroup = channels / node.groups;
  const outGroup = out / node.groups;
  const result = new Float64Array(out * rows * columns);
  for (let o = 0; o < out; o++) {
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++) {
        let sum = bias === undefined ? 0 : at(bias, o);
        for (let i = 0; i < inGroup; i++) {
          for (let u = 0; u < kh; u++) {
            for (let v = 0; v < kw; v++) {
              const row = y * node.stride[0] + u * node.dilation[0] - node.padding[0];
              const column = x * node.stride[1] + v * node.dilation[1] - node.padding[2];
              if (row < 0 || row >= height || column < 0 || column >= width) continue;
              const c = Math.floor(o / outGroup) * inGroup + i;
              sum += at(data, (c * height + row) * width + column) * at(weight, ((o * inGroup + i) * kh + u) * kw + v);
            }
          }
        }
        result[(o * rows + y) * columns + x] = sum;
      }
    }
  }
  return result;
}

function pool(
  node: Extract<GraphNode, { op: 'max_pool' | 'average_pool' }>,
  data: Float64Array,
  from: readonly number[],
  shape: readonly number[],
): Float64Array {
  const [, height, width] = from as [number, number, number];
  const [channels, rows, columns] = shape as [number, number, number];
  const result = new Float64Array(channels * rows * columns);
  for (let i = 0; i < result.length; i++) {
    const c = Math.floor(i / (rows * columns));
    const y = Math.floor(i / columns) % rows;
    const x = i % columns;
    let most = -Infinity;
    let sum = 0;
    for (let u = 0; u < node.kernel[0]; u++) {
      for (let v = 0; v < node.kernel[1]; v++) {
        const row = y * node.stride[0] + u - node.padding[0];
        const column = x * node.stride[1] + v - node.padding[2];
        if (row < 0 || row >= height || column < 0 || column >= width) continue;
        const value = at(data, (c * height + row) * width + column);
        most = Math.max(most, value);
        sum += value;
      }
    }
    result[i] = node.op === 'max_pool' ? most : sum / (node.kernel[0] * node.kernel[1]);
  }
  return result;
}

function transposed(
  node: Extract<GraphNode, { op: 'conv_transpose2d' }>,
  data: Float64Array,
  from: readonly number[],
  shape: readonly number[],
  weight: Float64Array,
  bias: Float64Array | undefined,
): Float64Array {
  const [channels, height, width] = from as [number, number, number];
  const [out, rows, columns] = shape as [number, number, number];
  const [kh, kw] = node.kernel;
  const outGroup = out / node.groups;
  const result = Float64Array.from({ length: out * rows * columns }, (_unused, i) => (bias === undefined ? 0 : at(bias, Math.floor(i / (rows * columns)))));
  for (let c = 0; c < channels; c++) {
    const first = Math.floor(c / (channels / node.groups)) * outGroup;
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        for (let o = 0; o < outGroup; o++) {
          for (let u = 0; u < kh; u++) {
            for (let v = 0; v < kw; v++) {
              const row = y * node.stride[0] + u * node.dilation[0] - node.padding[0];
              const column = x * node.stride[1] + v * node.dilation[1] - node.padding[2];
              if (row < 0 || row >= rows || column < 0 || column >= columns) continue;
              const i = ((first + o) * rows + row) * columns + column;
              result[i] = at(result, i) + at(data, (c * height + y) * width + x) * at(weight, ((c * outGroup + o) * kh + u) * kw + v);
            }
          }
        }
      }
    }
  }
  return result;
}

function adaptivePool(
  node: Extract<GraphNode, { op: 'adaptive_max_pool' | 'adaptive_average_pool' }>,
  data: Float64Array,
  from: readonly number[],
  shape: readonly number[],
): Float64Array {
  const [, height, width] = from as [number, number, number];
  const [channels, rows, columns] = shape as [number, number, number];
  return Float64Array.from({ length: channels * rows * columns }, (_unused, i) => {
    const plane = data.subarray(Math.floor(i / (rows * columns)) * height * width);
    const [row, column] = [Math.floor(i / columns) % rows, i % columns];
    let most = -Infinity;
    let sum = 0;
    let count = 0;
    for (let y = Math.floor((row * height) / rows); y < ((row + 1) * height) / rows; y++) {
      for (let x = Math.floor((column * width) / columns); x < ((column + 1) * width) / columns; x++) {
        most = Math.max(most, at(plane, y * width + x));
        sum += at(plane, y * width + x);
        count += 1;
      }
    }
    return node.op === 'adaptive_max_pool' ? most : sum / count;
  });
}
