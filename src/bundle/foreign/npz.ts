/** NumPy's .npz: a ZIP whose members are .npy files; the name without that ending is the array's. */
import { describe } from '../../core/describe.ts';
import { MalformedFileError } from '../../core/errors.ts';
import { type ByteSource, type SourceOptions, openSource } from '../byte-source.ts';
import type { RawTensor } from '../safetensors.ts';
import { openZip } from '../zip-reader.ts';
import { ZipWriter, memorySink } from '../zip-writer.ts';
import { readNpy, writeNpy } from './npy.ts';

const SUFFIX = '.npy';

/**
 * Reads every array. Members that are not .npy files are errors: `w` and `w.npy` would both be the array `w`.
 * @throws MalformedFileError, UnsupportedError, LimitError
 */
export async function readNpz(
  source: ByteSource,
  options: SourceOptions & { readonly field?: string } = {},
): Promise<ReadonlyMap<string, RawTensor>> {
  const field = options.field ?? 'npz';
  const { signal } = options;
  const zip = await openZip(await openSource(source, options), { field, ...(signal === undefined ? {} : { signal }) });
  for (const name of zip.entries.keys()) {
    if (!name.endsWith(SUFFIX)) throw new MalformedFileError({ field, expected: 'members named *.npy', got: describe(name) });
  }
  const arrays = new Map<string, RawTensor>();
  for (const name of zip.entries.keys()) {
    arrays.set(name.slice(0, -SUFFIX.length), readNpy(await zip.read(name, signal), `${field} ${name}`));
  }
  return arrays;
}

/** What `numpy.load` reads: members stored, deterministic bytes. */
export async function writeNpz(arrays: ReadonlyMap<string, RawTensor>): Promise<Uint8Array<ArrayBuffer>> {
  const { sink, bytes } = memorySink();
  const zip = await ZipWriter.open(sink);
  for (const [name, tensor] of arrays) await zip.addStored(`${name}${SUFFIX}`, writeNpy(name, tensor));
  await zip.finish();
  return bytes();
}
