/**
 * Files of a tar archive, for the archives that image sets come in: POSIX ustar and pax, GNU, and what came before. Names and sizes
 * that have no room in a header are taken from where each kind puts them. Strict where it matters: checksums hold, sizes stay inside
 * the archive.
 */
import { describe } from '../core/describe.ts';
import { LimitError, MalformedFileError, UnsupportedError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';

const BLOCK_BYTES = 512;
/** What one extended header may have. Paths of systems end at 4096 bytes. */
const EXTENSION_BYTES = 2 ** 20;

/** What an extended header says of the next entry, or of all that follow; a pax text without letters takes back what was said for all. */
interface Extension {
  readonly path?: string;
  readonly linkpath?: string;
  readonly size?: string;
  readonly sparse?: true;
}

interface Header {
  /** How errors call it. */
  readonly field: string;
  readonly type: string;
  readonly name: string;
  readonly target: string;
  readonly size: number;
}

/** Links, devices, folders, pipes: whatever size their headers state, nothing of it is in the archive. */
const WITHOUT_CONTENT = '123456';

/**
 * The regular files in the archive by name, as views of `archive`. A hard link is the file that it names. Of several entries of one
 * name the last one holds, as for tar itself, so that a symbolic link, a folder or a device hides a file before it; none of these is
 * a file here.
 * Names that are no UTF-8 have each byte from 128 on as the lone surrogate 0xdc00 + byte.
 * @param name how errors call the archive
 * @throws MalformedFileError for a broken header or an archive that is cut short; UnsupportedError for a sparse file; LimitError beyond
 *   `limits.zipEntries`.
 */
export function readTar(name: string, archive: Uint8Array): ReadonlyMap<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  let [entries, at] = [0, 0];
  let everywhere: Extension = {};
  let next: Extension | undefined;
  for (;;) {
    const field = `${name} at byte ${at}`;
    const block = archive.subarray(at, at + BLOCK_BYTES);
    // Two zero blocks end an archive; some writers leave them out.
    if (block.length === 0 || (block.length === BLOCK_BYTES && block.every((byte) => byte === 0))) {
      if (next !== undefined) throw new MalformedFileError({ field, expected: 'the entry that an extended header is for', got: 'the end' });
      return files;
    }
    if (block.length < BLOCK_BYTES)
      throw new MalformedFileError({ field, expected: 'whole blocks of 512 bytes', got: `${block.length} bytes at the end` });
    requireChecksum(field, block);
    const header = readHeader(field, block);
    const start = at + BLOCK_BYTES;
    const extended = 'xXgLK'.includes(header.type);
    const content = (size: number): Uint8Array => {
      if (start + size > archive.length) {
        throw new MalformedFileError({ field, expected: `an entry of ${size} bytes`, got: `${archive.length - start} bytes left` });
      }
      at = start + Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES;
      return archive.subarray(start, start + size);
    };
    if (extended) {
      if (header.size > EXTENSION_BYTES)
        throw new LimitError({ field, expected: `an extended header of at most ${EXTENSION_BYTES} bytes`, got: `${header.size}` });
      const said = readExtension(header, content(header.size));
      if (header.type === 'g') everywhere = { ...everywhere, ...said };
      else next = { ...next, ...said };
      continue;
    }
    if (++entries > limits.zipEntries) throw new LimitError({ field: name, expected: `at most ${limits.zipEntries} entries`, got: 'more' });
    const entry = extendedBy(header, { ...everywhere, ...next });
    next = undefined;
    const bytes = content(WITHOUT_CONTENT.includes(entry.type) ? 0 : entry.size);
    const linked = entry.type === '1' ? files.get(entry.target) : undefined;
    // First, so that the order is that of the entries that hold.
    files.delete(entry.name.replace(/\/$/, ''));
    // Archives from before there were types tell folders by their names alone.
    if ('\u000007'.includes(entry.type) && !entry.name.endsWith('/')) files.set(entry.name, bytes);
    else if (linked !== undefined) files.set(entry.name, linked);
  }
}

/** The sum of all bytes of the header, its own eight counted as spaces. Some old writers added up signed bytes. */
function requireChecksum(field: string, block: Uint8Array): void {
  let [sum, signed] = [0, 0];
  for (let i = 0; i < BLOCK_BYTES; i++) {
    const counted = i >= 148 && i < 156 ? 32 : (block[i] as number);
    sum += counted;
    signed += counted < 128 ? counted : counted - 256;
  }
  const stated = integer(field, block.subarray(148, 156));
  if (stated !== sum && stated !== signed)
    throw new MalformedFileError({ field, expected: `a tar header with checksum ${stated}`, got: `${sum}` });
}

function readHeader(field: string, block: Uint8Array): Header {
  const base = text(block.subarray(0, 100));
  // GNU's own magic, 'ustar' and two spaces, has times where POSIX has the beginning of a long name.
  const prefix = text(block.subarray(257, 263)) === 'ustar' ? text(block.subarray(345, 500)) : '';
  const name = prefix === '' ? base : `${prefix}/${base}`;
  const type = String.fromCharCode(block[156] as number);
  if (type === 'S') throw sparse(field, name);
  return { field, type, name, target: text(block.subarray(157, 257)), size: integer(field, block.subarray(124, 136)) };
}

function sparse(field: string, name: string): UnsupportedError {
  return new UnsupportedError({ field: `${field}: ${name}`, expected: 'files that are stored whole', got: 'a sparse one' });
}

function readExtension({ field, type }: Header, content: Uint8Array): Extension {
  if (type === 'L') return { path: text(content) };
  if (type === 'K') return { linkpath: text(content) };
  return readPax(field, content);
}

/** Pax records, `LENGTH KEY=VALUE\n`, of which the length is that of the whole record. */
function readPax(field: string, content: Uint8Array): Extension {
  const said: { -readonly [Key in keyof Extension]: Extension[Key] } = {};
  // Some writers fill the block with zeros and count them.
  for (let at = 0; at < content.length && content[at] !== 0; ) {
    const space = content.subarray(at, at + 20).indexOf(0x20);
    const digits = String.fromCharCode(...content.subarray(at, at + Math.max(space, 0)));
    const end = at + Number(digits);
    const equals = content.subarray(at, end).indexOf(0x3d);
    if (!/^\d+$/.test(digits) || end > content.length || content[end - 1] !== 0x0a || equals < space + 2) {
      throw new MalformedFileError({
        field, expected: `a pax record, LENGTH KEY=VALUE and a newline, at byte ${at} of the header`,
        got: describe(text(content.subarray(at, at + 100))),
      });
    }
    const key = text(content.subarray(at + space + 1, at + equals));
    const value = content.subarray(at + equals + 1, end - 1);
    if (key === 'path' || key === 'linkpath' || key === 'size') said[key] = decoded(value);
    else if (key.startsWith('GNU.sparse.')) said.sparse = true;
    at = end;
  }
  return said;
}

function extendedBy(header: Header, { path, linkpath, size, sparse: holes }: Extension): Header {
  const { field } = header;
  const name = path || header.name;
  if (holes === true) throw sparse(field, name);
  if (size && !/^\d{1,15}$/.test(size)) {
    throw new MalformedFileError({ field: `${field}: ${name}`, expected: 'a pax size of up to 15 digits', got: describe(size) });
  }
  return { ...header, name, target: linkpath || header.target, size: size ? Number(size) : header.size };
}

/** A number of a header: octal digits, or after a byte of 128 (0x80) big-endian in base 256, for what has more than 33 bits. */
function integer(field: string, bytes: Uint8Array): number {
  if (bytes[0] === 0x80) {
    const value = bytes.subarray(1).reduce((sum, byte) => sum * 256 + byte, 0);
    if (!Number.isSafeInteger(value)) throw new LimitError({ field, expected: 'a number below 2^53 in a tar header', got: `${value}` });
    return value;
  }
  const digits = text(bytes).replace(/^ +| +$/g, '');
  // Blank is 0: so are sizes of folders and links of some writers.
  if (!/^[0-7]*$/.test(digits))
    throw new MalformedFileError({ field, expected: 'an octal number in a tar header', got: describe(digits) });
  return digits === '' ? 0 : Number.parseInt(digits, 8);
}

/** Text up to the first zero. */
function text(field: Uint8Array): string {
  const zero = field.indexOf(0);
  return decoded(zero < 0 ? field : field.subarray(0, zero));
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** UTF-8, or each of its upper bytes as a lone surrogate: names that differ stay apart. */
function decoded(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch {
    return Array.from(bytes, (byte) => String.fromCharCode(byte < 128 ? byte : 0xdc00 + byte)).join('');
  }
}
