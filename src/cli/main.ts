/** The command line: finds the command, reads its options, runs it, turns what it threw into a sentence and an exit code. */
import { existsSync } from 'node:fs';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { limits } from '../core/limits.ts';
import { formatBytes, printable } from '../report/text.ts';
import { NetworkError, TrajportError, closeSharedCompute, openCompute } from '../index.ts';
import type { Compute } from '../index.ts';
import { namedByOption, parseArguments } from './arguments.ts';
import type { OptionSpecs, ValuesOf } from './arguments.ts';
import { claimsOf } from './claims.node.ts';
import { NOTHING_LEFT, commandHelp, coreOptions, globalOptionsOf } from './command.ts';
import type { Command, Context, GlobalValues, LeftBehind } from './command.ts';
import { commands } from './commands.ts';
import { OptionError, UsageError, errorRecord, exitCodeOf, exitCodes, isAbort } from './exit.ts';
import type { ExitCode } from './exit.ts';
import { reason } from './file-system.node.ts';
import { removeLeftovers } from './leftovers.node.ts';
import { readWhole } from './read-files.node.ts';
import { nearestName } from '../core/nearest-name.ts';
import { Output } from './output.ts';
import type { Sink } from './output.ts';
import { overview } from './overview.ts';
import { requireTakenBeside } from './taken-options.ts';

/** How long a command may take to notice an interruption before the process ends anyway. */
const GRACE_MS = 1500;

async function main(argv: readonly string[]): Promise<ExitCode> {
  // Before the options are known, an error must already be printed the way that was asked for.
  const plain = newOutput(argv.includes('--json'), true);
  const [name, ...rest] = argv;
  if (name === undefined || name === 'help' || name === '--help' || name === '-h') {
    const wanted = name === 'help' ? rest.find((word) => word !== '--json') : undefined;
    return wanted === undefined
      ? answer(plain, 'help', { text: overview(commands, packageVersion(), plain.columns) })
      : answerHelp(plain, findCommand(wanted));
  }
  if (name === 'version' || name === '--version' || name === '-V' || name === '-v') {
    const version = packageVersion();
    return answer(plain, 'version', { text: version, version });
  }
  const command = findCommand(name);
  if (rest.includes('--help') || rest.includes('-h')) {
    return answerHelp(plain, command);
  }
  const specs: OptionSpecs = { ...command.options, ...globalOptionsOf(command) };
  const parsed = parseArguments(rest, { ...command.passedOver, ...specs });
  const { positionals } = parsed;
  // `-qh`: the letters are told apart by now.
  if (parsed.given.includes('help')) return answerHelp(plain, command);
  const passedOver = parsed.given.filter((option) => !Object.hasOwn(specs, option));
  // Values of options that the command does not take are undefined, and it asks for none.
  const own = Object.entries(parsed.values).filter(([option]) => Object.hasOwn(specs, option));
  const values = Object.fromEntries(own) as ValuesOf<OptionSpecs> & GlobalValues;
  requirePositionals(command, positionals, parsed.given);
  requireTakenBeside(specs, values);
  const output = newOutput(values.json, values.quiet, !values['relaxed-simd']);
  if (passedOver.length > 0)
    output.warn(`${passedOver.map((option) => `--${option}`).join(', ')}: passed over, since nothing here follows from that`);
  if (values['relaxed-simd'])
    output.warn('--relaxed-simd: the same command may give other bytes in another engine or on another processor');
  let leftBehind = (): LeftBehind => NOTHING_LEFT;
  return runInterruptibly(output, () => leftBehind(), async (signal) => {
    let compute: Compute | undefined;
    using claims = claimsOf(command, values, positionals);
    const context: Context = {
      ...claims,
      output,
      signal,
      whenInterrupted: (tell) => {
        leftBehind = tell;
      },
      compute: async () => {
        compute ??= await openCompute(coreOptions(values));
        return compute;
      },
    };
    try {
      return await command.run(context, values, positionals);
    } catch (error) {
      throw namedByOption(error, specs);
    } finally {
      output.clearProgress();
      compute?.[Symbol.dispose]();
      await closeSharedCompute();
    }
  });
}

function answerHelp(output: Output, command: Command): ExitCode {
  return answer(output, 'help', { of: command.name, text: commandHelp(command, output.columns) });
}

/** What is asked of trajport itself; with --json a result like any other. */
function answer(output: Output, command: string, fields: { readonly text: string; readonly [field: string]: string }): ExitCode {
  output.text(fields.text);
  output.record({ event: 'result', command, ...fields });
  return exitCodes.ok;
}

/** The version in the package.json beside dist/, so that it is stated once. */
function packageVersion(): string {
  // Beside dist/ when built, two folders up when Deno or Bun run the sources.
  const [built, source] = ['../package.json', '../../package.json'].map((path) => fileURLToPath(new URL(path, import.meta.url)));
  const bytes = readWhole(existsSync(built as string) ? (built as string) : (source as string), 2 ** 20);
  return String((JSON.parse(new TextDecoder().decode(bytes)) as { version?: unknown }).version);
}

/**
 * A closed pipe (`trajport inspect x | head`) is the reader's way to say enough: the command goes on to its end and writes what it was to
 * write. Any other failure (a full disk behind `> log`) ends it, since what it says is lost.
 */
function cannotPrint(error: unknown): void {
  const { code, name } = error as { readonly code?: unknown; readonly name?: unknown };
  if (code === 'EPIPE' || name === 'BrokenPipe') return;
  removeLeftovers();
  newOutput(false, true).error(`what is printed cannot be written (${reason(error)})`);
  process.exit(exitCodes.badInput);
}

/** Node and Bun tell of a failed write by an event, Deno throws. */
const guardedStdout: Sink = {
  write: (text) => {
    try {
      return process.stdout.write(text);
    } catch (error) {
      return cannotPrint(error);
    }
  },
  isTTY: process.stdout.isTTY,
  columns: process.stdout.columns,
};

function newOutput(json: boolean, quiet: boolean, identical = true): Output {
  return new Output({
    stdout: guardedStdout,
    stderr: process.stderr,
    json,
    quiet,
    identical,
    environment: process.env,
    now: () => performance.now(),
  });
}

function findCommand(name: string): Command {
  const found = commands.find((command) => command.name === name);
  if (found !== undefined) return found;
  const nearest = nearestName(name, commands.map((command) => command.name));
  throw new UsageError(
    name.startsWith('-')
      ? `${name} must follow a command`
      : `unknown command ${JSON.stringify(name)}${nearest === undefined ? ': trajport --help lists them' : ''}`,
    nearest === undefined ? undefined : `trajport ${nearest}`,
  );
}

/** @param options that were given. */
function requirePositionals(command: Command, given: readonly string[], options: readonly string[]): void {
  const names = command.positionals.map(({ name }) => name);
  const required = names.filter((name) => !name.endsWith('?'));
  if (given.length < required.length) throw new UsageError(`${command.name} needs ${required.slice(given.length).join(' and ')}`);
  if (given.length > names.length && names.at(-1)?.endsWith('…') !== true) {
    const surplus = JSON.stringify(given[names.length]);
    const { nextFile } = command;
    const isMissed = nextFile !== undefined && !options.includes(nextFile);
    throw new UsageError(`${command.name} takes no further argument ${surplus}`, isMissed ? `--${nextFile} ${surplus}` : undefined);
  }
}

/** Runs `body` with a signal that SIGINT and SIGTERM abort; a second SIGINT, or one that is not heeded, ends the process. */
async function runInterruptibly(
  output: Output,
  leftBehind: () => LeftBehind,
  body: (signal: AbortSignal) => Promise<ExitCode>,
): Promise<ExitCode> {
  const controller = new AbortController();
  const interruptedBy = (code: ExitCode) => (): void => {
    const leave = (): void => {
      removeLeftovers();
      process.exit(code);
    };
    if (controller.signal.aborted) leave();
    process.exitCode = code;
    output.clearProgress();
    setTimeout(leave, GRACE_MS).unref();
    controller.abort();
  };
  const handlers = { SIGINT: interruptedBy(exitCodes.interrupted), SIGTERM: interruptedBy(exitCodes.terminated) } as const;
  for (const [signal, handler] of Object.entries(handlers)) process.on(signal, handler);
  try {
    return await body(controller.signal);
  } catch (error) {
    if (controller.signal.aborted && isAbort(error)) {
      removeLeftovers();
      const { text, resume } = leftBehind();
      const exitCode = process.exitCode === exitCodes.terminated ? exitCodes.terminated : exitCodes.interrupted;
      const message = `interrupted; ${text}`;
      report(output, message, error, { message, exitCode, ...(resume === undefined ? {} : { resume }) });
      return exitCode;
    }
    throw error;
  } finally {
    for (const [signal, handler] of Object.entries(handlers)) process.off(signal, handler);
  }
}

function report(output: Output, text: string, error: unknown, more: Readonly<Record<string, unknown>> = {}): void {
  output.record({ event: 'error', ...errorRecord(error), ...more });
  output.error(text);
}

function explain(error: unknown): string {
  const code = exitCodeOf(error);
  if (error instanceof UsageError) {
    return `${error.message}${error.suggestion === undefined ? '' : `\n       did you mean ${error.suggestion} ?`}`;
  }
  // Only `download` asks servers.
  if (error instanceof NetworkError) return `${error.message}\n       --mirror URL fetches the same files from elsewhere`;
  const said =
    error instanceof TrajportError
      ? withSizes(`${printable(error.field)}: expected ${error.expected}, got ${error.got}`)
      : error instanceof Error ? withSizes(error.message) : String(error);
  const cause = error instanceof OptionError ? error.cause : error;
  if (cause instanceof TrajportError && cause.code === 'out-of-memory') {
    return `${said}\n       --heap-limit SIZE raises the cap (at most ${formatBytes(limits.heapBytes)}); --micro-batch auto of train ` +
      `and transfer, a smaller --batch-size or fewer --workers need less`;
  }
  if (cause instanceof TrajportError && cause.code === 'integrity')
    return `${said}\n       the file is damaged, or was changed after it was written`;
  if (code === exitCodes.internal && error instanceof Error) {
    return `${error.stack ?? error.message}\n       this is a fault of trajport: please report it with the command you ran`;
  }
  return said;
}

/** Sizes as options take them beside those in bytes, which are exact. */
function withSizes(message: string): string {
  return message.replace(/\b(\d{4,}) bytes\b/g, (text, bytes: string) => `${text} (${formatBytes(Number(bytes))})`);
}

process.stdout.on('error', cannotPrint);
// Nowhere is left to say so.
process.stderr.on('error', () => undefined);

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  removeLeftovers();
  report(newOutput(process.argv.includes('--json'), true), explain(error), error);
  process.exitCode = exitCodeOf(error);
}
