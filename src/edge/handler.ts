/**
 * A transfer as one HTTP request: bundle and target in, transferred weights out. Sizes, time, work and memory are capped; every
 * refusal is a JSON error with the status that says whose fault it is. The defaults are for an isolate of 128 MB.
 */
import { LimitError, MalformedFileError, TrajportError, UnsupportedError } from '../core/errors.ts';
import { requireInteger, requireNumber } from '../core/require.ts';
import type { ErrorCode } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';
import { stateWithZeros, stateToSafetensors } from '../bundle/network-state.ts';
import { openBundle } from '../bundle/reader.ts';
import { LONGEST_TIMER_MS } from '../bundle/watchdog.ts';
import { imageSetFromIdx } from '../data/idx.ts';
import { normalisedAsRecorded } from '../data/normalisation.ts';
import { outputClasses, parameterLayout } from '../model/graph.ts';
import { headParameters } from '../model/head.ts';
import { wantsZeroHead } from '../transfer/settings.ts';
import { transfer } from '../transfer/transfer.ts';
import { requireModules } from '../core/core.ts';
import type { CoreOptions } from '../core/core.ts';
import { HeldBytes, readParts } from './body.ts';
import { withOrigins } from './origins.ts';
import { edgeMethods, fieldInOptions, readOptions, requestOptionNames } from './options.ts';
import type { RequestOptions } from './options.ts';
import { Refusal } from './refusal.ts';
import { computeInTurn, discardCompute, inTurn, requireCodec, requirePlace } from './turn.ts';
import { requireWork } from './work.ts';

const MiB = 2 ** 20;

/** Caps of bytes and of work may be `Infinity`, for none; that of the heap and the two of time may not. */
export interface TransferHandlerOptions {
  /** Cap of the WebAssembly heap. Default 32 MiB. */
  readonly heapLimitBytes?: number;
  /** Default 6 MiB. */
  readonly maxBundleBytes?: number;
  /** What a bundle's manifest may unpack to. Default 256 KiB: five hundred checkpoints. */
  readonly maxManifestBytes?: number;
  /** Default 3 MiB: 786,432 parameters, of which a transfer holds ten copies. */
  readonly maxTargetBytes?: number;
  /** Images, packed and unpacked. Default 6 MiB: eight thousand of 28 × 28. */
  readonly maxDataBytes?: number;
  /** Labels, packed and unpacked. Default 64 KiB; each costs twenty bytes of row numbers besides. */
  readonly maxLabelsBytes?: number;
  /** Backward passes, or steps, that one request may ask for (see `plan`). Default 500. */
  readonly maxGradients?: number;
  /** Floating-point operations of its gradients, matchings and evaluations. Default 10¹²: a few minutes. */
  readonly maxFlops?: number;
  /** Gradients, checkpoints and mini-batches that it may keep in JavaScript memory. Default 20 MiB. */
  readonly maxHistoryBytes?: number;
  /** Bodies of all requests together, from the first byte to the answer; more are told to come back. Default 18 MiB. */
  readonly maxHeldBytes?: number;
  /** A client that sends nothing for so long, or is not through after so long, is given up. Defaults 10 and 60 seconds. */
  readonly maxIdleMs?: number;
  readonly maxReadMs?: number;
  /** Requests that may wait while one computes; more are told to come back. Default 4. */
  readonly maxWaiting?: number;
  /**
   * Pages of which origins may call it, `'*'` for any: preflights are answered, and `trajport-record` is theirs to read. Default none.
   */
  readonly allowedOrigins?: '*' | readonly string[];
  /** Compiled modules, for hosts that cannot use the packaged ones. */
  readonly wasm?: NonNullable<CoreOptions['wasm']>;
}

type Caps = Required<Omit<TransferHandlerOptions, 'wasm' | 'allowedOrigins'>>;

const defaults: Caps = {
  heapLimitBytes: 32 * MiB, maxBundleBytes: 6 * MiB, maxManifestBytes: 256 * 1024, maxTargetBytes: 3 * MiB,
  maxDataBytes: 6 * MiB, maxLabelsBytes: 64 * 1024, maxGradients: 500, maxFlops: 1e12,
  maxHistoryBytes: 20 * MiB, maxHeldBytes: 18 * MiB, maxIdleMs: 10_000, maxReadMs: 60_000, maxWaiting: 4,
};

const optionNames: OptionNames<TransferHandlerOptions> = {
  heapLimitBytes: true, maxBundleBytes: true, maxManifestBytes: true, maxTargetBytes: true, maxDataBytes: true,
  maxLabelsBytes: true, maxGradients: true, maxFlops: true, maxHistoryBytes: true,
  maxHeldBytes: true, maxIdleMs: true, maxReadMs: true, maxWaiting: true, allowedOrigins: true, wasm: true,
};

/**
 * Where the handler is made: later every request would be told of a fault that is not its own. @throws
 * InvalidArgumentError naming the cap.
 */
function readCaps(options: TransferHandlerOptions): Caps {
  const caps: Record<string, number> = {};
  for (const [name, fallback] of Object.entries(defaults)) {
    const value: unknown = options[name as keyof Caps] ?? fallback;
    caps[name] = value === Infinity ? value : requireNumber(name, value, 0);
  }
  requireInteger('heapLimitBytes', caps['heapLimitBytes'], limits.smallestHeapBytes, limits.heapBytes);
  for (const name of ['maxIdleMs', 'maxReadMs']) requireNumber(name, caps[name], 0, LONGEST_TIMER_MS);
  return caps as unknown as Caps;
}

/**
 * A fetch handler. POST multipart/form-data with the parts
 * - `bundle`: a trajectory bundle; `target`: the base weights to port to, safetensors (with the choice `zeroHead` whatever last layer);
 * - `images`, `labels`: the source's task as IDX files, gzipped or not; colour has a fourth axis;
 * - `options`: JSON, optional: `method` (default `fgmt`), `seed` (default 1) and the choices of `transfer`;
 * answers the transferred weights as safetensors with the record in the header `trajport-record`, or both as
 * multipart/form-data where the request's Accept header says so. GET answers what is accepted, as JSON.
 * @throws InvalidArgumentError for options that there are not, and for a cap that is no number; what a request is refused for is an answer.
 */
export function createTransferHandler(options: TransferHandlerOptions = {}): (request: Request) => Promise<Response> {
  requireOptions('createTransferHandler', options, optionNames);
  if (options.wasm !== undefined) requireModules('createTransferHandler', options.wasm);
  const caps = readCaps(options);
  const partLimits = {
    bundle: caps.maxBundleBytes, target: caps.maxTargetBytes, images: caps.maxDataBytes, labels: caps.maxLabelsBytes, options: 64 * 1024,
  };
  const core: CoreOptions = { heapLimitBytes: caps.heapLimitBytes, ...(options.wasm === undefined ? {} : { wasm: options.wasm }) };

  async function port(request: Request): Promise<Response> {
    requirePlace(caps.maxWaiting);
    using held = new HeldBytes(caps.maxHeldBytes, request.signal);
    const parts = await readParts(request, partLimits, caps, held);
    const inputs = {
      bundle: part(parts, 'bundle'),
      target: part(parts, 'target'),
      images: part(parts, 'images'),
      labels: part(parts, 'labels'),
    };
    const choices = readOptions(parts.get('options'));
    // Others may have come while the body was read: a slow client takes no turn.
    requirePlace(caps.maxWaiting);
    return await inTurn(async () => {
      try {
        return await answer(request, inputs, choices);
      } catch (error) {
        if (spoilsCore(error, request.signal)) discardCompute();
        throw error;
      }
    }, request.signal);
  }

  async function answer(request: Request, inputs: Inputs, choices: RequestOptions): Promise<Response> {
    const { signal } = request;
    await requireCodec();
    using bundle = await openBundle(inputs.bundle, { signal, manifestBytes: Math.min(caps.maxManifestBytes, limits.manifestBytes) });
    const { graph, checkpoints } = bundle;
    if (graph.vocabulary !== undefined)
      throw new UnsupportedError({ field: 'bundle', expected: 'a network that reads images', got: 'one that reads tokens' });
    requireRecordFits(request, { ...choices, from: choices.from ?? checkpoints[0]?.label, to: choices.to ?? checkpoints.at(-1)?.label });
    const zeroed = wantsZeroHead(choices, bundle.training) ? headParameters(graph) : new Set<string>();
    const target = stateWithZeros(parameterLayout(graph), inputs.target, 'target', zeroed);
    const images = await imageSetFromIdx({
      name: 'data',
      images: inputs.images,
      labels: inputs.labels,
      fileNames: { images: 'images', labels: 'labels' },
      classes: outputClasses(graph),
      limitBytes: { images: caps.maxDataBytes, labels: caps.maxLabelsBytes },
    });
    const data = normalisedAsRecorded(images, bundle.training);
    requireWork(caps, choices, { graph, checkpoints: checkpoints.length, images: data.count });
    const result = await transfer({ ...choices, source: bundle, target, data, compute: await computeInTurn(core), signal });
    const { record, chosenStep, counts, steps } = result;
    return respond(request, stateToSafetensors(parameterLayout(graph), result.state), {
      ...record, chosenStep, counts, heldOut: steps[chosenStep]?.heldOut ?? null,
    });
  }

  const handle = async (request: Request): Promise<Response> => {
    if (request.method === 'GET' || request.method === 'HEAD') return json(200, describeService(caps));
    if (request.method !== 'POST')
      return json(405, problem('MethodError', 'method', 'GET or POST', request.method), { allow: 'GET, HEAD, POST' });
    const type = (request.headers.get('content-type') ?? '').split(';', 1)[0]?.trim().toLowerCase();
    if (type !== 'multipart/form-data')
      return json(415, problem('ContentTypeError', 'content-type', 'multipart/form-data', type || 'none'));
    // No runtime unpacks what a request sends; read as it is, a packed body would be called a form that is broken.
    const coding = (request.headers.get('content-encoding') ?? 'identity').trim().toLowerCase();
    if (coding !== 'identity') {
      const wanted = 'none: images and labels may be gzipped, each by itself';
      return json(415, problem('ContentTypeError', 'content-encoding', wanted, coding), { 'accept-encoding': 'identity' });
    }
    try {
      return await port(request);
    } catch (error) {
      if (error instanceof Refusal) return json(error.status, error.facts, error.status === 503 ? { 'retry-after': '10' } : {});
      if (error instanceof TrajportError) return json(statuses[error.code], { ...error.toJSON(), field: fieldInOptions(error.field) });
      // The client left, or the fault is ours: neither tells a stranger what happened inside.
      return request.signal.aborted
        ? json(499, problem('AbortError', 'request', 'a client that waits', 'one that left'))
        : json(500, problem('InternalError', 'service', 'an answer', 'a fault of trajport'));
    }
  };
  return options.allowedOrigins === undefined ? handle : withOrigins(handle, options.allowedOrigins);
}

/** Whether what a job failed of may have left the shared core at its cap or in disorder: a fault that nobody foresaw is taken for one. */
function spoilsCore(error: unknown, signal: AbortSignal): boolean {
  if (error instanceof TrajportError) return error.code === 'out-of-memory' || error.code === 'kernel';
  return !(error instanceof Refusal) && !signal.aborted;
}

interface Inputs {
  readonly bundle: Uint8Array<ArrayBuffer>;
  readonly target: Uint8Array<ArrayBuffer>;
  readonly images: Uint8Array<ArrayBuffer>;
  readonly labels: Uint8Array<ArrayBuffer>;
}

/** 400: bytes that are not what they claim; 413: too much; 422: inputs that do not fit together; 503: not enough memory here. */
const statuses: Readonly<Record<ErrorCode, number>> = {
  'malformed-file': 400, integrity: 400, limit: 413, 'invalid-argument': 422, unsupported: 422, 'not-finite': 422,
  budget: 503, 'out-of-memory': 503, kernel: 500, locked: 423, network: 502,
};

function part(parts: ReadonlyMap<string, Uint8Array<ArrayBuffer>>, name: string): Uint8Array<ArrayBuffer> {
  const found = parts.get(name);
  if (found === undefined) throw new MalformedFileError({ field: name, expected: 'a part of this name', got: 'none' });
  return found;
}

/** What servers and clients take of a header in common is 8 KiB; half of it is for what the record says beside the request's own words. */
const RECORD_WORDS = 4096;

/** @throws LimitError before anything is computed, where the record could not be sent. */
function requireRecordFits(request: Request, words: object): void {
  const { length } = asciiJson(words);
  if (length <= RECORD_WORDS || takesMultipart(request)) return;
  throw new LimitError({
    field: 'options',
    expected: `options and labels of at most ${RECORD_WORDS} characters in a header (or Accept: multipart/form-data)`,
    got: `${length}`,
  });
}

function takesMultipart(request: Request): boolean {
  return (request.headers.get('accept') ?? '').toLowerCase().includes('multipart/form-data');
}

function respond(request: Request, weights: Uint8Array<ArrayBuffer>, record: object): Response {
  if (takesMultipart(request)) {
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

function describeService(caps: Caps): object {
  return {
    service: 'trajport',
    usage: 'POST multipart/form-data',
    parts: {
      bundle: 'trajectory bundle',
      target: 'base weights to port to, safetensors',
      images: "the source's task, IDX, gzipped or not: [count, height, width], in colour [count, channels, height, width]",
      labels: 'their labels, IDX, gzipped or not',
      options: `JSON, optional: ${requestOptionNames.join(', ')}`,
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
