/** Writing atomically, by node:fs's synchronous calls, which Node, Deno and Bun all have (through `file-system.node.ts`). */
import { basename, dirname, join, relative, resolve } from 'node:path';
import process from 'node:process';
import { FileError } from './exit.ts';
import { files, reason } from './file-system.node.ts';
import type { FileStatus } from './file-system.node.ts';
import { discardTemporary, forgetTemporary, noteDirectories, noteTemporary } from './leftovers.node.ts';
import { originHere, processExists } from './owner.node.ts';

/** Temporary files of this process so far: each has a name of its own. */
let counter = 0;

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
  writeAndClose(files().open(path, 'wx'), bytes);
}

/** Writes to a file that was opened for it, to the disk, and closes it. */
export function writeAndClose(file: number, bytes: Uint8Array): void {
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
    noteTemporary(temporary);
    writeAndClose(openInPlaceOf(target, temporary), bytes);
    if (previous !== undefined && files().exists(target)) files().rename(target, previous);
    files().rename(temporary, target);
    forgetTemporary(temporary);
    syncDirectory(dirname(target));
  } catch (cause) {
    if (temporary !== undefined) discardTemporary(temporary);
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
  noteTemporary(temporary);
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
      forgetTemporary(temporary);
      syncDirectory(dirname(target));
    });
    return result;
  } catch (error) {
    discardTemporary(temporary);
    throw error;
  }
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
    noteDirectories(files().makeDirectory(dirname(target)));
  } catch (cause) {
    throw new FileError(path, `its directory cannot be made (${reason(cause)})`, cause);
  }
  const there = statusOf(path, target);
  if (there?.isDirectory === true) throw new FileError(path, 'is a directory, where a file is to be written');
  // A device or a pipe would not be written to but replaced by a file: as root, /dev/null for the whole machine.
  if (there?.isFile === false) throw new FileError(path, 'is a device or a pipe, where a file is to be written');
  const probe = temporaryBeside(target);
  try {
    noteTemporary(probe);
    files().close(files().open(probe, 'wx'));
    files().unlink(probe);
    forgetTemporary(probe);
  } catch (cause) {
    discardTemporary(probe);
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
