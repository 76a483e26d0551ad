/**
 * Weights that are NaN or infinite: nothing can be computed with them, so whoever looks at a file is told, and whoever
 * needs them refused by its name.
 */
import { toFloat32 } from '../bundle/dtype.ts';
import type { RawTensor } from '../bundle/safetensors.ts';
import { NotFiniteError } from '../core/errors.ts';
import { formatCount } from '../report/text.ts';
import { firstNotFinite } from '../tensor/tensor.ts';
import type { NetworkState } from '../tensor/tensor.ts';
import type { Output } from './output.ts';

/** @throws NotFiniteError that names the file. */
export function requireFiniteWeights(path: string, { parameters, buffers }: NetworkState): void {
  const found = firstNotFinite(parameters) ?? firstNotFinite(buffers);
  if (found !== undefined) throw new NotFiniteError({ field: `${path}: ${found.at}`, expected: 'a finite number', got: `${found.value}` });
}

/** Notes the tensors of floats that no f32 holds as finite numbers. */
export function remarkNotFinite(output: Output, path: string, tensors: ReadonlyMap<string, RawTensor>): void {
  const found = [...tensors].flatMap(([name, { dtype, shape, bytes }]) => {
    if (dtype !== 'F16' && dtype !== 'BF16' && dtype !== 'F32' && dtype !== 'F64') return [];
    return firstNotFinite(new Map([[name, { shape, data: toFloat32(name, dtype, bytes) }]])) ?? [];
  });
  const [first] = found;
  if (first === undefined) return;
  const others = found.length === 1 ? '' : `, and so is a number of ${formatCount(found.length - 1, 'more tensor')}`;
  output.warn(`${path}: ${first.at} is ${first.value}${others}; no network computes with that`);
}
