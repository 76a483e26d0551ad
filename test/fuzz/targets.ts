// The parsers of bundles as targets for mutation fuzzing, beside those of people's files.
import { deflateRawSync, gzipSync } from 'node:zlib';
import { memorySource } from '../../src/bundle/random-access.ts';
import { openCodec } from '../../src/bundle/codec-instance.ts';
import { type Coding, codedBytes, decodeFile } from '../../src/bundle/coding.ts';
import { readAdapter } from '../../src/bundle/foreign/adapter.ts';
import type { ForeignCheckpoint } from '../../src/bundle/foreign/checkpoint.ts';
import { stateFromAdapter, stateFromForeign } from '../../src/bundle/foreign/network.ts';
import { readNpy, writeNpy } from '../../src/bundle/foreign/npy.ts';
import { readNpz, writeNpz } from '../../src/bundle/foreign/npz.ts';
import { sequenceSetFromJsonLines } from '../../src/bundle/json-lines.ts';
import type { JsonValue } from '../../src/bundle/json.ts';
import { checkpointLayout } from '../../src/bundle/layout.ts';
import { parseManifest } from '../../src/bundle/manifest.ts';
import { openBundle } from '../../src/bundle/reader.ts';
import { rawToFloat32, readSafetensors, writeSafetensors } from '../../src/bundle/safetensors.ts';
import type { RawTensor } from '../../src/bundle/safetensors.ts';
import { writeBundle } from '../../src/bundle/writer.ts';
import { openZip } from '../../src/bundle/zip-reader.ts';
import { ZipWriter, memorySink } from '../../src/bundle/zip-writer.ts';
import { imageSetFromCifar } from '../../src/data/cifar.ts';
import { gunzip } from '../../src/data/gzip.ts';
import { imageSetFromIdx, readIdx } from '../../src/data/idx.ts';
import { readTar } from '../../src/data/tar.ts';
import { parameterLayout } from '../../src/model/graph.ts';
import { preset } from '../../src/model/presets.ts';
import { elementCount } from '../../src/tensor/tensor.ts';
import type { NetworkState } from '../../src/tensor/tensor.ts';
import { requireAdapterOf } from '../../src/transfer/adapter.ts';
import { arrays, fuzzTargets as foreignTargets, type FuzzTarget } from '../bundle/foreign/fuzz-targets.ts';
import { trajectory } from '../bundle/trajectory.ts';
import { longName, paxHeader, tarEntry } from '../data/tar-archive.ts';

const codec = await openCodec();
const graph = preset('mlp', { input: [3], widths: [5], classes: 2 });
const layout = checkpointLayout(graph);
const text = (value: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(value) as Uint8Array<ArrayBuffer>;

const tensors = new Map<string, RawTensor>([
  ['w', { dtype: 'F32', shape: [2, 3], bytes: new Uint8Array(24).fill(7) }],
  ['half', { dtype: 'F16', shape: [3], bytes: new Uint8Array(6).fill(0x3c) }],
  ['count', { dtype: 'I64', shape: [], bytes: new Uint8Array(8) }],
  ['empty', { dtype: 'F64', shape: [0, 4], bytes: new Uint8Array(0) }],
]);

async function zips(): Promise<Uint8Array[]> {
  const { sink, bytes } = memorySink();
  const zip = await ZipWriter.open(sink);
  await zip.addStored('a.txt', text('stored'));
  const content = text('deflated deflated deflated');
  await zip.addPacked('folder/é', {
    method: 8,
    crc32: codec.crc32(content),
    bytes: content.byteLength,
    parts: [new Uint8Array(deflateRawSync(content))],
  });
  await zip.finish();
  return [bytes(), Uint8Array.from({ length: 22 }, (_, i) => [0x50, 0x4b, 5, 6][i] ?? 0), await writeNpz(tensors)];
}

async function parseZip(bytes: Uint8Array): Promise<void> {
  const zip = await openZip(memorySource(bytes));
  for (const name of zip.entries.keys()) await zip.read(name);
}

const bundles = async (): Promise<Uint8Array[]> =>
  Promise.all(
    (['full', 'lossless', 'int8', 'int4'] as const).map(async (coding) =>
      writeBundle({ graph, checkpoints: trajectory(graph, 3), training: { a: [1, null] } }, { coding }),
    ),
  );

async function parseBundle(bytes: Uint8Array): Promise<void> {
  using bundle = await openBundle(bytes);
  await bundle.verify();
}

async function manifests(): Promise<Uint8Array[]> {
  return Promise.all((await bundles()).map(async (bytes) => (await openZip(memorySource(bytes))).read('trajectory.json')));
}

const STREAM_HEAD_BYTES = 5;

/** DEFLATE streams of zlib's, behind the length (a byte) and the CRC-32 that are promised. */
const streams = async (): Promise<Uint8Array[]> =>
  [text('a'), text('abcabcabcabcabcabc'.repeat(9)), new Uint8Array(255), Uint8Array.from({ length: 200 }, (_, i) => (i * i) & 255)].flatMap(
    (data) => {
      const head = new Uint8Array(STREAM_HEAD_BYTES).fill(data.byteLength, 0, 1);
      new DataView(head.buffer).setUint32(1, codec.crc32(data), true);
      return [0, 1, 9].map((level) => Uint8Array.from([...head, ...deflateRawSync(data, { level })]));
    },
  );

function parseStream(bytes: Uint8Array): void {
  const length = bytes[0] ?? 0;
  const crc32 = bytes.byteLength < STREAM_HEAD_BYTES ? 0 : new DataView(bytes.buffer, bytes.byteOffset).getUint32(1, true);
  const reader = codec.inflate('fuzz', bytes.subarray(STREAM_HEAD_BYTES), length, crc32);
  reader.readInto(new Uint8Array(length));
  reader.finish();
}

/** Coded checkpoints behind a good ZIP: any bytes of the right length decode to something, and nothing is read out of bounds. */
const coded = (coding: Exclude<Coding, 'seed'>): FuzzTarget => ({
  name: `coding ${coding}`,
  seeds: async () => [new Uint8Array(codedBytes(coding, layout.fileBytes, layout.range)).fill(0x41)],
  parse: (bytes) => {
    const file = new Uint8Array(layout.fileBytes);
    decodeFile(codec, coding, codec.stored('fuzz', bytes, codec.crc32(bytes)), file, layout.range);
  },
});

const numbered = (shape: readonly number[]): RawTensor => {
  const values = Float32Array.from({ length: elementCount(shape) }, (_, i) => ((i * 7) % 11) / 8);
  return { dtype: 'F32', shape, bytes: new Uint8Array(values.buffer) };
};
const fileOf = (shapes: Iterable<readonly [string, readonly number[]]>): ForeignCheckpoint =>
  ({ tensors: new Map([...shapes].map(([name, shape]) => [name, numbered(shape)])), metadata: new Map(), convention: 'pytorch' });
const base = fileOf(parameterLayout(graph).parameters.map(({ name, shape }) => [name, shape]));
const v1 = stateFromForeign(graph, base).state as NetworkState;

const CONFIG_KEYS = ['peft_type', 'lora_alpha', 'alpha_pattern', 'use_rslora', 'fan_in_fan_out', 'use_dora', 'target_parameters'];
const CONFIG_VALUES: readonly JsonValue[] = [
  'LORA', 4, {}, false, true, null, [], -1, 0, 1e300, Number.MIN_VALUE, 'x', [1], { linear1: 3 }, { '^linear2': 2, '': 1 }, { '.*': 1 },
  { a: [] },
];
const NAME_BEGINNINGS = ['base_model.model.', '', 'base_model.', '.', '__proto__.'];
const NAME_ENDINGS = [
  '.lora_A.weight', '.lora_B.weight', '.lora_A', '.lora_B', '.lora_embedding_A', '.lora_embedding_B', '.weight', '.bias', '',
  '.base_layer.weight', '.lora_A.default.weight', '.lora_magnitude_vector', '.modules_to_save.weight',
];
const modules = [...base.tensors.keys()].map((name) => name.replace(/\.(weight|bias)$/, ''));
const TENSOR_BYTES = 7;

/**
 * LoRA adapters, each byte of which chooses something of one: damage to the files themselves would hardly reach behind their readers.
 * First a value for each setting, then of each tensor beginning, module, ending, rank and three extents.
 */
async function adapters(): Promise<Uint8Array[]> {
  const plain = [0, 1, 2, 3, 3, 3, 6];
  const [first, last] = [0, modules.length - 1];
  const factors = [[0, first, 0, 2, 2, 3, 1], [0, first, 1, 2, 5, 2, 1]].flat();
  return [
    [...plain, ...factors],
    [0, 1, 13, 4, 3, 3, 6, ...factors, 0, first, 7, 1, 5, 1, 1],
    [0, 1, 2, 3, 4, 5, 5, 1, last, 3, 2, 2, 1, 1, 1, last, 2, 2, 1, 5, 1, ...factors],
  ].map((bytes) => Uint8Array.from(bytes));
}

async function parseAdapter(bytes: Uint8Array): Promise<void> {
  const choice = <T>(list: readonly T[], at: number): T => list[(bytes[at] ?? 0) % list.length] as T;
  const config = Object.fromEntries(CONFIG_KEYS.map((key, i) => [key, choice(CONFIG_VALUES, i)]));
  const shapes = new Map<string, readonly number[]>();
  for (let at = CONFIG_KEYS.length; at + TENSOR_BYTES <= bytes.length; at += TENSOR_BYTES) {
    const name = choice(NAME_BEGINNINGS, at) + choice(modules, at + 1) + choice(NAME_ENDINGS, at + 2);
    shapes.set(name, [...bytes.subarray(at + 4, at + 4 + ((bytes[at + 3] as number) % 4))].map((extent) => extent % 9));
  }
  const adapter = readAdapter(fileOf(shapes), config, 'fuzz');
  const { state } = await stateFromAdapter(graph, base, adapter);
  if (state !== undefined) await requireAdapterOf({ graph, adapter, base }, v1, state);
}

/** Tar archives with every kind of extended header. */
const archives = async (): Promise<Uint8Array[]> => [
  Uint8Array.from(Buffer.concat([longName('d/'.repeat(80)), longName('b', 'K'), tarEntry('a', 'hello'), tarEntry('d/', '', '5')])),
  Uint8Array.from(Buffer.concat([
    paxHeader('g', ['comment', 'é']), paxHeader('x', ['path', 'p'], ['size', '5'], ['linkpath', 'q']),
    tarEntry('a', 'hello', '0', 0, 'folder'),
    tarEntry('b', '', '1', 0, '', { at: [[157, 'p']] }), Buffer.alloc(1024),
  ])),
];

/** Every block's checksum is made right, or hardly any damage would be looked at. */
function parseTar(bytes: Uint8Array): void {
  for (let at = 0; at + 512 <= bytes.length; at += 512) {
    const block = bytes.subarray(at, at + 512);
    // Blocks of content have none of a header's magic.
    if (String.fromCharCode(...block.subarray(257, 260)) !== 'ust') continue;
    block.fill(0x20, 148, 156);
    block.set(text(block.reduce((sum, byte) => sum + byte, 0).toString(8).padStart(6, '0')), 148);
  }
  readTar('fuzz', bytes);
}

/** An IDX file of bytes. */
const idx = (shape: readonly number[]): Uint8Array => {
  const file = new Uint8Array(4 + 4 * shape.length + elementCount(shape)).fill(1);
  file.set([0, 0, 8, shape.length]);
  for (const [axis, extent] of shape.entries()) new DataView(file.buffer).setUint32(4 + 4 * axis, extent);
  return file;
};
const small = 65_536;

export const targets: readonly FuzzTarget[] = [
  { name: 'zip', seeds: zips, parse: parseZip },
  {
    name: 'safetensors',
    seeds: async () => [writeSafetensors(tensors, new Map([['k', 'v']])), writeSafetensors(new Map())],
    parse: (bytes) => {
      for (const [name, tensor] of readSafetensors(bytes).tensors) rawToFloat32(name, tensor);
    },
  },
  {
    name: 'npy',
    seeds: async () => [...(await arrays()), ...[...tensors].map(([name, tensor]) => writeNpy(name, tensor))],
    parse: (bytes) => readNpy(bytes),
  },
  { name: 'npz', seeds: async () => [await writeNpz(tensors)], parse: (bytes) => readNpz(bytes) },
  {
    name: 'labelled sequences',
    seeds: async () => [
      text('{"tokens":[1,2,3],"label":1}\n{"label":0,"tokens":[4],"text":"a, \\u00e9"}\n'), text('{"tokens":[7,0,0,0],"label":2}'),
    ],
    parse: (bytes) => sequenceSetFromJsonLines({ name: 'fuzz', bytes, length: 4, padding: 0, vocabulary: 9, classes: 3 }),
  },
  { name: 'tar', seeds: archives, parse: parseTar },
  {
    name: 'gzip',
    seeds: async () => [text('a'), text('abc'.repeat(99))].map((content) => new Uint8Array(gzipSync(content))),
    parse: (bytes) => gunzip('fuzz', bytes, small),
  },
  {
    name: 'images',
    seeds: async () => [idx([3, 2, 2]), idx([3, 2, 2, 3]), idx([5]), new Uint8Array(gzipSync(idx([3, 2, 2])))],
    parse: async (bytes) => {
      const images = await readIdx('fuzz', bytes, [1, 3, 4], small).catch(() => undefined);
      if (images === undefined || images.shape.length === 1) await imageSetFromCifar({ name: 'fuzz', files: [bytes], format: 'cifar10' });
      else await imageSetFromIdx({ name: 'fuzz', images: bytes, labels: idx([images.shape[0] as number]), classes: 2 });
    },
  },
  { name: 'adapter', seeds: adapters, parse: parseAdapter },
  { name: 'deflate', seeds: streams, parse: parseStream },
  { name: 'manifest', seeds: manifests, parse: parseManifest },
  { name: 'bundle', seeds: bundles, parse: parseBundle },
  coded('planes'),
  coded('xor'),
  coded('int8'),
  coded('int4'),
  ...foreignTargets,
];
