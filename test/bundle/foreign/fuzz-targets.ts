// Every parser of people's files as a target for mutation fuzzing: bytes in; anything but a value or a typed error is a bug.
import { LimitError } from '../../../src/core/errors.ts';
import { ByteCursor } from '../../../src/bundle/foreign/byte-cursor.ts';
import { readPickle } from '../../../src/bundle/foreign/pickle.ts';
import { readLegacyPytorch } from '../../../src/bundle/foreign/pytorch-legacy.ts';
import { flattenTorch, materialiseTorch, torchHost } from '../../../src/bundle/foreign/pytorch-values.ts';
import { readPytorch } from '../../../src/bundle/foreign/pytorch.ts';
import { memorySource } from '../../../src/bundle/byte-source.ts';
import { openZip } from '../../../src/bundle/zip-reader.ts';
import { vector } from './support.ts';

export interface FuzzTarget {
  readonly name: string;
  /** Good inputs, which are damaged. */
  seeds(): Promise<readonly Uint8Array[]>;
  parse(bytes: Uint8Array): unknown;
}

const files = (...names: readonly string[]) => async (): Promise<Uint8Array[]> => names.map((name) => vector(name).bytes);

/** `data.pkl` of PyTorch files: behind a ZIP's checksums hardly any damage would reach the unpickler. */
async function pickles(): Promise<Uint8Array[]> {
  const names = ['state-dict.pt', 'state-dict-protocol4.pt', 'views.pt', 'checkpoint.pt', 'refused-call.pt', 'refused-whole-model.pt'];
  return Promise.all(names.map(async (name) => (await openZip(memorySource(vector(name).bytes))).read(`${name.slice(0, -3)}/data.pkl`)));
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
  { name: 'pytorch-legacy', seeds: files('state-dict-legacy.pt', 'views-legacy.pt', 'refused-call-legacy.pt'), parse: (bytes) => readLegacyPytorch({ name: 'fuzz', bytes }) },
  { name: 'pytorch', seeds: files('state-dict.pt', 'views.pt', 'dtypes.pth'), parse: (bytes) => readPytorch({ name: 'fuzz', bytes }) },
];
