/**
 * The two shapes in which runtimes hand out workers, as one: web workers (browsers, Deno, Bun) with event listeners, and
 * Node's `worker_threads`, whose events carry the message itself.
 */
import { describe } from '../../core/describe.ts';
import { InvalidArgumentError } from '../../core/errors.ts';
import { requireMembers } from '../../core/require.ts';

/** `threadId` of a worker after its end, in Node and Bun. */
const ENDED = -1;

/** Any function: the runtimes' own declarations differ in what their listeners take. */
type Method = (...parameters: never[]) => unknown;

/** A web worker, or the global scope inside one. */
export interface WebPort {
  readonly postMessage: Method;
  readonly addEventListener: Method;
  readonly terminate?: Method;
}

/** Node's `Worker`, or `parentPort` inside one. */
export interface NodePort {
  readonly postMessage: Method;
  readonly on: Method;
  readonly terminate?: Method;
}

export interface Port {
  send(message: unknown, transfer: ArrayBuffer[]): void;
  terminate(): void;
}

export interface PortEvents {
  onMessage(message: unknown): void;
  /** The other side failed to load, threw outside a request or ended. @param cause where the runtime tells it. */
  onFailure(reason: string, cause?: unknown): void;
}

/** @throws InvalidArgumentError for something that is neither, and for a worker that has ended, of which no event comes. */
export function openPort(field: string, worker: WebPort | NodePort, { onMessage, onFailure }: PortEvents): Port {
  requireMembers(field, worker, ['postMessage'], 'a Worker of this runtime');
  const terminate = (): void => void worker.terminate?.();
  const post = worker.postMessage.bind(worker) as (message: unknown, transfer: unknown) => void;
  // Node's first: its `parentPort` has both, and only `on` keeps the worker alive in every version.
  if ('on' in worker && typeof worker.on === 'function') {
    if ('threadId' in worker && worker.threadId === ENDED)
      throw new InvalidArgumentError({ field, expected: 'a worker that runs', got: 'one that has ended' });
    const on = worker.on.bind(worker) as (type: string, listener: (value: unknown) => void) => void;
    on('message', onMessage);
    on('messageerror', () => onFailure('a message that cannot be read'));
    on('error', (error) => onFailure(error instanceof Error ? error.message : describe(error), error));
    on('exit', (code) => onFailure(`its end (exit code ${describe(code)})`));
    return { send: post, terminate };
  }
  if ('addEventListener' in worker && typeof worker.addEventListener === 'function') {
    const listen = worker.addEventListener.bind(worker) as (type: string, listener: (event: WorkerEvent) => void) => void;
    listen('message', ({ data }) => onMessage(data));
    listen('messageerror', () => onFailure('a message that cannot be read'));
    listen('error', (event) => {
      event.preventDefault?.();
      onFailure(event.message ?? 'an error');
    });
    return { send: (message, transfer) => post(message, { transfer }), terminate };
  }
  throw new InvalidArgumentError({ field, expected: 'a Worker of this runtime', got: describe(worker) });
}

/** What we read of a message's or an error's event. */
interface WorkerEvent {
  readonly data?: unknown;
  readonly message?: string;
  preventDefault?(): void;
}
