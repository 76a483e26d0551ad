/** Ranges of options: whatever number is given, what refuses it names the option and ends with 2, be it the command line or the library. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { namedByOption } from '../../src/cli/arguments.ts';
import type { OptionSpec } from '../../src/cli/arguments.ts';
import { globalOptionsOf } from '../../src/cli/command.ts';
import { OptionError, UsageError, exitCodeOf } from '../../src/cli/exit.ts';
import { choiceNames, readSettings } from '../../src/transfer/settings.ts';
import { commands } from '../../src/cli/commands.ts';
import { jsonLines, trajport, writeImageFolder } from './fixtures.ts';

type Numeric = Extract<OptionSpec, { readonly kind: 'integer' | 'integers' | 'number' | 'numbers' | 'bytes' }>;
const isNumeric = (spec: OptionSpec): spec is Numeric => ['integer', 'integers', 'number', 'numbers', 'bytes'].includes(spec.kind);
const nameOf = ({ field }: Numeric): string => [field ?? ''].flat()[0] as string;
const numeric = commands.flatMap((command) =>
  Object.entries({ ...command.options, ...globalOptionsOf(command) }).flatMap(([option, spec]): [string, string, Numeric][] =>
    isNumeric(spec) ? [[command.name, option, spec]] : [],
  ),
);

let directory: string;
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'trajport-ranges-'));
  writeImageFolder(join(directory, 'a'));
  const { code, stderr } = await trajport(
    ['train', '--data', 'a', '--widths', '8', '--epochs', '1', '--held-out', '0.2', '--out', 'tune.zip'],
    { cwd: directory },
  );
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('options of numbers', () => {
  it.each(numeric)('%s --%s ends where it says, or is known by the name that the library has for it', (_command, _option, spec) => {
    expect(spec.kind === 'bytes' || spec.minimum !== undefined).toBe(true);
    expect(spec.maximum !== undefined || spec.field !== undefined).toBe(true);
  });

  // What readSettings takes is what transfer and plan take.
  const settings = numeric.filter(
    ([command, , spec]) => (command === 'transfer' || command === 'plan') && Object.hasOwn(choiceNames, nameOf(spec)),
  );
  it.each(settings)('%s --%s has the range of the library', (command, option, spec) => {
    const options = commands.find(({ name }) => name === command)?.options ?? {};
    const read = (value: number): unknown => {
      try {
        readSettings('gmt', 1, { [nameOf(spec)]: value }, 100_000);
        return 'taken';
      } catch (error) {
        return namedByOption(error, options);
      }
    };
    const [least, most] = [spec.minimum ?? 0, spec.maximum ?? Number.MAX_SAFE_INTEGER];
    expect([read(least), read(most)]).toEqual(['taken', 'taken']);
    for (const beyond of [least - 1, ...(spec.maximum === undefined ? [] : [most + 1])]) {
      // Of seeds the library takes larger ones than the command line.
      if (nameOf(spec) === 'heldOutSeed' && beyond > most) continue;
      const error = read(beyond);
      expect(error).toBeInstanceOf(OptionError);
      expect({ option: (error as OptionError).option, code: exitCodeOf(error) }).toEqual({ option: `--${option}`, code: 2 });
    }
  });
  it('finds those settings', () => expect(settings.length).toBe(16));
});

describe('a number out of range', () => {
  const port = ['transfer', 'tune.zip', '--target-seed', '2', '--data', 'a', '--out', 'x.safetensors'];
  it.each<[readonly string[], string]>([
    [[...port, '--batches-per-step', '1000000'], '--batches-per-step is an integer from 1 to 10000, not "1000000"'],
    [[...port, '--statistics-batches', '10001'], '--statistics-batches is an integer from 1 to 10000'],
    [[...port, '--batch-size', '3000000000'], '--batch-size: expected an integer in [1, 2147483647]'],
    [['plan', 'tune.zip', '--batches-per-step', '1000000'], '--batches-per-step is an integer from 1 to 10000'],
    [['demo', '--batches-per-step', '10001'], '--batches-per-step is an integer from 1 to 10000'],
    [['demo', '--train-count', '1000000000'], '--train-count: expected an integer in [1, '],
    [['train', '--train-count', '1000000000', '--final', 'x.safetensors'], '--train-count: expected an integer in [1, '],
    [['train', '--data', 'a', '--classes', '300', '--final', 'x.safetensors'], '--classes is at most 256 for images'],
    [
      ['train', '--data', 'a', '--batch-size', '3000000000', '--final', 'x.safetensors'],
      '--batch-size: expected an integer in [1, 2147483647]',
    ],
    // What it advises is an option too.
    [
      [...port, '--held-out', '0.9'],
      "--held-out: expected at most 0.2, what the source's training held out of these data (it has seen the others; another " +
      "--held-out-seed draws from all), got 0.9",
    ],
  ])('%j', async (args, message) => {
    const { code, stderr } = await trajport(args, { cwd: directory });
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining(message) });
    const [option] = /^--[a-z-]+/.exec(message) as unknown as [string];
    expect(jsonLines((await trajport([...args, '--json'], { cwd: directory })).stdout).at(-1)).toMatchObject({
      event: 'error',
      option,
      exitCode: 2,
    });
  });

  it('is of the command line where that has its range', () => expect(exitCodeOf(new UsageError('--steps is an integer'))).toBe(2));
});
