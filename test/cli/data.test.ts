/** Folders of images: how many classes, and of few grey levels what enters the network as 1, the same for every command on the folder. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
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
