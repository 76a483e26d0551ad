/** npz archives against numpy's own, byte for byte an array. */
import { describe, expect, it } from 'vitest';
import { memorySource } from '../../../src/bundle/random-access.ts';
import type { Dtype } from '../../../src/bundle/dtype.ts';
import { readForeign } from '../../../src/bundle/foreign/formats.ts';
import { writeNpy } from '../../../src/bundle/foreign/npy.ts';
import { writeNpz } from '../../../src/bundle/foreign/npz.ts';
import type { RawTensor } from '../../../src/bundle/safetensors.ts';
import { openZip } from '../../../src/bundle/zip-reader.ts';
import { expectTyped } from '../support.ts';
import { expectVector, expectedTensors, vector } from './support.ts';

/** Little-endian bytes of numbers, by DataView calls of this test's own. */
function bytesOf(dtype: Dtype, values: readonly number[]): Uint8Array {
  const width = { F64: 8, F32: 4, F16: 2, I64: 8, U64: 8, I32: 4, U32: 4, I16: 2, U16: 2, I8: 1, U8: 1, BOOL: 1 }[dtype as 'F32'];
  const bytes = new Uint8Array(values.length * width);
  const view = new DataView(bytes.buffer);
  for (const [i, value] of values.entries()) {
    if (dtype === 'F64') view.setFloat64(8 * i, value, true);
    else if (dtype === 'F32') view.setFloat32(4 * i, value, true);
    // 0, 1/8, 1/4, 3/8 as halves.
    else if (dtype === 'F16') view.setUint16(2 * i, [0, 0x3000, 0x3400, 0x3600][value * 8] as number, true);
    else for (let b = 0; b < width; b++) bytes[width * i + b] = b === 0 ? value : 0;
  }
  return bytes;
}

const tensors = new Map(
  Object.entries(expectedTensors('arrays.npz')).map(([name, { dtype, shape, values }]): [string, RawTensor] => [
    name,
    { dtype: dtype as Dtype, shape, bytes: bytesOf(dtype as Dtype, values) },
  ]),
);

describe('npz', () => {
  it('is read as numpy holds it', async () => {
    const { format, tensors: read } = await readForeign({ ...vector('arrays.npz'), name: 'x' });
    expect(format).toBe('npz');
    expectVector('arrays.npz', read);
  });

  it('holds the very bytes that numpy writes for each array', async () => {
    const ours = await openZip(memorySource(await writeNpz(tensors)));
    const numpys = await openZip(memorySource(vector('arrays.npz').bytes));
    expect(new Set(ours.entries.keys())).toEqual(new Set(numpys.entries.keys()));
    for (const name of numpys.entries.keys()) expect([name, await ours.read(name)]).toEqual([name, await numpys.read(name)]);
  });

  it('is the same file every time', async () => {
    expect(await writeNpz(tensors)).toEqual(await writeNpz(new Map(tensors)));
  });

  it('refuses BF16, bytes that do not fill the shape, and names that leave the archive', async () => {
    await expectTyped(() => writeNpy('w', { dtype: 'BF16', shape: [1], bytes: new Uint8Array(2) }), 'unsupported');
    await expectTyped(() => writeNpy('w', { dtype: 'F32', shape: [2], bytes: new Uint8Array(4) }), 'malformed-file');
    await expectTyped(
      () => writeNpz(new Map([['../w', { dtype: 'F32', shape: [], bytes: new Uint8Array(4) } as const]])),
      'malformed-file',
    );
  });
});
