/** Whole numbers out of people's arrays: tokens, labels. */
import type { RawTensor } from '../bundle/safetensors.ts';
import { formatInteger } from '../report/text.ts';
import { FileError } from './exit.ts';

const integerReaders: { readonly [dtype: string]: readonly [number, (view: DataView, at: number) => number] } = {
  U8: [1, (view, at) => view.getUint8(at)],
  I8: [1, (view, at) => view.getInt8(at)],
  U16: [2, (view, at) => view.getUint16(at, true)],
  I16: [2, (view, at) => view.getInt16(at, true)],
  U32: [4, (view, at) => view.getUint32(at, true)],
  I32: [4, (view, at) => view.getInt32(at, true)],
  U64: [8, (view, at) => Number(view.getBigUint64(at, true))],
  I64: [8, (view, at) => Number(view.getBigInt64(at, true))],
};

/**
 * @param what the numbers are, for messages.
 * @throws FileError for other types, and numbers that are not 0 to `largest`, which is at most 65,535.
 */
export function integers(name: string, { dtype, bytes }: RawTensor, largest: number, what: string): Uint16Array {
  const reader = integerReaders[dtype.toUpperCase()];
  if (reader === undefined) throw new FileError(name, `holds ${dtype}; ${what} are integers`);
  const [width, read] = reader;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const numbers = new Uint16Array(bytes.byteLength / width);
  for (let i = 0; i < numbers.length; i++) {
    const number = read(view, i * width);
    if (number < 0 || number > largest) throw new FileError(name, `holds ${number} at ${i}; ${what} are 0 to ${formatInteger(largest)}`);
    numbers[i] = number;
  }
  return numbers;
}
