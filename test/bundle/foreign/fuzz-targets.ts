// Every parser of people's files as a target for mutation fuzzing: bytes in; anything but a value or a typed error is a bug.
import { LimitError } from '../../../src/core/errors.ts';
import { ByteCursor } from '../../../src/bundle/foreign/byte-cursor.ts';
import { readForeign } from '../../../src/bundle/foreign/formats.ts';
import { readGguf } from '../../../src/bundle/foreign/gguf.ts';
import { readHdf5 } from '../../../src/bundle/foreign/hdf5.ts';
import { parseNameRules } from '../../../src/bundle/foreign/name-rules.ts';
import { readOnnx } from '../../../src/bundle/foreign/onnx.ts';
import { readPickle } from '../../../src/bundle/foreign/pickle.ts';
import { readLegacyPytorch } from '../../../src/bundle/foreign/pytorch-legacy.ts';
import { flattenTorch, materialiseTorch, torchHost } from '../../../src/bundle/foreign/pytorch-values.ts';
import { readPytorch } from '../../../src/bundle/foreign/pytorch.ts';
import { writeSafetensors } from '../../../src/bundle/safetensors.ts';
import { memorySource } from '../../../src/bundle/random-access.ts';
import { readTfjs } from '../../../src/bundle/foreign/tfjs.ts';
import { openZip } from '../../../src/bundle/zip-reader.ts';
import { mendChecksums } from './hdf5-file.ts';
import { vector } from './vectors.ts';

export interface FuzzTarget {
  readonly name: string;
  /** Good inputs, which are damaged. */
  seeds(): Promise<readonly Uint8Array[]>;
  parse(bytes: Uint8Array): unknown;
}

const files = (...names: readonly string[]) => async (): Promise<Uint8Array[]> => names.map((name) => vector(name).bytes);

const texts =
  (...values: readonly unknown[]) =>
  async (): Promise<Uint8Array[]> =>
    values.map((value) => new TextEncoder().encode(JSON.stringify(value)));
const readBeside = async (): Promise<Uint8Array> => new Uint8Array(16);

const tfjsModel = {
  format: 'layers-model',
  modelTopology: { config: [1, 2.5e3, null, true, 'text'] },
  weightsManifest: [
    {
      paths: ['group1-shard1of1.bin'],
      weights: [
        { name: 'dense/kernel', shape: [2, 1], dtype: 'float32' },
        { name: 'b', shape: [4], dtype: 'float32', quantization: { dtype: 'float16' } },
      ],
    },
  ],
};
const shards: Readonly<Record<string, Uint8Array>> = Object.fromEntries(
  ['a', 'b'].map((name, i) => [
    `model-0000${i + 1}-of-00002.safetensors`,
    writeSafetensors(new Map([[`${name}.weight`, { dtype: 'U8', shape: [2], bytes: new Uint8Array(2) }]])),
  ]),
);
const readShard = async (path: string): Promise<Uint8Array> => shards[path] ?? new Uint8Array(16);
const shardIndex = {
  metadata: { total_size: 16 },
  weight_map: { 'a.weight': 'model-00001-of-00002.safetensors', 'b.weight': 'model-00002-of-00002.safetensors' },
};
const rules = [{ from: 'fc*.weight', to: 'linears.$1.weight', transpose: [1, 0] }, { from: 'encoder.**', to: null }];

/** `data.pkl` of PyTorch files: behind a ZIP's checksums hardly any damage would reach the unpickler. */
async function pickles(): Promise<Uint8Array[]> {
  const names = [
    'state-dict.pt', 'state-dict-protocol4.pt', 'views.pt', 'checkpoint.pt', 'training.pt', 'classes.pt', 'refused-call.pt',
    'refused-whole-model.pt',
  ];
  return Promise.all(names.map(async (name) => (await openZip(memorySource(vector(name).bytes))).read(`${name.slice(0, -3)}/data.pkl`)));
}

/** The members of an npz file that numpy wrote. */
export async function arrays(): Promise<Uint8Array[]> {
  const zip = await openZip(memorySource(vector('arrays.npz').bytes));
  return Promise.all([...zip.entries.keys()].map((name) => zip.read(name)));
}

function parsePickle(bytes: Uint8Array): void {
  const flat = flattenTorch('fuzz', readPickle(new ByteCursor('fuzz', bytes), torchHost('fuzz')));
  materialiseTorch('fuzz', flat, (storage) => {
    // A file would have to hold these bytes; the target only has the pickle.
    if (storage.bytes > 65_536) throw new LimitError({ field: 'fuzz', expected: 'small storages', got: `${storage.bytes}` });
    return new Uint8Array(storage.bytes);
  });
}

export const fuzzTargets: readonly FuzzTarget[] = [
  { name: 'pickle', seeds: pickles, parse: parsePickle },
  {
    name: 'pytorch-legacy',
    seeds: files(
      'state-dict-legacy.pt', 'views-legacy.pt', 'training-protocol4-legacy.pt', 'classes-protocol4-legacy.pt', 'refused-call-legacy.pt',
    ),
    parse: (bytes) => readLegacyPytorch({ name: 'fuzz', bytes }),
  },
  { name: 'pytorch', seeds: files('state-dict.pt', 'views.pt', 'dtypes.pth'), parse: (bytes) => readPytorch({ name: 'fuzz', bytes }) },
  { name: 'gguf', seeds: files('model.gguf'), parse: (bytes) => readGguf({ name: 'fuzz', bytes }) },
  {
    name: 'hdf5',
    seeds: files('keras2.h5', 'mixed.h5', 'latest.h5', 'links-latest.h5', 'refused-chunked.h5'),
    parse: (bytes) => {
      // Or hardly any damage would be looked at in newer files.
      mendChecksums(bytes);
      return readHdf5('fuzz', bytes);
    },
  },
  { name: 'onnx', seeds: files('model.onnx', 'external.onnx'), parse: (bytes) => readOnnx({ name: 'fuzz', bytes }, { readBeside }) },
  { name: 'tfjs', seeds: texts(tfjsModel), parse: (bytes) => readTfjs({ name: 'fuzz', bytes }, { readBeside }) },
  { name: 'sharded', seeds: texts(shardIndex), parse: (bytes) => readForeign({ name: 'fuzz', bytes }, { readBeside: readShard }) },
  { name: 'name-rules', seeds: texts(rules), parse: (bytes) => parseNameRules(bytes) },
];
