/**
 * Gradients in several workers, the same bytes as in one thread. The unit of work is a micro-batch (a whole batch where there
 * are none); how they are dealt out depends on the number of workers, what is computed and in which order it is added
 * (`summation.ts`) does not.
 */
import { requireCoreOptions } from '../../core/core.ts';
import type { Arithmetic, CoreOptions } from '../../core/core.ts';
import { describe } from '../../core/describe.ts';
import { InvalidArgumentError, KernelError } from '../../core/errors.ts';
import { requireInteger, requireList } from '../../core/require.ts';
import { requireOptions } from '../../core/options.ts';
import type { OptionNames } from '../../core/options.ts';
import { parameterLayout, type ModelGraph } from '../../model/graph.ts';
import { sumOfOuterProducts, type NamedOuterProducts, type OuterProducts } from '../../tensor/outer-products.ts';
import type { NamedTensors, NetworkState, Tensor } from '../../tensor/tensor.ts';
import { NetworkInputs, type StartedBatchArrays } from '../network-inputs.ts';
import { networkOptionNames } from '../network.ts';
import type { BatchPart, GradientResult, NetworkOptions } from '../network.ts';
import { requireLayout } from '../parameters.ts';
import { halvesOf, type Block } from '../summation.ts';
import { openPort, type NodePort, type Port, type WebPort } from './port.ts';
import { errorOf, type Request, type Response } from './protocol.ts';

export interface GradientJob {
  readonly state: NetworkState;
  readonly batches: readonly StartedBatchArrays[];
}

export interface PoolOptions {
  /** Heap cap, arithmetic and compiled modules of every worker's core. */
  readonly core?: CoreOptions;
}

const optionNames: OptionNames<PoolOptions> = { core: true };

/** What a run of blocks adds up to. */
interface Contribution {
  /** Of each part. */
  readonly losses: readonly number[];
  readonly gradients: NamedTensors;
  readonly factors: NamedOuterProducts;
}

/** A part of the job's batch number `batch`. */
interface DealtPart extends BatchPart {
  readonly batch: number;
}

/** What one worker adds up before others' is added: consecutive blocks of a half of a job, or both its halves. */
interface Run {
  readonly worker: number;
  /** The half that it belongs to; the first where it is both. */
  readonly half: number;
  readonly pieces: readonly (readonly Block<DealtPart>[])[];
}

/** Most blocks in a half's first run where others share the half: their contributions, a gradient's memory each, wait for it. */
const LONGEST_RUN = 4;

/** Opened by `openGradientWorkers`. */
export class GradientWorkers implements Disposable {
  readonly #members: readonly Member[];
  /** Of every worker's core. */
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

  /**
   * What `Network.gradient` gives for each job, to the last bit.
   * @param options as for `compile`: part of the result's bytes.
   * @throws what `Network.gradient` throws; KernelError where a worker failed, after which the pool is of no use.
   */
  async gradients(graph: ModelGraph, jobs: readonly GradientJob[], options: NetworkOptions = {}): Promise<GradientResult[]> {
    if (this.#closed) throw new InvalidArgumentError({ field: 'workers', expected: 'an open pool', got: 'a closed one' });
    requireOptions('gradients', options, networkOptionNames);
    const { microBatch } = options;
    if (microBatch !== undefined) requireInteger('options.microBatch', microBatch, 1);
    const dealer = new Dealer(this.size, jobs.length);
    const layout = parameterLayout(graph);
    const inputs = new NetworkInputs(graph);
    // Before anything is asked of a worker: what one cannot read would come back without a name, or not at all.
    for (const [i, { state, batches }] of jobs.entries()) {
      if (batches.length === 0)
        throw new InvalidArgumentError({ field: `jobs[${i}].batches`, expected: 'at least one batch', got: 'none' });
      requireLayout(`jobs[${i}].state`, layout, state);
      for (const batch of batches) {
        inputs.require(batch);
        if (typeof batch.firstOutputs === 'function')
          throw new InvalidArgumentError({ field: `jobs[${i}].batches.firstOutputs`, expected: 'a Float32Array, which a worker can be sent', got: 'a function' });
      }
    }
    const plans = jobs.map(({ batches }) => ({
      batches: batches.length, runs: dealer.deal(batches.flatMap((batch, b) => partsOf(batch, b, microBatch ?? batch.count))),
    }));
    const shared = plans.map(({ runs }, j) => {
      const several = new Set(runs.map(({ worker }) => worker)).size > 1;
      return several ? this.#shared((jobs[j] as GradientJob).state) : undefined;
    });
    // All runs of one job that a worker computes go in one request, so that the job's state is sent once.
    const asked = new Map<Run, Promise<Contribution>>();
    for (const [w, member] of this.#members.entries()) {
      for (const [j, { runs }] of plans.entries()) {
        const own = runs.filter(({ worker }) => worker === w);
        if (own.length === 0) continue;
        const { state } = jobs[j] as GradientJob;
        const answers = member.contributions(graph, options, state, shared[j], own, this.#spare.splice(0, own.length));
        for (const [i, run] of own.entries()) {
          const answer = answers[i] as Promise<Contribution>;
          // An error of one run is reported below in the order of runs; the others must not count as unhandled.
          answer.catch(() => undefined);
          asked.set(run, answer);
        }
      }
    }
    const results: GradientResult[] = [];
    for (const { batches, runs } of plans) {
      const halves = [new Map<string, Tensor>(), new Map<string, Tensor>()] as const;
      const parts = new Map<string, OuterProducts[]>();
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
      results.push({ losses, gradients: sum, factors });
    }
    // By now every worker has read them.
    this.#sharedStates.push(...shared.flatMap((state) => state ?? []));
    return results;
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

/**
 * A pool of workers that the caller has started, each of which runs `serveGradients`. They belong to the pool from then on:
 * disposing of it terminates them.
 * @param workers `Worker`s of the web's kind or of Node's `worker_threads`; at least one.
 * @throws InvalidArgumentError for no workers, and for options that there are not; KernelError where one cannot be
 *   started, UnsupportedError without SIMD.
 */
export async function openGradientWorkers(workers: readonly (WebPort | NodePort)[], options: PoolOptions = {}): Promise<GradientWorkers> {
  requireOptions('openGradientWorkers', options, optionNames);
  if (options.core !== undefined) requireCoreOptions('openGradientWorkers', options.core, 'core');
  requireList('workers', workers, (_, worker) => worker);
  if (workers.length === 0) throw new InvalidArgumentError({ field: 'workers', expected: 'at least one worker', got: 'none' });
  const members: Member[] = [];
  try {
    for (const [i, worker] of workers.entries()) members.push(new Member(`workers[${i}]`, worker));
    await Promise.all(members.map((member) => member.open(options.core ?? {})));
  } catch (error) {
    for (const member of members) member.end();
    throw error;
  }
  return new GradientWorkers(members, options.core?.arithmetic ?? 'strict');
}

interface Waiting {
  readonly resolve: (response: Response) => void;
  readonly reject: (error: Error) => void;
}

/** One worker: answers come in the order of what was asked. */
class Member {
  readonly #field: string;
  readonly #port: Port;
  /** What is waited for, by request. */
  readonly #waiting: Waiting[][] = [];
  #failure: Error | undefined;

  constructor(field: string, worker: WebPort | NodePort) {
    this.#field = field;
    this.#port = openPort(field, worker, {
      onMessage: (message) => this.#receive(message as Response),
      onFailure: (reason) => this.#fail(reason),
    });
  }

  async open(core: CoreOptions): Promise<void> {
    const [answer] = this.#ask({ kind: 'open', core }, 1);
    await answer;
  }

  /**
   * @param shared a copy of the state that other workers read too.
   * @param arrays for the gradients of the runs, as long as there are some.
   */
  contributions(
    graph: ModelGraph,
    options: NetworkOptions,
    state: NetworkState,
    shared: NetworkState | undefined,
    runs: readonly Run[],
    arrays: readonly NamedTensors[],
  ): Promise<Contribution>[] {
    // Without memory to share, copied here and handed over: a structured clone copies on both sides, and the next
    // worker starts only after this one's.
    const own = shared ?? { parameters: copied(state.parameters, freshArray, arrays[0]), buffers: copied(state.buffers, freshArray) };
    const spare = shared === undefined ? [own.parameters, ...arrays.slice(1)] : arrays;
    const pieces = runs.map((run) => run.pieces);
    const handedOver = [
      ...(shared === undefined ? dataOf(own.buffers) : []),
      ...spare.flatMap(dataOf),
      ...pieces.flat(3).flatMap(({ inputs, labels, firstOutputs }) => [inputs, labels, ...(firstOutputs === undefined ? [] : [firstOutputs])]),
    ];
    const transfer = handedOver.map(({ buffer }) => buffer as ArrayBuffer);
    return this.#ask({ kind: 'gradient', graph, options, state: own, runs: pieces, spare }, runs.length, transfer) as Promise<
      Contribution & Response
    >[];
  }

  end(): void {
    this.#fail('the end of its pool');
    this.#port.terminate();
  }

  #ask(request: Request, answers: number, transfer: ArrayBuffer[] = []): Promise<Response>[] {
    if (this.#failure !== undefined) return Array.from({ length: answers }, () => Promise.reject(this.#failure as Error));
    try {
      this.#port.send(request, transfer);
    } catch (error) {
      // Nothing has been asked, so nothing is waited for.
      const got = error instanceof Error ? error.message : describe(error);
      throw new InvalidArgumentError({
        field: `message to ${this.#field}`,
        expected: 'plain records and numbers, which a worker can be sent',
        got,
      });
    }
    const waiting: Waiting[] = [];
    const promises = Array.from({ length: answers }, () => new Promise<Response>((resolve, reject) => waiting.push({ resolve, reject })));
    this.#waiting.push(waiting);
    return promises;
  }

  #receive(response: Response): void {
    const current = this.#waiting[0];
    if (current === undefined) return;
    if (response.kind === 'error') {
      this.#waiting.shift();
      for (const { reject } of current) reject(errorOf(response.error));
      return;
    }
    current.shift()?.resolve(response);
    if (current.length === 0) this.#waiting.shift();
  }

  #fail(reason: string): void {
    this.#failure ??= new KernelError({ field: this.#field, expected: 'a worker that answers', got: reason });
    for (const { reject } of this.#waiting.flat()) reject(this.#failure);
    this.#waiting.length = 0;
  }
}

/**
 * Deals jobs to the workers that have least to do: whole ones where every worker gets as many, or else by halves. The
 * first blocks of a half are added up where they are computed, as in one thread; each later one comes back by itself,
 * to be added in its turn. Two workers thus read out and send one gradient each. Of equals the last worker is taken
 * first: its state is copied last.
 */
class Dealer {
  readonly #load: number[];
  readonly #wholeJobs: boolean;

  constructor(workers: number, jobs: number) {
    this.#load = Array.from({ length: workers }, () => 0);
    this.#wholeJobs = jobs % workers === 0;
  }

  deal(parts: readonly DealtPart[]): Run[] {
    const halves = halvesOf(parts);
    if (this.#wholeJobs) return [{ worker: this.#take(parts.length), half: 0, pieces: halves }];
    const sharing = Math.ceil(this.#load.length / 2);
    return halves.flatMap((blocks, half) => {
      const first = sharing === 1 ? blocks.length : Math.min(Math.ceil(blocks.length / sharing), LONGEST_RUN);
      return [blocks.slice(0, first), ...blocks.slice(first).map((block) => [block])]
        .map((own) => ({ worker: this.#take(own.flat().length), half, pieces: [own] }));
    });
  }

  #take(parts: number): number {
    const worker = this.#load.lastIndexOf(Math.min(...this.#load));
    this.#load[worker] = (this.#load[worker] as number) + parts;
    return worker;
  }
}

const dataOf = (tensors: NamedTensors): Float32Array[] => [...tensors.values()].map(({ data }) => data);

const freshArray = (length: number): Float32Array => new Float32Array(length);

/** In `arrays` where they fit, else in fresh ones. */
function copied(tensors: NamedTensors, fresh: (length: number) => Float32Array, arrays?: NamedTensors): NamedTensors {
  return new Map([...tensors].map(([name, { shape, data }]) => {
    const old = arrays?.get(name)?.data;
    const own = old?.length === data.length ? old : fresh(data.length);
    own.set(data);
    return [name, { shape, data: own }];
  }));
}

/** Copies: posting a view would send the whole buffer behind it. */
function partsOf(batch: StartedBatchArrays, index: number, size: number): DealtPart[] {
  const parts: DealtPart[] = [];
  const { firstOutputs } = batch;
  const perInput = batch.inputs.length / batch.count;
  const perLabel = batch.labels.length / batch.count;
  const perFirst = (firstOutputs?.length ?? 0) / batch.count;
  for (let first = 0; first < batch.count; first += size) {
    const count = Math.min(size, batch.count - first);
    parts.push({
      inputs: batch.inputs.slice(first * perInput, (first + count) * perInput),
      labels: batch.labels.slice(first * perLabel, (first + count) * perLabel),
      ...(firstOutputs === undefined ? {} : { firstOutputs: firstOutputs.slice(first * perFirst, (first + count) * perFirst) }),
      count,
      wholeCount: batch.count,
      batch: index,
    });
  }
  return parts;
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
