/**
 * What bench/workers.ts runs in each runtime: gradients of Conv8 at full width, steps of its training, or a transfer of a
 * ResNet-18, in one worker, in two, and (but for the transfer) twice at once in one each, in turn.
 */
import { sha256Hex } from '../src/core/sha256.ts';
import { imageSet } from '../src/data/image-set.ts';
import {
  openCompute, openGradientWorkers, train, trajectoryFromStates, transfer, type GradientWorkers,
} from '../src/index.ts';
import { initialise } from '../src/model/initialise.ts';
import { preset } from '../src/model/presets.ts';
import { startWorker } from '../test/hosts/fixtures/start-worker.ts';

/** So many that hashing what goes in and comes out does not count. */
const TRAINING_STEPS = 4;

export interface WorkersMeasurement {
  /** Wall milliseconds of each round. */
  readonly oneMs: readonly number[];
  readonly twoMs: readonly number[];
  /** Two whole ones at once, which share nothing: what the machine has to give to two threads. None of a transfer, which also matches. */
  readonly bothMs: readonly number[];
  /** Of all gradients or of the trained weights, with one worker and with two. */
  readonly sha256: readonly string[];
}

export interface WorkersJob {
  readonly code: string;
  readonly node: boolean;
  readonly rounds: number;
  readonly what: 'gradient' | 'training' | 'transfer';
}

export async function run({ code, node, rounds, what }: WorkersJob): Promise<WorkersMeasurement> {
  const graph = preset('conv8', { input: [3, 32, 32], classes: 10 });
  const count = 128;
  const inputs = Float32Array.from({ length: count * 3072 }, (_, i) => ((i * 7919) % 1009) / 1009);
  const batch = { inputs, labels: Int32Array.from({ length: count }, (_, i) => i % 10), count };
  using compute = await openCompute();
  const state = initialise(compute.core, graph, { seed: 1 });
  const dataOf = (times: number) =>
    imageSet({
      name: 'made up',
      images: Uint8Array.from({ length: times * inputs.length }, (_, i) => 255 * (inputs[i % inputs.length] as number)),
      labels: Uint8Array.from({ length: times * count }, (_, i) => i % 10),
      channels: 3,
      height: 32,
      width: 32,
      classes: 10,
    });
  const data = dataOf(1);
  const workers = await Promise.all([1, 2, 3, 4].map(() => startWorker(code, node)));
  const pools = [
    await openGradientWorkers(workers.slice(0, 1)),
    await openGradientWorkers(workers.slice(1, 3)),
    await openGradientWorkers(workers.slice(3)),
  ] as const;
  const sha256: string[] = [];
  const resnet = preset('resnet18', { input: [3, 32, 32], classes: 10, width: 16, stem: 'cifar' });
  const resnetAt = (seed: number) => initialise(compute.core, resnet, { seed });
  const source = trajectoryFromStates(resnet, [{ label: 'start', state: resnetAt(1) }, { label: 'end', state: resnetAt(2) }]);
  const target = resnetAt(3);
  // 640 held-out images in three pieces beside 20 batches of 32 for statistics.
  const images = dataOf(10);
  const milliseconds = async (pool: GradientWorkers, iterations = TRAINING_STEPS): Promise<number> => {
    const start = performance.now();
    if (what === 'transfer') {
      const { record } = await transfer({
        source, target, data: images, method: 'fgmt', seed: 1, steps: 2, batchSize: 32, heldOutFraction: 0.5, compute, workers: pool,
      });
      const spent = performance.now() - start;
      sha256.push(record.sha256);
      return spent;
    }
    if (what === 'training') {
      const { record } = await train({
        graph, data, initial: state, seed: 1, iterations, batchSize: count, microBatch: 16, heldOutFraction: 0, checkpointEpochs: [],
        compute, workers: pool,
      });
      const spent = performance.now() - start;
      if (iterations === TRAINING_STEPS) sha256.push(record.sha256);
      return spent;
    }
    const [result] = await pool.gradients(graph, [{ state, batches: [batch] }], { microBatch: 16 });
    const spent = performance.now() - start;
    if (sha256.length < 2) {
      const hashes = await Promise.all(
        [...(result?.gradients.values() ?? [])].map((tensor) => sha256Hex(new Uint8Array(tensor.data.buffer))),
      );
      sha256.push(await sha256Hex(new TextEncoder().encode(hashes.join())));
    }
    return spent;
  };
  for (const pool of pools) await milliseconds(pool, 1);
  const oneMs: number[] = [];
  const twoMs: number[] = [];
  const bothMs: number[] = [];
  for (let round = 0; round < rounds; round++) {
    oneMs.push(await milliseconds(pools[0]));
    twoMs.push(await milliseconds(pools[1]));
    if (what === 'transfer') continue;
    const start = performance.now();
    await Promise.all([milliseconds(pools[0]), milliseconds(pools[2])]);
    bothMs.push(performance.now() - start);
  }
  for (const pool of pools) pool[Symbol.dispose]();
  return { oneMs, twoMs, bothMs, sha256 };
}
