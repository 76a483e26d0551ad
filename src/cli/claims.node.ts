/**
 * What a command reads and writes, as its options and arguments say themselves (`FileUse`), and what follows for its outputs: none
 * replaces an input or another output, all can be written before the work begins, and no other run writes them meanwhile.
 */
import type { FileUse, OptionSpecs } from './arguments.ts';
import { requireEnding } from './endings.ts';
import type { OutputKind } from './endings.ts';
import { UsageError } from './exit.ts';
import { files } from './file-system.node.ts';
import { prepareOutput, shownPath, writtenPath } from './write-files.node.ts';
import { lockOf, lockOutputs } from './lock.node.ts';

export interface OutputFile {
  readonly path: string;
  /** What names it, for messages that begin so: `--out`. */
  readonly by: string;
  /** What it is to hold, where the end of its name should not promise something else. */
  readonly holds?: OutputKind;
  /** Named after another output, whose lock guards it too. */
  readonly unlocked?: true;
}

export interface Claims {
  /** The files to be written that options and arguments name, in their order. */
  readonly outputs: readonly OutputFile[];
  /**
   * Makes sure before the work that these can be written after it, and keeps other runs from them until the command ends.
   * @param reads what the command reads besides what its options and arguments say.
   * @throws UsageError for a file that the command reads, that two of them name, that locks one, or is named like another kind;
   *   FileError, LockedError.
   */
  claim(outputs: readonly OutputFile[], reads?: readonly string[]): void;
}

interface Files {
  readonly options: OptionSpecs;
  readonly positionals: readonly (FileUse & { readonly name: string })[];
}

/** The claims of one command, which are given up when it is disposed. */
export function claimsOf(
  { options, positionals }: Files,
  values: Readonly<Record<string, unknown>>,
  given: readonly string[],
): Claims & Disposable {
  const named = [
    ...given.map((value, i) => ({
      by: positionals[i]?.name ?? '',
      value,
      use: positionals[Math.min(i, positionals.length - 1)] as FileUse,
    })),
    ...Object.entries(options).flatMap(([name, spec]) => {
      const value = values[name];
      return spec.kind === 'string' && typeof value === 'string' ? [{ by: `--${name}`, value, use: spec }] : [];
    }),
  ];
  const outputs = named.flatMap(({ by, value: path, use }) => (use.writes === undefined ? [] : [{ by, path, holds: use.writes }]));
  const locks: Disposable[] = [];
  const written = new Set<string>();
  return {
    outputs,
    claim: (claimed, reads = []) => {
      prepare(
        claimed,
        [...named.flatMap(({ value, use }) => use.reads?.(value) ?? []), ...reads],
        written,
      );
      locks.push(lockOutputs(claimed.filter(({ unlocked }) => unlocked !== true).map(({ path }) => path)));
    },
    [Symbol.dispose]: () => {
      for (const lock of locks.splice(0)) lock[Symbol.dispose]();
    },
  };
}

/** @param written what is claimed already; these are added. */
function prepare(outputs: readonly OutputFile[], inputs: readonly string[], written: Set<string>): void {
  const read = new Set(inputs.map(identityOf));
  for (const { by, path } of outputs) {
    if (read.has(identityOf(path))) throw new UsageError(`${by} ${path} is an input of the same command, which would be replaced`);
    const target = writtenPath(path);
    if (written.has(target))
      throw new UsageError(`${shownPath(path)} is named for two outputs: the second would replace the first`);
    written.add(target);
  }
  // Written, it would end that lock: another run could begin the output meanwhile, and is then told of a file that is no lock.
  const lock = [...written].map(lockOf).find((path) => written.has(path));
  if (lock !== undefined) throw new UsageError(`${shownPath(lock)} is the lock of another output of the same command`);
  for (const { by, path, holds = 'any' } of outputs) requireEnding(by, path, holds);
  for (const { path } of outputs) prepareOutput(path);
}

/** The same for every name of a file: through links, and where two directories have it. */
function identityOf(path: string): string {
  try {
    return files().status(path)?.identity ?? writtenPath(path);
  } catch {
    // It cannot be looked at: who reads or prepares it says why.
    return path;
  }
}
