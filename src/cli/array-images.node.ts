/** Images in one .npz or .safetensors file, by the names that Keras's, MedMNIST's and people's own files have. */
import { basename } from 'node:path';
import { readForeign } from '../bundle/foreign/formats.ts';
import type { RawTensor } from '../bundle/safetensors.ts';
import { openZip } from '../bundle/zip-reader.ts';
import { limits } from '../core/limits.ts';
import { imageSetFromArray } from '../data/array-images.ts';
import type { ImageSet } from '../data/image-set.ts';
import { FileError } from './exit.ts';
import { openRandomAccess, readWhole } from './read-files.node.ts';
import { integers } from './integers.ts';

type DataPart = 'train' | 'test';

/** Images and labels of each part, the first pair that a file has. */
const names: Readonly<Record<DataPart, readonly (readonly [images: string, labels: string])[]>> = {
  train: [['x_train', 'y_train'], ['train_images', 'train_labels'], ['images', 'labels']],
  test: [['x_test', 'y_test'], ['test_images', 'test_labels']],
};

/** Whether a value of --data is such a file, by its name. */
export function namesArrayImages(data: string): boolean {
  return /\.(npz|safetensors)$/i.test(data);
}

/** Of an npz only its directory is read: all arrays of one as large as MNIST took 0.24 s and 130 MB, and are read again where wanted. */
export async function hasArrayPart(path: string, part: DataPart): Promise<boolean> {
  return pairIn((await namesInNpz(path)) ?? (await readArrays(path)), part) !== undefined;
}

/** Names of the arrays of an npz; undefined for a file of another kind. */
async function namesInNpz(path: string): Promise<ReadonlySet<string> | undefined> {
  const file = openRandomAccess(path);
  try {
    // "PK": by content as `readForeign` tells it.
    if (file.byteLength < 2 || file.peek(2).some((byte, i) => byte !== 'PK'.charCodeAt(i))) return undefined;
    const { entries } = await openZip(file, { field: path });
    return new Set([...entries.keys()].map((name) => name.replace(/\.npy$/, '')));
  } finally {
    file.close();
  }
}

/** @throws FileError for arrays that are not there, or no images of bytes; what `imageSetFromArray` throws. */
export async function loadArrayImages(path: string, part: DataPart, classes: number | undefined): Promise<ImageSet> {
  const arrays = await readArrays(path);
  const pair = pairIn(arrays, part);
  if (pair === undefined) {
    const wanted = names[part].map((both) => both.join(' and ')).join(', ');
    throw new FileError(
      path, `has no ${part} images: looked for arrays ${wanted}; there are ${[...arrays.keys()].slice(0, 8).join(', ') || 'none'}`,
    );
  }
  const [images, labels] = pair.map((name) => arrays.get(name)) as [RawTensor, RawTensor];
  if (images.dtype !== 'U8') throw new FileError(path, `holds images of ${images.dtype}; wanted are bytes (uint8), 0 to 255`);
  return imageSetFromArray({
    name: basename(path), shape: images.shape, images: images.bytes,
    labels: Uint8Array.from(integers(`${path} labels`, labels, limits.classes - 1, 'labels')),
    ...(classes === undefined ? {} : { classes }),
  });
}

async function readArrays(path: string): Promise<ReadonlyMap<string, RawTensor>> {
  return (await readForeign({ name: path, bytes: readWhole(path, limits.imageFileBytes) })).tensors;
}

/** What images and labels of a part are called in a file that has arrays of these names. */
function pairIn(arrays: { has(name: string): boolean }, part: DataPart): readonly [images: string, labels: string] | undefined {
  return names[part].find((pair) => pair.every((name) => arrays.has(name)));
}
