// tfjs-core's own encoder and decoder are the other side, and models that tfjs-layers and tfjs-converter saved.
import { io, tensor } from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import { describe, expect, it } from 'vitest';
import type { ForeignCheckpoint } from '../../../src/bundle/foreign/checkpoint.ts';
import { readForeign } from '../../../src/bundle/foreign/formats.ts';
import { describeMisfits } from '../../../src/bundle/foreign/map-names.ts';
import { stateFromForeign } from '../../../src/bundle/foreign/network.ts';
import { readTfjs, writeTfjs } from '../../../src/bundle/foreign/tfjs.ts';
import type { RawTensor } from '../../../src/bundle/safetensors.ts';
import { parseGraph } from '../../../src/model/graph.ts';
import { expectTyped, utf8 } from '../support.ts';
import { besideVector, expectVector, expectedTensors, kerasNetwork, numbersOf, vector } from './support.ts';

const read = (json: unknown, parts: Readonly<Record<string, Uint8Array>>): Promise<ForeignCheckpoint> =>
  readTfjs({ name: 'model.json', bytes: utf8(JSON.stringify(json)) }, { readBeside: async (path) => parts[path] ?? new Uint8Array(0) });

const model = (weights: readonly unknown[], paths: readonly string[] = ['group1-shard1of1.bin']) => ({
  format: 'layers-model', generatedBy: 'keras v2.9', modelTopology: { class_name: 'Sequential' }, weightsManifest: [{ paths, weights }],
});

describe('tfjs weights', () => {
  it('reads what tfjs-core encodes, cut into parts anywhere', async () => {
    const { data, specs } = await io.encodeWeights([
      { name: 'dense/kernel', tensor: tensor([[1, 2], [3, 4.5]]) },
      { name: 'steps', tensor: tensor([7], [1], 'int32') },
      { name: 'mask', tensor: tensor([true, false, true], [3], 'bool') },
      { name: 'dense/bias', tensor: tensor([-1, 0.25]) },
    ]);
    const bytes = new Uint8Array(data);
    const { tensors, convention, metadata } = await read(model(specs, ['a.bin', 'b.bin']), {
      'a.bin': bytes.subarray(0, 9),
      'b.bin': bytes.subarray(9),
    });
    expect([...tensors].map(([name, raw]) => [name, raw.dtype, raw.shape, numbersOf(raw)])).toEqual([
      ['dense/kernel', 'F32', [2, 2], [1, 2, 3, 4.5]],
      ['steps', 'I32', [1], [7]],
      ['mask', 'BOOL', [3], [1, 0, 1]],
      ['dense/bias', 'F32', [2], [-1, 0.25]],
    ]);
    expect(convention).toBe('keras');
    // Not `format`, which says another thing in the safetensors file that this becomes.
    expect(Object.fromEntries(metadata)).toEqual({ generatedBy: 'keras v2.9' });
  });

  it('writes what tfjs-core decodes, half floats among it, in parts of 4 MiB', async () => {
    const large = new Float32Array(1_100_000).map((_, i) => i);
    const tensors = new Map<string, RawTensor>([
      ['half', { dtype: 'F16', shape: [2], bytes: new Uint8Array([0, 0x3c, 0, 0xc1]) }],
      ['large', { dtype: 'F32', shape: [1_100_000], bytes: new Uint8Array(large.buffer) }],
      ['scalar', { dtype: 'I32', shape: [], bytes: new Uint8Array([5, 0, 0, 0]) }],
    ]);
    const { json, shards } = writeTfjs(tensors, 'weights');
    expect([...shards].map(([name, { byteLength }]) => [name, byteLength])).toEqual([
      ['weights-shard1of2.bin', 4_194_304],
      ['weights-shard2of2.bin', 205_704],
    ]);
    const manifest = JSON.parse(new TextDecoder().decode(json)) as {
      weightsManifest: [{ paths: string[]; weights: io.WeightsManifestEntry[] }];
    };
    const [group] = manifest.weightsManifest;
    const whole = new Uint8Array(await new Blob(group.paths.map((path) => shards.get(path) as Uint8Array<ArrayBuffer>)).arrayBuffer());
    const decoded = io.decodeWeights(whole.buffer, group.weights);
    expect([...(decoded['half']?.dataSync() ?? [])]).toEqual([1, -2.5]);
    // Not toEqual: vitest walks a million elements for 40 seconds.
    expect(decoded['large']?.dataSync().every((value, i) => value === i)).toBe(true);
    expect([...(decoded['scalar']?.dataSync() ?? [])]).toEqual([5]);
    const back = await read(manifest, Object.fromEntries(shards));
    expect([...back.tensors.keys()]).toEqual([...tensors.keys()]);
    for (const [name, raw] of tensors) {
      expect(back.tensors.get(name)).toMatchObject({ dtype: raw.dtype, shape: raw.shape });
      expect(Buffer.from(back.tensors.get(name)?.bytes ?? []).equals(raw.bytes)).toBe(true);
    }
  });

  it.each(['tfjs-layers.json', 'tfjs-graph.json'])('%s: every weight as tfjs-layers and tfjs-converter hold it', async (name) => {
    const file = await readForeign(vector(name), besideVector(name));
    expect(file.format).toBe('tfjs');
    expectVector(name, file.tensors);
  });

  it('a LayersModel becomes the state of a network', async () => {
    const name = 'tfjs-layers.json';
    const { state, report } = stateFromForeign(parseGraph(kerasNetwork), await readForeign(vector(name), besideVector(name)), [], name);
    expect(describeMisfits(report)).toEqual([]);
    const kernel = expectedTensors(name)['dense/kernel']?.values as readonly number[];
    // PyTorch's [out][channel, y, x] is Keras's [y, x, channel][out].
    expect([...(state?.parameters.get('dense.weight')?.data ?? [])]).toEqual(
      [0, 1, 2].flatMap((out) => [0, 1].flatMap((channel) => [0, 1, 2, 3].map((yx) => kernel[(2 * yx + channel) * 3 + out]))),
    );
  });

  it('refuses a part that two groups name: many would multiply its bytes', async () => {
    const group = (name: string) => ({ paths: ['a.bin'], weights: [{ name, shape: [1], dtype: 'float32' }] });
    const twice = { weightsManifest: [group('v'), group('w')] };
    const { message } = await expectTyped(() => read(twice, { 'a.bin': new Uint8Array(4) }), 'malformed-file');
    expect(message).toBe('model.json.weightsManifest[1].paths: expected file names that occur once, got "a.bin"');
  });

  it.each([
    [
      'quantised codes',
      model([{ name: 'w', shape: [4], dtype: 'float32', quantization: { dtype: 'uint8', min: 0, scale: 1 } }]),
      'unsupported',
    ],
    ['strings', model([{ name: 'w', shape: [1], dtype: 'string' }]), 'unsupported'],
    ['more bytes than weights', model([{ name: 'w', shape: [1], dtype: 'bool' }]), 'malformed-file'],
    ['fewer bytes than weights', model([{ name: 'w', shape: [2], dtype: 'float32' }]), 'malformed-file'],
    ['a name twice', model([{ name: 'w', shape: [2], dtype: 'bool' }, { name: 'w', shape: [2], dtype: 'bool' }]), 'malformed-file'],
    ['a part twice', model([], ['group1-shard1of1.bin', 'group1-shard1of1.bin']), 'malformed-file'],
    ['a part elsewhere', model([], ['../x.bin']), 'malformed-file'],
    ['extents that overflow', model([{ name: 'w', shape: [0, 2 ** 40, 2 ** 40], dtype: 'bool' }]), 'limit'],
    ['no manifest', { format: 'layers-model' }, 'malformed-file'],
  ] as const)('refuses %s', async (_what, json, code) => {
    await expectTyped(() => read(json, { 'group1-shard1of1.bin': new Uint8Array(4) }), code);
  });
});
