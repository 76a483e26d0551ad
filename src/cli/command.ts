/** What a command is, what it gets, and how its help is written. */
import { limits } from '../core/limits.ts';
import type { Compute, CoreOptions } from '../index.ts';
import { displayWidth, formatBytes, wrapWords } from '../report/text.ts';
import type { FileUse, OptionSpec, OptionSpecs, ValuesOf } from './arguments.ts';
import type { Claims } from './claims.node.ts';
import type { ExitCode } from './exit.ts';
import type { Output } from './output.ts';

/** Options that every command takes which draws something. */
const drawingOptions = {
  seed: { kind: 'integer', metavar: 'N', minimum: 0, maximum: 2 ** 32 - 1, default: 1, help: 'everything random follows from this number' },
} as const satisfies OptionSpecs;

/** … which computes. */
const computingOptions = {
  'heap-limit': {
    kind: 'bytes', field: 'heapLimitBytes', metavar: 'SIZE', minimum: limits.smallestHeapBytes, maximum: limits.heapBytes,
    help: 'cap of the WebAssembly heap, e.g. 96MiB',
  },
  'relaxed-simd': {
    kind: 'flag', field: 'arithmetic',
    help: 'matrix products with relaxed SIMD: faster in most engines, but another engine or processor may give other bytes',
  },
} as const satisfies OptionSpecs;

const outputOptions = {
  json: { kind: 'flag', help: 'print one JSON object a line on stdout and nothing else there' },
  quiet: { kind: 'flag', short: 'q', help: 'no progress line' },
  help: { kind: 'flag', short: 'h', help: 'this text' },
} as const satisfies OptionSpecs;

/** What a command takes besides its own; those that change nothing of it are left out. */
export function globalOptionsOf({ computes = true, draws = computes }: Pick<Command, 'computes' | 'draws'>): OptionSpecs {
  return { ...(draws ? drawingOptions : {}), ...(computes ? computingOptions : {}), ...outputOptions };
}

export type GlobalValues = ValuesOf<typeof drawingOptions & typeof computingOptions & typeof outputOptions>;

/** How the options want a core opened: the command's own and those of its workers. */
export function coreOptions(values: Pick<GlobalValues, 'heap-limit' | 'relaxed-simd'>): CoreOptions {
  return {
    ...(values['heap-limit'] === undefined ? {} : { heapLimitBytes: values['heap-limit'] }),
    ...(values['relaxed-simd'] ? { arithmetic: 'relaxed' } : {}),
  };
}

export interface Context extends Claims {
  readonly output: Output;
  readonly signal: AbortSignal;
  /** Opens the compute core on first use, under `--heap-limit`; closed when the command ends. */
  compute(): Promise<Compute>;
  /** `tell` is asked what an interruption leaves behind; without it, that is nothing. */
  whenInterrupted(tell: () => LeftBehind): void;
}

export interface LeftBehind {
  readonly text: string;
  /** For `--json`: where the same command goes on from. */
  readonly resume?: { readonly file: string; readonly done: number };
}

export const NOTHING_LEFT: LeftBehind = { text: 'nothing was written' };

export interface Example {
  readonly say: string;
  readonly run: string;
}

export interface Positional extends FileUse {
  /**
   * What the help calls an argument without a dash, e.g. `BUNDLE`; a trailing `?` makes it optional, a trailing `…` on
   * the last means one or more.
   */
  readonly name: string;
}

export interface Command<S extends OptionSpecs = OptionSpecs> {
  readonly name: string;
  readonly summary: string;
  /** False where nothing is computed, and a heap's cap would change nothing. Default: true. */
  readonly computes?: boolean;
  /** False where a seed would change nothing. Default: `computes`. */
  readonly draws?: boolean;
  readonly positionals: readonly Positional[];
  /** The option that a file too many is probably meant for. */
  readonly nextFile?: string;
  readonly options: S;
  /** Options of another command from which nothing follows here: its command line may be copied, and a note names them. */
  readonly passedOver?: OptionSpecs;
  readonly examples: readonly Example[];
  /** What a reader of the help should know besides; one paragraph an item. */
  readonly notes?: readonly string[];
  run(context: Context, values: ValuesOf<S> & GlobalValues, positionals: readonly string[]): Promise<ExitCode>;
}

/** Keeps the option types of a command while it is defined. */
export function defineCommand<const S extends OptionSpecs>(command: Command<S>): Command<S> {
  return command;
}

/** Columns of help, where a terminal is wider or there is none. */
const HELP_WIDTH = 96;

export function helpWidth(columns: number): number {
  return Math.min(HELP_WIDTH, columns - 1);
}

/** The help of one command: examples first, since most readers copy one. */
export function commandHelp(command: Command, columns: number): string {
  const positionals = new Set(command.positionals.map(({ name }) => (name.endsWith('?') ? `[${name.slice(0, -1)}]` : name)));
  const usage = ['trajport', command.name, ...positionals, '[options]'];
  const width = helpWidth(columns);
  const lines = [...wrapWords(`${capital(command.summary)}.`, width), '', 'Usage', `  ${usage.join(' ')}`, '', 'Examples'];
  for (const example of command.examples) lines.push(...exampleLines(example, columns - 1), '');
  if (Object.keys(command.options).length > 0) lines.push('Options', ...optionLines(command.options, width), '');
  lines.push('Everywhere', ...optionLines(globalOptionsOf(command), width));
  for (const note of command.notes ?? []) lines.push('', ...wrapWords(note, Math.min(88, width)));
  return `${lines.join('\n')}\n`;
}

/** The comment in several where it is long; the command in one that a shell reads as one. */
function exampleLines({ say, run }: Example, width: number): string[] {
  const comment = wrapWords(say, width - 4).map((line) => `  # ${line}`);
  // Two cells for the backslash, two for the indentation of what goes on.
  return [...comment, `  ${wrapWords(run, width - 6).join(' \\\n    ')}`];
}

function optionLines(options: OptionSpecs, width: number): string[] {
  const heads = Object.entries(options).map(([name, spec]) => {
    const short = spec.short === undefined ? '' : `-${spec.short}, `;
    const value = spec.kind === 'flag' ? '' : ` ${spec.metavar ?? (spec.kind === 'choice' ? spec.choices.join('|') : 'VALUE')}`;
    return `  ${short}--${name}${value}`;
  });
  const column = Math.min(30, Math.max(...heads.map(displayWidth)) + 2);
  return Object.values(options).flatMap((spec, i) => {
    const head = heads[i] as string;
    const text = wrapWords(spec.help + defaultOf(spec), width - column);
    const first = displayWidth(head) + 2 <= column ? [head.padEnd(column) + (text.shift() ?? '')] : [head];
    return [...first, ...text.map((line) => ' '.repeat(column) + line)];
  });
}

function defaultOf(spec: OptionSpec): string {
  if (spec.kind === 'flag' || spec.default === undefined) return '';
  if (spec.kind === 'bytes') return ` (default ${formatBytes(spec.default)})`;
  return ` (default ${Array.isArray(spec.default) ? spec.default.join(',') : spec.default})`;
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
