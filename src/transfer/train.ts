/**
 * Training: makes a source trajectory from scratch or from given weights, and is the onward fine-tuning of a
 * transferred network. Every choice is seeded; the result records them.
 */
import { Breather } from '../core/breather.ts';
import type { Core } from '../core/core.ts';
import { NotFiniteError } from '../core/errors.ts';
import type { ModelGraph } from '../model/graph.ts';
import { initialise } from '../model/initialise.ts';
import { copyState } from '../tensor/tensor.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import { useCompute } from './compute.ts';
import type { Evaluation } from './evaluate.ts';
import { microBatchOption, requireState } from './inputs.ts';
import { dataForm, dataSha256, deepFreeze, graphSha256, jobArithmetic, makeRecord, stateSha256 } from './record.ts';
import type { ResultRecord } from './record.ts';
import { ResumePoints } from './resume.ts';
import type { JobIdentity } from './resume.ts';
import { epochRate, readJob, requireSharedWork } from './train-job.ts';
import type { TrainEvent, TrainJob, TrainOptions } from './train-job.ts';
import { takeTrainPoint, trainPoint } from './train-point.ts';
import type { Checkpoint, TrainProgress } from './train-point.ts';
import { TrainRun } from './train-run.ts';
import { trajectoryFromStates } from './trajectory.ts';
import type { Trajectory } from './trajectory.ts';

export type { TrainEvent, TrainOptions } from './train-job.ts';
export type { Checkpoint } from './train-point.ts';

/** The trained network, and how it came about. */
export interface TrainResult {
  readonly graph: ModelGraph;
  /** The weights after the last iteration. */
  readonly state: NetworkState;
  readonly checkpoints: readonly Checkpoint[];
  /** Held-out evaluations in the order of their iterations; iteration 0 is before training. */
  readonly evaluations: readonly { readonly iteration: number; readonly heldOut: Evaluation }[];
  /** Mean training loss of each iteration's batch, before its step; in nats for cross-entropies. */
  readonly losses: readonly number[];
  readonly record: ResultRecord;
  /** The checkpoints as a trajectory, ready for `transfer`. */
  readonly trajectory: Trajectory;
}

/**
 * Trains `graph` on `data`, which must not change until the call has ended: images are read batch by batch. Weights are copied, and the
 * result shares no memory with them.
 * @throws InvalidArgumentError for options, shapes and labels that do not fit, UnsupportedError for `microBatch` with batch norm,
 *   NotFiniteError when loss or weights diverge, OutOfMemoryError at the heap's cap; of `resume` InvalidArgumentError for the
 *   point of another job, IntegrityError where none is whole, and what its store throws. Rejects with the signal's reason when
 *   aborted, after a last resume point.
 */
export async function train(options: TrainOptions): Promise<TrainResult> {
  const job = readJob(options);
  const { graph, settings, iterations } = job;
  const { core, engine } = await useCompute(options.compute);
  requireSharedWork(options.workers, core, settings);
  const start = startOf(job, options.initial, core);
  const { recorded, inputs, identity } = await identify(job, start, core);
  const points = options.resume === undefined ? undefined : await ResumePoints.open(options.resume, identity, iterations);

  using network = engine.compile(graph, { loss: settings.loss, ...microBatchOption(settings.batchSize, settings.microBatch) });
  const found = points?.found === undefined ? undefined : takeTrainPoint(points.found, network.layout);
  using trainer = network.trainer(found?.state ?? start, settings.optimiser);
  if (found !== undefined) trainer.restoreOptimiser(found.optimiser);
  const progress: TrainProgress = {
    checkpoints: [{ label: 'start', iteration: 0, state: start }, ...(found?.checkpoints ?? [])],
    evaluations: found?.evaluations ?? [],
    losses: found?.losses ?? [],
  };
  const { signal, workers } = options;
  const done = points?.found?.done ?? 0;
  const run = new TrainRun(job, { network, trainer, workers, rateOf: epochRate(core, job), signal }, progress, done);
  const breather = new Breather(signal, 8);
  let told = 0;
  const tell = (finished: number, detail: TrainEvent['detail']): void => {
    options.onProgress?.({ stage: 'train', done: finished, total: iterations, detail, evaluations: progress.evaluations.slice(told) });
    told = progress.evaluations.length;
  };
  if (done === 0) await run.evaluate(0, start);
  tell(done, {});
  for (let iteration = done + 1; iteration <= iterations; iteration++) {
    const detail = await run.advance(iteration).catch(async (error: unknown) => {
      if (error instanceof NotFiniteError) await points?.remove();
      throw error;
    });
    tell(iteration, detail);
    const point = () => trainPoint(progress, trainer);
    await points?.offer(iteration, point);
    await breather.pause().catch(async (reason: unknown) => {
      // Between two iterations the state is whole: nothing that was computed needs to be lost.
      await points?.save(iteration, point);
      throw reason;
    });
  }
  const state = (progress.checkpoints.at(-1) as Checkpoint).state;
  return resultOf(graph, state, progress, await makeRecord(core, { kind: 'train', settings: recorded, inputs, graph, state }));
}

/** The weights to start from. Copied, because the first checkpoint is of them: a result shares no memory with what the caller gave. */
function startOf({ graph, seed, settings }: TrainJob, initial: NetworkState | undefined, core: Core): NetworkState {
  const drawn = initial ?? initialise(core, graph, { seed, scheme: settings.initialScheme });
  requireState('initial', graph, drawn);
  return copyState(drawn);
}

/** What the record says of a training, and by what its resume points are known. */
async function identify({ graph, data, seed, settings, iterations }: TrainJob, start: NetworkState, core: Core) {
  const recorded = { ...settings, iterations, seed, data: dataForm(data) };
  const inputs = { graph: await graphSha256(graph), data: await dataSha256(data), initial: await stateSha256(graph, start) };
  const identity: JobIdentity = { kind: 'train', settings: { ...recorded, ...jobArithmetic(core) }, inputs };
  return { recorded, inputs, identity };
}

function resultOf(
  graph: ModelGraph,
  state: NetworkState,
  { checkpoints, evaluations, losses }: TrainProgress,
  record: ResultRecord,
): TrainResult {
  return Object.freeze({
    graph,
    state,
    checkpoints: Object.freeze(checkpoints),
    evaluations: deepFreeze(evaluations),
    losses: Object.freeze(losses),
    record,
    trajectory: trajectoryFromStates(graph, checkpoints, record),
  });
}
