/** Reading options: defaults, types, ranges, the sentence each mistake gets. */
import { describe, expect, it } from 'vitest';
import { parseArguments } from '../../src/cli/arguments.ts';
import type { OptionSpecs } from '../../src/cli/arguments.ts';
import { UsageError } from '../../src/cli/exit.ts';

const specs = {
  out: { kind: 'string', metavar: 'FILE', help: '' },
  epochs: { kind: 'integer', minimum: 1, maximum: 100, default: 10, help: '' },
  momentum: { kind: 'number', minimum: 0, default: 0.9, help: '' },
  widths: { kind: 'integers', minimum: 1, default: [512, 512], help: '' },
  budget: { kind: 'bytes', help: '' },
  method: { kind: 'choice', choices: ['naive', 'fgmt', 'gmt', 'oracle'], default: 'gmt', help: '' },
  skip: { kind: 'strings', help: '' },
  json: { kind: 'flag', short: 'j', help: '' },
} as const satisfies OptionSpecs;

const parse = (...argv: string[]) => parseArguments(argv, specs);

function refusal(...argv: string[]): UsageError {
  try {
    parse(...argv);
  } catch (error) {
    if (error instanceof UsageError) return error;
    throw error;
  }
  throw new Error(`${argv.join(' ')} was accepted`);
}

describe('arguments', () => {
  it('fills in defaults and types values', () => {
    const { values, positionals } = parse();
    expect(values).toEqual({ epochs: 10, momentum: 0.9, widths: [512, 512], method: 'gmt', json: false });
    expect(positionals).toEqual([]);
    const given = parse(
      'a.zip', '--out', 'x', '--epochs=3', '--momentum', '.5', '--widths', '64,32', '-j', '--skip', 'head, stem', '--', '--b.zip',
    );
    expect(given.values).toEqual({
      out: 'x',
      epochs: 3,
      momentum: 0.5,
      widths: [64, 32],
      method: 'gmt',
      json: true,
      skip: ['head', 'stem'],
    });
    expect(given.positionals).toEqual(['a.zip', '--b.zip']);
  });

  it('reads sizes in powers of 1000 and of 1024', () => {
    const sizes = { '96MiB': 96 * 2 ** 20, '2GB': 2e9, '1.5k': 1536, 4096: 4096, '10 MB': 1e7 };
    for (const [text, bytes] of Object.entries(sizes)) expect(parse('--budget', text).values.budget).toBe(bytes);
    for (const text of ['', 'many', '-1', '1e9', '96 Mibit', '99999999999G'])
      expect(refusal(`--budget=${text}`).message).toContain('--budget');
  });

  it('refuses what it does not know and suggests the nearest', () => {
    expect(refusal('--epoch', '3').suggestion).toBe('--epochs');
    expect(refusal('--momnetum', '3').suggestion).toBe('--momentum');
    expect(refusal('--frobnicate').suggestion).toBeUndefined();
    expect(refusal('--method', 'gtm').suggestion).toBe('--method gmt');
    expect(refusal('-x').message).toBe('unknown option -x');
    expect(refusal('-v2.safetensors').suggestion).toBe('./-v2.safetensors');
    expect(refusal('--out', '-v2.safetensors').suggestion).toBe('--out=-v2.safetensors');
    expect(refusal('--out', '--epochs').suggestion).toBeUndefined();
    expect(parse('--out=-v2.safetensors').values.out).toBe('-v2.safetensors');
    for (const name of ['--constructor', '--__proto__', '--toString']) expect(refusal(name).message).toContain(name);
  });

  it.each([
    [['--epochs', '0'], '--epochs is an integer from 1 to 100, not "0"'],
    [['--epochs', '1.5'], '--epochs is an integer from 1 to 100, not "1.5"'],
    [['--epochs', '0x10'], '--epochs is an integer'],
    [['--epochs='], '--epochs is an integer'],
    [['--epochs'], '--epochs needs a value'],
    [['--out', '--json'], '--out needs a value: --out FILE'],
    [['--out='], '--out needs a value that is not empty'],
    [['--momentum', '-0.5'], '--momentum is a number of at least 0, not "-0.5"'],
    [['--momentum', 'NaN'], '--momentum is a number'],
    [['--momentum', '1e999'], '--momentum is a number'],
    [['--widths', '512,,512'], '--widths is a list separated by commas'],
    [['--json=yes'], '--json takes no value'],
    [['--epochs', '3', '--epochs', '4'], '--epochs is given twice'],
  ])('%j is refused in a sentence', (argv, message) => {
    expect(refusal(...argv).message).toContain(message);
  });
});
