/** Tensors of any file against what a network has: what fits, and exactly what does not. */
import { listed } from '../../core/describe.ts';
import { MalformedFileError } from '../../core/errors.ts';
import { requireMembers } from '../../core/require.ts';
import { onlyDefined } from '../../core/only-defined.ts';
import { requireOptions } from '../../core/options.ts';
import type { OptionNames } from '../../core/options.ts';
import { flattenedInputs } from '../../model/flattened-units.ts';
import { type ModelGraph, tiedWeights } from '../../model/graph.ts';
import { sameShape } from '../../tensor/tensor.ts';
import type { StateLayout } from '../network-state.ts';
import type { RawTensor } from '../safetensors.ts';
import type { KernelConvention } from './checkpoint.ts';
import { type NameRule, type Renamed, renameTensors } from './name-rules.ts';
import { isOtherHead, namingSchemesOf } from './naming-schemes.ts';
import { storedConstant } from './stored-constants.ts';

/**
 * Why a tensor is ignored: it stands outside the prefix of all others, a rule leaves it out, it is a part of the file's network
 * that this one has not, its place is the caller's, it counts batches, it is a constant such as a mask, or the copy of a weight.
 */
export type IgnoredKind = 'outside' | 'left-out' | 'unread' | 'replaced' | 'count' | 'constant' | 'copy';

/** What is in a file and no weight of the network. */
export interface IgnoredTensor {
  readonly from: string;
  readonly kind: IgnoredKind;
  /** In words. */
  readonly why: string;
  /** Whether the framework that wrote the file keeps it beside the weights: a count, a mask, a copy of a weight. */
  readonly belongs: boolean;
  /** The network's tensor that it is a copy of. */
  readonly copyOf?: string;
}

/** How a file's tensors became a network's; all that does not fit is listed. */
export interface MappingReport {
  /** The prefix that every used name has and that was left out, e.g. `state_dict.`; empty where there is none. */
  readonly prefix: string;
  /** The prefix that the network's names have and those of the file lack, e.g. `transformer.`; empty where there is none. */
  readonly added: string;
  /** Whose names the file has, where they are not the network's and are known; no rules were given then. */
  readonly scheme?: string;
  /** `parts`: the tensors that were joined to the one, whose names `from` then has with ` + ` between. */
  readonly mapped: readonly { readonly from: string; readonly parts?: readonly string[]; readonly to: string; readonly turned: boolean }[];
  /** What is no weight of the network, and why. */
  readonly ignored: readonly IgnoredTensor[];
  /** What the network has and the file does not. */
  readonly missing: readonly { readonly name: string; readonly shape: readonly number[] }[];
  /** What the file has and the network does not. */
  readonly unexpected: readonly { readonly from: string; readonly to: string; readonly shape: readonly number[] }[];
  /** What both have under one name, in other shapes. */
  readonly misshapen: readonly {
    readonly from: string;
    readonly to: string;
    readonly expected: readonly number[];
    readonly got: readonly number[];
  }[];
  /** Prefixes under each of which the whole network stands, where there are several (a network and its average): none is chosen. */
  readonly prefixes?: readonly string[];
  /** Names that more than one tensor was given. */
  readonly repeated: readonly { readonly to: string; readonly from: readonly string[] }[];
  readonly fits: boolean;
}

/** A file's tensors under a network's names. */
export interface MappedTensors {
  /** What fits, by the network's names, in its order. */
  readonly tensors: ReadonlyMap<string, RawTensor>;
  readonly report: MappingReport;
}

/** What is known of the file and the network beside their names. */
export interface MappingOptions {
  /** How kernels lie in the file; default `pytorch`. */
  readonly convention?: KernelConvention;
  /** From `flattenedInputs(graph)`: needed for Keras networks in which images are flattened. */
  readonly inputExtents?: ReadonlyMap<string, readonly [number, number, number]>;
  /** From `tiedWeights(graph)`: what the network uses twice, and some files hold twice. */
  readonly tied?: ReadonlySet<string>;
  /** Names of the network's that are left to the caller: what the file has for them, of whatever shape, is ignored. */
  readonly replaced?: ReadonlySet<string>;
}

const optionNames: OptionNames<MappingOptions> = { convention: true, inputExtents: true, tied: true, replaced: true };

/**
 * What `mapNames` needs to know of a network to bring Keras's tensors into its order; nothing where no tensor is turned so.
 * @throws UnsupportedError naming the node behind which the order of flattened images cannot be followed.
 */
export function mappingOptions(graph: ModelGraph, convention: KernelConvention, rules: readonly NameRule[]): MappingOptions {
  const turns = convention === 'keras' || rules.some(({ transpose }) => transpose === true);
  const tied = tiedWeights(graph);
  return turns ? { convention, tied, inputExtents: flattenedInputs(graph) } : { convention, tied };
}

/**
 * Maps a file's tensors to a network's layout. Never throws for what does not fit: the report says it.
 * @throws InvalidArgumentError for rules that cannot be applied and options that there are not; LimitError for rules
 *   that would take too long.
 */
export function mapNames(
  tensors: ReadonlyMap<string, RawTensor>,
  layout: StateLayout,
  rules: readonly NameRule[] = [],
  options: MappingOptions = {},
): MappedTensors {
  requireOptions('mapNames', options, optionNames);
  requireMembers('tensors', tensors, ['entries', 'get'], 'tensors by name: a Map');
  requireMembers('layout', layout, ['parameters', 'buffers'], 'parameterLayout(graph)');
  const wanted = wantedOf(layout, options);
  const { tied = new Set() } = options;
  const read = readNames(tensors, layout, rules, options, wanted);
  const { found, ignored, others } = sortOut(read, layout, wanted, options.replaced ?? new Set());
  const unexpected = others.filter(({ from, to, tensor }) => {
    const constant = storedConstant(to, tensor);
    if (isOtherHead(to, wanted)) {
      ignored.push(ignoredAs(from, 'unread', 'a part that the network does not read'));
      return false;
    }
    const original = constant === undefined ? originalOf(tensor, found, tied) : undefined;
    if (constant !== undefined) ignored.push(ignoredAs(from, 'constant', constant));
    if (original !== undefined)
      ignored.push({ ...ignoredAs(from, 'copy', `a copy of ${original}, which the network uses twice`), copyOf: original });
    return constant === undefined && original === undefined;
  });
  const { scheme, frame: { prefix, added, prefixes } } = read;
  return collect(wanted, found, {
    prefix,
    added,
    ...onlyDefined({ scheme, prefixes }),
    ignored,
    unexpected: unexpected.map(({ from, to, tensor: { shape } }) => ({ from, to, shape })),
  });
}

/** Name → shape. */
type Shapes = ReadonlyMap<string, readonly number[]>;

/** What the file is to have: what the network has, without what the caller replaces. */
function wantedOf({ parameters, buffers }: StateLayout, { replaced }: MappingOptions): Shapes {
  const own = [...parameters, ...buffers].filter(({ name }) => replaced?.has(name) !== true);
  return new Map(own.map(({ name, shape }) => [name, shape]));
}

/** A file's tensors under the names that rules give them, and how these differ from the network's. */
interface ReadNames {
  readonly renamed: readonly Renamed[];
  readonly frame: Frame;
  /** Whose names they were, where no rules were given and those of a known scheme apply. */
  readonly scheme: string | undefined;
}

/** Renames by the rules or, where there are none and names do not fit, by the first scheme that does; one of few names goes first. */
function readNames(
  tensors: ReadonlyMap<string, RawTensor>, layout: StateLayout, rules: readonly NameRule[], options: MappingOptions, wanted: Shapes,
): ReadNames {
  const { convention = 'pytorch', inputExtents = new Map(), replaced = new Set() } = options;
  const inputsFirst = new Set(layout.parameters.flatMap(({ name, outAxis }) => (outAxis === 1 ? [name] : [])));
  /** @param framed the name in the file's frame of one of the network's: a kernel's turn depends on the name that it ends up with. */
  const rename = (by: readonly NameRule[], framed = (name: string): string => name): readonly Renamed[] => {
    const extents = new Map([...inputExtents].map(([name, value]) => [framed(name), value] as const));
    const framedSet = (names: ReadonlySet<string>): ReadonlySet<string> => new Set([...names].map(framed));
    return renameTensors(tensors, convention, by, extents, framedSet(inputsFirst), framedSet(replaced));
  };
  const schemes = rules.length === 0 ? namingSchemesOf(tensors.keys(), wanted.keys()) : [];
  const candidates: readonly { readonly rules: readonly NameRule[]; readonly name?: string }[] = [
    ...schemes.filter(({ changesFew }) => changesFew), { rules }, ...schemes.filter(({ changesFew }) => !changesFew),
  ];
  let plain: readonly Renamed[] | undefined;
  for (const { rules: applied, name: scheme } of candidates) {
    const renamed = rename(applied);
    if (scheme === undefined) plain = renamed;
    const frame = frameOf(renamed, wanted, replaced.size > 0);
    if (frame === undefined) continue;
    const { prefix, added } = frame;
    const reread = prefix === added ? renamed : rename(applied, (name) => prefix + name.slice(added.length));
    return { renamed: reread, frame, scheme };
  }
  return { renamed: plain ?? [], frame: { prefix: '', added: '' }, scheme: undefined };
}

/** A tensor under the name in the network that it would have. */
interface Named extends Renamed {
  readonly to: string;
}

const ignoredAs = (from: string, kind: IgnoredKind, why: string): IgnoredTensor => ({
  from, kind, why, belongs: kind !== 'outside' && kind !== 'left-out',
});

/** Which tensors are the network's, which are known to be none of its weights, and which others there are. */
function sortOut(
  { renamed, frame: { prefix, added }, scheme }: ReadNames, layout: StateLayout, wanted: Shapes, replaced: ReadonlySet<string>,
): { readonly found: ReadonlyMap<string, readonly Renamed[]>; readonly ignored: IgnoredTensor[]; readonly others: readonly Named[] } {
  const own = new Set([...layout.parameters, ...layout.buffers].map(({ name }) => name));
  const counts = [...own].map((name) => name.replace(/\.running_mean$/, '.num_batches_tracked'));
  const counters = new Set(counts.filter((name) => !own.has(name)));
  const found = new Map<string, Renamed[]>();
  const ignored: IgnoredTensor[] = [];
  const others: Named[] = [];
  for (const item of renamed) {
    const inner = item.to?.startsWith(prefix) === true ? item.to.slice(prefix.length) : undefined;
    const to = inner !== undefined && own.has(added + inner) ? added + inner : inner;
    if (item.to === undefined && scheme !== undefined)
      ignored.push(ignoredAs(item.from, 'unread', 'a part that the network does not read'));
    else if (item.to === undefined) ignored.push(ignoredAs(item.from, 'left-out', 'a rule leaves it out'));
    else if (to === undefined) ignored.push(ignoredAs(item.from, 'outside', `outside the prefix ${prefix}`));
    else if (counters.has(to)) ignored.push(ignoredAs(item.from, 'count', 'a count of batches'));
    else if (replaced.has(to)) ignored.push(ignoredAs(item.from, 'replaced', 'replaced by the caller'));
    else if (wanted.has(to)) {
      const items = found.get(to);
      if (items === undefined) found.set(to, [item]);
      else items.push(item);
    } else others.push({ ...item, to });
  }
  return { found, ignored, others };
}

/** The tied weight that `tensor` is the same bytes as. */
function originalOf(
  { dtype, shape, bytes }: RawTensor,
  found: ReadonlyMap<string, readonly Renamed[]>,
  tied: ReadonlySet<string>,
): string | undefined {
  return [...tied].find((name) =>
    found
      .get(name)
      ?.some(
        ({ tensor }) => tensor.dtype === dtype && sameShape(tensor.shape, shape) && tensor.bytes.every((byte, i) => byte === bytes[i]),
      ),
  );
}

function collect(
  wanted: Shapes,
  found: ReadonlyMap<string, readonly Renamed[]>,
  rest: Pick<MappingReport, 'prefix' | 'added' | 'scheme' | 'prefixes' | 'ignored' | 'unexpected'>,
): MappedTensors {
  const result = new Map<string, RawTensor>();
  const mapped: { from: string; parts?: readonly string[]; to: string; turned: boolean }[] = [];
  const missing: { name: string; shape: readonly number[] }[] = [];
  const misshapen: { from: string; to: string; expected: readonly number[]; got: readonly number[] }[] = [];
  const repeated: { to: string; from: readonly string[] }[] = [];
  for (const [to, expected] of wanted) {
    const [first, ...others] = found.get(to) ?? [];
    if (first === undefined) missing.push({ name: to, shape: expected });
    else if (others.length > 0) repeated.push({ to, from: [first, ...others].map(({ from }) => from) });
    else if (!fitsInto(first.tensor.shape, expected, rest.scheme !== undefined))
      misshapen.push({ from: first.from, to, expected, got: first.tensor.shape });
    else {
      result.set(to, { ...first.tensor, shape: expected });
      mapped.push({ from: first.from, ...(first.parts === undefined ? {} : { parts: first.parts }), to, turned: first.turned });
    }
  }
  const fits = missing.length + misshapen.length + repeated.length + rest.unexpected.length === 0;
  return { tensors: result, report: { ...rest, mapped, missing, misshapen, repeated, fits } };
}

/** @param byScheme the tensor is known to be that one: where one framework has a vector of scales, another has [channels, 1, 1]. */
function fitsInto(shape: readonly number[], expected: readonly number[], byScheme: boolean): boolean {
  const proper = (extents: readonly number[]): readonly number[] => extents.filter((extent) => extent !== 1);
  return sameShape(shape, expected) || (byScheme && sameShape(proper(shape), proper(expected)));
}

/** What stands before the names: `prefix` before the file's, `added` before the network's. */
type Frame = Pick<MappingReport, 'prefix' | 'added' | 'prefixes'>;

/**
 * How the file's names and the network's differ in what stands before them all. Training checkpoints keep the network under
 * `state_dict.`, DataParallel under `module.`; base models lack what a network with a head puts before them, `transformer.`.
 * Undefined where none of the network's names is there, or some are missing under a prefix; no prefix where all are under two (a
 * network and its average).
 */
function frameOf(
  renamed: readonly Renamed[],
  wanted: Shapes,
  isPart: boolean,
): Frame | undefined {
  const names = new Set(renamed.flatMap(({ to }) => (to === undefined ? [] : [to])));
  const own = [...wanted.keys()];
  for (const added of new Set(['', sharedPrefix(own)])) {
    const bare = own.map((name) => name.slice(added.length));
    // Of one layer out of two, any layer's tensors have the names.
    if (added !== '' && isPart && bare.every((name) => !name.includes('.'))) continue;
    const [first] = bare;
    if (first === undefined) return undefined;
    const holds = (prefix: string): boolean => bare.every((name) => names.has(prefix + name));
    if (bare.some((name) => names.has(name))) return { prefix: '', added };
    const prefixes = [...names]
      .filter((name) => name.endsWith(`.${first}`))
      .map((name) => name.slice(0, -first.length))
      .filter(holds);
    if (prefixes.length === 1) return { prefix: prefixes[0] as string, added };
    if (prefixes.length > 1) return { prefix: '', added: '', prefixes };
  }
  return undefined;
}

/** What all names begin with, up to a dot. */
function sharedPrefix(names: readonly string[]): string {
  const [first = '', ...others] = names;
  const parts = first.split('.');
  let prefix = '';
  for (const part of parts.slice(0, -1)) {
    const longer = `${prefix}${part}.`;
    if (!others.every((name) => name.startsWith(longer))) break;
    prefix = longer;
  }
  return prefix;
}

/** What does not fit, a line each, ready for people; empty where everything does. */
export function describeMisfits(report: MappingReport): readonly string[] {
  const shape = (extents: readonly number[]): string => `[${extents.join(', ')}]`;
  const { prefixes = [] } = report;
  return [
    ...(prefixes.length === 0
      ? []
      : [`the network stands under ${listed(prefixes, ' and under ')}: a rule is to choose, ${choiceOf(prefixes)}`]),
    ...report.missing.map((item) => `missing: ${item.name} ${shape(item.shape)}`),
    ...report.unexpected.map(({ from, to, shape: extents }) => `unexpected: ${from === to ? from : `${from}, as ${to}`} ${shape(extents)}`),
    ...report.misshapen.map(
      ({ from, to, expected, got }) => `shape: ${from === to ? to : `${from}, as ${to}`} expected ${shape(expected)}, got ${shape(got)}`,
    ),
    ...report.repeated.map(({ to, from }) => `more than one tensor for ${to}: ${listed(from)}`),
  ];
}

/** Rules that take the first and leave out the others. */
function choiceOf([first = '', ...others]: readonly string[]): string {
  return JSON.stringify([{ from: `${first}**`, to: '$1' }, ...others.map((other) => ({ from: `${other}**`, to: null }))]);
}

/**
 * Holds a file to a network: for callers that want nothing of one that does not fit as a whole.
 * @param field what the message calls the file.
 * @param remedy what would make it fit, for the message.
 * @throws MalformedFileError that lists what does not fit.
 */
export function requireFit(field: string, report: MappingReport, remedy?: string): void {
  if (report.fits) return;
  const misfits = describeMisfits(report);
  throw new MalformedFileError({
    field,
    expected: `the network's tensors${remedy === undefined ? '' : ` (${remedy})`}`,
    got: `${misfits.length} that do not fit (${listed(misfits, '; ')})`,
  });
}
