/**
 * LoRA adapters as PEFT saves them: of some weights of a base W₀ only what a fine-tune adds, W = W₀ + scale · B·A of a low rank
 * (Hu et al., LoRA, ICLR 2022, eq. 3), and whole tensors such as a new last layer. Reads one, and merges it into its base's file
 * under that file's own names and layouts, so that all that is known about names holds for both.
 */
import { describe } from '../../core/describe.ts';
import { InvalidArgumentError, MalformedFileError, UnsupportedError } from '../../core/errors.ts';
import { requireMembers } from '../../core/require.ts';
import { elementCount } from '../../tensor/tensor.ts';
import { toFloat32 } from '../dtype.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../json.ts';
import { type RawTensor, rawF32 } from '../safetensors.ts';
import type { ForeignCheckpoint } from './checkpoint.ts';
import { adapterNames } from './naming-schemes.ts';

/** What PEFT puts before the names of the network that it wraps. */
const WRAPPER = 'base_model.model.';
/** Modules that it puts around others: of tensors that are trained whole their names have none. */
const INNER = /\.(base_layer|modules_to_save)(?=\.)/g;
const FACTOR = /^(.+)\.lora_(?:embedding_)?([AB])(?:\.weight)?$/;

/** A weight's two factors. */
export interface LowRankFactors {
  /** The weight's name in the network that was trained, `….q_lin.weight`. */
  readonly weight: string;
  /** The names of A and B in the adapter's file. */
  readonly names: { readonly a: string; readonly b: string };
  /** [rank, inputs], of a convolution [rank, inputs, height, width]. */
  readonly a: Float32Array;
  /** [outputs, rank]. */
  readonly b: Float32Array;
  readonly shapes: { readonly a: readonly number[]; readonly b: readonly number[] };
  readonly rank: number;
  readonly inputs: number;
  readonly outputs: number;
  /** Numbers of a kernel: 1 but for convolutions. */
  readonly taps: number;
  /** What their product counts: alpha ÷ rank, or alpha ÷ √rank. */
  readonly scale: number;
  /** The weight is [inputs, outputs] where its shape does not tell: GPT-2's `Conv1D`. */
  readonly inputsFirst: boolean;
}

/** A tensor that was trained whole: its name in the adapter's file, and in the network. */
export interface WholeTensor {
  readonly from: string;
  readonly name: string;
  readonly tensor: RawTensor;
}

export interface Adapter {
  /** All names of the file, in its order. */
  readonly names: readonly string[];
  readonly factors: readonly LowRankFactors[];
  readonly whole: readonly WholeTensor[];
}

/** The names in the network of what an adapter changes. */
export function changedTensors({ factors, whole }: Adapter): ReadonlySet<string> {
  return new Set([...factors.map(({ weight }) => weight), ...whole.map(({ name }) => name)]);
}

/** Whether these are the tensors of an adapter, which are no network by themselves. */
export function isAdapter({ tensors }: Pick<ForeignCheckpoint, 'tensors'>): boolean {
  return [...tensors.keys()].some((name) => /\.lora_(embedding_)?[AB](\.|$)/.test(name));
}

/**
 * @param checkpoint from `readForeign`, of `adapter_model.safetensors` or `.bin`. @param config what `adapter_config.json` says.
 * @param field what messages call the adapter.
 * @throws UnsupportedError for kinds of adapters that are no sum of a base and a product (DoRA, AdaLoRA …); MalformedFileError for
 *   factors of which one is missing or that do not go together, for names that are one within the network, and for a config that does
 *   not say how much they count.
 */
export function readAdapter(checkpoint: ForeignCheckpoint, config: JsonObject, field = 'adapter'): Adapter {
  requireMembers('checkpoint', checkpoint, ['tensors', 'convention'], 'what readForeign gives');
  if (!isJsonObject(config))
    throw new InvalidArgumentError({ field: 'config', expected: 'what adapter_config.json says, an object', got: describe(config) });
  const settings = readConfig(config, `${field}: adapter_config.json`);
  const { pairs, whole } = sortOut(field, checkpoint.tensors);
  const factors = [...pairs].map(([module, { A, B }]) => {
    if (A === undefined || B === undefined)
      throw new MalformedFileError({
        field: `${field}: ${module}`, expected: 'lora_A and lora_B', got: `lora_${A === undefined ? 'B' : 'A'} alone`,
      });
    return readFactors(field, checkpoint.tensors, module, { a: A, b: B }, settings);
  });
  if (factors.length === 0)
    throw new MalformedFileError({ field, expected: 'tensors named …lora_A.weight and …lora_B.weight', got: 'none' });
  const factored = new Set(factors.map(({ weight }) => weight));
  const both = whole.find(({ name }) => factored.has(name));
  if (both !== undefined)
    throw new UnsupportedError({
      field: `${field}: ${both.from}`,
      expected: 'a weight as factors or whole (save_pretrained with save_embedding_layers=False leaves out that of the base)',
      got: 'both',
    });
  return { names: [...checkpoint.tensors.keys()], factors, whole };
}

interface Sorted {
  /** The names of the factors of each module. */
  readonly pairs: ReadonlyMap<string, { readonly A?: string; readonly B?: string }>;
  readonly whole: readonly WholeTensor[];
}

function sortOut(field: string, tensors: ForeignCheckpoint['tensors']): Sorted {
  const pairs = new Map<string, { A?: string; B?: string }>();
  const whole: WholeTensor[] = [];
  const seen = new Map<string, string>();
  for (const [from, tensor] of tensors) {
    const name = innerName(from);
    const [, module, factor] = FACTOR.exec(name) ?? [];
    // Of two, one would be left out without a word: with and without PEFT's wrapper, or factors of a layer and of an embedding.
    const within = module === undefined ? name : `${module}.lora_${factor}`;
    const other = seen.get(within);
    if (other !== undefined)
      throw new MalformedFileError({ field: `${field}: ${from}`, expected: `one tensor for ${within}`, got: `${other} besides` });
    seen.set(within, from);
    if (module !== undefined) pairs.set(module, { ...pairs.get(module), [factor as 'A' | 'B']: from });
    else if (name.includes('.lora_'))
      throw new UnsupportedError({ field: `${field}: ${from}`, expected: 'factors lora_A and lora_B alone', got: 'another kind' });
    else whole.push({ from, name, tensor });
  }
  return { pairs, whole };
}

const innerName = (from: string): string =>
  (from.startsWith(WRAPPER) ? from.slice(WRAPPER.length) : from).replace(INNER, '');

/** Settings by each of which a weight is no sum of a base and a product of two factors of its own. */
const OTHER_KINDS = [
  'use_dora', 'use_qalora', 'use_bdlora', 'lora_bias', 'layer_replication', 'target_parameters', 'trainable_token_indices',
] as const;

interface Settings {
  readonly alphaOf: (module: string) => number;
  /** Ranks count by their roots (rank-stabilised LoRA). */
  readonly byRoot: boolean;
  readonly inputsFirst: boolean;
}

function readConfig(config: JsonObject, field: string): Settings {
  const bad = (name: string, expected: string): never => {
    throw new MalformedFileError({ field: `${field}: ${name}`, expected, got: describe(config[name]) });
  };
  const flag = (name: string): boolean => {
    const value = config[name] ?? false;
    return typeof value === 'boolean' ? value : bad(name, 'true or false');
  };
  if (config['peft_type'] !== 'LORA')
    throw new UnsupportedError({ field: `${field}: peft_type`, expected: '"LORA"', got: describe(config['peft_type']) });
  const used = OTHER_KINDS.find((name) => !isNothing(config[name]));
  if (used !== undefined) throw new UnsupportedError({ field: `${field}: ${used}`, expected: 'not in use', got: describe(config[used]) });
  const alpha = numberOf(config['lora_alpha']) ?? bad('lora_alpha', 'a number');
  const patterns = config['alpha_pattern'] ?? {};
  const own = isJsonObject(patterns) ? Object.entries(patterns) : bad('alpha_pattern', 'an object of numbers');
  const alphas = own.map(([pattern, value]): [string, number] => {
    // PEFT takes any regular expression; people write ends of names.
    if (!/^\^?[\w.]+$/.test(pattern))
      throw new UnsupportedError({ field: `${field}: alpha_pattern`, expected: 'names of modules, or their ends', got: describe(pattern) });
    return [pattern, numberOf(value) ?? bad('alpha_pattern', 'an object of numbers')];
  });
  return {
    alphaOf: alphaBy(alphas, alpha),
    byRoot: flag('use_rslora'),
    inputsFirst: flag('fan_in_fan_out'),
  };
}

/**
 * The alpha of the first pattern that a module's name ends with. Looked up by the ends of the name: a stranger's config may have two
 * million patterns, an adapter 50,000 modules, and to try 100,000 on each of 2,000 took 6 s.
 */
function alphaBy(patterns: readonly (readonly [pattern: string, alpha: number])[], otherwise: number): Settings['alphaOf'] {
  const places = new Map(patterns.map(([pattern], place) => [pattern, place]));
  return (module) => {
    let first = places.get(`^${module}`) ?? Infinity;
    for (let at = 0, dot = 0; dot >= 0; at = dot + 1) {
      first = Math.min(first, places.get(module.slice(at)) ?? Infinity);
      dot = module.indexOf('.', at);
    }
    return patterns[first]?.[1] ?? otherwise;
  };
}

const numberOf = (value: JsonValue | undefined): number | undefined =>
  typeof value === 'number' && Number.isFinite(value) ? value : undefined;

const isNothing = (value: JsonValue | undefined): boolean =>
  value === undefined || value === null || value === false || (Array.isArray(value) && value.length === 0);

function readFactors(
  field: string, tensors: ForeignCheckpoint['tensors'], module: string, names: LowRankFactors['names'],
  { alphaOf, byRoot, inputsFirst }: Settings,
): LowRankFactors {
  const [a, b] = [tensors.get(names.a), tensors.get(names.b)] as [RawTensor, RawTensor];
  const [rank = 0, inputs = 0, ...kernel] = a.shape;
  const [outputs = 0, columns = 0, ...ones] = b.shape;
  const taps = elementCount(kernel);
  if (rank === 0 || columns !== rank || inputs * outputs * taps === 0 || ones.some((extent) => extent !== 1))
    throw new MalformedFileError({
      field: `${field}: ${module}`, expected: 'A [rank, inputs, …] and B [outputs, rank]',
      got: `[${a.shape.join(', ')}] and [${b.shape.join(', ')}]`,
    });
  return {
    weight: `${module}.weight`,
    names,
    a: toFloat32(names.a, a.dtype, a.bytes),
    b: toFloat32(names.b, b.dtype, b.bytes),
    shapes: { a: a.shape, b: b.shape },
    rank, inputs, outputs, taps,
    scale: alphaOf(module) / (byRoot ? Math.sqrt(rank) : rank),
    // An embedding's weight is [tokens, width], and what comes in are tokens.
    inputsFirst: inputsFirst || names.a.includes('lora_embedding_'),
  };
}

/** Where a weight's factors stand in it: the axis of B's rows, that of A's columns is the other. */
export function outputAxis({ inputs, outputs, taps, inputsFirst }: LowRankFactors, shape: readonly number[]): 0 | 1 | undefined {
  const [first, second, ...kernel] = shape;
  if (first === undefined || second === undefined || elementCount(kernel) !== taps) return undefined;
  const [outFirst, inFirst] = [first === outputs && second === inputs, first === inputs && second === outputs && taps === 1];
  if (outFirst && inFirst) return inputsFirst ? 1 : 0;
  return outFirst ? 0 : inFirst ? 1 : undefined;
}

/** A base's file under the names that an adapter of it has. */
export interface RenamedBase extends ForeignCheckpoint {
  /** The names in the file of what `tensors` has. */
  readonly fileNames: ReadonlyMap<string, string>;
}

/**
 * The tensors of a base's file by the names that the adapter's network has: without what a training script put before them, with
 * what a base model lacks (`distilbert.`), and by the names of the version of the framework that trained the adapter.
 * @throws MalformedFileError where a weight that the adapter changes is missing or of another shape, and where two tensors would have
 *   one name.
 */
export function baseForAdapter(base: ForeignCheckpoint, { factors }: Adapter, field = 'base'): RenamedBase {
  const [first] = factors;
  if (first === undefined) throw new InvalidArgumentError({ field: 'adapter.factors', expected: 'one or more', got: 'none' });
  for (const rename of adapterNames) {
    const names = [...base.tensors.keys()];
    const renamed = names.map(rename);
    const frame = frameOf(renamed, first.weight);
    if (frame === undefined) continue;
    const { prefix, added } = frame;
    const to = renamed.map((name) => (name.startsWith(prefix) ? added + name.slice(prefix.length) : name));
    const tensors = new Map(names.map((name, i) => [to[i] as string, base.tensors.get(name) as RawTensor]));
    requireApart(field, names, to);
    for (const one of factors) requireWeight(field, one, tensors.get(one.weight));
    const { containers: _, ...rest } = base;
    return { ...rest, tensors, fileNames: new Map(names.map((name, i) => [to[i] as string, name])) };
  }
  throw new MalformedFileError({ field, expected: `the base of the adapter, with ${first.weight}`, got: 'none of that name' });
}

function requireApart(field: string, names: readonly string[], renamed: readonly string[]): void {
  const seen = new Map<string, string>();
  for (const [i, name] of names.entries()) {
    const to = renamed[i] as string;
    const other = seen.get(to);
    if (other !== undefined)
      throw new MalformedFileError({ field: `${field}: ${name}`, expected: `one tensor for the adapter's ${to}`, got: `${other} besides` });
    seen.set(to, name);
  }
}

/** What stands before `wanted` in the file, and what before the file's name in `wanted`; undefined where it is not there, or twice. */
function frameOf(names: readonly string[], wanted: string): { readonly prefix: string; readonly added: string } | undefined {
  if (names.includes(wanted)) return { prefix: '', added: '' };
  const longer = names.filter((name) => name.endsWith(`.${wanted}`));
  if (longer.length === 1) return { prefix: (longer[0] as string).slice(0, -wanted.length), added: '' };
  // Of several ends of the name the longest is meant: `layer.0.weight`, not `weight`.
  const shorter = names.filter((name) => wanted.endsWith(`.${name}`)).toSorted((a, b) => b.length - a.length);
  return shorter[0] === undefined || longer.length > 1 ? undefined : { prefix: '', added: wanted.slice(0, -shorter[0].length) };
}

function requireWeight(field: string, factors: LowRankFactors, tensor: RawTensor | undefined): void {
  const { weight, inputs, outputs, shapes } = factors;
  if (tensor !== undefined && outputAxis(factors, tensor.shape) !== undefined) return;
  throw new MalformedFileError({
    field: `${field}: ${weight}`,
    expected: `a weight of ${outputs} outputs and ${inputs} inputs (B is [${shapes.b.join(', ')}], A [${shapes.a.join(', ')}])`,
    got: tensor === undefined ? 'none of that name' : `[${tensor.shape.join(', ')}]`,
  });
}

/**
 * A base's file with an adapter merged into it: weights + scale · B·A, added up in f64 and rounded once to f32, and the adapter's
 * whole tensors in the place of the base's, or beside them. Names are those of `baseForAdapter`.
 * @throws as `baseForAdapter`.
 */
export function withAdapter(base: ForeignCheckpoint, adapter: Adapter, field = 'base'): RenamedBase {
  const renamed = baseForAdapter(base, adapter, field);
  const tensors = new Map(renamed.tensors);
  for (const factors of adapter.factors) {
    const { weight } = factors;
    const { dtype, shape, bytes } = tensors.get(weight) as RawTensor;
    const values = toFloat32(weight, dtype, bytes);
    addProduct(values, factors, outputAxis(factors, shape) as 0 | 1);
    tensors.set(weight, rawF32(shape, values));
  }
  for (const { name, tensor } of adapter.whole) tensors.set(name, tensor);
  return { ...renamed, tensors };
}

/** values [outputs, inputs, taps], or [inputs, outputs] where outputs are axis 1, += scale · B·A. */
export function addProduct(values: Float32Array, { a, b, rank, inputs, outputs, taps, scale }: LowRankFactors, axis: 0 | 1): void {
  const width = inputs * taps;
  const row = new Float64Array(width);
  for (let out = 0; out < outputs; out++) {
    row.fill(0);
    for (let r = 0; r < rank; r++) {
      const factor = b[out * rank + r] as number;
      for (let i = 0; i < width; i++) row[i] = (row[i] as number) + factor * (a[r * width + i] as number);
    }
    for (let i = 0; i < width; i++) {
      const at = axis === 0 ? out * width + i : i * outputs + out;
      values[at] = (values[at] as number) + scale * (row[i] as number);
    }
  }
}
