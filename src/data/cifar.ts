/**
 * CIFAR's binary files, plain or gzip: records of label bytes and 3 × 32 × 32 pixels (red, green and blue planes,
 * row-major), without any header. CIFAR-10 has one label byte, CIFAR-100 two: the coarse label, then the fine one.
 */
import { MalformedFileError } from '../core/errors.ts';
import { requireChoice, requireMembers } from '../core/require.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';
import { unpacked } from './gzip.ts';
import { imageSet, type ImageSet } from './image-set.ts';

const CHANNELS = 3;
const SIZE = 32;
const IMAGE_BYTES = CHANNELS * SIZE * SIZE;

/** Label bytes of a record, which of them is read, and how many classes it tells apart. */
const formats = {
  cifar10: { labelBytes: 1, label: 0, classes: 10 },
  'cifar100-fine': { labelBytes: 2, label: 1, classes: 100 },
  'cifar100-coarse': { labelBytes: 2, label: 0, classes: 20 },
} as const;

export type CifarFormat = keyof typeof formats;

const cifarFormats = Object.keys(formats) as readonly CifarFormat[];

export interface CifarFields {
  readonly name: string;
  /** Gzipped or not. */
  readonly files: readonly Uint8Array[];
  /** How errors call the files; default `NAME file 1` … */
  readonly fileNames?: readonly string[];
  readonly format: CifarFormat;
  /** Default: what the format has (10, 100 or 20); CIFAR-100 in CIFAR-10's records needs 100. */
  readonly classes?: number;
}

const fieldNames: OptionNames<CifarFields> = { name: true, files: true, fileNames: true, format: true, classes: true };

/**
 * An image set from one or more files, in their order.
 * @throws MalformedFileError where a file is empty or no whole number of records; InvalidArgumentError for a label that
 *   is not below `classes`; what `gunzip` throws.
 */
export async function imageSetFromCifar(fields: CifarFields): Promise<ImageSet> {
  requireMembers('fields', fields, ['name', 'files', 'format']);
  requireOptions('imageSetFromCifar', fields, fieldNames);
  const { labelBytes, label, classes } = formats[requireChoice('format', fields.format, cifarFormats)];
  const recordBytes = labelBytes + IMAGE_BYTES;
  const files: Uint8Array[] = [];
  for (const [index, file] of fields.files.entries()) {
    const name = fields.fileNames?.[index] ?? `${fields.name} file ${index + 1}`;
    // A record could begin like gzip only with the label 31 and the pixels 139, 8.
    const bytes = await unpacked(name, file);
    if (bytes.length === 0 || bytes.length % recordBytes !== 0) {
      throw new MalformedFileError({
        field: name,
        expected: `a multiple of ${recordBytes} bytes, the size of a record`,
        got: `${bytes.length} bytes`,
      });
    }
    files.push(bytes);
  }
  const count = files.reduce((sum, bytes) => sum + bytes.length / recordBytes, 0);
  const images = new Uint8Array(count * IMAGE_BYTES);
  const labels = new Uint8Array(count);
  let image = 0;
  for (const bytes of files) {
    for (let at = 0; at < bytes.length; at += recordBytes, image++) {
      labels[image] = bytes[at + label] as number;
      images.set(bytes.subarray(at + labelBytes, at + recordBytes), image * IMAGE_BYTES);
    }
  }
  return imageSet({ name: fields.name, images, labels, channels: CHANNELS, height: SIZE, width: SIZE, classes: fields.classes ?? classes });
}
