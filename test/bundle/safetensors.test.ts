/** safetensors by hand-written bytes: written, read, converted to f32, refused; and the reference files of ../shared. */
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { stateFromSafetensors, stateToSafetensors } from '../../src/bundle/network-state.ts';
import { rawToFloat32, readSafetensors, writeSafetensors } from '../../src/bundle/safetensors.ts';
import { generator } from './generator.ts';
import { expectVector, vector } from './foreign/support.ts';
import { expectTyped, rawSafetensors, shared, utf8 } from './support.ts';

const f32 = (...values: number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);
const info = (begin: number, end: number, shape = `[${(end - begin) / 4}]`, dtype = 'F32'): string =>
  `{"dtype":"${dtype}","shape":${shape},"data_offsets":[${begin},${end}]}`;

describe('writing', () => {
  test('the bytes are what the format says, by hand', () => {
    const file = writeSafetensors(new Map([['a', { dtype: 'F32', shape: [2], bytes: f32(1, -0) }]]), new Map([['k', 'v']]));
    const json = '{"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}';
    expect(file).toEqual(rawSafetensors(json.padEnd(Math.ceil(json.length / 8) * 8), f32(1, -0)));
  });

  test('write then read is the identity, bits of NaN and -0 kept, names of Object.prototype members harmless', () => {
    const bits = new Uint8Array(new Uint32Array([0x7fc0_1234, 0x8000_0000, 0xff80_0001]).buffer);
    const tensors = new Map([
      ['__proto__', { dtype: 'F32' as const, shape: [3], bytes: bits }],
      ['constructor', { dtype: 'U8' as const, shape: [1], bytes: utf8('x') }],
      ['', { dtype: 'F16' as const, shape: [2, 0], bytes: new Uint8Array(0) }],
      ['é\u{1F600}"\\', { dtype: 'I64' as const, shape: [], bytes: new Uint8Array(8) }],
    ]);
    const metadata = new Map([['__proto__', 'p'], ['toString', 't']]);
    const back = readSafetensors(writeSafetensors(tensors, metadata));
    expect(new Map([...back.tensors].toSorted())).toEqual(new Map([...tensors].toSorted()));
    expect(back.metadata).toEqual(metadata);
    expect(({} as Record<string, unknown>)['p']).toBeUndefined();
  });

  test('refuses what it could not read back', async () => {
    await expectTyped(() => writeSafetensors(new Map([['__metadata__', { dtype: 'F32', shape: [1], bytes: f32(1) }]])), 'malformed-file');
    await expectTyped(() => writeSafetensors(new Map([['a', { dtype: 'F32', shape: [2], bytes: f32(1) }]])), 'malformed-file');
    const one = { dtype: 'F32' as const, shape: [1], bytes: f32(1) };
    const error = await expectTyped(() => writeSafetensors(new Map([['a\ud800', one]])), 'malformed-file');
    expect(error.got).toBe('"a\\ud800"');
    await expectTyped(() => writeSafetensors(new Map([['a', one]]), new Map([['k', '\udc00']])), 'malformed-file');
    await expectTyped(() => writeSafetensors(new Map([['a', one]]), new Map([['\udc00', 'v']])), 'malformed-file');
    await expectTyped(() => writeSafetensors(new Map([['a', one]]), new Map([['k', 'x'.repeat(10 * 2 ** 20)]])), 'limit');
    await expectTyped(() => writeSafetensors(new Map([['x'.repeat(1025), one]])), 'limit');
    await expectTyped(() => writeSafetensors(new Map([['a', { ...one, shape: [1, 1, 1, 1, 1, 1, 1, 1, 1] }]])), 'limit');
  });
});

test('a file of every type that the safetensors library wrote, and written again as it is', () => {
  const name = 'safetensors-types.safetensors';
  const { bytes } = vector(name);
  const { tensors, metadata } = readSafetensors(bytes);
  expectVector(name, tensors);
  expect(metadata).toEqual(new Map([['format', 'np'], ['note', 'grüße']]));
  expect(readSafetensors(writeSafetensors(tensors, metadata))).toEqual({ tensors, metadata });
});

describe('conversion to f32', () => {
  const convert = (dtype: 'F16' | 'BF16' | 'F64' | 'I64' | 'U64' | 'I32' | 'U8', bytes: ArrayBuffer): Float32Array =>
    rawToFloat32('x', { dtype, shape: [], bytes: new Uint8Array(bytes) });

  test('every half: against its definition', () => {
    const halves = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const values = convert('F16', halves.buffer);
    for (let half = 0; half < 65536; half++) {
      const [sign, exponent, fraction] = [half >> 15 ? -1 : 1, (half >> 10) & 31, half & 1023];
      const expected =
        exponent === 31 ? (fraction === 0 ? sign * Infinity : NaN)
        : exponent === 0 ? sign * fraction * 2 ** -24
        : sign * (1024 + fraction) * 2 ** (exponent - 25);
      if (!Object.is(values[half], expected)) expect({ half, value: values[half] }).toEqual({ half, value: expected });
    }
  });

  test('integers of 64 bits are rounded once, to the nearest and to even among equals', () => {
    const next = generator(7);
    const random = (): bigint => (BigInt(next()) << 32n) | BigInt(next());
    const values: bigint[] = [
      2n ** 60n + 2n ** 36n + 1n,
      2n ** 60n + 2n ** 36n,
      2n ** 60n + 2n ** 36n - 1n,
      2n ** 60n + 3n * 2n ** 36n,
      2n ** 63n - 1n,
      0n,
      1n,
      2n ** 53n + 1n,
    ];
    // Middles between two f32, and one beside them; and anything.
    for (let round = 0; round < 2000; round++) {
      const exponent = BigInt(25 + (next() % 38));
      const middle = ((2n ** 23n + BigInt(next() % 2 ** 23)) * 2n + 1n) << (exponent - 24n);
      values.push(middle, middle + 1n, middle - 1n, random() >> BigInt(1 + (next() % 60)));
    }
    // By the definition, in integers: the neighbours differ by a power of two.
    const nearest = (value: bigint): bigint => {
      const size = value < 0n ? -value : value;
      const unit = 2n ** BigInt(Math.max(0, size.toString(2).length - 24));
      const below = size / unit;
      const twice = 2n * (size - below * unit);
      const rounded = (twice > unit || (twice === unit && below % 2n === 1n) ? below + 1n : below) * unit;
      return value < 0n ? -rounded : rounded;
    };
    const signed = values.flatMap((value) => [BigInt.asIntN(64, value), -BigInt.asIntN(64, value)]);
    expect([...convert('I64', BigInt64Array.from(signed).buffer)].map((value) => BigInt(value))).toEqual(signed.map(nearest));
    const unsigned = [...values, 2n ** 64n - 1n, 2n ** 63n + 2n ** 39n + 1n];
    expect([...convert('U64', BigUint64Array.from(unsigned).buffer)].map((value) => BigInt(value))).toEqual(unsigned.map(nearest));
  });

  test('the other types', () => {
    expect([...convert('BF16', Uint16Array.of(0x3f80, 0x8000, 0xff80, 0x0001).buffer)]).toEqual([1, -0, -Infinity, 2 ** -133]);
    expect([...convert('F64', Float64Array.of(0.1, 1e300, -0).buffer)]).toEqual([Math.fround(0.1), Infinity, -0]);
    expect(new Uint32Array(convert('F64', new BigUint64Array([0xfff8_0000_2000_0000n]).buffer).buffer)[0]).toBe(0xffc0_0001);
    expect([...convert('I64', BigInt64Array.of(-3n, 2n ** 40n).buffer)]).toEqual([-3, 2 ** 40]);
    expect([...convert('I32', Int32Array.of(-7).buffer)]).toEqual([-7]);
    expect([...convert('U8', Uint8Array.of(255).buffer)]).toEqual([255]);
  });

  test('types without an f32 form are unsupported, yet readable as bytes', async () => {
    const file = readSafetensors(rawSafetensors(`{"w":${info(0, 1, '[2]', 'F4')}}`, new Uint8Array(1)));
    await expectTyped(() => rawToFloat32('w', file.tensors.get('w') as never), 'unsupported');
  });
});

describe('reading', () => {
  test.each<[string, string, number, Readonly<Record<string, readonly number[]>>]>([
    ['an empty header', '{}', 0, {}],
    ['white space at the end', '{} \n\t\r ', 0, {}],
    ['tensors out of order in the header', `{"b":${info(4, 8)},"a":${info(0, 4)}}`, 8, { b: [4, 5, 6, 7], a: [0, 1, 2, 3] }],
    ['an empty tensor at the offset of a full one', `{"a":${info(0, 4)},"e":${info(0, 0)}}`, 4, { a: [0, 1, 2, 3], e: [] }],
    ['an empty tensor at the end', `{"a":${info(0, 4)},"e":${info(4, 4)}}`, 4, { a: [0, 1, 2, 3], e: [] }],
  ])('accepts %s', (_, header, bytes, content) => {
    const { tensors } = readSafetensors(rawSafetensors(header, new Uint8Array(bytes).map((_byte, i) => i)));
    expect(Object.fromEntries([...tensors].map(([name, tensor]) => [name, [...tensor.bytes]]))).toEqual(content);
  });

  test.each<[string, string | Uint8Array, number]>([
    ['nothing where the header should be', '', 0],
    ['white space at the beginning', ' {}', 0],
    ['a byte order mark', '\ufeff{}', 0],
    ['an array', '[]', 0],
    ['a trailing comma', `{"a":${info(0, 4)},}`, 4],
    ['two documents', '{}{}', 0],
    ['a comment', '{/**/}', 0],
    ['a control character in a name', `{"a\n":${info(0, 4)}}`, 4],
    ['a lone surrogate', `{"\\ud800":${info(0, 4)}}`, 4],
    ['overlong UTF-8', Uint8Array.of(0x7b, 0x22, 0xc0, 0x80, 0x22, 0x3a, 0x31, 0x7d), 0],
    ['equal keys', `{"a":${info(0, 4)},"a":${info(0, 4)}}`, 4],
    ['equal keys through an escape', `{"a":${info(0, 4)},"\\u0061":${info(0, 4)}}`, 4],
    ['equal keys that are __proto__', `{"__proto__":${info(0, 4)},"__proto__":${info(0, 4)}}`, 4],
    ['an equal field in a tensor', '{"a":{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}}', 4],
    ['a hole at the start', `{"a":${info(4, 8)}}`, 8],
    ['a hole inside', `{"a":${info(0, 4)},"b":${info(8, 12)}}`, 12],
    ['an overlap', `{"a":${info(0, 8)},"b":${info(4, 12)}}`, 12],
    ['two tensors over the same bytes', `{"a":${info(0, 4)},"b":${info(0, 4)}}`, 4],
    ['an empty tensor inside another', `{"a":${info(0, 8)},"e":${info(4, 4)}}`, 8],
    ['bytes after the last tensor', `{"a":${info(0, 4)}}`, 5],
    ['too few bytes', `{"a":${info(0, 4)}}`, 3],
    ['offsets that go backwards', `{"a":${info(4, 0, '[0]')}}`, 4],
    ['an offset with a fraction', '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0.0,4]}}', 4],
    ['an offset with an exponent', '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4e0]}}', 4],
    ['an offset of minus zero', '{"a":{"dtype":"F32","shape":[1],"data_offsets":[-0,4]}}', 4],
    ['a leading zero', '{"a":{"dtype":"F32","shape":[01],"data_offsets":[0,4]}}', 4],
    ['an offset of 2^53', '{"a":{"dtype":"F32","shape":[1],"data_offsets":[9007199254740992,9007199254740996]}}', 4],
    ['a negative extent', '{"a":{"dtype":"F32","shape":[-1,-1],"data_offsets":[0,4]}}', 4],
    ['a boolean extent', '{"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}', 4],
    ['a nested shape', '{"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}}', 4],
    ['a shape that is missing', '{"a":{"dtype":"F32","data_offsets":[0,4]}}', 4],
    ['a tensor that is null', '{"a":null}', 0],
    ['a type in small letters', `{"a":${info(0, 4, '[1]', 'f32')}}`, 4],
    ['a type that Object.prototype has', `{"a":${info(0, 4, '[1]', 'constructor')}}`, 4],
    ['more bytes than the shape has', `{"a":${info(0, 8, '[1]')}}`, 8],
    ['fewer bytes than the shape has', `{"a":${info(0, 3, '[1]')}}`, 3],
    ['half a byte', `{"a":${info(0, 1, '[1]', 'F4')}}`, 1],
    ['metadata that is null', '{"__metadata__":null}', 0],
    ['metadata with a number', '{"__metadata__":{"a":1}}', 0],
    ['an extent that overflows, then zero', `{"a":${info(0, 0, '[1152921504606846976,1152921504606846976,0]')}}`, 0],
    ['zero, then an extent that overflows', `{"a":${info(0, 0, '[0,4503599627370496,4503599627370496]')}}`, 0],
    ['nine axes', `{"a":${info(0, 4, '[1,1,1,1,1,1,1,1,1]')}}`, 4],
    ['nesting of 100,000', '{"a":' + '['.repeat(100_000), 0],
    ['a name of a megabyte', `{"${'n'.repeat(1 << 20)}":${info(0, 4)}}`, 4],
  ])('refuses %s', async (_, header, bytes) => {
    const error = await expectTyped(() => readSafetensors(rawSafetensors(header, new Uint8Array(bytes))));
    expect(['malformed-file', 'limit']).toContain(error.code);
  });

  test.each([0n, 3n, 1n << 32n, (1n << 32n) + 2n, (1n << 53n) + 3n, (1n << 63n) + 2n, (1n << 64n) - 1n])(
    'refuses a header length of %d for a header of two bytes', async (length) => {
      await expectTyped(() => readSafetensors(rawSafetensors('{}', undefined, length)));
    });

  test('refuses every truncation', async () => {
    const file = rawSafetensors(`{"a":${info(0, 4)},"b":${info(4, 8)}}`, new Uint8Array(8));
    for (let length = 0; length < file.byteLength; length++) await expectTyped(() => readSafetensors(file.subarray(0, length)));
  });
});

const layout = {
  parameters: [{ name: 'fc.weight', shape: [2, 3] }, { name: 'bn.weight', shape: [2] }],
  buffers: [{ name: 'bn.running_mean', shape: [2] }, { name: 'bn.running_var', shape: [2] }],
};

describe('network states', () => {
  const tensors = (infos: readonly { name: string; shape: number[] }[], seed: number) =>
    new Map(infos.map(({ name, shape }, t) =>
      [name, { shape, data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => seed + t + i / 8) }]));
  const state = { parameters: tensors(layout.parameters, 1), buffers: tensors(layout.buffers, 9) };

  test('go through a file unchanged, with the counters PyTorch demands', () => {
    const file = stateToSafetensors(layout, state);
    expect([...readSafetensors(file).tensors.keys()]).toEqual(
      ['bn.num_batches_tracked', 'fc.weight', 'bn.weight', 'bn.running_mean', 'bn.running_var']);
    expect(stateFromSafetensors(layout, file)).toEqual(state);
  });

  test('errors name the tensor', async () => {
    const file = stateToSafetensors(layout, state);
    const wider = { ...layout, parameters: [{ name: 'fc.weight', shape: [3, 2] }, ...layout.parameters.slice(1)] };
    expect((await expectTyped(() => stateFromSafetensors(wider, file), 'malformed-file')).message).toContain(
      'fc.weight: expected shape [3, 2], got shape [2, 3]',
    );
    const more = { ...layout, parameters: [...layout.parameters, { name: 'fc.bias', shape: [2] }] };
    expect((await expectTyped(() => stateFromSafetensors(more, file), 'malformed-file')).field).toContain('fc.bias');
    const fewer = { ...layout, parameters: layout.parameters.slice(0, 1) };
    expect((await expectTyped(() => stateFromSafetensors(fewer, file), 'malformed-file')).field).toContain('bn.weight');
    // Neither is written: of a layout that has more, nor of one that has fewer, whose file would lack a weight.
    for (const other of [more, fewer]) await expectTyped(() => stateToSafetensors(other, state), 'malformed-file');
  });
});

describe.skipIf(shared === undefined)('files of ../shared (skipped where it is absent)', () => {
  const root = join(shared ?? '', 'cases', 'safetensors');
  type Reference = { file: string; offset: number; shape: number[] };
  const caseTensors = (name: string, checkpoint: string) => {
    const folder = join(shared ?? '', 'cases', name);
    const manifest = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')) as {
      checkpoints: Record<string, { params: Record<string, Reference>; buffers?: Record<string, Reference> }>;
    };
    const { params, buffers } = manifest.checkpoints[checkpoint] as {
      params: Record<string, Reference>;
      buffers?: Record<string, Reference>;
    };
    return new Map(Object.entries({ ...params, ...buffers }).map(([key, { file, offset, shape }]) => {
      const bytes = readFileSync(join(folder, file));
      const count = shape.reduce((a, b) => a * b, 1);
      return [key, new Float32Array(Uint8Array.from(bytes.subarray(offset, offset + count * 4)).buffer)];
    }));
  };

  test.each(readdirSync(shared === undefined ? '.' : root).filter((name) => name.endsWith('.safetensors')))('%s', (name) => {
    const file = readSafetensors(readFileSync(join(root, name)));
    const [, network, checkpoint, dtype] = /^(convbn4|mlp_digits8)_((?:source|target)_epoch-?\d+)(?:_(\w+))?\.safetensors$/.exec(
      name,
    ) as RegExpExecArray;
    const expected = caseTensors(network as string, checkpoint as string);
    // Half the spacing of the type at the largest weight; F32 and F64 hold the values exactly.
    const tolerance = dtype === 'f16' ? 2 ** -11 : dtype === 'bf16' ? 2 ** -8 : 0;
    for (const [key, values] of expected) {
      const read = rawToFloat32(key, file.tensors.get(key) as never);
      let worst = 0;
      for (let i = 0; i < values.length; i++) {
        const value = values[i] as number;
        worst = Math.max(worst, Math.abs((read[i] as number) - value) / Math.max(Math.abs(value), 2 ** -14));
      }
      expect(read.length).toBe(values.length);
      expect(worst).toBeLessThanOrEqual(tolerance);
    }
    for (const [key, { dtype: type }] of file.tensors) {
      if (!expected.has(key)) expect({ key, type }).toEqual({ key: expect.stringMatching(/\.num_batches_tracked$/), type: 'I64' });
    }
  });
});
