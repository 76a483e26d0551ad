/**
 * LoRA adapters as PEFT saves them: of some weights of a base W₀ only what a fine-tune adds, W = W₀ + scale · B·A of a low rank
 * (Hu et al., LoRA, ICLR 2022, eq. 3), and whole tensors such as a new last layer. `adapter-merge.ts` merges one into its base's
 * file, under that file's own names and layouts, so that all that is known about names holds for both.
 */
import { describe } from '../../core/describe.ts';
import { InvalidArgumentError, MalformedFileError, UnsupportedError } from '../../core/errors.ts';
import { requireMembers } from '../../core/require.ts';
import { elementCount, sameShape } from '../../tensor/tensor.ts';
import { toFloat32 } from '../dtype.ts';
import { isJsonObject, type JsonObject } from '../json.ts';
import type { RawTensor } from '../safetensors.ts';
import { type AdapterSettings, readAdapterConfig } from './adapter-config.ts';
import type { ForeignCheckpoint } from './checkpoint.ts';

/** What PEFT puts before the names of the network that it wraps. */
const WRAPPER = 'base_model.model.';
/** Modules that it puts around others: of tensors that are trained whole their names have none. */
const INNER = /\.(base_layer|modules_to_save)(?=\.)/g;
/** Beside `modules_to_save`, with biases of all modules: what the module was before, which nothing reads. */
const ORIGINAL = /\.original_module\./;
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
  /** All names of the file that loading reads, in its order. */
  readonly names: readonly string[];
  readonly factors: readonly LowRankFactors[];
  readonly whole: readonly WholeTensor[];
}

/** What PEFT writes into the file beside the tensors. */
export const adapterMetadata: ReadonlyMap<string, string> = new Map([['format', 'pt']]);

/** The names in the network of what an adapter changes. */
export function changedTensors({ factors, whole }: Adapter): ReadonlySet<string> {
  return new Set([...factors.map(({ weight }) => weight), ...whole.map(({ name }) => name)]);
}

/** Tensors of IA³, LoHa, LoKr, VeRA and orthogonal fine-tuning: `readAdapter` refuses them by their kind. */
const OTHER_FACTOR = /\.(ia3_l|hada_[wt]\d|lokr_[wt]\d|vera_lambda_|b?oft_[rs])/i;

/**
 * Whether these are the tensors of an adapter, LoRA or of another kind, which are no network by themselves.
 * @throws InvalidArgumentError for what is no checkpoint.
 */
export function isAdapter(checkpoint: Pick<ForeignCheckpoint, 'tensors'>): boolean {
  requireMembers('checkpoint', checkpoint, ['tensors'], 'what readForeign gives');
  requireMembers('checkpoint.tensors', checkpoint.tensors, ['entries', 'get'], 'tensors by name: a Map');
  return [...checkpoint.tensors.keys()].some((name) => /\.lora_(embedding_)?[AB](\.|$)/.test(name) || OTHER_FACTOR.test(name));
}

/**
 * A LoRA adapter as PEFT saves it.
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
  const settings = readAdapterConfig(config, `${field}: adapter_config.json`);
  const read = new Map([...checkpoint.tensors].filter(([from]) => !ORIGINAL.test(from)));
  const { pairs, whole } = sortOut(field, read);
  settings.requireModules(pairs.size);
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
  return { names: [...read.keys()], factors, whole };
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
    // With bias "all" PEFT writes those of `modules_to_save` twice, alike.
    if (other !== undefined && (module !== undefined || !isAlike(tensor, tensors.get(other) as RawTensor)))
      throw new MalformedFileError({ field: `${field}: ${from}`, expected: `one tensor for ${within}`, got: `${other} besides` });
    seen.set(within, from);
    if (module !== undefined) pairs.set(module, { ...pairs.get(module), [factor as 'A' | 'B']: from });
    else if (name.includes('.lora_'))
      throw new UnsupportedError({ field: `${field}: ${from}`, expected: 'factors lora_A and lora_B alone', got: 'another kind' });
    else whole.push({ from, name, tensor });
  }
  return { pairs, whole };
}

const isAlike = (a: RawTensor, b: RawTensor): boolean =>
  a.dtype === b.dtype && sameShape(a.shape, b.shape) && a.bytes.every((byte, i) => byte === b.bytes[i]);

const innerName = (from: string): string =>
  (from.startsWith(WRAPPER) ? from.slice(WRAPPER.length) : from).replace(INNER, '');

function readFactors(
  field: string, tensors: ForeignCheckpoint['tensors'], module: string, names: LowRankFactors['names'],
  { alphaOf, byRoot, inputsFirst }: AdapterSettings,
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
    a: toFloat32(`${field}: ${names.a}`, a.dtype, a.bytes),
    b: toFloat32(`${field}: ${names.b}`, b.dtype, b.bytes),
    shapes: { a: a.shape, b: b.shape },
    rank, inputs, outputs, taps,
    scale: alphaOf(module) / (byRoot ? Math.sqrt(rank) : rank),
    // An embedding's weight is [tokens, width], and what comes in are tokens.
    inputsFirst: inputsFirst || names.a.includes('lora_embedding_'),
  };
}
