/**
 * npz: a ZIP of npy files, stored. Headers are byte for byte those of numpy.save (1.23 and later), so that equal arrays
 * make equal files whoever wrote them.
 */
import { UnsupportedError } from '../../core/errors.ts';
import type { Dtype } from '../dtype.ts';
import type { RawTensor } from '../safetensors.ts';
import { memorySink, ZipWriter } from '../zip-writer.ts';
import { requireBytesOfShape } from './checkpoint.ts';

/** numpy's names of element types; it has none for BF16 and the narrow floats. */
const descriptors: Readonly<Partial<Record<Dtype, string>>> = {
  F64: '<f8', F32: '<f4', F16: '<f2', I64: '<i8', I32: '<i4', I16: '<i2', I8: '|i1', U64: '<u8', U32: '<u4', U16: '<u2', U8: '|u1', BOOL: '|b1', C64: '<c8',
};

/** Whether numpy has that type. */
export function isNumpyDtype(dtype: Dtype): boolean {
  return descriptors[dtype] !== undefined;
}

const PREFIX = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0];
const PREAMBLE_BYTES = PREFIX.length + 2;
const ALIGNMENT = 64;
/** numpy leaves room for the first extent to grow to this many digits in place. */
const GROWTH_DIGITS = 21;

/**
 * One array as an npy file.
 * @throws UnsupportedError for types that numpy does not have.
 */
export function writeNpy(name: string, { dtype, shape, bytes }: RawTensor): Uint8Array<ArrayBuffer> {
  const descriptor = descriptors[dtype];
  if (descriptor === undefined) throw new UnsupportedError({ field: name, expected: 'a type that numpy has', got: dtype });
  requireBytesOfShape(name, { dtype, shape, bytes });
  const extents = shape.length === 1 ? `${shape[0]},` : shape.join(', ');
  const growth = shape.length === 0 ? 0 : GROWTH_DIGITS - String(shape[0]).length;
  const header = `{'descr': '${descriptor}', 'fortran_order': False, 'shape': (${extents}), }${' '.repeat(growth)}`;
  const total = Math.ceil((PREAMBLE_BYTES + header.length + 1) / ALIGNMENT) * ALIGNMENT;
  const file = new Uint8Array(total + bytes.byteLength).fill(0x20, 0, total);
  file.set(PREFIX);
  new DataView(file.buffer).setUint16(PREFIX.length, total - PREAMBLE_BYTES, true);
  file.set(new TextEncoder().encode(header), PREAMBLE_BYTES);
  file[total - 1] = 0x0a;
  file.set(bytes, total);
  return file;
}

/**
 * Tensors in the order given, each as `<name>.npy`. Deterministic: no timestamps.
 * @throws UnsupportedError for types that numpy does not have; MalformedFileError for names that a ZIP cannot hold.
 */
export async function writeNpz(tensors: ReadonlyMap<string, RawTensor>): Promise<Uint8Array<ArrayBuffer>> {
  const { sink, bytes } = memorySink();
  const zip = await ZipWriter.open(sink);
  for (const [name, tensor] of tensors) await zip.addStored(`${name}.npy`, writeNpy(name, tensor));
  await zip.finish();
  return bytes();
}
