/** Operations on features and sequences composed of tfjs's own, for its tape. Images have their channels last, as features do. */
import type * as Core from '@tensorflow/tfjs-core';
import type { NodeOf } from '../../src/model/graph.ts';
import type { SequenceNode } from '../../src/model/operations-sequence.ts';
import type { Tfjs } from './tfjs-reference.ts';

type Get = (name: string) => Core.Tensor;

export function sequenceTfjs(
  tf: Tfjs, node: SequenceNode, operands: readonly Core.Tensor[], own: Get, of: Get, tokens: Core.Tensor, padding: number | undefined,
): Core.Tensor {
  const x = operands[0] as Core.Tensor;
  const [count = 0] = x.shape;
  const features = x.shape.at(-1) as number;
  const dense = (weight: Core.Tensor, transposed: boolean): Core.Tensor => {
    const y = tf.matMul(tf.reshape(x, [-1, features]), weight, false, !transposed);
    return tf.reshape(y, [...x.shape.slice(0, -1), y.shape.at(-1) as number]);
  };
  switch (node.op) {
    case 'dense':
      return node.bias
        ? tf.add(dense(own('weight'), node.transposed === true), own('bias'))
        : dense(own('weight'), node.transposed === true);
    case 'tied_dense':
      return dense(of(`${node.with}.weight`), false);
    case 'layer_norm': {
      const centred = tf.sub(x, tf.mean(x, -1, true));
      const variance = tf.mean(tf.square(centred), -1, true);
      return tf.add(tf.mul(tf.div(centred, tf.sqrt(tf.add(variance, node.epsilon))), own('weight')), own('bias'));
    }
    case 'rms_norm':
      return tf.mul(tf.div(x, tf.sqrt(tf.add(tf.mean(tf.square(x), -1, true), node.epsilon))), own('weight'));
    case 'softmax':
      return tf.softmax(x);
    case 'layer_scale':
      return tf.mul(x, tf.reshape(own(node.parameter), [-1]));
    case 'tokens':
      return tf.reshape(x, [count, -1, features]);
    case 'transpose':
      return tf.transpose(x, [0, 2, 1]);
    case 'reshape': {
      const rows = tf.reshape(x.rank === 4 ? tf.transpose(x, [0, 3, 1, 2]) : x, [count, ...node.shape]);
      return node.shape.length === 3 ? tf.transpose(rows, [0, 2, 3, 1]) : rows;
    }
    case 'embedding':
      // A product with one-hot rows: the gradient of tfjs's gather is not what is to be trusted here.
      return tf.reshape(
        tf.matMul(tf.cast(tf.oneHot(tf.cast(tf.reshape(x, [-1]), 'int32'), own('weight').shape[0] as number), 'float32'), own('weight')),
        [...x.shape, node.features],
      );
    case 'position_embedding': {
      const table = tf.reshape(own(node.bare ? '' : 'weight'), [node.positions, features]);
      return tf.add(x, tf.slice(table, [0, 0], [x.shape[1] as number, features]));
    }
    case 'type_embedding': {
      const row = (type: number): Core.Tensor => tf.slice(own('weight'), [type, 0], [1, features]);
      if (node.separator === undefined) return tf.add(x, row(0));
      const separatorsBefore = tf.cumsum(isToken(tf, tokens, node.separator), 1, true);
      const behind = tf.cast(tf.greater(separatorsBefore, 0), 'float32');
      const second = tf.expandDims(tf.mul(behind, tf.sub(1, isToken(tf, tokens, padding))), 2);
      return tf.add(x, tf.add(tf.mul(second, row(1)), tf.mul(tf.sub(1, second), row(0))));
    }
    case 'class_token':
      return tf.concat([tf.tile(own(''), [count, 1, 1]), x], 1);
    case 'select_token':
      return tf.reshape(tf.slice(x, [0, node.index, 0], [count, 1, features]), [count, features]);
    case 'mean_tokens':
      return tf.mean(x, 1);
    case 'attention':
      return attention(tf, node, operands, node.masked ? isToken(tf, tokens, padding) : undefined);
    default:
      return node satisfies never;
  }
}

/** 1 where a token is that one, [count, tokens]. */
function isToken(tf: Tfjs, tokens: Core.Tensor, token = -1): Core.Tensor {
  return tf.cast(tf.equal(tokens, tf.scalar(token, 'int32')), 'float32');
}

function attention(
  tf: Tfjs, node: NodeOf<'attention'>, operands: readonly Core.Tensor[], padded: Core.Tensor | undefined,
): Core.Tensor {
  const { heads, key_heads: keyHeads } = node;
  const x = operands[0] as Core.Tensor;
  const [count = 0, tokens = 0, all = 0] = x.shape;
  const width = operands.length === 1 ? all / (heads + 2 * keyHeads) : all / heads;
  const [q, k, v] = (
    operands.length === 1 ? tf.split(x, [heads * width, keyHeads * width, keyHeads * width], 2) : operands
  ) as [Core.Tensor, Core.Tensor, Core.Tensor];
  const parts: Core.Tensor[] = [];
  for (let head = 0; head < heads; head++) {
    const shared = Math.floor((head * keyHeads) / heads);
    const read = (from: Core.Tensor, at: number, size: number): Core.Tensor3D =>
      tf.slice(from, [0, 0, at * size], [count, tokens, size]) as Core.Tensor3D;
    let scores = tf.div(tf.matMul(read(q, head, width), read(k, shared, width), false, true), Math.sqrt(width));
    if (node.causal)
      scores = tf.add(
        scores,
        tf.tensor2d(Array.from({ length: tokens }, (_, i) => Array.from({ length: tokens }, (__, j) => (j > i ? -1e9 : 0)))),
      );
    if (padded !== undefined) scores = tf.sub(scores, tf.mul(tf.expandDims(padded, 1), 1e9));
    parts.push(tf.matMul(tf.softmax(scores), read(v, shared, (v.shape[2] as number) / keyHeads)));
  }
  return parts.length === 1 ? (parts[0] as Core.Tensor) : tf.concat(parts, 2);
}
