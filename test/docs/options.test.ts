/**
 * docs/options.md, made of the options themselves: what each is called on the command line, in the library and in a request
 * to the fetch handler, and its default in each. `npx vitest run test/docs/options.test.ts --update=all` writes it anew.
 */
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { OptionSpec } from '../../src/cli/arguments.ts';
import { globalOptionsOf } from '../../src/cli/command.ts';
import { commands } from '../../src/cli/commands.ts';
import { readOptions, requestOptionNames } from '../../src/edge/options.ts';
import { formatBytes } from '../../src/report/text.ts';
import { optionNames as evaluateNames } from '../../src/transfer/evaluate.ts';
import { readSettings } from '../../src/transfer/settings.ts';
import { optionNames as trainNames } from '../../src/transfer/train-job.ts';
import { optionNames as transferNames } from '../../src/transfer/transfer-job.ts';
import { root } from '../cli/fixtures.ts';

const camel = (option: string): string => option.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
const code = (text: string): string => (text === '' ? '' : `\`${text}\``);
const line = (...cells: string[]): string => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;

/** By its field, else by its own name in the library's writing; empty where the library has none of the name. */
function libraryName(option: string, { field }: OptionSpec, names: Readonly<Record<string, unknown>>): string {
  const called = [field ?? camel(option)].flat()[0] as string;
  return Object.hasOwn(names, called.split('.')[0] as string) ? called : '';
}

/** The default that a spec has, or that its help tells. */
function defaultOf(spec: OptionSpec): string {
  if (spec.kind === 'flag') return 'off';
  if (spec.default !== undefined) return spec.kind === 'bytes' ? formatBytes(spec.default) : String(spec.default);
  const told = /\bdefault:? ([^()]*)/.exec(spec.help)?.[1];
  if (told !== undefined) return told.trim();
  return /^(.*) \(default\)/.test(spec.help.split(',')[0] ?? '') ? (spec.kind === 'choice' ? (spec.choices[0] as string) : '') : '';
}

const specsOf = (name: string): Readonly<Record<string, OptionSpec>> => {
  const command = commands.find((one) => one.name === name);
  return { ...command?.options, ...globalOptionsOf(command ?? {}) };
};

function transferTable(): string[] {
  const settings = readSettings('gmt', 1, {}, 2) as unknown as Readonly<Record<string, unknown>>;
  // What follows from another choice is told by that.
  const others = readSettings('gmt', 2, { batchSize: 7 }, 2) as unknown as Readonly<Record<string, unknown>>;
  const followed: Readonly<Record<string, string>> = { heldOutSeed: '`seed`', microBatch: '`batchSize`' };
  const requested = readOptions(undefined) as unknown as Readonly<Record<string, unknown>>;
  const shown = (name: string, value: unknown): string => {
    if (value === undefined) return '';
    if (name in followed && value !== others[name]) return followed[name] as string;
    if (typeof value === 'object') return Array.isArray(value) ? 'none' : JSON.stringify(value);
    return name.endsWith('Bytes') ? formatBytes(value as number) : String(value);
  };
  const rows = Object.entries(specsOf('transfer')).flatMap(([option, spec]) => {
    const name = libraryName(option, spec, transferNames);
    if (name === '') return [];
    const field = requestOptionNames.includes(name) ? name : '';
    // These the library does not choose.
    const library = name === 'method' || name === 'seed' ? '' : shown(name, settings[name]);
    return [line(
      code(`--${option}`), code(name), code(field), defaultOf(spec), field === '' ? '' : shown(name, requested[name]) || library, library,
    )];
  });
  return [
    line('option', '`transfer()`', 'request', 'default of `trajport transfer`', 'of a request', 'of `transfer()`'),
    line('---', '---', '---', '---', '---', '---'),
    ...rows,
  ];
}

function commandTable(): string[] {
  const libraries: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
    train: trainNames, transfer: transferNames, plan: transferNames, evaluate: evaluateNames,
  };
  const rows = new Map<string, { option: string; library: string; default: string; of: string[] }>();
  for (const { name } of commands) {
    for (const [option, spec] of Object.entries(specsOf(name))) {
      const row = { option, library: libraryName(option, spec, libraries[name] ?? {}), default: defaultOf(spec) };
      const key = JSON.stringify([row.option, row.default]);
      const found = rows.get(key);
      if (found === undefined) rows.set(key, { ...row, of: [name] });
      else rows.set(key, { ...found, library: found.library || row.library, of: [...found.of, name] });
    }
  }
  const everywhere = (of: readonly string[]): string => (of.length === commands.length ? 'all' : of.join(', '));
  return [
    line('option', 'of', 'library', 'default'),
    line('---', '---', '---', '---'),
    ...[...rows.values()].toSorted((a, b) => (a.option < b.option ? -1 : a.option > b.option ? 1 : 0)).map((row) => line(
      code(`--${row.option}`), everywhere(row.of), code(row.library), row.default,
    )),
  ];
}

it('docs/options.md is what the options say', async () => {
  const text = [
    '# Options by all their names',
    '',
    'Made of the options themselves by `npx vitest run test/docs/options.test.ts --update=all`, which without `--update`',
    'checks it. What each does, `trajport COMMAND --help` says.',
    '',
    '## Of a transfer, on the command line, in the library and in a request to the fetch handler',
    'An empty default: there is none, or nothing is done without the option. Where the record of the training of the source',
    'names what was held out and by which loss, share, seed and loss are those instead, through each door.',
    '',
    ...transferTable(),
    '',
    'A request without a bundle has `normalisation` besides, `{ mean, std }`: `--pixel-mean` and `--pixel-std` of `trajport pack`.',
    '',
    '## All options of the command line',
    ...commandTable(),
    '',
  ].join('\n');
  await expect(text).toMatchFileSnapshot(join(root, 'docs', 'options.md'));
});

it('every field of a request, and every choice of a transfer, has an option', () => {
  const names = Object.entries(specsOf('transfer')).map(([option, spec]) => libraryName(option, spec, transferNames));
  // Of `pack` on the command line, and two options there.
  expect(requestOptionNames.filter((name) => !names.includes(name))).toEqual(['normalisation']);
});
