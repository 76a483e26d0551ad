/** The strict ZIP reader and the writer, on archives made by hand and by other programs. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deflateRawSync } from 'node:zlib';
import { describe, expect, test, vi } from 'vitest';
import { type RandomAccess, memorySource } from '../../src/bundle/random-access.ts';
import { openCodec } from '../../src/bundle/codec-instance.ts';
import { type EntryFacts, centralHeader, endRecords, localHeader } from '../../src/bundle/zip-format.ts';
import { requireDistinctNames } from '../../src/bundle/zip-name.ts';
import { openZip } from '../../src/bundle/zip-reader.ts';
import { ZipWriter, memorySink } from '../../src/bundle/zip-writer.ts';
import { concat, expectTyped, utf8 } from './support.ts';

const codec = await openCodec();

async function readAll(bytes: Uint8Array): Promise<Map<string, string>> {
  const zip = await openZip(memorySource(bytes));
  const contents = new Map<string, string>();
  for (const name of zip.entries.keys()) contents.set(name, new TextDecoder().decode(await zip.read(name)));
  return contents;
}

async function archive(contents: Readonly<Record<string, string>>): Promise<Uint8Array<ArrayBuffer>> {
  const { sink, bytes } = memorySink();
  const writer = await ZipWriter.open(sink);
  for (const [name, text] of Object.entries(contents)) await writer.addStored(name, new Uint8Array(utf8(text)));
  await writer.finish();
  return bytes();
}

/** A hand-made archive: every record can be bent before it is laid down. */
interface Bend {
  local?: (record: DataView, bytes: Uint8Array) => void;
  central?: (record: DataView, bytes: Uint8Array) => void;
  end?: (record: DataView, bytes: Uint8Array) => void;
  stored?: Uint8Array;
  facts?: Partial<EntryFacts>;
  centralExtra?: Uint8Array;
  between?: Uint8Array;
  beforeDirectory?: Uint8Array;
  afterDirectory?: Uint8Array;
  tail?: Uint8Array;
}

/** Of the one entry of an archive. @param stored `content`, deflated. */
const deflatedFacts = (content: Uint8Array, stored: Uint8Array): EntryFacts => ({
  name: 'a.txt', method: 8, crc32: codec.crc32(content), compressedBytes: stored.byteLength, bytes: content.byteLength, offset: 0,
});

function handmade(bend: Bend = {}): Uint8Array {
  const edit = (bytes: Uint8Array, change?: (record: DataView, bytes: Uint8Array) => void): Uint8Array => {
    change?.(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), bytes);
    return bytes;
  };
  const content = utf8('hello hello hello hello');
  const stored = bend.stored ?? deflateRawSync(content);
  const facts: EntryFacts = { ...deflatedFacts(content, stored), ...bend.facts };
  const front = concat(
    edit(localHeader(facts), bend.local),
    stored,
    bend.between ?? new Uint8Array(0),
    bend.beforeDirectory ?? new Uint8Array(0),
  );
  const directory = edit(concat(centralHeader(facts), bend.centralExtra ?? new Uint8Array(0)), bend.central);
  return concat(
    front,
    directory,
    bend.afterDirectory ?? new Uint8Array(0),
    edit(endRecords(1, front.byteLength, directory.byteLength), bend.end),
    bend.tail ?? new Uint8Array(0),
  );
}

describe('reading', () => {
  test('the unbent archive is good, and so is one extra field', async () => {
    const centralExtra = Uint8Array.of(9, 9, 0, 0);
    expect(await readAll(handmade({ centralExtra, central: (r) => r.setUint16(30, 4, true) }))).toEqual(await readAll(handmade()));
    expect(await readAll(handmade())).toEqual(new Map([['a.txt', 'hello hello hello hello']]));
  });

  test.each<[string, Bend]>([
    ['a CRC-32 that is wrong in both headers', { facts: { crc32: 1 } }],
    ['a local CRC-32 of its own', { local: (r) => r.setUint32(14, 5, true) }],
    ['a local size of its own', { local: (r) => r.setUint32(22, 5, true) }],
    ['a local compressed size of its own', { local: (r) => r.setUint32(18, 5, true) }],
    ['a local method of its own', { local: (r) => r.setUint16(8, 0, true) }],
    ['a local name of its own', { local: (_, b) => void (b[30] = 0x62) }],
    ['a local encryption flag', { local: (r) => r.setUint16(6, 1, true) }],
    ['a central encryption flag', { central: (r) => r.setUint16(8, 1, true) }],
    ['a descriptor flag in one place', { local: (r) => r.setUint16(6, 8, true) }],
    ['a UTF-8 flag in one place', { central: (r) => r.setUint16(8, 0x800, true) }],
    ['a descriptor that is promised and missing', { local: (r) => r.setUint16(6, 8, true), central: (r) => r.setUint16(8, 8, true) }],
    ['bytes between content and directory', { between: utf8('PK') }],
    ['bytes between directory and end', { afterDirectory: utf8('?') }],
    ['bytes behind the end', { tail: utf8('!') }],
    ['a comment that is longer than the file', { end: (r) => r.setUint16(20, 1, true) }],
    ['a second end record in the comment', { end: (r) => r.setUint16(20, 22, true), tail: concat(utf8('PK\x05\x06'), new Uint8Array(18)) }],
    ['one entry that is counted as two', { end: (r) => [8, 10].forEach((at) => r.setUint16(at, 2, true)) }],
    ['one entry that is counted as none', { end: (r) => [8, 10].forEach((at) => r.setUint16(at, 0, true)) }],
    ['disk 1', { end: (r) => r.setUint16(4, 1, true) }],
    ['an entry on disk 1', { central: (r) => r.setUint16(34, 1, true) }],
    ['a directory of 4 GiB', { end: (r) => r.setUint32(12, 0xffff_fffe, true) }],
    ['a directory offset of 4 GiB', { end: (r) => r.setUint32(16, 0xffff_fffe, true) }],
    ['a ZIP64 sentinel without its field', { central: (r) => r.setUint32(24, 0xffff_ffff, true) }],
    ['an extra field that runs past the header', { central: (r) => r.setUint16(30, 9, true) }],
    ['an extra field that occurs twice', { centralExtra: Uint8Array.of(9, 9, 0, 0, 9, 9, 0, 0), central: (r) => r.setUint16(30, 8, true) }],
    ['an entry that begins elsewhere', { central: (r) => r.setUint32(42, 1, true) }],
    ['content that is longer than declared', { facts: { bytes: 5 } }],
    ['content that is shorter than declared', { facts: { bytes: 50 } }],
    ['more than DEFLATE could give', { facts: { bytes: 2 ** 30 } }],
    ['a symbolic link', { central: (r) => r.setUint32(38, 0xa1ff_0000, true) }],
    ['a device', { central: (r) => r.setUint32(38, 0x61ff_0000, true) }],
    ['stored content of another size', { stored: utf8('hello'), facts: { method: 0, bytes: 4 } }],
  ])('refuses %s', async (_, bend) => {
    const error = await expectTyped(() => readAll(handmade(bend)));
    expect(['malformed-file', 'limit']).toContain(error.code);
  });

  test.each<[string, Bend]>([
    ['another method', { facts: { method: 93 } }],
    ['encryption, both headers agreeing', { local: (r) => r.setUint16(6, 1, true), central: (r) => r.setUint16(8, 1, true) }],
  ])('%s is unsupported', async (_, bend) => {
    await expectTyped(() => readAll(handmade(bend)), 'unsupported');
  });

  test.each([
    '', '/', '/a', 'a//b', 'a/', './a', 'a/..', '../a', 'a\\b', 'C:a', 'c:/a', 'a\0b', 'a\nb', 'a\u007fb', 'a\u0085b', 'n'.repeat(1025),
  ])(
    'refuses the name %j', async (name) => {
      await expectTyped(() => readAll(handmade({ facts: { name } })));
    });

  test.each(['a b', 'a.', '.a', '...', 'con', 'é/ü', '\u202eexe', 'ab:c', '__proto__', 'constructor', 'n'.repeat(1024)])(
    'accepts the name %j', async (name) => {
      expect([...(await readAll(handmade({ facts: { name } }))).keys()]).toEqual([name]);
    });

  test('bytes above 127 need the UTF-8 flag, and must be UTF-8', async () => {
    const both = (bend: (record: DataView, bytes: Uint8Array) => void): Bend => ({ local: bend, central: bend, facts: { name: 'é.txt' } });
    const flagAt = (r: DataView): number => (r.getUint32(0, true) === 0x0403_4b50 ? 6 : 8);
    await expectTyped(() => readAll(handmade(both((r) => r.setUint16(flagAt(r), 0, true)))), 'malformed-file');
    await expectTyped(
      () => readAll(handmade(both((r, b) => void (b[r.getUint32(0, true) === 0x0403_4b50 ? 30 : 46] = 0xff)))),
      'malformed-file',
    );
  });

  /** A small archive that says everything in ZIP64's fields; `change` adds to one of them, or replaces a narrow one. */
  const wide = (
    change: Partial<
      Record<
        | 'localBytes' | 'bytes' | 'compressed' | 'offset' | 'entries' | 'directoryBytes' | 'directoryOffset' | 'recordOffset'
        | 'narrowEntries' | 'narrowBytes' | 'narrowOffset',
        number
      >
    > = {},
  ): Uint8Array => {
    const content = utf8('hello hello hello hello');
    const stored = deflateRawSync(content);
    const facts = deflatedFacts(content, stored);
    const {
      localBytes = 0,
      bytes = 0,
      compressed = 0,
      offset = 0,
      entries = 0,
      directoryBytes = 0,
      directoryOffset = 0,
      recordOffset = 0,
      narrowEntries = 0xffff,
      narrowBytes = 0xffff_ffff,
      narrowOffset = 0xffff_ffff,
    } = change;
    const put = (length: number, ...fields: readonly [2 | 4 | 8, number, number][]): Uint8Array => {
      const view = new DataView(new ArrayBuffer(length));
      for (const [width, at, value] of fields) {
        if (width === 2) view.setUint16(at, value, true);
        else if (width === 4) view.setUint32(at, value, true);
        else view.setBigUint64(at, BigInt(value), true);
      }
      return new Uint8Array(view.buffer);
    };
    /** A header with its sizes (and offset) at the sentinel and the ZIP64 field behind it. */
    const widened = (
      header: Uint8Array<ArrayBuffer>,
      sentinels: readonly number[],
      extraAt: number,
      values: readonly number[],
    ): Uint8Array => {
      const view = new DataView(header.buffer);
      for (const at of sentinels) view.setUint32(at, 0xffff_ffff, true);
      const field = put(
        4 + 8 * values.length,
        [2, 0, 1],
        [2, 2, 8 * values.length],
        ...values.map((value, i) => [8, 4 + 8 * i, value] as [8, number, number]),
      );
      view.setUint16(extraAt, field.byteLength, true);
      return concat(header, field);
    };
    const local = widened(localHeader(facts), [18, 22], 28, [facts.bytes + localBytes, facts.compressedBytes]);
    const front = concat(local, stored);
    const directory = widened(centralHeader(facts), [20, 24, 42], 30, [facts.bytes + bytes, facts.compressedBytes + compressed, offset]);
    const end64 = put(
      56,
      [4, 0, 0x0606_4b50],
      [8, 4, 44],
      [8, 24, 1 + entries],
      [8, 32, 1 + entries],
      [8, 40, directory.byteLength + directoryBytes],
      [8, 48, front.byteLength + directoryOffset],
    );
    const locator = put(20, [4, 0, 0x0706_4b50], [8, 8, front.byteLength + directory.byteLength + recordOffset], [4, 16, 1]);
    const end = put(22, [4, 0, 0x0605_4b50], [2, 8, narrowEntries], [2, 10, narrowEntries], [4, 12, narrowBytes], [4, 16, narrowOffset]);
    return concat(front, directory, end64, locator, end);
  };

  test('ZIP64: sizes, offset and end record are those of the wide fields', async () => {
    expect(await readAll(wide())).toEqual(new Map([['a.txt', 'hello hello hello hello']]));
    for (const field of [
      'localBytes',
      'bytes',
      'compressed',
      'offset',
      'entries',
      'directoryBytes',
      'directoryOffset',
      'recordOffset',
    ] as const) {
      for (const change of [1, 2 ** 33]) {
        const error = await expectTyped(() => readAll(wide({ [field]: change })));
        expect([field, ['malformed-file', 'limit'].includes(error.code)]).toEqual([field, true]);
      }
    }
    // Readers that know no ZIP64 take the narrow fields: where these say anything, it is the same.
    expect(await readAll(wide({ narrowEntries: 1 }))).toEqual(await readAll(wide()));
    for (const narrow of [{ narrowEntries: 2 }, { narrowBytes: 46 }, { narrowOffset: 0 }])
      await expectTyped(() => readAll(wide(narrow)), 'malformed-file');
  });

  // zipfile.ZipFile(…, 'w').open('a.txt', 'w', force_zip64=True) of Python 3.11: into a pipe (with a descriptor of 24
  // bytes), and into a file.
  test.each([
    'UEsDBBQACAAIAAAAIQAAAAAAAAAAAAAAAAAFABQAYS50eHQBABAAAAAAAAAAAAAAAAAAAAAAAMtIzcnJV8hAJwFQSwcI41E9jQoAAAAAAAAAFwAAAAAAAABQSwECFAMUAAgACAAAACEA41E9jQoAAAAXAAAABQAAAAAAAAAAAAAAgAEAAAAAYS50eHRQSwUGAAAAAAEAAQAzAAAAWQAAAAAA',
    'UEsDBBQAAAAIAAAAIQDjUT2NCgAAABcAAAAFABQAYS50eHQBABAAFwAAAAAAAAAKAAAAAAAAAMtIzcnJV8hAJwFQSwECFAMUAAAACAAAACEA41E9jQoAAAAXAAAABQAAAAAAAAAAAAAAgAEAAAAAYS50eHRQSwUGAAAAAAEAAQAzAAAAQQAAAAAA',
  ])('ZIP64 fields that Python wrote', async (base64) => {
    expect(await readAll(new Uint8Array(Buffer.from(base64, 'base64')))).toEqual(new Map([['a.txt', 'hello hello hello hello']]));
  });

  test('refuses names that collide', async () => {
    for (const [a, b] of [['a', 'a'], ['é', 'e\u0301'], ['a', 'a/b'], ['a/b', 'a/b/c/d']] as const) {
      const facts = { method: 0, crc32: 0, compressedBytes: 0, bytes: 0 };
      const first = { ...facts, name: a, offset: 0 };
      const second = { ...facts, name: b, offset: localHeader(first).byteLength };
      const front = concat(localHeader(first), localHeader(second));
      const directory = concat(centralHeader(first), centralHeader(second));
      await expectTyped(() => readAll(concat(front, directory, endRecords(2, front.byteLength, directory.byteLength))), 'malformed-file');
    }
  });

  test('files that are folders are found among names that sort between them, and folders may have what is in them', () => {
    const refused = (...names: string[]): boolean => {
      try {
        requireDistinctNames('zip', names);
        return false;
      } catch (error) {
        expect(error).toMatchObject({ code: 'malformed-file' });
        return true;
      }
    };
    expect(refused('a', 'a!', 'a-b/c', 'a/b', 'a0')).toBe(true);
    expect(refused('a/b/c', 'a.', 'a/b')).toBe(true);
    expect(refused('x', 'e\u0301/a', 'é')).toBe(true);
    expect(refused('a/', 'a/b', 'a!', 'a0/b', 'aa')).toBe(false);
    expect(refused('a/b', 'a!', 'a/b.c', 'a/bc/d')).toBe(false);
  });

  test('names of many parts are compared whole, not part by part', () => {
    const names = Array.from({ length: 50 }, (_, i) => `${i}${'/a'.repeat(400)}`);
    const get = vi.spyOn(Map.prototype, 'get');
    requireDistinctNames('zip', names);
    const looks = get.mock.calls.length;
    get.mockRestore();
    expect(looks).toBeLessThan(names.length * 4);
  });

  test('refuses every truncation and every shift', async () => {
    const good = handmade();
    for (let length = 0; length < good.byteLength; length++) await expectTyped(() => readAll(good.subarray(0, length)));
    await expectTyped(() => readAll(concat(utf8('#!'), good)), 'malformed-file');
    await expectTyped(() => readAll(concat(good, good)), 'malformed-file');
    // Of no entries, too.
    expect((await readAll(endRecords(0, 0, 0))).size).toBe(0);
    await expectTyped(() => readAll(concat(utf8('#!'), endRecords(0, 2, 0))), 'malformed-file');
  });

  test('caps hold before anything is read', async () => {
    const zeros = deflateRawSync(new Uint8Array(1 << 20));
    const bomb = handmade({ stored: zeros, facts: { bytes: 1 << 20, crc32: codec.crc32(new Uint8Array(1 << 20)) } });
    expect((await (await openZip(memorySource(bomb))).read('a.txt')).byteLength).toBe(1 << 20);
    await expectTyped(() => openZip(memorySource(bomb), { inflatedBytes: 1 << 19 }), 'limit');
    await expectTyped(() => openZip(memorySource(bomb), { entryBytes: 1 << 19 }), 'limit');
  });

  test('what a directory says of gigabytes is refused before they are asked for', async () => {
    const content = utf8('hello hello hello hello');
    const compressedBytes = deflateRawSync(content).byteLength;
    const far = (facts: Partial<EntryFacts>, entryEnd: number): RandomAccess & { asked: number } => {
      const directory = centralHeader({ ...deflatedFacts(content, deflateRawSync(content)), ...facts });
      const tail = concat(directory, endRecords(1, entryEnd, directory.byteLength));
      const source = {
        byteLength: entryEnd + tail.byteLength,
        asked: 0,
        read: async (offset: number, length: number) => {
          source.asked = Math.max(source.asked, length);
          if (offset < entryEnd - 2 ** 20) throw new Error('asked for');
          const bytes = new Uint8Array(length);
          if (offset + length > entryEnd) bytes.set(tail, entryEnd - offset);
          return bytes;
        },
      };
      return source;
    };
    const gap = far({}, 3e9);
    await expectTyped(() => openZip(gap).then((zip) => zip.read('a.txt')), 'malformed-file');
    expect(gap.asked).toBeLessThan(2 ** 17);
    const packed = far({ compressedBytes: 3e9 }, 3e9 + 35);
    await expectTyped(() => openZip(packed).then((zip) => zip.read('a.txt')), 'limit');
    expect(packed.asked).toBeLessThan(2 ** 17);
    // An extra field and a descriptor of the most bytes that they may have are none.
    const close = 30 + 5 + compressedBytes + 65_535 + 24;
    expect((await openZip(far({}, close))).entry('a.txt').end).toBe(close);
    await expectTyped(() => openZip(far({}, close + 1)), 'malformed-file');
  });

  test('a source that gives too little or too much is not believed', async () => {
    const good = handmade();
    for (const delta of [-1, 1]) {
      const source: RandomAccess = {
        byteLength: good.byteLength,
        read: async (offset, length) => new Uint8Array(good.subarray(offset, offset + length + delta)).slice(0, length + delta),
      };
      const padded: RandomAccess =
        delta < 0 ? source : { byteLength: good.byteLength, read: async (_, length) => new Uint8Array(length + 1) };
      await expectTyped(() => openZip(padded), 'malformed-file');
    }
  });
});

describe('writing', () => {
  test('what is written is read, and equal arguments give equal bytes', async () => {
    const contents = { 'b.txt': 'second', 'a.txt': '', 'folder/é.txt': 'third' };
    const bytes = await archive(contents);
    expect(await readAll(bytes)).toEqual(new Map(Object.entries(contents)));
    expect(await archive(contents)).toEqual(bytes);
  });

  test('refuses names that it would not read', async () => {
    await expectTyped(() => archive({ '../a': '' }), 'malformed-file');
    await expectTyped(() => archive({ a: '', 'a/b': '' }), 'malformed-file');
  });

  const python = (() => {
    try {
      return execFileSync('python3', ['-c', 'import zipfile; print("ok")']).toString().trim() === 'ok';
    } catch {
      return false;
    }
  })();
  test.skipIf(!python)('Python\'s zipfile reads it (skipped where there is no python3)', async () => {
    const path = join(mkdtempSync(join(tmpdir(), 'trajport-')), 'a.zip');
    writeFileSync(path, await archive({ 'a/b.txt': 'text', 'é': 'more' }));
    const script =
      'import zipfile,sys,json; z=zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; print(json.dumps({n: z.read(n).decode() ' +
      'for n in z.namelist()}))';
    expect(JSON.parse(execFileSync('python3', ['-c', script, path]).toString())).toEqual({ 'a/b.txt': 'text', 'é': 'more' });
  });
});
