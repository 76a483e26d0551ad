// The attention block that bench/gradient.ts times: learned positions (so that the block's input needs a gradient), then
// x + projection(attention(qkv(layer norm(x)))), in our graph and composed of stock tfjs's operations.
import { sequential, type Layer, type Residual } from '../src/model/builder.ts';
import type { ModelGraph } from '../src/model/graph.ts';
import type { StockTfjs } from './stock-tfjs.ts';

export interface BlockSize {
  readonly count: number;
  readonly tokens: number;
  readonly width: number;
  readonly heads: number;
}

const CLASSES = 10;

export function attentionBlock({ tokens, width, heads }: BlockSize, withMlp: boolean): ModelGraph {
  const attention: Residual = {
    op: 'residual',
    body: [
      { op: 'layer_norm', name: 'norm1' },
      { op: 'dense', name: 'qkv', out: 3 * width },
      { op: 'attention', heads },
      { op: 'dense', name: 'proj', out: width },
    ],
  };
  const mlp: Residual = {
    op: 'residual',
    body: [
      { op: 'layer_norm', name: 'norm2' },
      { op: 'dense', name: 'fc1', out: 4 * width },
      { op: 'gelu' },
      { op: 'dense', name: 'fc2', out: width },
    ],
  };
  const layers: readonly (Layer | Residual)[] = [
    { op: 'reshape', shape: [tokens, width] },
    { op: 'position_embedding', name: 'positions', positions: tokens },
    attention,
    ...(withMlp ? [mlp] : []),
    { op: 'mean_tokens' },
    { op: 'dense', name: 'head', out: CLASSES },
  ];
  return sequential([tokens * width], layers);
}

/** One gradient of the attention block on stock tfjs-wasm; products on [count · tokens, features], its fastest form. */
export function stockAttentionBlock(tf: StockTfjs, { count, tokens, width, heads }: BlockSize): () => void {
  type T = ReturnType<StockTfjs['tensor']>;
  const x = tf.randomUniform([count, tokens, width]);
  const labels = tf.oneHot(Array.from({ length: count }, (_, i) => i % CLASSES), CLASSES);
  const random = (shape: number[]): T => tf.randomUniform(shape, -0.05, 0.05);
  const parameters = [
    random([tokens, width]),
    tf.ones([width]),
    tf.zeros([width]),
    random([width, 3 * width]),
    random([3 * width]),
    random([width, width]),
    random([width]),
    random([width, CLASSES]),
  ];
  const rows = count * tokens;
  const size = width / heads;
  const loss = (...values: T[]) => {
    const [positions, scale, shift, qkvWeight, qkvBias, projection, projectionBias, head] = values as [T, T, T, T, T, T, T, T];
    const input = tf.reshape(tf.add(x, positions), [rows, width]);
    const centred = tf.sub(input, tf.mean(input, -1, true));
    const normed = tf.add(tf.mul(tf.div(centred, tf.sqrt(tf.add(tf.mean(tf.square(centred), -1, true), 1e-5))), scale), shift);
    const qkv = tf.reshape(tf.add(tf.matMul(normed as never, qkvWeight as never), qkvBias), [count, tokens, 3, heads, size]);
    const [q, k, v] = tf.split(tf.transpose(qkv, [2, 0, 3, 1, 4]), 3, 0).map((part) => tf.reshape(part, [count * heads, tokens, size])) as [
      T,
      T,
      T,
    ];
    const scores = tf.softmax(tf.mul(tf.matMul(q as never, k as never, false, true), 1 / Math.sqrt(size)) as T);
    const mixed = tf.transpose(tf.reshape(tf.matMul(scores as never, v as never), [count, heads, tokens, size]), [0, 2, 1, 3]);
    const out = tf.add(input, tf.add(tf.matMul(tf.reshape(mixed, [rows, width]), projection as never), projectionBias));
    const mean = tf.mean(tf.reshape(out, [count, tokens, width]), 1);
    return tf.losses.softmaxCrossEntropy(labels, tf.matMul(mean as never, head as never)) as ReturnType<StockTfjs['scalar']>;
  };
  return () => tf.tidy(() => tf.grads(loss)(parameters).forEach((gradient) => gradient.dataSync()));
}
