/** What a command that failed or was interrupted must not leave behind: temporary files, locks, and directories made for outputs. */
import { files } from './file-system.node.ts';
import { readWhole } from './read-files.node.ts';

/** Temporary files now on disk. */
const temporaries = new Set<string>();
/** Locks of this process and what stands in them: by the time they are released, another's may have their names. */
const locks = new Map<string, string>();
/** Directories made for outputs, outermost first. */
const madeDirectories: string[] = [];

/** Cap of what is read as a lock: ours have some two hundred bytes, and what is larger is another program's. */
export const LOCK_LIMIT_BYTES = 4096;

/** Has `path` removed with the rest, until `forgetTemporary` says that it is gone or has become an output. */
export function noteTemporary(path: string): void {
  temporaries.add(path);
}

export function forgetTemporary(path: string): void {
  temporaries.delete(path);
}

/** Removes a temporary file now. */
export function discardTemporary(path: string): void {
  try {
    files().unlink(path);
  } catch {
    // Never made, or renamed already.
  }
  temporaries.delete(path);
}

/** Has directories that were made for outputs, outermost first, removed with the rest where nothing came to be in them. */
export function noteDirectories(made: readonly string[]): void {
  madeDirectories.push(...made);
}

/** Removes all that was noted and is still there. Synchronous, so that a signal handler may call it last. */
export function removeLeftovers(): void {
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
