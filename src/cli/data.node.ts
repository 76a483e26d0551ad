/**
 * Finds image sets on disk, in folders by MNIST's and CIFAR's file names or in one file of arrays; of any image size and up to
 * 256 classes. `generated:before` and `generated:after` name the built-in pair of tasks, which needs no files.
 */
import { existsSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { listed } from '../core/describe.ts';
import { limits } from '../core/limits.ts';
import { imageSetFromCifar } from '../data/cifar.ts';
import { generateTaskPair } from '../data/generated.ts';
import { imageSetFromIdx } from '../data/idx.ts';
import { selectRows } from '../data/image-set.ts';
import type { ImageSet } from '../data/image-set.ts';
import { withNormalisation } from '../data/normalisation.ts';
import type { Normalisation } from '../data/normalisation.ts';
import type { Compute } from '../index.ts';
import { hasArrayPart, loadArrayImages, namesArrayImages } from './array-images.node.ts';
import { FileError, UsageError } from './exit.ts';
import { reason } from './file-system.node.ts';
import { readWhole } from './read-files.node.ts';
import { nearestName } from '../core/nearest-name.ts';
import { hasTokenPart, namesTokens, tokenFiles } from './tokens.node.ts';

const dataParts = ['train', 'test'] as const;
export type DataPart = (typeof dataParts)[number];

export interface LoadChoices {
  /** Draws the generated images. */
  readonly seed: number;
  /** Only the first so many images of the training part. */
  readonly trainCount?: number;
  readonly classes?: number;
  /** Classes of the network that the images are for. */
  readonly networkClasses?: number;
  /** The byte that enters the network as 1. Default: 255, or the largest of a folder of few grey levels. */
  readonly pixelMaximum?: number;
  readonly normalisation?: Normalisation;
}

/** The built-in pair of tasks, by the names that --data takes. */
export const generatedTasks = ['generated:before', 'generated:after'] as const;
export const DEFAULT_DATA = generatedTasks[0];

/** Images of the generated tasks unless fewer are asked for: a second to draw, and enough for an MLP to reach 95 %. */
const GENERATED_TRAIN = 6000;
const GENERATED_TEST = 2000;

/** Largest data file that is read, packed or not: all of CIFAR-10 in one file has 184 MB. */
const FILE_LIMIT_BYTES = limits.imageFileBytes;

/** MNIST's names, with the dot that some mirrors have, `train-images.idx3-ubyte`. */
const idxNames: Readonly<Record<DataPart, { images: RegExp; labels: RegExp }>> = {
  train: { images: /^train[-_]images[-.]idx3[-_]ubyte(\.gz)?$/, labels: /^train[-_]labels[-.]idx1[-_]ubyte(\.gz)?$/ },
  test: { images: /^(t10k|test)[-_]images[-.]idx3[-_]ubyte(\.gz)?$/, labels: /^(t10k|test)[-_]labels[-.]idx1[-_]ubyte(\.gz)?$/ },
};

/** CIFAR's binary parts: the official `data_batch_1.bin` and `test_batch.bin`, and `train-1.bin`, `test-1.bin`. */
const cifarNames: Readonly<Record<DataPart, RegExp>> = {
  train: /^(data_batch_\d+|train([-_]\d+)?)\.bin(\.gz)?$/,
  test: /^(test_batch|test([-_]\d+)?)\.bin(\.gz)?$/,
};

/** Whether a value of --data is a folder or file of images. */
export function namesFiles(name: string): boolean {
  return !name.startsWith('generated:') && !namesTokens(name);
}

/** Whether `name` has that part. @throws FileError where there is no such folder; what reading a file of tokens does. */
export async function hasPart(name: string, part: DataPart): Promise<boolean> {
  if (name.startsWith('generated:')) return true;
  if (namesTokens(name)) return hasTokenPart(name, part);
  if (namesArrayImages(name)) return hasArrayPart(name, part);
  const files = list(name);
  return files.some((file) => idxNames[part].images.test(file) || cifarNames[part].test(file));
}

/** Every file that `loadImages`, `loadTokens` or `loadSequences` may read of a value of --data; none of what is not there. */
export function dataFiles(name: string): readonly string[] {
  if (name.startsWith('generated:')) return [];
  if (namesTokens(name)) return tokenFiles(name);
  if (namesArrayImages(name)) return [name];
  const patterns = dataParts.flatMap((part) => [idxNames[part].images, idxNames[part].labels, cifarNames[part]]);
  return (existsSync(name) ? list(name) : [])
    .filter((file) => patterns.some((pattern) => pattern.test(file)))
    .map((file) => join(name, file));
}

/** @throws FileError that says which files were looked for; the readers' errors for what is in them. */
export async function loadImages(name: string, part: DataPart, choices: LoadChoices, compute: () => Promise<Compute>): Promise<ImageSet> {
  if (name.startsWith('generated:')) return generatedPart(name, part, choices, compute);
  if (choices.classes !== undefined && choices.classes > limits.classes) {
    throw new UsageError(`--classes is at most ${limits.classes} for images, whose labels are bytes, not ${choices.classes}`);
  }
  const { normalisation } = choices;
  if (normalisation !== undefined && choices.pixelMaximum !== undefined)
    throw new UsageError('--pixel-maximum and --pixel-mean exclude each other: a mean is of byte ÷ 255');
  const asRead = await filePart(name, part, choices);
  const set = normalisation === undefined ? await withPixelMaximum(asRead, part, name, choices) : withNormalisation(asRead, normalisation);
  return part === 'train' ? firstImages(set, choices.trainCount) : set;
}

/** A folder whose bytes all lie below this has fewer grey levels than a byte can hold, and does not merely show dark images. */
const FEW_GREY_LEVELS = 64;

/**
 * The set with byte ÷ maximum as its pixels: what was asked for, else 255, else (few grey levels) the largest byte of the whole
 * folder, training and test part, so that every command on it agrees. As byte ÷ 255, the 8×8 digits of 17 levels are nearly
 * black: ten epochs of an MLP 128 end at 15 % where they end at 91 % now.
 */
async function withPixelMaximum(set: ImageSet, part: DataPart, folder: string, choices: LoadChoices): Promise<ImageSet> {
  let maximum = choices.pixelMaximum;
  if (maximum === undefined) {
    maximum = largestByte(set);
    if (maximum >= FEW_GREY_LEVELS) return set;
    const other = part === 'train' ? 'test' : 'train';
    if (await hasPart(folder, other)) maximum = Math.max(maximum, largestByte(await filePart(folder, other, choices)));
    if (maximum >= FEW_GREY_LEVELS || maximum === 0) return set;
  }
  const over = set.images.find((byte) => byte > maximum);
  if (over !== undefined)
    throw new UsageError(`--pixel-maximum ${maximum}, given or the bundle's own, is below a pixel of ${set.name}, ${over}`);
  return { ...set, scale: set.scale.map(() => 1 / maximum) };
}

/** The largest byte of the images, or the first that is not of few grey levels. */
function largestByte({ images }: ImageSet): number {
  let largest = 0;
  for (let i = 0; i < images.length && largest < FEW_GREY_LEVELS; i++) largest = Math.max(largest, images[i] as number);
  return largest;
}

async function filePart(name: string, part: DataPart, choices: LoadChoices): Promise<ImageSet> {
  if (namesArrayImages(name)) return loadArrayImages(name, part, choices.classes);
  const files = list(name);
  const images = files.filter((file) => idxNames[part].images.test(file));
  const parts = files.filter((file) => cifarNames[part].test(file));
  if (images.length > 0 && parts.length > 0)
    throw new FileError(name, `holds both MNIST's and CIFAR's files: ${images[0]} and ${parts[0]}`);
  if (images.length > 0) return readIdxPair(name, part, files, choices);
  if (parts.length > 0) return readCifarParts(name, parts, choices);
  const wanted =
    part === 'train'
      ? "train-images-idx3-ubyte[.gz] (MNIST's names) or train-1.bin[.gz], data_batch_1.bin (CIFAR's)"
      : 't10k-images-idx3-ubyte[.gz] or test-1.bin[.gz], test_batch.bin';
  throw new FileError(name, `has no ${part} images: looked for ${wanted}; there are ${files.slice(0, 8).join(', ') || 'no files'}`);
}

/** @throws FileError where there is no such folder. */
export function requireFolder(directory: string): void {
  list(directory);
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory).toSorted();
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code !== 'ENOENT' && code !== 'ENOTDIR') throw new FileError(directory, `cannot be read (${reason(cause)})`, cause);
    throw new FileError(
      directory,
      code === 'ENOTDIR'
        ? `a file, where --data takes a folder of images (text:${directory} is its text, tokens:${directory} its numbers, ` +
          `sequences:${directory} its JSON Lines)`
        : 'no such folder of images (`download` puts those that it fetches in images/; --data also takes generated:before, ' +
          'generated:after, text:PATH, tokens:FILE and sequences:PATH)',
      cause,
    );
  }
}

async function readIdxPair(directory: string, part: DataPart, files: readonly string[], choices: LoadChoices): Promise<ImageSet> {
  const { images, labels } = idxNames[part];
  const imageFile = only(directory, files.filter((file) => images.test(file)));
  const labelFile = only(directory, files.filter((file) => labels.test(file)));
  if (imageFile === undefined || labelFile === undefined) throw new FileError(directory, `has ${imageFile} but no labels beside it`);
  return imageSetFromIdx({
    name: basename(directory),
    images: read(directory, imageFile),
    labels: read(directory, labelFile),
    fileNames: { images: join(directory, imageFile), labels: join(directory, labelFile) },
    ...(choices.classes === undefined ? {} : { classes: choices.classes }),
  });
}

async function readCifarParts(directory: string, parts: readonly string[], choices: LoadChoices): Promise<ImageSet> {
  const files = withoutTwins(parts);
  // The official CIFAR-100 is one file a part, with a coarse label before the fine one; numbered parts have one label.
  const format = files.every((file) => /^(train|test)\.bin/.test(file)) ? 'cifar100-fine' : 'cifar10';
  const set = await imageSetFromCifar({
    name: basename(directory),
    files: files.map((file) => read(directory, file)),
    fileNames: files.map((file) => join(directory, file)),
    format,
    classes: choices.classes ?? limits.classes,
  });
  if (choices.classes !== undefined) return set;
  // Nothing in the files says how many classes there are: ten, or as few as the network has, unless a label says more.
  const fewest = Math.min(10, choices.networkClasses ?? 10);
  return { ...set, classes: set.labels.reduce((most, label) => Math.max(most, label + 1), fewest) };
}

async function generatedPart(name: string, part: DataPart, choices: LoadChoices, compute: () => Promise<Compute>): Promise<ImageSet> {
  const task = name.slice('generated:'.length);
  if (task !== 'before' && task !== 'after') {
    const nearest = nearestName(task, ['before', 'after']) ?? 'before';
    throw new UsageError(
      `the generated tasks are generated:before and generated:after, not ${JSON.stringify(name)}`,
      `generated:${nearest}`,
    );
  }
  for (const [option, given] of [
    ['--classes', choices.classes],
    ['--pixel-maximum', choices.pixelMaximum],
    ['--pixel-mean', choices.normalisation],
  ] as const) {
    if (given !== undefined) throw new UsageError(`${option} is for folders of images, not for ${name}`);
  }
  const { core } = await compute();
  const counts =
    part === 'train' ? { trainCount: choices.trainCount ?? GENERATED_TRAIN, testCount: 1 } : { trainCount: 1, testCount: GENERATED_TEST };
  return generateTaskPair(core, { seed: choices.seed, ...counts })[task][part];
}

function firstImages(set: ImageSet, count: number | undefined): ImageSet {
  if (count === undefined || count >= set.count) return set;
  return selectRows(set, Int32Array.from({ length: count }, (_, row) => row));
}

/** The one file of that name; packed and unpacked side by side are the same file twice, of which the unpacked is read. */
function only(directory: string, files: readonly string[]): string | undefined {
  const distinct = withoutTwins(files);
  if (distinct.length > 1) throw new FileError(directory, `holds ${listed(distinct, ' and ')}; which one is meant?`);
  return distinct[0];
}

function withoutTwins(files: readonly string[]): string[] {
  return files.filter((file) => !(file.endsWith('.gz') && files.includes(file.slice(0, -3))));
}

function read(directory: string, file: string): Uint8Array<ArrayBuffer> {
  return readWhole(join(directory, file), FILE_LIMIT_BYTES);
}
