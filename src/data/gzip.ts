/**
 * Strict gzip (RFC 1952) on the kernels of our own binary: one member, nothing after it, size and CRC-32 as stated, and
 * never more output than the caller allows.
 */
import { LimitError, MalformedFileError } from '../core/errors.ts';
import { openKernelInstance, type KernelInstance } from '../core/kernel-instance.ts';
import { limits } from '../core/limits.ts';

const HISTORY_BYTES = 32_768;
const INPUT_BYTES = 65_536;
const OUTPUT_BYTES = 262_144;
/** The kernels read and write a few bytes beyond a window. */
const SLACK_BYTES = 64;

// Fixed places in a memory that never grows: what a file claims never decides how much is taken.
const tablesPtr = 1024;
const statePtr = tablesPtr + 8192;
const STATE_BYTES = 16_384;
const historyPtr = statePtr + STATE_BYTES;
const outputPtr = historyPtr + HISTORY_BYTES;
const inputPtr = outputPtr + OUTPUT_BYTES + SLACK_BYTES;
const endPtr = inputPtr + INPUT_BYTES + SLACK_BYTES;

/** Fields of the inflate state (assembly/inflate.ts). */
const field32 = { inUsed: 24, outUsed: 28, history: 32 } as const;

const TRAILER_BYTES = 8;

let opened: Promise<KernelInstance> | undefined;

/** Whether a file begins as gzip with its only method does: 1f 8b 08. */
export function isGzip(bytes: Uint8Array): boolean {
  return bytes[0] === 0x1f && bytes[1] === 0x8b && bytes[2] === 8;
}

/**
 * The content of a gzip file.
 * @param name how errors call the file
 * @param limitBytes most that the content may have; default `limits.imageFileBytes`
 * @throws MalformedFileError for anything but one whole member whose size and checksum hold; LimitError beyond the limit.
 */
export async function gunzip(name: string, bytes: Uint8Array, limitBytes: number = limits.imageFileBytes): Promise<Uint8Array> {
  const start = headerBytes(name, bytes);
  if (bytes.length < start + TRAILER_BYTES) throw truncated(name, bytes.length);
  const trailer = new DataView(bytes.buffer, bytes.byteOffset + bytes.length - TRAILER_BYTES, TRAILER_BYTES);
  const size = trailer.getUint32(4, true);
  const deflated = bytes.subarray(start, bytes.length - TRAILER_BYTES);
  // Refused before anything is reserved: a stated size that DEFLATE cannot reach, and one beyond the limit.
  if (size > deflated.length * limits.inflateRatio) {
    throw new MalformedFileError({ field: name, expected: `content that ${deflated.length} bytes can give`, got: `${size} bytes stated` });
  }
  if (size > limitBytes) throw new LimitError({ field: name, expected: `at most ${limitBytes} bytes of content`, got: `${size}` });
  opened ??= openKernelInstance(endPtr);
  const content = new Uint8Array(size);
  const crc = inflateInto(await opened, name, deflated, content);
  if (crc !== trailer.getUint32(0, true)) {
    throw new MalformedFileError({ field: name, expected: `CRC-32 ${trailer.getUint32(0, true)}`, got: `${crc}` });
  }
  return content;
}

/** Fills `content` exactly from all of `deflated`; returns the CRC-32 of what came out. */
function inflateInto({ kernels, memory }: KernelInstance, name: string, deflated: Uint8Array, content: Uint8Array): number {
  const heap = new Uint8Array(memory.buffer);
  const state = new DataView(memory.buffer, statePtr, STATE_BYTES);
  kernels.crc32Tables(tablesPtr);
  heap.fill(0, statePtr, statePtr + STATE_BYTES);
  let consumed = 0;
  let produced = 0;
  let crc = 0;
  for (let result = 0; result !== 1; ) {
    const input = deflated.subarray(consumed, consumed + INPUT_BYTES);
    heap.set(input, inputPtr);
    const history = Math.min(produced, HISTORY_BYTES);
    heap.set(content.subarray(produced - history, produced), outputPtr - history);
    state.setInt32(field32.history, history, true);
    const ends = consumed + input.length === deflated.length ? 1 : 0;
    result = kernels.inflateRun(statePtr, inputPtr, input.length, ends, outputPtr, OUTPUT_BYTES);
    if (result < 0) {
      throw new MalformedFileError({ field: name, expected: 'a DEFLATE stream', got: result === -5 ? 'one that is cut short' : 'invalid codes' });
    }
    const count = state.getInt32(field32.outUsed, true);
    if (produced + count > content.length) {
      throw new MalformedFileError({ field: name, expected: `${content.length} bytes of content as stated`, got: 'more' });
    }
    content.set(heap.subarray(outputPtr, outputPtr + count), produced);
    crc = kernels.crc32(tablesPtr, outputPtr, count, crc) >>> 0;
    consumed += state.getInt32(field32.inUsed, true);
    produced += count;
  }
  if (produced !== content.length) {
    throw new MalformedFileError({ field: name, expected: `${content.length} bytes of content as stated`, got: `${produced}` });
  }
  if (consumed !== deflated.length) {
    throw new MalformedFileError({ field: name, expected: 'nothing after the compressed stream', got: `${deflated.length - consumed} bytes` });
  }
  return crc;
}

/** Length of the header: ten bytes and what its flags announce. */
function headerBytes(name: string, bytes: Uint8Array): number {
  if (!isGzip(bytes)) throw new MalformedFileError({ field: name, expected: 'a gzip file (1f 8b 08)', got: 'other bytes' });
  if (bytes.length < 10) throw truncated(name, bytes.length);
  const flags = bytes[3] as number;
  if ((flags & 0xe0) !== 0) throw new MalformedFileError({ field: name, expected: 'reserved gzip flags of 0', got: `${flags}` });
  let at = 10;
  if ((flags & 4) !== 0) at += 2 + (bytes[at] ?? 0) + 256 * (bytes[at + 1] ?? 0); // extra field
  for (const flag of [8, 16]) {
    // File name and comment, each ended by a zero.
    if ((flags & flag) === 0) continue;
    const zero = bytes.indexOf(0, at);
    if (zero < 0) throw truncated(name, bytes.length);
    at = zero + 1;
  }
  return (flags & 2) === 0 ? at : at + 2; // header checksum
}

function truncated(name: string, length: number): MalformedFileError {
  return new MalformedFileError({ field: name, expected: 'a whole gzip file', got: `${length} bytes, cut short` });
}
