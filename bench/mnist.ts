/** MNIST from a folder of its files, bytes ÷ 255 as the command line reads it; undefined where it is not there. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { imageSetFromIdx } from '../src/data/idx.ts';
import { type ImageSet, selectRows } from '../src/data/image-set.ts';

/** Beside the repository, where there is one. */
export const MNIST_FOLDER = '../shared/data/mnist';

/** @param most images, the first ones. */
export async function mnist(folder: string, part: 'train' | 't10k', most: number): Promise<ImageSet | undefined> {
  const path = (kind: string): string => join(folder, `${part}-${kind}-ubyte.gz`);
  if (!existsSync(path('images-idx3'))) return undefined;
  const whole = await imageSetFromIdx({
    name: 'mnist',
    images: readFileSync(path('images-idx3')),
    labels: readFileSync(path('labels-idx1')),
  });
  return selectRows(whole, Int32Array.from({ length: Math.min(most, whole.count) }, (_, i) => i));
}
