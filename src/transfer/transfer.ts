/**
 * Learning transfer (Chijiwa, ICLR 2024): carries a source's trajectory over to a target by matching the gradients met
 * along both, θ₂ˢ = θ₂⁰ + π_s(θ₁ˢ − θ₁⁰). `transfer-job.ts` checks and reads, `transfer-run.ts` walks the steps, `matchers.ts`
 * finds π_s.
 */
import { breathe } from '../core/breather.ts';
import { NotFiniteError } from '../core/errors.ts';
import type { Permutations } from '../matching/permutation.ts';
import type { ModelGraph } from '../model/graph.ts';
import { requireFiniteState } from '../tensor/tensor.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import { useCompute } from './compute.ts';
import { requireWorkers } from './inputs.ts';
import { FirstLayerLine } from './first-layer-line.ts';
import { Points } from './points.ts';
import { deepFreeze, makeRecord } from './record.ts';
import type { ResultRecord } from './record.ts';
import { ResumePoints } from './resume.ts';
import { networkOptions } from './settings.ts';
import type { TransferMethod } from './settings.ts';
import { Stopwatch } from './timing.ts';
import type { Timings } from './timing.ts';
import { describeJob, identify, pointsOf, readJob } from './transfer-job.ts';
import type { TransferOptions } from './transfer-job.ts';
import { TransferRun } from './transfer-run.ts';
import type { TransferCounts, TransferStep } from './transfer-step.ts';

export type { TransferEvent, TransferOptions } from './transfer-job.ts';
export type { TransferCounts, TransferStep } from './transfer-step.ts';

/** The transferred network, and how it came about. */
export interface TransferResult {
  readonly graph: ModelGraph;
  /** The transferred network, ready to use or to train onward. */
  readonly state: NetworkState;
  readonly method: TransferMethod;
  /** The step that the stop rule kept, which `state` is; 0 is the target as it was (its last layer zeros with `zeroHead`). */
  readonly chosenStep: number;
  /** Every step, step 0 first: `steps[chosenStep].heldOut` has the score of the result. */
  readonly steps: readonly TransferStep[];
  /** π of the chosen step; the identity for step 0. */
  readonly permutations: Permutations;
  readonly counts: TransferCounts;
  /** Wall time; not part of the record, and never hashed. */
  readonly timings: Timings;
  readonly record: ResultRecord;
}

/**
 * Transfers the source's trajectory to the target. Data, the states of the source and `oracleTarget` must not change
 * until the call has ended: they are read as the steps need them, and hashed beforehand. The target is copied, and the
 * result shares no memory with it.
 * @throws InvalidArgumentError for options and inputs that do not fit, UnsupportedError for a smaller `microBatch` with batch norm,
 *   NotFiniteError for NaN or infinite weights, of inputs or result, BudgetError when the gradient history cannot fit its
 *   budget, OutOfMemoryError at the heap's cap; of `resume` InvalidArgumentError for the point of another job, IntegrityError
 *   where none is whole, and what its store throws. Rejects with the signal's reason when aborted; the resume point of the
 *   last whole step stays.
 */
export async function transfer(options: TransferOptions): Promise<TransferResult> {
  const stopwatch = new Stopwatch();
  const job = await readJob(options);
  const { graph, spec, settings, target } = job;
  const { signal, workers } = options;
  const { core, engine } = await useCompute(options.compute);
  requireWorkers(workers, core);
  const { points: numbers, fractions } = pointsOf(core, job);
  using points = new Points({
    core, spec, target: target.parameters, start: job.sourceStart.parameters, end: job.sourceEnd.parameters, points: numbers,
    skip: job.skip,
    ...(settings.trajectory === 'real' ? { read: async (number: number) => (await job.readSource(number)).parameters } : {}),
  });
  const described = await describeJob(job);
  const resumed =
    options.resume === undefined
      ? undefined
      : await ResumePoints.open(options.resume, await identify(job, described, numbers, core), settings.steps);

  using network = engine.compile(graph, networkOptions(settings, graph, spec));
  using firstLayer = await FirstLayerLine.open(job, { core, fractions, stopwatch, signal });
  const run = await TransferRun.open(job, { core, network, points, firstLayer, fractions, workers, signal, stopwatch }, resumed?.found);
  const { steps } = run;
  let told = 0;
  const tell = (): void => {
    const since = deepFreeze(steps.slice(told));
    options.onProgress?.({ stage: 'transfer', done: steps.length - 1, total: settings.steps, detail: progressDetail(steps), steps: since });
    told = steps.length;
  };
  tell();
  for (let step = steps.length; step <= settings.steps; step++) {
    await run.advance(step).catch(async (error: unknown) => {
      if (error instanceof NotFiniteError) await resumed?.remove();
      throw error;
    });
    tell();
    await resumed?.offer(step, () => run.point());
    await breathe(signal);
  }

  const { kept } = run;
  // Steps that left the numbers there are may pass by: of NaN no two processors agree on the bits, and no bundle takes it.
  requireFiniteState(`step ${kept.step}`, kept.state);
  const { recorded, inputs } = described;
  const record = await makeRecord(core, {
    kind: 'transfer',
    settings: { ...recorded, chosenStep: kept.step },
    inputs,
    graph,
    state: kept.state,
    codedHistory: codedHistoryOf(steps),
  });
  return Object.freeze({
    graph,
    state: kept.state,
    method: settings.method,
    chosenStep: kept.step,
    steps: deepFreeze(steps),
    permutations: kept.permutations,
    counts: Object.freeze(run.counts),
    timings: Object.freeze(stopwatch.read()),
    record,
  });
}

/** What the record says of steps that were matched by codes; undefined where there are none. */
function codedHistoryOf(steps: readonly TransferStep[]): ResultRecord['codedHistory'] {
  const coded = steps.filter(({ objectiveErrorBound }) => objectiveErrorBound !== undefined);
  const [first] = coded;
  return first && { fromStep: first.step, objectiveErrorBound: Math.max(...coded.map((step) => step.objectiveErrorBound as number)) };
}

function progressDetail(steps: readonly TransferStep[]): Record<string, number> {
  const { heldOut, objective, sweeps } = steps.at(-1) as TransferStep;
  return {
    ...(heldOut === undefined ? {} : { heldOut: heldOut.accuracy }),
    ...(objective === undefined ? {} : { objective }),
    ...(sweeps === undefined ? {} : { sweeps }),
  };
}
