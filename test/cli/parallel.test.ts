/** `--micro-batch`, `--workers` and `--relaxed-simd`: the same bytes with workers, what is planned for a heap, batch norm's warning. */
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openBundle } from '../../src/bundle/reader.ts';
import { gradientHeapBytes } from '../../src/gradient/memory.ts';
import { preset } from '../../src/model/presets.ts';
import { jsonLines, trajport, writeImageFolder } from './fixtures.ts';

let directory: string;
const run = (...args: string[]) => trajport(args, { cwd: directory });
const sha256 = (name: string): string => createHash('sha256').update(readFileSync(join(directory, name))).digest('hex');

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'trajport-parallel-'));
  writeImageFolder(join(directory, 'a'));
  const made = await run(
    'train', '--data', 'a', '--model', 'mlp', '--widths', '16', '--epochs', '3', '--batch-size', '16', '--learning-rate', '0.1',
    '--out', 'tune.zip',
  );
  expect({ code: made.code, stderr: made.stderr }).toEqual({ code: 0, stderr: '' });
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('transfer', () => {
  const port = (out: string, ...more: string[]) =>
    run(
      'transfer', 'tune.zip', '--target-seed', '2', '--data', 'a', '--batch-size', '16', '--method', 'fgmt', '--steps', '3',
      '--stop-rule', 'last', '--out', out, '--record', `${out}.json`, ...more,
    );

  it('gives the same bytes with workers, with and without micro-batches', async () => {
    for (const parts of [[], ['--micro-batch', '4']]) {
      const [alone, threads] = [await port('alone.safetensors', ...parts), await port('threads.safetensors', ...parts, '--workers', '2')];
      expect([alone.code, threads.code, threads.stderr]).toEqual([0, 0, '']);
      expect(sha256('threads.safetensors')).toBe(sha256('alone.safetensors'));
    }
    expect(JSON.parse(readFileSync(join(directory, 'threads.safetensors.json'), 'utf8'))).toMatchObject({ settings: { microBatch: 4 } });
  });

  it.each([
    [['--micro-batch', '0'], /--micro-batch is an integer of at least 1 or auto/],
    [['--workers', '0'], /--workers is an integer from 1/],
  ])('%s is refused', async (args, message) => {
    const { code, stderr } = await port('x.safetensors', ...args);
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
  });
});

it('evaluate gives the same scores with workers', async () => {
  const score = (...more: string[]) =>
    run('evaluate', 'tune.zip', '--data', 'a', '--part', 'train', '--batch-size', '16', '--json', ...more);
  const [alone, threads] = [await score(), await score('--workers', '2')];
  expect([alone.code, threads.code, threads.stderr]).toEqual([0, 0, '']);
  const results = [alone, threads].map(({ stdout }) => jsonLines(stdout).filter(({ event }) => event === 'result'));
  expect(results[0]?.length).toBeGreaterThan(1);
  expect(results[1]).toEqual(results[0]);
});

describe('relaxed SIMD', () => {
  // The binary's own validity is the feature; Node 20 needs a flag for it.
  const old = process.versions.node.startsWith('20.');
  const relaxed = (...args: string[]) =>
    trajport([...args, '--data', 'a', '--batch-size', '16', '--json', '--relaxed-simd'], {
      cwd: directory,
      runtime: [process.execPath, ...(old ? ['--experimental-wasm-relaxed-simd'] : [])],
    });
  const port = (...more: string[]) =>
    relaxed(
      'transfer', 'tune.zip', '--target-seed', '2', '--method', 'fgmt', '--steps', '2', '--stop-rule', 'last', '--out',
      'r.safetensors', '--record', 'r.json', ...more,
    );

  it('says so in every result, record and bundle, and on stderr', async () => {
    const { code, stdout, stderr } = await port();
    expect(code).toBe(0);
    expect(stderr).toMatch(/may give other bytes in another engine/);
    expect(jsonLines(stdout).at(-1)).toMatchObject({ event: 'result', identical: false });
    expect(JSON.parse(readFileSync(join(directory, 'r.json'), 'utf8'))).toMatchObject({ arithmetic: 'relaxed', identical: false });
    expect((await relaxed('train', '--model', 'mlp', '--widths', '8', '--iterations', '2', '--out', 'r.zip')).code).toBe(0);
    using bundle = await openBundle(readFileSync(join(directory, 'r.zip')));
    expect(bundle.training).toMatchObject({ arithmetic: 'relaxed', identical: false });
  });

  it('reaches the workers', async () => {
    const alone = await port();
    const hash = sha256('r.safetensors');
    expect([alone.code, (await port('--workers', '2')).code, sha256('r.safetensors')]).toEqual([0, 0, hash]);
  });

  it.runIf(old)('is refused where the runtime has none', async () => {
    const { code, stderr } = await run(
      'transfer', 'tune.zip', '--target-seed', '2', '--data', 'a', '--out', 'n.safetensors', '--relaxed-simd',
    );
    expect(code).toBe(2);
    expect(stderr).toMatch(/--relaxed-simd: expected a runtime with WebAssembly relaxed SIMD .* got one that rejects our binary/);
  });
});

describe('train', () => {
  const train = (model: string, ...more: string[]) =>
    run(
      'train', '--data', 'a', '--model', model, '--width', '8', '--iterations', '1', '--batch-size', '64', '--final',
      'f.safetensors', '--json', ...more,
    );
  const microBatchOf = ({ stdout }: { stdout: string }): unknown =>
    (jsonLines(stdout).at(-1) as { record: { settings: { microBatch?: number } } }).record.settings.microBatch;

  it('plans the micro-batch that a heap has room for', async () => {
    expect(microBatchOf(await train('small-conv', '--micro-batch', '16'))).toBe(16);
    expect(microBatchOf(await train('small-conv', '--micro-batch', 'auto'))).toBeUndefined();
    const tight = await run(
      'train', '--data', 'generated:before', '--train-count', '300', '--model', 'small-conv', '--width', '16', '--iterations', '1',
      '--batch-size', '256', '--final', 'f.safetensors', '--json', '--micro-batch', 'auto', '--heap-limit', '20MiB',
    );
    expect({ code: tight.code, stderr: tight.stderr }).toEqual({ code: 0, stderr: '' });
    const planned = microBatchOf(tight) as number;
    // Of the batch a half, a quarter …, as --help says: the first of which the heap has room.
    expect([128, 64, 32, 16, 8, 4, 2]).toContain(planned);
    const graph = preset('small-conv', { input: [1, 28, 28], classes: 10, width: 16 });
    const bytes = (images: number): number => gradientHeapBytes(graph, images, Math.ceil(256 / images));
    expect(bytes(planned)).toBeLessThanOrEqual(20 * 2 ** 20);
    expect(bytes(2 * planned)).toBeGreaterThan(20 * 2 ** 20);
  });

  it('gives the same bytes with workers, in parts that do not divide the batch', async () => {
    const parts = [
      '--data', 'a', '--model', 'small-conv', '--width', '6', '--iterations', '6', '--batch-size', '16', '--micro-batch', '5',
      '--learning-rate', '0.1',
    ];
    const [alone, threads] = [
      await run('train', ...parts, '--final', 'one.safetensors'),
      await run('train', ...parts, '--workers', '2', '--final', 'two.safetensors'),
    ];
    expect([alone.code, threads.code, threads.stderr]).toEqual([0, 0, '']);
    expect(sha256('two.safetensors')).toBe(sha256('one.safetensors'));
  });

  it('refuses workers where there is nothing to share', async () => {
    for (const parts of [[], ['--micro-batch', '64'], ['--micro-batch', 'auto']]) {
      const { code, stdout } = await train('small-conv', '--workers', '2', ...parts);
      expect(code).toBe(2);
      expect(stdout).toMatch(/--workers of train needs/);
    }
    const norm = await train('resnet-small', '--workers', '2', '--micro-batch', '8');
    expect(norm.code).toBe(2);
    expect(norm.stdout).toMatch(/batch_norm/);
  });

  it('warns of batch norm, and refuses a number', async () => {
    const planned = await train('resnet-small', '--micro-batch', 'auto');
    expect(planned.code).toBe(0);
    expect(planned.stdout + planned.stderr).toMatch(/belong to the whole batch, and parts would change the gradient/);
    const refused = await train('resnet-small', '--micro-batch', '8');
    expect(jsonLines(refused.stdout).at(-1)).toMatchObject({ option: '--micro-batch', exitCode: 2 });
    expect(refused.code).toBe(2);
    expect(refused.stdout).toMatch(/statistics of \\"bn1\\" \(batch_norm\) belong to the whole batch/);
  });
});
