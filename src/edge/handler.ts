/**
 * A transfer as one HTTP request: bundle and target in, transferred weights out. Sizes, time, work and memory are capped; every
 * refusal is a JSON error with the status that says whose fault it is.
 */
import { stateToSafetensors, stateWithZeroHead } from '../bundle/network-state.ts';
import { openBundle } from '../bundle/reader.ts';
import { requireModules } from '../core/core.ts';
import type { CoreOptions } from '../core/core.ts';
import { TrajportError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { onlyDefined } from '../core/only-defined.ts';
import { requireOptions } from '../core/options.ts';
import { parameterLayout } from '../model/graph.ts';
import type { ModelGraph } from '../model/graph.ts';
import { headParameters, headsOf } from '../model/head.ts';
import { wantsZeroHead } from '../transfer/settings.ts';
import { transfer } from '../transfer/transfer.ts';
import { HeldBytes, readParts } from './body.ts';
import type { PartLimits } from './body.ts';
import { optionNames, readCaps } from './caps.ts';
import type { Caps, TransferHandlerOptions } from './caps.ts';
import { dataPartLimits, readData, requireKindOf, requireOneKind, requirePart, tokenBytesOf } from './data.ts';
import type { RequestData } from './data.ts';
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
  readonly data: RequestData;
}

/**
 * A fetch handler. POST multipart/form-data with the parts
 * - `bundle`: a trajectory bundle; `target`: the base weights to port to, safetensors (with the choice `zeroHead` whatever last layer);
 * - the source's task, as the network reads it, gzipped or not:
 *   - `images`, `labels`: IDX files; colour has a fourth axis;
 *   - `sequences`: labelled texts as JSON Lines, for a classifier of texts;
 *   - `text`, whose bytes are the tokens, or `tokens` of two bytes each, little-endian: for a language model;
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
  const inputs = { bundle: requirePart(parts, 'bundle'), target: requirePart(parts, 'target'), data: requireOneKind(parts) };
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
  requireKindOf(graph, inputs.data);
  requireRecordFits(request, { ...choices, from: choices.from ?? checkpoints[0]?.label, to: choices.to ?? checkpoints.at(-1)?.label });
  const zeroed = wantsZeroHead(choices, bundle.training) ? replacedHeads(graph) : [];
  const target = stateWithZeroHead(parameterLayout(graph), inputs.target, 'target', zeroed);
  const data = await readData(inputs.data, graph, bundle.training, caps);
  requireWork(caps, choices, { graph, checkpoints: checkpoints.length, images: data.count, tokenBytes: tokenBytesOf(data) });
  const result = await transfer({ ...choices, source: bundle, target, data, compute: await computeInTurn(core), signal });
  const { record, chosenStep, counts, steps } = result;
  return portResponse(request, stateToSafetensors(parameterLayout(graph), result.state), {
    ...record, chosenStep, counts, heldOut: steps[chosenStep]?.heldOut ?? null,
  });
}

const OPTIONS_BYTES = 64 * 1024;

/** Caps of a request's body, in bytes: of each part, and of all of them, of which images with their labels are the largest data. */
function partLimits(caps: Caps): PartLimits {
  const { maxBundleBytes, maxTargetBytes, maxDataBytes, maxLabelsBytes } = caps;
  return {
    parts: { bundle: maxBundleBytes, target: maxTargetBytes, ...dataPartLimits(caps), options: OPTIONS_BYTES },
    totalBytes: maxBundleBytes + maxTargetBytes + maxDataBytes + maxLabelsBytes + OPTIONS_BYTES,
  };
}

/** What `zeroHead` may make zeros of. @throws InvalidArgumentError for a network without a head. */
function replacedHeads(graph: ModelGraph): readonly ReadonlySet<string>[] {
  headParameters(graph);
  return headsOf(graph);
}

/** Whether what a job failed of may have left the shared core at its cap or in disorder: a fault that nobody foresaw is taken for one. */
function spoilsCore(error: unknown, signal: AbortSignal): boolean {
  if (error instanceof TrajportError) return error.code === 'out-of-memory' || error.code === 'kernel';
  return !(error instanceof Refusal) && !signal.aborted;
}
