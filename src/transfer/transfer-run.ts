/** A transfer under way, step by step. */
import { Breather } from '../core/breather.ts';
import { PassingBatches, isTokenSet, makeBatch } from '../data/data-set.ts';
import { BatchSampler } from '../data/batch-sampler.ts';
import type { MatchingResult } from '../matching/coordinate-descent.ts';
import type { GradientHistory } from '../matching/history.ts';
import { identityPermutations } from '../matching/permutation.ts';
import type { Permutations } from '../matching/permutation.ts';
import { Random, streams } from '../tensor/random.ts';
import type { NamedTensors, NetworkState } from '../tensor/tensor.ts';
import { scorer } from './held-out-score.ts';
import { matchingFor } from './matchers.ts';
import type { Matcher } from './matchers.ts';
import type { ResumePoint } from './resume.ts';
import type { DrawnBatch } from './started-rows.ts';
import { chooseStep } from './stop-rule.ts';
import type { TransferContext, TransferTools } from './transfer-context.ts';
import type { TransferJob } from './transfer-job.ts';
import { takeTransferPoint, transferPoint } from './transfer-point.ts';
import type { KeptStep, TransferProgress } from './transfer-point.ts';
import type { TransferCounts, TransferStep } from './transfer-step.ts';

/** A small network's gradient takes a millisecond or two, as a turn of the event loop does in Node; in browsers that takes four. */
const GRADIENTS_A_BREATH = 8;

/** What a run sets up once. */
interface Workings {
  readonly context: TransferContext;
  readonly match: Matcher;
  readonly history: GradientHistory | undefined;
  readonly score: Awaited<ReturnType<typeof scorer>>;
  /** Mini-batches drawn so far. */
  readonly drawn: { batches: number };
}

type Begun = Pick<TransferProgress, 'steps' | 'permutations' | 'kept'>;

export class TransferRun {
  readonly steps: TransferStep[];
  readonly #job: TransferJob;
  readonly #workings: Workings;
  #permutations: Permutations;
  #kept: KeptStep;
  /** Arrays of a state that is not kept, for the next. */
  #spare: NamedTensors | undefined;

  private constructor(job: TransferJob, workings: Workings, { steps, permutations, kept }: Begun) {
    this.steps = steps;
    this.#job = job;
    this.#workings = workings;
    this.#permutations = permutations;
    this.#kept = kept;
  }

  /** @param found where the job goes on; at its beginning the target is scored, as step 0. */
  static async open(job: TransferJob, tools: TransferTools, found: ResumePoint | undefined): Promise<TransferRun> {
    const { settings, spec, target, data, training } = job;
    const sampler = new BatchSampler(training, settings.batchSize, new Random(settings.seed, streams.batches, 1));
    const passing = Array.from({ length: settings.batchesPerStep }, () => new PassingBatches(data));
    const drawn = { batches: 0 };
    const context: TransferContext = {
      ...tools,
      settings,
      spec,
      target,
      drawBatches: (use) => {
        drawn.batches += settings.batchesPerStep;
        const make = (slot: number): DrawnBatch => {
          const rows = sampler.next();
          return { ...(use === 'kept' ? makeBatch(data, rows) : (passing[slot] as PassingBatches).make(rows)), rows };
        };
        return Array.from({ length: settings.batchesPerStep }, (_, slot) => make(slot));
      },
      breather: new Breather(tools.signal, GRADIENTS_A_BREATH),
      counts: { gradients: 0, reusedGradients: 0, reusedPairs: 0, matchings: 0, assignments: 0 },
    };
    const { match, history } = matchingFor(context, job.oracleTarget);
    const workings = { context, match, history, score: await scorer(context, data, job.heldOut, job.sourceEnd), drawn };
    const permutations = identityPermutations(spec);
    const start: KeptStep = { step: 0, state: target, permutations };
    if (found === undefined) {
      const steps = [{ step: 0, fraction: 0, ...(await workings.score(target, tools.firstLayer.startHeldOut(0, permutations))) }];
      return new TransferRun(job, workings, { steps, permutations, kept: start });
    }
    const begun = takeTransferPoint(found, start, tools.network.layout, spec, history);
    Object.assign(context.counts, begun.counts);
    // Fixed batches are drawn again, point by point.
    if (settings.method !== 'gmt' || settings.gmtBatches === 'fresh') {
      drawn.batches = begun.batches;
      sampler.skip(begun.batches);
    }
    return new TransferRun(job, workings, begun);
  }

  /** The step that the stop rule would keep now. */
  get kept(): KeptStep {
    return this.#kept;
  }

  get counts(): TransferCounts {
    return { ...this.#workings.context.counts };
  }

  /** @throws NotFiniteError where gradients leave the numbers there are. */
  async advance(step: number): Promise<void> {
    const { settings, heldOut, target, data } = this.#job;
    const { context, match, history, score } = this.#workings;
    const matching = await match(step, this.#permutations);
    this.#permutations = matching?.permutations ?? this.#permutations;
    const parameters = await context.points.arrive(step, this.#permutations, this.#spare);
    const moved = { parameters, buffers: target.buffers };
    // Where no step is scored the last is kept, and statistics of the others would be read by nobody.
    const state = heldOut.length > 0 || step === settings.steps ? await this.#reestimated(moved, step) : moved;
    this.steps.push({
      step,
      fraction: context.fractions[step] as number,
      ...(matching === undefined ? {} : summary(matching, history)),
      ...(await score(state, context.firstLayer.startHeldOut(step, this.#permutations))),
    });
    // Only the state that the rule would choose now is kept, so that T does not multiply the memory.
    const chosen = chooseStep(settings.stopRule, this.steps, isTokenSet(data) ? 'loss' : 'accuracy') === step;
    const passed = chosen ? this.#kept.state : state;
    this.#spare = passed === target ? undefined : passed.parameters;
    if (chosen) this.#kept = { step, state, permutations: this.#permutations };
  }

  /** What a resume point holds. */
  point(): Omit<ResumePoint, 'done'> {
    const { context, history, drawn } = this.#workings;
    return transferPoint(
      { steps: this.steps, permutations: this.#permutations, kept: this.#kept, counts: context.counts, batches: drawn.batches },
      this.#job.settings.method === 'fgmt' ? history : undefined,
    );
  }

  /**
   * A shifted network's batch-norm statistics belong to neither parent: they are estimated anew, as in the official code. Their
   * batches come from a stream of their own, so that they do not shift those of the gradients.
   */
  async #reestimated(state: NetworkState, step: number): Promise<NetworkState> {
    const { settings, data, training } = this.#job;
    const { network, workers, stopwatch, signal } = this.#workings.context;
    if (state.buffers.size === 0) return state;
    const sampler = new BatchSampler(training, settings.batchSize, new Random(settings.seed, streams.statistics, step));
    const estimate = network.estimateStatistics(state);
    const breather = new Breather(signal, 16);
    if (workers !== undefined) {
      for (let left = settings.statisticsBatches; left > 0; left -= workers.size) {
        const batches = Array.from({ length: Math.min(left, workers.size) }, () => makeBatch(data, sampler.next()));
        const found = await stopwatch.measureLater('evaluation', () =>
          workers.batchStatistics(network.graph, state, batches, network.options),
        );
        for (const statistics of found) estimate.addFound(statistics);
        await breather.pause();
      }
      return estimate.state();
    }
    const batches = new PassingBatches(data);
    for (let batch = 0; batch < settings.statisticsBatches; batch++) {
      stopwatch.measure('evaluation', () => estimate.add(batches.make(sampler.next())));
      await breather.pause();
    }
    return estimate.state();
  }
}

function summary(matching: MatchingResult, history: GradientHistory | undefined): Omit<TransferStep, 'step' | 'fraction'> {
  const { objective, residual, sweeps, converged } = matching;
  return {
    objective,
    ...(history?.coded === true ? { objectiveErrorBound: history.objectiveErrorBound } : {}),
    residual,
    sweeps,
    converged,
  };
}
