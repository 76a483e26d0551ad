/** gzip, IDX, CIFAR and tar readers on files made by hand, damaged ones included, and on the real ones of ../shared. */
import { existsSync, readFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { deflateRawSync, gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { TrajportError } from '../../src/core/errors.ts';
import { imageSetFromCifar } from '../../src/data/cifar.ts';
import { gunzip } from '../../src/data/gzip.ts';
import { imageSetFromIdx, readIdx } from '../../src/data/idx.ts';
import { officialFiles } from '../../src/data/official-files.ts';
import { readTar } from '../../src/data/tar.ts';
import { type HeaderFields, longName as long, paxHeader as pax, tarEntry as entry } from './tar-archive.ts';

/** Bytes that compress a little, longer than the windows of the decoder. */
const noise = (length: number): Buffer => {
  let state = 1;
  return Buffer.from(Uint8Array.from({ length }, () => ((state = (Math.imul(state, 1103515245) + 12345) >>> 0) >>> 28) * 3));
};

async function failure(promise: Promise<unknown>): Promise<{ code: string; message: string }> {
  const error = await promise.then(() => undefined, (caught: unknown) => caught);
  expect(error).toBeInstanceOf(TrajportError);
  return error as TrajportError;
}

describe('gunzip', () => {
  test.each([0, 1, 65_535, 262_144, 262_145, 1_000_003])('%d bytes at every level as zlib wrote them', async (length) => {
    const content = noise(length);
    for (const level of [0, 1, 9]) expect(Buffer.compare(await gunzip('x', gzipSync(content, { level })), content)).toBe(0);
  });

  test('name, comment, extra field and header checksum are passed over', async () => {
    const body = Buffer.concat([deflateRawSync(Buffer.from('abc')), Buffer.from([0xc2, 0x41, 0x24, 0x35, 3, 0, 0, 0])]);
    const extra = Buffer.alloc(259);
    const head = Buffer.from([0x1f, 0x8b, 8, 4 + 8 + 16 + 2, 0, 0, 0, 0, 0, 3, 3, 1, ...extra, 0x61, 0, 0x62, 0x63, 0, 9, 9]);
    expect(Buffer.from(await gunzip('x', Buffer.concat([head, body]))).toString()).toBe('abc');
  });

  const whole = gzipSync(noise(10_000));
  const changed = (at: number, value: number): Buffer => {
    const copy = Buffer.from(whole);
    copy[at < 0 ? copy.length + at : at] = value;
    return copy;
  };
  test.each<[string, Buffer, string]>([
    ['no bytes', Buffer.alloc(0), 'malformed-file'],
    ['other bytes', Buffer.from('hello, world, hello'), 'malformed-file'],
    ['a header alone', whole.subarray(0, 10), 'malformed-file'],
    ['a stream cut short', whole.subarray(0, 2000), 'malformed-file'],
    ['a lost last byte', whole.subarray(0, -1), 'malformed-file'],
    ['bytes behind the end', Buffer.concat([whole, Buffer.from([0])]), 'malformed-file'],
    ['a second member', Buffer.concat([whole, whole]), 'malformed-file'],
    ['a wrong CRC-32', changed(-5, (whole.at(-5)! + 1) & 255), 'malformed-file'],
    ['a size that is too small', changed(-4, whole.at(-4)! - 1), 'malformed-file'],
    ['a size that is too large', changed(-4, whole.at(-4)! + 1), 'malformed-file'],
    ['a size that DEFLATE cannot reach', changed(-2, 200), 'malformed-file'],
    ['a size beyond all caps', changed(-1, 200), 'malformed-file'],
    ['reserved flags', changed(3, 0x40), 'malformed-file'],
    ['an endless file name', Buffer.concat([Buffer.from([0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 0]), Buffer.alloc(40, 65)]), 'malformed-file'],
  ])('%s is refused', async (_what, bytes, code) => {
    const { code: got, message } = await failure(gunzip('file', bytes));
    expect(got).toBe(code);
    expect(message).toMatch(/^file: expected/);
  });

  test('a bomb stops at the limit, whatever size it states', async () => {
    const bomb = gzipSync(Buffer.alloc(5_000_000));
    expect((await failure(gunzip('bomb', bomb, 1_000_000))).code).toBe('limit');
    for (const stated of [1000, 1_000_000, 1_000_001]) {
      bomb.writeUInt32LE(stated, bomb.length - 4);
      expect((await failure(gunzip('bomb', bomb, 1_000_000))).code).toBe(stated > 1_000_000 ? 'limit' : 'malformed-file');
    }
  });

  test('a file cut short anywhere is said to be, whatever its last bytes would state', async () => {
    // Wherever it ends, its last four bytes are another size: too large for the limit or for DEFLATE, too small, nearly right.
    const lengths = Array.from({ length: 200 }, (_, i) => 11 + Math.floor((i * (whole.length - 12)) / 199));
    for (const length of [...lengths, whole.length - 8, whole.length - 4, whole.length - 1]) {
      const { code, message } = await failure(gunzip('a.gz', whole.subarray(0, length)));
      expect({ length, code, message }).toEqual({
        length,
        code: 'malformed-file',
        message: expect.stringMatching(/^a\.gz: expected a whole gzip file, got \d+ bytes, cut short$/),
      });
    }
    for (const stated of [5, 9_999, 10_001, 2_000_000, 2 ** 31, 2 ** 32 - 1]) {
      const cut = Buffer.from(whole.subarray(0, 5000));
      cut.writeUInt32LE(stated, cut.length - 4);
      expect((await failure(gunzip('a.gz', cut, 1_500_000))).message).toContain('cut short');
    }
  });

  test('every single-byte change is refused or gives the same bytes', async () => {
    const content = noise(300);
    const packed = gzipSync(content);
    for (let at = 0; at < packed.length; at++) {
      const copy = Buffer.from(packed);
      copy[at]! ^= 0x55;
      const result = await gunzip('x', copy).catch((error: unknown) => error);
      if (result instanceof Uint8Array) expect(Buffer.compare(result, content)).toBe(0);
      else expect(result).toBeInstanceOf(TrajportError);
    }
  });
});

const u32 = (...values: number[]): Buffer =>
  Buffer.concat(values.map((value) => Buffer.from([value >>> 24, value >>> 16, value >>> 8, value].map((byte) => byte & 255))));
const idxImages = (count: number, height: number, width: number, bytes = count * height * width): Buffer =>
  Buffer.concat([u32(2051, count, height, width), Buffer.from(Array.from({ length: bytes }, (_unused, i) => i & 255))]);
const idxLabels = (...labels: number[]): Buffer => Buffer.concat([u32(2049, labels.length), Buffer.from(labels)]);

describe('imageSetFromIdx', () => {
  test('errors name the files as they are called', async () => {
    const files = { images: idxImages(1, 1, 1).subarray(0, 9), labels: idxLabels(0).subarray(0, 8) };
    const fileNames = { images: 'd/images.gz', labels: 'd/labels.gz' };
    expect((await failure(imageSetFromIdx({ name: 'd', ...files, fileNames }))).message).toContain('d/images.gz: expected');
    expect((await failure(imageSetFromIdx({ name: 'd', ...files, images: idxImages(1, 1, 1), fileNames }))).message).toContain(
      'd/labels.gz: expected',
    );
    expect(
      (await failure(imageSetFromCifar({ name: 'd', files: [Buffer.alloc(3)], fileNames: ['d/test.bin'], format: 'cifar10' }))).message,
    ).toContain('d/test.bin: expected');
  });

  test('any size of image, plain and gzip alike', async () => {
    const plain = await imageSetFromIdx({ name: 'small', images: idxImages(3, 2, 5), labels: idxLabels(4, 0, 1) });
    expect([plain.count, plain.channels, plain.height, plain.width, plain.classes]).toEqual([3, 1, 2, 5, 5]);
    expect([...plain.images]).toEqual(Array.from({ length: 30 }, (_unused, i) => i));
    const packed = await imageSetFromIdx({ name: 'small', images: gzipSync(idxImages(3, 2, 5)), labels: gzipSync(idxLabels(4, 0, 1)) });
    expect({ ...packed, images: [...packed.images], labels: [...packed.labels] }).toEqual({
      ...plain,
      images: [...plain.images],
      labels: [...plain.labels],
    });
  });

  test('colour: a fourth axis, of channels before the height or last', async () => {
    const planes = Array.from({ length: 60 }, (_unused, i) => i);
    // Of [2, 3, 2, 5], pixel by pixel: what stands at [image, channel, pixel].
    const pixels = [0, 30].flatMap((image) => planes.slice(0, 10).flatMap((pixel) => [0, 10, 20].map((channel) => image + channel +
      pixel)));
    for (const [axes, bytes] of [[[2, 3, 2, 5], planes], [[2, 2, 5, 3], pixels]] as const) {
      const file = Buffer.concat([u32(2052, ...axes), Buffer.from(bytes)]);
      const set = await imageSetFromIdx({ name: 'c', images: file, labels: idxLabels(1, 0) });
      expect([set.count, set.channels, set.height, set.width, set.classes]).toEqual([2, 3, 2, 5, 2]);
      expect([...set.images]).toEqual(planes);
    }
    const none = { name: 'c', images: Buffer.concat([u32(2052, 1, 5, 5, 5), Buffer.alloc(125)]), labels: idxLabels(0) };
    expect((await failure(imageSetFromIdx(none))).message).toMatch(/^c\.shape: expected .*channels last or before the height, got \[1, 5/);
  });

  test('a view into a larger buffer is read where it lies', async () => {
    const buffer = Buffer.concat([Buffer.alloc(3), idxLabels(9, 8)]);
    expect([...(await readIdx('x', buffer.subarray(3), [1])).data]).toEqual([9, 8]);
  });

  test('256 classes', async () => {
    expect((await imageSetFromIdx({ name: 'x', images: idxImages(1, 1, 1), labels: idxLabels(255) })).classes).toBe(256);
  });

  const labels = idxLabels(0, 1);
  test.each<[string, { images?: Uint8Array; labels?: Uint8Array; classes?: number }, string, RegExp]>([
    [
      'an empty file',
      { images: Buffer.alloc(0) },
      'malformed-file',
      /x images: expected an IDX file of 3 axes \(magic 2051\) or 4 axes \(magic 2052\), got 0 bytes/,
    ],
    [
      'npz as images',
      { images: new Uint8Array([0x50, 0x4b, 3, 4, 0, 0]) },
      'malformed-file',
      /got magic \d+: this is a ZIP, as \.npz files are$/,
    ],
    ['labels as images', { images: labels }, 'malformed-file', /magic 2052\), got magic 2049/],
    ['floats', { images: Buffer.concat([u32(0x0d03, 1, 1, 1), u32(0)]) }, 'unsupported', /type 13/],
    ['half a header', { images: u32(2051, 2) }, 'malformed-file', /a header of 16 bytes/],
    ['a pixel missing', { images: idxImages(2, 2, 2, 7) }, 'malformed-file', /expected 24 bytes for shape \[2, 2, 2\], got 23/],
    ['a pixel too many', { images: idxImages(2, 2, 2, 9) }, 'malformed-file', /got 25/],
    ['no images', { images: idxImages(0, 2, 2) }, 'malformed-file', /at least one element/],
    ['images without pixels', { images: idxImages(2, 0, 2) }, 'malformed-file', /at least one element/],
    ['a count beyond all memory', { images: u32(2051, 0xffffffff, 0xffffffff, 0xffffffff) }, 'limit', /x images/],
    ['fewer labels than images', { labels: idxLabels(1) }, 'malformed-file', /x labels: expected 2 labels, one an image, got 1/],
    ['a label out of range', { classes: 1 }, 'invalid-argument', /x.labels\[1\]: expected a label below 1, got 1/],
  ])('%s is refused', async (_what, change, code, message) => {
    const error = await failure(imageSetFromIdx({ name: 'x', images: idxImages(2, 2, 2), labels, ...change }));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
  });
});

describe('imageSetFromCifar', () => {
  const record = (labelBytes: number[], fill: number): Buffer => Buffer.concat([Buffer.from(labelBytes), Buffer.alloc(3072, fill)]);

  test('CIFAR-10: files follow one another', async () => {
    const files = [Buffer.concat([record([3], 1), record([9], 2)]), gzipSync(record([0], 3))];
    const set = await imageSetFromCifar({ name: 'c', files, format: 'cifar10' });
    expect([set.count, set.channels, set.height, set.width, set.classes]).toEqual([3, 3, 32, 32, 10]);
    expect([...set.labels]).toEqual([3, 9, 0]);
    expect([set.images[0], set.images[3072], set.images.at(-1)]).toEqual([1, 2, 3]);
  });

  test('CIFAR-100: fine or coarse labels; in records of CIFAR-10 with 100 classes', async () => {
    const file = Buffer.concat([record([4, 0], 0), record([13, 99], 0)]);
    expect([...(await imageSetFromCifar({ name: 'c', files: [file], format: 'cifar100-fine' })).labels]).toEqual([0, 99]);
    const coarse = await imageSetFromCifar({ name: 'c', files: [file], format: 'cifar100-coarse' });
    expect([[...coarse.labels], coarse.classes]).toEqual([[4, 13], 20]);
    expect((await imageSetFromCifar({ name: 'c', files: [record([99], 0)], format: 'cifar10', classes: 100 })).classes).toBe(100);
  });

  test.each<[string, Buffer[], string, RegExp]>([
    ['no files', [], 'invalid-argument', /c.labels: expected at least one image/],
    ['an empty file', [Buffer.alloc(0)], 'malformed-file', /c file 1: expected a multiple of 3073 bytes/],
    ['a lost byte', [record([1], 0), record([1], 0).subarray(1)], 'malformed-file', /c file 2: .*got 3072 bytes/],
    ['a label of 10', [record([10], 0)], 'invalid-argument', /c.labels\[0\]: expected a label below 10/],
  ])('%s is refused', async (_what, files, code, message) => {
    const error = await failure(imageSetFromCifar({ name: 'c', files, format: 'cifar10' }));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
  });

  test('records of the other kind are refused', async () => {
    expect((await failure(imageSetFromCifar({ name: 'c', files: [record([1], 0)], format: 'cifar100-fine' }))).message).toMatch(
      /multiple of 3074/,
    );
  });
});

describe('readTar', () => {
  const filesOf = (...parts: readonly Buffer[]): Record<string, string> =>
    Object.fromEntries([...readTar('t', Buffer.concat(parts))].map(([name, bytes]) => [name, Buffer.from(bytes).toString()]));
  const [folder, first] = [entry('d/', '', '5'), entry('d/a', 'hello')];
  const archive = Buffer.concat([folder, first, entry('b', 'x'.repeat(600), '0', 600, 'd'), Buffer.alloc(1024)]);

  test('regular files by name', () => {
    const files = readTar('t', archive);
    expect([...files.keys()]).toEqual(['d/a', 'd/b']);
    expect(Buffer.from(files.get('d/a')!).toString()).toBe('hello');
    expect(files.get('d/b')!.length).toBe(600);
  });

  const path = `${'d/'.repeat(60)}data_batch_`;
  const cut = path.slice(0, 100);

  test('GNU\'s long names are whole: cut to 100 letters they would be one', () => {
    expect(filesOf(long(`${path}1`), entry(cut, 'one'), long(`${path}2`), entry(cut, 'two'), entry('c', 'three'))).toEqual({
      [`${path}1`]: 'one', [`${path}2`]: 'two', c: 'three',
    });
    // Of a link that is no file the name is used up too.
    expect(filesOf(long(`${path}1`), long('target', 'K'), entry(cut, '', '2'), entry('c', 'three'))).toEqual({ c: 'three' });
  });

  test('pax: names and sizes of one entry, of all that follow, taken back, and of Sun\'s older kind', () => {
    const text = `${path}é\n=漢`;
    expect(filesOf(pax('x', ['comment', 'path=no\n'], ['path', text]), entry(cut, 'one'), entry('b', 'two')))
      .toEqual({ [text]: 'one', b: 'two' });
    // The header's own size is one that it has no room for.
    expect(filesOf(pax('x', ['size', '5']), entry('a', 'hello', '0', 0), pax('X', ['path', 'z']), entry('b', '2')))
      .toEqual({ a: 'hello', z: '2' });
    const both = [pax('g', ['path', 'all']), entry('a', '1'), pax('x', ['path', 'b']), entry('c', '2')];
    expect(filesOf(...both, pax('x', ['path', '']), entry('d', '3'))).toEqual({ all: '1', b: '2', d: '3' });
  });

  test('a hard link is the file that it names, under long names too; other links are none', () => {
    const links = [
      entry('hard', '', '1', 5, '', { at: [[157, 'a']] }), long(`${path}1`, 'K'), entry('gnu', '', '1'),
      pax('x', ['linkpath', `${path}1`]), entry('pax', '', '1'), entry('soft', '', '2', 0, '', { at: [[157, 'a']] }),
      entry('nowhere', '', '1', 0, '', { at: [[157, 'b']] }),
    ];
    expect(filesOf(entry('a', 'hello'), long(`${path}1`), entry(cut, 'one'), ...links)).toEqual({
      a: 'hello', [`${path}1`]: 'one', hard: 'hello', gnu: 'one', pax: 'one',
    });
  });

  test('of several entries of one name the last one holds, whatever it is', () => {
    const entries = [entry('a', 'old'), entry('b', '1'), entry('a', 'new'), entry('c', '2'), entry('c', '', '2')];
    expect(filesOf(...entries)).toEqual({ b: '1', a: 'new' });
    expect(filesOf(entry('a', 'old'), entry('a/', '', '5', 4096))).toEqual({});
  });

  test('what other writers do: base 256, signed checksums, blanks, folders by name, contiguous files, GNU\'s times for a prefix', () => {
    const sized = (bytes: readonly number[] | string): HeaderFields => ({ at: [[124, bytes]] });
    expect(filesOf(entry('a', 'hello', '0', 0, '', sized([0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5])))).toEqual({ a: 'hello' });
    const blanks = [entry('b', 'hello', '0', 0, '', sized('         5 \0')), entry('c', '', '0', 0, '', sized(' '.repeat(12)))];
    expect(filesOf(...blanks)).toEqual({ b: 'hello', c: '' });
    expect(filesOf(entry('é', 'hello', '0', 5, '', { signed: true }))).toEqual({ é: 'hello' });
    expect(filesOf(entry('d/', '', '\0'), entry('d/a', '1', '\0'), entry('d/b', '2', '7'))).toEqual({ 'd/a': '1', 'd/b': '2' });
    expect(filesOf(entry('a', '1', '0', 1, '14000000000', { at: [[257, 'ustar  \0']] }))).toEqual({ a: '1' });
  });

  test('names that are no UTF-8 stay apart', () => {
    const files = filesOf(entry('', '1', '0', 1, '', { at: [[0, [0x61, 0xe9]]] }), entry('', '2', '0', 1, '', { at: [[0, [0x61, 0xe8]]] }));
    expect(files).toEqual({ 'a\udce9': '1', 'a\udce8': '2' });
  });

  test.each<[string, Buffer, RegExp]>([
    ['a changed header', Buffer.concat([Buffer.from('D'), archive.subarray(1)]), /checksum/],
    ['an entry beyond the end', entry('a', 'hello', '0', 9999), /an entry of 9999 bytes/],
    ['half a header', archive.subarray(0, 700), /whole blocks/],
    ['no tar at all', Buffer.alloc(512, 65), /octal/],
    ['a size beyond 2^53', entry('a', '', '0', 0, '', { at: [[124, [0x80, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]]] }), /below 2\^53/],
    ['a size below 0', entry('a', '', '0', 0, '', { at: [[124, Array.from({ length: 12 }, () => 0xff)]] }), /octal/],
    ['a long name of no entry', Buffer.concat([long('a'), Buffer.alloc(1024)]), /at byte 1024: expected the entry that an extended/],
    ['a long name of a megabyte', long('a'.repeat(2 ** 20)), /at most 1048576 bytes/],
    ['a pax record without its end', entry('x', '10 path=ab\n', 'x'), /a pax record/],
    ['a pax record of length 0', entry('x', '0 path=ab\n', 'x'), /a pax record/],
    ['a pax record without a key', entry('x', '6 =ab\n', 'x'), /a pax record/],
    ['a pax record that leaves the header', entry('x', '99 path=ab\n', 'x'), /a pax record/],
    ['a pax size that is none', Buffer.concat([pax('x', ['size', '-5']), entry('a', 'hello')]), /a pax size/],
    ['a pax size beyond the end', Buffer.concat([pax('x', ['size', '6000']), entry('a', 'hello')]), /an entry of 6000 bytes/],
    ['a sparse file of GNU', entry('s', '', 'S'), /s: expected files that are stored whole/],
    ['a sparse file of pax', Buffer.concat([pax('x', ['GNU.sparse.major', '1']), entry('s', 'hello')]), /s: expected files that are/],
  ])('%s is refused', async (_what, bytes, message) => {
    expect((await failure((async () => readTar('t', bytes))())).message).toMatch(message);
  });

  test('entries are as many as are allowed, extended headers not counted', () => {
    const some = Buffer.concat([pax('x', ['path', 'a']), entry('b', '')]);
    const most = Buffer.alloc(some.length * 65_535, some);
    expect([...readTar('t', most).keys()]).toEqual(['a']);
    expect(() => readTar('t', Buffer.concat([most, some]))).toThrow(/at most 65535 entries/);
  });
});

test('official files: SHA-256 are hashes, names are unique within a set', () => {
  for (const { sha256, urls } of officialFiles) {
    expect(sha256).toMatch(/^[0-9a-f]{64}$/);
    expect(urls.length).toBeGreaterThan(0);
  }
  expect(new Set(officialFiles.map(({ dataset, file }) => `${dataset}/${file}`)).size).toBe(officialFiles.length);
});

const data = new URL('../../../shared/data/', import.meta.url);

describe.skipIf(!existsSync(data))('real files (skipped where ../shared is absent)', () => {
  const read = (path: string): Uint8Array => readFileSync(new URL(path, data));

  test('the test part of MNIST and of Fashion-MNIST: hashes, counts, first pixels and labels', async () => {
    for (const [dataset, firstLabels, total] of [['mnist', [7, 2, 1], 264_923_200], ['fashion-mnist', [9, 2, 1], undefined]] as const) {
      const images = read(`${dataset}/t10k-images-idx3-ubyte.gz`);
      const official = officialFiles.find((one) => one.dataset === dataset && one.file === 't10k-images-idx3-ubyte.gz')!;
      expect(createHash('sha256').update(images).digest('hex')).toBe(official.sha256);
      expect(images.length).toBe(official.bytes);
      const set = await imageSetFromIdx({ name: dataset, images, labels: read(`${dataset}/t10k-labels-idx1-ubyte.gz`) });
      expect([set.count, set.height, set.width, set.classes]).toEqual([10_000, 28, 28, 10]);
      expect([...set.labels.subarray(0, 3)]).toEqual(firstLabels);
      if (total !== undefined) expect(set.images.reduce((sum, pixel) => sum + pixel, 0)).toBe(total);
    }
  });

  test('optdigits: 1797 images of 8×8 with the pixel sum of scikit-learn\'s digits', async () => {
    const set = await imageSetFromIdx({
      name: 'digits',
      images: read('digits8x8/t10k-images-idx3-ubyte.gz'),
      labels: read('digits8x8/t10k-labels-idx1-ubyte.gz'),
    });
    expect([set.count, set.height]).toEqual([1797, 8]);
    expect(set.images.reduce((sum, pixel) => sum + pixel, 0)).toBe(561_718);
  });

  test('CIFAR-100 in records of CIFAR-10', async () => {
    const set = await imageSetFromCifar({ name: 'cifar100', files: [read('cifar100/test-1.bin.gz')], format: 'cifar10', classes: 100 });
    expect([set.count, set.classes]).toEqual([2000, 100]);
    const counts = new Int32Array(100);
    for (const label of set.labels) counts[label]! += 1;
    expect(new Set(counts)).toEqual(new Set([20]));
  });
});
