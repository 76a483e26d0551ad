/**
 * Tensors that frameworks store beside weights though nobody trained them: known by name and by what they hold, since a
 * bias may be learnt.
 */
import { toFloat32 } from '../dtype.ts';
import type { Dtype } from '../dtype.ts';
import type { RawTensor } from '../safetensors.ts';

/** Element types of counts and masks. */
const types: ReadonlySet<Dtype> = new Set(['BOOL', 'U8', 'I32', 'I64', 'F16', 'BF16', 'F32']);

/** What kind of constant it is, in words; undefined for what may be a weight. */
export function storedConstant(name: string, tensor: RawTensor): string | undefined {
  const last = name.slice(name.lastIndexOf('.') + 1);
  if ((last === 'bias' || last === 'mask') && isCausalMask(tensor)) return 'a causal mask';
  if (last === 'masked_bias' && tensor.shape.length === 0) return 'the score of what a mask hides';
  if (last === 'position_ids' && counts(tensor)) return 'positions, counted';
  return undefined;
}

/** [1, 1, n, n] with ones up to the diagonal and zeros beyond. */
function isCausalMask(tensor: RawTensor): boolean {
  const [one, heads, rows, columns] = tensor.shape;
  if (tensor.shape.length !== 4 || one !== 1 || heads !== 1 || rows !== columns || columns === undefined) return false;
  return holds(tensor, (i) => (i % columns <= Math.floor(i / columns) ? 1 : 0));
}

function counts(tensor: RawTensor): boolean {
  return tensor.shape.slice(0, -1).every((extent) => extent === 1) && holds(tensor, (i) => i);
}

function holds({ dtype, bytes }: RawTensor, expected: (index: number) => number): boolean {
  return types.has(dtype) && toFloat32('constant', dtype, bytes).every((value, i) => value === expected(i));
}
