// Archives and bundles beyond 4 GiB, in real files whose zeros take no disk: ZIP64 as we write it, read by us and by Python.
import { execFileSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { openCodec } from '../../src/bundle/codec-instance.ts';
import { type RandomAccess, memorySource } from '../../src/bundle/random-access.ts';
import { openBundle } from '../../src/bundle/reader.ts';
import { writeBundle } from '../../src/bundle/writer.ts';
import { openZip } from '../../src/bundle/zip-reader.ts';
import { ZipWriter } from '../../src/bundle/zip-writer.ts';
import { openRandomAccess } from '../../src/cli/read-files.node.ts';
import { preset } from '../../src/model/presets.ts';
import { utf8 } from './support.ts';
import { trajectory } from './trajectory.ts';

const folder = mkdtempSync(join(tmpdir(), 'trajport-large-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const codec = await openCodec();
const zeros = new Uint8Array(1 << 24);
const python = (() => {
  try {
    return execFileSync('python3', ['-c', 'import zipfile; print("ok")'], { stdio: 'pipe' }).toString().trim() === 'ok';
  } catch {
    return false;
  }
})();

/** Writes an archive to a file in which parts of `zeros` are left out as holes. */
async function sparse(name: string, write: (zip: ZipWriter) => Promise<void>): Promise<string> {
  const path = join(folder, name);
  const file = openSync(path, 'w');
  let length = 0;
  const zip = await ZipWriter.open((bytes) => {
    if (bytes.buffer !== zeros.buffer) writeSync(file, bytes, 0, bytes.byteLength, length);
    length += bytes.byteLength;
  });
  await write(zip);
  expect(await zip.finish()).toBe(length);
  ftruncateSync(file, length);
  closeSync(file);
  // Else the disk has no sparse files, and the test would take gigabytes unnoticed.
  expect(statSync(path).blocks * 512).toBeLessThan(64 * 2 ** 20);
  return path;
}

const partsOf = (bytes: number): Uint8Array<ArrayBuffer>[] =>
  Array.from({ length: Math.ceil(bytes / zeros.byteLength) }, (_, i) =>
    zeros.subarray(0, Math.min(zeros.byteLength, bytes - i * zeros.byteLength)),
  );

function counting(access: RandomAccess): RandomAccess & { reads: [number, number][] } {
  const reads: [number, number][] = [];
  return {
    byteLength: access.byteLength, reads,
    read: async (offset, length, signal) => {
      reads.push([offset, length]);
      return access.read(offset, length, signal);
    },
  };
}

test('an entry of more than 4 GiB, and one behind it', async () => {
  // Never read, so its checksum may stand for any.
  const hugeBytes = 4_400_000_000;
  const path = await sparse('huge.zip', async (zip) => {
    await zip.addPacked('huge', { method: 0, crc32: 0, bytes: hugeBytes, parts: partsOf(hugeBytes) });
    await zip.addStored('after', new Uint8Array(utf8('the end')));
  });
  const file = openRandomAccess(path);
  const zip = await openZip(file, { entryBytes: 5e9 });
  expect([...zip.entries.values()].map(({ name, offset, bytes }) => [name, offset > 2 ** 32, bytes])).toEqual([
    ['huge', false, hugeBytes],
    ['after', true, 7],
  ]);
  expect(new TextDecoder().decode(await zip.read('after'))).toBe('the end');
  file.close();
  if (!python) return;
  const script =
    'import zipfile, sys; z = zipfile.ZipFile(sys.argv[1]); print([i.file_size for i in z.infolist()], z.read("after").decode())';
  expect(execFileSync('python3', ['-c', script, path]).toString().trim()).toBe(`[${hugeBytes}, 7] the end`);
});

test('a bundle whose checkpoints lie beyond 4 GiB: each costs its own bytes, and all are good', async () => {
  const graph = preset('mlp', { input: [200], widths: [150], classes: 10 });
  const small = await writeBundle({ graph, checkpoints: trajectory(graph, 5) }, { keyFrameEvery: 2 });
  const from = await openZip(memorySource(small));
  // Entries that a later revision brings are passed over, so they may fill the first gigabytes.
  const paddingBytes = 500_000_000;
  let crc32 = 0;
  for (const part of partsOf(paddingBytes)) crc32 = codec.crc32(part, crc32);
  const path = await sparse('bundle.zip', async (zip) => {
    for (let i = 0; i < 9; i++)
      await zip.addPacked(`padding/${i}`, { method: 0, crc32, bytes: paddingBytes, parts: partsOf(paddingBytes) });
    for (const entry of from.entries.values()) {
      if (entry.name === 'trajectory.json') continue;
      const { stored } = await from.readStored(entry);
      await zip.addPacked(entry.name, { method: entry.method, crc32: entry.crc32, bytes: entry.bytes, parts: [new Uint8Array(stored)] });
    }
    const manifest = new TextDecoder().decode(await from.read('trajectory.json'));
    await zip.addStored('trajectory.json', new Uint8Array(utf8(manifest.replace('"revision": 0', '"revision": 1'))));
  });
  expect(statSync(path).size).toBeGreaterThan(4.5e9);

  using reference = await openBundle(small);
  const file = openRandomAccess(path);
  const source = counting(file);
  using bundle = await openBundle(source);
  source.reads.length = 0;
  expect(Buffer.compare(await bundle.readCheckpointFile(1), await reference.readCheckpointFile(1))).toBe(0);
  expect(source.reads.map(([offset]) => offset > 2 ** 32)).toEqual([true, true]);
  const own = bundle.checkpoint(0).storedBytes + bundle.checkpoint(1).storedBytes;
  expect(source.reads.reduce((sum, [, length]) => sum + length, 0)).toBeLessThan(own + 300);
  expect((await bundle.verify()).passed).toBe(true);
  file.close();
});
