/** Reading with caps and writing atomically, with node:fs's synchronous calls, which Node, Deno and Bun all have. */
import {
  closeSync, existsSync, fstatSync, fsyncSync, mkdirSync, openSync, readSync, realpathSync, renameSync, statSync, unlinkSync, writeSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import process from 'node:process';
import { formatBytes } from '../report/text.ts';
import { FileError } from './exit.ts';

/** Temporary files now on disk: removed when the process is interrupted. */
const temporaries = new Set<string>();
let counter = 0;

/** Removes what an interrupted write left. Synchronous, so that a signal handler may call it last. */
export function removeTemporaries(): void {
  for (const path of temporaries) {
    try {
      unlinkSync(path);
    } catch {
      // It was renamed or never made.
    }
  }
  temporaries.clear();
}

/**
 * Replaces `path` by `contents` so that a reader, a crash or a full disk sees the old file or the new one, never a part:
 * temporary file in the same directory, fsync, rename, fsync of the directory.
 */
export function writeAtomically(path: string, contents: Uint8Array | string): void {
  const bytes = typeof contents === 'string' ? new TextEncoder().encode(contents) : contents;
  // A link is written through: the file it names is replaced, not the link.
  const target = existsSync(path) ? realpathSync(path) : resolve(path);
  const temporary = join(dirname(target), `.${basename(target)}.${process.pid}.${counter++}.tmp`);
  temporaries.add(temporary);
  try {
    const file = openSync(temporary, 'wx', 0o666);
    try {
      let written = 0;
      while (written < bytes.length) written += writeSync(file, bytes, written, bytes.length - written);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, target);
    temporaries.delete(temporary);
    syncDirectory(dirname(target));
  } catch (cause) {
    try {
      unlinkSync(temporary);
    } catch {
      // Never made, or renamed already.
    }
    temporaries.delete(temporary);
    throw new FileError(path, `cannot be written (${reason(cause)})`, cause);
  }
}

function syncDirectory(directory: string): void {
  let handle: number | undefined;
  try {
    handle = openSync(directory, 'r');
    fsyncSync(handle);
  } catch {
    // Windows and some network file systems cannot sync a directory; the rename itself is still atomic there.
  } finally {
    if (handle !== undefined) closeSync(handle);
  }
}

/** Makes sure before the work that `path` can be written after it: its directory exists and it is not one itself. */
export function prepareOutput(path: string, inputs: readonly (string | undefined)[] = []): string {
  const target = resolve(path);
  try {
    mkdirSync(dirname(target), { recursive: true });
  } catch (cause) {
    throw new FileError(path, `its directory cannot be made (${reason(cause)})`, cause);
  }
  const status = statSync(target, { throwIfNoEntry: false });
  if (status?.isDirectory() === true) throw new FileError(path, 'is a directory, where a file is to be written');
  for (const input of inputs) {
    if (input !== undefined && resolve(input) === target) throw new FileError(path, 'is both an input and an output');
  }
  const probe = join(dirname(target), `.${basename(target)}.${process.pid}.${counter++}.tmp`);
  try {
    closeSync(openSync(probe, 'wx'));
    unlinkSync(probe);
  } catch (cause) {
    throw new FileError(path, `its directory cannot be written to (${reason(cause)})`, cause);
  }
  return target;
}

/** All bytes of a regular file of at most `limitBytes`. */
export function readWhole(path: string, limitBytes: number): Uint8Array<ArrayBuffer> {
  const file = openForReading(path);
  try {
    const { size } = fstatSync(file);
    if (size > limitBytes) throw new FileError(path, `has ${formatBytes(size)}; at most ${formatBytes(limitBytes)} are read`);
    const bytes = new Uint8Array(size);
    readExactly(file, path, bytes, 0);
    return bytes;
  } catch (cause) {
    throw cause instanceof FileError ? cause : new FileError(path, `cannot be read (${reason(cause)})`, cause);
  } finally {
    closeSync(file);
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
    byteLength: fstatSync(file).size,
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
    close: () => closeSync(file),
  };
}

function openForReading(path: string): number {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (cause) {
    throw new FileError(path, reason(cause), cause);
  }
  if (!fstatSync(file).isFile()) {
    closeSync(file);
    throw new FileError(path, 'is not a regular file');
  }
  return file;
}

function readExactly(file: number, path: string, bytes: Uint8Array, offset: number): void {
  let read = 0;
  while (read < bytes.length) {
    const count = readSync(file, bytes, read, bytes.length - read, offset + read);
    if (count === 0) throw new FileError(path, `ended at byte ${offset + read}, ${bytes.length - read} bytes early`);
    read += count;
  }
}

const reasons: Readonly<Record<string, string>> = {
  ENOENT: 'no such file', EACCES: 'no permission', EPERM: 'not permitted', EISDIR: 'is a directory', ENOTDIR: 'a part of the path is not a directory',
  ENOSPC: 'the disk is full', EROFS: 'the file system is read-only', EMFILE: 'too many open files', EIO: 'the disk reports an error', ELOOP: 'too many links',
};

function reason(cause: unknown): string {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  return reasons[code] ?? (cause instanceof Error ? cause.message : String(cause));
}
