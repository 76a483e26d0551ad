/** From a file's tensors to a network's state. */
import { runBreathing } from '../../core/breather.ts';
import { UnsupportedError } from '../../core/errors.ts';
import { requireOptions } from '../../core/options.ts';
import type { OptionNames } from '../../core/options.ts';
import { requireFlag, requireMembers } from '../../core/require.ts';
import { type ModelGraph, parameterLayout, tiedWeights } from '../../model/graph.ts';
import { headParameters, headsOf } from '../../model/head.ts';
import type { NetworkState } from '../../tensor/tensor.ts';
import { stateFromRawTensors, zeroTensors } from '../network-state.ts';
import { type Adapter, changedTensors } from './adapter.ts';
import { type AdapterFields, withAdapter } from './adapter-merge.ts';
import type { ForeignCheckpoint } from './checkpoint.ts';
import { type MappedTensors, type MappingReport, mapNames, mappingOptions } from './map-names.ts';
import type { NameRule } from './name-rules.ts';

export interface MappedState {
  /** Undefined where the file does not fit; `report` says why. */
  readonly state: NetworkState | undefined;
  readonly report: MappingReport;
  /** Names of tensors of 16-bit floats: late steps of a trajectory may be smaller than their spacing. */
  readonly narrow: readonly string[];
  /** Names of parameters that became zeros by `zeroHead`: those of the last layer, and of layers before it that the file lacks. */
  readonly zeroed: ReadonlySet<string>;
}

export interface StateFromForeignOptions {
  /**
   * The last layer becomes zeros, whatever the file has for it: the weights of a base whose head is of another task, or that
   * has none. Of a classifier of texts so do the dense layers right before it (`pre_classifier`), where the file has nothing for them.
   * Default false.
   */
  readonly zeroHead?: boolean;
}

const optionNames: OptionNames<StateFromForeignOptions> = { zeroHead: true };

/**
 * A file's tensors as the state of `graph`, in f32.
 * @param field what messages call the file.
 * @throws UnsupportedError for element types that have no f32 form, and for Keras files where the order of flattened images
 *   cannot be followed; InvalidArgumentError for `zeroHead` of a network whose output is no layer of its own.
 */
export function stateFromForeign(
  graph: ModelGraph, checkpoint: ForeignCheckpoint, rules: readonly NameRule[] = [], field = 'checkpoint',
  options: StateFromForeignOptions = {},
): MappedState {
  requireMembers('checkpoint', checkpoint, ['tensors', 'convention'], 'what readForeign gives');
  requireOptions('stateFromForeign', options, optionNames);
  const layout = parameterLayout(graph);
  const zeroHead = requireFlag('zeroHead', options.zeroHead ?? false);
  if (zeroHead) headParameters(graph);
  const { mapped, replaced } = mapWithout(zeroHead ? headsOf(graph) : [new Set()], graph, checkpoint, rules);
  const { report } = mapped;
  const tensors = new Map([...mapped.tensors, ...zeroTensors(layout, replaced)]);
  const narrow = [...tensors].flatMap(([name, { dtype }]) => (dtype === 'F16' || dtype === 'BF16' ? [name] : []));
  return { state: report.fits ? stateFromRawTensors(layout, tensors, field) : undefined, report, narrow, zeroed: replaced };
}

export interface StateFromAdapterOptions {
  /** Ends the merge between two of its pieces, of some milliseconds each. */
  readonly signal?: AbortSignal;
}

const adapterOptionNames: OptionNames<StateFromAdapterOptions> = { signal: true };

/**
 * A base's file with a LoRA adapter merged into it, as the state of `graph`: a fine-tune's end. The event loop has its turns meanwhile.
 * @param field what messages call the adapter.
 * @throws as `stateFromForeign`; MalformedFileError where the base has not what the adapter changes, by the adapter's name where the
 *   network has it neither; UnsupportedError for an adapter of a weight that the network uses twice, an embedding that gives the scores
 *   too: PEFT changes one of its uses only; the signal's reason.
 */
export async function stateFromAdapter(
  graph: ModelGraph, base: ForeignCheckpoint, adapter: Adapter, rules: readonly NameRule[] = [], field = 'adapter',
  options: StateFromAdapterOptions = {},
): Promise<MappedState> {
  requireMembers('base', base, ['tensors', 'convention'], 'what readForeign gives');
  requireMembers('adapter', adapter, ['factors', 'whole'], 'what readAdapter gives');
  requireOptions('stateFromAdapter', options, adapterOptionNames);
  const pieces = withAdapter(base, adapter, adapterFields(graph, base, rules, 'base', field));
  const mapped = stateFromForeign(graph, await runBreathing(pieces, options.signal), rules, field);
  requireUntied(graph, adapter, mapped.report, field);
  return mapped;
}

/**
 * What `baseForAdapter` says of which file. One that holds the network lacks nothing of it, but where a last layer is replaced: a
 * weight that it has not then is none of the network's.
 */
export function adapterFields(
  graph: ModelGraph, { convention }: ForeignCheckpoint, rules: readonly NameRule[], base: string, adapter: string,
): AdapterFields {
  const baseIsWhole: AdapterFields['baseIsWhole'] = (tensors, weight) => {
    const mapped = (sets: readonly ReadonlySet<string>[]): Attempt =>
      mapWithout(sets, graph, { tensors, metadata: new Map(), convention }, rules);
    if (mapped([new Set()]).mapped.report.fits) return true;
    const heads = headsOf(graph);
    if (heads.length === 0) return false;
    const { mapped: { report }, replaced } = mapped(heads);
    return report.fits && ![...replaced].some((name) => `.${weight}`.endsWith(`.${name}`) || `.${name}`.endsWith(`.${weight}`));
  };
  return { base, adapter, baseIsWhole };
}

/** @throws UnsupportedError for an adapter of a weight that the network uses twice. */
export function requireUntied(graph: ModelGraph, adapter: Adapter, { mapped }: MappingReport, field: string): void {
  const tied = tiedWeights(graph);
  const changed = changedTensors(adapter);
  const twice = mapped.find(({ from, to }) => tied.has(to) && changed.has(from));
  if (twice === undefined) return;
  throw new UnsupportedError({
    field: `${field}: ${twice.from}`,
    expected: 'weights that the network uses once',
    got: 'one that gives the scores too, and stays as it is there',
  });
}

/** A file's tensors without those that are replaced. */
interface Attempt {
  readonly mapped: MappedTensors;
  readonly replaced: ReadonlySet<string>;
}

/**
 * The file's tensors by the first of some sets of names that it can do without; by the first of all where it cannot. What a later set
 * has besides must be missing altogether: of another shape it is a mistake.
 */
function mapWithout(
  sets: readonly ReadonlySet<string>[], graph: ModelGraph, { tensors, convention }: ForeignCheckpoint, rules: readonly NameRule[],
): Attempt {
  const mapping = mappingOptions(graph, convention, rules);
  const attempt = (replaced: ReadonlySet<string>): Attempt => ({
    mapped: mapNames(tensors, parameterLayout(graph), rules, { ...mapping, replaced }), replaced,
  });
  const [least = new Set(), ...more] = sets;
  const first = attempt(least);
  const missing = new Set(first.mapped.report.missing.map(({ name }) => name));
  for (const replaced of first.mapped.report.fits ? [] : more) {
    if (![...replaced].every((name) => least.has(name) || missing.has(name))) break;
    const next = attempt(replaced);
    if (next.mapped.report.fits) return next;
  }
  return first;
}

/** Whether a file holds the network but for its last layer, whatever it has for that, and what `zeroHead` besides makes zeros. */
export function fitsWithoutHead(graph: ModelGraph, checkpoint: ForeignCheckpoint, rules: readonly NameRule[] = []): boolean {
  const heads = headsOf(graph);
  return heads.length > 0 && mapWithout(heads, graph, checkpoint, rules).mapped.report.fits;
}
