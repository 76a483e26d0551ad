/** The npy and npz formats by hand-written headers, and against numpy where Python has it. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readNpy, writeNpy } from '../../src/bundle/foreign/npy.ts';
import { readNpz, writeNpz } from '../../src/bundle/foreign/npz.ts';
import { type RawTensor, rawToFloat32 } from '../../src/bundle/safetensors.ts';
import { ZipWriter, memorySink } from '../../src/bundle/zip-writer.ts';
import { concat, expectTyped, utf8 } from './support.ts';

const floats = (...values: number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);

function npy(header: string, data: Uint8Array, { major = 1, length }: { major?: number; length?: number } = {}): Uint8Array {
  const text = utf8(header);
  const size = length ?? text.byteLength;
  const prefix = major === 1 ? [size & 255, size >> 8] : [size & 255, (size >> 8) & 255, (size >> 16) & 255, size >>> 24];
  return concat(Uint8Array.of(0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, major, 0, ...prefix), text, data);
}

const header = (shape: string, descr = "'<f4'", order = 'False'): string =>
  `{'descr': ${descr}, 'fortran_order': ${order}, 'shape': ${shape}, }\n`;

describe('reading', () => {
  test.each<[string, string, number[], number[]]>([
    ['a matrix', header('(2, 2)'), [2, 2], [1, 2, 3, 4]],
    ['a vector', header('(4,)'), [4], [1, 2, 3, 4]],
    ['keys in another order, no last comma, double quotes', `{"shape": (4,), "fortran_order": False, "descr": "<f4"}`, [4], [1, 2, 3, 4]],
    ['Fortran order', header('(2, 2)', "'<f4'", 'True'), [2, 2], [1, 3, 2, 4]],
    ['Python 2 integers', header('(2L, 2L)'), [2, 2], [1, 2, 3, 4]],
  ])('%s', (_, text, shape, values) => {
    for (const major of [1, 2, 3]) {
      const tensor = readNpy(npy(text, floats(1, 2, 3, 4), { major }));
      expect(tensor.shape).toEqual(shape);
      expect([...rawToFloat32('x', tensor)]).toEqual(values);
    }
  });

  test('Fortran order of three axes', () => {
    // a[i][j][k] = 100 i + 10 j + k, written first axis fastest.
    const values: number[] = [];
    for (let k = 0; k < 4; k++) for (let j = 0; j < 3; j++) for (let i = 0; i < 2; i++) values.push(100 * i + 10 * j + k);
    const read = rawToFloat32('x', readNpy(npy(header('(2, 3, 4)', "'<f4'", 'True'), floats(...values))));
    expect([...read]).toEqual(Array.from({ length: 24 }, (_, at) => 100 * Math.floor(at / 12) + 10 * (Math.floor(at / 4) % 3) + (at % 4)));
  });

  test('big-endian numbers', () => {
    const data = new Uint8Array(8);
    new DataView(data.buffer).setFloat64(0, -1.5);
    expect([...rawToFloat32('x', readNpy(npy(header('()', "'>f8'"), data)))]).toEqual([-1.5]);
    // Of a complex number each part by itself.
    const [real, imaginary] = [Uint8Array.of(0x3f, 0x80, 0, 0), Uint8Array.of(0xc0, 0x20, 0, 0)];
    const { bytes } = readNpy(npy(header('()', "'>c8'"), Uint8Array.of(...real, ...imaginary)));
    expect(bytes).toEqual(floats(1, -2.5));
  });

  test.each<[string, string | Uint8Array]>([
    ['a lone extent without a comma', npy(header('(4)'), floats(1, 2, 3, 4))],
    ['a list as shape', header('[4]')],
    ['a negative extent', header('(-4,)')],
    ['an extent that is true', header('(True,)')],
    ['an extent with a leading zero', header('(04,)')],
    ['an extent with an underscore', header('(4_0,)')],
    ['an extent with a point', header('(4.0,)')],
    ['a hexadecimal extent', header('(0x4,)')],
    ['two commas', header('(4,,)')],
    ['nested tuples', header('((4,),)')],
    ['parentheses without end', header('('.repeat(5000))],
    ['an order that is text', header('(4,)', "'<f4'", "'False'")],
    ['an order that is a number', header('(4,)', "'<f4'", '0')],
    ['a key more', "{'descr': '<f4', 'fortran_order': False, 'shape': (4,), 'x': 1}"],
    ['a key twice', "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (4,)}"],
    ['a key less', "{'descr': '<f4', 'shape': (4,)}"],
    ['text behind the dictionary', `${header('(4,)')}x`],
    ['an expression', "{'descr': '<f4', 'fortran_order': False, 'shape': (2*2,)}"],
    ['a call', "{'descr': '<f4', 'fortran_order': False, 'shape': tuple([4])}"],
    ['an escape in a key', "{'d\\x65scr': '<f4', 'fortran_order': False, 'shape': (4,)}"],
    ['the byte order of the machine', header('(4,)', "'=f4'")],
    ['no byte order', header('(4,)', "'f4'")],
    ['Python objects', header('(4,)', "'|O'")],
    ['nine axes', header('(4, 1, 1, 1, 1, 1, 1, 1, 1)')],
    ['an overflowing shape', header('(4294967296, 4294967296)')],
    ['an overflowing shape with a zero', header('(0, 4294967296, 4294967296)')],
    ['more elements than bytes', header('(5,)')],
    ['fewer elements than bytes', header('(3,)')],
    ['an empty header', ''],
  ])('refuses %s', async (_, file) => {
    const error = await expectTyped(() => readNpy(typeof file === 'string' ? npy(file, floats(1, 2, 3, 4)) : file));
    expect(['malformed-file', 'limit']).toContain(error.code);
  });

  test.each(["'<U3'", "'|S4'", "'<M8[ns]'", "'<c16'", "'|V4'", "[('a', '<f4')]"])('%s is unsupported', async (descr) => {
    await expectTyped(() => readNpy(npy(header('(1,)', descr), floats(1))), 'unsupported');
  });

  test('refuses every truncation and lying lengths', async () => {
    const good = npy(header('(2,)'), floats(1, 2));
    for (let length = 0; length < good.byteLength; length++) await expectTyped(() => readNpy(good.subarray(0, length)));
    for (const length of [0, 5, 60, 5000, 2 ** 31, 2 ** 32 - 1]) {
      await expectTyped(() => readNpy(npy(header('(2,)'), floats(1, 2), { major: 2, length })));
    }
  });
});

const samples = new Map<string, RawTensor>([
  ['w', { dtype: 'F32', shape: [2, 2], bytes: floats(1, -0, Number.NaN, Infinity) }],
  ['scalar', { dtype: 'F64', shape: [], bytes: new Uint8Array(Float64Array.of(0.1).buffer) }],
  ['empty', { dtype: 'F16', shape: [0, 3], bytes: new Uint8Array(0) }],
  ['layer/é', { dtype: 'I64', shape: [1], bytes: new Uint8Array(BigInt64Array.of(-5n).buffer) }],
  ['flags', { dtype: 'BOOL', shape: [3], bytes: Uint8Array.of(1, 0, 1) }],
]);

describe('writing', () => {
  test('what is written is read', async () => {
    for (const [name, tensor] of samples) expect(readNpy(writeNpy(name, tensor))).toEqual(tensor);
    expect(await readNpz(await writeNpz(samples))).toEqual(samples);
    await expectTyped(() => writeNpy('x', { dtype: 'BF16', shape: [1], bytes: new Uint8Array(2) }), 'unsupported');
    await expectTyped(() => writeNpy('x', { dtype: 'F32', shape: [2], bytes: new Uint8Array(4) }), 'malformed-file');
  });

  test('members that are no arrays, and names that would collide, are refused', async () => {
    for (const name of ['w', 'readme.txt', 'w.npy/x.npy']) {
      const { sink, bytes } = memorySink();
      const zip = await ZipWriter.open(sink);
      await zip.addStored(name, new Uint8Array(utf8('text')));
      await zip.finish();
      await expectTyped(() => readNpz(bytes()), 'malformed-file');
    }
  });

  const numpy = (() => {
    try {
      return execFileSync('python3', ['-c', 'import numpy; print("ok")'], { stdio: 'pipe' }).toString().trim() === 'ok';
    } catch {
      return false;
    }
  })();
  test.skipIf(!numpy)('NumPy reads what we write, and we what it writes (skipped where there is no NumPy)', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'trajport-'));
    writeFileSync(join(folder, 'a.npz'), await writeNpz(samples));
    const script =
      'import numpy as np,sys; a=dict(np.load(sys.argv[1])); np.savez_compressed(sys.argv[2], **a); print({n: (v.dtype.str, v.shape) ' +
      'for n, v in a.items()})';
    const printed = execFileSync('python3', ['-c', script, join(folder, 'a.npz'), join(folder, 'b.npz')]).toString();
    expect(printed.trim()).toBe(
      "{'w': ('<f4', (2, 2)), 'scalar': ('<f8', ()), 'empty': ('<f2', (0, 3)), 'layer/é': ('<i8', (1,)), 'flags': ('|b1', (3,))}",
    );
    expect(await readNpz(readFileSync(join(folder, 'b.npz')))).toEqual(samples);
  });
});
