/**
 * The codings of a checkpoint: how the bytes of its safetensors file become the bytes of a ZIP entry, and back.
 * Undone, every coding yields a valid safetensors file, byte for byte the one whose SHA-256 the manifest states.
 *
 * - `full`: the file itself, stored.
 * - `planes`: the file in chunks of 32,768 4-byte elements, each as four planes of bytes; deflated.
 * - `xor`: the file XORed with the previous checkpoint's, then as `planes`.
 * - `int8`, `int4`: steps of the parameters from what a reader has of the previous checkpoint, in blocks of 128 with one
 *   f32 scale each; everything else of the file XORed with the previous one. Lossy; what is lost in one step is part of
 *   the next (error feedback).
 * - `seed`: no bytes; the initialiser makes the state again.
 */
import { MalformedFileError } from '../core/errors.ts';
import { type ByteReader, type Codec, PLANE_ELEMENTS } from './codec-instance.ts';
import { methods } from './zip-format.ts';
import type { PackedContent } from './zip-writer.ts';

export const codings = ['full', 'planes', 'xor', 'int8', 'int4', 'seed'] as const;
/** How a checkpoint is stored in a bundle (`docs/format.md`). */
export type Coding = (typeof codings)[number];

/** Codings that need the previous checkpoint. */
export function isDelta(coding: Coding): boolean {
  return coding === 'xor' || coding === 'int8' || coding === 'int4';
}

/** Where a file's parameters lie, all F32 and in one piece: [begin, end) in bytes. */
export interface ParameterRange {
  readonly begin: number;
  readonly end: number;
}

const CHUNK_BYTES = 4 * PLANE_ELEMENTS;
// Blocks of 256 save 0.8 % of raw, but an outlier then coarsens twice as many steps: 1.02 % error on a conv net, above the bar.
export const BLOCK_ELEMENTS = 128;

const bitsOf = (coding: 'int8' | 'int4'): 8 | 4 => (coding === 'int8' ? 8 : 4);
const scaleBytes = (elements: number): number => 4 * Math.ceil(elements / BLOCK_ELEMENTS);
const stepBytes = (elements: number, bits: 4 | 8): number => Math.ceil((elements * bits) / 8);

/** Bytes of a coded checkpoint before DEFLATE: fixed by the file's size, so no entry can claim more. */
export function codedBytes(coding: Exclude<Coding, 'seed'>, fileBytes: number, range: ParameterRange): number {
  if (coding !== 'int8' && coding !== 'int4') return fileBytes;
  const elements = (range.end - range.begin) / 4;
  return fileBytes - 4 * elements + scaleBytes(elements) + stepBytes(elements, bitsOf(coding));
}

/** The chunks of [0, bytes). */
function* chunksOf(bytes: number): Generator<readonly [begin: number, end: number]> {
  for (let begin = 0; begin < bytes; begin += CHUNK_BYTES) yield [begin, Math.min(begin + CHUNK_BYTES, bytes)];
}

function xorInto(target: Uint8Array, other: Uint8Array): void {
  for (let i = 0; i < target.byteLength; i++) target[i] = (target[i] as number) ^ (other[i] as number);
}

/**
 * Codes a file.
 * @param base the previous file as a reader has it, for delta codings. `int8` and `int4` turn it into what a reader
 *   will have of this one; the others leave it alone.
 */
export function encodeFile(
  codec: Codec,
  coding: Exclude<Coding, 'seed'>,
  file: Uint8Array<ArrayBuffer>,
  base: Uint8Array | undefined,
  range: ParameterRange,
): PackedContent {
  if (coding === 'full') {
    return { method: methods.stored, crc32: codec.crc32(file), bytes: file.byteLength, parts: [file] };
  }
  if (isDelta(coding) && base?.byteLength !== file.byteLength) {
    throw new MalformedFileError({ field: 'checkpoint', expected: 'a file as long as the previous one', got: `${file.byteLength} bytes` });
  }
  const parts: Uint8Array<ArrayBuffer>[] = [];
  const stream = codec.deflate((part) => {
    if (part.byteLength > 0) parts.push(part);
  });
  if (coding === 'planes' || coding === 'xor') {
    const planes = new Uint8Array(CHUNK_BYTES);
    for (const [begin, end] of chunksOf(file.byteLength)) {
      const coded = planes.subarray(0, end - begin);
      codec.splitChunk(file.subarray(begin, end), coding === 'xor' ? base?.subarray(begin, end) : undefined, coded);
      const count = (end - begin) >> 2;
      // A plane is a block of its own: signs and exponents shrink, mantissas are stored.
      for (let plane = 0; plane < 4; plane++) stream.write(coded.subarray(plane * count, (plane + 1) * count));
      stream.write(coded.subarray(4 * count));
    }
  } else {
    encodeSteps(codec, bitsOf(coding), file, base as Uint8Array, range, (bytes) => stream.write(bytes));
  }
  const { crc32, bytes } = stream.end();
  return { method: methods.deflated, crc32, bytes, parts };
}

function encodeSteps(
  codec: Codec, bits: 4 | 8, file: Uint8Array, base: Uint8Array, range: ParameterRange, write: (bytes: Uint8Array) => void,
): void {
  for (const [begin, end] of [[0, range.begin], [range.end, file.byteLength]] as const) {
    const rest = file.slice(begin, end);
    xorInto(rest, base.subarray(begin, end));
    write(rest);
    base.set(file.subarray(begin, end), begin);
  }
  const parameters = file.subarray(range.begin, range.end);
  const decoded = base.subarray(range.begin, range.end);
  for (const [begin, end] of chunksOf(parameters.byteLength)) {
    const elements = (end - begin) / 4;
    const scales = new Uint8Array(scaleBytes(elements));
    const steps = new Uint8Array(stepBytes(elements, bits));
    codec.quantiseChunk(parameters.subarray(begin, end), decoded.subarray(begin, end), bits, scales, steps);
    write(scales);
    write(steps);
  }
}

/**
 * Undoes a coding.
 * @param reader the entry's content, inflated.
 * @param file for delta codings the previous file; becomes this one. For the others, overwritten.
 */
export function decodeFile(
  codec: Codec,
  coding: Exclude<Coding, 'seed'>,
  reader: ByteReader,
  file: Uint8Array,
  range: ParameterRange,
): void {
  if (coding === 'full') {
    for (const [begin, end] of chunksOf(file.byteLength)) reader.readInto(file.subarray(begin, end));
  } else if (coding === 'planes' || coding === 'xor') {
    const planes = new Uint8Array(CHUNK_BYTES);
    for (const [begin, end] of chunksOf(file.byteLength)) {
      const coded = planes.subarray(0, end - begin);
      reader.readInto(coded);
      codec.joinChunk(coded, file.subarray(begin, end), coding === 'xor');
    }
  } else {
    decodeSteps(codec, bitsOf(coding), reader, file, range);
  }
  reader.finish();
}

function decodeSteps(codec: Codec, bits: 4 | 8, reader: ByteReader, file: Uint8Array, range: ParameterRange): void {
  for (const [begin, end] of [[0, range.begin], [range.end, file.byteLength]] as const) {
    const rest = new Uint8Array(end - begin);
    reader.readInto(rest);
    xorInto(file.subarray(begin, end), rest);
  }
  const parameters = file.subarray(range.begin, range.end);
  for (const [begin, end] of chunksOf(parameters.byteLength)) {
    const elements = (end - begin) / 4;
    const scales = new Uint8Array(scaleBytes(elements));
    const steps = new Uint8Array(stepBytes(elements, bits));
    reader.readInto(scales);
    reader.readInto(steps);
    codec.addStepsChunk(parameters.subarray(begin, end), bits, scales, steps);
  }
}
