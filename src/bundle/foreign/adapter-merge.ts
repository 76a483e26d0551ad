/** A LoRA adapter and its base's file: which tensors of it are meant, and the two merged. */
import { InvalidArgumentError, MalformedFileError } from '../../core/errors.ts';
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

/**
 * The tensors of a base's file by the names that the adapter's network has: without what a training script put before them, with
 * what a base model lacks (`distilbert.`), and by the names of the version of the framework that trained the adapter.
 * @throws MalformedFileError where a weight that the adapter changes is missing or of another shape, and where two tensors would have
 *   one name; InvalidArgumentError for an adapter that changes none.
 */
export function baseForAdapter(base: ForeignCheckpoint, adapter: Adapter, field = 'base'): ForeignCheckpoint {
  const [first] = adapter.factors;
  if (first === undefined) throw new InvalidArgumentError({ field: 'adapter.factors', expected: 'one or more', got: 'none' });
  const names = [...base.tensors.keys()];
  const candidates = adapterNames.flatMap((rename) => {
    const renamed = framed(names.map(rename), first.weight);
    return renamed === undefined ? [] : [renamed];
  });
  // Some names are the same in all versions, `classifier`, so that one tensor does not tell them apart.
  const changed = [...changedTensors(adapter)];
  const lacks = (renamed: readonly string[]): number => {
    const own = new Set(renamed);
    return changed.filter((name) => !own.has(name)).length;
  };
  const [found] = candidates.toSorted((a, b) => lacks(a) - lacks(b));
  if (found === undefined)
    throw new MalformedFileError({ field, expected: `the base of the adapter, with ${first.weight}`, got: 'none of that name' });
  requireApart(field, names, found);
  const tensors = new Map(names.map((name, i) => [found[i] as string, base.tensors.get(name) as RawTensor]));
  for (const factors of adapter.factors) requireWeight(field, factors, tensors.get(factors.weight));
  const { containers: _, ...rest } = base;
  return { ...rest, tensors };
}

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
export function withAdapter(base: ForeignCheckpoint, adapter: Adapter, field = 'base'): ForeignCheckpoint {
  const renamed = baseForAdapter(base, adapter, field);
  const tensors = new Map(renamed.tensors);
  for (const factors of adapter.factors) {
    const { weight } = factors;
    const { dtype, shape, bytes } = tensors.get(weight) as RawTensor;
    const values = toFloat32(`${field}: ${weight}`, dtype, bytes);
    addProduct(values, factors, outputAxis(factors, shape) as 0 | 1);
    tensors.set(weight, rawF32(shape, values));
  }
  for (const { name, tensor } of adapter.whole) tensors.set(name, tensor);
  return { ...renamed, tensors };
}

/** Floating-point operations of all products of an adapter's factors, added up once. */
export function productFlops({ factors }: Pick<Adapter, 'factors'>): number {
  return factors.reduce((sum, { rank, inputs, outputs, taps }) => sum + 2 * rank * inputs * taps * outputs, 0);
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
