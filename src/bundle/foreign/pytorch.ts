/**
 * torch.save's form since PyTorch 1.6, `.pt` and `.pth`: a ZIP with one folder of any name that holds `data.pkl` and
 * each storage as `data/<key>`. Only storages that a tensor refers to are read.
 */
import { describe } from '../../core/describe.ts';
import { MalformedFileError, UnsupportedError } from '../../core/errors.ts';
import { limits } from '../../core/limits.ts';
import { memorySource } from '../random-access.ts';
import { type ZipReader, openZip } from '../zip-reader.ts';
import { ByteCursor } from './byte-cursor.ts';
import type { ForeignCheckpoint, ForeignFile, ReadForeignOptions } from './checkpoint.ts';
import { readPickle } from './pickle.ts';
import { flattenTorch, materialiseTorch, torchHost } from './pytorch-values.ts';

const PICKLE = '/data.pkl';

/** The archive's one folder, where its entries are those of torch.save. */
export function pytorchFolder(names: Iterable<string>): string | undefined {
  const pickles = [...names].filter((name) => name.endsWith(PICKLE) && name.indexOf('/') === name.length - PICKLE.length);
  return pickles.length === 1 ? (pickles[0] as string).slice(0, -PICKLE.length) : undefined;
}

/** @throws MalformedFileError, UnsupportedError, LimitError */
export async function readPytorch({ name: field, bytes }: ForeignFile, { signal }: ReadForeignOptions = {}): Promise<ForeignCheckpoint> {
  // Stored entries are never larger than the file, so the cap for bundles need not hold here.
  const zip = await openZip(memorySource(bytes), {
    field,
    entryBytes: Math.max(limits.entryBytes, bytes.byteLength),
    ...(signal === undefined ? {} : { signal }),
  });
  const folder = pytorchFolder(zip.entries.keys());
  if (folder === undefined) throw new MalformedFileError({ field, expected: 'one folder with data.pkl', got: 'none or several' });
  await requireLittleEndian(field, zip, folder, signal);
  const cursor = new ByteCursor(`${field} data.pkl`, await zip.read(`${folder}${PICKLE}`, signal));
  const value = readPickle(cursor, torchHost(field));
  if (cursor.remaining > 0) cursor.fail('the end of data.pkl', `${cursor.remaining} more bytes`);
  const flat = flattenTorch(field, value);
  const stored = new Map<string, Uint8Array>();
  for (const [, { storage }] of flat.tensors) {
    if (stored.has(storage.key)) continue;
    const path = `${folder}/data/${storage.key}`;
    const entry = zip.entry(path);
    if (entry.bytes !== storage.bytes)
      throw new MalformedFileError({ field: `${field} ${path}`, expected: `${storage.bytes} bytes`, got: `${entry.bytes}` });
    stored.set(storage.key, await zip.read(path, signal));
  }
  return {
    tensors: materialiseTorch(field, flat, ({ key }) => stored.get(key) as Uint8Array),
    metadata: flat.metadata,
    containers: flat.containers,
    convention: 'pytorch',
  };
}

/** PyTorch 2.1 and later say the byte order; before, it was that of the machine, which was little. */
async function requireLittleEndian(field: string, zip: ZipReader, folder: string, signal: AbortSignal | undefined): Promise<void> {
  const path = `${folder}/byteorder`;
  const entry = zip.entries.get(path);
  if (entry === undefined) return;
  const order = entry.bytes <= limits.nameLength ? new TextDecoder().decode(await zip.read(path, signal)) : '';
  if (order !== 'little') throw new UnsupportedError({ field: `${field} ${path}`, expected: 'little', got: describe(order) });
}
