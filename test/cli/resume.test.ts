// Long jobs from the command line: interrupted, locked, refused, resumed. Kills and disk faults: test/survival.
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { encodeResumePoint } from '../../src/transfer/resume.ts';
import { jsonLines, trajport, writeImageFolder } from './fixtures.ts';

let directory: string;
const path = (name: string): string => join(directory, name);
const run = (args: readonly string[], signal?: { name: NodeJS.Signals; afterMs: number }) =>
  trajport(args, { cwd: directory, ...(signal === undefined ? {} : { signal }) });
const sha256 = (name: string): string => createHash('sha256').update(readFileSync(path(name))).digest('hex');
const EPOCHS = 60;
const trainingOf = (epochs: number, out: string, ...more: string[]): string[] =>
  ['train', '--data', 'a', '--widths', '64', '--batch-size', '16', '--epochs', `${epochs}`, '--out', out, '--json', ...more];
const training = (out: string, ...more: string[]): string[] => trainingOf(EPOCHS, out, ...more);
const leftovers = (): string[] => readdirSync(directory).filter((name) => name !== 'a' && name !== 'whole.zip');
let whole: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'trajport-resume-'));
  writeImageFolder(path('a'));
  expect((await run(training('whole.zip'))).code).toBe(0);
  whole = sha256('whole.zip');
});
beforeEach(() => {
  for (const name of leftovers()) rmSync(path(name), { recursive: true });
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Interrupts a training once its first point is there, so that the test does not depend on the machine's speed. */
async function interrupted(out: string, name: NodeJS.Signals): Promise<Awaited<ReturnType<typeof run>>> {
  for (let afterMs = 400; ; afterMs += 200) {
    const finished = await run(training(out), { name, afterMs });
    if (finished.code === 0) throw new Error(`finished before ${name}`);
    if (existsSync(path(`${out}.resume`))) return finished;
  }
}

it('SIGINT leaves a resume point; the same command goes on and ends with the same bytes', async () => {
  const { code, stdout, stderr } = await interrupted('out.zip', 'SIGINT');
  expect(code).toBe(130);
  const [done] = /\d+(?= iterations done)/.exec(stderr) ?? [];
  const message = `interrupted; out.zip.resume holds ${done} iterations done; the same command goes on from there`;
  const resume = { file: 'out.zip.resume', done: Number(done) };
  expect(jsonLines(stdout).at(-1)).toMatchObject({ event: 'error', message, exitCode: 130, resume });
  expect(stderr).toMatch(/interrupted; out\.zip\.resume holds \d+ iterations done; the same command goes on from there/);
  expect(leftovers().filter((name) => !name.startsWith('out.zip.resume'))).toEqual([]);
  const again = await run(training('out.zip'));
  expect(again.code).toBe(0);
  const continued = jsonLines(again.stdout).find(({ event }) => event === 'continued');
  expect(continued).toMatchObject({ total: EPOCHS * 14, file: 'out.zip.resume' });
  expect(stderr).toContain(`holds ${String(continued?.['done'])} iterations done`);
  expect(sha256('out.zip')).toBe(whole);
  expect(leftovers()).toEqual(['out.zip']);
});

it('other settings are refused and say what differs; --resume new starts over', async () => {
  const { code, stdout } = await interrupted('out.zip', 'SIGTERM');
  expect([code, jsonLines(stdout).at(-1)]).toMatchObject([143, { event: 'error', exitCode: 143 }]);
  const other = await run(training('out.zip', '--learning-rate', '0.05', '--held-out', '0.2'));
  expect(other.code).toBe(3);
  expect(other.stderr).toContain(
    "error: out.zip.resume: holds another job's resume point: --learning-rate 0.01 → 0.05, --held-out 0.1 → 0.2\n",
  );
  expect(jsonLines(other.stdout).at(-1)).toMatchObject({
    error: 'InvalidArgumentError',
    code: 'invalid-argument',
    field: expect.stringMatching(/^resume\.settings\./),
  });
  expect(other.stderr).toContain('--resume new starts over');
  // What follows from other settings is not laid to an option that nobody gave: iterations from epochs and batches.
  const batches = await run(training('out.zip').map((arg, i, args) => (args[i - 1] === '--batch-size' ? '32' : arg)));
  expect(batches.stderr).toContain("resume point: --batch-size 16 → 32\n");
  expect((await run(training('out.zip', '--seed', '9'))).stderr).toMatch(/resume point: --seed \d+ → 9\n/);
  const fresh = await run(training('out.zip', '--resume', 'new'));
  expect(jsonLines(fresh.stdout).filter(({ event }) => event === 'continued')).toEqual([]);
  expect(sha256('out.zip')).toBe(whole);
});

it('calls what differs in a transfer by its options, and the micro-batch that is the batch by none; files by the paths that were ' +
  'given', async () => {
  const settings = { seed: 1, heldOutSeed: 1, steps: 10, batchSize: 64, microBatch: 64, method: 'fgmt', gmtBatches: 'fresh' };
  writeFileSync(
    path('p.safetensors.resume'),
    await encodeResumePoint({ kind: 'transfer', settings, inputs: {} }, { done: 3, facts: {}, arrays: new Map() }),
  );
  const { code, stderr } = await run([
    'transfer',
    'whole.zip',
    '--target-seed',
    '2',
    '--data',
    'a',
    '--method',
    'fgmt',
    '--steps',
    '4',
    '--out',
    path('p.safetensors'),
  ]);
  expect(code).toBe(3);
  expect(stderr).toContain(`error: ${path('p.safetensors.resume')}: holds another job's resume point: --steps 10 → 4, `);
  expect(stderr).toContain(', --batch-size 64 → 128, ');
  expect(stderr).toContain('another --data, another start of the trajectory, another end of the trajectory, another target');
  expect(stderr).not.toMatch(/micro|settings\.|inputs\./);
  writeFileSync(path('p.safetensors.resume'), Buffer.concat([Buffer.from('TRJPNT01'), Buffer.alloc(90)]));
  const damaged = await run(['transfer', 'whole.zip', '--target-seed', '2', '--data', 'a', '--method', 'naive', '--out', 'p.safetensors']);
  expect(damaged).toMatchObject({
    code: 3,
    stderr: expect.stringMatching(
      /error: p\.safetensors\.resume: expected at least one whole resume point, got 1 damaged\n +--resume new starts over/,
    ),
  });
});

it('a training that diverges leaves no point in the way of the next try; one that is refused leaves the point of another', async () => {
  const diverging = ['--learning-rate', '1e9', '--final', 'dv.safetensors'];
  const diverged = await run(['train', '--data', 'a', '--widths', '64', '--iterations', '50', ...diverging]);
  expect({ code: diverged.code, stderr: diverged.stderr }).toEqual({
    code: 3,
    stderr: expect.stringContaining('learning rate of 1000000000 may be too high'),
  });
  expect(leftovers()).toEqual([]);
  expect(
    (await run(['train', '--data', 'a', '--widths', '64', '--iterations', '50', '--learning-rate', '0.1', '--final', 'dv.safetensors']))
      .code,
  ).toBe(0);
  await interrupted('out.zip', 'SIGTERM');
  const point = sha256('out.zip.resume');
  expect((await run(training('out.zip', '--learning-rate', '1e9'))).code).toBe(3);
  expect(sha256('out.zip.resume')).toBe(point);
});

it('two runs on one output: one is told that it is locked; a lock whose process is gone is taken over', async () => {
  writeFileSync(path('out.zip.lock'), JSON.stringify({ pid: process.pid, host: hostname(), started: '' }));
  const second = await run(training('out.zip'));
  expect(second.code).toBe(75);
  expect(jsonLines(second.stdout).at(-1)).toMatchObject({ error: 'LockedError', code: 'locked', field: 'out.zip', exitCode: 75 });
  expect(second.stderr).toContain(`process ${process.pid}`);
  expect(existsSync(path('out.zip'))).toBe(false);
  // The number of this process, but started at another moment: the number was used again.
  for (const lock of [
    JSON.stringify({ pid: process.pid, host: hostname(), started: 'then 1' }),
    JSON.stringify({ pid: 2 ** 22 + 1, host: hostname(), started: '' }),
  ]) {
    writeFileSync(path('out.zip.lock'), lock);
    const { code } = await run(trainingOf(1, 'out.zip'));
    expect(code).toBe(0);
    expect(leftovers()).toEqual(['out.zip']);
  }
});

it.each([
  [
    'pack',
    'packed.zip',
    ['weights.safetensors', '--model', 'mlp', '--widths', '4', '--input', '1,28,28', '--classes', '10', '--out', 'packed.zip'],
  ],
  ['convert', 'other.npz', ['weights.safetensors', 'other.npz']],
  ['demo', 'v2.safetensors', ['--out-dir', '.', '--train-count', '100']],
])('%s takes the same lock: %s is not written while another run has it, and the lock goes with the run', async (command, name, args) => {
  expect(
    (await run([
      'train', '--data', 'generated:before', '--widths', '4', '--epochs', '1', '--train-count', '128', '--final', 'weights.safetensors',
    ])).code,
  ).toBe(0);
  writeFileSync(path(`${name}.lock`), JSON.stringify({ pid: process.pid, host: hostname(), started: '' }));
  const refused = await run([command, ...args, '--json']);
  expect(refused.code).toBe(75);
  expect(jsonLines(refused.stdout).at(-1)).toMatchObject({ error: 'LockedError', field: name });
  expect(existsSync(path(name))).toBe(false);
  if (command === 'demo') return;
  rmSync(path(`${name}.lock`));
  expect((await run([command, ...args])).code).toBe(0);
  expect(leftovers()).toEqual([name, 'weights.safetensors'].toSorted());
});

it('one file for two outputs is refused before any work', async () => {
  for (const more of [['--final', './out.zip'], ['--resume-file', 'out.zip']]) {
    const { code, stderr } = await run(training('out.zip', ...more));
    expect({ code, stderr }).toMatchObject({ code: 2, stderr: expect.stringContaining('out.zip is named for two outputs') });
    expect(leftovers()).toEqual([]);
  }
});

it('of two that start at once, one does the work and the other is locked', async () => {
  const codes = (await Promise.all([run(training('out.zip')), run(training('out.zip'))])).map(({ code }) => code);
  expect(codes.toSorted()).toEqual([0, 75]);
  expect(sha256('out.zip')).toBe(whole);
  expect(leftovers()).toEqual(['out.zip']);
});
