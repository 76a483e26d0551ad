/** PyTorch files of the form before 1.6 against torch's own values; pickles that would call anything refused. */
import { describe, expect, it, vi } from 'vitest';
import { readLegacyPytorch } from '../../../src/bundle/foreign/pytorch-legacy.ts';
import { expectTyped, utf8 } from '../support.ts';
import { expectVector, vector } from './support.ts';

describe('PyTorch files of the form before 1.6', () => {
  it.each([
    'state-dict-legacy.pt', 'views-legacy.pt', 'training-protocol4-legacy.pt', 'classes-protocol4-legacy.pt',
  ])('%s: every tensor as torch holds it', (name) => {
    const read = readLegacyPytorch(vector(name));
    expectVector(name, read.tensors);
    expect(read.convention).toBe('pytorch');
  });

  it('names what it passes over: sets of protocol 4 among others', () => {
    const { metadata } = readLegacyPytorch(vector('training-protocol4-legacy.pt'));
    expect(Object.fromEntries(metadata)).toMatchObject({
      args: 'argparse.Namespace, not read',
      seen: 'builtins.set, not read',
      frozen: 'builtins.frozenset, not read',
    });
  });

  it('refuses a pickle that would call os.system, and names it', async () => {
    const error = await expectTyped(() => readLegacyPytorch(vector('refused-call-legacy.pt')), 'unsupported');
    expect(error.message).toContain('posix.system');
  });

  it('copies a storage that begins at an odd byte once, however many strided views it has', () => {
    const views = 4;
    const word = (value: number): number[] => [value, 0, 0, 0];
    const text = (value: string): number[] => [0x58, ...word(value.length), ...utf8(value)];
    const id = [
      ...utf8('('), ...text('storage'), ...utf8('ctorch\nFloatStorage\n'), ...text('0'), ...text('cpu'), ...utf8('K'), 4, ...utf8('NtQq'), 1,
    ];
    const rebuild = utf8('ctorch._utils\n_rebuild_tensor_v2\n(');
    // [2, 2] of strides 1 and 2: transposed.
    const view = [...utf8('K'), 0, ...utf8('K'), 2, ...utf8('K'), 2, 0x86, ...utf8('K'), 1, ...utf8('K'), 2, 0x86, 0x89, ...utf8('}tR')];
    const tensors = Array.from({ length: views }, (_, i) => [...text(`t${i}`), ...rebuild, ...(i === 0 ? id : [0x68, 1]), ...view]);
    const values = new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer);
    const file = Uint8Array.of(
      0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e,
      ...utf8('M'), 0xe9, 3, ...utf8('.'),
      ...utf8('}'), ...text('little_endian'), 0x88, ...utf8('s.'),
      ...utf8('}('), ...tensors.flat(), ...utf8('u.'),
      ...utf8(']'), ...text('0'), ...utf8('a.'),
      4, 0, 0, 0, 0, 0, 0, 0, ...values,
    );
    for (let shift = 0; shift < 4; shift++) {
      const bytes = new Uint8Array(file.length + shift);
      bytes.set(file, shift);
      const slice = vi.spyOn(Uint8Array.prototype, 'slice');
      const read = readLegacyPytorch({ name: 'x', bytes: bytes.subarray(shift) });
      const copies = slice.mock.calls.length;
      slice.mockRestore();
      expect(copies).toBe((file.length - values.length + shift) % 4 === 0 ? 0 : 1);
      expect(read.tensors.size).toBe(views);
      for (const { bytes: turned } of read.tensors.values()) expect([...new Float32Array(turned.slice().buffer)]).toEqual([1, 3, 2, 4]);
    }
  });

  it('refuses every truncation and a byte too many', async () => {
    const { name, bytes } = vector('state-dict-legacy.pt');
    for (let length = 0; length < bytes.length; length += 7) {
      await expectTyped(() => readLegacyPytorch({ name, bytes: bytes.subarray(0, length) }));
    }
    await expectTyped(() => readLegacyPytorch({ name, bytes: new Uint8Array([...bytes, 0]) }), 'malformed-file');
  });
});
