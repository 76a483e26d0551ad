/** What a pool and its workers say to one another: plain records that structured cloning carries in every runtime. */
import type { CoreOptions } from '../../core/core.ts';
import { describe } from '../../core/describe.ts';
import {
  InvalidArgumentError,
  KernelError,
  NotFiniteError,
  OutOfMemoryError,
  TrajportError,
  UnsupportedError,
  type ErrorCode,
} from '../../core/errors.ts';
import { isRefusedMemory } from '../../core/refused-memory.ts';
import type { ModelGraph } from '../../model/graph.ts';
import type { NamedOuterProducts } from '../../tensor/outer-products.ts';
import type { NamedTensors, NetworkState } from '../../tensor/tensor.ts';
import type { BatchStatistics } from '../batch-statistics.ts';
import type { StartedBatchArrays } from '../network-inputs.ts';
import type { Evaluation, NetworkOptions, PartRun } from '../network.ts';

export type Request =
  /** The first message: loads the core. */
  | { readonly kind: 'open'; readonly core: CoreOptions }
  /** What runs of blocks add up to; answered one by one, in order. */
  | {
      readonly kind: 'gradient';
      readonly graph: ModelGraph;
      readonly options: NetworkOptions;
      /** In shared memory where several workers read it and the runtime has some. */
      readonly state: NetworkState;
      readonly runs: readonly PartRun[];
      /** Arrays for the gradients of the runs, as long as there are some: those of `state` among them, where it is this worker's own. */
      readonly spare: readonly NamedTensors[];
    }
  /** What each of some batches says by itself; answered one by one, in order. */
  | (BatchQuestion & {
      readonly graph: ModelGraph;
      readonly options: NetworkOptions;
      /** As of a gradient. */
      readonly state: NetworkState;
      readonly batches: readonly StartedBatchArrays[];
    });

export type BatchQuestion =
  | { readonly kind: 'statistics' }
  /** @property predictions whether they are wanted, too. */
  | { readonly kind: 'evaluation'; readonly predictions: boolean };

export type BatchAnswer =
  | { readonly kind: 'statistics'; readonly statistics: readonly BatchStatistics[] }
  | { readonly kind: 'evaluation'; readonly evaluation: Evaluation; readonly predictions: Int32Array | undefined };

export type Response =
  | { readonly kind: 'open' }
  | {
      readonly kind: 'contribution';
      readonly losses: readonly number[];
      readonly gradients: NamedTensors;
      readonly factors: NamedOuterProducts;
    }
  | BatchAnswer
  /** Ends the last request: nothing more comes of it. */
  | { readonly kind: 'error'; readonly error: ErrorRecord };

const responseKinds: { readonly [K in Response['kind']]: true } = {
  open: true, contribution: true, statistics: true, evaluation: true, error: true,
};

/** Whether a worker's message answers a request: its file may say other things, too. */
export function isResponse(message: unknown): message is Response {
  return Object.hasOwn(responseKinds, String((message as Partial<Response> | null | undefined)?.kind));
}

export interface ErrorRecord {
  readonly code: ErrorCode;
  readonly field: string;
  readonly expected: string;
  readonly got: string;
  readonly requestedBytes: number;
}

/** An error as a record: class instances do not survive structured cloning. */
export function errorRecord(error: unknown): ErrorRecord {
  const requestedBytes = error instanceof OutOfMemoryError ? error.requestedBytes : 0;
  if (error instanceof TrajportError) {
    const { code, field, expected, got } = error;
    return { code, field, expected, got, requestedBytes };
  }
  const got = error instanceof Error ? `${error.name}: ${error.message}` : describe(error);
  if (isRefusedMemory(error)) return { code: 'out-of-memory', field: 'worker', expected: 'memory for its work', got, requestedBytes };
  return { code: 'kernel', field: 'worker', expected: 'an answer', got, requestedBytes };
}

/** The typed error again, of the classes that a gradient throws. */
export function errorOf(record: ErrorRecord): TrajportError {
  switch (record.code) {
    case 'invalid-argument':
      return new InvalidArgumentError(record);
    case 'unsupported':
      return new UnsupportedError(record);
    case 'out-of-memory':
      return new OutOfMemoryError(record);
    case 'not-finite':
      return new NotFiniteError(record);
    default:
      return new KernelError(record);
  }
}
