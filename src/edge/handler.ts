/**
 * A transfer as one HTTP request: bundle and target in, transferred weights out. Sizes, time, work and memory are capped; every
 * refusal is a JSON error with the status that says whose fault it is.
 */
import { stateToSafetensors, stateWithZeros } from '../bundle/network-state.ts';
import { openBundle } from '../bundle/reader.ts';
import { requireModules } from '../core/core.ts';
import type { CoreOptions } from '../core/core.ts';
import { MalformedFileError, TrajportError, UnsupportedError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { onlyDefined } from '../core/only-defined.ts';
import { requireOptions } from '../core/options.ts';
import { imageSetFromIdx } from '../data/idx.ts';
import { normalisedAsRecorded } from '../data/normalisation.ts';
import { outputClasses, parameterLayout } from '../model/graph.ts';
import { headParameters } from '../model/head.ts';
import { wantsZeroHead } from '../transfer/settings.ts';
import { transfer } from '../transfer/transfer.ts';
import { HeldBytes, readParts } from './body.ts';
import { optionNames, readCaps } from './caps.ts';
import type { Caps, TransferHandlerOptions } from './caps.ts';
import { readOptions } from './options.ts';
import type { RequestOptions } from './options.ts';
import { withOrigins } from './origins.ts';
import { Refusal } from './refusal.ts';
import { describeService, errorResponse, json, portResponse, requestProblem, requireRecordFits } from './response.ts';
import { computeInTurn, discardCompute, inTurn, requireCodec, requirePlace } from './turn.ts';
import { requireWork } from './work.ts';

/** A handler's caps, and the core that its ports are computed on. */
interface Service {
  readonly caps: Caps;
  readonly core: CoreOptions;
}

interface Inputs {
  readonly bundle: Uint8Array<ArrayBuffer>;
  readonly target: Uint8Array<ArrayBuffer>;
  readonly images: Uint8Array<ArrayBuffer>;
  readonly labels: Uint8Array<ArrayBuffer>;
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
  const service = { caps, core: { heapLimitBytes: caps.heapLimitBytes, ...onlyDefined({ wasm: options.wasm }) } };
  const handle = (request: Request): Promise<Response> => respond(service, request);
  return options.allowedOrigins === undefined ? handle : withOrigins(handle, options.allowedOrigins);
}

/** Never rejects: what a request fails of is an answer. */
async function respond(service: Service, request: Request): Promise<Response> {
  if (request.method === 'GET' || request.method === 'HEAD') return json(200, describeService(service.caps));
  const refused = requestProblem(request);
  if (refused !== undefined) return refused;
  try {
    return await port(service, request);
  } catch (error) {
    return errorResponse(error, request.signal);
  }
}

/** Reads the body, and computes when it is this request's turn. */
async function port(service: Service, request: Request): Promise<Response> {
  const { caps } = service;
  requirePlace(caps.maxWaiting);
  using held = new HeldBytes(caps.maxHeldBytes, request.signal);
  const parts = await readParts(request, partLimits(caps), caps, held);
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
      return await answer(service, request, inputs, choices);
    } catch (error) {
      if (spoilsCore(error, request.signal)) discardCompute();
      throw error;
    }
  }, request.signal);
}

/** The port itself, while no other computes. */
async function answer({ caps, core }: Service, request: Request, inputs: Inputs, choices: RequestOptions): Promise<Response> {
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
  return portResponse(request, stateToSafetensors(parameterLayout(graph), result.state), {
    ...record, chosenStep, counts, heldOut: steps[chosenStep]?.heldOut ?? null,
  });
}

/** Cap of each part of a request, in bytes. */
function partLimits({ maxBundleBytes, maxTargetBytes, maxDataBytes, maxLabelsBytes }: Caps) {
  return { bundle: maxBundleBytes, target: maxTargetBytes, images: maxDataBytes, labels: maxLabelsBytes, options: 64 * 1024 };
}

function part(parts: ReadonlyMap<string, Uint8Array<ArrayBuffer>>, name: string): Uint8Array<ArrayBuffer> {
  const found = parts.get(name);
  if (found === undefined) throw new MalformedFileError({ field: name, expected: 'a part of this name', got: 'none' });
  return found;
}

/** Whether what a job failed of may have left the shared core at its cap or in disorder: a fault that nobody foresaw is taken for one. */
function spoilsCore(error: unknown, signal: AbortSignal): boolean {
  if (error instanceof TrajportError) return error.code === 'out-of-memory' || error.code === 'kernel';
  return !(error instanceof Refusal) && !signal.aborted;
}
