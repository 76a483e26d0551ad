/**
 * Rules that rename and turn tensors. A rule file is a JSON list; the first rule whose pattern fits a name applies:
 *   [{ "from": "encoder.**", "to": null },
 *    { "from": "fc*.*", "to": "linear$1.$2" },
 *    { "from": "layer.*.query.*", "to": "blocks.$1.qkv.$2", "part": [0, 3] },
 *    { "from": "dense/kernel", "to": "linear1.weight", "view": [7, 7, 64, 512], "transpose": [3, 2, 0, 1], "shape": [512, 3136] }]
 */
import { describe } from '../../core/describe.ts';
import { InvalidArgumentError, LimitError, MalformedFileError } from '../../core/errors.ts';
import { requireBytes, requireInteger, requireList, requireMembers } from '../../core/require.ts';
import { limits } from '../../core/limits.ts';
import { requireOptions } from '../../core/options.ts';
import type { OptionNames } from '../../core/options.ts';
import { concatBytes } from '../../core/bytes.ts';
import { sameShape } from '../../tensor/tensor.ts';
import { countElements } from '../extents.ts';
import { type JsonObject, type JsonValue, decodeUtf8, isJsonObject, parseJson } from '../json.ts';
import type { RawTensor } from '../safetensors.ts';
import { type KernelConvention } from './checkpoint.ts';
import { NamePattern, checkTemplate, fillTemplate } from './name-pattern.ts';
import { transposeRaw } from './strided.ts';

export interface NameRule {
  /** Pattern of names in the file: `*` within a part, `**` across parts. */
  readonly from: string;
  /** Template of the new name, with $1 for the first wildcard; null leaves the tensor out. */
  readonly to: string | null;
  /** Extents to read the tensor with before its axes are turned. */
  readonly view?: readonly number[];
  /**
   * Order of axes, as numpy's `transpose`; `true`: Keras's kernels to PyTorch's; `false`: as it is.
   * Left out, kernels of Keras and TensorFlow.js files are turned, and what reads flattened images.
   */
  readonly transpose?: boolean | readonly number[];
  /** Extents of the result, where they differ from the turned view's. */
  readonly shape?: readonly number[];
  /**
   * [i, n]: the tensor is part i of the n that the new one has along its first axis, counted from 0. They are joined
   * where all n are there and agree in type and the other extents; else each keeps its own name.
   */
  readonly part?: readonly [index: number, count: number];
}

const ruleNames: OptionNames<NameRule> = { from: true, to: true, view: true, transpose: true, shape: true, part: true };

export interface Renamed {
  /** The tensor's name; where several were joined to it, their names with ` + ` between. */
  readonly from: string;
  /** Those names, in order. */
  readonly parts?: readonly string[];
  /** Undefined where a rule leaves the tensor out. */
  readonly to: string | undefined;
  readonly tensor: RawTensor;
  /** Whether the tensor's elements were put in another order. */
  readonly turned: boolean;
}

/** More rules than any network has tensors help nobody. */
const RULES = 10_000;
/**
 * Steps of all rules on all names: a few seconds. A thousand rules that begin or end in a word, each for ten of ten
 * thousand names, take a twentieth of it.
 */
const MATCHING_STEPS = 2 ** 28;

interface CompiledRule {
  readonly rule: NameRule;
  readonly pattern: NamePattern;
}

/**
 * Checks rules from a JSON file.
 * @throws MalformedFileError, InvalidArgumentError, LimitError naming the rule.
 */
export function parseNameRules(bytes: Uint8Array, field = 'rules'): readonly NameRule[] {
  requireBytes(field, bytes);
  if (bytes.byteLength > limits.manifestBytes)
    throw new LimitError({ field, expected: `at most ${limits.manifestBytes} bytes`, got: `${bytes.byteLength}` });
  const json = parseJson(decodeUtf8(field, bytes), { field });
  if (!Array.isArray(json)) throw new MalformedFileError({ field, expected: 'a list of rules', got: describe(json) });
  const rules = (json as readonly JsonValue[]).map((item, index) => {
    if (!isJsonObject(item)) throw new MalformedFileError({ field: `${field}[${index}]`, expected: 'an object', got: describe(item) });
    return parseRule(`${field}[${index}]`, item);
  });
  compileRules(field, rules);
  return rules;
}

/**
 * The rules by which the files of a packed trajectory were read, as its training record keeps them; none where it keeps none.
 * @throws as `parseNameRules`.
 */
export function recordedRules(training: unknown): readonly NameRule[] {
  const rules = (training as { readonly rules?: unknown } | null | undefined)?.rules;
  return rules === undefined ? [] : parseNameRules(new TextEncoder().encode(JSON.stringify(rules)), 'training.rules');
}

function parseRule(field: string, item: JsonObject): NameRule {
  requireOptions('a rule', item, ruleNames, field);
  const { from, to, view, transpose, shape, part } = item;
  if (typeof from !== 'string') throw new InvalidArgumentError({ field: `${field}.from`, expected: 'a pattern', got: describe(from) });
  if (typeof to !== 'string' && to !== null)
    throw new InvalidArgumentError({ field: `${field}.to`, expected: 'a template, or null', got: describe(to) });
  return {
    from,
    to,
    ...(view === undefined ? {} : { view: integers(`${field}.view`, view) }),
    ...(transpose === undefined
      ? {}
      : { transpose: typeof transpose === 'boolean' ? transpose : integers(`${field}.transpose`, transpose) }),
    ...(shape === undefined ? {} : { shape: integers(`${field}.shape`, shape) }),
    ...(part === undefined ? {} : { part: requirePart(`${field}.part`, integers(`${field}.part`, part)) }),
  };
}

/** @throws InvalidArgumentError for what is no part of a whole, or of more parts than anybody would give rules for. */
function requirePart(field: string, part: readonly number[]): readonly [number, number] {
  const [index, count] = part;
  if (part.length !== 2 || index === undefined || count === undefined || count < 1 || count > RULES || index >= count) {
    throw new InvalidArgumentError({ field, expected: `[i, n] with i < n ≤ ${RULES}`, got: describe(part) });
  }
  return [requireInteger(field, index, 0), requireInteger(field, count, 1)];
}

function integers(field: string, value: JsonValue): readonly number[] {
  if (!Array.isArray(value) || !value.every((item) => Number.isSafeInteger(item) && (item as number) >= 0)) {
    throw new InvalidArgumentError({ field, expected: 'a list of integers ≥ 0', got: describe(value) });
  }
  return value as readonly number[];
}

function compileRules(field: string, rules: readonly NameRule[]): readonly CompiledRule[] {
  if (rules.length > RULES) throw new LimitError({ field, expected: `at most ${RULES} rules`, got: `${rules.length}` });
  return rules.map((rule, index) => {
    requireOptions('a rule', rule, ruleNames, `${field}[${index}]`);
    const pattern = new NamePattern(`${field}[${index}].from`, rule.from);
    if (rule.to !== null) checkTemplate(`${field}[${index}].to`, rule.to, pattern);
    if (rule.part !== undefined) requirePart(`${field}[${index}].part`, rule.part);
    return { rule, pattern };
  });
}

/** Keras's names for what PyTorch calls otherwise. */
const kerasSuffixes: Readonly<Record<string, string>> = {
  kernel: 'weight', depthwise_kernel: 'weight', gamma: 'weight', beta: 'bias', moving_mean: 'running_mean', moving_variance: 'running_var',
};

/** `dense/kernel:0` → `dense.weight`. */
function pytorchName(name: string): string {
  const parts = name.replace(/:\d+$/, '').split(/[/.]/);
  const last = parts.at(-1) as string;
  if (Object.hasOwn(kerasSuffixes, last)) parts[parts.length - 1] = kerasSuffixes[last] as string;
  return parts.join('.');
}

/**
 * Every tensor under its new name, in the file's order; one joined of several stands where the first of them stood.
 * Tensors that no rule fits keep their names; those of Keras and TensorFlow.js files get PyTorch's (`dense/kernel` →
 * `dense.weight`), after the rules.
 * @param inputExtents [C, H, W] of the flattened image whose units the tensor of that (new) name reads: Keras flattens
 *   [H, W, C], so they come in another order along its first axis.
 * @param inputsFirst new names of dense weights that the network keeps [in, out], as Keras does.
 * @param unread new names of tensors that nobody reads: they are not turned.
 * @throws InvalidArgumentError where a rule's view or order does not fit its tensor; LimitError where matching would take too long.
 */
export function renameTensors(
  tensors: ReadonlyMap<string, RawTensor>,
  convention: KernelConvention,
  rules: readonly NameRule[] = [],
  inputExtents: ReadonlyMap<string, readonly [number, number, number]> = new Map(),
  inputsFirst: ReadonlySet<string> = new Set(),
  unread: ReadonlySet<string> = new Set(),
): readonly Renamed[] {
  requireMembers('tensors', tensors, ['entries', 'get'], 'tensors by name: a Map');
  requireList('rules', rules, (_, rule) => rule);
  const compiled = compileRules('rules', rules);
  const applied = applicationsOf(tensors.keys(), compiled);
  return joined([...tensors].map(([from, tensor]): Piece => {
    const { rule, captures } = applied.get(from) ?? {};
    let to = rule === undefined || captures === undefined ? from : rule.to === null ? undefined : fillTemplate(rule.to, captures);
    if (to === undefined) return { from, to, tensor, turned: false };
    if (convention === 'keras') to = pytorchName(to);
    if (unread.has(to)) return { from, to, tensor, turned: false };
    const turned = turn(from, tensor, rule, convention, inputExtents.get(to), inputsFirst.has(to));
    return { from, to, tensor: turned, turned: turned.bytes !== tensor.bytes, ...(rule?.part === undefined ? {} : { part: rule.part }) };
  }));
}

interface Application extends CompiledRule {
  readonly captures: readonly string[];
}

/** By name the rule that applies to it, the first that fits. @throws LimitError where matching would take too long. */
function applicationsOf(names: Iterable<string>, compiled: readonly CompiledRule[]): ReadonlyMap<string, Application> {
  const found = new Map<string, Application>();
  let steps = 0;
  for (const name of names) {
    for (const candidate of compiled) {
      steps += candidate.pattern.steps(name);
      if (steps > MATCHING_STEPS)
        throw new LimitError({ field: 'rules', expected: `rules and names that match within ${MATCHING_STEPS} steps`, got: 'more' });
      const captures = candidate.pattern.match(name);
      if (captures === undefined) continue;
      found.set(name, { ...candidate, captures });
      break;
    }
  }
  return found;
}

/** Numbers of the rules that apply to none of the names: misspelt, or behind one that fits the same. @throws as `renameTensors`. */
export function idleRules(names: Iterable<string>, rules: readonly NameRule[]): readonly number[] {
  const compiled = compileRules('rules', rules);
  const applied = new Set([...applicationsOf(names, compiled).values()].map(({ pattern }) => pattern));
  return compiled.flatMap(({ pattern }, index) => (applied.has(pattern) ? [] : [index]));
}

/** A tensor under its new name, before what belongs together is joined. */
interface Piece extends Renamed {
  readonly part?: readonly [index: number, count: number];
}

function joined(pieces: readonly Piece[]): readonly Renamed[] {
  const together = new Map<string, Piece[]>();
  for (const piece of pieces) {
    if (piece.part === undefined || piece.to === undefined) continue;
    const known = together.get(piece.to);
    if (known === undefined) together.set(piece.to, [piece]);
    else known.push(piece);
  }
  const wholes = new Map([...together].map(([to, own]) => [to, { first: own[0], whole: wholeOf(own) }]));
  return pieces.flatMap((piece): readonly Renamed[] => {
    const { part, ...plain } = piece;
    if (part === undefined || piece.to === undefined) return [plain];
    const { first, whole } = wholes.get(piece.to) ?? {};
    // Parts without the others are no tensor of that name.
    if (whole === undefined) return [{ ...plain, to: piece.from }];
    return first === piece ? [whole] : [];
  });
}

/** What the pieces are parts of; undefined where one is missing or there twice, or they do not lie side by side. */
function wholeOf(pieces: readonly Piece[]): Renamed | undefined {
  const sorted = pieces.toSorted((a, b) => (a.part?.[0] ?? 0) - (b.part?.[0] ?? 0));
  const [first] = sorted;
  if (first === undefined || first.tensor.shape.length === 0) return undefined;
  const { dtype, shape: [, ...others] } = first.tensor;
  const fits = sorted.every(({ part, tensor }, i) => {
    const [, ...rest] = tensor.shape;
    return part?.[0] === i && part[1] === sorted.length && tensor.dtype === dtype && tensor.shape.length > 0 && sameShape(rest, others);
  });
  if (!fits) return undefined;
  const bytes = concatBytes(sorted.map(({ tensor }) => tensor.bytes));
  const rows = sorted.reduce((sum, { tensor }) => sum + (tensor.shape[0] as number), 0);
  const parts = sorted.map(({ from }) => from);
  return {
    from: parts.join(' + '),
    parts,
    to: first.to,
    tensor: { dtype, shape: [rows, ...others], bytes },
    turned: sorted.some(({ turned }) => turned),
  };
}

function turn(
  name: string,
  tensor: RawTensor,
  rule: NameRule | undefined,
  convention: KernelConvention,
  extents: readonly [number, number, number] | undefined,
  inputsFirst: boolean,
): RawTensor {
  const viewed = rule?.view === undefined ? tensor : reshape(`${name}: view`, tensor, rule.view);
  const last = name.replace(/:\d+$/, '').split(/[/.]/).at(-1) as string;
  const isKernel = convention === 'keras' && (last === 'kernel' || last === 'depthwise_kernel') && !inputsFirst;
  const transpose = rule?.transpose ?? (isKernel || (convention === 'keras' ? 'units' : false));
  let result = viewed;
  if (transpose === true) result = turnKernel(name, viewed, last === 'depthwise_kernel', extents);
  else if (transpose === 'units') result = turnUnits(name, viewed, extents);
  else if (transpose !== false) result = transposeRaw(`${name}: transpose`, viewed, transpose);
  return rule?.shape === undefined ? result : reshape(`${name}: shape`, result, rule.shape);
}

/** Keras's kernel in PyTorch's order of axes. */
function turnKernel(
  name: string,
  tensor: RawTensor,
  depthwise: boolean,
  extents: readonly [number, number, number] | undefined,
): RawTensor {
  const { shape } = tensor;
  if (shape.length === 4 && depthwise) {
    // [H, W, C, multiplier] → [C · multiplier, 1, H, W]
    const [height, width, channels, multiplier] = shape as [number, number, number, number];
    return reshape(name, transposeRaw(name, tensor, [2, 3, 0, 1]), [channels * multiplier, 1, height, width]);
  }
  if (shape.length === 4) return transposeRaw(name, tensor, [3, 2, 0, 1]);
  if (shape.length === 2 && extents !== undefined && shape[0] === extents[0] * extents[1] * extents[2]) {
    const [channels, height, width] = extents;
    const [, out] = shape as [number, number];
    return reshape(name, transposeRaw(name, reshape(name, tensor, [height, width, channels, out]), [3, 2, 0, 1]), [
      out,
      channels * height * width,
    ]);
  }
  return shape.length === 2 ? transposeRaw(name, tensor, [1, 0]) : turnUnits(name, tensor, extents);
}

/** The first axis from the order [H, W, C] to [C, H, W]. */
function turnUnits(name: string, tensor: RawTensor, extents: readonly [number, number, number] | undefined): RawTensor {
  const [units, ...rest] = tensor.shape;
  if (extents === undefined || units !== extents[0] * extents[1] * extents[2]) return tensor;
  const [channels, height, width] = extents;
  const others = rest.map((_, axis) => 2 + axis);
  return reshape(name, transposeRaw(name, reshape(name, tensor, [height * width, channels, ...rest]), [1, 0, ...others]), tensor.shape);
}

function reshape(field: string, tensor: RawTensor, shape: readonly number[]): RawTensor {
  if (countElements(field, shape) !== countElements(field, tensor.shape)) {
    throw new InvalidArgumentError({
      field,
      expected: `extents of the ${countElements(field, tensor.shape)} elements of [${tensor.shape.join(', ')}]`,
      got: describe(shape),
    });
  }
  return { dtype: tensor.dtype, shape, bytes: tensor.bytes };
}
