/**
 * Keras: HDF5 files of Keras 2 (`model.save`, `save_weights`) and 3 (`.weights.h5`), and `.keras`, a ZIP with one of the
 * latter. Keras 3 numbers a layer's variables; here they get Keras's own names again, by the kind of layer in the path.
 */
import { describe } from '../../core/describe.ts';
import { MalformedFileError } from '../../core/errors.ts';
import { limits } from '../../core/limits.ts';
import { memorySource } from '../random-access.ts';
import type { RawTensor } from '../safetensors.ts';
import { openZip } from '../zip-reader.ts';
import { type ForeignCheckpoint, type ForeignFile, type ReadForeignOptions, TensorCollector } from './checkpoint.ts';
import { readHdf5 } from './hdf5.ts';

export const KERAS_WEIGHTS = 'model.weights.h5';

/** Names of a layer's variables in the order in which Keras makes them. */
const variableNames: Readonly<Record<string, readonly string[]>> = {
  dense: ['kernel', 'bias'],
  conv1d: ['kernel', 'bias'],
  conv2d: ['kernel', 'bias'],
  depthwise_conv2d: ['depthwise_kernel', 'bias'],
  layer_normalization: ['gamma', 'beta'],
  group_normalization: ['gamma', 'beta'],
  batch_normalization: ['gamma', 'beta', 'moving_mean', 'moving_variance'],
};

/** @throws MalformedFileError, UnsupportedError, LimitError */
export function readKerasHdf5({ name: field, bytes }: ForeignFile): ForeignCheckpoint {
  const collected = new TensorCollector(field);
  const datasets = readHdf5(field, bytes);
  for (const [path, tensor] of datasets) collected.add(variableName(path, datasets), tensor);
  return { tensors: collected.tensors, metadata: new Map(), convention: 'keras' };
}

/** @throws MalformedFileError, UnsupportedError, LimitError */
export async function readKeras({ name: field, bytes }: ForeignFile, { signal }: ReadForeignOptions = {}): Promise<ForeignCheckpoint> {
  const zip = await openZip(memorySource(bytes), {
    field,
    entryBytes: Math.max(limits.entryBytes, bytes.byteLength),
    ...(signal === undefined ? {} : { signal }),
  });
  if (!zip.entries.has(KERAS_WEIGHTS))
    throw new MalformedFileError({ field, expected: `an entry ${KERAS_WEIGHTS}`, got: describe([...zip.entries.keys()]) });
  return readKerasHdf5({ name: `${field} ${KERAS_WEIGHTS}`, bytes: await zip.read(KERAS_WEIGHTS, signal) });
}

/** `layers/dense_1/vars/0` → `layers/dense_1/kernel`; paths of other shapes and of unknown kinds of layers stay. */
function variableName(path: string, all: ReadonlyMap<string, RawTensor>): string {
  const match = /^(.*?)([^/]+)\/vars\/(\d+)$/.exec(path);
  if (match === null) return path;
  const [, folder, layer, index] = match as unknown as [string, string, string, string];
  const kind = layer.replace(/_\d+$/, '');
  const names = Object.hasOwn(variableNames, kind) ? variableNames[kind] : undefined;
  if (names === undefined) return path;
  // Without scale or shift, a norm's variables have other numbers: better left than guessed.
  const whole = !kind.endsWith('_normalization') || all.has(`${folder}${layer}/vars/${names.length - 1}`);
  const name = whole ? names[Number(index)] : undefined;
  return name === undefined ? path : `${folder}${layer}/${name}`;
}
