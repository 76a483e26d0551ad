/** Reading regular files with caps, by node:fs's synchronous calls, which Node, Deno and Bun all have. */
import { formatBytes } from '../report/text.ts';
import { FileError } from './exit.ts';
import { files, reason } from './file-system.node.ts';

/** Whether a folder stands there. Not of what cannot be looked at: whoever reads it as a file says why. */
export function isFolder(path: string): boolean {
  try {
    return files().status(path)?.isDirectory === true;
  } catch {
    return false;
  }
}

/** All bytes of a regular file of at most `limitBytes`. */
export function readWhole(path: string, limitBytes: number): Uint8Array<ArrayBuffer> {
  const file = openForReading(path);
  try {
    const size = files().status(file)?.size ?? 0;
    if (size > limitBytes) throw new FileError(path, `has ${formatBytes(size)}; at most ${formatBytes(limitBytes)} are read`);
    const bytes = new Uint8Array(size);
    readExactly(file, path, bytes, 0);
    return bytes;
  } catch (cause) {
    throw cause instanceof FileError ? cause : new FileError(path, `cannot be read (${reason(cause)})`, cause);
  } finally {
    files().close(file);
  }
}

/** A file as the two-member reader that bundles open from: one checkpoint is read without touching the others. */
export interface FileAccess {
  readonly byteLength: number;
  read(offset: number, length: number, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>>;
  /** `length` bytes from `offset` (default 0), at once. */
  peek(length: number, offset?: number): Uint8Array;
  close(): void;
}

export function openRandomAccess(path: string): FileAccess {
  const file = openForReading(path);
  return {
    byteLength: files().status(file)?.size ?? 0,
    // Asynchronous by contract; the disk read itself is short and synchronous.
    read: async (offset, length, signal) => {
      signal?.throwIfAborted();
      const bytes = new Uint8Array(length);
      readExactly(file, path, bytes, offset);
      return bytes;
    },
    peek: (length, offset = 0) => {
      const bytes = new Uint8Array(length);
      readExactly(file, path, bytes, offset);
      return bytes;
    },
    close: () => files().close(file),
  };
}

/** @throws FileError where `path` could not be opened: before work whose result it is to be read after. */
export function requireFile(path: string): void {
  files().close(openForReading(path));
}

function openForReading(path: string): number {
  let file: number;
  try {
    // Looked at before it is opened: opening a pipe waits for whoever writes to it, and no signal ends that.
    const there = files().status(path);
    if (there?.isDirectory === true)
      throw new FileError(path, 'is a folder, where one file is read (pack takes folders of checkpoints, --data folders of images)');
    if (there?.isFile === false) throw new FileError(path, 'is not a regular file');
    file = files().open(path, 'r');
  } catch (cause) {
    throw cause instanceof FileError ? cause : new FileError(path, noSuchFile(path) ?? reason(cause), cause);
  }
  if (files().status(file)?.isFile !== true) {
    files().close(file);
    throw new FileError(path, 'is not a regular file');
  }
  return file;
}

/** A URL is taken for a path, and the dash of other programs for a name: said to whoever knows those. */
function noSuchFile(path: string): string | undefined {
  if (path === '-') return 'no such file: standard input is not read, give the name of a file';
  return /^(https?|file):\/\//i.test(path)
    ? 'no such file: the command line reads files, not URLs (openBundle of the library reads both)'
    : undefined;
}

function readExactly(file: number, path: string, bytes: Uint8Array, offset: number): void {
  let read = 0;
  while (read < bytes.length) {
    const count = readSome(file, path, bytes, read, offset + read);
    if (count === 0) throw new FileError(path, `ended at byte ${offset + read}, ${bytes.length - read} bytes early`);
    read += count;
  }
}

function readSome(file: number, path: string, bytes: Uint8Array, at: number, position: number): number {
  try {
    return files().read(file, bytes, at, bytes.length - at, position);
  } catch (cause) {
    throw new FileError(path, `cannot be read (${reason(cause)})`, cause);
  }
}
