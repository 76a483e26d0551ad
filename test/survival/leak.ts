// Many small transfers in one process over one compute: whatever a transfer takes it gives back, or a server that ports
// fine-tunes for weeks dies of it.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { initialise, openCompute, trajectoryFromStates, transfer } from '../../src/index.ts';
import type { Compute, ModelGraph } from '../../src/index.ts';
import { sequential } from '../../src/model/builder.ts';
import { networks, quadrants } from '../transfer/networks.ts';

export interface LeakResult {
  readonly transfers: number;
  /** Transfers before `freeBytes` was taken. */
  readonly warmUp: number;
  /** Bytes of the WebAssembly heap that can be allocated, after the warm-up and after every transfer since. */
  readonly freeBytes: number;
  /** Of the JavaScript heap after a collection, at the end less after the warm-up; for information. */
  readonly jsDriftBytes: number;
}

/** Of the WebAssembly heap: what it starts with, so that it never grows and what is free can be counted to the byte. */
const HEAP_BYTES = 2 ** 24;

/** Two rounds of every kind of transfer. */
const WARM_UP = 8;

/** Convolutions and batch norm: kernels that keep statistics and workspaces of their own. */
const normedConv = sequential([1, 8, 8], [
  { op: 'conv2d', name: 'conv1', out: 6, kernel: 3, padding: 1, bias: false },
  { op: 'batch_norm', name: 'norm1' },
  { op: 'relu' },
  { op: 'conv2d', name: 'conv2', out: 8, kernel: 3, padding: 1, bias: false },
  { op: 'batch_norm', name: 'norm2' },
  { op: 'relu' },
  { op: 'global_average_pool' },
  { op: 'flatten' },
  { op: 'dense', name: 'head', out: 4 },
]);

/**
 * FGMT and GMT in turn, of the MLP and the normed conv net in turn, every one with other weights and batches.
 * @param afterwards called after each transfer; tests plant leaks with it
 * @throws Error where tensors or allocations are left after a transfer, or less of the WebAssembly heap is free than after the warm-up.
 */
export async function transferManyTimes(transfers: number, afterwards: (compute: Compute) => void = () => {}): Promise<LeakResult> {
  using compute = await openCompute({ heapLimitBytes: HEAP_BYTES });
  const collect = garbageCollector();
  const data = quadrants(64, 1);
  let [freeBytes, jsBefore] = [0, 0];
  for (let index = 0; index < WARM_UP + transfers; index++) {
    await oneTransfer(compute, index, index % 4 < 2 ? networks.mlp : normedConv, data);
    afterwards(compute);
    const { liveTensors } = compute.engine.memory;
    const { liveAllocations } = compute.core;
    if (liveTensors !== 0 || liveAllocations !== 0)
      throw new Error(`transfer ${index} left ${liveTensors} tensors and ${liveAllocations} allocations`);
    const free = countFreeBytes(compute.core);
    if (index === WARM_UP - 1) {
      freeBytes = free;
      jsBefore = jsHeapBytes(collect);
    }
    if (index >= WARM_UP && free !== freeBytes)
      throw new Error(`transfer ${index}: ${free} bytes of the WebAssembly heap are free, ${freeBytes} were`);
  }
  return { transfers, warmUp: WARM_UP, freeBytes, jsDriftBytes: jsHeapBytes(collect) - jsBefore };
}

/**
 * Takes all that malloc still gives, largest pieces first, and gives it back. Sees what was allocated behind the core's back
 * too (by the C++ code itself), where the size of a heap that never shrinks shows nothing until it is full.
 */
function countFreeBytes({ tfjs }: Compute['core']): number {
  const pieces: number[] = [];
  let bytes = 0;
  for (let size = 2 ** 20; size >= 8; size /= 2) {
    for (let pointer = tfjs.malloc(size) >>> 0; pointer !== 0; pointer = tfjs.malloc(size) >>> 0) {
      pieces.push(pointer);
      bytes += size;
    }
  }
  for (const pointer of pieces) tfjs.free(pointer);
  return bytes;
}

async function oneTransfer(compute: Compute, index: number, graph: ModelGraph, data: ReturnType<typeof quadrants>): Promise<void> {
  const state = (offset: number) => initialise(compute.core, graph, { seed: 3 * index + offset });
  const source = trajectoryFromStates(graph, [{ label: 'start', state: state(0) }, { label: 'end', state: state(1) }]);
  const method = index % 2 === 0 ? 'fgmt' : 'gmt';
  await transfer({
    source, target: state(2), data, method, steps: 2, maxSweeps: 3, batchSize: 16, statisticsBatches: 2, seed: index, compute,
  });
}

function jsHeapBytes(collect: () => void): number {
  collect();
  return process.memoryUsage().heapUsed;
}

/** The engine's collector, without a flag on the command line. */
function garbageCollector(): () => void {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc') as () => void;
}
