// Comparing what is read with what the real libraries hold.
import { expect } from 'vitest';
import type { RawTensor } from '../../../src/bundle/safetensors.ts';
import { expectedTensors } from './vectors.ts';

export { besideVector, expectedTensors, vector } from './vectors.ts';

/** The network of keras2.h5, model.keras and tfjs-layers.json, as JSON. */
export const kerasNetwork = {
  version: 1,
  input: [1, 4, 4],
  nodes: [
    { name: 'conv2d', op: 'conv2d', inputs: ['input'], out: 2, kernel: [3, 3], bias: true },
    { name: 'batch_normalization', op: 'batch_norm', inputs: ['conv2d'] },
    { name: 'flatten', op: 'flatten', inputs: ['batch_normalization'] },
    { name: 'dense', op: 'dense', inputs: ['flatten'], out: 3, bias: true },
  ],
  output: 'dense',
};

/** The network of state-dict.pt, as JSON. */
export const pytorchNetwork = {
  version: 1,
  input: [1, 4, 4],
  nodes: [
    { name: 'conv', op: 'conv2d', inputs: ['input'], out: 2, kernel: [3, 3], bias: true },
    { name: 'norm', op: 'batch_norm', inputs: ['conv'] },
    { name: 'relu', op: 'relu', inputs: ['norm'] },
    { name: 'flatten', op: 'flatten', inputs: ['relu'] },
    { name: 'head', op: 'dense', inputs: ['flatten'], out: 3, bias: true },
  ],
  output: 'head',
};

/** Elements as numbers, decoded here by plain DataView calls: independent of src/bundle/dtype.ts. */
export function numbersOf({ dtype, bytes }: RawTensor): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const every = (width: number, at: (offset: number) => number): number[] =>
    Array.from({ length: bytes.byteLength / width }, (_, i) => at(i * width));
  const half = (bits: number): number => {
    const [sign, exponent, fraction] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
    return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  };
  const brain = (bits: number): number => new Float32Array(new Uint32Array([bits << 16]).buffer)[0] as number;
  switch (dtype) {
    case 'F32': return every(4, (o) => view.getFloat32(o, true));
    case 'F64': return every(8, (o) => view.getFloat64(o, true));
    case 'F16': return every(2, (o) => half(view.getUint16(o, true)));
    case 'BF16': return every(2, (o) => brain(view.getUint16(o, true)));
    case 'I64': return every(8, (o) => Number(view.getBigInt64(o, true)));
    case 'U64': return every(8, (o) => Number(view.getBigUint64(o, true)));
    case 'I32': return every(4, (o) => view.getInt32(o, true));
    case 'U32': return every(4, (o) => view.getUint32(o, true));
    case 'I16': return every(2, (o) => view.getInt16(o, true));
    case 'U16': return every(2, (o) => view.getUint16(o, true));
    case 'I8': return every(1, (o) => view.getInt8(o));
    case 'U8':
    case 'BOOL': return every(1, (o) => view.getUint8(o));
    default: throw new Error(`no numbers of ${dtype}`);
  }
}

/** Names, types, shapes and every element equal what the library that wrote the file holds. */
export function expectVector(name: string, tensors: ReadonlyMap<string, RawTensor>): void {
  const got = Object.fromEntries(
    [...tensors].map(([tensor, raw]) => [tensor, { dtype: raw.dtype, shape: [...raw.shape], values: numbersOf(raw) }]),
  );
  expect(Object.keys(got).length).toBeGreaterThan(0);
  expect(got).toEqual(expectedTensors(name));
}
