/** How much of a gradient is computed at once, and in how many workers anything is: `--micro-batch`, `--workers`. */
import { Worker } from 'node:worker_threads';
import { TrajportError, openGradientWorkers } from '../index.ts';
import type { GradientWorkers } from '../index.ts';
import type { ModelGraph } from '../model/graph.ts';
import type { OptionSpecs, ValuesOf } from './arguments.ts';
import { coreOptions, type GlobalValues } from './command.ts';
import { UsageError } from './exit.ts';
import type { Output } from './output.ts';

export const microBatchOptions = {
  'micro-batch': {
    kind: 'string',
    // Networks call it by the second name.
    field: ['microBatch', 'options.microBatch'],
    metavar: 'N|auto',
    help:
      'images, windows or sequences on the heap at once, or auto: the whole batch, or the first of its half, quarter … that ' +
      '--heap-limit has room for; gradients are the same to rounding (default: the whole batch)',
  },
} as const satisfies OptionSpecs;

export const workerOptions = {
  workers: {
    kind: 'integer',
    metavar: 'N',
    minimum: 1,
    maximum: 64,
    help: 'compute in N threads; the same bytes (default: in this one)',
  },
} as const satisfies OptionSpecs;

/**
 * The micro-batch that the options ask for; undefined for whole batches. With batch norm `auto` says so and takes whole batches,
 * because the statistics, and with them the gradient, would be others; a number is refused by the engine.
 * @param fitting what `auto` is, where parts are.
 * @throws UsageError; what `fitting` throws.
 */
export function microBatchOf(
  values: ValuesOf<typeof microBatchOptions> & GlobalValues,
  graph: ModelGraph,
  batchSize: number,
  output: Output,
  fitting: () => number,
): number | undefined {
  const asked = values['micro-batch'];
  if (asked === undefined) return undefined;
  if (asked === 'auto') {
    const norm = graph.nodes.find(({ op }) => op === 'batch_norm');
    if (norm !== undefined) {
      output.warn(
        `--micro-batch auto takes whole batches of ${batchSize}: the statistics of ${norm.name} (batch norm) belong to the whole ` +
        `batch, and parts would change the gradient`,
      );
      return undefined;
    }
    const planned = fitting();
    return planned < batchSize ? planned : undefined;
  }
  if (!/^[1-9]\d{0,8}$/.test(asked))
    throw new UsageError(`--micro-batch is an integer of at least 1 or auto, not ${JSON.stringify(asked)}`);
  return Number(asked) < batchSize ? Number(asked) : undefined;
}

/**
 * Starts the workers, each with a core like the command's own; undefined where none are asked for.
 * @throws UsageError for more than the system lets a process start.
 */
export async function openWorkers(values: ValuesOf<typeof workerOptions> & GlobalValues): Promise<GradientWorkers | undefined> {
  const { workers: count } = values;
  if (count === undefined) return undefined;
  const started: Worker[] = [];
  try {
    while (started.length < count) started.push(new Worker(new URL('./gradient-worker.js', import.meta.url)));
    return await openGradientWorkers(started, { core: coreOptions(values) });
  } catch (error) {
    // Each keeps the process alive.
    for (const worker of started) void worker.terminate();
    const cause = error instanceof TrajportError ? error.cause : error;
    if (!(cause instanceof Error) || !('code' in cause) || cause.code !== 'ERR_WORKER_INIT_FAILED') throw error;
    throw new UsageError(`--workers ${count}: the system does not start as many here (${cause.message})`);
  }
}
