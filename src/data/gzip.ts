/**
 * Strict gzip (RFC 1952): one member, nothing after it, size and CRC-32 as stated, and never more output than the caller
 * allows. fflate inflates; the frame, the bounds and the checksum are ours, because fflate checks none of them.
 */
import { FlateErrorCode, Inflate } from 'fflate';
import { LimitError, MalformedFileError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';

/** Compressed bytes handed over at a time: DEFLATE cannot expand them beyond 1032 times, 16 MB that may be one too many. */
const PIECE_BYTES = 16_384;
const TRAILER_BYTES = 8;

/** Whether a file begins as gzip with its only method does: 1f 8b 08. */
function isGzip(bytes: Uint8Array): boolean {
  return bytes[0] === 0x1f && bytes[1] === 0x8b && bytes[2] === 8;
}

/** A file as it is, or where it begins as gzip does its content. @throws as `gunzip`. */
export async function unpacked(name: string, bytes: Uint8Array, limitBytes?: number): Promise<Uint8Array> {
  return isGzip(bytes) ? gunzip(name, bytes, limitBytes) : bytes;
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
  // Nothing is reserved for a size that DEFLATE cannot reach or that is beyond the limit. Of a file that is cut short
  // these are any four bytes, so the stream has the first word.
  const reachable = deflated.length * limits.inflateRatio;
  const content = size > reachable || size > limitBytes ? undefined : new Uint8Array(size);
  const produced = inflateInto(name, deflated, content, limitBytes);
  if (content === undefined) {
    if (size > reachable)
      throw new MalformedFileError({
        field: name,
        expected: `content that ${deflated.length} bytes can give`,
        got: `${size} bytes stated`,
      });
    throw new LimitError({ field: name, expected: `at most ${limitBytes} bytes of content`, got: `${size}` });
  }
  if (produced !== size) {
    throw new MalformedFileError({
      field: name,
      expected: `${size} bytes of content as stated`,
      got: produced > size ? 'more' : `${produced}`,
    });
  }
  const crc = crc32(content);
  if (crc !== trailer.getUint32(0, true)) {
    throw new MalformedFileError({ field: name, expected: `CRC-32 ${trailer.getUint32(0, true)}`, got: `${crc}` });
  }
  return content;
}

/**
 * Fills `content` from all of `deflated`, and drops what it has no room for. @returns bytes of content there are, or
 * the first number seen beyond the limit.
 */
function inflateInto(name: string, deflated: Uint8Array, content: Uint8Array | undefined, limitBytes: number): number {
  let produced = 0;
  const inflate = new Inflate((piece) => {
    if (content !== undefined && produced + piece.length <= content.length) content.set(piece, produced);
    produced += piece.length;
  });
  try {
    for (let at = 0; at < deflated.length; at += PIECE_BYTES) {
      inflate.push(deflated.subarray(at, at + PIECE_BYTES), at + PIECE_BYTES >= deflated.length);
      if (produced > limitBytes) return produced;
    }
  } catch (cause) {
    if ((cause as { readonly code?: unknown }).code === FlateErrorCode.UnexpectedEOF) throw truncated(name, deflated.length, cause);
    throw new MalformedFileError({ field: name, expected: 'a whole DEFLATE stream', got: `another (${String(cause)})`, cause });
  }
  const left = unusedBytes(inflate);
  if (left > 0) {
    throw new MalformedFileError({ field: name, expected: 'nothing after the compressed stream', got: `${left} bytes` });
  }
  return produced;
}

/**
 * Input bytes that an ended stream did not need. fflate has no name for them: `p` is its unread input and `s.p` the bit
 * it stands at (0.8.3, pinned exactly; the tests of trailing bytes fail where another version keeps them elsewhere).
 */
function unusedBytes(inflate: Inflate): number {
  const { p: unread, s: state } = inflate as unknown as { readonly p: Uint8Array; readonly s: { readonly p?: number } };
  return unread.length - ((state.p ?? 0) > 0 ? 1 : 0);
}

/** CRC-32 of ISO 3309, reflected, by a table of 256. */
const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let remainder = byte;
  for (let bit = 0; bit < 8; bit++) remainder = (remainder & 1) === 0 ? remainder >>> 1 : (remainder >>> 1) ^ 0xedb8_8320;
  return remainder;
});

function crc32(bytes: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (let i = 0; i < bytes.length; i++) {
    crc = (crcTable[(crc ^ (bytes[i] as number)) & 0xff] as number) ^ (crc >>> 8);
  }
  return ~crc >>> 0;
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

function truncated(name: string, length: number, cause?: unknown): MalformedFileError {
  return new MalformedFileError({
    field: name,
    expected: 'a whole gzip file',
    got: `${length} bytes, cut short`,
    ...(cause === undefined ? {} : { cause }),
  });
}
