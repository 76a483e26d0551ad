/**
 * The contract between the tape and an operation's arithmetic.
 *
 * Ownership is linear. `forward` owns one reference to each input and gives one to its output; `backward` owns one reference to
 * the output's gradient and gives one to each input's gradient. Whoever owns the only reference may write in place.
 */
import type { Core } from '../core/core.ts';
import type { GraphNode, NodeOf, OperationName } from '../model/graph.ts';
import type { HeapTensor, TensorHeap } from './tensor-heap.ts';

/** Statistics of one batch-norm node in one pass, over `rows` values a channel. */
export interface BatchStatistics {
  readonly node: string;
  readonly rows: number;
  /** [channels] */
  readonly mean: Float64Array;
  /** [channels], divided by `rows` (biased). */
  readonly variance: Float64Array;
}

/** What an operation may ask of the pass it runs in. */
export interface Pass {
  readonly core: Core;
  readonly heap: TensorHeap;
  /** Batch norm uses the batch's own statistics. */
  readonly training: boolean;
  /** A parameter or buffer by name, borrowed. */
  value(name: string): HeapTensor;
  /** The gradient that a parameter's contributions are added to, borrowed. */
  gradient(name: string): HeapTensor;
  /** Keeps a tensor alive until this node's backward step has run; does nothing in a pass without one. */
  keep(tensor: HeapTensor): void;
  reportStatistics(statistics: BatchStatistics): void;
}

/** Gradient of the output → gradients of the inputs, undefined where not `wanted`. Adds to the parameters' gradients. */
export type Backward = (dy: HeapTensor, wanted: readonly boolean[]) => (HeapTensor | undefined)[];

export interface Step {
  readonly output: HeapTensor;
  readonly backward: Backward;
}

export type Operation<K extends OperationName> = (pass: Pass, node: NodeOf<K>, inputs: readonly HeapTensor[]) => Step;

/** An operation that takes any node: what the tape calls once the table of operations has been indexed by `node.op`. */
export type AnyOperation = (pass: Pass, node: GraphNode, inputs: readonly HeapTensor[]) => Step;

/** The tensor itself when its caller is the only holder, else a fresh one of its shape; the caller's reference moves to the result. */
export function overwritable(pass: Pass, tensor: HeapTensor, purpose: string): HeapTensor {
  if (tensor.references === 1) return tensor;
  return pass.heap.allocate(tensor.shape, purpose);
}

/** The single input of an operation of arity one. */
export function onlyInput(inputs: readonly HeapTensor[]): HeapTensor {
  return inputs[0] as HeapTensor;
}

/** A shape [count, height, width, channels]. */
export function imageShape(tensor: HeapTensor): readonly [number, number, number, number] {
  return tensor.shape as readonly [number, number, number, number];
}
