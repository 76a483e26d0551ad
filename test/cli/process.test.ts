/** The command line as a process: the way of a fine-tune on small folders, exit codes, interruption, help. */
import { execFile, execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, rmdirSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readSafetensors, writeSafetensors } from '../../src/bundle/safetensors.ts';
import type { RawTensor } from '../../src/bundle/safetensors.ts';
import { sequential } from '../../src/model/builder.ts';
import { cliPath, jsonLines, root, striped, trajport, writeImageFolder } from './fixtures.ts';

let directory: string;
const run = (...args: string[]) => trajport(args, { cwd: directory });
const sha256 = (name: string): string => createHash('sha256').update(readFileSync(join(directory, name))).digest('hex');
const model = ['--model', 'mlp', '--widths', '16'];
const LONG_NAME = 'x'.repeat(300);

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'trajport-cli-'));
  writeImageFolder(join(directory, 'a'));
  writeImageFolder(join(directory, 'b'), { shift: 2 });
  const made = [
    await run(
      'train', '--data', 'a', ...model, '--epochs', '3', '--batch-size', '16', '--learning-rate', '0.1', '--final', 'v1.safetensors',
    ),
    await run(
      'train', '--data', 'a', ...model, '--epochs', '3', '--batch-size', '16', '--learning-rate', '0.1', '--seed', '2', '--final',
      'v2.safetensors',
    ),
    await run(
      'train', '--data', 'b', ...model, '--epochs', '4', '--batch-size', '16', '--learning-rate', '0.1', '--seed', '3', '--initial',
      'v1.safetensors', '--out', 'tune.zip', '--json',
    ),
  ];
  for (const { code, stderr } of made) expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('the way of a fine-tune', () => {
  it('transfers, and the file has the hash that is printed', async () => {
    const args = [
      'transfer', 'tune.zip', '--target', 'v2.safetensors', '--data', 'b', '--batch-size', '32', '--out', 'ported.safetensors',
      '--record', 'record.json',
    ];
    const { code, stdout, stderr } = await run(...args, '--json');
    expect(stderr).toMatch(/^note: the target is right on 8\.3 %[^\n]* --zero-head ports better\n$/);
    expect(code).toBe(0);
    const lines = jsonLines(stdout);
    const result = lines.at(-1) as {
      event: string;
      sha256: string;
      chosenStep: number;
      counts: { gradients: number };
      test: { transferred: number };
    };
    expect(result.event).toBe('result');
    expect(result.counts.gradients).toBe(10 * 11);
    expect(lines.filter(({ event }) => event === 'step')).toHaveLength(11);
    expect(sha256('ported.safetensors')).toBe(result.sha256);
    const record = JSON.parse(readFileSync(join(directory, 'record.json'), 'utf8')) as { sha256: string; settings: { seed: number } };
    expect(record.sha256).toBe(result.sha256);
    expect(record.settings.seed).toBe(1);

    const evaluated = await run('evaluate', 'ported.safetensors', '--graph', 'tune.zip', '--data', 'b', '--json');
    expect(jsonLines(evaluated.stdout)).toHaveLength(1);
    expect(jsonLines(evaluated.stdout)[0]).toMatchObject({ event: 'result', count: 60, accuracy: result.test.transferred });
  });

  it('tells each evaluation, step and row of --json when it comes about, not at the end', async () => {
    const until = (after: string, ...args: string[]) =>
      trajport([...args, '--json'], { cwd: directory, signal: { name: 'SIGINT', after } });
    const long = ['--data', 'a', ...model, '--batch-size', '16'];
    const jobs = [
      until('"iteration":14,', 'train', ...long, '--epochs', '500', '--final', 'long.safetensors', '--resume', 'off'),
      until(
        '"step":1,', 'transfer', 'tune.zip', '--target', 'v2.safetensors', '--data', 'b', '--steps', '3000', '--out',
        'long-port.safetensors', '--resume', 'off',
      ),
      until(
        '"method":"naive"', 'demo', ...model, '--train-count', '400', '--base-epochs', '1', '--fine-tune-epochs', '1',
        '--iterations', '100', '--steps', '500', '--out-dir', 'long-demo',
      ),
    ];
    const events = (await Promise.all(jobs)).map(({ stdout }) => jsonLines(stdout).map(({ event }) => event));
    for (const [i, told] of ['evaluation', 'step', 'method'].entries()) expect(new Set(events[i])).toEqual(new Set([told, 'error']));
  });

  it('remarks on a training that made the network worse, and on none that did not', async () => {
    const at = (rate: string) =>
      run(
        'train', '--data', 'a', ...model, '--batch-size', '16', '--epochs', '2', '--learning-rate', rate, '--final',
        'rate.safetensors', '--json',
      );
    const diverged = await at('1e6');
    expect(diverged.code).toBe(0);
    const losses = jsonLines(diverged.stdout).flatMap(({ event, loss }) => (event === 'evaluation' ? [loss as number] : []));
    expect(losses.at(-1)).toBeGreaterThan(1000 * (losses[0] as number));
    expect(diverged.stderr).toMatch(
      /^note: this training made the network worse: a held-out loss of 1\.\d+ at the start and \S+ at the end; a lower --learning-rate may help\n$/,
    );
    expect((await at('0.1')).stderr).toBe('');
  });

  it('keeps the ends of epochs for a bundle alone', async () => {
    const kept = async (...outputs: string[]) => {
      const { stdout } = await run('train', '--data', 'a', ...model, '--epochs', '3', '--json', ...outputs);
      return (jsonLines(stdout).at(-1) as { checkpoints: { label: string }[] }).checkpoints.map(({ label }) => label);
    };
    expect(await kept('--final', 'kept.safetensors')).toEqual(['start', 'epoch-3']);
    const weights = sha256('kept.safetensors');
    expect(await kept('--final', 'kept.safetensors', '--out', 'kept.zip')).toEqual(['start', 'epoch-1', 'epoch-2', 'epoch-3']);
    expect(sha256('kept.safetensors')).toBe(weights);
  });

  it('gives the same bytes again, and others with another seed', async () => {
    const port = (out: string, ...more: string[]) =>
      run(
        'transfer', 'tune.zip', '--target', 'v2.safetensors', '--data', 'b', '--batch-size', '8', '--stop-rule', 'last', '--method',
        'fgmt', '--out', out, ...more,
      );
    await port('one.safetensors');
    await port('again.safetensors');
    await port('other.safetensors', '--seed', '77');
    expect(sha256('again.safetensors')).toBe(sha256('one.safetensors'));
    expect(existsSync(join(directory, 'other.safetensors'))).toBe(true);
  });

  it('keeps GMT\'s mini-batches with --gmt-batches fixed, and reckons with it', async () => {
    const port = async (kind: string) => {
      const { stdout } = await run(
        'transfer', 'tune.zip', '--target-seed', '5', '--data', 'b', '--batch-size', '32', '--steps', '4', '--gmt-batches', kind,
        '--record', `${kind}.json`, '--json',
      );
      const { settings } = JSON.parse(readFileSync(join(directory, `${kind}.json`), 'utf8')) as { settings: { gmtBatches: string } };
      expect(settings.gmtBatches).toBe(kind);
      return (jsonLines(stdout).at(-1) as { counts: { gradients: number; reusedGradients: number } }).counts;
    };
    expect(await port('fresh')).toMatchObject({ gradients: 20, reusedGradients: 0 });
    const { gradients, reusedGradients } = await port('fixed');
    expect(gradients + reusedGradients).toBe(20);
    // The source's six, and the target's three at the start.
    expect(reusedGradients).toBeGreaterThanOrEqual(9);
    const planned = jsonLines(
      (await run('plan', 'tune.zip', '--method', 'gmt', '--steps', '4', '--gmt-batches', 'fixed', '--json')).stdout,
    );
    expect(planned[0]).toMatchObject({ gradients: 11 });
    const { parameters, keptGradients } = (planned[0] as { bytes: { parameters: number; keptGradients: number } }).bytes;
    expect(keptGradients).toBe(2 * 4 * parameters);
    expect((await run('transfer', 'tune.zip', '--gmt-batches', 'other')).code).toBe(2);
  });

  it('plans for a budget as the transfer keeps to it: exact, as 8-bit codes, not at all', async () => {
    const net = ['--model', 'mlp', '--widths', '64,64', '--data', 'a'];
    const at = async (budget: number, method: string) => {
      const { code, stdout, stderr } = await run('plan', ...net, '--method', method, '--history-budget', `${budget}`, '--json');
      return { code, stderr, ...(jsonLines(stdout)[0] as { bytes: { history: number; codedHistory: number } }).bytes };
    };
    const { history, codedHistory, ...roomy } = await at(2 ** 29, 'fgmt');
    expect(roomy).toMatchObject({ code: 0, stderr: '' });
    expect(codedHistory).toBeLessThan(history);
    expect(await at(codedHistory, 'fgmt')).toMatchObject({ code: 0, stderr: expect.stringContaining('kept as 8-bit codes') });
    expect(await at(codedHistory - 1, 'fgmt')).toMatchObject({ code: 1, stderr: expect.stringContaining('even as 8-bit codes') });
    // Naive keeps none: what is asked of all is whether one that matches fits.
    expect((await run('plan', ...net, '--method', 'naive', '--history-budget', '0')).code).toBe(2);
    expect(await at(0, 'all')).toMatchObject({ code: 1 });
    expect(await at(codedHistory, 'all')).toMatchObject({ code: 0 });
    expect((await run('plan', ...net)).stdout).toMatch(
      /reckoned at 4 sweeps a matching; where one group of units is matched, one assignment settles it\.$/m,
    );
  });

  it('tells of 8-bit codes in text, in --json and in the record', async () => {
    await run(
      'train', '--data', 'a', '--widths', '64,64', '--epochs', '3', '--batch-size', '16', '--learning-rate', '0.1', '--out', 'deep.zip',
    );
    const port = (...more: string[]) =>
      run(
        'transfer', 'deep.zip', '--target-seed', '2', '--data', 'a', '--method', 'fgmt', '--steps', '4', '--stop-rule', 'last',
        '--record', 'coded.json', ...more,
      );
    expect((await port()).stderr).toBe('');
    expect(readFileSync(join(directory, 'coded.json'), 'utf8')).not.toContain('coded');
    const { code, stdout, stderr } = await port('--history-budget', '130KiB', '--json');
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: expect.stringMatching(
        /did not fit --history-budget 130 KiB: from step \d on they were kept as 8-bit codes; no objective is off by more than/,
      ),
    });
    const lines = jsonLines(stdout);
    const { codedHistory } = lines.at(-1) as { codedHistory: { fromStep: number } };
    expect((JSON.parse(readFileSync(join(directory, 'coded.json'), 'utf8')) as { codedHistory: object }).codedHistory).toEqual(
      codedHistory,
    );
    expect(
      lines.filter(({ event, objectiveErrorBound }) => event === 'step' && objectiveErrorBound !== undefined).map(({ step }) => step)[0],
    ).toBe(codedHistory.fromStep);
  });

  it('speaks to people without --json, without colour into a pipe', async () => {
    const { stdout, code } = await run(
      'transfer', 'tune.zip', '--target-seed', '5', '--data', 'b', '--batch-size', '32', '--method', 'fgmt', '--out', 'p.safetensors',
    );
    expect(code).toBe(0);
    expect(stdout).toMatch(/held-out accuracy, %/);
    // Naive keeps a step of its own, which is said; booked times add up to the whole.
    expect(stdout).toMatch(
      /^test accuracy: target before [\d.]+ %, plain shift \(Naive, step (0: the target as it was|\d+ of 10)\) [\d.]+ %, FGMT \(step \d+ of 10\) [\d.]+ %$/m,
    );
    expect(stdout).toMatch(/evaluation [\d.]+ m?s, the rest \([a-z, ]+\) [\d.]+ m?s$/m);
    expect(stdout).not.toContain('\u001b');
    const naive = await run('transfer', 'tune.zip', '--target-seed', '5', '--data', 'b', '--method', 'naive', '--out', 'p.safetensors');
    expect(naive.stdout).toMatch(
      /^test accuracy: target before [\d.]+ %, plain shift \(Naive, step (0: the target as it was|\d+ of 10)\) [\d.]+ %$/m,
    );
    const oracle = await run(
      'transfer', 'tune.zip', '--target', 'v2.safetensors', '--oracle-target', 'v2.safetensors', '--method', 'oracle', '--data',
      'b', '--steps', '1', '--out', 'p.safetensors',
    );
    expect(oracle.stdout).toMatch(
      /^0 gradients, 1 assignment in .*\nbesides: the plain shift .*, scores on the test part .*\ntest accuracy: .*, Oracle \([^)]+\) [\d.]+ %$/m,
    );
  });

  it('says where the plain shift does better than the result, and which step of it is shown', async () => {
    // The source's own start as the target: its change, unpermuted, is the fine-tune itself; one step of Oracle against
    // the start has no such luck.
    const { code, stdout, stderr } = await run(
      'transfer', 'tune.zip', '--target', 'v1.safetensors', '--data', 'b', '--seed', '3', '--method', 'oracle', '--oracle-target',
      'v2.safetensors', '--stop-rule', 'last', '--steps', '4', '--out', 'p.safetensors', '--json',
    );
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: expect.stringMatching(
        /note: the plain shift \(Naive, step 4 of 4\) does better than Oracle on what is held out: [\d.]+ % right and a loss of [\d.]+, not [\d.]+ % right and a loss of [\d.]+; --method naive takes it/,
      ),
    });
    expect(jsonLines(stdout).at(-1)).toMatchObject({ naiveStep: 4 });
  });

  it('tells of options that change nothing, or less than they say', async () => {
    const noted = async (...more: string[]) =>
      (await run(
        'transfer', 'tune.zip', '--target', 'v2.safetensors', '--data', 'b', '--steps', '1', '--method', 'fgmt', '--out',
        'p.safetensors', ...more,
      )).stderr.split('\n').filter((line) => !/plain shift|by chance/.test(line));
    expect(await noted()).toEqual(['']);
    expect(await noted('--held-out', '0')).toEqual([
      expect.stringMatching(/^note: --held-out 0 leaves nothing to choose a step by: the last one is kept/),
      '',
    ]);
    expect(await noted('--held-out', '0', '--stop-rule', 'last')).toEqual(['']);
    expect(await noted('--batch-size', '217')).toEqual([
      expect.stringMatching(/^note: --batch-size 217 is more than the 216 images that are not held out/),
      '',
    ]);
    expect(await noted('--batch-size', '216')).toEqual(['']);
    expect(await noted('--workers', '3')).toEqual([
      expect.stringMatching(/^note: --workers 3: without --micro-batch gradients are work for two/),
      '',
    ]);
    expect(await noted('--workers', '3', '--micro-batch', '16')).toEqual(['']);
    const trained = await run(
      'train', '--data', 'a', '--iterations', '1', '--widths', '4', '--batch-size', '300', '--final', 'p.safetensors',
    );
    expect(trained.stderr).toMatch(/^note: --batch-size 300 is more than the 216 images/);
    const packed = await run('pack', 'v1.safetensors', '--graph', 'tune.zip', '--out', 'one.zip');
    expect(packed).toMatchObject({ code: 0, stderr: expect.stringMatching(/^note: one checkpoint is no trajectory/) });
    expect(await run('transfer', 'one.zip', '--target', 'v2.safetensors', '--data', 'b', '--out', 'never.safetensors')).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('one.zip: holds one checkpoint'),
    });
  });

  it('plans and verifies a network of a shape of which there are no data', async () => {
    const shape = ['--model', 'small-conv', '--width', '4', '--input', '3,20,20', '--classes', '7'];
    const planned = jsonLines((await run('plan', ...shape, '--method', 'fgmt', '--json')).stdout) as { bytes: { parameters: number } }[];
    // Two 3×3 pairs of 4 and 8 channels, a hidden 1×1 of 12, and 7 classes.
    const elements = (3 * 4 + 4 * 4 + 4 * 8 + 8 * 8) * 9 + 8 * 12 + 12 * 7 + 4 + 4 + 8 + 8 + 12 + 7;
    expect(planned[0]?.bytes.parameters).toBe(4 * elements);
    expect(await run('verify', ...shape)).toMatchObject({ code: 0, stdout: expect.stringContaining('conv net 3×20×20') });
  });

  it('takes the last checkpoint of a bundle where weights are asked for', async () => {
    const from = (target: string, out: string) =>
      run('transfer', 'tune.zip', '--target', target, '--data', 'b', '--method', 'naive', '--stop-rule', 'last', '--out', out);
    await run(
      'train', '--data', 'a', ...model, '--epochs', '1', '--initial', 'tune.zip', '--out', 'further.zip', '--final', 'further.safetensors',
    );
    expect(await from('further.zip', 'of-bundle.safetensors')).toMatchObject({ code: 0, stderr: '' });
    await from('further.safetensors', 'of-weights.safetensors');
    expect(sha256('of-bundle.safetensors')).toBe(sha256('of-weights.safetensors'));
  });

  it('begins with a fresh last layer on request, in training and in the target, and leaves the others', async () => {
    const layers = async (file: string): Promise<Record<string, string>> => {
      await run('convert', file, `${file}.safetensors`, ...(file.endsWith('.zip') ? ['--checkpoint', 'start'] : []));
      const { tensors } = readSafetensors(new Uint8Array(readFileSync(join(directory, `${file}.safetensors`))), file);
      return Object.fromEntries([...tensors].map(([name, { bytes }]) => [name, createHash('sha256').update(bytes).digest('hex')]));
    };
    await run('train', '--data', 'b', ...model, '--iterations', '1', '--seed', '9', '--out', 'random.zip');
    await run(
      'train', '--data', 'b', ...model, '--iterations', '1', '--seed', '9', '--initial', 'v1.safetensors', '--fresh-head', '--out',
      'head.zip',
    );
    const [base, random, fresh] = [await layers('v1.safetensors'), await layers('random.zip'), await layers('head.zip')];
    // The last layer is that of a network drawn from the same seed.
    expect(fresh).toEqual({ ...base, 'linear2.weight': random['linear2.weight'], 'linear2.bias': random['linear2.bias'] });
    expect(base['linear2.weight']).not.toBe(random['linear2.weight']);

    const start = async (...target: string[]): Promise<string | undefined> => {
      await run(
        'transfer', 'head.zip', '--data', 'b', ...target, '--seed', '9', '--method', 'naive', '--steps', '1', '--record', 'start.json',
      );
      return (JSON.parse(readFileSync(join(directory, 'start.json'), 'utf8')) as { inputs: { target: string } }).inputs.target;
    };
    expect(await start('--target', 'v1.safetensors', '--fresh-head')).toBe(await start('--target', 'head.zip.safetensors'));
    expect((await run('transfer', 'head.zip', '--data', 'b', '--target-seed', '1', '--fresh-head', '--out', 'x')).code).toBe(2);
    expect((await run('train', '--data', 'b', '--fresh-head', '--final', 'x')).code).toBe(2);
  });

  it('ports between bases with another number of classes, by a last layer of zeros', async () => {
    // v1 and v2 as they were published: with three more classes, and without a head.
    const { tensors } = readSafetensors(new Uint8Array(readFileSync(join(directory, 'v1.safetensors'))), 'v1');
    const [weight, bias] = ['linear2.weight', 'linear2.bias'].map((name) => tensors.get(name) as RawTensor) as [RawTensor, RawTensor];
    const wider = ({ dtype, shape: [classes = 0, ...rest], bytes }: RawTensor): RawTensor =>
      ({ dtype, shape: [classes + 3, ...rest], bytes: new Uint8Array((bytes.byteLength / classes) * (classes + 3)) });
    const others = new Map(tensors).set('linear2.weight', wider(weight)).set('linear2.bias', wider(bias));
    writeFileSync(join(directory, 'published.safetensors'), writeSafetensors(others));
    const bare = new Map([...tensors].filter(([name]) => !name.startsWith('linear2.')));
    writeFileSync(join(directory, 'bare.safetensors'), writeSafetensors(bare));
    await run('convert', 'tune.zip', 'tuned.safetensors');

    const pack = ['pack', 'published.safetensors', 'tuned.safetensors', '--graph', 'tune.zip', '--out', 'headless.zip'];
    expect(await run(...pack)).toMatchObject({ code: 3, stderr: expect.stringContaining('--zero-head') });
    expect(await run(...pack, '--zero-head')).toMatchObject({ code: 0, stderr: '' });
    const port = (source: string, ...target: string[]) =>
      run(
        'transfer', source, '--target', ...target, '--data', 'b', '--method', 'fgmt', '--steps', '2', '--held-out', '0',
        '--stop-rule', 'last', '--out', 'headless.safetensors',
      );
    const unasked = await port('tune.zip', 'published.safetensors');
    expect(unasked).toMatchObject({ code: 3, stderr: expect.stringContaining('--zero-head or --fresh-head') });
    const hashes: string[] = [];
    // Whatever stood there on either side, it is zeros: the bundle that has the first last layer as it was, too.
    for (const [source, target] of [
      ['headless.zip', 'published.safetensors'],
      ['headless.zip', 'bare.safetensors'],
      ['tune.zip', 'v1.safetensors'],
      ['tune.zip', 'tune-base.zip'],
    ] as const) {
      if (target === 'tune-base.zip') await run('pack', 'v1.safetensors', '--graph', 'tune.zip', '--out', target);
      expect(await port(source, target, '--zero-head')).toMatchObject({ code: 0 });
      hashes.push(sha256('headless.safetensors'));
    }
    expect(new Set(hashes).size).toBe(1);

    // A bundle tells that it was packed so, and then the port begins so by itself.
    for (const target of ['v1.safetensors', 'published.safetensors', 'bare.safetensors']) {
      rmSync(join(directory, 'headless.safetensors'));
      expect(await port('headless.zip', target)).toMatchObject({ code: 0 });
      expect(sha256('headless.safetensors')).toBe(hashes[0]);
    }
    await run(
      'pack', 'published.safetensors', '--model', 'mlp', '--widths', '16', '--input', '1,6,6', '--classes',
      String((weight.shape[0] as number) + 3), '--out', 'published.zip',
    );
    expect(await port('tune.zip', 'published.zip')).toMatchObject({
      code: 3, stderr: expect.stringMatching(/published\.zip.*--zero-head or --fresh-head/),
    });
    expect(
      await run('convert', 'headless.safetensors', 'like.safetensors', '--graph', 'tune.zip', '--like', 'tune.zip'),
    ).toMatchObject({ code: 0, stderr: '' });
    expect(sha256('like.safetensors')).not.toBe(sha256('published.safetensors'));

    const trained = await run(
      'train', '--data', 'b', ...model, '--iterations', '1', '--initial', 'bare.safetensors', '--zero-head', '--out', 'zero.zip',
    );
    expect(trained).toMatchObject({ code: 0, stderr: '' });
    await run('convert', 'zero.zip', 'zero.safetensors', '--checkpoint', 'start');
    const start = readSafetensors(new Uint8Array(readFileSync(join(directory, 'zero.safetensors'))), 'zero').tensors;
    expect(start.get('linear2.weight')?.bytes.every((byte) => byte === 0)).toBe(true);
    expect(start.get('linear1.weight')).toEqual(tensors.get('linear1.weight'));
    // Whatever the image, class 0.
    const always = (name: string, value: number): [string, RawTensor] => {
      const { dtype, shape, bytes } = tensors.get(name) as RawTensor;
      const data = new Float32Array(bytes.byteLength / 4);
      data[0] = value;
      return [name, { dtype, shape, bytes: new Uint8Array(data.buffer) }];
    };
    writeFileSync(
      join(directory, 'always.safetensors'),
      writeSafetensors(new Map([...tensors, always('linear2.weight', 0), always('linear2.bias', 1)])),
    );
    const scored = async (...target: string[]) =>
      (await run(
        'transfer', 'tune.zip', '--target', ...target, '--data', 'b', '--method', 'naive', '--steps', '1', '--record', 'scored.json',
      )).stderr;
    expect(await scored('always.safetensors')).toMatch(
      /^note: the target is right on [\d.]+ % of what is held out, about as often as by chance: .*--zero-head ports better$/m,
    );
    for (const target of [['always.safetensors', '--zero-head'], ['tuned.safetensors']])
      expect(await scored(...target)).not.toContain('by chance');
    for (const more of [['--zero-head', '--fresh-head'], ['--zero-head', '--skip', 'linear2']])
      expect((await port('tune.zip', 'v1.safetensors', ...more)).code).toBe(2);
  });

  it('reads a target by the rules that its bundle was packed with, and without those that need none', async () => {
    const renamed = (name: string): void => {
      const { tensors } = readSafetensors(new Uint8Array(readFileSync(join(directory, name))), name);
      writeFileSync(
        join(directory, `own-${name}`),
        writeSafetensors(new Map([...tensors].map(([key, tensor]) => [key.replace('linear', 'my.layer'), tensor]))),
      );
    };
    await run('convert', 'tune.zip', 'tuned.safetensors');
    for (const name of ['v1.safetensors', 'v2.safetensors', 'tuned.safetensors']) renamed(name);
    const network = ['--model', 'mlp', '--widths', '16', '--input', '1,6,6', '--classes', '3'];
    writeFileSync(join(directory, 'own.json'), JSON.stringify([{ from: 'my.layer*.*', to: 'linear$1.$2' }]));
    expect(
      await run('pack', 'own-v1.safetensors', 'own-tuned.safetensors', ...network, '--rules', 'own.json', '--out', 'own.zip'),
    ).toMatchObject({ code: 0, stderr: '' });
    await run('pack', 'v1.safetensors', 'tuned.safetensors', ...network, '--out', 'plain.zip');
    const port = async (bundle: string, target: string): Promise<string> => {
      const { code, stderr } = await run(
        'transfer', bundle, '--target', target, '--data', 'b', '--method', 'fgmt', '--steps', '2', '--out', 'own-ported.safetensors',
      );
      return code === 0 ? sha256('own-ported.safetensors') : stderr;
    };
    const expected = await port('plain.zip', 'v2.safetensors');
    expect(await port('own.zip', 'own-v2.safetensors')).toBe(expected);
    expect(await port('own.zip', 'v2.safetensors')).toBe(expected);
    expect(await port('plain.zip', 'own-v2.safetensors')).toContain('names that are its own take --rules of pack, or of convert');
    expect((await run('evaluate', 'own-v2.safetensors', '--graph', 'own.zip', '--data', 'b')).code).toBe(0);
    expect(
      (await run('convert', 'own-ported.safetensors', 'own-like.safetensors', '--graph', 'own.zip', '--like', 'own-v2.safetensors')).code,
    ).toBe(0);
    const { tensors } = readSafetensors(new Uint8Array(readFileSync(join(directory, 'own-like.safetensors'))), 'own-like');
    expect([...tensors.keys()][0]).toMatch(/^my\.layer/);
    const like = await run(
      'transfer', 'own.zip', '--target', 'v2.safetensors', '--data', 'b', '--method', 'fgmt', '--steps', '2', '--like',
      'own-v2.safetensors', '--out', 'own-at-once.safetensors',
    );
    expect(like.code).toBe(0);
    expect(sha256('own-at-once.safetensors')).toBe(sha256('own-like.safetensors'));
  });

  it('tells how the source does on its own task, and where it guesses', async () => {
    const { tensors } = readSafetensors(new Uint8Array(readFileSync(join(directory, 'v1.safetensors'))), 'v1');
    const silent = new Map([...tensors].map(([name, tensor]) => [name, { ...tensor, bytes: new Uint8Array(tensor.bytes.byteLength) }]));
    writeFileSync(join(directory, 'silent.safetensors'), writeSafetensors(silent));
    await run('pack', 'v1.safetensors', 'silent.safetensors', '--graph', 'tune.zip', '--out', 'silent.zip');
    const port = (bundle: string, ...more: string[]) =>
      run(
        'transfer', bundle, '--target', 'v2.safetensors', '--data', 'b', '--method', 'naive', '--steps', '1', '--record',
        'silent.json', ...more,
      );
    expect((await port('silent.zip')).stderr).toMatch(/^note: the source is right about as often as by chance: its heads/m);
    const known = await port('tune.zip');
    expect(known.stderr).not.toContain('the source is right');
    const accuracyOf = async (checkpoint: string): Promise<number> =>
      (jsonLines(
        (await run('evaluate', 'tune.zip', '--checkpoint', checkpoint, '--data', 'b', '--json')).stdout,
      ).at(-1) as { accuracy: number }).accuracy;
    const accuracy = await accuracyOf('epoch-4');
    expect(known.stdout).toContain(`source: ${(accuracy * 100).toFixed(1)} % right on 60 images`);
    expect(jsonLines((await port('tune.zip', '--json')).stdout).at(-1)).toMatchObject({ sourceAccuracy: accuracy });
    // Of what is carried over, not of the last checkpoint.
    const earlier = await accuracyOf('epoch-1');
    expect(earlier).not.toBe(accuracy);
    expect(jsonLines((await port('tune.zip', '--to', 'epoch-1', '--json')).stdout).at(-1)).toMatchObject({ sourceAccuracy: earlier });
  });

  it('does not take a target that knows two classes for one that guesses', async () => {
    writeImageFolder(join(directory, 'pair'), { classes: 2 });
    const train = (...more: string[]) =>
      run('train', '--data', 'pair', ...model, '--epochs', '3', '--batch-size', '16', '--learning-rate', '0.1', ...more);
    await train('--out', 'pair.zip');
    const trained = await train('--seed', '2', '--final', 'pair.safetensors', '--json');
    const { accuracy } = (jsonLines(trained.stdout).at(-1) as { heldOut: { accuracy: number } }).heldOut;
    // Between a tenth of the way from chance to certainty, and twice chance, which two classes never reach.
    expect(accuracy).toBeGreaterThan(0.55);
    const ported = await run(
      'transfer', 'pair.zip', '--target', 'pair.safetensors', '--data', 'pair', '--method', 'fgmt', '--steps', '2', '--record', 'pair.json',
    );
    expect(ported.code).toBe(0);
    expect(ported.stderr).not.toContain('by chance');
  });

  it('stores initial weights as their seed on request', async () => {
    const codings = async (...more: string[]): Promise<string[]> => {
      await run('train', '--data', 'a', ...model, '--epochs', '1', '--store-seed', '--out', 'seed.zip', ...more);
      const [bundle] = jsonLines((await run('inspect', 'seed.zip', '--json')).stdout) as [{ checkpoints: { coding: string }[] }];
      return bundle.checkpoints.map(({ coding }) => coding);
    };
    expect(await codings()).toEqual(['seed', 'xor']);
    expect((await run('verify', 'seed.zip')).code).toBe(0);
    await run('train', '--data', 'a', ...model, '--epochs', '1', '--initial', 'v1.safetensors', '--out', 'given.zip');
    const [given] = jsonLines((await run('inspect', 'given.zip', '--json')).stdout) as [{ checkpoints: { coding: string }[] }];
    expect(given.checkpoints.map(({ coding }) => coding)).toEqual(['planes', 'xor']);
  });

  it('plan and inspect say which group of channels matching holds', async () => {
    const input = [1, 6, 6];
    const graph = sequential(input, [
      { op: 'conv2d', name: 'a', out: 4, kernel: 3 },
      { op: 'conv2d', name: 'b', out: 8, kernel: 3, groups: 4 },
      { op: 'conv2d', name: 'c', out: 3, kernel: 1 },
      { op: 'flatten' },
      { op: 'dense', name: 'fc', out: 3 },
    ]);
    writeFileSync(join(directory, 'grouped.json'), JSON.stringify(graph));
    expect(await run('train', '--data', 'a', '--graph', 'grouped.json', '--iterations', '1', '--out', 'grouped.zip')).toMatchObject({
      code: 0,
      stderr: '',
    });
    const reason = 'a third axis of c.weight would move with it';
    expect((await run('plan', 'grouped.zip')).stdout).toContain(`Held where it is: b (${reason}).`);
    expect((await run('inspect', 'grouped.zip')).stdout).toContain(`Matching holds b where it is: ${reason}.`);
    const [{ groups }] = jsonLines((await run('inspect', 'grouped.zip', '--json')).stdout) as [{ groups: { id: string; held?: string }[] }];
    expect(groups.map(({ id, held }) => [id, held])).toEqual([['a', undefined], ['b', reason], ['c', undefined]]);
  });

  it('inspects, verifies, plans and evaluates a bundle', async () => {
    const inspected = jsonLines((await run('inspect', 'tune.zip', '--json')).stdout)[0] as {
      checkpoints: { label: string; sha256: string }[];
      groups: { size: number }[];
    };
    expect(inspected.checkpoints).toHaveLength(5);
    expect(inspected.groups.map(({ size }) => size)).toEqual([16]);
    expect((await run('inspect', 'tune.zip')).stdout).toMatch(/permutation group/);
    await run('train', '--data', 'a', '--model', 'resnet-small', '--width', '4', '--iterations', '1', '--out', 'residual.zip');
    const groups = (await run('inspect', 'residual.zip')).stdout;
    expect(groups).toContain('layer1.0.conv2.weight[0]');
    expect(Math.max(...groups.split('\n').map((line) => line.length))).toBeLessThanOrEqual(100);
    expect((await run('inspect', 'v1.safetensors')).stdout).toMatch(/linear1\.weight +F32 +16×36/);

    const verified = await run('verify', 'tune.zip', '--json');
    expect(verified.code).toBe(0);
    expect(jsonLines(verified.stdout).at(-1)).toMatchObject({ event: 'result', passed: true });

    const planned = jsonLines((await run('plan', 'tune.zip', '--steps', '7', '--json')).stdout);
    expect(Object.fromEntries(planned.map(({ method, gradients }) => [method, gradients]))).toEqual({
      naive: 0,
      fgmt: 14,
      gmt: 56,
      oracle: 0,
    });

    const evaluated = jsonLines((await run('evaluate', 'tune.zip', '--data', 'b', '--json')).stdout);
    expect(evaluated.map(({ checkpoint }) => checkpoint)).toEqual(inspected.checkpoints.map(({ label }) => label));
    expect(evaluated.at(-1)?.['accuracy']).toBeGreaterThan(evaluated[0]?.['accuracy'] as number);
  });

  it('evaluates by the loss that the network was trained for, and says which', async () => {
    const trained = await run(
      'train', '--data', 'b', ...model, '--epochs', '2', '--batch-size', '16', '--loss', 'mean-squared-error', '--out',
      'squares.zip', '--final', 'squares.safetensors',
    );
    expect({ code: trained.code, stderr: trained.stderr }).toEqual({ code: 0, stderr: '' });
    // In f64, from the file and the images as they were written.
    const tensors = readSafetensors(readFileSync(join(directory, 'squares.safetensors'))).tensors;
    const of = (name: string): Float32Array => new Float32Array(Uint8Array.from(tensors.get(name)?.bytes ?? []).buffer);
    const layer = (x: readonly number[], name: string): number[] =>
      [...of(`${name}.bias`)].map((bias, o) =>
        x.reduce((sum, value, i) => sum + value * (of(`${name}.weight`)[o * x.length + i] as number), bias),
      );
    const { pixels, labels } = striped(60, 6, 3, 2);
    const scores = labels.map((_, i) =>
      layer(
        layer(
          [...pixels.subarray(36 * i, 36 * (i + 1))].map((level) => level / 255),
          'linear1',
        ).map((x) => Math.max(0, x)),
        'linear2',
      ),
    );
    const mean = (numbers: readonly number[]): number => numbers.reduce((sum, value) => sum + value, 0) / numbers.length;
    const squares = mean(scores.flatMap((logits, i) => logits.map((logit, c) => (logit - Number(c === labels[i])) ** 2)));
    const entropy = (smoothing: number): number => mean(scores.map((logits, i) => {
      const sum = Math.log(logits.reduce((total, logit) => total + Math.exp(logit), 0));
      return logits.reduce((total, logit, c) => total - ((1 - smoothing) * Number(c === labels[i]) + smoothing / 3) * (logit - sum), 0);
    }));

    const evaluated = async (...args: string[]): Promise<Record<string, unknown>> =>
      jsonLines((await run('evaluate', ...args, '--data', 'b', '--json')).stdout).at(-1) ?? {};
    const smoothed = { kind: 'softmax-cross-entropy', labelSmoothing: 0.1 };
    for (const [args, measured, loss] of [
      [['squares.zip'], { kind: 'mean-squared-error' }, squares],
      [['squares.safetensors', '--graph', 'squares.zip'], { kind: 'mean-squared-error' }, squares],
      [['squares.safetensors', ...model], { ...smoothed, labelSmoothing: 0 }, entropy(0)],
      [['squares.zip', '--label-smoothing', '0.1'], smoothed, entropy(0.1)],
    ] as const) {
      const result = await evaluated(...args);
      expect(result, args.join(' ')).toMatchObject({ measured });
      expect(result['loss']).toBeCloseTo(loss, 5);
    }
    expect((await run('evaluate', 'squares.zip', '--data', 'b')).stdout).toContain('loss: mean-squared-error');
    const ported = await run(
      'transfer', 'squares.zip', '--target', 'squares.safetensors', '--data', 'b', '--method', 'naive', '--steps', '1',
      '--stop-rule', 'last', '--record', 'squares.json', '--json',
    );
    expect((jsonLines(ported.stdout).at(-1) as { testLoss: { target: number } }).testLoss.target).toBeCloseTo(squares, 5);
  });

  it('runs the demo on two folders and writes what it says', async () => {
    const { code, stdout, stderr } = await run(
      'demo', '--data', 'a', '--data-after', 'b', '--widths', '16', '--pairs', '2', '--base-epochs', '2', '--fine-tune-epochs', '2',
      '--iterations', '0,2', '--kept-heads', '--out-dir', 'out', '--json',
    );
    expect(stderr).toBe('');
    expect(code).toBe(0);
    const lines = jsonLines(stdout);
    expect(lines.filter(({ event }) => event === 'method')).toHaveLength(10);
    const { written } = lines.at(-1) as { written: string[] };
    expect(readdirSync(join(directory, 'out')).toSorted()).toEqual(written.map((path) => path.slice('out/'.length)).toSorted());
    // Whoever finds the figure finds how it came about, whatever the options were.
    const figure = readFileSync(join(directory, 'out', 'transfer.svg'), 'utf8').replaceAll(/<\/text>\s*<text[^>]*>/g, ' ');
    expect(figure).toMatch(/Made by: trajport demo, settings in record\.json<[\s\S]*<\/svg>/);
    const { settings, names } = JSON.parse(readFileSync(join(directory, 'out', 'record.json'), 'utf8')) as {
      settings: object;
      names: object;
    };
    expect({ ...settings, ...names }).toMatchObject({ baseEpochs: 2, fineTuneEpochs: 2, before: 'a', after: 'b' });
    // A port that came to nothing is told in the text, beside the table.
    expect(settings).toMatchObject({ zeroHead: false });
    const plain = await run(
      'demo', '--data', 'a', '--data-after', 'b', '--widths', '16', '--pairs', '1', '--base-epochs', '1', '--fine-tune-epochs', '1',
      '--iterations', '0', '--steps', '2', '--out-dir', 'plain',
    );
    expect(plain.stdout).toContain('are zeros before each port');
    expect(JSON.parse(readFileSync(join(directory, 'plain', 'record.json'), 'utf8'))).toMatchObject({ settings: { zeroHead: true } });
    const methods = lines.filter(({ event }) => event === 'method') as { method: string; chosenStep: number }[];
    const unported = methods.filter(({ method, chosenStep }) => method === 'naive' && chosenStep === 0).length;
    expect(unported).toBe(1);
    const text = await run(
      'demo', '--data', 'a', '--data-after', 'b', '--widths', '16', '--pairs', '2', '--base-epochs', '2', '--fine-tune-epochs', '2',
      '--iterations', '0,2', '--kept-heads', '--out-dir', 'out',
    );
    expect(text.stdout).toContain('Naive kept step 0 in 1 of 2: v2 as it was');
    const gmt = lines.find((line) => line['event'] === 'method' && line['method'] === 'gmt');
    expect(sha256('out/v2-gmt.safetensors')).toBe(gmt?.['sha256']);
  });
});

describe('exit codes', () => {
  it.each([
    [2, ['trian'], 'trajport train'],
    [2, ['train', '--epoch', '3', '--out', 'x'], '--epochs'],
    [2, ['train', '--data', 'a'], 'nothing would be written'],
    [2, ['transfer'], 'needs BUNDLE'],
    [2, ['transfer', 'tune.zip', '--data', 'b', '--out', 'x'], 'either --target FILE or --target-seed N'],
    [2, ['inspect', 'a', 'b'], 'no further argument'],
    [2, ['transfer', 'tune.zip', 'v2.pth'], 'did you mean --target "v2.pth" ?'],
    [2, ['transfer', 'tune.zip', 'v3.pth', '--target', 'v2.pth'], 'no further argument "v3.pth"\n'],
    [
      2,
      ['transfer', 'tune.zip', '--target', 'v2.safetensors', '--data', 'b', '--out', 'x.npz'],
      '--out x.npz would hold safetensors: let its name end with .safetensors; trajport convert',
    ],
    [
      2,
      ['transfer', 'tune.zip', '--target-seed', '2', '--data', 'b', '--out', 'x', '--heap-limit', '15MiB'],
      '--heap-limit is a size from 16.0 MiB to 2.0 GiB, not "15MiB"',
    ],
    [
      2,
      ['transfer', 'tune.zip', '--target-seed', '2', '--data', 'b', '--out', 'x', '--freeze', 'nope'],
      '--freeze: expected groups of ["linear1"], got "nope"',
    ],
    [2, ['transfer', 'tune.zip', '--target-seed', '2', '--data', 'b', '--out', 'x', '--skip', 'nope'], '--skip: expected a parameter'],
    [
      2,
      ['transfer', 'tune.zip', '--target-seed', '2', '--data', 'b', '--out', 'x', '--from', 'nope'],
      "--from: expected one of the source's checkpoints (start, ",
    ],
    [
      2,
      ['transfer', 'tune.zip', '--target-seed', '2', '--data', 'b', '--out', 'x', '--trajectory', 'real', '--steps', '9'],
      '--steps: expected at most 4',
    ],
    [
      2,
      ['transfer', 'tune.zip', '--target-seed', '2', '--data', 'b', '--out', 'x', '--held-out', '0', '--stop-rule', 'label-free'],
      "--stop-rule: expected 'last'",
    ],
    [
      2,
      ['transfer', 'tune.zip', '--target-seed', '2', '--data', 'b', '--out', 'x', '--max-sweeps', '0'],
      '--max-sweeps is an integer from 1',
    ],
    [2, ['plan', 'tune.zip', '--freeze', 'nope'], '--freeze: expected'],
    [
      2,
      ['train', '--data', 'a', '--model', 'resnet-small', '--widths', '64', '--final', 'x'],
      '--widths is for --model mlp, not for resnet-small',
    ],
    [2, ['train', '--data', 'a', '--graph', 'tune.zip', '--no-bias', '--final', 'x'], '--no-bias is for --model mlp, not for --graph'],
    [
      2,
      ['train', '--data', 'a', '--iterations', '5', '--checkpoints', '99', '--out', 'x'],
      '--checkpoints: expected at most 2, the whole epochs of this training, got 99',
    ],
    [
      2,
      ['train', '--data', 'a', '--iterations', '5', '--checkpoint-iterations', '6', '--out', 'x'],
      '--checkpoint-iterations: expected at most 5',
    ],
    [2, ['train', '--data', 'a', '--model', 'small-conv', '--width', '0.5', '--final', 'x'], '--width: expected an integer'],
    [
      4,
      ['transfer', 'tune.zip', '--target-seed', '2', '--data', 'b', '--out', 'x', '--history-budget', '1KiB'],
      '--history-budget: expected at least',
    ],
    [2, ['transfer', 'tune.zip', '--target', 'v2.safetensors', '--data', 'b', '--record', 'x.zip'], '--record x.zip would hold JSON'],
    [2, ['train', '--data', 'a', '--final', 'x.PT'], '--final x.PT would hold safetensors'],
    [
      2,
      ['train', '--data', 'a', '--out', 'x.safetensors', '--final', 'y.safetensors'],
      '--out x.safetensors would hold a bundle: let its name end with .zip',
    ],
    [2, ['pack', 'v1.safetensors', '--graph', 'tune.zip', '--out', 'x.json'], '--out x.json would hold a bundle'],
    [3, ['inspect', 'missing.zip'], 'missing.zip: no such file'],
    [3, ['train', '--data', 'nowhere', '--out', 'x.zip'], 'nowhere'],
    [3, ['train', '--data', '.', '--out', 'x.zip'], 'has no train images'],
    // What cannot be looked at: a name too long stands for a folder that others may not enter, which to root is open.
    [3, ['pack', LONG_NAME, 'v1.safetensors', '--graph', 'tune.zip', '--out', 'x.zip'], 'x: its name is too long'],
    [3, ['pack', 'v1.safetensors', '--graph', 'tune.zip', '--out', `${LONG_NAME}.zip`], 'x.zip: cannot be written (its name is too long)'],
    [3, ['train', '--data', LONG_NAME, '--out', 'x.zip'], 'x: cannot be read (its name is too long)'],
    [3, ['train', '--data', `text:${LONG_NAME}`, '--model', 'gpt2', '--out', 'x.zip'], 'x: its name is too long'],
    [
      2,
      ['transfer', 'tune.zip', '--target', 'tune.zip', '--data', 'b', '--out', 'tune.zip'],
      '--out tune.zip is an input of the same command',
    ],
    [2, ['convert', 'v1.safetensors', 'v1.safetensors'], 'OUT v1.safetensors is an input of the same command'],
    [2, ['convert', 'v1.safetensors', 'x.pt'], 'OUT is a name that ends with .safetensors, .npz, .json, not x.pt'],
    [
      2,
      ['transfer', 'tune.zip', '--target', 'v2.safetensors', '--oracle-target', 'v1.safetensors', '--data', 'b', '--out', 'x'],
      '--oracle-target is for --method oracle, not for gmt',
    ],
    [
      2,
      ['transfer', 'tune.zip', '--target', 'v2.safetensors', '--method', 'naive', '--micro-batch', '4', '--data', 'b', '--out', 'x'],
      '--micro-batch is for --method fgmt, gmt, not for naive',
    ],
    [2, ['train', '--data', 'a', '--store-seed', '--final', 'x'], '--store-seed goes with --out FILE'],
    [
      2,
      ['train', '--data', 'a', '--store-seed', '--initial', 'v1.safetensors', '--out', 'x.zip'],
      '--store-seed is for weights drawn from --seed',
    ],
    [2, ['evaluate', 'tune.zip', '--data', 'b', '--model', 'mlp'], '--model goes with a file of weights; a bundle carries its own network'],
    [2, ['verify', 'tune.zip', '--graph', 'tune.zip'], '--graph goes with a file of weights'],
    [2, ['plan', 'tune.zip', '--widths', '3'], '--widths is for --model mlp, not for a bundle'],
    [2, ['plan', 'tune.zip', '--classes', '3'], '--classes goes with --data'],
    [2, ['verify', 'tune.zip', '--data', 'a'], "--data goes with --model; a bundle's network has a shape of its own"],
    [2, ['verify', 'tune.zip', '--context', '5'], '--context goes with --model'],
    [2, ['plan', '--model', 'mlp', '--input', '3,8,8'], '--model needs --input C,H,W and --classes N'],
    [2, ['plan', '--model', 'mlp', '--input', '3,8,8', '--classes', '4', '--data', 'a'], '--input and --data exclude each other'],
    [2, ['verify', '--graph', 'tune.zip', '--input', '3,8,8'], '--input goes with --model'],
    [2, ['demo', '--train-count', '50', '--widths', '8,8', '--steps', '1'], '--steps must be at least 2 without --kept-heads: behind last'],
    [2, ['demo', '--data', 'generated:after'], '--data generated:after is one task: give the other with --data-after'],
    [2, ['demo', '--data', 'text:a', '--data-after', 'b'], '--data of demo takes images, not text:a'],
    [3, ['demo', '--data', 'nosuch'], 'nosuch: no such folder of images'],
    [3, ['transfer', 'tune.zip', '--target', 'v2.safetensors', '--data', 'b', '--out', '/dev/null'], '/dev/null: is a device or a pipe'],
    [3, ['inspect', 'https://example.org/tune.zip'], 'the command line reads files, not URLs'],
    // Said before the data are looked for, which may take seconds to read.
    [
      3,
      ['transfer', 'tune.zip', '--target', 'missing.safetensors', '--data', 'nowhere', '--out', 'x'],
      'missing.safetensors: no such file',
    ],
    [3, ['evaluate', 'missing.safetensors', '--graph', 'tune.zip', '--data', 'nowhere'], 'missing.safetensors: no such file'],
    [3, ['train', '--initial', 'missing.safetensors', '--data', 'nowhere', '--final', 'x'], 'missing.safetensors: no such file'],
    [
      2,
      ['transfer', 'tune.zip', '--target-seed', '2', '--data', 'nowhere', '--out', 'x', '--freeze', 'nope'],
      '--freeze: expected groups of',
    ],
    [
      2,
      ['transfer', 'tune.zip', '--target-seed', '2', '--data', 'nowhere', '--out', 'x', '--skip', 'nope'],
      '--skip: expected a parameter',
    ],
    [
      2,
      ['transfer', 'tune.zip', '--target-seed', '2', '--data', 'nowhere', '--out', 'x', '--from', 'nope'],
      "--from: expected one of the source's checkpoints (start, ",
    ],
    [3, ['transfer', 'tune.zip', '--target', 'v2.safetensors', '--data', 'b', '--out', 'a'], 'is a directory'],
    // Node 20's own recursive mkdir never ends there.
    [3, ['train', '--data', 'a', '--out', '/proc/none/x.zip'], 'directory cannot be made'],
    [
      3,
      ['evaluate', 'v1.safetensors', '--model', 'mlp', '--widths', '17', '--data', 'a'],
      "expected the network's tensors, got 3 that do not fit (shape: linear1.weight expected [17, 36], got [16, 36]; ",
    ],
    [
      4,
      ['train', '--data', 'a', '--widths', '65536', '--heap-limit', '17MiB', '--epochs', '1', '--out', 'x.zip'],
      '--heap-limit SIZE raises the cap (at most 2.0 GiB); --micro-batch auto',
    ],
    [
      4,
      ['transfer', 'tune.zip', '--target', 'v2.safetensors', '--data', 'b', '--history-budget', '1', '--out', 'x'],
      'expected at least 9216 bytes (9.0 KiB) for the summed similarities alone, got 1',
    ],
  ] as const)('%i for trajport %j', async (expected, args, message) => {
    const { code, stderr, stdout } = await run(...args);
    // What was said before it failed may stand on stdout; a result may not.
    expect({ code, stderr, wrote: stdout.includes('wrote') }).toEqual({
      code: expected,
      stderr: expect.stringContaining(message),
      wrote: false,
    });
    expect(stderr).not.toMatch(/\n +at /);
    const json = await run(...args, '--json');
    expect(json.code).toBe(expected);
    expect(jsonLines(json.stdout).at(-1)).toMatchObject({ event: 'error', exitCode: expected });
    for (const name of ['x', 'x.zip', 'x.npz', 'x.PT', 'x.safetensors', 'x.json']) expect(existsSync(join(directory, name))).toBe(false);
  });

  it.each([
    ['demo', ['demo', '--data', 'nosuch', '--out-dir']],
    ['train', ['train', '--data', 'nosuch', '--out']],
    ['pack', ['pack', 'v1.safetensors', '--model', 'mlp', '--input', '1,1,1', '--classes', '2', '--out']],
  ] as const)('%s that fails leaves no folder of its own, and those that were there', async (_, args) => {
    mkdirSync(join(directory, 'there'));
    expect((await run(...args, 'there/new/deep/out.zip')).code).toBe(3);
    expect(readdirSync(join(directory, 'there'))).toEqual([]);
    rmdirSync(join(directory, 'there'));
  });

  it('3 for a bundle that is cut short, 1 where a hash no longer holds', async () => {
    const whole = readFileSync(join(directory, 'tune.zip'));
    writeFileSync(join(directory, 'cut.zip'), whole);
    truncateSync(join(directory, 'cut.zip'), whole.length - 100);
    expect((await run('inspect', 'cut.zip')).code).toBe(3);
    // Without its end it is still known for what it was, and asked for no network.
    writeFileSync(join(directory, 'half.zip'), whole.subarray(0, whole.length >> 1));
    for (const args of [
      ['verify'],
      ['evaluate'],
      ['inspect'],
      ['plan'],
      ['evaluate', 'v1.safetensors', '--graph'],
      ['train', '--data', 'a', '--final', 'x', '--initial'],
      ['transfer', '--target-seed', '1', '--out', 'x'],
    ]) {
      const { code, stderr } = await run(...args, 'half.zip');
      expect({ args, code, stderr }).toEqual({
        args,
        code: 3,
        stderr: expect.stringContaining('half.zip: is not a bundle, or is cut short'),
      });
    }
    // One bit in the middle of the file: in some checkpoint's bytes.
    const flipped = Uint8Array.from(whole);
    flipped[whole.length >> 1] = (flipped[whole.length >> 1] as number) ^ 1;
    writeFileSync(join(directory, 'flipped.zip'), flipped);
    expect([1, 3]).toContain((await run('verify', 'flipped.zip')).code);
    // One in the bytes of the second checkpoint: those after it build on it, and the fault is said once.
    const { checkpoints } = jsonLines((await run('inspect', 'tune.zip', '--json')).stdout)[0] as {
      checkpoints: { label: string; storedBytes: number }[];
    };
    const [first, second] = checkpoints.map(({ storedBytes }) => storedBytes) as [number, number];
    const spoilt = Uint8Array.from(whole);
    const at = first + second;
    spoilt[at] = (spoilt[at] as number) ^ 1;
    writeFileSync(join(directory, 'spoilt.zip'), spoilt);
    const verified = await run('verify', 'spoilt.zip');
    expect({ code: verified.code, faults: verified.stdout.match(/expected SHA-256/g)?.length }).toEqual({ code: 1, faults: 1 });
    expect(verified.stdout).toContain(
      `  ${checkpoints
        .slice(1)
        .map(({ label }) => label)
        .join(', ')}: spoilt.zip: checkpoint epoch-1 as stored: expected`,
    );
    const told = await run('verify', 'spoilt.zip', '--json');
    expect(jsonLines(told.stdout)).toMatchObject([
      { event: 'bundle', passed: false }, { event: 'result', command: 'verify', passed: false },
    ]);
    // Whatever reads it names the file and says what that means.
    for (const args of [
      ['evaluate', 'spoilt.zip', '--data', 'b'],
      ['convert', 'spoilt.zip', 'x.safetensors'],
      ['transfer', 'spoilt.zip', '--target-seed', '2', '--data', 'b', '--out', 'x'],
    ]) {
      const { code, stderr } = await run(...args);
      expect({ args, code, stderr }).toEqual({
        args,
        code: 3,
        stderr: expect.stringMatching(
          /error: spoilt\.zip: checkpoint epoch-1 as stored: expected SHA-256 .*\n +the file is damaged, or was changed/,
        ),
      });
    }
  });

  it('3 for a file that is no weights, 2 for weights without a network', async () => {
    for (const command of ['verify', 'evaluate']) {
      expect(await run(command, 'a/train-images-idx3-ubyte.gz')).toMatchObject({
        code: 3,
        stderr: expect.stringContaining('expected a file of safetensors'),
      });
      expect(await run(command, 'v1.safetensors')).toMatchObject({
        code: 2,
        stderr: expect.stringContaining('v1.safetensors (safetensors) holds no network'),
      });
    }
  });

  it.runIf(process.platform === 'linux')('3 in one line where what is printed cannot be written; a closed pipe is no failure', async () => {
    const shell = (script: string) =>
      promisify(execFile)('bash', ['-c', script, 'bash', process.execPath, cliPath], { cwd: directory, encoding: 'utf8' }).then(
        ({ stderr }) => ({ code: 0, stderr }), ({ code, stderr }: { code: number; stderr: string }) => ({ code, stderr }),
      );
    const full = { code: 3, stderr: 'error: what is printed cannot be written (the disk is full)\n' };
    expect(await shell('"$1" "$2" --help > /dev/full')).toEqual(full);
    expect(await shell('"$1" "$2" train --data a --widths 4 --iterations 1 --final lost.safetensors > /dev/full')).toEqual(full);
    expect(readdirSync(directory).filter((name) => name.includes('lost') && !name.includes('.resume'))).toEqual([]);
    // What stdout has no room for is no reason to hide what went wrong, nor stderr's failure one to change the code.
    expect((await shell('"$1" "$2" inspect missing --json > /dev/full')).code).toBe(3);
    expect((await shell('"$1" "$2" trian 2> /dev/full')).code).toBe(2);
    expect(await shell('set -o pipefail; "$1" "$2" train --data a --widths 4 --iterations 1 --final piped.safetensors | true')).toEqual({
      code: 0,
      stderr: '',
    });
    expect(existsSync(join(directory, 'piped.safetensors'))).toBe(true);
  });

  it.runIf(process.platform === 'linux')('3 from a folder that is gone; an output of a whole path is written', async () => {
    const from = (out: string) =>
      promisify(execFile)(
        'bash',
        [
          '-c', 'mkdir gone; cd gone; rmdir ../gone; exec "$@"', 'bash', process.execPath, cliPath, 'train', '--widths', '4',
          '--train-count', '200', '--iterations', '1', '--final', out,
        ],
        { cwd: directory, encoding: 'utf8' },
      ).then(() => ({ code: 0, stderr: '' }), ({ code, stderr }: { code: number; stderr: string }) => ({ code, stderr }));
    const message = 'error: gone.safetensors: cannot be written (the current folder is gone)\n';
    expect(await from('gone.safetensors')).toEqual({ code: 3, stderr: message });
    expect(await from(join(directory, 'gone.safetensors'))).toEqual({ code: 0, stderr: '' });
    expect(existsSync(join(directory, 'gone.safetensors'))).toBe(true);
  });

  it.runIf(process.platform === 'linux')('3 at once for a pipe or a device where a file is read', async () => {
    execFileSync('mkfifo', [join(directory, 'pipe')]);
    for (const args of [
      ['inspect', 'pipe'],
      ['verify', 'pipe'],
      ['convert', 'pipe', 'x.npz'],
      ['evaluate', 'v1.safetensors', '--graph', 'pipe'],
      ['train', '--data', 'text:pipe', '--model', 'gpt2', '--final', 'x'],
      ['inspect', '/dev/zero'],
    ]) {
      expect({ args, ...(await run(...args)) }).toMatchObject({ args, code: 3, stderr: expect.stringContaining('is not a regular file') });
    }
    expect(await run('train', '--data', 'a', '--resume-file', 'pipe', '--final', 'x')).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('pipe: is a device or a pipe, where a file is to be written'),
    });
    rmSync(join(directory, 'pipe'));
  }, 20_000);

  it('names the option in --json wherever it is one that is at fault', async () => {
    for (const [args, option] of [
      [['train', '--epochs', '0'], '--epochs'],
      [['train', '--epoch', '1'], '--epoch'],
      [
        ['transfer', 'tune.zip', '--data', 'b', '--target-seed', '2', '--out', 'x', '--held-out', '0', '--stop-rule', 'label-free'],
        '--stop-rule',
      ],
      [['train', '--data', 'a', '--out', 'x.pt'], '--out'],
      [['evaluate', 'tune.zip', '-x'], '-x'],
    ] as const) {
      expect(jsonLines((await run(...args, '--json')).stdout).at(-1)).toMatchObject({ event: 'error', option, exitCode: 2 });
    }
    const misspelt = jsonLines((await run('trian', '--json')).stdout).at(-1);
    expect(misspelt).toMatchObject({ suggestion: 'trajport train' });
    expect(misspelt).not.toHaveProperty('option');
  });

  it('130 when interrupted, with nothing partial, and a resume point', async () => {
    const { code, stderr } = await trajport(['train', '--data', 'a', '--widths', '512,512', '--epochs', '9000', '--out', 'never.zip'], {
      cwd: directory,
      signal: { name: 'SIGINT', afterMs: 1500 },
    });
    expect({ code, said: stderr.includes('interrupted') }).toEqual({ code: 130, said: true });
    expect(readdirSync(directory).filter((name) => name.includes('never') && !/^never\.zip\.resume(\.previous)?$/.test(name))).toEqual([]);
  });

  it('0 with help and version, on stdout', async () => {
    const overview = await run();
    expect(overview.code).toBe(0);
    expect(overview.stdout).toContain('Commands');
    // Those of docs/cli.md, all of them.
    const documented = [...readFileSync(join(root, 'docs', 'cli.md'), 'utf8').matchAll(/^\| ([\d, ]+) \| /gm)].flatMap(([, codes]) =>
      (codes as string).split(', '),
    );
    expect(documented).toHaveLength(9);
    for (const code of documented) expect(overview.stdout).toMatch(new RegExp(`^  ${code} +\\w`, 'm'));
    for (const name of ['demo', 'train', 'transfer', 'evaluate', 'inspect', 'verify', 'plan', 'download']) {
      expect(overview.stdout).toContain(`\n  ${name} `);
      const { code, stdout } = await run(name, '--help');
      expect(code).toBe(0);
      expect(stdout).toContain(`trajport ${name}`);
      for (const line of stdout.split('\n'))
        if (!line.startsWith('  trajport') && !line.startsWith('  #')) expect(line.length).toBeLessThanOrEqual(100);
    }
    // With --json the same as a result, like that of any command.
    for (const [args, fields] of [
      [['--help'], { command: 'help', text: overview.stdout }],
      [['help'], { command: 'help', text: overview.stdout }],
      [['train', '-qh'], { command: 'help', of: 'train', text: expect.stringContaining('--widths') }],
      [['help', 'train'], { command: 'help', of: 'train', text: expect.stringContaining('--widths') }],
      [['train', '--help'], { command: 'help', of: 'train', text: expect.stringContaining('--widths') }],
      [['--version'], { command: 'version', version: expect.stringMatching(/^\d/) }],
    ] as const) {
      const { code, stdout } = await run(...args, '--json');
      expect({ code, lines: jsonLines(stdout) }).toEqual({ code: 0, lines: [expect.objectContaining({ event: 'result', ...fields })] });
    }
    for (const version of ['version', '--version', '-v', '-V']) expect((await run(version)).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});
