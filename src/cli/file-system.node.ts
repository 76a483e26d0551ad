/**
 * The calls through which files are written, locked and read, as one object: `npm run faults` and `npm run kill` put
 * another in its place, so that every one of them can fail, write short or be the last thing that the process does.
 */
import {
  closeSync, existsSync, fchmodSync, fstatSync, fsyncSync, linkSync, mkdirSync, openSync, readSync, readdirSync,
  readlinkSync, realpathSync, renameSync, rmdirSync, statSync, unlinkSync, writeSync,
} from 'node:fs';
import { dirname } from 'node:path';

export interface FileStatus {
  readonly size: number;
  readonly isFile: boolean;
  readonly isDirectory: boolean;
  /** Who may read, write and execute it. */
  readonly permissions: number;
  /** The same for all names of one file; undefined where the file system has no such number. */
  readonly identity: string | undefined;
}

export interface FileSystem {
  /** @param permissions of a file that is made, of which the process's umask takes away. Default: all may read and write. */
  open(path: string, flags: 'r' | 'wx', permissions?: number): number;
  /** Gives an open file these permissions, whatever the umask. */
  permit(file: number, permissions: number): void;
  close(file: number): void;
  read(file: number, bytes: Uint8Array, offset: number, length: number, position: number): number;
  /** Bytes written, perhaps fewer than asked for. */
  write(file: number, bytes: Uint8Array, offset: number, length: number): number;
  sync(file: number): void;
  rename(from: string, to: string): void;
  /** A second name for a file; fails where it exists, which makes it a lock. */
  link(from: string, to: string): void;
  unlink(path: string): void;
  /** With its parents. @returns those that were not there, outermost first. */
  makeDirectory(path: string): string[];
  /** Fails where it is not empty. */
  removeDirectory(path: string): void;
  list(directory: string): string[];
  exists(path: string): boolean;
  /** What a link names, as it stands there; undefined where `path` is no link. */
  readLink(path: string): string | undefined;
  realPath(path: string): string;
  /** What an open file, or a path, is; undefined where there is nothing. */
  status(file: number | string): FileStatus | undefined;
}

const node: FileSystem = {
  open: (path, flags, permissions = 0o666) => openSync(path, flags, permissions),
  permit: fchmodSync,
  close: closeSync,
  read: readSync,
  write: writeSync,
  sync: fsyncSync,
  rename: renameSync,
  link: linkSync,
  unlink: unlinkSync,
  makeDirectory,
  removeDirectory: (path) => rmdirSync(path),
  list: (directory) => readdirSync(directory),
  exists: existsSync,
  readLink,
  realPath: (path) => realpathSync(path),
  status: (file) => {
    // Numbers of files on Windows have 64 bits.
    const found = typeof file === 'number' ? fstatSync(file, { bigint: true }) : statSync(file, { bigint: true, throwIfNoEntry: false });
    if (found === undefined) return undefined;
    const { dev, ino, mode } = found;
    return {
      size: Number(found.size),
      isFile: found.isFile(),
      isDirectory: found.isDirectory(),
      permissions: Number(mode) & 0o777,
      identity: ino === 0n ? undefined : `${dev}:${ino}`,
    };
  },
};

function readLink(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

/** Level by level: Node's own `recursive` never returns below a directory that cannot hold any, such as /proc. */
function makeDirectory(path: string): string[] {
  const isThere = (): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  const parent = dirname(path);
  if (isThere() || parent === path) return [];
  const made = makeDirectory(parent);
  try {
    mkdirSync(path);
    made.push(path);
  } catch (error) {
    // Another process may have made it between the two calls.
    if (!isThere()) throw error;
  }
  return made;
}

let current = node;

export function files(): FileSystem {
  return current;
}

/** Puts `wrap` of the real calls in their place until the returned function is called. For tests. */
export function replaceFileSystem(wrap: (real: FileSystem) => FileSystem): () => void {
  current = wrap(node);
  return () => {
    current = node;
  };
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
