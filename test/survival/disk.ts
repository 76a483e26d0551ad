// The CLI's file layer with something in front of every call that changes the disk, or that may fail.
import type { FileSystem } from '../../src/cli/file-system.node.ts';

/** Calls that change what is on the disk. */
export const changing = [
  'open',
  'write',
  'sync',
  'rename',
  'link',
  'unlink',
  'makeDirectory',
  'removeDirectory',
] as const satisfies readonly (keyof FileSystem)[];
/** Calls that a failing disk or an exhausted process may refuse. `close`, `exists` and `realPath` tell nothing new. */
export const failing = [...changing, 'read', 'list'] as const satisfies readonly (keyof FileSystem)[];

export type CallName = (typeof failing)[number];

/**
 * `real` with `before` in front of the named calls. It may throw in their place, or answer a write with how much of it was done.
 * Opening a file for reading changes nothing and is only seen with `failing`.
 */
export function interposed(
  real: FileSystem,
  names: readonly CallName[],
  before: (name: CallName, args: readonly unknown[]) => number | undefined,
): FileSystem {
  const wrapped: Record<string, unknown> = { ...real };
  for (const name of names) {
    const call = real[name] as (...args: unknown[]) => unknown;
    wrapped[name] = (...args: unknown[]): unknown => {
      if (name === 'open' && args[1] === 'r' && !names.includes('read')) return call(...args);
      return before(name, args) ?? call(...args);
    };
  }
  return wrapped as unknown as FileSystem;
}
