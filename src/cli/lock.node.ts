/**
 * One output, one run. A lock is a file beside the output that names its process, made by linking a finished file so that it
 * is never seen half written. A lock whose process is gone is taken over; process numbers are used again, so the moment at
 * which the process started counts too.
 */
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { relative, resolve } from 'node:path';
import process from 'node:process';
import { LockedError } from '../core/errors.ts';
import { FileError } from './exit.ts';
import { files } from './file-system.node.ts';
import { keepUntilExit, readWhole, reason, removeAbandonedTemporaries, temporaryBeside, writeNew, writtenPath } from './files.node.ts';

interface Owner {
  readonly pid: number;
  readonly host: string;
  /** Boot and clock tick of the process's start; empty where the system does not tell. */
  readonly started: string;
}

const LOCK_LIMIT_BYTES = 4096;

/**
 * Locks `path` until the returned handle is disposed or the process ends.
 * @throws LockedError while another live process has it; FileError where the lock cannot be written.
 */
function lockOutput(path: string): Disposable {
  // Of the file itself, so that there is one lock by whichever link it is named.
  const lock = `${writtenPath(path)}.lock`;
  const mine: Owner = { pid: process.pid, host: hostname(), started: startOf(process.pid) };
  // Another run may end, or take over the same stale lock, between two looks at it.
  for (let attempt = 0; attempt < 3; attempt++) {
    if (tryLink(lock, mine)) {
      const forget = keepUntilExit(lock);
      return { [Symbol.dispose]: forget };
    }
    const text = readLock(lock);
    if (text === undefined) continue;
    const owner = parseOwner(text);
    if (owner !== undefined && isAlive(owner)) throw lockedBy(path, owner);
    removeStale(lock, text);
  }
  throw lockedBy(path, parseOwner(readLock(lock) ?? ''));
}

/**
 * Locks all of a command's outputs and removes what killed runs left beside them.
 * @throws LockedError, FileError as `lockOutput`; then none is locked.
 */
export function lockOutputs(paths: readonly string[]): Disposable {
  const locks: Disposable[] = [];
  const release = (): void => {
    for (const lock of locks.splice(0)) lock[Symbol.dispose]();
  };
  try {
    for (const path of paths) locks.push(lockOutput(path));
    // Whoever made these has lost the lock, so it is gone.
    for (const path of paths.map(writtenPath).flatMap((one) => [one, `${one}.lock`])) {
      removeAbandonedTemporaries(path, (pid) => pid !== process.pid && processExists(pid));
    }
  } catch (error) {
    release();
    throw error;
  }
  return { [Symbol.dispose]: release };
}

/** Whether the lock is ours now; false where there is one already. */
function tryLink(lock: string, owner: Owner): boolean {
  const temporary = temporaryBeside(lock);
  try {
    writeNew(temporary, new TextEncoder().encode(JSON.stringify(owner)));
    files().link(temporary, lock);
    return true;
  } catch (cause) {
    if (codeOf(cause) === 'EEXIST') return false;
    throw new FileError(lock, `cannot be written (${reason(cause)})`, cause);
  } finally {
    try {
      files().unlink(temporary);
    } catch {
      // Never made.
    }
  }
}

/** Moves a stale lock away first: should it be another's fresh one by now, it is put back. */
function removeStale(lock: string, staleText: string): void {
  const aside = temporaryBeside(lock);
  try {
    files().rename(lock, aside);
    if (readLock(aside) !== staleText) files().link(aside, lock);
    files().unlink(aside);
  } catch (cause) {
    // Somebody else took it away: the next attempt sees what is there now.
    if (codeOf(cause) !== 'ENOENT' && codeOf(cause) !== 'EEXIST') throw new FileError(lock, `cannot be taken over (${reason(cause)})`, cause);
  }
}

function readLock(lock: string): string | undefined {
  try {
    return new TextDecoder().decode(readWhole(lock, LOCK_LIMIT_BYTES));
  } catch (cause) {
    if (!files().exists(lock)) return undefined;
    throw cause;
  }
}

/** Undefined for a file that is no lock, as a power failure may leave one. */
function parseOwner(text: string): Owner | undefined {
  try {
    const { pid, host, started } = JSON.parse(text) as Partial<Record<keyof Owner, unknown>>;
    if (!Number.isSafeInteger(pid) || typeof host !== 'string' || typeof started !== 'string') return undefined;
    return { pid: pid as number, host, started };
  } catch {
    return undefined;
  }
}

/** A process of another machine cannot be asked and counts as alive. */
function isAlive({ pid, host, started }: Owner): boolean {
  if (host !== hostname()) return true;
  if (!processExists(pid)) return false;
  const start = startOf(pid);
  return start === '' || started === '' || start === started;
}

export function processExists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === 'EPERM';
  }
}

/** Linux says when a process started, in ticks since boot; elsewhere the process number must do. */
function startOf(pid: number): string {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const ticks = fields.slice(fields.lastIndexOf(')') + 2).split(' ')[19] ?? '';
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()} ${ticks}`;
  } catch {
    return '';
  }
}

function lockedBy(path: string, owner: Owner | undefined): LockedError {
  const who = owner === undefined ? 'another run' : `process ${owner.pid}${owner.host === hostname() ? '' : ` on ${owner.host}`}`;
  return new LockedError({
    field: relative('', resolve(path)),
    expected: 'no other run that writes this file',
    got: `${who}, by ${relative('', `${writtenPath(path)}.lock`)}`,
  });
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}
