/**
 * The operations on features and sequences in plain f64 loops, for one input: the independent twin of src/gradient's, as
 * test/model/forward.ts is for images. Values are in PyTorch's order.
 */
import type { NodeOf } from '../../src/model/graph.ts';
import type { SequenceNode } from '../../src/model/operations-sequence.ts';

type Shape = readonly number[];
type Get = (suffix: string) => Float64Array | undefined;

const at = (data: Float64Array, index: number): number => data[index] as number;

/** Calls `f` with the offsets of every token's (or pixel's) features: first one and distance. */
function eachPlace(shape: Shape, f: (offset: (feature: number) => number, features: number) => void): void {
  const size = shape.reduce((product, extent) => product * extent, 1);
  const features = (shape.length === 3 ? shape[0] : shape.at(-1)) as number;
  for (let place = 0; place < size / features; place++) {
    f((feature) => (shape.length === 3 ? feature * (size / features) + place : place * features + feature), features);
  }
}

/** Less the largest: products of products go beyond 709, where exp overflows. */
function softmax(scores: readonly number[]): readonly number[] {
  const largest = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - largest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

/**
 * Of BERT's pairs: 1 for what has a separator somewhere before it, but for padding.
 * @param tokens one sequence
 */
export function tokenTypes(tokens: ArrayLike<number>, separator: number | undefined, padding: number | undefined): readonly (0 | 1)[] {
  const all = Array.from(tokens);
  return all.map((token, i) => (separator !== undefined && all.slice(0, i).includes(separator) && token !== padding ? 1 : 0));
}

/** @param own this node's parameters by suffix; `of` any tensor by name, for operations that share one; `input` the network's own. */
export function sequenceForward(
  node: SequenceNode, operands: readonly Float64Array[], shapes: readonly Shape[], to: Shape,
  own: Get, of: Get, input: Float64Array, padding: number | undefined,
): Float64Array {
  const x = operands[0] as Float64Array;
  const from = shapes[0] as Shape;
  const y = new Float64Array(to.reduce((product, extent) => product * extent, 1));
  // Looked up once: for every product it took three quarters of a gradient check of GPT-2.
  const weight = own('weight') as Float64Array, bias = own('bias') as Float64Array;
  switch (node.op) {
    case 'dense':
      return dense(x, from, to, (o, i, n) => at(weight, node.transposed ? i * node.out + o : o * n + i), node.bias ? bias : undefined);
    case 'tied_dense': {
      const table = of(`${node.with}.weight`) as Float64Array;
      return dense(x, from, to, (o, i, n) => at(table, o * n + i), undefined);
    }
    case 'layer_norm':
    case 'rms_norm':
      eachPlace(from, (offset, n) => {
        let mean = 0;
        for (let i = 0; i < n && node.op === 'layer_norm'; i++) mean += at(x, offset(i)) / n;
        let variance = 0;
        for (let i = 0; i < n; i++) variance += (at(x, offset(i)) - mean) ** 2 / n;
        for (let i = 0; i < n; i++) {
          const unit = (at(x, offset(i)) - mean) / Math.sqrt(variance + node.epsilon);
          y[offset(i)] = unit * at(weight, i) + (node.op === 'layer_norm' ? at(bias, i) : 0);
        }
      });
      return y;
    case 'softmax':
      eachPlace(from, (offset, n) => {
        const shares = softmax(Array.from({ length: n }, (_, i) => at(x, offset(i))));
        for (const [i, share] of shares.entries()) y[offset(i)] = share;
      });
      return y;
    case 'layer_scale': {
      const factors = own(node.parameter) as Float64Array;
      eachPlace(from, (offset, n) => {
        for (let i = 0; i < n; i++) y[offset(i)] = at(x, offset(i)) * at(factors, i);
      });
      return y;
    }
    case 'tokens':
    case 'transpose': {
      const columns = from.slice(1).reduce((product, extent) => product * extent, 1);
      return y.map((_, i) => at(x, (i % (from[0] as number)) * columns + Math.floor(i / (from[0] as number))));
    }
    case 'reshape':
      return x;
    case 'embedding':
      return y.map((_, i) => at(weight, at(x, Math.floor(i / node.features)) * node.features + (i % node.features)));
    case 'position_embedding': {
      const table = node.bare ? (own('') as Float64Array) : weight;
      return x.map((value, i) => value + at(table, i));
    }
    case 'type_embedding': {
      const features = from[1] as number;
      const types = tokenTypes(input, node.separator, padding);
      // Without a separator the tokens may be others than the network's.
      const rowOf = (i: number): number => types[Math.floor(i / features)] ?? 0;
      return x.map((value, i) => value + at(weight, rowOf(i) * features + (i % features)));
    }
    case 'class_token':
      return Float64Array.from([...(own('') as Float64Array), ...x]);
    case 'select_token':
      return x.slice(node.index * (from[1] as number), (node.index + 1) * (from[1] as number));
    case 'mean_tokens': {
      const [tokens, features] = from as [number, number];
      for (let i = 0; i < x.length; i++) y[i % features] = at(y, i % features) + at(x, i) / tokens;
      return y;
    }
    case 'attention':
      return attention(node, operands, shapes, to, node.masked ? Array.from(input, (token) => token === padding) : []);
    default:
      return node satisfies never;
  }
}

function dense(
  x: Float64Array,
  from: Shape,
  to: Shape,
  weight: (o: number, i: number, n: number) => number,
  bias: Float64Array | undefined,
): Float64Array {
  const y = new Float64Array(to.reduce((product, extent) => product * extent, 1));
  const places: ((feature: number) => number)[] = [];
  eachPlace(to, (offset) => places.push(offset));
  let place = 0;
  eachPlace(from, (offset, n) => {
    const out = places[place++] as (feature: number) => number;
    for (let o = 0; o < y.length / places.length; o++) {
      let sum = bias === undefined ? 0 : at(bias, o);
      for (let i = 0; i < n; i++) sum += weight(o, i, n) * at(x, offset(i));
      y[out(o)] = sum;
    }
  });
  return y;
}

function attention(
  node: NodeOf<'attention'>, operands: readonly Float64Array[], shapes: readonly Shape[], to: Shape, padded: readonly boolean[],
): Float64Array {
  const [tokens, outFeatures] = to as [number, number];
  const { heads, key_heads: keyHeads } = node;
  const fused = operands.length === 1;
  const width = (fused ? (shapes[0]?.[1] as number) / (heads + 2 * keyHeads) : (shapes[0]?.[1] as number) / heads);
  const valueWidth = outFeatures / heads;
  const read = (which: number, token: number, feature: number): number => {
    const start = fused ? [0, heads * width, (heads + keyHeads) * width][which] as number : 0;
    const stride = (shapes[fused ? 0 : which] as Shape)[1] as number;
    return at(operands[fused ? 0 : which] as Float64Array, token * stride + start + feature);
  };
  const y = new Float64Array(tokens * outFeatures);
  for (let h = 0; h < heads; h++) {
    const shared = Math.floor((h * keyHeads) / heads);
    for (let i = 0; i < tokens; i++) {
      const keys = Array.from({ length: node.causal ? i + 1 : tokens }, (_, j) => j).filter((j) => padded[j] !== true);
      const scores: number[] = [];
      for (const j of keys) {
        let score = 0;
        for (let d = 0; d < width; d++) score += read(0, i, h * width + d) * read(1, j, shared * width + d);
        scores.push(score / Math.sqrt(width));
      }
      for (const [seen, weight] of softmax(scores).entries()) {
        const j = keys[seen] as number;
        for (let d = 0; d < valueWidth; d++) {
          const to1 = i * outFeatures + h * valueWidth + d;
          y[to1] = at(y, to1) + weight * read(2, j, shared * valueWidth + d);
        }
      }
    }
  }
  return y;
}
