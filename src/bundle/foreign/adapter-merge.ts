/** A LoRA adapter and its base's file: which tensors of it are meant, and the two merged. */
import type { Pieces } from '../../core/breather.ts';
import { InvalidArgumentError, MalformedFileError } from '../../core/errors.ts';
import { nearestName } from '../../core/nearest-name.ts';
import { elementCount } from '../../tensor/tensor.ts';
import { toFloat32 } from '../dtype.ts';
import { type RawTensor, rawF32 } from '../safetensors.ts';
import { type Adapter, changedTensors, type LowRankFactors } from './adapter.ts';
import type { ForeignCheckpoint } from './checkpoint.ts';
import { adapterNames } from './naming-schemes.ts';

/** Where a weight's factors stand in it: the axis of B's rows, that of A's columns is the other. */
export function outputAxis({ inputs, outputs, taps, inputsFirst }: LowRankFactors, shape: readonly number[]): 0 | 1 | undefined {
  const [first, second, ...kernel] = shape;
  if (first === undefined || second === undefined || elementCount(kernel) !== taps) return undefined;
  const [outFirst, inFirst] = [first === outputs && second === inputs, first === inputs && second === outputs && taps === 1];
  if (outFirst && inFirst) return inputsFirst ? 1 : 0;
  return outFirst ? 0 : inFirst ? 1 : undefined;
}

/** What messages call the two files, and which of them is at fault where the base has not what the adapter changes. */
export interface AdapterFields {
  readonly base: string;
  readonly adapter: string;
  /**
   * Whether the base's tensors are all that the network has, so that an adapter that names a weight besides is another network's. They
   * come by the names that the adapter has for them, as far as these are known.
   */
  readonly baseIsWhole: (tensors: ReadonlyMap<string, RawTensor>, weight: string) => boolean;
}

const defaultFields: AdapterFields = { base: 'base', adapter: 'adapter', baseIsWhole: () => false };

/**
 * The tensors of a base's file by the names that the adapter's network has: without what a training script put before them, with
 * what a base model lacks (`distilbert.`), and by the names of the version of the framework that trained the adapter.
 * @throws MalformedFileError where a weight that the adapter changes is missing or of another shape, of the file that is at fault, and
 *   where two tensors would have one name; InvalidArgumentError for an adapter that changes none.
 */
export function baseForAdapter(base: ForeignCheckpoint, adapter: Adapter, fields = defaultFields): ForeignCheckpoint {
  const [first] = adapter.factors;
  if (first === undefined) throw new InvalidArgumentError({ field: 'adapter.factors', expected: 'one or more', got: 'none' });
  const names = [...base.tensors.keys()];
  const changed = [...changedTensors(adapter)];
  const found = namesWith(names, first.weight, changed);
  if (found === undefined) {
    // By the names that others of its weights give the file's, so that what may be meant is told by a name of the adapter's.
    const own = adapter.factors.slice(1, 1 + FRAMES_TRIED).map(({ weight }) => namesWith(names, weight, changed)).find(Boolean) ?? names;
    const tensors = byNames(base, own);
    if (fields.baseIsWhole(tensors, first.weight)) throw misfit(fields, first, tensors, changed);
    throw new MalformedFileError({
      field: fields.base, expected: `the base of the adapter, with ${first.weight}`, got: 'none of that name',
    });
  }
  requireApart(fields.base, names, found);
  const tensors = byNames(base, found);
  const amiss = adapter.factors.find((factors) => !fitsIn(factors, tensors.get(factors.weight)));
  if (amiss !== undefined) throw misfit(fields, amiss, tensors, changed);
  const { containers: _, ...rest } = base;
  return { ...rest, tensors };
}

/** The adapter's weights by which the names of a file are looked for, where the first is not among them. */
const FRAMES_TRIED = 32;

/** A file's names as an adapter has them that changes `weight`, by which most of what it changes is there; undefined without it. */
function namesWith(names: readonly string[], weight: string, changed: readonly string[]): readonly string[] | undefined {
  const candidates = adapterNames.flatMap((rename) => {
    const renamed = framed(names.map(rename), weight);
    return renamed === undefined ? [] : [renamed];
  });
  // Some names are the same in all versions, `classifier`, so that one tensor does not tell them apart.
  const lacks = (renamed: readonly string[]): number => {
    const own = new Set(renamed);
    return changed.filter((name) => !own.has(name)).length;
  };
  return candidates.toSorted((a, b) => lacks(a) - lacks(b))[0];
}

/** A file's tensors by other names, in their order. */
const byNames = ({ tensors }: ForeignCheckpoint, names: readonly string[]): ReadonlyMap<string, RawTensor> =>
  new Map([...tensors.values()].map((tensor, i) => [names[i] as string, tensor]));

/** Names with `wanted` among them, once what stands before them all is the same; undefined where it is not there, or twice. */
function framed(names: readonly string[], wanted: string): readonly string[] | undefined {
  const frame = frameOf(names, wanted);
  if (frame === undefined) return undefined;
  const { prefix, added } = frame;
  return names.map((name) => (name.startsWith(prefix) ? added + name.slice(prefix.length) : name));
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

const fitsIn = (factors: LowRankFactors, tensor: RawTensor | undefined): boolean =>
  tensor !== undefined && outputAxis(factors, tensor.shape) !== undefined;

function misfit(
  { base, adapter, baseIsWhole }: AdapterFields, factors: LowRankFactors, tensors: ReadonlyMap<string, RawTensor>,
  changed: readonly string[],
): MalformedFileError {
  const { weight, inputs, outputs, shapes } = factors;
  const shape = tensors.get(weight)?.shape;
  const given = `B is [${shapes.b.join(', ')}], A [${shapes.a.join(', ')}]`;
  const wanted = `a weight of ${outputs} outputs and ${inputs} inputs (${given})`;
  if (!baseIsWhole(tensors, weight))
    return new MalformedFileError({
      field: `${base}: ${weight}`, expected: wanted, got: shape === undefined ? 'none of that name' : `[${shape.join(', ')}]`,
    });
  if (shape !== undefined)
    return new MalformedFileError({ field: `${adapter}: ${weight}`, expected: `factors of [${shape.join(', ')}]`, got: given });
  return new MalformedFileError({
    field: `${adapter}: ${weight}`, expected: "one of the network's weights",
    got: `one that it does not have${meantFor(weight, tensors, changed, (tensor) => fitsIn(factors, tensor))}`,
  });
}

/** Names that are compared with one that is not found: two of 50 characters take 10 µs. */
const COMPARED_NAMES = 10_000;

/** A hint at the tensor that was probably meant: of those that `fits` takes and the adapter does not change already. */
export function meantFor(
  name: string, tensors: ReadonlyMap<string, RawTensor>, changed: Iterable<string>, fits: (tensor: RawTensor) => boolean,
): string {
  const taken = new Set(changed);
  const left = [...tensors].filter(([other, tensor]) => !taken.has(other) && fits(tensor)).slice(0, COMPARED_NAMES);
  const nearest = nearestName(name, left.map(([other]) => other));
  return nearest === undefined ? '' : ` (did you mean ${nearest}?)`;
}

/**
 * A base's file with an adapter merged into it: weights + scale · B·A, added up in f64 and rounded once to f32, and the adapter's
 * whole tensors in the place of the base's, or beside them. Names are those of `baseForAdapter`. In pieces of milliseconds.
 * @throws as `baseForAdapter`.
 */
export function* withAdapter(base: ForeignCheckpoint, adapter: Adapter, fields = defaultFields): Pieces<ForeignCheckpoint> {
  const renamed = baseForAdapter(base, adapter, fields);
  const tensors = new Map(renamed.tensors);
  for (const factors of adapter.factors) {
    yield;
    const { weight } = factors;
    const { dtype, shape, bytes } = tensors.get(weight) as RawTensor;
    const values = toFloat32(`${fields.base}: ${weight}`, dtype, bytes);
    yield* addProduct(values, factors, outputAxis(factors, shape) as 0 | 1);
    tensors.set(weight, rawF32(shape, values));
  }
  for (const { name, tensor } of adapter.whole) tensors.set(name, tensor);
  return { ...renamed, tensors };
}

/** Floating-point operations of all products of an adapter's factors, added up once. */
export function productFlops({ factors }: Pick<Adapter, 'factors'>): number {
  return factors.reduce((sum, { rank, inputs, outputs, taps }) => sum + 2 * rank * inputs * taps * outputs, 0);
}

/** Multiplications and additions in one go: some milliseconds. A layer of rank 10,000 may take a minute. */
const PIECE_PRODUCTS = 2 ** 22;

/** values [outputs, inputs, taps], or [inputs, outputs] where outputs are axis 1, += scale · B·A. */
export function* addProduct(
  values: Float32Array, { a, b, rank, inputs, outputs, taps, scale }: LowRankFactors, axis: 0 | 1,
): Pieces<void> {
  const width = inputs * taps;
  const row = new Float64Array(width);
  const ranksAtOnce = Math.max(1, Math.floor(PIECE_PRODUCTS / width));
  let products = 0;
  for (let out = 0; out < outputs; out++) {
    row.fill(0);
    for (let first = 0; first < rank; first += ranksAtOnce) {
      const last = Math.min(first + ranksAtOnce, rank);
      products += (last - first) * width;
      if (products > PIECE_PRODUCTS) {
        yield;
        products = (last - first) * width;
      }
      addRanks(row, a, b.subarray(out * rank, (out + 1) * rank), first, last);
    }
    for (let i = 0; i < width; i++) {
      const at = axis === 0 ? out * width + i : i * outputs + out;
      values[at] = (values[at] as number) + scale * (row[i] as number);
    }
  }
}

/** row += those of A from `first` to `last`, times their factors. */
function addRanks(row: Float64Array, a: Float32Array, factors: Float32Array, first: number, last: number): void {
  const width = row.length;
  for (let r = first; r < last; r++) {
    const factor = factors[r] as number;
    for (let i = 0; i < width; i++) row[i] = (row[i] as number) + factor * (a[r * width + i] as number);
  }
}
