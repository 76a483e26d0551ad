/**
 * Typed options over node:util's parseArgs (the one parser that Node, Deno and Bun share). Every value is checked here,
 * so that a wrong command line costs a sentence and exit code 2 before anything is opened or computed.
 */
import { parseArgs } from 'node:util';
import { TrajportError } from '../core/errors.ts';
import { formatBytes } from '../report/text.ts';
import type { OutputKind } from './endings.ts';
import { OptionError, UsageError } from './exit.ts';
import { nearestName } from '../core/nearest-name.ts';

interface Described {
  /** What stands after the option in the help, e.g. `FILE`. */
  readonly metavar?: string;
  readonly help: string;
  readonly short?: string;
  /**
   * What the library calls it in typed errors, which are then shown under the option's name (`OptionError`); of files
   * it stays what the error says.
   */
  readonly field?: string | readonly string[];
}

/**
 * What a command does with the files that an option or an argument names. Checks, locks and preparation follow from it
 * (claims.node.ts).
 */
export interface FileUse {
  /** It reads them: every file behind the value. Throws nothing; what is wrong with them, their reader says. */
  readonly reads?: (value: string) => readonly string[];
  /** It writes the file of that name, which is to hold this. */
  readonly writes?: OutputKind;
}

/** Behind most values is one file. */
export const thatFile = (value: string): readonly string[] => [value];

export type OptionSpec =
  | (Described & { readonly kind: 'flag' })
  | (Described & FileUse & { readonly kind: 'string'; readonly default?: string })
  | (Described & { readonly kind: 'integer' | 'number'; readonly minimum?: number; readonly maximum?: number; readonly default?: number })
  | (Described & { readonly kind: 'bytes'; readonly minimum?: number; readonly maximum?: number; readonly default?: number })
  | (Described & {
      readonly kind: 'integers' | 'numbers';
      readonly minimum?: number;
      readonly maximum?: number;
      readonly default?: readonly number[];
    })
  | (Described & { readonly kind: 'choice'; readonly choices: readonly string[]; readonly default?: string })
  | (Described & { readonly kind: 'strings'; readonly default?: readonly string[] });

export type OptionSpecs = Readonly<Record<string, OptionSpec>>;

type ValueOfKind<S extends OptionSpec> = S extends { kind: 'flag' }
  ? boolean
  : S extends { kind: 'integer' | 'number' | 'bytes' }
    ? number
    : S extends { kind: 'integers' | 'numbers' }
      ? readonly number[]
      : S extends { kind: 'strings' }
        ? readonly string[]
        : S extends { kind: 'choice'; choices: readonly (infer C)[] }
          ? C
          : string;

/** Option name → value; an option without a default may be undefined. */
export type ValuesOf<S extends OptionSpecs> = {
  readonly [K in keyof S]: S[K] extends { kind: 'flag' } | { default: unknown } ? ValueOfKind<S[K]> : ValueOfKind<S[K]> | undefined;
};

export interface Parsed<S extends OptionSpecs> {
  readonly values: ValuesOf<S>;
  readonly positionals: readonly string[];
  /** Options that stand on the command line, as they do: a value may also be a default. */
  readonly given: readonly string[];
}

/** @throws UsageError that names the option at fault and, for a misspelt one, the nearest that exists. */
export function parseArguments<S extends OptionSpecs>(argv: readonly string[], specs: S): Parsed<S> {
  const config: Record<string, { type: 'string' | 'boolean'; short?: string; multiple: true }> = {};
  for (const [name, spec] of Object.entries(specs)) {
    config[name] = {
      type: spec.kind === 'flag' ? 'boolean' : 'string',
      multiple: true,
      ...(spec.short === undefined ? {} : { short: spec.short }),
    };
  }
  // Not strict: parseArgs' own messages differ between runtimes and suggest nothing. The tokens say all that is needed.
  const { tokens } = parseArgs({ args: [...argv], options: config, strict: false, allowPositionals: true, tokens: true });
  const values: Record<string, unknown> = {};
  const positionals: string[] = [];
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value);
    if (token.kind !== 'option') continue;
    // `Object.hasOwn`: an option called --constructor must not find Object.prototype's.
    const spec = Object.hasOwn(specs, token.name) ? specs[token.name] : undefined;
    if (spec === undefined) throw unknownOption(token.rawName, Object.keys(specs), argv[token.index] ?? '');
    const shown = `--${token.name}`;
    if (Object.hasOwn(values, token.name)) throw new UsageError(`${shown} is given twice`);
    values[token.name] = valueOf(shown, spec, token.value, token.inlineValue === true);
  }
  const given = Object.keys(values);
  for (const [name, spec] of Object.entries(specs)) {
    if (Object.hasOwn(values, name)) continue;
    if (spec.kind === 'flag') values[name] = false;
    else if (spec.default !== undefined) values[name] = spec.default;
  }
  return { values: values as ValuesOf<S>, positionals, given };
}

/** `error` as an `OptionError` where one of the options is what it is about; else itself. */
export function namedByOption(error: unknown, specs: OptionSpecs): unknown {
  if (!(error instanceof TrajportError)) return error;
  const found = Object.entries(specs).find(([, { field }]) => field !== undefined && [field].flat().includes(error.field));
  return found === undefined ? error : new OptionError(`--${found[0]}`, error, (text) => inOptions(text, specs));
}

/** What the library calls its options, as the command line does: names of several words, which no sentence has by chance. */
function inOptions(text: string, specs: OptionSpecs): string {
  return text.replace(/\b[a-z]+(?:[A-Z][a-z]+)+\b/g, (name) => {
    const found = Object.entries(specs).find(([, { field }]) => field !== undefined && [field].flat().includes(name));
    return found === undefined ? name : `--${found[0]}`;
  });
}

function valueOf(shown: string, spec: OptionSpec, text: string | undefined, inline: boolean): unknown {
  if (spec.kind === 'flag') {
    if (inline) throw new UsageError(`${shown} takes no value`);
    return true;
  }
  // `--out --json` is a forgotten value, `--momentum -0.5` a wrong one: the number check says the latter better.
  if (text === undefined || (!inline && /^-(?![\d.])/.test(text) && text !== '-')) {
    throw new UsageError(
      `${shown} needs a value${spec.metavar === undefined ? '' : `: ${shown} ${spec.metavar}`}`,
      // `--target -v2.safetensors`: a file's name, since no option has an ending.
      text !== undefined && namesFile(text) ? `${shown}=${text}` : undefined,
    );
  }
  switch (spec.kind) {
    case 'string':
      if (text === '') throw new UsageError(`${shown} needs a value that is not empty`);
      return text;
    case 'strings':
      return splitList(shown, text);
    case 'integer':
    case 'number':
      return numberOf(shown, text, spec.kind === 'integer', spec.minimum, spec.maximum);
    case 'integers':
    case 'numbers':
      return splitList(shown, text).map((item) => numberOf(shown, item, spec.kind === 'integers', spec.minimum, spec.maximum));
    case 'bytes':
      return bytesOf(shown, text, spec.minimum, spec.maximum);
    case 'choice': {
      if (spec.choices.includes(text)) return text;
      const nearest = nearestName(text, spec.choices);
      throw new UsageError(
        `${shown} is one of ${spec.choices.join(', ')}, not ${JSON.stringify(text)}`,
        nearest === undefined ? undefined : `${shown} ${nearest}`,
      );
    }
  }
}

function splitList(shown: string, text: string): string[] {
  const items = text.split(',').map((item) => item.trim());
  if (items.some((item) => item === '')) throw new UsageError(`${shown} is a list separated by commas, not ${JSON.stringify(text)}`);
  return items;
}

function numberOf(shown: string, text: string, integer: boolean, minimum = -Infinity, maximum = Infinity): number {
  // Decimal notation only: Number() would take '', '0x10' and ' 1 ' too.
  const value = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : NaN;
  const valid = Number.isFinite(value) && (!integer || Number.isSafeInteger(value)) && value >= minimum && value <= maximum;
  if (!valid) {
    const kind = integer ? 'an integer' : 'a number';
    const range =
      minimum > -Infinity && maximum < Infinity
        ? ` from ${minimum} to ${maximum}`
        : minimum > -Infinity
          ? ` of at least ${minimum}`
          : maximum < Infinity
            ? ` of at most ${maximum}`
            : '';
    throw new UsageError(`${shown} is ${kind}${range}, not ${JSON.stringify(text)}`);
  }
  return value;
}

/** Factors of the units that a size may carry: powers of 1000 and of 1024. */
const byteUnits: Readonly<Record<string, number>> = {
  '': 1, b: 1, k: 1024, kb: 1e3, kib: 1024, m: 1024 ** 2, mb: 1e6, mib: 1024 ** 2, g: 1024 ** 3, gb: 1e9, gib: 1024 ** 3,
};

function bytesOf(shown: string, text: string, minimum = 0, maximum = Infinity): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmg]?i?b?)$/i.exec(text);
  const factor = byteUnits[(match?.[2] ?? '?').toLowerCase()];
  const bytes = match === null || factor === undefined ? NaN : Math.floor(Number(match[1]) * factor);
  if (!Number.isSafeInteger(bytes)) throw new UsageError(`${shown} is a size such as 96MiB or 2GB, not ${JSON.stringify(text)}`);
  if (bytes < minimum || bytes > maximum) {
    const range = maximum < Infinity ? `from ${formatBytes(minimum)} to ${formatBytes(maximum)}` : `of at least ${formatBytes(minimum)}`;
    throw new UsageError(`${shown} is a size ${range}, not ${JSON.stringify(text)}`);
  }
  return bytes;
}

function unknownOption(rawName: string, known: readonly string[], given: string): UsageError {
  // `-v2.safetensors` is read as the options v, 2 and so on.
  if (namesFile(given)) return new UsageError(`unknown option ${rawName}`, `./${given}`);
  const bare = rawName.replace(/^-+/, '');
  const nearest = nearestName(bare, known);
  return new UsageError(`unknown option ${rawName}`, nearest === undefined ? undefined : `--${nearest}`);
}

/** Whether what begins with a dash looks like a file: no option has an ending. */
function namesFile(given: string): boolean {
  return /^-[^-=]+[./]/.test(given);
}
