/**
 * What a request ports: the trajectory in its bundle, or the one from a base to the network that a LoRA adapter makes of it, which `pack`
 * would make a bundle of.
 */
import { readAdapter } from '../bundle/foreign/adapter.ts';
import type { Adapter } from '../bundle/foreign/adapter.ts';
import type { ForeignCheckpoint } from '../bundle/foreign/checkpoint.ts';
import { requireFit } from '../bundle/foreign/map-names.ts';
import { stateFromAdapter, stateFromForeign } from '../bundle/foreign/network.ts';
import type { MappedState } from '../bundle/foreign/network.ts';
import { decodeUtf8, parseJsonObject } from '../bundle/json.ts';
import type { JsonObject } from '../bundle/json.ts';
import { openBundle } from '../bundle/reader.ts';
import { readSafetensorsOf } from '../bundle/safetensors.ts';
import { InvalidArgumentError, LimitError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { normalisationFor, normalisationRecord } from '../data/normalisation.ts';
import type { Normalisation } from '../data/normalisation.ts';
import { parameterLayout, parseGraph } from '../model/graph.ts';
import type { ModelGraph } from '../model/graph.ts';
import { elementCount, requireFiniteState } from '../tensor/tensor.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import { trajectoryFromStates } from '../transfer/trajectory.ts';
import type { Trajectory } from '../transfer/trajectory.ts';
import type { Caps } from './caps.ts';
import { requirePart } from './data.ts';
import type { Bytes, Parts } from './data.ts';

/** The parts that say what is ported, as GET tells of them. */
export const sourcePartUses = {
  bundle: 'trajectory bundle',
  adapter:
    "adapter_model.safetensors of the LoRA adapter that the bundle's fine-tune is, or that is on base; the answer is the target's then",
  config: 'its adapter_config.json',
  base: 'instead of a bundle: the weights that the adapter is of, safetensors',
  graph: 'the network of base, JSON as in a bundle',
} as const;

/** PEFT's configs are of one or two KiB; of those that name hundreds of modules the half of this. */
const CONFIG_BYTES = 64 * 1024;

type SourceCaps = Pick<Caps, 'maxBundleBytes' | 'maxManifestBytes' | 'maxTargetBytes' | 'maxAdapterBytes'>;

/** Cap of each part, in bytes, and the most that come together: a bundle, or base and graph. */
export function sourcePartLimits({ maxBundleBytes, maxManifestBytes, maxTargetBytes, maxAdapterBytes }: SourceCaps): {
  readonly parts: Readonly<Record<keyof typeof sourcePartUses, number>>; readonly totalBytes: number;
} {
  return {
    parts: {
      bundle: maxBundleBytes, adapter: maxAdapterBytes, config: CONFIG_BYTES, base: maxTargetBytes, graph: maxManifestBytes,
    },
    totalBytes: Math.max(maxBundleBytes, maxTargetBytes + maxManifestBytes) + maxAdapterBytes + CONFIG_BYTES,
  };
}

const normalisationFields = { mean: 'options.normalisation.mean', std: 'options.normalisation.std' };

interface AdapterParts {
  readonly weights: Bytes;
  readonly config: Bytes;
}

/** What is ported, not yet read. */
export type RequestSource =
  | { readonly bundle: Bytes; readonly adapter: AdapterParts | undefined }
  | { readonly bundle?: never; readonly base: Bytes; readonly graph: Bytes; readonly adapter: AdapterParts };

/** @throws MalformedFileError for a part that is missing; InvalidArgumentError for a bundle and a base. */
export function requireSource(parts: Parts): RequestSource {
  const adapter = parts.has('adapter') || parts.has('config')
    ? { weights: requirePart(parts, 'adapter'), config: requirePart(parts, 'config') }
    : undefined;
  const instead = (['base', 'graph'] as const).find((name) => parts.has(name));
  if (instead === undefined) return { bundle: requirePart(parts, 'bundle'), adapter };
  if (parts.has('bundle'))
    throw new InvalidArgumentError({ field: instead, expected: 'a bundle, or base and graph', got: 'a bundle beside it' });
  const [base, graph] = [requirePart(parts, 'base'), requirePart(parts, 'graph')];
  return { base, graph, adapter: adapter ?? { weights: requirePart(parts, 'adapter'), config: requirePart(parts, 'config') } };
}

/** A source whose network is known, and no weights yet but what a bundle holds packed. */
export interface OpenedSource extends Disposable {
  readonly graph: ModelGraph;
  readonly checkpoints: readonly { readonly label: string }[];
  readonly training: unknown;
  /** The trajectory, for which the memory is taken now. @throws what is wrong with base or adapter. */
  readonly trajectory: (adapter: Adapter | undefined, zeroHead: boolean) => Promise<Trajectory>;
}

/**
 * @param normalisation what the images of a base's fine-tune were normalised by; a bundle says it itself.
 * @throws what the readers of bundles and graphs do; LimitError for more parameters than a target may have; InvalidArgumentError for
 *   `normalisation` of what has none, or of another number of channels.
 */
export async function openSource(
  source: RequestSource, normalisation: Normalisation | undefined, caps: SourceCaps, signal: AbortSignal,
): Promise<OpenedSource> {
  const manifestBytes = Math.min(caps.maxManifestBytes, limits.manifestBytes);
  if (source.bundle !== undefined) {
    refuseNormalisation(normalisation, 'a bundle, which says it itself');
    const bundle = await openBundle(source.bundle, { signal, manifestBytes });
    try {
      requireSize('bundle', bundle.graph, caps);
    } catch (error) {
      bundle[Symbol.dispose]();
      throw error;
    }
    const { graph, checkpoints, training } = bundle;
    return { graph, checkpoints, training, trajectory: async () => bundle, [Symbol.dispose]: () => bundle[Symbol.dispose]() };
  }
  const maximumValues = Math.floor(manifestBytes / limits.bytesPerValue);
  const graph = parseGraph(parseJsonObject(decodeUtf8('graph', source.graph), { field: 'graph', maximumValues }));
  requireSize('graph', graph, caps);
  if (graph.vocabulary !== undefined) refuseNormalisation(normalisation, 'a network that reads tokens');
  const training = normalisationRecord(normalisation && normalisationFor(graph.input, normalisation, normalisationFields));
  return {
    graph, training, checkpoints: [{ label: 'base' }, { label: 'adapter' }], [Symbol.dispose]: () => undefined,
    trajectory: (adapter, zeroHead) => adapterTrajectory(graph, source.base, adapter as Adapter, { training, zeroHead, signal }),
  };
}

function refuseNormalisation(normalisation: Normalisation | undefined, got: string): void {
  if (normalisation !== undefined)
    throw new InvalidArgumentError({ field: 'options.normalisation', expected: 'base and graph, of a network that reads images', got });
}

/** @throws LimitError for a network that is larger than the largest target in F32: a narrow type, or zeros for a head, take fewer bytes. */
function requireSize(field: string, graph: ModelGraph, { maxTargetBytes }: SourceCaps): void {
  const { parameters, buffers } = parameterLayout(graph);
  const count = [...parameters, ...buffers].reduce((sum, { shape }) => sum + elementCount(shape), 0);
  const most = Math.floor(maxTargetBytes / Float32Array.BYTES_PER_ELEMENT);
  if (count > most) throw new LimitError({ field, expected: `a network of at most ${most} parameters`, got: `${count}` });
}

/** As `pack BASE ADAPTER` makes one, under names that no rules were given for. */
async function adapterTrajectory(
  graph: ModelGraph, base: Bytes, adapter: Adapter,
  { training, zeroHead, signal }: { readonly training: object; readonly zeroHead: boolean; readonly signal: AbortSignal },
): Promise<Trajectory> {
  const file = weightsOf('base', base, graph);
  const start = fittingState('base', stateFromForeign(graph, file, [], 'base', { zeroHead }));
  const end = fittingState('adapter', await stateFromAdapter(graph, file, adapter, [], 'adapter', { signal }));
  return trajectoryFromStates(graph, [{ label: 'base', state: start }, { label: 'adapter', state: end }], training);
}

/** A part that is a file of weights of about that network. @throws MalformedFileError, LimitError */
export function weightsOf(part: string, bytes: Bytes, graph: ModelGraph): ForeignCheckpoint {
  const { parameters, buffers } = parameterLayout(graph);
  return { ...readSafetensorsOf(parameters.length + buffers.length, bytes, part), convention: 'pytorch' };
}

/** @throws MalformedFileError where a file has not the network's tensors, NotFiniteError for NaN or infinite weights. */
export function fittingState(part: string, { state, report }: MappedState): NetworkState {
  requireFit(part, report);
  requireFiniteState(part, state as NetworkState);
  return state as NetworkState;
}

/** @throws what `readAdapter` does. */
export function readAdapterParts({ weights, config }: AdapterParts, graph: ModelGraph): Adapter {
  const settings: JsonObject = parseJsonObject(decodeUtf8('config', config), {
    field: 'config', maximumValues: CONFIG_BYTES / limits.bytesPerValue,
  });
  return readAdapter(weightsOf('adapter', weights, graph), settings);
}
