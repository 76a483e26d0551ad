/**
 * The IDX format of MNIST and its kin, plain or gzip: big-endian magic (0, 0, type, rank), one u32 an axis, then the
 * elements. Any size of image; labels are bytes, so at most 256 classes.
 */
import { LimitError, MalformedFileError, UnsupportedError } from '../core/errors.ts';
import { requireMembers } from '../core/require.ts';
import { limits } from '../core/limits.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';
import { imageSetFromArray } from './array-images.ts';
import { unpacked } from './gzip.ts';
import type { ImageSet } from './image-set.ts';

const UNSIGNED_BYTE = 0x08;

/**
 * An array of bytes from an IDX file.
 * @param name how errors call the file
 * @param ranks numbers of axes that it may have
 * @param limitBytes most that it may have, uncompressed; default `limits.imageFileBytes`
 * @throws MalformedFileError for a wrong magic, an empty axis, missing or surplus bytes; UnsupportedError for elements
 *   other than unsigned bytes; LimitError beyond `limitBytes`.
 */
export async function readIdx(
  name: string,
  file: Uint8Array,
  ranks: readonly number[],
  limitBytes: number = limits.imageFileBytes,
): Promise<{ readonly shape: readonly number[]; readonly data: Uint8Array }> {
  const bytes = await unpacked(name, file, limitBytes);
  const [zero, anotherZero, type, rank = 0] = bytes;
  if (bytes.length < 4 || zero !== 0 || anotherZero !== 0 || type === 0 || !ranks.includes(rank)) {
    throw new MalformedFileError({
      field: name,
      expected: `an IDX file of ${ranks.map((axes) => `${axes} axes (magic ${UNSIGNED_BYTE * 256 + axes})`).join(' or ')}`,
      got: bytes.length < 4 ? `${bytes.length} bytes` : firstBytes(bytes),
    });
  }
  if (type !== UNSIGNED_BYTE) throw new UnsupportedError({ field: name, expected: 'IDX of unsigned bytes (type 8)', got: `type ${type}` });
  const headerBytes = 4 + 4 * rank;
  if (bytes.length < headerBytes) {
    throw new MalformedFileError({ field: name, expected: `a header of ${headerBytes} bytes`, got: `${bytes.length} bytes` });
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const shape = Array.from({ length: rank }, (_unused, axis) => view.getUint32(4 + 4 * axis));
  const product = shape.reduce((total, extent) => total * extent, 1);
  if (product === 0) throw new MalformedFileError({ field: name, expected: 'at least one element', got: `shape [${shape.join(', ')}]` });
  if (product > limitBytes) {
    throw new LimitError({ field: name, expected: `at most ${limitBytes} bytes`, got: `shape [${shape.join(', ')}]` });
  }
  if (bytes.length !== headerBytes + product) {
    throw new MalformedFileError({
      field: name,
      expected: `${headerBytes + product} bytes for shape [${shape.join(', ')}]`,
      got: `${bytes.length} bytes`,
    });
  }
  return { shape, data: bytes.subarray(headerBytes) };
}

function firstBytes(bytes: Uint8Array): string {
  const zip = bytes[0] === 0x50 && bytes[1] === 0x4b ? ': this is a ZIP, as .npz files are' : '';
  return `magic ${new DataView(bytes.buffer, bytes.byteOffset).getUint32(0)}${zip}`;
}

export interface IdxFields {
  readonly name: string;
  /** IDX files, gzipped or not: [count, height, width], or of four axes as `imageSetFromArray` takes them; and [count]. */
  readonly images: Uint8Array;
  readonly labels: Uint8Array;
  /** How errors call the files; default `NAME images`, `NAME labels`. */
  readonly fileNames?: { readonly images: string; readonly labels: string };
  /** Default: the largest label + 1. */
  readonly classes?: number;
  /** Most that each file may have, uncompressed; default `limits.imageFileBytes`. */
  readonly limitBytes?: { readonly images: number; readonly labels: number };
}

const fieldNames: OptionNames<IdxFields> = { name: true, images: true, labels: true, fileNames: true, classes: true, limitBytes: true };
const partNames = { images: true, labels: true } as const;

/**
 * An image set from its two IDX files, grey or in colour.
 * @throws what `readIdx` throws; MalformedFileError where images and labels differ in number; InvalidArgumentError for a
 *   label that is not below `classes`, and for four axes of which none can be that of channels.
 */
export async function imageSetFromIdx(fields: IdxFields): Promise<ImageSet> {
  requireMembers('fields', fields, ['name', 'images', 'labels']);
  requireOptions('imageSetFromIdx', fields, fieldNames);
  if (fields.fileNames !== undefined) requireOptions('imageSetFromIdx', fields.fileNames, partNames, 'fileNames');
  if (fields.limitBytes !== undefined) requireOptions('imageSetFromIdx', fields.limitBytes, partNames, 'limitBytes');
  const fileNames = fields.fileNames ?? { images: `${fields.name} images`, labels: `${fields.name} labels` };
  const images = await readIdx(fileNames.images, fields.images, [3, 4], fields.limitBytes?.images);
  const labels = await readIdx(fileNames.labels, fields.labels, [1], fields.limitBytes?.labels);
  const [count] = images.shape;
  if (labels.data.length !== count) {
    throw new MalformedFileError({ field: fileNames.labels, expected: `${count} labels, one an image`, got: `${labels.data.length}` });
  }
  const classes = fields.classes === undefined ? {} : { classes: fields.classes };
  return imageSetFromArray({ name: fields.name, images: images.data, shape: images.shape, labels: labels.data, ...classes });
}
