/**
 * Images on disk: files of arrays, how many classes, and of few grey levels what enters the network as 1, the same for every
 * command on the folder.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { writeNpz } from '../../src/bundle/foreign/npz.ts';
import { writeSafetensors } from '../../src/bundle/safetensors.ts';
import type { RawTensor } from '../../src/bundle/safetensors.ts';
import { dataFiles, hasPart, loadImages } from '../../src/cli/data.node.ts';
import type { LoadChoices } from '../../src/cli/data.node.ts';
import { UsageError } from '../../src/cli/exit.ts';
import { makeBatch } from '../../src/data/data-set.ts';
import { createTransferHandler } from '../../src/edge/index.ts';
import { closeSharedCompute, openBundle } from '../../src/index.ts';
import { idxImages, idxLabels, jsonLines, striped, trajport } from './fixtures.ts';

let directory: string;
beforeEach(() => void (directory = mkdtempSync(join(tmpdir(), 'trajport-data-'))));
afterEach(() => rmSync(directory, { recursive: true, force: true }));

function write(part: 'train' | 't10k', pixels: readonly number[]): void {
  writeFileSync(join(directory, `${part}-images-idx3-ubyte`), idxImages(pixels.length, 1, 1, Uint8Array.from(pixels)));
  writeFileSync(join(directory, `${part}-labels-idx1-ubyte`), idxLabels(pixels.map((_, i) => i % 2)));
}

/** What the network sees of a part. */
async function inputs(part: 'train' | 'test', choices: Partial<LoadChoices> = {}): Promise<number[]> {
  const set = await loadImages(directory, part, { seed: 1, ...choices }, () => Promise.reject(new Error('no need to compute')));
  return [...makeBatch(set, [...set.labels.keys()]).inputs];
}

it('divides few grey levels by the largest byte of both parts, whichever is read and however much of it', async () => {
  write('train', [0, 1, 8]);
  write('t10k', [16, 4]);
  expect(await inputs('train')).toEqual([0, 1 / 16, 0.5]);
  expect(await inputs('train', { trainCount: 2 })).toEqual([0, 1 / 16]);
  expect(await inputs('test')).toEqual([1, 0.25]);
});

it('divides by 255 what has more levels, in either part, and what is all black', async () => {
  write('train', [0, 63]);
  write('t10k', [64, 1]);
  expect(await inputs('train')).toEqual([0, Math.fround(63 * Math.fround(1 / 255))]);
  write('train', [0, 0]);
  rmSync(join(directory, 't10k-images-idx3-ubyte'));
  expect(await inputs('train')).toEqual([0, 0]);
});

it('takes a maximum by hand, above every pixel', async () => {
  write('train', [0, 8]);
  expect(await inputs('train')).toEqual([0, 1]);
  expect(await inputs('train', { pixelMaximum: 32 })).toEqual([0, 0.25]);
  await expect(inputs('train', { pixelMaximum: 7 })).rejects.toThrow(UsageError);
});

it('is kept in the bundle of a training, so that the fetch handler ports as the command line does', async () => {
  const { pixels, labels } = striped(120, 6, 3);
  const images = idxImages(120, 6, 6, pixels.map((byte) => byte >> 4));
  for (const part of ['train', 't10k']) {
    writeFileSync(join(directory, `${part}-images-idx3-ubyte`), images);
    writeFileSync(join(directory, `${part}-labels-idx1-ubyte`), idxLabels(labels));
  }
  const run = async (...args: string[]) => {
    const { code, stdout, stderr } = await trajport([...args, '--data', '.', '--json'], { cwd: directory });
    if (code !== 0) throw new Error(stderr);
    return jsonLines(stdout).at(-1) as { readonly sha256: string };
  };
  await run('train', '--widths', '12', '--epochs', '2', '--batch-size', '16', '--out', 'tune.zip');
  await run('train', '--widths', '12', '--epochs', '2', '--batch-size', '16', '--seed', '2', '--final', 'v2.safetensors');
  // The new task's images are all darker: their own largest byte would be another.
  writeFileSync(join(directory, 'train-images-idx3-ubyte'), idxImages(120, 6, 6, pixels.map((byte) => byte >> 5)));
  const choices = ['--method', 'fgmt', '--batch-size', '32', '--steps', '3'];
  const here = await run('transfer', 'tune.zip', '--target', 'v2.safetensors', ...choices, '--out', 'x.safetensors');
  const read = (name: string): Uint8Array<ArrayBuffer> => Uint8Array.from(readFileSync(join(directory, name)));
  using bundle = await openBundle(read('tune.zip'));
  expect(bundle.training).toMatchObject({ pixelMaximum: Math.max(...pixels) >> 4 });
  const otherwise = ['transfer', 'tune.zip', '--target', 'v2.safetensors', ...choices, '--out', 'z.safetensors'];
  await expect(run(...otherwise, '--pixel-maximum', '255')).rejects.toThrow(/not as asked for here\n.*data: expected images as byte ÷ 15/);
  await expect(run(...otherwise, '--pixel-mean', '0.5', '--pixel-std', '0.5')).rejects.toThrow(/without these options its own are taken/);
  const body = new FormData();
  body.set('bundle', new Blob([read('tune.zip')]));
  body.set('target', new Blob([read('v2.safetensors')]));
  body.set('images', new Blob([read('train-images-idx3-ubyte')]));
  body.set('labels', new Blob([read('train-labels-idx1-ubyte')]));
  body.set('options', JSON.stringify({ method: 'fgmt', batchSize: 32, steps: 3 }));
  const brighter = idxImages(120, 6, 6, pixels);
  writeFileSync(join(directory, 't10k-images-idx3-ubyte'), brighter);
  writeFileSync(join(directory, 'train-images-idx3-ubyte'), brighter);
  await expect(run(
    'transfer', 'tune.zip', '--target', 'v2.safetensors', ...choices, '--out', 'y.safetensors',
  )).rejects.toThrow(/the bundle's own, is below a pixel/);
  await run('transfer', 'tune.zip', '--target', 'v2.safetensors', ...choices, '--pixel-maximum', '255', '--out', 'y.safetensors');
  const response = await createTransferHandler()(new Request('https://port.example/', { method: 'POST', body }));
  await closeSharedCompute();
  expect(JSON.parse(response.headers.get('trajport-record') ?? '{}')).toMatchObject({ sha256: here.sha256 });
});

it("counts the classes of CIFAR's files as ten, or as the network has fewer, unless a label says more", async () => {
  const classes = async (label: number, choices: Partial<LoadChoices>): Promise<number> => {
    writeFileSync(join(directory, 'train-1.bin'), Uint8Array.from({ length: 3073 }, (_, i) => (i === 0 ? label : 51)));
    return (await loadImages(directory, 'train', { seed: 1, ...choices }, () => Promise.reject(new Error('no need to compute')))).classes;
  };
  expect(await classes(3, {})).toBe(10);
  expect(await classes(3, { networkClasses: 4 })).toBe(4);
  expect(await classes(4, { networkClasses: 4 })).toBe(5);
  expect(await classes(3, { networkClasses: 37 })).toBe(10);
  expect(await classes(12, { networkClasses: 37 })).toBe(13);
  expect(await classes(3, { networkClasses: 4, classes: 6 })).toBe(6);
});

it('reads a file that lies packed and unpacked side by side once', async () => {
  const record = Uint8Array.from({ length: 3073 }, (_, i) => i % 10);
  writeFileSync(join(directory, 'train-1.bin'), record);
  for (const name of ['train-1.bin.gz', 'train-2.bin.gz']) writeFileSync(join(directory, name), gzipSync(record));
  expect((await loadImages(directory, 'train', { seed: 1 }, () => Promise.reject(new Error('no need to compute')))).count).toBe(2);
});

describe('one file of arrays', () => {
  // Number of an element: image · 100 + channel · 10 + pixel.
  const array = (shape: readonly number[], of: (at: number) => number): RawTensor =>
    ({ dtype: 'U8', shape, bytes: Uint8Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, at) => of(at)) });
  const labels = (...values: number[]): RawTensor =>
    ({ dtype: 'I64', shape: [values.length, 1], bytes: new Uint8Array(BigInt64Array.from(values.map(BigInt)).buffer) });
  const refuse = () => Promise.reject(new Error('no need to compute'));
  const load = async (arrays: ReadonlyMap<string, RawTensor>, part: 'train' | 'test', name = 'set.npz') => {
    const path = join(directory, name);
    writeFileSync(path, name.endsWith('.npz') ? await writeNpz(arrays) : writeSafetensors(arrays));
    return loadImages(path, part, { seed: 1 }, refuse);
  };
  const [height, width] = [5, 6];

  it.each([
    [
      'channels last',
      [2, height, width, 3],
      (at: number) => (Math.floor(at / (3 * height * width)) * 100 + (at % 3) * 10 + (Math.floor(at / 3) % (height * width))) % 256,
    ],
    [
      'channels first',
      [2, 3, height, width],
      (at: number) => (Math.floor(at / (3 * height * width)) * 100 + (Math.floor(at / (height * width)) % 3) * 10 +
        (at % (height * width))) % 256,
    ],
  ] as const)('of colour, %s', async (_, shape, of) => {
    for (const name of ['set.npz', 'set.safetensors']) {
      const set = await load(new Map([['x_train', array(shape, of)], ['y_train', labels(2, 0)]]), 'train', name);
      expect(set).toMatchObject({ count: 2, channels: 3, height, width, classes: 3, name });
      expect([...set.labels]).toEqual([2, 0]);
      for (let image = 0; image < 2; image++)
        for (let channel = 0; channel < 3; channel++)
          for (let pixel = 0; pixel < height * width; pixel++)
            expect(set.images[(image * 3 + channel) * height * width + pixel]).toBe((image * 100 + channel * 10 + pixel) % 256);
    }
  });

  it("of grey, by Keras's names and MedMNIST's, and parts that there are", async () => {
    const grey = array([2, height, width], (at) => at + 100);
    for (const [train, test] of [['x_train', 'x_test'], ['train_images', 'test_images'], ['images', undefined]] as const) {
      const other = (name: string) => name.replace('x_', 'y_').replace('images', 'labels');
      const arrays = new Map([[train, grey], [other(train), labels(0, 1)]]);
      if (test !== undefined) arrays.set(test, array([1, height, width], () => 7)).set(other(test), labels(1));
      const set = await load(arrays, 'train');
      expect(set).toMatchObject({ count: 2, channels: 1, height, width, classes: 2 });
      expect(set.images[3]).toBe(103);
      expect(await hasPart(join(directory, 'set.npz'), 'test')).toBe(test !== undefined);
      if (test !== undefined) expect(await load(arrays, 'test')).toMatchObject({ count: 1 });
    }
    expect(dataFiles(join(directory, 'set.npz'))).toEqual([join(directory, 'set.npz')]);
  });

  it('tell which parts they have: an npz by its directory alone, images without their labels not at all', async () => {
    const path = join(directory, 'set.npz');
    const grey = array([2, height, width], () => 7);
    const npz = await writeNpz(new Map([['x_test', grey], ['y_test', labels(0, 1)], ['x_train', grey]]));
    // The first array's bytes: whoever reads it meets another checksum.
    npz[200] = (npz[200] as number) ^ 0xff;
    writeFileSync(path, npz);
    expect(await hasPart(path, 'test')).toBe(true);
    expect(await hasPart(path, 'train')).toBe(false);
    await expect(loadImages(path, 'test', { seed: 1 }, refuse)).rejects.toThrow(/x_test.*CRC-32/);
    writeFileSync(path, writeSafetensors(new Map([['x_test', grey], ['y_test', labels(0, 1)]])));
    expect([await hasPart(path, 'test'), await hasPart(path, 'train')]).toEqual([true, false]);
    writeFileSync(path, '');
    await expect(hasPart(path, 'test')).rejects.toThrow('set.npz: expected a file with content, got an empty one');
  });

  it.each([
    ['other names', [['pictures', array([1, 5, 6], () => 0)], ['y_train', labels(0)]], 'looked for arrays x_train and y_train'],
    [
      'floats',
      [['x_train', { dtype: 'F32', shape: [1, 5, 6], bytes: new Uint8Array(120) }], ['y_train', labels(0)]],
      'wanted are bytes (uint8)',
    ],
    ['labels below zero', [['x_train', array([1, 5, 6], () => 0)], ['y_train', labels(-1)]], 'labels are 0 to 255'],
    ['labels that are missing', [['x_train', array([2, 5, 6], () => 0)], ['y_train', labels(0)]], 'labels: expected 2, one an image, got 1'],
    ['five channels', [['x_train', array([1, 5, 5, 5], () => 0)], ['y_train', labels(0)]], 'up to 4 channels'],
  ] as [string, [string, RawTensor][], string][])('is refused with %s', async (_, arrays, message) => {
    await expect(load(new Map(arrays), 'train')).rejects.toThrow(message);
  });
});

describe('a normalisation', () => {
  it('is (byte ÷ 255 − mean) ÷ std, of few grey levels too', async () => {
    write('train', [0, 1, 8, 63]);
    const seen = await inputs('train', { normalisation: { mean: [0.1307], std: [0.3081] } });
    for (const [i, byte] of [0, 1, 8, 63].entries()) expect(seen[i]).toBeCloseTo((byte / 255 - 0.1307) / 0.3081, 6);
  });

  it('has a number per channel, or one for all', async () => {
    writeFileSync(join(directory, 'train-1.bin'), Uint8Array.from({ length: 3073 }, (_, i) => (i === 0 ? 1 : 51)));
    const firsts = async (mean: number[], std: number[]) => {
      const seen = await inputs('train', { normalisation: { mean, std } });
      return [0, 1, 2].map((channel) => (seen[channel * 1024] as number).toFixed(5));
    };
    expect(await firsts([0.1, 0.2, 0.3], [0.5, 0.25, 0.1])).toEqual(['0.20000', '0.00000', '-1.00000']);
    expect(await firsts([0.1], [0.5])).toEqual(['0.20000', '0.20000', '0.20000']);
    await expect(firsts([0.1, 0.2], [0.5])).rejects.toThrow('pixelMean: expected one number, or 3 for as many channels, got 2');
    await expect(firsts([0.1], [0.5, 1, 1, 1])).rejects.toThrow('pixelStd: expected one number, or 3');
  });

  it('excludes a maximum', async () => {
    write('train', [0, 8]);
    await expect(inputs('train', { pixelMaximum: 16, normalisation: { mean: [0.5], std: [0.5] } })).rejects.toThrow(UsageError);
  });
});
