/**
 * The independent twin of the engine that every test compares with: a plain f64 forward pass of a graph over a batch, in PyTorch's
 * layouts (NCHW, OIHW). Loops only, nothing shared with src/gradient, and of src/model only the graph's types, families and shapes.
 */
import { inferShapes, parameterName, type GraphNode, type ModelGraph } from '../../src/model/graph.ts';
import { isSequenceNode } from '../../src/model/operations-sequence.ts';
import { sequenceForward } from './forward-sequence.ts';

/** Parameters and buffers by name. */
export type Arrays = ReadonlyMap<string, Float64Array>;

const at = (data: Float64Array, index: number): number => data[index] as number;
const size = (shape: readonly number[]): number => shape.reduce((product, extent) => product * extent, 1);

/** erf by its Maclaurin series, and beyond 2.5, where that cancels, by Laplace's continued fraction of erfc. */
function erf(x: number): number {
  const far = Math.abs(x);
  if (far > 2.5) {
    let fraction = far;
    for (let n = 80; n >= 1; n--) fraction = far + n / 2 / fraction;
    return Math.sign(x) * (1 - Math.exp(-x * x) / (fraction * Math.sqrt(Math.PI)));
  }
  let term = x;
  let sum = x;
  for (let n = 1; n < 80; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

const maps: { [op: string]: (x: number) => number } = {
  relu: (x) => Math.max(x, 0),
  relu6: (x) => Math.min(Math.max(x, 0), 6),
  tanh: Math.tanh,
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
  silu: (x) => x / (1 + Math.exp(-x)),
  hardsigmoid: (x) => Math.min(Math.max(x + 3, 0), 6) / 6,
  hardswish: (x) => (x * Math.min(Math.max(x + 3, 0), 6)) / 6,
};

/** The outputs of `count` inputs, one behind the other; `training` lets batch norm use the batch's statistics. */
export function forward64(graph: ModelGraph, tensors: Arrays, inputs: Float64Array, count: number, training: boolean): Float64Array {
  const shapes = inferShapes(graph);
  const values = new Map<string, Float64Array>([['input', inputs]]);
  for (const node of graph.nodes) {
    const operands = node.inputs.map((name) => values.get(name) as Float64Array);
    const from = node.inputs.map((name) => shapes.get(name) as readonly number[]);
    const to = shapes.get(node.name) as readonly number[];
    const value = combine(node, operands, from, to) ?? apply(node, operands, from, to, count, tensors, training, inputs, graph.padding);
    values.set(node.name, value);
  }
  return values.get(graph.output) as Float64Array;
}

function apply(
  node: GraphNode, operands: readonly Float64Array[], shapes: readonly (readonly number[])[], to: readonly number[], count: number,
  tensors: Arrays, training: boolean, input: Float64Array, padding: number | undefined,
): Float64Array {
  const x = operands[0] as Float64Array;
  const from = shapes[0] as readonly number[];
  const get = (suffix: string): Float64Array => tensors.get(`${node.name}.${suffix}`) as Float64Array;
  switch (node.op) {
    case 'relu':
    case 'relu6':
    case 'tanh':
    case 'sigmoid':
    case 'silu':
    case 'hardsigmoid':
    case 'hardswish':
      return x.map(maps[node.op] as (value: number) => number);
    case 'leaky_relu':
      return x.map((value) => (value > 0 ? value : node.slope * value));
    case 'elu':
      return x.map((value) => (value > 0 ? value : node.alpha * Math.expm1(value)));
    case 'gelu':
      return x.map((v) =>
        node.approximate === 'tanh'
          ? 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v * v * v)))
          : 0.5 * v * (1 + erf(v / Math.SQRT2)),
      );
    case 'flatten':
      return x;
    case 'add':
      return x.map((_, i) => operands.reduce((sum, operand) => sum + at(operand, i), 0));
    case 'batch_norm': {
      const channels = from[0] as number;
      const area = size(from) / channels;
      const y = new Float64Array(x.length);
      for (let c = 0; c < channels; c++) {
        const indices = Array.from({ length: count * area }, (_, i) => (Math.floor(i / area) * channels + c) * area + (i % area));
        let mean = at(get('running_mean'), c);
        let variance = at(get('running_var'), c);
        if (training) {
          mean = indices.reduce((sum, i) => sum + at(x, i), 0) / indices.length;
          variance = indices.reduce((sum, i) => sum + (at(x, i) - mean) ** 2, 0) / indices.length;
        }
        for (const i of indices) {
          y[i] = ((at(x, i) - mean) / Math.sqrt(variance + node.epsilon)) * at(get('weight'), c) + at(get('bias'), c);
        }
      }
      return y;
    }
    case 'group_norm': {
      const channels = from[0] as number;
      const perImage = size(from);
      const perGroup = perImage / node.groups;
      return x.map((value, i) => {
        const group = x.subarray(Math.floor(i / perGroup) * perGroup, (Math.floor(i / perGroup) + 1) * perGroup);
        const mean = group.reduce((sum, v) => sum + v, 0) / perGroup;
        const variance = group.reduce((sum, v) => sum + (v - mean) ** 2, 0) / perGroup;
        const c = Math.floor((i % perImage) / (perImage / channels));
        return ((value - mean) / Math.sqrt(variance + node.epsilon)) * at(get('weight'), c) + at(get('bias'), c);
      });
    }
    case 'conv_transpose2d':
      return transposedConvolution(node, x, from, to, count, get);
    case 'adaptive_max_pool':
    case 'adaptive_average_pool':
      return adaptive(node, x, from, to);
    case 'multiply':
    case 'concat':
    case 'slice':
      throw new Error('done by combine');
    case 'conv2d':
    case 'max_pool':
    case 'average_pool':
    case 'global_max_pool':
    case 'global_average_pool':
      return windows(node, x, from, to, count, tensors);
    default: {
      if (!isSequenceNode(node)) return node satisfies never;
      const y = new Float64Array(count * size(to));
      for (let n = 0; n < count; n++) {
        const inputs = operands.map((operand) => operand.subarray((n * operand.length) / count, ((n + 1) * operand.length) / count));
        const own = (suffix: string): Float64Array | undefined => tensors.get(parameterName(node.name, suffix));
        const given = input.subarray((n * input.length) / count, ((n + 1) * input.length) / count);
        y.set(sequenceForward(node, inputs, shapes, to, own, (name) => tensors.get(name), given, padding), n * size(to));
      }
      return y;
    }
  }
}

/** Operations that join values or take them apart; undefined for the others. */
function combine(
  node: GraphNode, operands: readonly Float64Array[], shapes: readonly (readonly number[])[], to: readonly number[],
): Float64Array | undefined {
  const area = size(to.slice(1));
  const pick = (part: number, n: number, c: number, pixel: number): number => {
    const [channels, ...rest] = shapes[part] as [number, ...number[]];
    const own = size(rest);
    return at(operands[part] as Float64Array, (n * channels + c) * own + (own === 1 ? 0 : pixel));
  };
  const count = (operands[0] as Float64Array).length / size(shapes[0] as readonly number[]);
  const each = (f: (n: number, c: number, pixel: number) => number): Float64Array =>
    Float64Array.from({ length: count * size(to) }, (_, i) => f(Math.floor(i / size(to)), Math.floor((i % size(to)) / area), i % area));
  if (node.op === 'multiply') return each((n, c, pixel) => pick(0, n, c, pixel) * pick(1, n, c, pixel));
  if (to.length === 2 && (node.op === 'slice' || node.op === 'concat')) {
    return each((n, token, feature) => {
      let [part, own] = [0, node.op === 'slice' ? node.start + feature : feature];
      for (; own >= (shapes[part]?.[1] as number); part++) own -= shapes[part]?.[1] as number;
      return at(operands[part] as Float64Array, (n * (to[0] as number) + token) * (shapes[part]?.[1] as number) + own);
    });
  }
  if (node.op === 'slice') return each((n, c, pixel) => pick(0, n, node.start + c, pixel));
  if (node.op !== 'concat') return undefined;
  return each((n, c, pixel) => {
    let part = 0;
    for (; c >= (shapes[part]?.[0] as number); part++) c -= shapes[part]?.[0] as number;
    return pick(part, n, c, pixel);
  });
}

/** By its definition: every input pixel adds itself, times the filter, to the pixels that the filter reaches. */
function transposedConvolution(
  node: Extract<GraphNode, { op: 'conv_transpose2d' }>, x: Float64Array, from: readonly number[], to: readonly number[], count: number,
  get: (suffix: string) => Float64Array,
): Float64Array {
  const [channels, height, width] = from as [number, number, number];
  const [out, rows, columns] = to as [number, number, number];
  const [kh, kw] = node.kernel;
  const [inGroup, outGroup] = [channels / node.groups, out / node.groups];
  const weight = get('weight'), bias = get('bias');
  const y = Float64Array.from({ length: count * size(to) }, (_, i) => (node.bias ? at(bias, Math.floor(i / (rows * columns)) % out) : 0));
  for (let i = 0; i < x.length; i++) {
    const [n, c] = [Math.floor(i / size(from)), Math.floor(i / (height * width)) % channels];
    const [row, column] = [Math.floor(i / width) % height, i % width];
    for (let o = 0; o < outGroup; o++) {
      for (let tap = 0; tap < kh * kw; tap++) {
        const r = row * node.stride[0] + Math.floor(tap / kw) * node.dilation[0] - node.padding[0];
        const s = column * node.stride[1] + (tap % kw) * node.dilation[1] - node.padding[2];
        if (r < 0 || r >= rows || s < 0 || s >= columns) continue;
        const target = ((n * out + Math.floor(c / inGroup) * outGroup + o) * rows + r) * columns + s;
        y[target] = at(y, target) + at(x, i) * at(weight, (c * outGroup + o) * kh * kw + tap);
      }
    }
  }
  return y;
}

function adaptive(
  node: Extract<GraphNode, { op: 'adaptive_max_pool' | 'adaptive_average_pool' }>,
  x: Float64Array,
  from: readonly number[],
  to: readonly number[],
): Float64Array {
  const [, height, width] = from as [number, number, number];
  const [, rows, columns] = to as [number, number, number];
  const planes = x.length / (height * width);
  return Float64Array.from({ length: planes * rows * columns }, (_, i) => {
    const [plane, row, column] = [Math.floor(i / (rows * columns)), Math.floor(i / columns) % rows, i % columns];
    const values: number[] = [];
    for (let r = Math.floor((row * height) / rows); r < Math.ceil(((row + 1) * height) / rows); r++) {
      for (let c = Math.floor((column * width) / columns); c < Math.ceil(((column + 1) * width) / columns); c++) {
        values.push(at(x, (plane * height + r) * width + c));
      }
    }
    return node.op === 'adaptive_max_pool' ? Math.max(...values) : values.reduce((sum, value) => sum + value, 0) / values.length;
  });
}

type WindowNode = Extract<GraphNode, { op: 'conv2d' | 'max_pool' | 'average_pool' | 'global_max_pool' | 'global_average_pool' }>;

/** Everything that slides a window: for each output pixel, the list of taps inside the image. */
function windows(
  node: WindowNode, x: Float64Array, from: readonly number[], to: readonly number[], count: number, tensors: Arrays,
): Float64Array {
  const [channels, height, width] = from as [number, number, number];
  const [out, rows, columns] = to as [number, number, number];
  const global = node.op === 'global_max_pool' || node.op === 'global_average_pool';
  const [kh, kw] = global ? [height, width] : node.kernel;
  const [sy, sx] = global ? [1, 1] : node.stride;
  const [top, , left] = global ? [0, 0, 0, 0] : node.padding;
  const [dy, dx] = node.op === 'conv2d' ? node.dilation : [1, 1];
  const y = new Float64Array(count * out * rows * columns);
  for (let i = 0; i < y.length; i++) {
    const column = i % columns;
    const row = Math.floor(i / columns) % rows;
    const o = Math.floor(i / (columns * rows)) % out;
    const n = Math.floor(i / (columns * rows * out));
    const taps: { offset: number; tap: number }[] = [];
    for (let u = 0; u < kh; u++) {
      for (let v = 0; v < kw; v++) {
        const r = row * sy + u * dy - top;
        const c = column * sx + v * dx - left;
        if (r >= 0 && r < height && c >= 0 && c < width) taps.push({ offset: r * width + c, tap: u * kw + v });
      }
    }
    const pixel = (channel: number, offset: number): number => at(x, (n * channels + channel) * height * width + offset);
    if (node.op === 'conv2d') {
      const groupIn = channels / node.groups;
      const group = Math.floor(o / (out / node.groups));
      const weight = tensors.get(`${node.name}.weight`) as Float64Array;
      let sum = node.bias ? at(tensors.get(`${node.name}.bias`) as Float64Array, o) : 0;
      for (let c = 0; c < groupIn; c++) {
        for (const { offset, tap } of taps) sum += at(weight, (o * groupIn + c) * kh * kw + tap) * pixel(group * groupIn + c, offset);
      }
      y[i] = sum;
    } else if (node.op === 'max_pool' || node.op === 'global_max_pool') {
      y[i] = Math.max(...taps.map(({ offset }) => pixel(o, offset)));
    } else {
      y[i] = taps.reduce((sum, { offset }) => sum + pixel(o, offset), 0) / (kh * kw);
    }
  }
  return y;
}
