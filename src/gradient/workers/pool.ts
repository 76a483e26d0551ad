/**
 * Gradients and evaluations in several workers, the same bytes as in one thread. The unit of work is a micro-batch (a whole batch where
 * there are none, and in evaluations); how they are dealt out depends on the number of workers, what is computed and in which order it
 * is added (`summation.ts`) does not.
 */
import { requireCoreOptions } from '../../core/core.ts';
import type { Arithmetic, CoreOptions } from '../../core/core.ts';
import { InvalidArgumentError } from '../../core/errors.ts';
import { requireInteger, requireList } from '../../core/require.ts';
import { requireOptions } from '../../core/options.ts';
import type { OptionNames } from '../../core/options.ts';
import { parameterLayout, type ModelGraph } from '../../model/graph.ts';
import { sumOfOuterProducts, type OuterProducts } from '../../tensor/outer-products.ts';
import type { NamedTensors, NetworkState, Tensor } from '../../tensor/tensor.ts';
import { NetworkInputs, type StartedBatchArrays } from '../network-inputs.ts';
import { networkOptionNames } from '../network.ts';
import type { BatchStatistics } from '../batch-statistics.ts';
import type { Evaluation, GradientResult, NetworkOptions } from '../network.ts';
import { requireLayout } from '../parameters.ts';
import { Dealer, partsOf, type Run } from './dealing.ts';
import { Member, copied, type Contribution } from './member.ts';
import type { NodePort, WebPort } from './port.ts';
import type { BatchAnswer, BatchQuestion } from './protocol.ts';

/** Batches whose gradients are wanted, all at one state. */
export interface GradientJob {
  readonly state: NetworkState;
  readonly batches: readonly StartedBatchArrays[];
}

/** Scores of one batch and, where they were asked for, predicted classes. */
export interface EvaluatedBatch {
  readonly evaluation: Evaluation;
  /** [labels]; undefined where they were not asked for. */
  readonly predictions: Int32Array | undefined;
}

/** How the workers compute. */
export interface PoolOptions {
  /** Heap cap, arithmetic and compiled modules of every worker's core. */
  readonly core?: CoreOptions;
}

const optionNames: OptionNames<PoolOptions> = { core: true };

/** A job as it is dealt out. */
interface Plan {
  readonly job: GradientJob;
  /** In the order in which what comes of them is added. */
  readonly runs: readonly Run[];
  /** A copy of its state for several workers. */
  readonly shared: NetworkState | undefined;
}

/** What is on its way. */
type Asked = Map<Run, Promise<Contribution>>;

/** Opened by `openGradientWorkers`. */
export class GradientWorkers implements Disposable {
  readonly #members: readonly Member[];
  /** Arithmetic of every worker's core. */
  readonly arithmetic: Arithmetic;
  /**
   * Gradients that have been added to others: states are copied into their arrays, and gradients read out into them. Fresh arrays come
   * from the system page by page: Conv8's 21 MB took 17 to 60 ms to read out in two workers, into these 8.
   */
  #spare: NamedTensors[] = [];
  /** In shared memory, not read by any worker now. */
  readonly #sharedStates: NetworkState[] = [];
  #closed = false;

  constructor(members: readonly Member[], arithmetic: Arithmetic) {
    this.#members = members;
    this.arithmetic = arithmetic;
  }

  get size(): number {
    return this.#members.length;
  }

  /** Whether its workers have been ended. */
  get disposed(): boolean {
    return this.#closed;
  }

  /**
   * What `Network.gradient` gives for each job, to the last bit.
   * @param options as for `compile`: part of the result's bytes.
   * @throws what `Network.gradient` throws; KernelError where a worker failed, after which the pool is of no use.
   */
  async gradients(graph: ModelGraph, jobs: readonly GradientJob[], options: NetworkOptions = {}): Promise<GradientResult[]> {
    this.#require('gradients', options);
    const { microBatch } = options;
    const dealer = new Dealer(this.size, jobs.length);
    // Before anything is asked of a worker: what one cannot read would come back without a name, or not at all.
    requireJobs(graph, jobs);
    const plans = jobs.map((job): Plan => {
      const runs = dealer.deal(job.batches.flatMap((batch, b) => partsOf(batch, b, microBatch ?? batch.count)));
      const several = new Set(runs.map(({ worker }) => worker)).size > 1;
      return { job, runs, shared: several ? this.#shared(job.state) : undefined };
    });
    const asked = this.#ask(graph, options, plans);
    const results: GradientResult[] = [];
    for (const plan of plans) results.push(await this.#collect(plan, asked));
    // By now every worker has read them.
    this.#sharedStates.push(...plans.flatMap(({ shared }) => shared ?? []));
    return results;
  }

  /**
   * `Network.batchStatistics` of each batch, a batch a worker in turn. As many batches as workers are a good number: they are copied first.
   * @throws as `gradients`.
   */
  async batchStatistics(
    graph: ModelGraph,
    state: NetworkState,
    batches: readonly StartedBatchArrays[],
    options: NetworkOptions = {},
  ): Promise<(readonly BatchStatistics[])[]> {
    this.#require('batchStatistics', options);
    const answers = await this.#eachBatch({ kind: 'statistics' }, graph, state, batches, options);
    return answers.map((answer) => (answer as BatchAnswer & { kind: 'statistics' }).statistics);
  }

  /**
   * `Network.evaluate` of each batch by itself, as `batchStatistics`.
   * @param predictions whether the predicted classes of each are wanted, too: of a row the first largest score.
   * @throws as `gradients`.
   */
  async evaluations(
    graph: ModelGraph,
    state: NetworkState,
    batches: readonly StartedBatchArrays[],
    options: NetworkOptions = {},
    predictions = false,
  ): Promise<EvaluatedBatch[]> {
    this.#require('evaluations', options);
    return (await this.#eachBatch({ kind: 'evaluation', predictions }, graph, state, batches, options)) as (BatchAnswer & EvaluatedBatch)[];
  }

  /** A worker's batches go in one request. What one answers comes back in the order of batches. */
  async #eachBatch(
    question: BatchQuestion,
    graph: ModelGraph,
    state: NetworkState,
    batches: readonly StartedBatchArrays[],
    options: NetworkOptions,
  ): Promise<BatchAnswer[]> {
    requireJobs(graph, [{ state, batches }], () => '');
    const shared = Math.min(batches.length, this.size) > 1 ? this.#shared(state) : undefined;
    const asked: Promise<BatchAnswer>[] = [];
    for (const [w, member] of this.#members.entries()) {
      const own = batches.filter((_, b) => b % this.size === w);
      if (own.length === 0) continue;
      const parts = own.flatMap((batch) => partsOf(batch, 0, batch.count));
      for (const [i, answer] of member.eachBatch(question, graph, options, state, shared, parts).entries()) {
        // The first error in the order of batches is reported; the others must not count as unhandled.
        answer.catch(() => undefined);
        asked[i * this.size + w] = answer;
      }
    }
    const answers: BatchAnswer[] = [];
    for (const answer of asked) answers.push(await answer);
    if (shared !== undefined) this.#sharedStates.push(shared);
    return answers;
  }

  #require(where: string, options: NetworkOptions): void {
    requireOpenPool(this);
    requireOptions(where, options, networkOptionNames);
    if (options.microBatch !== undefined) requireInteger('options.microBatch', options.microBatch, 1);
  }

  /** All runs of one job that a worker computes go in one request, so that the job's state is sent once. */
  #ask(graph: ModelGraph, options: NetworkOptions, plans: readonly Plan[]): Asked {
    const asked: Asked = new Map();
    for (const [w, member] of this.#members.entries()) {
      for (const { job, runs, shared } of plans) {
        const own = runs.filter(({ worker }) => worker === w);
        if (own.length === 0) continue;
        const answers = member.contributions(graph, options, job.state, shared, own, this.#spare.splice(0, own.length));
        for (const [i, run] of own.entries()) {
          const answer = answers[i] as Promise<Contribution>;
          // An error of one run is reported by `#collect` in the order of runs; the others must not count as unhandled.
          answer.catch(() => undefined);
          asked.set(run, answer);
        }
      }
    }
    return asked;
  }

  /** The job's result, of contributions added in the order of its runs; those of other jobs may come meanwhile. */
  async #collect({ job, runs }: Plan, asked: Asked): Promise<GradientResult> {
    const halves = [new Map<string, Tensor>(), new Map<string, Tensor>()] as const;
    const parts = new Map<string, OuterProducts[]>();
    const batches = job.batches.length;
    const losses = Array.from({ length: batches }, () => 0);
    for (const run of runs) {
      const { losses: own, gradients, factors } = await (asked.get(run) as Promise<Contribution>);
      asked.delete(run);
      for (const [i, { batch }] of run.pieces.flat(2).entries()) losses[batch] = (losses[batch] as number) + (own[i] as number);
      this.#add(gradients, halves[run.half] as Map<string, Tensor>);
      for (const [name, products] of factors) parts.set(name, [...(parts.get(name) ?? []), products]);
    }
    const [sum, second] = halves;
    if (second.size > 0) this.#add(second, sum);
    if (batches > 1) scale(sum, 1 / batches);
    const factors = new Map([...parts].map(([name, own]) => [name, sumOfOuterProducts(own, 1 / batches)]));
    return { losses, gradients: sum, factors };
  }

  /**
   * One copy for all workers, where the runtime lets threads share memory: a copy of Conv8's 21 MB for each made the
   * last of two begin 10 ms later (a gradient in two workers, medians of rounds in turn, Node 20: 913 → 890 ms).
   */
  #shared(state: NetworkState): NetworkState | undefined {
    if (typeof SharedArrayBuffer === 'undefined') return undefined;
    const arrays = this.#sharedStates.pop();
    const fresh = (length: number): Float32Array => new Float32Array(new SharedArrayBuffer(4 * length));
    return { parameters: copied(state.parameters, fresh, arrays?.parameters), buffers: copied(state.buffers, fresh, arrays?.buffers) };
  }

  /** sum += gradients, whose arrays are used again where they are not the sum's now. */
  #add(gradients: NamedTensors, sum: Map<string, Tensor>): void {
    if (addInto(sum, gradients) && this.#spare.length < 2 * this.size) this.#spare.push(gradients);
  }

  /** Ends the workers; calls under way are rejected. */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#spare = [];
    this.#sharedStates.length = 0;
    for (const member of this.#members) member.end();
  }
}

/** @throws InvalidArgumentError for a pool whose workers have been ended. */
export function requireOpenPool({ disposed }: GradientWorkers): void {
  if (disposed) throw new InvalidArgumentError({ field: 'workers', expected: 'an open pool', got: 'a closed one' });
}

/** Workers of pools: answers carry no sender's name, so that two members of one worker would take each other's. */
const taken = new WeakSet<object>();

/**
 * A pool of workers that the caller has started, each of which runs `serveGradients`. They belong to the pool from then on:
 * disposing of it terminates them, and so does this where it throws.
 * @param workers `Worker`s of the web's kind or of Node's `worker_threads`, each once and of no other pool; at least one.
 * @throws InvalidArgumentError for no workers, one that is in a pool or has ended (as Node and Bun tell), and for options
 *   that there are not; KernelError where one cannot be started, OutOfMemoryError where it is for want of memory,
 *   UnsupportedError without SIMD.
 */
export async function openGradientWorkers(workers: readonly (WebPort | NodePort)[], options: PoolOptions = {}): Promise<GradientWorkers> {
  requireList('workers', workers, (_, worker) => worker);
  if (workers.length === 0) throw new InvalidArgumentError({ field: 'workers', expected: 'at least one worker', got: 'none' });
  const members: Member[] = [];
  try {
    requireOptions('openGradientWorkers', options, optionNames);
    if (options.core !== undefined) requireCoreOptions('openGradientWorkers', options.core, 'core');
    for (const [i, worker] of workers.entries()) {
      const field = `workers[${i}]`;
      if (taken.has(worker)) throw new InvalidArgumentError({ field, expected: 'a worker of its own', got: 'one that is in a pool' });
      members.push(new Member(field, worker));
      taken.add(worker);
    }
    await Promise.all(members.map((member) => member.open(options.core ?? {})));
  } catch (error) {
    for (const member of members) member.end();
    // Nobody else would end these, and with them the process.
    for (const worker of workers.slice(members.length)) if (!taken.has(worker)) end(worker);
    throw error;
  }
  return new GradientWorkers(members, options.core?.arithmetic ?? 'strict');
}

/** Whatever it is: it was taken for a worker. */
function end(worker: Partial<WebPort | NodePort> | null): void {
  if (typeof worker?.terminate === 'function') worker.terminate();
}

/** @param place where an error's field says that job number `i` stands. */
function requireJobs(graph: ModelGraph, jobs: readonly GradientJob[], place = (i: number): string => `jobs[${i}].`): void {
  const layout = parameterLayout(graph);
  const inputs = new NetworkInputs(graph);
  for (const [i, { state, batches }] of jobs.entries()) {
    if (batches.length === 0) throw new InvalidArgumentError({ field: `${place(i)}batches`, expected: 'at least one batch', got: 'none' });
    requireLayout(`${place(i)}state`, layout, state);
    for (const batch of batches) {
      inputs.require(batch);
      if (typeof batch.firstOutputs !== 'function') continue;
      throw new InvalidArgumentError({
        field: `${place(i)}batches.firstOutputs`,
        expected: 'a Float32Array, which a worker can be sent',
        got: 'a function',
      });
    }
  }
}

/** sum += gradients, in f32; the first contribution is the sum itself. @returns whether `gradients` are of no more use. */
function addInto(sum: Map<string, Tensor>, gradients: NamedTensors): boolean {
  const joins = sum.size > 0;
  for (const [name, tensor] of gradients) {
    const own = sum.get(name)?.data;
    if (own === undefined) {
      sum.set(name, tensor);
      continue;
    }
    const { data } = tensor;
    let i = 0;
    // Four a turn: 1.5 → 1.0 ns each, in the thread that all workers wait for.
    for (; i + 4 <= data.length; i += 4) {
      own[i] = (own[i] as number) + (data[i] as number);
      own[i + 1] = (own[i + 1] as number) + (data[i + 1] as number);
      own[i + 2] = (own[i + 2] as number) + (data[i + 2] as number);
      own[i + 3] = (own[i + 3] as number) + (data[i + 3] as number);
    }
    for (; i < data.length; i++) own[i] = (own[i] as number) + (data[i] as number);
  }
  return joins;
}

/** In f32 as the kernel does: a product of two f32 is exact in f64. */
function scale(tensors: NamedTensors, factor: number): void {
  const rounded = Math.fround(factor);
  for (const { data } of tensors.values()) for (let i = 0; i < data.length; i++) data[i] = (data[i] as number) * rounded;
}
