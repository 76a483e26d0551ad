/** Folders of images with few grey levels: what enters the network as 1, the same for every command on the folder. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { loadImages } from '../../src/cli/data.node.ts';
import type { LoadChoices } from '../../src/cli/data.node.ts';
import { UsageError } from '../../src/cli/exit.ts';
import { makeBatch } from '../../src/data/data-set.ts';
import { idxImages, idxLabels } from './fixtures.ts';

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
