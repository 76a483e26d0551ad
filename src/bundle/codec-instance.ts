/**
 * Our kernels on a small memory of their own, for bundles: checksums, inflate, deflate, byte planes. Reading a file
 * needs neither tfjs nor its heap; everything passes through fixed windows of 1.2 MB in all, so what a file claims to
 * hold never decides how much memory is taken. Calls are synchronous and finish what they begin, so one instance
 * serves a realm.
 */
import { MalformedFileError } from '../core/errors.ts';
import { openKernelInstance } from '../core/kernel-instance.ts';
import type { CodecKernels } from '../core/kernels.ts';
import type { WasmMemory } from '../core/webassembly.ts';

/** Bytes come out in order; `finish` checks that there are no more and that the checksum holds. */
export interface ByteReader {
  /** Fills `target` or throws. */
  readInto(target: Uint8Array): void;
  /** @throws MalformedFileError where bytes are left or the checksum differs. */
  finish(): void;
}

/** Elements of a plane that are coded together: a chunk is 4 planes of this many bytes, each one DEFLATE block. */
export const PLANE_ELEMENTS = 32_768;
const CHUNK_BYTES = 4 * PLANE_ELEMENTS;

const HISTORY_BYTES = 32_768;
const INPUT_BYTES = 65_536;
const OUTPUT_BYTES = 262_144;
const SLACK_BYTES = 64;
const DEFLATE_BLOCK_BYTES = 32_768;

/** Fixed places in the memory. Nothing is allocated while it works. */
const tablesPtr = 1024;
const inflateStatePtr = tablesPtr + 8192;
const deflateStatePtr = inflateStatePtr + 20_480;
const historyPtr = deflateStatePtr + 8192;
const outputPtr = historyPtr + HISTORY_BYTES;
const inputPtr = outputPtr + OUTPUT_BYTES + SLACK_BYTES;
const firstPtr = inputPtr + INPUT_BYTES + SLACK_BYTES;
const secondPtr = firstPtr + CHUNK_BYTES + SLACK_BYTES;
const thirdPtr = secondPtr + CHUNK_BYTES + SLACK_BYTES;
const deflateInPtr = thirdPtr + CHUNK_BYTES + SLACK_BYTES;
const deflateOutPtr = deflateInPtr + DEFLATE_BLOCK_BYTES + SLACK_BYTES;
const scalesPtr = deflateOutPtr + DEFLATE_BLOCK_BYTES + 1024;
const endPtr = scalesPtr + CHUNK_BYTES / 128 + SLACK_BYTES;

/** Fields of the inflate state that we read and write, and its bytes that must be zeroed; see assembly/inflate.ts. */
export const inflateState = { inUsed: 24, outUsed: 28, history: 32, bytes: 64 } as const;
const DEFLATE_STATE_HEAD_BYTES = 16;

export const inflateErrors: Readonly<Record<number, string>> = {
  [-1]: 'a block of an unknown type, or a stored length that contradicts itself',
  [-2]: 'code lengths that make no complete code',
  [-3]: 'bits that are no symbol',
  [-4]: 'a match that reaches before the beginning',
  [-5]: 'an end inside the stream',
};

let opened: Codec | undefined;

/**
 * The codec of this realm, made on first use. What failed is tried again: memory that was not to be had may be there
 * later. One that trapped is not given out again: what its memory holds since is anyone's guess. Who comes while one is
 * made makes another rather than wait: that of a Worker's request which is cancelled meanwhile may never be there.
 * @throws UnsupportedError where the runtime cannot run our binary, OutOfMemoryError where it grants no memory.
 */
export async function openCodec(): Promise<Codec> {
  if (opened !== undefined) return opened;
  const { memory, kernels } = await openKernelInstance(endPtr, () => {
    if (opened === made) opened = undefined;
  });
  const made = new Codec(memory, kernels);
  return (opened ??= made);
}

/** Whatever computes throws KernelError where a kernel traps. */
export class Codec {
  readonly #heap: Uint8Array<ArrayBuffer>;
  readonly #view: DataView<ArrayBuffer>;
  readonly #kernels: CodecKernels;

  constructor(memory: WasmMemory, kernels: CodecKernels) {
    // The memory never grows, so its views live as long as it does.
    this.#heap = new Uint8Array(memory.buffer as ArrayBuffer);
    this.#view = new DataView(memory.buffer as ArrayBuffer);
    this.#kernels = kernels;
    kernels.crc32Tables(tablesPtr);
  }

  /** CRC-32 of `bytes`, continuing from `before`. */
  crc32(bytes: Uint8Array, before = 0): number {
    let crc = before;
    for (let at = 0; at < bytes.byteLength; at += INPUT_BYTES) {
      const part = bytes.subarray(at, at + INPUT_BYTES);
      this.#heap.set(part, inputPtr);
      crc = this.#kernels.crc32(tablesPtr, inputPtr, part.byteLength, crc);
    }
    return crc >>> 0;
  }

  /** Reads stored bytes, checking their CRC-32. */
  stored(field: string, bytes: Uint8Array, crc32: number): ByteReader {
    let at = 0;
    let crc = 0;
    return {
      readInto: (target) => {
        requireLeft(field, target.byteLength, bytes.byteLength - at);
        target.set(bytes.subarray(at, at + target.byteLength));
        crc = this.crc32(target, crc);
        at += target.byteLength;
      },
      finish: () => {
        requireLeft(field, 0, bytes.byteLength - at, true);
        requireCrc(field, crc32, crc);
      },
    };
  }

  /**
   * Inflates `compressed`, all of which must be one stream of exactly `bytes` bytes. The output is counted as it
   * comes: a stream that gives more than it declares stops within one window of 256 KiB.
   * Only one such reader may be in use at a time.
   */
  inflate(field: string, compressed: Uint8Array, bytes: number, crc32: number): ByteReader {
    const heap = this.#heap;
    heap.fill(0, inflateStatePtr, inflateStatePtr + inflateState.bytes);
    let consumed = 0;
    let produced = 0;
    let crc = 0;
    let done = false;
    // What the last run gave and nobody has taken yet.
    const ready = { begin: outputPtr, end: outputPtr };
    const run = (): void => {
      const input = compressed.subarray(consumed, consumed + INPUT_BYTES);
      heap.set(input, inputPtr);
      // What came before stands before the window, as far back as a match may reach.
      const history = Math.min(produced, HISTORY_BYTES);
      heap.copyWithin(outputPtr - history, ready.end - history, ready.end);
      this.#view.setInt32(inflateStatePtr + inflateState.history, history, true);
      const ends = consumed + input.byteLength === compressed.byteLength ? 1 : 0;
      const result = this.#kernels.inflateRun(inflateStatePtr, inputPtr, input.byteLength, ends, outputPtr, OUTPUT_BYTES);
      if (result < 0) throw new MalformedFileError({ field, expected: 'a DEFLATE stream', got: inflateErrors[result] ?? `${result}` });
      const outUsed = this.#view.getInt32(inflateStatePtr + inflateState.outUsed, true);
      consumed += this.#view.getInt32(inflateStatePtr + inflateState.inUsed, true);
      produced += outUsed;
      if (produced > bytes) throw new MalformedFileError({ field, expected: `${bytes} bytes of content`, got: 'more' });
      crc = this.#kernels.crc32(tablesPtr, outputPtr, outUsed, crc) >>> 0;
      ready.begin = outputPtr;
      ready.end = outputPtr + outUsed;
      done = result === 1;
    };
    return {
      readInto: (target) => {
        let filled = 0;
        while (filled < target.byteLength) {
          if (ready.begin === ready.end) {
            if (done) throw new MalformedFileError({ field, expected: `${bytes} bytes of content`, got: `${produced}` });
            run();
          }
          const n = Math.min(ready.end - ready.begin, target.byteLength - filled);
          target.set(heap.subarray(ready.begin, ready.begin + n), filled);
          ready.begin += n;
          filled += n;
        }
      },
      finish: () => {
        // The end-of-block code may still be unread; it yields nothing more.
        for (; ready.begin === ready.end; run()) if (done) break;
        if (ready.begin !== ready.end || produced !== bytes) {
          throw new MalformedFileError({ field, expected: `${bytes} bytes of content`, got: `${produced}` });
        }
        requireLeft(field, 0, compressed.byteLength - consumed, true);
        requireCrc(field, crc32, crc);
      },
    };
  }

  /** Begins a DEFLATE stream whose parts go to `sink`; see `Deflater`. Only one may be in use at a time. */
  deflate(sink: (part: Uint8Array<ArrayBuffer>) => void): Deflater {
    const heap = this.#heap;
    heap.fill(0, deflateStatePtr, deflateStatePtr + DEFLATE_STATE_HEAD_BYTES);
    let crc = 0;
    let bytes = 0;
    const block = (final: boolean, length: number): void => {
      const written = this.#kernels.deflateBlock(deflateStatePtr, deflateInPtr, length, final ? 1 : 0, deflateOutPtr);
      sink(heap.slice(deflateOutPtr, deflateOutPtr + written));
    };
    return {
      write: (data) => {
        for (let at = 0; at < data.byteLength; at += DEFLATE_BLOCK_BYTES) {
          const part = data.subarray(at, at + DEFLATE_BLOCK_BYTES);
          heap.set(part, deflateInPtr);
          crc = this.#kernels.crc32(tablesPtr, deflateInPtr, part.byteLength, crc) >>> 0;
          bytes += part.byteLength;
          block(false, part.byteLength);
        }
      },
      end: () => {
        block(true, 0);
        return { crc32: crc, bytes };
      },
    };
  }

  /** Splits 4-byte elements (XORed with `previous` where given) into planes; a tail of under 4 bytes comes last. */
  splitChunk(data: Uint8Array, previous: Uint8Array | undefined, planes: Uint8Array): void {
    const heap = this.#heap;
    heap.set(data, firstPtr);
    if (previous !== undefined) {
      heap.set(previous, secondPtr);
      this.#kernels.xorBytes(firstPtr, secondPtr, data.byteLength);
    }
    const count = data.byteLength >> 2;
    this.#kernels.splitPlanes(firstPtr, thirdPtr, count);
    heap.copyWithin(thirdPtr + 4 * count, firstPtr + 4 * count, firstPtr + data.byteLength);
    planes.set(heap.subarray(thirdPtr, thirdPtr + data.byteLength));
  }

  /** The inverse of `splitChunk`: `data` holds the previous bytes (or anything, without `xor`) and becomes the new ones. */
  joinChunk(planes: Uint8Array, data: Uint8Array, xor: boolean): void {
    const heap = this.#heap;
    heap.set(planes, thirdPtr);
    const count = planes.byteLength >> 2;
    this.#kernels.joinPlanes(thirdPtr, firstPtr, count);
    heap.copyWithin(firstPtr + 4 * count, thirdPtr + 4 * count, thirdPtr + planes.byteLength);
    if (xor) {
      heap.set(data, secondPtr);
      this.#kernels.xorBytes(firstPtr, secondPtr, planes.byteLength);
    }
    data.set(heap.subarray(firstPtr, firstPtr + planes.byteLength));
  }

  /**
   * Quantises the steps of at most PLANE_ELEMENTS f32 (as bytes): fills `scales` (f32, one a block of 128) and `steps`
   * (int8, or packed int4), and moves `decoded` to what a reader will have.
   */
  quantiseChunk(target: Uint8Array, decoded: Uint8Array, bitsPerStep: 4 | 8, scales: Uint8Array, steps: Uint8Array): void {
    const heap = this.#heap;
    const count = target.byteLength >> 2;
    heap.set(target, firstPtr);
    heap.set(decoded, secondPtr);
    this.#kernels.quantiseSteps(firstPtr, secondPtr, scalesPtr, thirdPtr, count, bitsPerStep === 8 ? 127 : 7);
    decoded.set(heap.subarray(secondPtr, secondPtr + 4 * count));
    scales.set(heap.subarray(scalesPtr, scalesPtr + scales.byteLength));
    if (bitsPerStep === 4) this.#kernels.packNibbles(thirdPtr, firstPtr, count);
    const from = bitsPerStep === 4 ? firstPtr : thirdPtr;
    steps.set(heap.subarray(from, from + steps.byteLength));
  }

  /** Adds quantised steps to `decoded`, in place. */
  addStepsChunk(decoded: Uint8Array, bitsPerStep: 4 | 8, scales: Uint8Array, steps: Uint8Array): void {
    const heap = this.#heap;
    const count = decoded.byteLength >> 2;
    heap.set(decoded, secondPtr);
    heap.set(scales, scalesPtr);
    heap.set(steps, thirdPtr);
    let stepsPtr = thirdPtr;
    if (bitsPerStep === 4) {
      this.#kernels.unpackNibbles(thirdPtr, firstPtr, count);
      stepsPtr = firstPtr;
    }
    this.#kernels.addSteps(secondPtr, scalesPtr, stepsPtr, count);
    decoded.set(heap.subarray(secondPtr, secondPtr + 4 * count));
  }
}

/** A DEFLATE stream in the making; blocks that would not shrink are stored. */
interface Deflater {
  write(data: Uint8Array): void;
  /** Ends the stream. CRC-32 and number of the bytes written. */
  end(): { readonly crc32: number; readonly bytes: number };
}

function requireLeft(field: string, wanted: number, left: number, exactly = false): void {
  if (exactly ? left === wanted : left >= wanted) return;
  throw new MalformedFileError({ field, expected: exactly ? 'nothing after the content' : `${wanted} more bytes`, got: `${left} bytes` });
}

function requireCrc(field: string, expected: number, got: number): void {
  if (expected === got) return;
  const hex = (crc: number): string => crc.toString(16).padStart(8, '0');
  throw new MalformedFileError({ field, expected: `content with CRC-32 ${hex(expected)}`, got: hex(got) });
}
