/** Exit codes, and the errors that only a command line can make. */
import { TrajportError, bounded } from '../core/errors.ts';
import type { ErrorCode } from '../core/errors.ts';
import { isRefusedMemory } from '../core/refused-memory.ts';
import { printable } from '../report/text.ts';

/** What the process answers. Documented in docs/cli.md; a code never changes meaning between versions. */
export const exitCodes = {
  ok: 0,
  /** The command ran, and what it checked falls short (`verify` found a difference, a hash disagrees). */
  fellShort: 1,
  /** The command line itself is wrong: unknown option, missing value, value out of range. */
  usage: 2,
  /** A file, a network or data given cannot be used: missing, malformed, mismatching, not finite. */
  badInput: 3,
  /** The byte budget, the heap limit or the machine's memory does not suffice. */
  outOfMemory: 4,
  /** A fault of trajport itself. */
  internal: 70,
  /** Another run is writing the same output; nothing was done. */
  locked: 75,
  /** Ended by SIGINT (128 + 2) or SIGTERM (128 + 15), with nothing partial left behind. */
  interrupted: 130,
  terminated: 143,
} as const;

/** What `trajport --help` says of each. */
export const exitMeanings: { readonly [K in keyof typeof exitCodes]: string } = {
  ok: 'ok',
  fellShort: 'something checked fell short',
  usage: 'usage',
  badInput: 'bad input or file',
  outOfMemory: 'out of memory or budget',
  internal: 'a fault of trajport',
  locked: 'another run writes the same output',
  interrupted: 'interrupted',
  terminated: 'terminated',
};

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** The command line is wrong; `suggestion` says what was probably meant. A message about an option begins with its name. */
export class UsageError extends Error {
  readonly suggestion: string | undefined;
  /** The option at fault, `--steps`; undefined where it is none, or one that is missing. */
  readonly option: string | undefined;
  constructor(message: string, suggestion?: string) {
    super(bounded(message));
    this.name = 'UsageError';
    this.suggestion = suggestion;
    this.option = /^(?:unknown option )?(--?[a-z][a-z-]*)/i.exec(message)?.[1];
  }
}

/** A typed error about what an option gave, shown under the option's name. */
export class OptionError extends Error {
  /** As typed, `--freeze`. */
  readonly option: string;
  override readonly cause: TrajportError;
  /** @param inWords what the library says, with its options' names as the command line has them. */
  constructor(option: string, cause: TrajportError, inWords: (text: string) => string) {
    super(`${option}: expected ${inWords(cause.expected)}, got ${inWords(cause.got)}`);
    this.name = 'OptionError';
    this.option = option;
    this.cause = cause;
  }
}

/** A file could not be read or written, said in a person's words. */
export class FileError extends Error {
  readonly path: string;
  constructor(path: string, message: string, cause?: unknown) {
    // Line ends in messages are ours; in a name they would look so.
    super(`${printable(path)}: ${bounded(message)}`, cause === undefined ? undefined : { cause });
    this.name = 'FileError';
    this.path = path;
  }
}

/** Whether `error` is what an aborted signal throws. */
export function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError';
}

/** Errors about an option that are answered by another command line: also micro-batches of a network with batch norm. */
const ofTheCommandLine: readonly ErrorCode[] = ['invalid-argument', 'unsupported'];

export function exitCodeOf(error: unknown): ExitCode {
  if (isAbort(error)) return exitCodes.interrupted;
  if (error instanceof UsageError) return exitCodes.usage;
  if (error instanceof OptionError) return ofTheCommandLine.includes(error.cause.code) ? exitCodes.usage : exitCodeOf(error.cause);
  if (error instanceof FileError) return exitCodes.badInput;
  if (error instanceof TrajportError) {
    if (error.code === 'budget' || error.code === 'out-of-memory') return exitCodes.outOfMemory;
    if (error.code === 'locked') return exitCodes.locked;
    return error.code === 'kernel' ? exitCodes.internal : exitCodes.badInput;
  }
  // Deno was not given a permission; its message says which.
  if (error instanceof Error && error.name === 'NotCapable') return exitCodes.badInput;
  if (isRefusedMemory(error)) return exitCodes.outOfMemory;
  return exitCodes.internal;
}

/** The record that `--json` prints for a failure. */
export function errorRecord(error: unknown): Readonly<Record<string, unknown>> {
  const exitCode = exitCodeOf(error);
  if (error instanceof OptionError) return { ...error.cause.toJSON(), option: error.option, exitCode };
  if (error instanceof TrajportError) return { ...error.toJSON(), exitCode };
  if (error instanceof FileError && error.cause instanceof TrajportError)
    return { ...error.cause.toJSON(), message: error.message, exitCode };
  if (error instanceof UsageError) {
    const { option, suggestion, message } = error;
    const known = { ...(option === undefined ? {} : { option }), ...(suggestion === undefined ? {} : { suggestion }) };
    return { error: error.name, ...known, message, exitCode };
  }
  if (error instanceof Error) return { error: error.name, message: error.message, exitCode };
  return { error: 'Error', message: String(error), exitCode };
}
