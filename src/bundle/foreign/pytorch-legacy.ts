/**
 * torch.save's form before PyTorch 1.6 (and `_use_new_zipfile_serialization=False` since): five pickles in a row, then
 * each storage as an element count and its bytes. The still older tar form is refused.
 */
import { describe } from '../../core/describe.ts';
import { MalformedFileError, UnsupportedError } from '../../core/errors.ts';
import { dtypeBits } from '../dtype.ts';
import { ByteCursor } from './byte-cursor.ts';
import type { ForeignCheckpoint, ForeignFile } from './checkpoint.ts';
import { PyDict, PyList, PyTuple, readPickle } from './pickle.ts';
import { TorchStorage, type TorchValue, flattenTorch, materialiseTorch, torchHost } from './pytorch-values.ts';

/** The first pickle of every such file after its protocol: the magic number as a LONG1 of ten bytes, STOP. */
const MAGIC = [0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e];
/** What is before it: the protocol, and since the fourth a frame of the magic's length. */
const PROLOGUES = [
  [0x80, 2], [0x80, 3],
  [0x80, 4, 0x95, MAGIC.length, 0, 0, 0, 0, 0, 0, 0], [0x80, 5, 0x95, MAGIC.length, 0, 0, 0, 0, 0, 0, 0],
];
const BEGINNINGS = PROLOGUES.map((prologue) => [...prologue, ...MAGIC]);
const FORMAT_VERSION = 1001;

/** Where the second pickle begins; undefined where the first is not torch.save's. */
function endOfMagic(bytes: Uint8Array): number | undefined {
  return BEGINNINGS.find((beginning) => beginning.every((byte, i) => bytes[i] === byte))?.length;
}

export const isLegacyPytorch = (bytes: Uint8Array): boolean => endOfMagic(bytes) !== undefined;

/** @throws MalformedFileError, UnsupportedError, LimitError */
export function readLegacyPytorch({ name: field, bytes }: ForeignFile): ForeignCheckpoint {
  const begin = endOfMagic(bytes);
  if (begin === undefined)
    throw new MalformedFileError({ field, expected: "torch.save's magic number", got: describe(bytes.subarray(0, 16)) });
  const cursor = new ByteCursor(field, bytes, begin);
  const host = torchHost(field);
  const version = readPickle(cursor, host);
  if (version !== FORMAT_VERSION)
    throw new UnsupportedError({ field, expected: `format version ${FORMAT_VERSION}`, got: describe(version) });
  requireLittleEndian(field, readPickle(cursor, host));
  const flat = flattenTorch(field, readPickle(cursor, host));
  const stored = readStorages(field, cursor, readPickle(cursor, host), host.storages);
  const bytesOf = ({ key }: TorchStorage): Uint8Array => stored.get(key) as Uint8Array;
  const { metadata, containers } = flat;
  return { tensors: materialiseTorch(field, flat, bytesOf), metadata, containers, convention: 'pytorch' };
}

function requireLittleEndian(field: string, system: TorchValue): void {
  const entry = system instanceof PyDict ? system.entries.find(([key]) => key === 'little_endian') : undefined;
  if (entry?.[1] !== true) throw new UnsupportedError({ field, expected: 'little-endian elements', got: 'a file that does not say so' });
}

/** The bytes of every storage in the order of `keys`, up to the end of the file. */
function readStorages(
  field: string,
  cursor: ByteCursor,
  keys: TorchValue,
  declared: ReadonlyMap<string, TorchStorage>,
): Map<string, Uint8Array> {
  if (!(keys instanceof PyList || keys instanceof PyTuple)) cursor.fail('a list of storage keys', describe(keys));
  const stored = new Map<string, Uint8Array>();
  for (const key of keys.items) {
    const storage = typeof key === 'string' ? declared.get(key) : undefined;
    if (storage === undefined || stored.has(storage.key)) cursor.fail('keys of storages used above, each once', describe(key));
    const elements = cursor.u64();
    const width = storage.dtype === undefined ? 1 : dtypeBits[storage.dtype] / 8;
    if (elements * width !== storage.bytes) cursor.fail(`${storage.bytes / width} elements of storage ${describe(key)}`, `${elements}`);
    stored.set(storage.key, cursor.bytes(storage.bytes));
  }
  for (const key of declared.keys()) {
    if (!stored.has(key)) throw new MalformedFileError({ field, expected: `the bytes of storage ${describe(key)}`, got: 'none' });
  }
  if (cursor.remaining > 0) cursor.fail('the end of the file', `${cursor.remaining} more bytes`);
  return stored;
}
