/** One worker of a pool: what it is sent, and its answers. */
import type { CoreOptions } from '../../core/core.ts';
import { describe } from '../../core/describe.ts';
import { InvalidArgumentError, KernelError, OutOfMemoryError } from '../../core/errors.ts';
import { onlyDefined } from '../../core/only-defined.ts';
import { isRefusedMemory } from '../../core/refused-memory.ts';
import type { ModelGraph } from '../../model/graph.ts';
import type { NamedOuterProducts } from '../../tensor/outer-products.ts';
import type { NamedTensors, NetworkState } from '../../tensor/tensor.ts';
import type { StartedBatchArrays } from '../network-inputs.ts';
import type { NetworkOptions } from '../network.ts';
import type { Run } from './dealing.ts';
import { openPort, type NodePort, type Port, type WebPort } from './port.ts';
import { errorOf, isResponse, type BatchAnswer, type BatchQuestion, type Request, type Response } from './protocol.ts';

/** What a run of blocks adds up to. */
export interface Contribution {
  /** Of each part. */
  readonly losses: readonly number[];
  readonly gradients: NamedTensors;
  readonly factors: NamedOuterProducts;
}

interface Waiting {
  readonly resolve: (response: Response) => void;
  readonly reject: (error: Error) => void;
}

/** One worker: answers come in the order of what was asked. */
export class Member {
  readonly #field: string;
  readonly #port: Port;
  /** What is waited for, by request. */
  readonly #waiting: Waiting[][] = [];
  #failure: Error | undefined;

  constructor(field: string, worker: WebPort | NodePort) {
    this.#field = field;
    this.#port = openPort(field, worker, {
      onMessage: (message) => {
        if (isResponse(message)) this.#receive(message);
      },
      onFailure: (reason, cause) => this.#fail(reason, cause),
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
    const own = shared ?? ownCopy(state, arrays[0]);
    const spare = shared === undefined ? [own.parameters, ...arrays.slice(1)] : arrays;
    const pieces = runs.map((run) => run.pieces);
    const stateArrays = shared === undefined ? dataOf(own.buffers) : [];
    const handedOver = [...stateArrays, ...spare.flatMap(dataOf), ...pieces.flat(3).flatMap(batchArrays)];
    return this.#ask({ kind: 'gradient', graph, options, state: own, runs: pieces, spare }, runs.length, handedOver) as Promise<
      Contribution & Response
    >[];
  }

  /** What each of those batches says by itself. @param batches are handed over. */
  eachBatch(
    question: BatchQuestion,
    graph: ModelGraph,
    options: NetworkOptions,
    state: NetworkState,
    shared: NetworkState | undefined,
    batches: readonly StartedBatchArrays[],
  ): Promise<BatchAnswer>[] {
    const own = shared ?? ownCopy(state);
    const stateArrays = shared === undefined ? [...dataOf(own.parameters), ...dataOf(own.buffers)] : [];
    const handedOver = [...stateArrays, ...batches.flatMap(batchArrays)];
    return this.#ask({ ...question, graph, options, state: own, batches }, batches.length, handedOver) as Promise<BatchAnswer & Response>[];
  }

  end(): void {
    this.#fail('the end of its pool');
    this.#port.terminate();
  }

  #ask(request: Request, answers: number, handedOver: readonly (Float32Array | Int32Array)[] = []): Promise<Response>[] {
    if (this.#failure !== undefined) return Array.from({ length: answers }, () => Promise.reject(this.#failure as Error));
    try {
      this.#port.send(request, handedOver.map(({ buffer }) => buffer as ArrayBuffer));
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

  #fail(reason: string, cause?: unknown): void {
    const facts = { field: this.#field, expected: 'a worker that answers', got: reason, ...onlyDefined({ cause }) };
    this.#failure ??= isOutOfMemory(cause) ? new OutOfMemoryError({ ...facts, requestedBytes: 0 }) : new KernelError(facts);
    for (const { reject } of this.#waiting.flat()) reject(this.#failure);
    this.#waiting.length = 0;
  }
}

/** Also where the worker's own heap of JavaScript ended it, in Node. */
function isOutOfMemory(cause: unknown): boolean {
  return isRefusedMemory(cause) || (cause instanceof Error && 'code' in cause && cause.code === 'ERR_WORKER_OUT_OF_MEMORY');
}

const dataOf = (tensors: NamedTensors): Float32Array[] => [...tensors.values()].map(({ data }) => data);

const batchArrays = ({ inputs, labels, firstOutputs }: StartedBatchArrays): (Float32Array | Int32Array)[] =>
  firstOutputs === undefined ? [inputs, labels] : [inputs, labels, firstOutputs];

const freshArray = (length: number): Float32Array => new Float32Array(length);

/**
 * Without memory to share, a state is copied here and handed over: a structured clone copies on both sides, and the next worker starts only
 * after this one's.
 */
function ownCopy(state: NetworkState, arrays?: NamedTensors): NetworkState {
  return { parameters: copied(state.parameters, freshArray, arrays), buffers: copied(state.buffers, freshArray) };
}

/** In `arrays` where they fit, else in fresh ones. */
export function copied(tensors: NamedTensors, fresh: (length: number) => Float32Array, arrays?: NamedTensors): NamedTensors {
  return new Map([...tensors].map(([name, { shape, data }]) => {
    const old = arrays?.get(name)?.data;
    const own = old?.length === data.length ? old : fresh(data.length);
    own.set(data);
    return [name, { shape, data: own }];
  }));
}
