/** Reads one untrusted file completely, in any runtime, and says what came of it. */
import { readNpy } from '../../src/bundle/foreign/npy.ts';
import { readNpz } from '../../src/bundle/foreign/npz.ts';
import { memorySource } from '../../src/bundle/random-access.ts';
import { openCodec } from '../../src/bundle/codec-instance.ts';
import { readSafetensors } from '../../src/bundle/safetensors.ts';
import { openZip } from '../../src/bundle/zip-reader.ts';
import { TrajportError } from '../../src/core/errors.ts';
import { sha256Hex } from '../../src/core/sha256.ts';

export interface Verdict {
  /** `crash` is an error without a type: a fault of ours. */
  readonly verdict: 'accepted' | 'rejected' | 'unsupported' | 'crash';
  readonly error?: string;
  readonly message?: string;
  /** SHA-256 over names, types, shapes and bytes, which must not depend on the runtime. */
  readonly contents?: string;
}

/** A line an item: name, type, shape and the hash of its bytes. */
type Content = readonly string[];

const CHUNK_BYTES = 1 << 20;

async function readZip(bytes: Uint8Array): Promise<Content> {
  const zip = await openZip(memorySource(bytes));
  const codec = await openCodec();
  const lines: string[] = [];
  const chunk = new Uint8Array(CHUNK_BYTES);
  for (const entry of zip.entries.values()) {
    const { open } = await zip.readStored(entry);
    const reader = open();
    // Everything is read and checked, nothing is kept: a ZIP of many entries costs no more memory than one.
    let crc = 0;
    for (let at = 0; at < entry.bytes; at += CHUNK_BYTES) {
      const part = chunk.subarray(0, Math.min(CHUNK_BYTES, entry.bytes - at));
      reader.readInto(part);
      crc = codec.crc32(part, crc);
    }
    reader.finish();
    lines.push(`${entry.name} ${entry.bytes} ${crc.toString(16).padStart(8, '0')}`);
  }
  return lines;
}

async function describeTensors(
  tensors: ReadonlyMap<string, { dtype: string; shape: readonly number[]; bytes: Uint8Array }>,
): Promise<Content> {
  const lines: string[] = [];
  for (const [name, { dtype, shape, bytes }] of tensors) lines.push(`${name} ${dtype} [${shape.join(',')}] ${await sha256Hex(bytes)}`);
  return lines;
}

/** @throws TrajportError, and nothing else. */
async function readUntrusted(path: string, bytes: Uint8Array): Promise<Content> {
  if (path.endsWith('.zip')) return readZip(bytes);
  if (path.endsWith('.npz')) return describeTensors(await readNpz(bytes));
  if (path.endsWith('.npy')) return describeTensors(new Map([['', readNpy(bytes)]]));
  const { tensors, metadata } = readSafetensors(bytes);
  return [
    ...(await describeTensors(tensors)),
    ...[...metadata].map(([key, text]) => `${JSON.stringify(key)}=${JSON.stringify(text)}`).toSorted(),
  ];
}

export async function run({ path, bytes }: { path: string; bytes: Uint8Array }): Promise<Verdict> {
  try {
    const content = await readUntrusted(path, bytes);
    return { verdict: 'accepted', contents: await sha256Hex(new TextEncoder().encode(content.join('\n'))) };
  } catch (error) {
    if (!(error instanceof TrajportError)) return { verdict: 'crash', error: String((error as Error)?.name), message: String(error) };
    return { verdict: error.code === 'unsupported' ? 'unsupported' : 'rejected', error: error.name, message: error.message.slice(0, 300) };
  }
}
