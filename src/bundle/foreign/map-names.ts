/** Tensors of any file against what a network has: what fits, and exactly what does not. */
import { MalformedFileError } from '../../core/errors.ts';
import { flattenedInputs } from '../../model/flattened-units.ts';
import type { ModelGraph } from '../../model/graph.ts';
import { sameShape } from '../../tensor/tensor.ts';
import type { StateLayout } from '../network-state.ts';
import type { RawTensor } from '../safetensors.ts';
import type { KernelConvention } from './checkpoint.ts';
import { type NameRule, type Renamed, renameTensors } from './name-rules.ts';

export interface MappingReport {
  /** The prefix that every used name has and that was left out, e.g. `state_dict.`; empty where there is none. */
  readonly prefix: string;
  readonly mapped: readonly { readonly from: string; readonly to: string; readonly turned: boolean }[];
  /** Left out by a rule, outside the prefix, or PyTorch's batch counters. */
  readonly ignored: readonly string[];
  /** What the network has and the file does not. */
  readonly missing: readonly { readonly name: string; readonly shape: readonly number[] }[];
  /** What the file has and the network does not. */
  readonly unexpected: readonly { readonly from: string; readonly to: string; readonly shape: readonly number[] }[];
  readonly misshapen: readonly { readonly from: string; readonly to: string; readonly expected: readonly number[]; readonly got: readonly number[] }[];
  /** Names that more than one tensor was given. */
  readonly repeated: readonly { readonly to: string; readonly from: readonly string[] }[];
  readonly fits: boolean;
}

export interface MappedTensors {
  /** What fits, by the network's names, in its order. */
  readonly tensors: ReadonlyMap<string, RawTensor>;
  readonly report: MappingReport;
}

export interface MappingOptions {
  /** How kernels lie in the file; default `pytorch`. */
  readonly convention?: KernelConvention;
  /** From `flattenedInputs(graph)`: needed for Keras networks in which images are flattened. */
  readonly inputExtents?: ReadonlyMap<string, readonly [number, number, number]>;
}

/**
 * What `mapNames` needs to know of a network to bring Keras's tensors into its order; nothing where no tensor is turned so.
 * @throws UnsupportedError naming the node behind which the order of flattened images cannot be followed.
 */
export function mappingOptions(graph: ModelGraph, convention: KernelConvention, rules: readonly NameRule[]): MappingOptions {
  const turns = convention === 'keras' || rules.some(({ transpose }) => transpose === true);
  return turns ? { convention, inputExtents: flattenedInputs(graph) } : { convention };
}

/**
 * Maps a file's tensors to a network's layout. Never throws for what does not fit: the report says it.
 * @throws InvalidArgumentError, LimitError for rules that cannot be applied.
 */
export function mapNames(
  tensors: ReadonlyMap<string, RawTensor>,
  layout: StateLayout,
  rules: readonly NameRule[] = [],
  options: MappingOptions = {},
): MappedTensors {
  const wanted = new Map([...layout.parameters, ...layout.buffers].map(({ name, shape }) => [name, shape]));
  const counters = new Set([...wanted.keys()].flatMap((name) => (name.endsWith('.running_mean') ? [`${name.slice(0, -'running_mean'.length)}num_batches_tracked`] : [])));
  const { convention = 'pytorch', inputExtents = new Map() } = options;
  const inputsFirst = new Set(layout.parameters.flatMap(({ name, outAxis }) => (outAxis === 1 ? [name] : [])));
  let renamed = renameTensors(tensors, convention, rules, inputExtents, inputsFirst);
  const prefix = commonPrefix(renamed, wanted);
  if (prefix !== '') {
    // Again with the prefix known, since a kernel's turn may depend on the name that it ends up with.
    const prefixed = new Map([...inputExtents].map(([name, value]) => [prefix + name, value] as const));
    renamed = renameTensors(tensors, convention, rules, prefixed, new Set([...inputsFirst].map((name) => prefix + name)));
  }
  const ignored: string[] = [];
  const unexpected: { from: string; to: string; shape: readonly number[] }[] = [];
  const found = new Map<string, Renamed[]>();
  for (const item of renamed) {
    const to = item.to?.startsWith(prefix) === true ? item.to.slice(prefix.length) : undefined;
    if (to === undefined || counters.has(to)) ignored.push(item.from);
    else if (wanted.has(to)) {
      const items = found.get(to);
      if (items === undefined) found.set(to, [item]);
      else items.push(item);
    } else unexpected.push({ from: item.from, to, shape: item.tensor.shape });
  }
  return collect(wanted, found, { prefix, ignored, unexpected });
}

function collect(
  wanted: ReadonlyMap<string, readonly number[]>,
  found: ReadonlyMap<string, readonly Renamed[]>,
  rest: Pick<MappingReport, 'prefix' | 'ignored' | 'unexpected'>,
): MappedTensors {
  const result = new Map<string, RawTensor>();
  const mapped: { from: string; to: string; turned: boolean }[] = [];
  const missing: { name: string; shape: readonly number[] }[] = [];
  const misshapen: { from: string; to: string; expected: readonly number[]; got: readonly number[] }[] = [];
  const repeated: { to: string; from: readonly string[] }[] = [];
  for (const [to, expected] of wanted) {
    const [first, ...others] = found.get(to) ?? [];
    if (first === undefined) missing.push({ name: to, shape: expected });
    else if (others.length > 0) repeated.push({ to, from: [first, ...others].map(({ from }) => from) });
    else if (!sameShape(first.tensor.shape, expected)) misshapen.push({ from: first.from, to, expected, got: first.tensor.shape });
    else {
      result.set(to, first.tensor);
      mapped.push({ from: first.from, to, turned: first.turned });
    }
  }
  const fits = missing.length + misshapen.length + repeated.length + rest.unexpected.length === 0;
  return { tensors: result, report: { ...rest, mapped, missing, misshapen, repeated, fits } };
}

/**
 * The one prefix under which all of the network's names stand, where none stands without: training checkpoints keep
 * the network under `state_dict.`, DataParallel under `module.`. Two candidates (a network and its average) are none.
 */
function commonPrefix(renamed: readonly Renamed[], wanted: ReadonlyMap<string, readonly number[]>): string {
  const names = new Set(renamed.flatMap(({ to }) => (to === undefined ? [] : [to])));
  const [first] = wanted.keys();
  if (first === undefined || [...wanted.keys()].some((name) => names.has(name))) return '';
  const candidates = [...names]
    .filter((name) => name.endsWith(`.${first}`))
    .map((name) => name.slice(0, -first.length))
    .filter((prefix) => [...wanted.keys()].every((name) => names.has(prefix + name)));
  return candidates.length === 1 ? (candidates[0] as string) : '';
}

/** What does not fit, a line each, ready for people; empty where everything does. */
export function describeMisfits(report: MappingReport): readonly string[] {
  const shape = (extents: readonly number[]): string => `[${extents.join(', ')}]`;
  return [
    ...report.missing.map((item) => `missing: ${item.name} ${shape(item.shape)}`),
    ...report.unexpected.map(({ from, to, shape: extents }) => `unexpected: ${from === to ? from : `${from}, as ${to}`} ${shape(extents)}`),
    ...report.misshapen.map(({ from, to, expected, got }) => `shape: ${from === to ? to : `${from}, as ${to}`} expected ${shape(expected)}, got ${shape(got)}`),
    ...report.repeated.map(({ to, from }) => `more than one tensor for ${to}: ${from.join(', ')}`),
  ];
}

/** @throws MalformedFileError that lists what does not fit. */
export function requireFit(field: string, report: MappingReport): void {
  if (report.fits) return;
  const misfits = describeMisfits(report);
  const shown = misfits.slice(0, 12);
  throw new MalformedFileError({
    field,
    expected: "the network's tensors",
    got: `${misfits.length} that do not fit (${shown.join('; ')}${misfits.length > shown.length ? '; …' : ''})`,
  });
}
