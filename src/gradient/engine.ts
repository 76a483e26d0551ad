/** The gradient engine: compiles graphs into networks that compute on one core. */
import type { Core } from '../core/core.ts';
import type { ModelGraph } from '../model/graph.ts';
import { Network, type NetworkOptions } from './network.ts';
import { TensorHeap } from './tensor-heap.ts';

export class GradientEngine implements Disposable {
  readonly core: Core;
  readonly heap: TensorHeap;

  constructor(core: Core) {
    this.core = core;
    this.heap = new TensorHeap(core);
  }

  /**
   * A network for this graph.
   * @throws InvalidArgumentError or UnsupportedError naming the node or option at fault.
   */
  compile(graph: ModelGraph, options: NetworkOptions = {}): Network {
    return new Network(this.heap, graph, options);
  }

  /** Live tensors and bytes: `liveTensors` is zero between calls when no trainer is open. */
  get memory(): { readonly liveTensors: number; readonly peakTensorBytes: number; readonly heapBytes: number } {
    return { liveTensors: this.heap.liveTensors, peakTensorBytes: this.heap.peakBytes, heapBytes: this.core.heapBytes };
  }

  [Symbol.dispose](): void {
    // Tensors end with the core; the engine itself holds nothing else.
  }
}

/** A gradient engine on `core`. Engines share nothing: several may live side by side. */
export function openGradientEngine(core: Core): GradientEngine {
  return new GradientEngine(core);
}
