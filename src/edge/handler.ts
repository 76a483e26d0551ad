/**
 * A transfer as one HTTP request: bundle and target in, transferred weights out. Sizes, time, work and memory are capped; every
 * refusal is a JSON error with the status that says whose fault it is.
 */
import { adapterMetadata } from '../bundle/foreign/adapter.ts';
import { baseForAdapter } from '../bundle/foreign/adapter-merge.ts';
import { adapterFields, stateFromForeign } from '../bundle/foreign/network.ts';
import { stateToSafetensors, stateWithZeroHead } from '../bundle/network-state.ts';
import { writeSafetensors } from '../bundle/safetensors.ts';
import { requireModules } from '../core/core.ts';
import type { CoreOptions } from '../core/core.ts';
import { describe } from '../core/describe.ts';
import { InvalidArgumentError, TrajportError } from '../core/errors.ts';
import { onlyDefined } from '../core/only-defined.ts';
import { requireOptions } from '../core/options.ts';
import { sha256Hex } from '../core/sha256.ts';
import { parameterLayout } from '../model/graph.ts';
import type { ModelGraph } from '../model/graph.ts';
import { headParameters, headsOf } from '../model/head.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import { portAdapter, requireAdapterOfPart } from '../transfer/adapter.ts';
import type { AdapterOptions } from '../transfer/adapter.ts';
import { wantsZeroHead } from '../transfer/settings.ts';
import { partOf } from '../transfer/trajectory.ts';
import { transfer } from '../transfer/transfer.ts';
import { HeldBytes, readParts } from './body.ts';
import type { PartLimits } from './body.ts';
import { optionNames, readCaps } from './caps.ts';
import type { Caps, TransferHandlerOptions } from './caps.ts';
import { dataPartLimits, readData, requireKindOf, requireOneKind, requirePart, tokenBytesOf } from './data.ts';
import type { Bytes, RequestData } from './data.ts';
import { readOptions } from './options.ts';
import type { RequestOptions } from './options.ts';
import { withOrigins } from './origins.ts';
import { Refusal } from './refusal.ts';
import { describeService, errorResponse, json, portResponse, requestProblem, requireRecordFits } from './response.ts';
import { fittingState, openSource, readAdapterParts, requireSource, sourcePartLimits, weightsOf } from './source.ts';
import type { RequestSource } from './source.ts';
import { computeInTurn, discardCompute, inTurn, requireCodec, requirePlace } from './turn.ts';
import { requireWork } from './work.ts';

/** A handler's caps, and the core that its ports are computed on. */
interface Service {
  readonly caps: Caps;
  readonly core: CoreOptions;
}

interface Inputs {
  readonly source: RequestSource;
  readonly target: Bytes;
  readonly data: RequestData;
}

/**
 * A fetch handler. POST multipart/form-data with the parts
 * - `bundle`: a trajectory bundle; `target`: the base weights to port to, safetensors (with the choice `zeroHead` whatever last layer);
 * - `adapter`, `config`: the LoRA adapter that the bundle's fine-tune is, safetensors, and its JSON, as PEFT saves them: the answer is
 *   the adapter of the target then, which may have the names of the file that the adapter was trained on;
 * - `base`, `graph`: with an adapter, instead of a bundle: the weights that it was trained on, safetensors, and their network as JSON;
 * - the source's task, as the network reads it, gzipped or not:
 *   - `images`, `labels`: IDX files; colour has a fourth axis;
 *   - `sequences`: labelled texts as JSON Lines, for a classifier of texts;
 *   - `text`, whose bytes are the tokens, or `tokens` of two bytes each, little-endian: for a language model;
 * - `options`: JSON, optional: `method` (default `fgmt`), `seed` (default 1) and the choices of `transfer`;
 * answers the transferred weights, or the adapter, as safetensors with the record in the header `trajport-record`, or both as
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
  const inputs = { source: requireSource(parts), target: requirePart(parts, 'target'), data: requireOneKind(parts) };
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
async function answer({ caps, core }: Service, request: Request, inputs: Inputs, options: RequestOptions): Promise<Response> {
  const { signal } = request;
  const { normalisation, ...choices } = options;
  await requireCodec();
  using source = await openSource(inputs.source, normalisation, caps, signal);
  const { graph, checkpoints, training } = source;
  requireKindOf(graph, inputs.data);
  requireRecordFits(request, { ...choices, from: choices.from ?? checkpoints[0]?.label, to: choices.to ?? checkpoints.at(-1)?.label });
  const zeroHead = wantsZeroHead(choices, training);
  const { target, adapted } = readTarget(inputs, graph, choices, zeroHead);
  const data = await readData(inputs.data, graph, training, caps);
  requireWork(caps, choices, {
    graph, checkpoints: checkpoints.length, images: data.count, tokenBytes: tokenBytesOf(data),
    ...onlyDefined({ adapter: adapted?.adapter }),
  });
  const trajectory = await source.trajectory(adapted?.adapter, zeroHead);
  if (adapted !== undefined) await requireAdapterOfPart(adapted, trajectory, partOf(trajectory, choices), signal);
  const result = await transfer({ ...choices, source: trajectory, target, data, compute: await computeInTurn(core), signal });
  const { record, chosenStep, counts, steps } = result;
  const told = { ...record, chosenStep, counts, heldOut: steps[chosenStep]?.heldOut ?? null };
  if (adapted === undefined) {
    const weights = stateToSafetensors(parameterLayout(graph), result.state);
    return portResponse(request, { part: 'weights', name: 'transferred.safetensors', bytes: weights }, told);
  }
  const bytes = writeSafetensors(await portAdapter({ ...adapted, target, result, signal }), adapterMetadata);
  const name = 'adapter_model.safetensors';
  return portResponse(request, { part: 'adapter', name, bytes }, { ...told, files: [{ name, sha256: await sha256Hex(bytes) }] });
}

interface Target {
  readonly target: NetworkState;
  /** Where the answer is to be an adapter: what it is made of. */
  readonly adapted?: AdapterOptions;
}

/**
 * The weights to port to, and the adapter that is ported. Beside one they are by the names of its base, whosever these are, where they are
 * to be the network's own else.
 * @throws MalformedFileError where they do not fit network or adapter.
 */
function readTarget({ source, target: bytes }: Inputs, graph: ModelGraph, choices: RequestOptions, zeroHead: boolean): Target {
  const zeroed = zeroHead ? replacedHeads(graph) : [];
  if (source.adapter === undefined) return { target: stateWithZeroHead(parameterLayout(graph), bytes, 'target', zeroed) };
  requireWholeChange(choices);
  const adapter = readAdapterParts(source.adapter, graph);
  const base = weightsOf('target', bytes, graph);
  baseForAdapter(base, adapter, adapterFields(graph, base, [], 'target', 'adapter'));
  return { target: fittingState('target', stateFromForeign(graph, base, [], 'target', { zeroHead })), adapted: { graph, adapter, base } };
}

/** @throws InvalidArgumentError for choices by which a port is no longer an adapter's change. */
function requireWholeChange({ trajectory, skipParameters = [] }: RequestOptions): void {
  const refuse = (field: string, expected: string, got: string): never => {
    throw new InvalidArgumentError({ field, expected: `${expected}, for an adapter`, got });
  };
  // What a step adds is no share of it then.
  if (trajectory === 'real') refuse('trajectory', 'linear', trajectory);
  if (skipParameters.length > 0) refuse('skipParameters', 'none', describe(skipParameters));
}

const OPTIONS_BYTES = 64 * 1024;

/** Caps of a request's body, in bytes: of each part, and of all of them, of which images with their labels are the largest data. */
function partLimits(caps: Caps): PartLimits {
  const { maxTargetBytes, maxDataBytes, maxLabelsBytes } = caps;
  const source = sourcePartLimits(caps);
  return {
    parts: { ...source.parts, target: maxTargetBytes, ...dataPartLimits(caps), options: OPTIONS_BYTES },
    totalBytes: source.totalBytes + maxTargetBytes + maxDataBytes + maxLabelsBytes + OPTIONS_BYTES,
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
