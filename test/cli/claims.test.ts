/** No command replaces what it reads, by whichever name or link, nor writes two outputs into one file. */
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { jsonLines, trajport, writeImageFolder } from './fixtures.ts';

let directory: string;
const path = (name: string): string => join(directory, name);
const run = (...args: string[]) => trajport(args, { cwd: directory });

/** SHA-256 of every file there is, by its path. */
function everything(): Record<string, string> {
  const names = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => !entry.isDirectory());
  const hash = (file: string): string => createHash('sha256').update(readFileSync(file)).digest('hex');
  return Object.fromEntries(names.map(({ parentPath, name }) => [join(parentPath, name), hash(join(parentPath, name))]));
}

const gpt2 = ['--model', 'gpt2', '--width', '8', '--depth', '1', '--context', '8', '--iterations', '1', '--final'];

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'trajport-claims-'));
  writeImageFolder(path('a'));
  writeFileSync(path('corpus.txt'), 'the quick brown fox jumps over the lazy dog. '.repeat(40));
  writeFileSync(path('ids'), new Uint8Array(Uint16Array.from({ length: 400 }, (_, i) => i % 20).buffer));
  copyFileSync(path('ids'), path('ids.bin'));
  expect(
    (await run('train', '--data', 'a', '--widths', '4', '--iterations', '3', '--out', 'fine.zip', '--final', 'real.safetensors')).code,
  ).toBe(0);
  for (const copy of ['graph', 'p.previous']) copyFileSync(path('fine.zip'), path(copy));
  symlinkSync('real.safetensors', path('link.safetensors'));
  linkSync(path('real.safetensors'), path('hard.safetensors'));
  mkdirSync(path('out'));
  copyFileSync(path('fine.zip'), path('out/v1-fine-tune.trajectory.zip'));
  // A model in parts whose part has the name that the first part of another model gets.
  expect((await run('convert', 'real.safetensors', 'tf/group1.json')).code).toBe(0);
  copyFileSync(path('tf/group1.json'), path('tf/model.json'));
  rmSync(path('tf/group1.json'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

it.each([
  ['a text', ['train', '--data', 'text:corpus.txt', ...gpt2, 'corpus.txt'], '--final corpus.txt'],
  ['a file of tokens', ['train', '--data', 'tokens:ids', '--classes', '20', ...gpt2, 'ids'], '--final ids'],
  ['a vocabulary', ['train', '--data', 'text:corpus.txt', '--vocabulary', 'ids', ...gpt2, 'ids'], '--final ids'],
  ['a vocabulary of a transfer', ['transfer', 'fine.zip', '--target-seed', '1', '--vocabulary', 'ids', '--record', 'ids'], '--record ids'],
  ['images', ['train', '--data', 'a', '--final', 'a/train-labels-idx1-ubyte.gz'], '--final a/train-labels-idx1-ubyte.gz'],
  ['a network', ['train', '--data', 'a', '--graph', 'graph', '--final', 'graph'], '--final graph'],
  [
    "a network in the demo's folder",
    ['demo', '--graph', 'out/v1-fine-tune.trajectory.zip', '--train-count', '100'],
    '--out-dir out/v1-fine-tune.trajectory.zip',
  ],
  ['a file by its link', ['convert', 'link.safetensors', 'real.safetensors'], 'OUT real.safetensors'],
  ['a file through a link', ['convert', 'real.safetensors', 'link.safetensors'], 'OUT link.safetensors'],
  ['a file by another of its names', ['convert', 'real.safetensors', 'hard.safetensors'], 'OUT hard.safetensors'],
  [
    'a part',
    ['train', '--data', 'a', '--widths', '4', '--initial', 'tf/model.json', '--final', 'tf/group1-shard1of1.bin', '--out', 'o.zip'],
    'group1-shard1of1.bin',
  ],
  ['a part by a part', ['convert', 'tf/model.json', 'tf/group1.json'], 'a part of OUT tf/group1.json, tf/group1-shard1of1.bin'],
  [
    'a bundle by the resume point',
    [
      'transfer',
      'fine.zip',
      '--target',
      'real.safetensors',
      '--data',
      'a',
      '--method',
      'naive',
      '--resume',
      'new',
      '--resume-file',
      'fine.zip',
      '--out',
      'o.safetensors',
    ],
    '--resume-file fine.zip',
  ],
  [
    'a bundle by the resume point before the newest',
    ['transfer', 'p.previous', '--target-seed', '1', '--data', 'a', '--resume', 'new', '--resume-file', 'p', '--out', 'o.safetensors'],
    'p.previous is an input',
  ],
  [
    'a checkpoint of a folder',
    ['pack', '.', '--model', 'mlp', '--widths', '4', '--input', '1,6,6', '--classes', '10', '--out', 'real.safetensors'],
    '--out real.safetensors',
  ],
])('refuses to replace %s that the same command reads', async (_name, args, named) => {
  const before = everything();
  const { code, stderr } = await run(...args);
  expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining(named) });
  expect(everything()).toEqual(before);
});

it('locks the file itself, by whichever link it is named', async () => {
  symlinkSync('.', path('here'));
  writeFileSync(path('real.safetensors.lock'), JSON.stringify({ pid: process.pid, host: hostname(), started: '' }));
  for (const name of ['real.safetensors', 'link.safetensors', 'here/real.safetensors']) {
    const { code, stdout } = await run('train', '--data', 'a', '--widths', '4', '--iterations', '1', '--final', name, '--json');
    expect({ code, field: jsonLines(stdout).at(-1)?.['field'] }).toEqual({ code: 75, field: name });
  }
  rmSync(path('real.safetensors.lock'));
  const doubled = await run('train', '--data', 'a', '--widths', '4', '--iterations', '1', '--out', 'o', '--final', 'here/o');
  expect(doubled).toMatchObject({ code: 2, stderr: expect.stringContaining('here/o is named for two outputs') });
  rmSync(path('here'));
  expect(existsSync(path('o'))).toBe(false);
});

it('locks one future output once, by whichever of its links it is named, and writes through them', async () => {
  mkdirSync(path('later'));
  for (const name of ['one.safetensors', 'two.safetensors']) symlinkSync('later/new.safetensors', path(name));
  writeFileSync(path('later/new.safetensors.lock'), JSON.stringify({ pid: process.pid, host: hostname(), started: '' }));
  for (const name of ['one.safetensors', 'two.safetensors']) expect((await run('convert', 'real.safetensors', name)).code).toBe(75);
  rmSync(path('later/new.safetensors.lock'));
  const doubled = await run(
    'train', '--data', 'a', '--widths', '4', '--iterations', '1', '--final', 'one.safetensors', '--resume-file', 'two.safetensors',
  );
  expect(doubled).toMatchObject({ code: 2, stderr: expect.stringContaining('two.safetensors is named for two outputs') });
  expect(await run('convert', 'real.safetensors', 'one.safetensors')).toMatchObject({ code: 0, stderr: '' });
  expect(readdirSync(path('later'))).toEqual(['new.safetensors']);
  expect(lstatSync(path('one.safetensors')).isSymbolicLink()).toBe(true);
  for (const name of ['one.safetensors', 'two.safetensors', 'later']) rmSync(path(name), { recursive: true });
});

it.each([
  ['an output', ['--out', 'o.zip', '--final', 'o.zip.lock']],
  ['resume points', ['--out', 'o.zip', '--resume-file', 'o.zip.lock']],
])('refuses %s in place of the lock of another', async (_, outputs) => {
  const before = everything();
  expect(await run('train', '--data', 'a', '--widths', '4', '--iterations', '1', ...outputs)).toMatchObject({
    code: 2, stderr: 'error: o.zip.lock is the lock of another output of the same command\n',
  });
  expect(everything()).toEqual(before);
});

it('writes beside what it reads, and over what it wrote before', async () => {
  mkdirSync(path('run'));
  copyFileSync(path('real.safetensors'), path('run/1.safetensors'));
  for (let time = 0; time < 2; time++) {
    expect(await run('pack', 'run', '--graph', 'fine.zip', '--out', 'run/x.zip')).toMatchObject({ code: 0 });
    expect(await run('convert', 'real.safetensors', 'tf/other.json')).toMatchObject({ code: 0, stderr: '' });
  }
});

it('makes the folders on the way to a resume point, and refuses one in place of another file', async () => {
  const training = ['train', '--data', 'a', '--widths', '4', '--iterations', '2', '--final', 'f.safetensors'];
  expect(await run(...training, '--resume-file', 'no/such/p')).toMatchObject({ code: 0, stderr: '' });
  const before = everything();
  for (const how of ['new', 'auto']) expect((await run(...training, '--resume', how, '--resume-file', 'corpus.txt')).code).toBe(3);
  expect(everything()).toEqual(before);
});

it('finds out before a demo that one of its files cannot be written', async () => {
  mkdirSync(path('taken/v2-naive.safetensors'), { recursive: true });
  const { code, stdout, stderr } = await run('demo', '--out-dir', 'taken', '--train-count', '100', '--pairs', '1');
  expect({ code, stdout, stderr }).toEqual({
    code: 3,
    stdout: '',
    stderr: expect.stringContaining('v2-naive.safetensors: is a directory, where a file is to be written'),
  });
});
