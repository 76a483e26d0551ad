/** Every operation of the graph and its arithmetic. The type makes a missing one an error of compilation. */
import type { OperationName } from '../../model/graph.ts';
import type { Operation } from '../operation.ts';
import { gelu, leakyRelu, relu, sigmoid, silu, tanh } from './activation.ts';
import { batchNorm } from './batch-norm.ts';
import { conv2d } from './convolution.ts';
import { dense } from './dense.ts';
import { averagePool, globalAveragePool, globalMaxPool, maxPool } from './pooling.ts';
import { add, flatten } from './shape.ts';

export const operations: { readonly [K in OperationName]: Operation<K> } = {
  dense,
  conv2d,
  relu,
  leaky_relu: leakyRelu,
  tanh,
  sigmoid,
  silu,
  gelu,
  max_pool: maxPool,
  average_pool: averagePool,
  global_max_pool: globalMaxPool,
  global_average_pool: globalAveragePool,
  batch_norm: batchNorm,
  flatten,
  add,
};
