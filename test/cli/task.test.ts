/** Which data a bundle's task is: what is taken where --data is forgotten, and what is said where it is another. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { preset } from '../../src/index.ts';
import { jsonLines, trajport, writeImageFolder } from './fixtures.ts';

let directory: string;
const run = (...args: string[]) => trajport(args, { cwd: directory });
const few = ['--train-count', '200'];

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'trajport-task-'));
  writeImageFolder(join(directory, 'a'));
  writeImageFolder(join(directory, 'b'), { shift: 2 });
  writeFileSync(join(directory, 'words.txt'), 'so many words so few letters '.repeat(40));
  const made = [
    await run(
      'train', '--data', 'generated:after', ...few, '--widths', '16', '--epochs', '1', '--out', 'glyphs.zip', '--final',
      'glyphs.safetensors',
    ),
    await run(
      'train', '--data', 'a', '--widths', '16', '--epochs', '3', '--batch-size', '16', '--learning-rate', '0.1', '--out',
      'folder.zip', '--final', 'folder.safetensors',
    ),
    await run(
      'train', '--data', 'text:words.txt', '--model', 'gpt2', '--width', '16', '--depth', '1', '--heads', '2', '--context', '8',
      '--iterations', '2', '--out', 'words.zip', '--final', 'words.safetensors',
    ),
    await run(
      'train', '--data', 'generated:after', ...few, '--widths', '16', '--epochs', '1', '--seed', '2', '--final', 'later.safetensors',
    ),
    await run('pack', 'glyphs.safetensors', 'later.safetensors', '--graph', 'glyphs.zip', '--out', 'packed.zip'),
  ];
  for (const { code, stderr } of made) expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('without --data', () => {
  it('takes the built-in task that the bundle was trained on', async () => {
    const port = async (...more: string[]) =>
      (jsonLines(
        (await run(
          'transfer', 'glyphs.zip', '--target-seed', '2', ...few, '--method', 'naive', '--stop-rule', 'last', '--out',
          'p.safetensors', '--json', ...more,
        )).stdout,
      ).at(-1) as { test: object }).test;
    expect(await port()).toEqual(await port('--data', 'generated:after'));
    for (const weights of [['glyphs.zip'], ['glyphs.safetensors', '--graph', 'glyphs.zip']]) {
      const { stdout, stderr } = await run('evaluate', ...weights, ...few, '--json');
      expect({ stderr, data: jsonLines(stdout)[0]?.['data'] }).toEqual({ stderr: '', data: 'glyphs-after-test' });
    }
    const trained = await run('train', '--graph', 'glyphs.zip', ...few, '--iterations', '1', '--final', 'on.safetensors');
    expect(trained.stdout).toContain('glyphs-after-train');
  });

  it.each<[string, readonly string[], string]>([
    [
      'transfer',
      ['transfer', 'folder.zip', '--target-seed', '2', '--out', 'x.safetensors'],
      'folder.zip was not trained on generated:before or generated:after as drawn here: give --data DIR, or the --train-count of its ' +
      'training',
    ],
    ['evaluate', ['evaluate', 'folder.zip'], 'give --data DIR'],
    ['train', ['train', '--graph', 'folder.zip', '--iterations', '1', '--final', 'x.safetensors'], 'give --data DIR'],
    [
      'transfer of a packed bundle',
      ['transfer', 'packed.zip', '--target-seed', '2', '--out', 'x.safetensors'],
      'packed.zip does not say what it was trained on: give --data DIR',
    ],
    ['evaluate a packed bundle', ['evaluate', 'packed.zip'], 'packed.zip does not say what it was trained on: give --data DIR'],
    [
      'train on with a packed network',
      ['train', '--graph', 'packed.zip', '--iterations', '1', '--final', 'x.safetensors'],
      'packed.zip does not say what it was trained on',
    ],
    [
      'a language model',
      ['evaluate', 'words.safetensors', '--graph', 'words.zip'],
      'words.zip reads tokens: give --data text:PATH or tokens:FILE',
    ],
  ])('refuses to guess: %s', async (_, args, message) => {
    const { code, stderr } = await run(...args);
    expect({ code, stderr, wrote: existsSync(join(directory, 'x.safetensors')) }).toEqual({
      code: 2,
      stderr: expect.stringContaining(message),
      wrote: false,
    });
  });
});

it('remarks on other data than the source was trained on, and on a port that keeps the target as it was', async () => {
  const port = (...more: string[]) =>
    run('transfer', 'folder.zip', '--target', 'folder.safetensors', '--method', 'naive', '--out', 'q.safetensors', ...more);
  const right = await port('--data', 'a', '--stop-rule', 'last');
  expect({ code: right.code, stderr: right.stderr }).toEqual({ code: 0, stderr: '' });
  // The whole update once more on what it made: the target is the best that there is.
  const { code, stdout, stderr } = await port('--data', 'b', '--json');
  expect({ code, kept: jsonLines(stdout).at(-1)?.['chosenStep'] }).toEqual({ code: 0, kept: 0 });
  const notes = stderr.trimEnd().split('\n');
  expect(notes[0]).toMatch(/^note: folder\.zip was trained on other data than the 240 images of b: /);
  expect(notes[1]).toMatch(/^note: the source is right about as often as by chance/);
  expect(notes.at(-1)).toMatch(/^note: step 0 is kept: no step scored better than the target itself/);
});

describe('what images were normalised by', () => {
  const normalised = ['--pixel-mean', '0.25', '--pixel-std', '0.125'];
  const loss = async (...args: string[]) => {
    const { code, stdout, stderr } = await run('evaluate', ...args, '--data', 'a', '--json');
    return { code, stderr, loss: jsonLines(stdout).at(-1)?.['loss'] };
  };

  it('a bundle that was trained on them, or packed with it, tells to every command on it', async () => {
    const on = ['--data', 'a', '--widths', '16', '--epochs', '1', ...normalised];
    const trained = await run('train', ...on, '--out', 'normal.zip', '--final', 'normal.safetensors');
    expect({ code: trained.code, stderr: trained.stderr }).toEqual({ code: 0, stderr: '' });
    expect(
      await run('pack', 'folder.safetensors', 'normal.safetensors', '--graph', 'folder.zip', ...normalised, '--out', 'normal-packed.zip'),
    ).toMatchObject({ code: 0 });
    const expected = await loss('normal.safetensors', '--model', 'mlp', '--widths', '16', ...normalised);
    expect(expected).toEqual({ code: 0, stderr: '', loss: expect.any(Number) });
    expect(await loss('normal.zip')).toEqual(expected);
    for (const bundle of ['normal.zip', 'normal-packed.zip']) expect(await loss('normal.safetensors', '--graph', bundle)).toEqual(expected);
    expect((await loss('normal.safetensors', '--graph', 'folder.zip')).loss).not.toBe(expected.loss);
    // A network of vectors tells no channels.
    writeFileSync(join(directory, 'flat.json'), JSON.stringify(preset('mlp', { input: [36], widths: [16], classes: 3 })));
    const flat = ['pack', 'folder.safetensors', 'normal.safetensors', '--graph', 'flat.json', ...normalised, '--out', 'flat.zip'];
    expect(await run(...flat)).toMatchObject({ code: 0 });
    expect(await loss('normal.safetensors', '--graph', 'flat.zip')).toEqual(expected);

    const onward = await run(
      'train', '--graph', 'normal.zip', '--initial', 'normal.safetensors', '--data', 'a', '--iterations', '1', '--out', 'onward.zip',
    );
    expect({ code: onward.code, stderr: onward.stderr }).toEqual({ code: 0, stderr: '' });
    expect(await loss('normal.safetensors', '--graph', 'onward.zip')).toEqual(expected);
    const port = async (...more: string[]) => {
      const { code, stdout, stderr } = await run(
        'transfer', 'normal.zip', '--target', 'folder.safetensors', '--data', 'a', '--batch-size', '16', '--steps', '2', '--out',
        'p.safetensors', '--json', ...more,
      );
      return { code, stderr, sha256: jsonLines(stdout).at(-1)?.['sha256'] };
    };
    const ported = await port(...normalised);
    expect(ported).toEqual({ code: 0, stderr: '', sha256: expect.stringMatching(/^[0-9a-f]{64}$/) });
    expect(await port()).toEqual(ported);
  });

  it('another by hand is remarked on, or by a transfer refused; one number of two, and one of text, are refused', async () => {
    const other = await loss('normal.zip', '--pixel-mean', '0.5', '--pixel-std', '0.5');
    expect(other).toMatchObject({
      code: 0,
      stderr: 'note: normal.zip is of images normalised by --pixel-mean 0.25 --pixel-std 0.125, not as asked for here\n',
    });
    const port = ['transfer', 'normal.zip', '--target', 'folder.safetensors', '--data', 'nosuch', '--out', 'q.safetensors'];
    expect(await run(...port, '--pixel-mean', '0.5', '--pixel-std', '0.5')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--pixel-std 0.125, not as asked for here; without these options its own are taken'),
    });
    expect(await run('evaluate', 'normal.zip', '--data', 'a', '--pixel-mean', '0.5')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('give --pixel-std too'),
    });
    expect(await run('evaluate', 'words.zip', '--data', 'text:words.txt', ...normalised)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--pixel-mean is for images'),
    });
    expect(await run('evaluate', 'glyphs.zip', ...normalised)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--pixel-mean is for folders of images'),
    });
    const misfit = await run(
      'pack', 'folder.safetensors', '--graph', 'folder.zip', '--pixel-mean', '0.5,0.5,0.5', '--pixel-std', '0.5', '--out', 'misfit.zip',
    );
    expect(misfit).toMatchObject({ code: 2, stderr: expect.stringContaining('--pixel-mean: expected one number, for one channel, got 3') });
  });
});
