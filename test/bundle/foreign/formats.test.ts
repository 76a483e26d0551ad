/** Telling kinds of weight files apart by content, and writing one kind from another without rounding. */
import { describe, expect, it } from 'vitest';
import { detect, readForeign } from '../../../src/bundle/foreign/formats.ts';
import { writableFormatOf, writeForeign } from '../../../src/bundle/foreign/write.ts';
import { type RawTensor, writeSafetensors } from '../../../src/bundle/safetensors.ts';
import { expectTyped, utf8 } from '../support.ts';
import { besideVector, expectVector, numbersOf, vector } from './support.ts';

describe('kinds of files', () => {
  it.each([
    ['state-dict.pt', 'pytorch'],
    ['dtypes.pth', 'pytorch'],
    ['views-legacy.pt', 'pytorch-legacy'],
    ['model.onnx', 'onnx'],
    ['external.onnx', 'onnx'],
    ['model.gguf', 'gguf'],
  ] as const)('%s is known by its bytes, whatever its name', async (name, format) => {
    const { bytes } = vector(name);
    expect(await detect({ name: 'checkpoint', bytes })).toBe(format);
    const read = await readForeign({ name: 'checkpoint', bytes }, besideVector(name));
    expect(read.format).toBe(format);
    expectVector(name, read.tensors);
  });

  it('knows safetensors, also one whose header length is an opening brace', async () => {
    const tensors = new Map<string, RawTensor>([['w', { dtype: 'U8', shape: [1], bytes: new Uint8Array(1) }]]);
    const plain = writeSafetensors(tensors);
    expect(await detect({ name: 'x', bytes: plain })).toBe('safetensors');
    const header = `{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`.padEnd(0x7b);
    const brace = new Uint8Array([0x7b, 0, 0, 0, 0, 0, 0, 0, ...utf8(header), 7]);
    expect((await readForeign({ name: 'x', bytes: brace })).tensors.get('w')?.bytes).toEqual(new Uint8Array([7]));
  });

  it('does not parse a JSON document of any size to know it', async () => {
    const bytes = new Uint8Array(64 * 2 ** 20 + 1).fill(0x20);
    bytes[0] = 0x7b;
    await expectTyped(() => detect({ name: 'model.json', bytes }), 'limit');
    bytes[8] = 0x7b;
    expect(await detect({ name: 'model.safetensors', bytes })).toBe('safetensors');
  });

  it.each([
    ['a pointer of Git LFS', 'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 267\n', /git lfs pull/],
    ['a web page', '\n<!DOCTYPE html>\n<html lang="en">', /resolve, not blob/],
    ['a web page in other letters', '<HTML>', /resolve, not blob/],
  ])('says what to do about %s', async (_what, text, advice) => {
    for (const name of ['model.safetensors', 'pytorch_model.bin', 'model.onnx']) {
      const error = await expectTyped(() => readForeign({ name, bytes: new TextEncoder().encode(text) }), 'malformed-file');
      expect(error.message).toMatch(advice);
    }
  });

  it('refuses bytes and tensors that are none, saying what would be', async () => {
    for (const bytes of [new ArrayBuffer(8), new Blob(['a']), Promise.resolve(new Uint8Array(8)), 'a'])
      expect((await expectTyped(() => readForeign({ name: 'a', bytes: bytes as never }), 'invalid-argument')).field).toBe('file.bytes');
    const state = { parameters: new Map(), buffers: new Map() };
    const error = await expectTyped(() => writeForeign(state as never, { format: 'npz', name: 'a.npz' }), 'invalid-argument');
    expect(error.message).toMatch(/^tensors: expected a Map of tensors.*got Object$/);
  });

  it('refuses what it does not know, saying what it would', async () => {
    for (const bytes of [utf8('hello world'), utf8('{"a":1}'), new Uint8Array(100)]) {
      const error = await expectTyped(() => readForeign({ name: 'notes.txt', bytes }), 'unsupported');
      expect(error.message).toContain('PyTorch');
    }
    await expectTyped(() => readForeign({ name: 'empty.pt', bytes: new Uint8Array(0) }), 'malformed-file');
  });
});

describe('writing another kind', () => {
  const raw = (dtype: RawTensor['dtype'], bytes: readonly number[]): RawTensor => ({ dtype, shape: [], bytes: new Uint8Array(bytes) });

  it.each([
    ['npz', 'BF16', [0x80, 0x3f], 'F32', 1],
    ['tfjs', 'BF16', [0x80, 0xbf], 'F32', -1],
    ['tfjs', 'I64', [0xfb, 255, 255, 255, 255, 255, 255, 255], 'I32', -5],
    ['tfjs', 'U16', [255, 255], 'I32', 65_535],
    ['tfjs', 'I8', [255], 'I32', -1],
  ] as const)('%s holds %s exactly, in another type', async (format, dtype, bytes, to, value) => {
    const { files, changed } = await writeForeign(new Map([['x', raw(dtype, bytes)]]), { format, name: 'out.json' });
    expect(changed).toEqual([{ name: 'x', from: dtype, to }]);
    if (format !== 'tfjs') return;
    const back = await readForeign(
      { name: 'out.json', bytes: files[0]?.bytes as Uint8Array },
      { readBeside: async (path) => files.find(({ name }) => name === path)?.bytes as Uint8Array },
    );
    expect(numbersOf(back.tensors.get('x') as RawTensor)).toEqual([value]);
  });

  it('refuses what would be rounded or cut, unless asked for F32', async () => {
    const wide = new Map([['x', raw('F64', [0, 0, 0, 0, 0, 0, 0xf0, 0x3f])]]);
    expect((await expectTyped(() => writeForeign(wide, { format: 'tfjs', name: 'o.json' }), 'unsupported')).field).toBe('x');
    const { changed } = await writeForeign(wide, { format: 'tfjs', name: 'o.json', dtype: 'f32' });
    expect(changed).toEqual([{ name: 'x', from: 'F64', to: 'F32' }]);
    await expectTyped(
      () => writeForeign(new Map([['n', raw('I64', [0, 0, 0, 0, 1, 0, 0, 0])]]), { format: 'tfjs', name: 'o.json' }),
      'unsupported',
    );
  });

  it('keeps the bytes of every tensor from PyTorch to safetensors', async () => {
    const { tensors } = await readForeign(vector('dtypes.pth'));
    const { files, changed } = await writeForeign(tensors, {
      format: 'safetensors',
      name: 'o.safetensors',
      metadata: new Map([['epoch', '7']]),
    });
    expect(changed).toEqual([]);
    const back = await readForeign({ name: 'o.safetensors', bytes: files[0]?.bytes as Uint8Array });
    expectVector('dtypes.pth', back.tensors);
    expect(back.metadata.get('epoch')).toBe('7');
  });

  it('knows the kind by the name', async () => {
    expect(['a.safetensors', 'b.NPZ', 'model.json'].map(writableFormatOf)).toEqual(['safetensors', 'npz', 'tfjs']);
    await expectTyped(() => writableFormatOf('a.pt'), 'invalid-argument');
  });
});
