/** An option that would change nothing beside the others is refused: the table of conditions, for every command and every value. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseArguments } from '../../src/cli/arguments.ts';
import type { OptionSpec } from '../../src/cli/arguments.ts';
import { globalOptionsOf } from '../../src/cli/command.ts';
import { requireTakenBeside, takenBeside } from '../../src/cli/taken-options.ts';
import { commands } from '../../src/cli/commands.ts';
import { trajport, writeImageFolder } from './fixtures.ts';

/** Values of an option that is no choice, of both kinds. */
const samples: Readonly<Record<string, readonly string[]>> = {
  data: ['generated:before', 'generated:after', 'images', 'text:file', 'tokens:file'],
  'held-out': ['0', '0.0', '0.1', '0.9'],
};
const valuesOf = (name: string, spec: OptionSpec): readonly string[] =>
  (spec.kind === 'choice' ? spec.choices : (samples[name] as readonly string[]));
const exampleOf = (name: string, spec: OptionSpec): string[] =>
  spec.kind === 'flag'
    ? [`--${name}`]
    : [`--${name}`, spec.kind === 'choice' ? (spec.choices[0] as string) : spec.kind === 'bytes' ? '1MiB' : '1'];

/** Which values of the other option each is for, said anew. */
const expected: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  momentum: { optimiser: ['sgd'] },
  schedule: { trajectory: ['linear'] },
  'gmt-batches': { method: ['gmt', 'all'] },
  'batches-per-step': { method: ['fgmt', 'gmt', 'all'] },
  'micro-batch': { method: ['fgmt', 'gmt', 'all'] },
  'history-budget': { method: ['fgmt', 'gmt', 'oracle', 'all'] },
  freeze: { method: ['fgmt', 'gmt', 'oracle', 'all'] },
  'normalise-terms': { method: ['fgmt', 'gmt', 'oracle'] },
  solver: { method: ['fgmt', 'gmt', 'oracle', 'all'] },
  'max-sweeps': { method: ['fgmt', 'gmt', 'oracle', 'all'] },
  start: { method: ['fgmt', 'gmt'] },
  'oracle-target': { method: ['oracle'] },
  'held-out-seed': { 'held-out': ['0.1', '0.9'] },
  'resume-file': { resume: ['auto', 'new'] },
  'data-seed': { data: ['generated:before', 'generated:after'] },
  'key-frame-every': { coding: ['lossless', 'int8', 'int4'] },
};

describe('the table', () => {
  const cases = commands.flatMap((command) => {
    const specs = { ...command.options, ...globalOptionsOf(command) };
    return Object.entries(takenBeside).flatMap(([name, conditions]) =>
      conditions.flatMap(({ option }) => {
        const [spec, other] = [specs[name], specs[option]];
        return spec === undefined || other === undefined
          ? []
          : valuesOf(option, other).map((value) => ({ command: command.name, specs, name, spec, option, value }));
      }),
    );
  });

  it.each(cases)('$command --$name beside --$option $value', ({ specs, name, spec, option, value }) => {
    const { values } = parseArguments([...exampleOf(name, spec), `--${option}`, value], specs);
    const check = (): void => requireTakenBeside(specs, values);
    if (expected[name]?.[option]?.includes(value) === true) return expect(check).not.toThrow();
    expect(check).toThrow(new RegExp(`^--${name} is for --${option} \\S.*, not for ${Number(value) === 0 ? 0 : value}$`));
    // What was not given is not refused.
    requireTakenBeside(specs, parseArguments([`--${option}`, value], specs).values as Record<string, unknown>);
  });

  it('has every option of the expectation, and each in some command', () => {
    expect(Object.keys(takenBeside).toSorted()).toEqual(Object.keys(expected).toSorted());
    expect([...new Set(cases.map(({ name }) => name))].toSorted()).toEqual(Object.keys(expected).toSorted());
  });

  it('refuses by what stands where the other option is not given, too', () => {
    const specs = commands.find(({ name }) => name === 'transfer')?.options ?? {};
    const refusal = (...args: string[]) => () => requireTakenBeside(specs, parseArguments(args, specs).values as Record<string, unknown>);
    expect(refusal('--oracle-target', 'x')).toThrow('--oracle-target is for --method oracle, not for gmt');
    expect(refusal('--gmt-batches', 'fixed', '--schedule', 'uniform', '--data-seed', '2', '--held-out-seed', '2')).not.toThrow();
  });

  /** These change something whatever else is given, or their command says by itself where not. */
  const always = [
    'demo train-count', 'demo pairs', 'demo base-epochs', 'demo fine-tune-epochs', 'demo learning-rate', 'demo steps',
    'demo batches-per-step',
    'demo iterations', 'demo out-dir', 'demo seed', 'train optimiser', 'train weight-decay', 'train learning-rate-schedule',
    'train held-out',
    'train resume', 'train seed', 'transfer method', 'transfer trajectory', 'transfer resume', 'transfer seed', 'evaluate part',
    'evaluate batch-size',
    'verify seed', 'plan trajectory', 'plan method', 'pack coding', 'convert dtype', 'download to',
  ];
  it('a default, which hides whether an option was given, stands only where every value of it changes something', () => {
    const withDefault = commands.flatMap((command) =>
      Object.entries({ ...command.options, ...globalOptionsOf(command) }).flatMap(([name, spec]) =>
        'default' in spec && spec.default !== undefined ? [`${command.name} ${name}`] : [],
      ),
    );
    expect(withDefault.toSorted()).toEqual(always.toSorted());
  });
});

describe('as commands', () => {
  let directory: string;
  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'trajport-taken-'));
    writeImageFolder(join(directory, 'd'));
    const { code, stderr } = await trajport(
      ['train', '--data', 'd', '--widths', '8', '--epochs', '1', '--out', 'tune.zip', '--final', 'v.safetensors'], { cwd: directory },
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  const port = ['transfer', 'tune.zip', '--target-seed', '2', '--data', 'd', '--out', 'x.safetensors'];
  it.each<[readonly string[], string]>([
    [
      ['train', '--optimiser', 'adamw', '--momentum', '0.1', '--data', 'd', '--final', 'x'],
      '--momentum is for --optimiser sgd, not for adamw',
    ],
    [
      ['train', '--data', 'd', '--data-seed', '7', '--final', 'x'],
      '--data-seed is for --data generated:before, generated:after, not for d',
    ],
    [['train', '--data', 'd', '--checkpoints', '1', '--final', 'x'], '--checkpoints goes with --out FILE'],
    [['train', '--data', 'd', '--checkpoint-iterations', '1', '--final', 'x'], '--checkpoint-iterations goes with --out FILE'],
    [
      ['train', '--data', 'd', '--resume', 'off', '--resume-file', 'p', '--final', 'x'],
      '--resume-file is for --resume auto, new, not for off',
    ],
    [[...port, '--method', 'naive', '--gmt-batches', 'fixed'], '--gmt-batches is for --method gmt, not for naive'],
    [[...port, '--method', 'naive', '--normalise-terms'], '--normalise-terms is for --method fgmt, gmt, oracle, not for naive'],
    [
      [...port, '--method', 'naive', '--batch-size', '8'],
      '--batch-size is for methods that compute gradients, and for networks with batch norm, not for naive',
    ],
    [[...port, '--method', 'fgmt', '--gmt-batches', 'fixed'], '--gmt-batches is for --method gmt, not for fgmt'],
    [[...port, '--trajectory', 'real', '--schedule', 'uniform'], '--schedule is for --trajectory linear, not for real'],
    [[...port, '--statistics-batches', '3'], '--statistics-batches is for networks with batch norm, and this one has none'],
    [['plan', 'tune.zip', '--statistics-batches', '3'], '--statistics-batches is for networks with batch norm'],
    [['plan', 'tune.zip', '--schedul', 'uniform'], 'unknown option --schedul'],
    [['plan', 'tune.zip', '--schedule', 'even'], '--schedule is one of cosine, uniform'],
    [['plan', '--model', 'mlp', '--input', '1,6,6', '--classes', '3', '--to', 'start'], '--to goes with a bundle'],
    [['plan', 'tune.zip', '--from', 'epoch-1'], '--to: expected a checkpoint after "epoch-1"'],
    [['plan', 'tune.zip', '--skip', 'nothing'], '--skip: expected a parameter of the network'],
    [['plan', 'tune.zip', '--data-seed', '3'], '--data-seed goes with --data'],
    [
      ['plan', '--model', 'mlp', '--input', '1,6,6', '--classes', '3', '--train-count', '9'],
      '--train-count goes with --data, not with --input',
    ],
    [['evaluate', 'tune.zip', '--data', 'd', '--seed', '3'], 'unknown option --seed'],
    [['evaluate', 'tune.zip', '--data', 'd', '--train-count', '9'], '--train-count is for --part train, not for test'],
    [['verify', '--model', 'mlp', '--data', 'd', '--train-count', '9'], 'unknown option --train-count'],
    [['verify', '--model', 'mlp', '--data', 'd', '--pixel-maximum', '9'], 'unknown option --pixel-maximum'],
    [['inspect', 'v.safetensors', '--widths', '8'], '--widths is for --model mlp, and no network is named'],
    [['inspect', 'v.safetensors', '--graph', 'tune.zip', '--classes', '3'], '--classes goes with --model'],
    [['convert', 'v.safetensors', 'x.npz', '--input', '1,6,6'], '--input goes with --model'],
    [['convert', 'v.safetensors', 'x.npz', '--verbose', '--json'], '--verbose is for text'],
    [['pack', 'v.safetensors', '--graph', 'tune.zip', '--classes', '3', '--out', 'x.zip'], '--classes goes with --model'],
    [
      ['pack', 'v.safetensors', '--graph', 'tune.zip', '--coding', 'full', '--key-frame-every', '3', '--out', 'x.zip'],
      '--key-frame-every is for --coding lossless, int8, int4, not for full',
    ],
  ])('%j is refused', async (args, message) => {
    expect(await trajport(args, { cwd: directory })).toMatchObject({ code: 2, stderr: expect.stringContaining(message) });
  });

  it('remarks on a schedule by epoch of one epoch', async () => {
    const at = (...more: string[]) =>
      trajport(
        ['train', '--data', 'd', '--widths', '8', '--learning-rate-schedule', 'cosine', '--final', 'c.safetensors', ...more],
        { cwd: directory },
      );
    const note = 'note: --learning-rate-schedule cosine lowers the rate from epoch to epoch, and changes nothing in one\n';
    // 216 images are not held out: 7 batches of 32 an epoch.
    expect((await at('--epochs', '1')).stderr).toBe(note);
    expect((await at('--iterations', '7', '--batch-size', '32')).stderr).toBe(note);
    expect((await at('--iterations', '8', '--batch-size', '32')).stderr).toBe('');
  });
});
