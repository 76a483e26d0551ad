/** ONNX and GGUF files against what onnx and gguf wrote into them; quantised, cut and overlapping ones refused. */
import { describe, expect, it } from 'vitest';
import { readGguf } from '../../../src/bundle/foreign/gguf.ts';
import { looksLikeOnnx, readOnnx } from '../../../src/bundle/foreign/onnx.ts';
import { expectTyped } from '../support.ts';
import { besideVector, expectVector, vector } from './support.ts';

describe('ONNX', () => {
  it('reads initialisers of every type, raw and listed, as onnx holds them', async () => {
    const { tensors, metadata } = await readOnnx(vector('model.onnx'));
    expectVector('model.onnx', tensors);
    expect(metadata.get('producer_name')).toBe('generate.py');
  });

  it('reads external data beside the file', async () => {
    expectVector('external.onnx', (await readOnnx(vector('external.onnx'), besideVector('external.onnx'))).tensors);
  });

  it('takes external data for as many tensors as tie their weights, and for no more', async () => {
    const part = (number: number, content: readonly number[]): number[] => [number * 8 + 2, content.length, ...content];
    const text = (value: string): number[] => [...new TextEncoder().encode(value)];
    // [2^20] bytes, all of the file `d`.
    const initialiser = (i: number): number[] => part(5, [
      8, 0x80, 0x80, 0x40, 16, 2, ...part(8, text(`t${i}`)), ...part(13, [...part(1, text('location')), ...part(2, text('d'))]), 14 * 8, 1,
    ]);
    const file = (count: number) => {
      const graph = Array.from({ length: count }, (_, i) => initialiser(i)).flat();
      return { name: 'x.onnx', bytes: Uint8Array.of(8, 7, 7 * 8 + 2, (graph.length & 127) | 128, graph.length >> 7, ...graph) };
    };
    const options = { readBeside: async () => new Uint8Array(2 ** 20) };
    expect((await readOnnx(file(64), options)).tensors.size).toBe(64);
    await expectTyped(() => readOnnx(file(66), options), 'limit');
  });

  it('refuses external data that is cut short, elsewhere or not given', async () => {
    await expectTyped(() => readOnnx(vector('external.onnx'), { readBeside: async () => new Uint8Array(10) }), 'malformed-file');
    expect((await expectTyped(() => readOnnx(vector('external.onnx')), 'malformed-file')).message).toContain('external.onnx.data');
    const { name, bytes } = vector('external.onnx');
    const text = Buffer.from(bytes).toString('latin1').replaceAll('external.onnx.data', '../external.onnx.d');
    await expectTyped(() => readOnnx({ name, bytes: Buffer.from(text, 'latin1') }, besideVector('external.onnx')), 'malformed-file');
  });

  it('refuses truncations within the graph', async () => {
    const { name, bytes } = vector('model.onnx');
    for (let length = 0; length < 500; length += 3) await expectTyped(() => readOnnx({ name, bytes: bytes.subarray(0, length) }));
  });

  it('is told from other files by its first bytes', () => {
    expect(looksLikeOnnx(vector('model.onnx').bytes)).toBe(true);
    for (const other of ['state-dict.pt', 'state-dict-legacy.pt', 'model.gguf', 'arrays.npz', 'expected.json'])
      expect(looksLikeOnnx(vector(other).bytes)).toBe(false);
  });
});

describe('GGUF', () => {
  it('reads tensors in the order of extents that numpy had, and values as text', () => {
    const { tensors, metadata } = readGguf(vector('model.gguf'));
    expectVector('model.gguf', tensors);
    expect(Object.fromEntries(metadata)).toEqual({
      'general.architecture': 'llama',
      'general.alignment': '64',
      'llama.rope': '0.5',
      tokens: '2 values',
      scores: '3 values',
      'general.flag': 'true',
    });
  });

  it('refuses quantised tensors, naming tensor and type', async () => {
    const { name, bytes } = vector('model.gguf');
    const damaged = bytes.slice();
    // ggml type 28 (F64) of the last tensor becomes 12 (Q4_K).
    const at = Buffer.from(damaged).lastIndexOf(Buffer.from([28, 0, 0, 0]));
    damaged[at] = 12;
    expect((await expectTyped(() => readGguf({ name, bytes: damaged }), 'unsupported')).message).toContain('blk.0.bias');
  });

  it('takes vocabularies whose tokens are no UTF-8, and says which tensor is cut short', async () => {
    const { name, bytes } = vector('model.gguf');
    const odd = bytes.slice();
    // Of "tokens", an array (9) of texts (8) of which there are two, the first letter of the first becomes a half letter's byte.
    const array = Buffer.from(odd).indexOf(Buffer.from([...Buffer.from('tokens'), 9, 0, 0, 0, 8, 0, 0, 0, 2]));
    expect(array).toBeGreaterThan(0);
    odd[array + 6 + 4 + 4 + 8 + 8] = 0xe6;
    expectVector('model.gguf', readGguf({ name, bytes: odd }).tensors);
    const { message } = await expectTyped(() => readGguf({ name, bytes: bytes.subarray(0, -65) }), 'malformed-file');
    expect(message).toMatch(/^model\.gguf\.blk\.0\.[a-z.]+: expected \d+ bytes from byte \d+ on, got a file of \d+$/);
  });

  it('refuses overlaps and truncations', async () => {
    const { name, bytes } = vector('model.gguf');
    const damaged = bytes.slice();
    const at = Buffer.from(damaged).lastIndexOf(Buffer.from([28, 0, 0, 0])) + 4;
    damaged.fill(0, at, at + 8);
    await expectTyped(() => readGguf({ name, bytes: damaged }), 'malformed-file');
    for (let length = 0; length < bytes.length - 64; length += 3)
      await expectTyped(() => readGguf({ name, bytes: bytes.subarray(0, length) }));
  });
});
