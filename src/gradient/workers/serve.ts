/** The worker's side of a pool: a core and a gradient engine of its own, which answer requests in the order they come. */
import { openCore } from '../../core/core.ts';
import { KernelError } from '../../core/errors.ts';
import type { ModelGraph } from '../../model/graph.ts';
import type { NamedOuterProducts } from '../../tensor/outer-products.ts';
import type { NamedTensors } from '../../tensor/tensor.ts';
import { openGradientEngine, type GradientEngine } from '../engine.ts';
import type { Network, NetworkOptions } from '../network.ts';
import { Predictions } from '../predictions.ts';
import { openPort, type NodePort, type WebPort } from './port.ts';
import { errorRecord, type Request, type Response } from './protocol.ts';

/**
 * Computes gradients and evaluations for the pool that holds this worker. The whole of a worker's file is
 * `serveGradients(self)`, or in Node `serveGradients(parentPort)` with `parentPort` of `node:worker_threads`.
 * @throws InvalidArgumentError for something that is no worker's scope.
 */
export function serveGradients(scope: WebPort | NodePort): void {
  let engine: GradientEngine | undefined;
  let compiled: { readonly text: string; readonly network: Network } | undefined;
  const networkOf = (graph: ModelGraph, options: NetworkOptions): Network => {
    if (engine === undefined) throw new KernelError({ field: 'worker', expected: 'to be opened first', got: 'a gradient' });
    const text = JSON.stringify([graph, options]);
    if (compiled?.text !== text) compiled = { text, network: engine.compile(graph, options) };
    return compiled.network;
  };
  const serve = async (request: Request): Promise<void> => {
    switch (request.kind) {
      case 'open':
        engine = openGradientEngine(await openCore(request.core));
        answer({ kind: 'open' });
        return;
      case 'gradient': {
        const { state, runs, spare } = request;
        networkOf(request.graph, request.options).eachRun(state, runs, spare, (losses, gradients, shared) => {
          // Later runs may need the batch whose memory these share.
          const factors = new Map([...shared].map(([name, own]) => [name, { ...own, right: own.right.slice() }]));
          answer({ kind: 'contribution', losses, gradients, factors }, buffersOf(gradients, factors));
        });
        return;
      }
      case 'statistics': {
        const network = networkOf(request.graph, request.options);
        for (const batch of request.batches) {
          answer({ kind: 'statistics', statistics: network.batchStatistics(request.state, batch) });
        }
        return;
      }
      case 'evaluation': {
        const network = networkOf(request.graph, request.options);
        for (const batch of request.batches) {
          const predictions = request.predictions ? new Predictions(network, batch.count) : undefined;
          const evaluation = network.evaluate(request.state, [batch], predictions?.take);
          answer({ kind: 'evaluation', evaluation, predictions: predictions?.classes });
        }
      }
    }
  };
  // One after the other, also while the core is loading.
  let last = Promise.resolve();
  const port = openPort('scope', scope, {
    onMessage: (message) => {
      last = last.then(() => serve(message as Request)).catch((error: unknown) => answer({ kind: 'error', error: errorRecord(error) }));
    },
    onFailure: () => undefined,
  });
  const answer = (response: Response, transfer: ArrayBuffer[] = []): void => port.send(response, transfer);
}

function buffersOf(tensors: NamedTensors, factors: NamedOuterProducts): ArrayBuffer[] {
  const arrays = [...[...tensors.values()].map(({ data }) => data), ...[...factors.values()].flatMap(({ left, right }) => [left, right])];
  return [...new Set(arrays.map(({ buffer }) => buffer as ArrayBuffer))];
}
