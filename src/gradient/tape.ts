/**
 * One pass of a graph over one (micro-)batch: forward, and backward along the recorded steps. Values are freed after their last
 * use, forward and backward.
 */
import type { Core } from '../core/core.ts';
import { INPUT, type GraphNode, type ModelGraph } from '../model/graph.ts';
import { operations } from './operations/index.ts';
import type { AnyOperation, Backward, BatchStatistics, Pass } from './operation.ts';
import type { HeapParameters } from './parameters.ts';
import type { HeapTensor, TensorHeap } from './tensor-heap.ts';

/** What does not change from pass to pass. */
export interface CompiledGraph {
  readonly graph: ModelGraph;
  /** Node name → number of its consumers; the output counts one more. */
  readonly uses: ReadonlyMap<string, number>;
  /** Nodes with a parameter at or before them: the values that a gradient must reach. */
  readonly reached: ReadonlySet<string>;
}

export function compileGraph(graph: ModelGraph, owners: ReadonlySet<string>): CompiledGraph {
  const uses = new Map<string, number>([[graph.output, 1]]);
  const reached = new Set<string>();
  for (const node of graph.nodes) {
    for (const name of node.inputs) uses.set(name, (uses.get(name) ?? 0) + 1);
    if (owners.has(node.name) || node.inputs.some((name) => reached.has(name))) reached.add(node.name);
  }
  return { graph, uses, reached };
}

export interface PassOptions {
  readonly training: boolean;
  /** Keep what the backward pass needs. */
  readonly record: boolean;
  readonly onStatistics?: (statistics: BatchStatistics) => void;
}

interface Record {
  readonly node: GraphNode;
  readonly backward: Backward;
  readonly kept: readonly HeapTensor[];
}

export class TapePass implements Pass {
  readonly core: Core;
  readonly heap: TensorHeap;
  readonly training: boolean;
  readonly #compiled: CompiledGraph;
  readonly #parameters: HeapParameters;
  readonly #options: PassOptions;
  readonly #records: Record[] = [];
  #kept: HeapTensor[] = [];

  constructor(heap: TensorHeap, compiled: CompiledGraph, parameters: HeapParameters, options: PassOptions) {
    this.core = heap.core;
    this.heap = heap;
    this.training = options.training;
    this.#compiled = compiled;
    this.#parameters = parameters;
    this.#options = options;
  }

  value(name: string): HeapTensor {
    return this.#parameters.value(name);
  }

  gradient(name: string): HeapTensor {
    return this.#parameters.gradient(name);
  }

  keep(tensor: HeapTensor): void {
    if (this.#options.record) this.#kept.push(tensor.retain());
  }

  reportStatistics(statistics: BatchStatistics): void {
    this.#options.onStatistics?.(statistics);
  }

  /** The value of the graph's output; takes over `input` [count, height, width, channels] or [count, features]. */
  forward(input: HeapTensor): HeapTensor {
    const { graph, uses } = this.#compiled;
    const values = new Map<string, { readonly tensor: HeapTensor; left: number }>([
      [INPUT, { tensor: input, left: uses.get(INPUT) ?? 0 }],
    ]);
    const take = (name: string): HeapTensor => {
      const value = values.get(name) as { readonly tensor: HeapTensor; left: number };
      // The last consumer gets the reference itself and may then overwrite the tensor.
      if (--value.left > 0) return value.tensor.retain();
      values.delete(name);
      return value.tensor;
    };
    for (const node of graph.nodes) {
      this.#kept = [];
      const operation = operations[node.op] as AnyOperation;
      const { output, backward } = operation(this, node, node.inputs.map(take));
      values.set(node.name, { tensor: output, left: uses.get(node.name) ?? 0 });
      if (this.#options.record) this.#records.push({ node, backward, kept: this.#kept });
    }
    return take(graph.output);
  }

  /** Adds every parameter's gradient; takes over the gradient of the output. */
  backward(outputGradient: HeapTensor): void {
    const { graph, reached } = this.#compiled;
    const gradients = new Map<string, HeapTensor>([[graph.output, outputGradient]]);
    for (let record = this.#records.pop(); record !== undefined; record = this.#records.pop()) {
      const { node, backward, kept } = record;
      const dy = gradients.get(node.name);
      gradients.delete(node.name);
      if (dy !== undefined && reached.has(node.name)) {
        const wanted = node.inputs.map((name) => reached.has(name));
        for (const [i, dx] of backward(dy, wanted).entries()) {
          if (dx !== undefined) this.#accumulate(gradients, node.inputs[i] as string, dx);
        }
      } else {
        dy?.release();
      }
      for (const tensor of kept) tensor.release();
    }
  }

  #accumulate(gradients: Map<string, HeapTensor>, name: string, dx: HeapTensor): void {
    const sum = gradients.get(name);
    if (sum === undefined) {
      gradients.set(name, dx);
      return;
    }
    // Either side may be shared with another consumer's gradient: write into one that is not, or into a copy.
    const [into, from] = sum.references === 1 ? [sum, dx] : [dx, sum];
    if (into.references === 1) {
      this.core.kernels.addF32(from.pointer, into.pointer, into.elements);
      from.release();
      gradients.set(name, into);
      return;
    }
    const fresh = this.heap.allocate(into.shape, `gradient at ${name}`);
    this.core.f32(fresh.pointer, fresh.elements).set(this.core.f32(into.pointer, into.elements));
    this.core.kernels.addF32(from.pointer, fresh.pointer, fresh.elements);
    into.release();
    from.release();
    gradients.set(name, fresh);
  }
}
