/** Checkpoints in parts with an index: every part gathered, no path outside the folder opened. */
import { describe, expect, it } from 'vitest';
import { readForeign } from '../../../src/bundle/foreign/formats.ts';
import { type RawTensor, writeSafetensors } from '../../../src/bundle/safetensors.ts';
import { expectTyped, utf8 } from '../support.ts';
import { besideVector, expectVector, vector } from './support.ts';

const tensor = (...values: number[]): RawTensor => ({
  dtype: 'F32',
  shape: [values.length],
  bytes: new Uint8Array(new Float32Array(values).buffer),
});
const shards: Record<string, Uint8Array> = {
  'model-00001-of-00002.safetensors': writeSafetensors(new Map([['a', tensor(1)], ['b', tensor(2, 3)]]), new Map([['format', 'pt']])),
  'model-00002-of-00002.safetensors': writeSafetensors(new Map([['c', tensor(4)]])),
};
const [first, second] = Object.keys(shards) as [string, string];
const read = (weightMap: Record<string, unknown>) =>
  readForeign(
    { name: 'model.safetensors.index.json', bytes: utf8(JSON.stringify({ metadata: { total_size: 16 }, weight_map: weightMap })) },
    { readBeside: async (path) => shards[path] ?? new Uint8Array(0) },
  );

describe('checkpoints in parts', () => {
  it('reads what the safetensors library wrote', async () => {
    const name = 'safetensors-sharded.safetensors.index.json';
    expectVector(name, (await readForeign(vector(name), besideVector(name))).tensors);
  });

  it('gathers PyTorch shards too', async () => {
    const whole = (await readForeign(vector('state-dict.pt'))).tensors;
    const map = Object.fromEntries([...whole.keys()].map((name) => [name, 'pytorch_model-00001-of-00001.bin']));
    const file = { name: 'pytorch_model.bin.index.json', bytes: utf8(JSON.stringify({ weight_map: map })) };
    const { tensors, format } = await readForeign(file, { readBeside: async () => vector('state-dict.pt').bytes });
    expect(format).toBe('sharded');
    expect(tensors).toEqual(whole);
  });

  it('gathers the tensors of every shard', async () => {
    const { tensors, metadata } = await read({ a: first, c: second, b: first });
    expect([...tensors].map(([name, { bytes }]) => [name, [...new Float32Array(bytes.slice().buffer)]])).toEqual([
      ['a', [1]],
      ['b', [2, 3]],
      ['c', [4]],
    ]);
    expect(metadata.get('format')).toBe('pt');
  });

  it.each([
    ['a tensor that no shard holds', { a: first, b: first, c: second, d: second }, '"d"'],
    ['a tensor that the index leaves out', { a: first, c: second }, '.b'],
    ['a tensor placed in the wrong shard', { a: first, b: first, c: first }, '"c"'],
  ])('refuses %s', async (_what, map, named) => {
    expect((await expectTyped(() => read(map), 'malformed-file')).message).toContain(named);
  });

  it.each(['../secret.safetensors', '/etc/passwd', 'a\\b', 'c:x', '', 'a//b', './a'])('does not open %j', async (path) => {
    expect((await expectTyped(() => read({ a: path }), 'malformed-file')).expected).toContain('same folder');
  });

  it('says what is missing where there are no other files', async () => {
    const error = await expectTyped(() =>
      readForeign({ name: 'index.json', bytes: utf8(JSON.stringify({ weight_map: { a: 'shard.safetensors' } })) }),
    );
    expect(error.message).toContain('shard.safetensors');
  });
});
