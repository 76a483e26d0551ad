/**
 * One output, one run. A lock is a file beside the output that names its process. It is made by linking a finished
 * file, so that nobody sees it half written; where the file system has no links, by an exclusive create, after which it
 * is half written for a moment. A lock whose process is gone is taken over; process numbers are used again, so the moment
 * at which the process started counts too.
 */
import { LockedError } from '../core/errors.ts';
import { FileError } from './exit.ts';
import { files, reason } from './file-system.node.ts';
import { LOCK_LIMIT_BYTES, keepUntilExit } from './leftovers.node.ts';
import { readWhole } from './read-files.node.ts';
import { removeAbandonedTemporaries, shownPath, temporaryBeside, writeAndClose, writeNew, writtenPath } from './write-files.node.ts';
import { isAlive, placeOf, thisProcess } from './owner.node.ts';
import type { Owner } from './owner.node.ts';

/** Between two looks at a lock another run may end, or take over the same stale one; what is never there to be read is no lock. */
const ATTEMPTS = 100;

/** The lock of a file. */
export function lockOf(path: string): string {
  return `${path}.lock`;
}

/**
 * Locks `path`, a file's own and not a link's, until the returned handle is disposed or the process ends.
 * @param shown how messages call it.
 * @throws LockedError while another live process has it; FileError where the lock cannot be written, or is none of ours.
 */
function lockFile(path: string, shown: string): Disposable {
  const lock = lockOf(path);
  const text = JSON.stringify(thisProcess());
  for (let attempt = 1; !tryPlace(lock, text, 'link'); attempt++) {
    if (attempt === ATTEMPTS) throw foreign(lock);
    const found = readLock(lock);
    if (found === undefined || isBegun(found)) continue;
    const owner = parseOwner(lock, found);
    if (isAlive(owner)) throw lockedBy(lock, shown, owner);
    if (takeOver(lock, found, text, shown)) break;
  }
  const forget = keepUntilExit(lock, text);
  // Whoever made these has lost the lock, so it is gone.
  for (const one of [path, lock]) removeAbandonedTemporaries(one);
  return { [Symbol.dispose]: forget };
}

/**
 * Puts our lock in place of a stale one, under a lock of the lock: of two who find it stale, the second would else remove the first one's.
 * The name is never free meanwhile. False where another was faster.
 */
function takeOver(lock: string, stale: string, text: string, shown: string): boolean {
  const alone = lockFile(lock, shown);
  try {
    return readLock(lock) === stale && tryPlace(lock, text, 'rename');
  } finally {
    alone[Symbol.dispose]();
  }
}

/**
 * Locks all of a command's outputs and removes what killed runs left beside them.
 * @throws LockedError, FileError as `lockFile`; then none is locked.
 */
export function lockOutputs(paths: readonly string[]): Disposable {
  const locks: Disposable[] = [];
  const release = (): void => {
    for (const lock of locks.splice(0)) lock[Symbol.dispose]();
  };
  try {
    // Of the files themselves, so that each has one lock by whichever link it is named.
    for (const path of paths) locks.push(lockFile(writtenPath(path), shownPath(path)));
  } catch (error) {
    release();
    throw error;
  }
  return { [Symbol.dispose]: release };
}

/** What file systems answer that have no hard links (exFAT, object stores, some network shares; EISDIR is Windows's). */
const linkless = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EISDIR'];

/** Whether the lock is ours now. A link fails where there is one already, and so tells false; a rename replaces it. */
function tryPlace(lock: string, text: string, how: 'link' | 'rename'): boolean {
  const temporary = temporaryBeside(lock);
  try {
    writeNew(temporary, new TextEncoder().encode(text));
    files()[how](temporary, lock);
    return true;
  } catch (cause) {
    if (codeOf(cause) === 'EEXIST') return false;
    if (how === 'link' && linkless.includes(codeOf(cause))) return tryCreate(lock, text);
    throw new FileError(shownPath(lock), `cannot be written (${reason(cause)})`, cause);
  } finally {
    try {
      files().unlink(temporary);
    } catch {
      // Never made, or renamed.
    }
  }
}

/** The same without a link; false where there is a lock already. */
function tryCreate(lock: string, text: string): boolean {
  let file: number;
  try {
    file = files().open(lock, 'wx');
  } catch (cause) {
    if (codeOf(cause) === 'EEXIST') return false;
    throw new FileError(shownPath(lock), `cannot be written (${reason(cause)})`, cause);
  }
  try {
    writeAndClose(file, new TextEncoder().encode(text));
    return true;
  } catch (cause) {
    files().unlink(lock);
    throw new FileError(shownPath(lock), `cannot be written (${reason(cause)})`, cause);
  }
}

/** Whether it is what a run without links has written so far: nothing, or the beginning of an owner. */
function isBegun(text: string): boolean {
  return text === '' || (text.startsWith('{"pid":') && !text.endsWith('}'));
}

function readLock(lock: string): string | undefined {
  try {
    return new TextDecoder().decode(readWhole(lock, LOCK_LIMIT_BYTES));
  } catch (cause) {
    if (!files().exists(lock)) return undefined;
    throw cause;
  }
}

/** @throws FileError for what no run of ours wrote. */
function parseOwner(lock: string, text: string): Owner {
  const { pid, host, namespace = '', started } = parseObject(text);
  if (!Number.isSafeInteger(pid) || [host, namespace, started].some((field) => typeof field !== 'string')) throw foreign(lock);
  return { pid, host, namespace, started } as Owner;
}

function foreign(lock: string): FileError {
  return new FileError(
    shownPath(lock),
    'stands where the lock of the output would, and is none of trajport: move it away, or name another output',
  );
}

function parseObject(text: string): Readonly<Record<string, unknown>> {
  try {
    return Object(JSON.parse(text)) as Record<string, unknown>;
  } catch {
    return {};
  }
}

function lockedBy(lock: string, field: string, owner: Owner): LockedError {
  const who = ['process', owner.pid, placeOf(owner)].filter((word) => word !== undefined).join(' ');
  return new LockedError({
    field,
    expected: 'no other run that writes this file',
    got: `${who}, by ${shownPath(lock)}`,
  });
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}
