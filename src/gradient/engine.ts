/** The gradient engine: compiles graphs into networks that compute with tfjs on one core. */
import { engine as tfjsEngine } from '#tfjs';
import type { Core } from '../core/core.ts';
import type { ModelGraph } from '../model/graph.ts';
import { closeBackend, openBackend, type HeapBackend } from './backend.ts';
import { registerKernels } from './kernels/index.ts';
import { Network, type NetworkOptions } from './network.ts';

export type { Loss } from './loss.ts';
export type { Evaluation, GradientResult, Network, NetworkOptions } from './network.ts';
export type { OptimiserSettings, OptimiserState } from './optimiser.ts';
export type { Trainer } from './trainer.ts';

/** Compiles graphs into networks on one core. A realm has one at a time; of `openCompute` it is `engine`. */
export class GradientEngine implements Disposable {
  readonly core: Core;
  readonly #backend: HeapBackend;

  constructor(core: Core) {
    this.core = core;
    registerKernels();
    this.#backend = openBackend(core);
  }

  /**
   * A network for this graph.
   * @throws InvalidArgumentError or UnsupportedError naming the node or option at fault.
   */
  compile(graph: ModelGraph, options: NetworkOptions = {}): Network {
    return new Network(this.#backend, graph, options);
  }

  /** `liveTensors` is zero between calls when no trainer is open; `peakTensorBytes` since `resetPeak`. */
  get memory(): { readonly liveTensors: number; readonly peakTensorBytes: number; readonly heapBytes: number } {
    return {
      liveTensors: Math.max(this.#backend.liveTensors, tfjsEngine().memory().numTensors),
      peakTensorBytes: this.#backend.peakBytes,
      heapBytes: this.core.heapBytes,
    };
  }

  /** Begins `memory.peakTensorBytes` anew, at what is held now. */
  resetPeak(): void {
    this.#backend.resetPeak();
  }

  /** Frees every tensor and makes room for another engine in this realm. */
  [Symbol.dispose](): void {
    closeBackend(this.#backend);
  }
}

/**
 * A gradient engine on `core`: tfjs's engine with its wasm backend on our heap.
 * @throws InvalidArgumentError while another one is live in this realm.
 */
export function openGradientEngine(core: Core): GradientEngine {
  return new GradientEngine(core);
}
