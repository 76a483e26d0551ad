/**
 * A transfer as one HTTP request: bundle and target in, transferred weights out. Sizes, gradients and the heap are
 * capped; every refusal is a JSON error with the status that says whose fault it is.
 */
import { LimitError, MalformedFileError, TrajportError } from '../core/errors.ts';
import type { ErrorCode } from '../core/errors.ts';
import { stateFromSafetensors, stateToSafetensors } from '../bundle/network-state.ts';
import { openBundle } from '../bundle/reader.ts';
import { imageSetFromIdx } from '../data/idx.ts';
import { outputClasses, parameterLayout } from '../model/graph.ts';
import { openCompute, plan, transfer } from '../index.ts';
import type { CoreOptions } from '../core/core.ts';
import type { Compute } from '../index.ts';
import { readParts } from './body.ts';
import { edgeMethods, optionNames, readOptions } from './options.ts';

const MiB = 2 ** 20;

export interface TransferHandlerOptions {
  /** Cap of the WebAssembly heap. Default 64 MiB: with inputs and gradients it stays within a 128 MB isolate. */
  readonly heapLimitBytes?: number;
  /** Default 16 MiB. */
  readonly maxBundleBytes?: number;
  /** Default 16 MiB. */
  readonly maxTargetBytes?: number;
  /** Images, gzipped or not. Default 16 MiB: twenty thousand of 28 × 28. */
  readonly maxDataBytes?: number;
  /** Backward passes that one request may ask for (see `plan`). Default 500. */
  readonly maxGradients?: number;
  /** Requests that may wait while one runs; more are told to come back. Default 4. */
  readonly maxWaiting?: number;
  /** Compiled modules, for hosts that cannot use the packaged ones. */
  readonly wasm?: NonNullable<CoreOptions['wasm']>;
}

/**
 * A fetch handler. POST multipart/form-data with the parts
 * - `bundle`: a trajectory bundle; `target`: the base weights to port to, safetensors;
 * - `images`, `labels`: the source's task as IDX files, gzipped or not;
 * - `options`: JSON, optional: `method` (default `fgmt`), `seed` (default 1) and the choices of `transfer`;
 * answers the transferred weights as safetensors with the record in the header `trajport-record`, or both as
 * multipart/form-data where the request's Accept header says so. GET answers what is accepted, as JSON.
 */
export function createTransferHandler(options: TransferHandlerOptions = {}): (request: Request) => Promise<Response> {
  const caps = {
    heapLimitBytes: options.heapLimitBytes ?? 64 * MiB,
    maxBundleBytes: options.maxBundleBytes ?? 16 * MiB,
    maxTargetBytes: options.maxTargetBytes ?? 16 * MiB,
    maxDataBytes: options.maxDataBytes ?? 16 * MiB,
    maxGradients: options.maxGradients ?? 500,
    maxWaiting: options.maxWaiting ?? 4,
  };
  const partLimits = {
    bundle: caps.maxBundleBytes, target: caps.maxTargetBytes, images: caps.maxDataBytes, labels: 1 * MiB, options: 64 * 1024,
  };
  const inTurn = takeTurns();
  let compute: Promise<Compute> | undefined;

  async function answer(request: Request): Promise<Response> {
    const parts = await readParts(request, partLimits);
    const { seed, from, to, ...choices } = readOptions(parts.get('options'));
    const { signal } = request;
    using bundle = await openBundle(part(parts, 'bundle'), { signal });
    const { graph } = bundle;
    const target = stateFromSafetensors(parameterLayout(graph), part(parts, 'target'), 'target');
    const data = await imageSetFromIdx({
      name: 'data', images: part(parts, 'images'), labels: part(parts, 'labels'), classes: outputClasses(graph),
    });
    // Of the whole trajectory: a part of it takes no more gradients.
    const { gradients } = plan({ ...choices, graph, checkpoints: bundle.checkpoints.length });
    if (gradients > caps.maxGradients) {
      throw new LimitError({ field: 'options', expected: `a method and steps of at most ${caps.maxGradients} gradients`, got: `${gradients}` });
    }
    compute ??= openCompute({ heapLimitBytes: caps.heapLimitBytes, ...(options.wasm === undefined ? {} : { wasm: options.wasm }) });
    const result = await transfer({
      ...choices, seed, ...(from === undefined ? {} : { from }), ...(to === undefined ? {} : { to }), source: bundle, target, data, compute: await compute, signal,
    });
    const { record, chosenStep, counts, steps } = result;
    return respond(request, stateToSafetensors(parameterLayout(graph), result.state), {
      ...record, chosenStep, counts, heldOut: steps[chosenStep]?.heldOut ?? null,
    });
  }

  /** A heap at its cap is not used again: WebAssembly memory never shrinks, and the next request deserves all of it. */
  async function discardCompute(): Promise<void> {
    const broken = compute;
    compute = undefined;
    (await broken?.catch(() => undefined))?.[Symbol.dispose]();
  }

  return async (request) => {
    if (request.method === 'GET' || request.method === 'HEAD') return json(200, describeService(caps));
    if (request.method !== 'POST') return json(405, problem('MethodError', 'method', 'GET or POST', request.method), { allow: 'GET, HEAD, POST' });
    const type = (request.headers.get('content-type') ?? '').split(';', 1)[0]?.trim().toLowerCase();
    if (type !== 'multipart/form-data') return json(415, problem('ContentTypeError', 'content-type', 'multipart/form-data', type || 'none'));
    if (inTurn.waiting() > caps.maxWaiting) {
      return json(503, problem('BusyError', 'request', `at most ${caps.maxWaiting} waiting`, `${inTurn.waiting()}`), { 'retry-after': '10' });
    }
    return inTurn.run(async () => {
      try {
        return await answer(request);
      } catch (error) {
        if (!(error instanceof TrajportError)) {
          // The client left, or the fault is ours: neither tells a stranger what happened inside.
          return request.signal.aborted
            ? json(499, problem('AbortError', 'request', 'a client that waits', 'one that left'))
            : json(500, problem('InternalError', 'service', 'an answer', 'a fault of trajport'));
        }
        if (error.code === 'out-of-memory' || error.code === 'kernel') await discardCompute();
        return json(statuses[error.code], error.toJSON());
      }
    });
  };
}

/** 400: bytes that are not what they claim; 413: too much; 422: inputs that do not fit together; 503: not enough memory here. */
const statuses: Readonly<Record<ErrorCode, number>> = {
  'malformed-file': 400, integrity: 400, limit: 413, 'invalid-argument': 422, unsupported: 422, 'not-finite': 422,
  budget: 503, 'out-of-memory': 503, kernel: 500, locked: 423, network: 502,
};

/** Runs jobs one after the other: a realm has one compute core, and two heaps would not fit an isolate. */
function takeTurns(): { run: <T>(job: () => Promise<T>) => Promise<T>; waiting: () => number } {
  let last: Promise<unknown> = Promise.resolve();
  let count = 0;
  return {
    run: (job) => {
      count++;
      const mine = last.then(job).finally(() => count--);
      last = mine.catch(() => undefined);
      return mine;
    },
    waiting: () => count,
  };
}

function part(parts: ReadonlyMap<string, Uint8Array<ArrayBuffer>>, name: string): Uint8Array<ArrayBuffer> {
  const found = parts.get(name);
  if (found === undefined) throw new MalformedFileError({ field: name, expected: 'a part of this name', got: 'none' });
  return found;
}

function respond(request: Request, weights: Uint8Array<ArrayBuffer>, record: object): Response {
  if ((request.headers.get('accept') ?? '').toLowerCase().includes('multipart/form-data')) {
    const form = new FormData();
    form.set('record', JSON.stringify(record));
    form.set('weights', new Blob([weights], { type: 'application/octet-stream' }), 'transferred.safetensors');
    return new Response(form);
  }
  return new Response(weights, {
    headers: {
      'content-type': 'application/octet-stream',
      'content-disposition': 'attachment; filename="transferred.safetensors"',
      'trajport-record': asciiJson(record),
    },
  });
}

/** JSON in ASCII: header values take no other characters. */
function asciiJson(value: object): string {
  return JSON.stringify(value).replace(/[\u007f-\uffff]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

function describeService(caps: Readonly<Record<string, number>>): object {
  return {
    service: 'trajport',
    usage: 'POST multipart/form-data',
    parts: {
      bundle: 'trajectory bundle',
      target: 'base weights to port to, safetensors',
      images: "the source's task, IDX, gzipped or not",
      labels: 'their labels, IDX, gzipped or not',
      options: `JSON, optional: ${optionNames.join(', ')}`,
    },
    methods: edgeMethods,
    caps,
  };
}

function problem(error: string, field: string, expected: string, got: string): object {
  return { error, field, expected, got };
}

function json(status: number, body: object, headers: Readonly<Record<string, string>> = {}): Response {
  return Response.json(body, { status, headers });
}
