/**
 * Reading with caps and writing atomically, with node:fs's synchronous calls, which Node, Deno and Bun all have (through
 * `file-system.node.ts`).
 */
import { basename, dirname, join, relative, resolve } from 'node:path';
import process from 'node:process';
import { formatBytes } from '../report/text.ts';
import { FileError } from './exit.ts';
import { files } from './file-system.node.ts';
import type { FileStatus } from './file-system.node.ts';
import { originHere, processExists } from './owner.node.ts';

/** Temporary files now on disk, removed when the process is interrupted. */
const temporaries = new Set<string>();
/** Locks of this process and what stands in them: by the time they are released, another's may have their names. */
const locks = new Map<string, string>();
/** Made for outputs, outermost first. */
const madeDirectories: string[] = [];
let counter = 0;

export const LOCK_LIMIT_BYTES = 4096;

/**
 * Removes what a command that failed or was interrupted left: temporary files, and directories made for outputs that nothing came to.
 * Synchronous, so that a signal handler may call it last.
 */
export function removeTemporaries(): void {
  for (const path of temporaries) {
    try {
      files().unlink(path);
    } catch {
      // It was renamed or never made.
    }
  }
  temporaries.clear();
  for (const path of locks.keys()) release(path);
  locks.clear();
  for (const directory of madeDirectories.splice(0).toReversed()) {
    try {
      files().removeDirectory(directory);
    } catch {
      // Something is in it.
    }
  }
}

/** Has the lock `path`, which holds `text`, removed when the process is interrupted, or by the returned function. */
export function keepUntilExit(path: string, text: string): () => void {
  locks.set(path, text);
  return () => {
    if (locks.has(path) && release(path)) locks.delete(path);
  };
}

/** Whether the lock is no longer ours; where it is, its removal failed and is left to the end of the process. */
function release(path: string): boolean {
  try {
    if (!files().exists(path) || new TextDecoder().decode(readWhole(path, LOCK_LIMIT_BYTES)) !== locks.get(path)) return true;
    files().unlink(path);
    return true;
  } catch {
    return !files().exists(path);
  }
}

/** A name for a file that is about to be written, hidden beside `path`. */
export function temporaryBeside(path: string): string {
  return join(dirname(path), `.${basename(path)}.${originHere()}.${process.pid}.${counter++}.tmp`);
}

/**
 * Temporary files beside `path` that a kill left behind: those of processes of this machine and container that are
 * gone, and of this one itself, which has none there when this is called.
 */
export function removeAbandonedTemporaries(path: string): void {
  const prefix = `.${basename(path)}.${originHere()}.`;
  try {
    for (const name of files().list(dirname(path))) {
      const pid = name.startsWith(prefix) ? /^(\d+)\.\d+\.tmp$/.exec(name.slice(prefix.length))?.[1] : undefined;
      if (pid !== undefined && (Number(pid) === process.pid || !processExists(Number(pid)))) files().unlink(join(dirname(path), name));
    }
  } catch {
    // They are in nobody's way, and the next run tries again.
  }
}

/** Writes a file that must not exist yet, to the disk. The caller removes it when this throws. */
export function writeNew(path: string, bytes: Uint8Array): void {
  fill(files().open(path, 'wx'), bytes);
}

/** Writes to a file that was opened for it, to the disk, and closes it. */
export function fill(file: number, bytes: Uint8Array): void {
  try {
    append(file, bytes);
    files().sync(file);
  } finally {
    files().close(file);
  }
}

/** Opens a new file that is to replace `target`, with its permissions: at no moment may others read what they could not before. */
function openInPlaceOf(target: string, temporary: string): number {
  const permissions = files().status(target)?.permissions;
  if (permissions === undefined) return files().open(temporary, 'wx');
  const file = files().open(temporary, 'wx', permissions);
  try {
    files().permit(file, permissions);
  } catch {
    // Some file systems have none, or fixed ones; what the umask took away is missing then, and nothing is there in excess.
  }
  return file;
}

function append(file: number, bytes: Uint8Array): void {
  let written = 0;
  while (written < bytes.length) {
    const count = files().write(file, bytes, written, bytes.length - written);
    if (count === 0) throw new Error('the disk takes no more');
    written += count;
  }
}

/**
 * Replaces `path` by `contents` so that a reader, a crash or a full disk sees the old file or the new one, never a part:
 * temporary file in the same directory, fsync, rename, fsync of the directory.
 * @param previous where the file that is replaced goes; without it, it is gone.
 */
export function writeAtomically(path: string, contents: Uint8Array | string, previous?: string): void {
  const bytes = typeof contents === 'string' ? new TextEncoder().encode(contents) : contents;
  let temporary: string | undefined;
  try {
    const target = writtenPath(path);
    temporary = temporaryBeside(target);
    temporaries.add(temporary);
    fill(openInPlaceOf(target, temporary), bytes);
    if (previous !== undefined && files().exists(target)) files().rename(target, previous);
    files().rename(temporary, target);
    temporaries.delete(temporary);
    syncDirectory(dirname(target));
  } catch (cause) {
    if (temporary !== undefined) discard(temporary);
    throw new FileError(path, `cannot be written (${reason(cause)})`, cause);
  }
}

/**
 * As `writeAtomically`, piece by piece, for files larger than memory should hold: `produce` gives their bytes to the
 * sink in order. What it throws is thrown on, and `path` is as it was.
 */
export async function streamAtomically<T>(path: string, produce: (sink: (bytes: Uint8Array) => void) => Promise<T>): Promise<T> {
  const onDisk = <R>(run: () => R): R => {
    try {
      return run();
    } catch (cause) {
      throw new FileError(path, `cannot be written (${reason(cause)})`, cause);
    }
  };
  const target = onDisk(() => writtenPath(path));
  const temporary = temporaryBeside(target);
  temporaries.add(temporary);
  try {
    const file = onDisk(() => openInPlaceOf(target, temporary));
    let result: T;
    try {
      result = await produce((bytes) => onDisk(() => append(file, bytes)));
      onDisk(() => files().sync(file));
    } finally {
      onDisk(() => files().close(file));
    }
    onDisk(() => {
      files().rename(temporary, target);
      temporaries.delete(temporary);
      syncDirectory(dirname(target));
    });
    return result;
  } catch (error) {
    discard(temporary);
    throw error;
  }
}

function discard(temporary: string): void {
  try {
    files().unlink(temporary);
  } catch {
    // Never made, or renamed already.
  }
  temporaries.delete(temporary);
}

/** What a system answers that cannot sync a directory (Windows, some network file systems): the rename is atomic there anyway. */
const unsupported = ['EINVAL', 'EPERM', 'EACCES', 'EISDIR', 'EBADF', 'ENOTSUP', 'ENOSYS'];

function syncDirectory(directory: string): void {
  let handle: number | undefined;
  try {
    handle = files().open(directory, 'r');
    files().sync(handle);
  } catch (error) {
    if (!unsupported.includes(error instanceof Error && 'code' in error ? String(error.code) : '')) throw error;
  } finally {
    if (handle !== undefined) files().close(handle);
  }
}

/** Links after one another that are followed, as many as Linux does. */
const MOST_LINKS = 40;

/**
 * The file that writing to `path` replaces or makes: a link is written through, also to what is not there yet, and so
 * are links to directories. @throws FileError for links that lead to one another, and where there is no current folder.
 */
export function writtenPath(path: string, links = 0): string {
  const target = absolute(path);
  if (files().exists(target)) return files().realPath(target);
  if (links > MOST_LINKS) throw new FileError(path, 'is a link of too many, or of some that lead in a circle');
  const parent = dirname(target);
  if (parent === target) return target;
  const directory = writtenPath(parent, links);
  const named = files().readLink(target);
  return named === undefined ? join(directory, basename(target)) : writtenPath(resolve(directory, named), links + 1);
}

/** A folder may be removed while a shell, and what it starts, is in it. */
function absolute(path: string): string {
  try {
    return resolve(path);
  } catch (cause) {
    throw new FileError(path, 'cannot be written (the current folder is gone)', cause);
  }
}

/** A file as messages call it: as seen from the current folder, where there is one. */
export function shownPath(path: string): string {
  try {
    return relative('', path);
  } catch {
    return path;
  }
}

/** Makes sure before the work that `path` can be written after it: its directory exists, and it is a file or nothing yet. */
export function prepareOutput(path: string): void {
  const target = writtenPath(path);
  try {
    madeDirectories.push(...files().makeDirectory(dirname(target)));
  } catch (cause) {
    throw new FileError(path, `its directory cannot be made (${reason(cause)})`, cause);
  }
  const there = statusOf(path, target);
  if (there?.isDirectory === true) throw new FileError(path, 'is a directory, where a file is to be written');
  // A device or a pipe would not be written to but replaced by a file: as root, /dev/null for the whole machine.
  if (there?.isFile === false) throw new FileError(path, 'is a device or a pipe, where a file is to be written');
  const probe = temporaryBeside(target);
  try {
    temporaries.add(probe);
    files().close(files().open(probe, 'wx'));
    files().unlink(probe);
    temporaries.delete(probe);
  } catch (cause) {
    discard(probe);
    throw new FileError(path, `its directory cannot be written to (${reason(cause)})`, cause);
  }
}

/** @throws FileError where what stands there cannot be looked at: in a folder that others may not enter, under a name too long. */
function statusOf(path: string, target: string): FileStatus | undefined {
  try {
    return files().status(target);
  } catch (cause) {
    throw new FileError(path, `cannot be written (${reason(cause)})`, cause);
  }
}

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

const reasons: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  EACCES: 'no permission',
  EPERM: 'not permitted',
  EISDIR: 'is a directory',
  ENOTDIR: 'a part of the path is not a directory',
  ENOSPC: 'the disk is full',
  EDQUOT: 'the quota of the disk is used up',
  EFBIG: 'larger than a file may be here',
  EROFS: 'the file system is read-only',
  EMFILE: 'too many open files',
  EIO: 'the disk reports an error',
  ELOOP: 'too many links',
  ENAMETOOLONG: 'its name is too long',
};

/** Why a call on a file failed, in a person's words. */
export function reason(cause: unknown): string {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  return reasons[code] ?? (cause instanceof Error ? cause.message : String(cause));
}
