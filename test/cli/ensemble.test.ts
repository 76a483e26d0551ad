/** `evaluate` of several weights, and with `--ensemble` of what they answer together. */
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readForeign } from '../../src/bundle/foreign/formats.ts';
import { writeForeign } from '../../src/bundle/foreign/write.ts';
import type { RawTensor } from '../../src/bundle/safetensors.ts';
import { jsonLines, trajport, writeImageFolder } from './fixtures.ts';

let directory: string;
const run = (...args: string[]) => trajport(args, { cwd: directory });
const data = ['--data', 'a', '--part', 'train'];

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'trajport-ensemble-'));
  writeImageFolder(join(directory, 'a'));
  for (const [seed, ...more] of [['1', '--out', 'one.zip'], ['2'], ['3']]) {
    const made = await run(
      'train', '--data', 'a', '--widths', '16', '--epochs', '2', '--seed', seed as string, '--final', `${seed}.safetensors`, ...more,
    );
    expect({ code: made.code, stderr: made.stderr }).toEqual({ code: 0, stderr: '' });
  }
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** As Hugging Face saves a model, and as a training leaves its checkpoints. */
describe('a folder', () => {
  beforeAll(() => {
    for (const [from, to] of [['1', 'model/model'], ['1', 'run/epoch-1'], ['2', 'run/epoch-2']] as const) {
      mkdirSync(dirname(join(directory, to)), { recursive: true });
      copyFileSync(join(directory, `${from}.safetensors`), join(directory, `${to}.safetensors`));
    }
    mkdirSync(join(directory, 'empty'));
  });

  it('of one checkpoint stands for it, to be evaluated and to be trained onward', async () => {
    const score = async (weights: string): Promise<object> => {
      const { code, stdout, stderr } = await run('evaluate', weights, '--graph', 'one.zip', ...data, '--json');
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      return { ...jsonLines(stdout)[0], weights: null };
    };
    expect(await score('model')).toEqual(await score('1.safetensors'));
    const trained = async (initial: string, final: string): Promise<Buffer> => {
      const made = await run('train', '--data', 'a', '--widths', '16', '--iterations', '2', '--initial', initial, '--final', final);
      expect({ code: made.code, stderr: made.stderr }).toEqual({ code: 0, stderr: '' });
      return readFileSync(join(directory, final));
    };
    expect(await trained('model', 'onward-1.safetensors')).toEqual(await trained('1.safetensors', 'onward-2.safetensors'));
  });

  it.each([
    ['run', 'run: a folder of 2 checkpoints, where one is wanted: run/epoch-1.safetensors, say'],
    ['empty', 'empty: holds no file that is named like a checkpoint'],
    ['none.safetensors', 'none.safetensors: no such file'],
  ])('%s is refused where not one is meant', async (path, message) => {
    for (const args of [
      ['evaluate', path, '--graph', 'one.zip', ...data], ['train', '--data', 'a', '--initial', path, '--final', 'x.safetensors'],
    ]) {
      const { code, stderr } = await run(...args);
      expect({ code, stderr }).toEqual({ code: 3, stderr: expect.stringContaining(message) as string });
    }
  });
});

describe('weights', () => {
  const files = ['1.safetensors', '2.safetensors', '3.safetensors'];
  const score = async (...args: string[]): Promise<Record<string, unknown>[]> => {
    const { code, stdout, stderr } = await run('evaluate', ...args, '--graph', 'one.zip', ...data, '--json');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    return jsonLines(stdout);
  };

  it('are each as alone, and as an ensemble no worse in loss than in the mean', async () => {
    const alone = (await Promise.all(files.map((file) => score(file)))).flat();
    expect(await score(...files)).toEqual(alone);
    const together = await score(...files, '--ensemble');
    expect(together.slice(0, 3)).toEqual(alone);
    expect(together).toHaveLength(4);
    expect(together[3]).toMatchObject({ event: 'result', weights: null, checkpoint: null, ensemble: files, count: alone[0]?.['count'] });
    const loss = (record: Record<string, unknown> | undefined): number => record?.['loss'] as number;
    expect(loss(together[3])).toBeLessThan(alone.reduce((sum, record) => sum + loss(record), 0) / 3);
    expect(together[3]?.['disagreement']).toBeGreaterThan(0);
  });

  it('that are all sure of another class, and of the same, have their own loss together', async () => {
    const { tensors } = await readForeign({ name: '1', bytes: readFileSync(join(directory, '1.safetensors')) });
    // A bias that outweighs every input: class 0, by 5,000, and e to the −5,000 is zero.
    const { bytes = new Uint8Array(), ...bias } = tensors.get('linear2.bias') ?? {};
    const values = new Float32Array(bytes.length / 4);
    values[0] = 5000;
    const sure = new Map([...tensors, ['linear2.bias', { ...bias, bytes: new Uint8Array(values.buffer) } as RawTensor]]);
    const { files: [file] } = await writeForeign(sure, { format: 'safetensors', name: 'sure.safetensors' });
    writeFileSync(join(directory, 'sure.safetensors'), file?.bytes ?? '');
    const { code, stdout, stderr } = await run(
      'evaluate', 'sure.safetensors', 'sure.safetensors', '--ensemble', '--graph', 'one.zip', ...data, '--json',
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const [alone, , together] = jsonLines(stdout);
    expect(alone?.['loss']).toBeGreaterThan(1000);
    expect(together?.['loss']).toBeCloseTo(alone?.['loss'] as number, 1);
    expect(together).toMatchObject({ disagreement: 0, accuracy: alone?.['accuracy'] });
  });

  it('are shown with what they disagree on', async () => {
    const { stdout } = await run('evaluate', ...files, '--ensemble', '--graph', 'one.zip', ...data);
    expect(stdout).toMatch(/Two of them answer differently on [\d.]+ %/);
    expect(stdout).toMatch(/ensemble of 3 +[\d.]+ +[\d.]+ +\d+ of \d+/);
  });
});

it('checkpoints of a bundle are an ensemble, too', async () => {
  const records = jsonLines((await run('evaluate', 'one.zip', '--ensemble', ...data, '--json')).stdout);
  expect(records.map(({ checkpoint }) => checkpoint)).toEqual(['start', 'epoch-1', 'epoch-2', null]);
  expect(records.at(-1)?.['ensemble']).toEqual(['start', 'epoch-1', 'epoch-2']);
});

it.each<[readonly string[], string]>([
  [['1.safetensors', 'one.zip'], 'one.zip is a bundle, and evaluated by itself\n       did you mean --graph one.zip ?'],
  [['1.safetensors', 'one.zip', '--graph', 'one.zip'], 'one.zip is a bundle, and evaluated by itself\n'],
  [['1.safetensors', '--graph', 'one.zip', '--ensemble'], '--ensemble needs two weights at least'],
  [['one.zip', '--checkpoint', 'start', '--ensemble'], '--ensemble needs two weights at least'],
  [['1.safetensors', '2.safetensors', '--checkpoint', 'start', '--graph', 'one.zip'], '--checkpoint needs a bundle'],
  [['one.zip', '--ensemble', '--workers', '2'], '--workers is not for --ensemble'],
  [['one.zip', '--ensemble', '--loss', 'mean-squared-error'], '--ensemble measures softmax-cross-entropy'],
  [['one.zip', '--ensemble', '--label-smoothing', '0.1'], '--ensemble measures softmax-cross-entropy'],
])('%j is refused', async (args, message) => {
  expect(await run('evaluate', ...args, ...data)).toMatchObject({ code: 2, stderr: expect.stringContaining(message) });
});

it('a file that is missing among several is named', async () => {
  expect(await run('evaluate', '1.safetensors', 'no.safetensors', '--graph', 'one.zip', ...data)).toMatchObject({
    code: 3, stderr: expect.stringContaining('no.safetensors: no such file'),
  });
});
