/** Language models on the command line: train → transfer → evaluate on a text, token files, and what is refused. */
import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeForeign } from '../../src/bundle/foreign/write.ts';
import { Random, streams } from '../../src/tensor/random.ts';
import { hasTokenPart, loadTokens } from '../../src/cli/tokens.node.ts';
import { jsonLines, trajport, writeImageFolder } from './fixtures.ts';

const LETTERS = 24;
let directory: string;
const at = (name: string): string => join(directory, name);
const run = (...args: string[]) => trajport(args, { cwd: directory });

/** Each letter is followed by one other nine times of ten; `shift` says by which. */
function letters(seed: number, shift: number, length: number): string {
  const random = new Random(seed, streams.generatedImages);
  const text = [0];
  while (text.length < length)
    text.push(random.below(10) < 9 ? ((text.at(-1) as number) * 5 + 3 + shift) % LETTERS : random.below(LETTERS));
  return String.fromCodePoint(...text.map((letter) => 0x61 + letter));
}

const model = ['--model', 'gpt2', '--width', '32', '--depth', '2', '--heads', '4', '--context', '16', '--vocabulary', 'alphabet.txt'];
const training = [...model, '--optimiser', 'adamw', '--learning-rate', '0.003', '--batch-size', '32', '--json'];

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'trajport-tokens-'));
  writeFileSync(at('alphabet.txt'), 'xwvutsrqponmlkjihgfedcba');
  writeFileSync(at('before.txt'), letters(1, 0, 10_000));
  writeFileSync(at('after.txt'), letters(2, 7, 10_000));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('train, transfer, evaluate', () => {
  it('ports a fine-tune of a language model: its loss is below the target\'s before any training', async () => {
    const made = [
      await run('train', '--data', 'text:before.txt', ...training, '--iterations', '100', '--final', 'v1.safetensors'),
      await run('train', '--data', 'text:before.txt', ...training, '--iterations', '100', '--seed', '2', '--final', 'v2.safetensors'),
      await run(
        'train', '--data', 'text:after.txt', ...training, '--iterations', '60', '--seed', '3', '--initial', 'v1.safetensors',
        '--out', 'tune.zip',
      ),
    ];
    for (const { code, stderr } of made) expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const evaluations = jsonLines(made[2]?.stdout ?? '').filter(({ event }) => event === 'evaluation') as {
      loss: number;
      perplexity: number;
    }[];
    for (const { loss, perplexity } of evaluations) expect(perplexity).toBeCloseTo(Math.exp(loss), 9);

    const data = ['--data', 'text:after.txt', '--vocabulary', 'alphabet.txt', '--json'];
    const ported = await run(
      'transfer', 'tune.zip', '--target', 'v2.safetensors', ...data, '--method', 'fgmt', '--steps', '6', '--batch-size', '32',
      '--out', 'ported.safetensors',
    );
    expect({ code: ported.code, stderr: ported.stderr }).toEqual({ code: 0, stderr: '' });
    const { testLoss, testPerplexity, ...result } = jsonLines(ported.stdout).at(-1) as {
      testLoss: Record<string, number>;
      testPerplexity: Record<string, number>;
    };
    expect(testLoss['transferred'], JSON.stringify(testLoss)).toBeLessThan((testLoss['target'] as number) - 0.1);
    expect(testPerplexity['transferred']).toBeCloseTo(Math.exp(testLoss['transferred'] as number), 9);

    const evaluated = await run('evaluate', 'ported.safetensors', '--graph', 'tune.zip', ...data);
    // The last tenth, 1,000 characters, holds 62 windows of 16 with a label behind each.
    expect(jsonLines(evaluated.stdout)[0]).toMatchObject({
      count: 62 * 16,
      loss: testLoss['transferred'],
      perplexity: testPerplexity['transferred'],
    });
    // How the source itself does is told before the work.
    const source = jsonLines(
      (await run('evaluate', 'tune.zip', ...data)).stdout,
    ).at(-1) as Record<'loss' | 'accuracy' | 'perplexity', number>;
    expect(result).toMatchObject({ sourceLoss: source.loss, sourceAccuracy: source.accuracy });
    const naive = ['transfer', 'tune.zip', '--target', 'v2.safetensors', '--method', 'naive', '--steps', '1', '--record', 'shifted.json'];
    const told = `source: a loss of ${source.loss.toFixed(4)} (perplexity ${source.perplexity.toFixed(2)}) on 62 windows\n`;
    expect((await run(...naive, ...data.slice(0, -1))).stdout).toContain(told);
    writeImageFolder(at('images'));
    const { code, stderr } = await run('transfer', 'tune.zip', '--target', 'v2.safetensors', '--data', 'images', '--out', 'x.safetensors');
    expect(code).toBe(3);
    expect(stderr).toContain('data: expected tokens, which the network reads, got images');
    // e to another loss is no perplexity.
    const [smoothed] = jsonLines(
      (await run('evaluate', 'ported.safetensors', '--graph', 'tune.zip', ...data, '--label-smoothing', '0.1')).stdout,
    );
    expect(smoothed).not.toHaveProperty('perplexity');
    expect(smoothed?.['loss']).toBeGreaterThan(testLoss['transferred'] as number);
  }, 60_000);

  it.each<[string, readonly string[], number, RegExp]>([
    [
      'a short text',
      ['--data', 'text:alphabet.txt', '--context', '30'],
      3,
      /has 22 tokens in its train part; a window of --context 30 takes 31/,
    ],
    ['an empty text', ['--data', 'text:empty.txt'], 3, /empty\.txt: is empty/],
    ['no text', ['--data', 'text:none.txt'], 3, /none\.txt/],
    [
      'a character that the vocabulary lacks',
      ['--data', 'text:after.txt', '--vocabulary', 'few.txt'],
      3,
      /after\.txt, character \d+: expected one of the 3 characters/,
    ],
    ['images for gpt2', ['--data', 'generated:before'], 2, /--model gpt2 reads --data text:PATH/],
    ['text for an MLP', ['--data', 'text:after.txt', '--model', 'mlp'], 2, /need --model gpt2/],
    ['a window of nothing', ['--data', 'text:after.txt', '--context', '0'], 2, /--context is an integer from 1/],
    ['--context for images', ['--data', 'generated:before', '--model', 'mlp', '--context', '8'], 2, /--context is for/],
    ['tokens of unknown number', ['--data', 'tokens:ids.bin'], 2, /needs --classes N/],
    [
      'a token beyond the vocabulary',
      ['--data', 'tokens:ids.bin', '--classes', '9', '--context', '4'],
      3,
      /ids\.bin\.tokens\[9\]: expected a token below 9, got 9/,
    ],
  ])('%s is refused', async (_name, args, code, message) => {
    writeFileSync(at('empty.txt'), '');
    writeFileSync(at('few.txt'), 'abc');
    writeFileSync(at('ids.bin'), new Uint8Array(Uint16Array.from({ length: 40 }, (_, i) => i).buffer));
    const given = args.includes('--model') ? args : [...args, '--model', 'gpt2', '--width', '8', '--depth', '1'];
    const result = await run('train', ...given, '--iterations', '1', '--final', 'x.safetensors');
    expect(result.stderr).toMatch(message);
    expect(result.code).toBe(code);
  });
});

describe('files of tokens', () => {
  const numbers = Uint16Array.from({ length: 50 }, (_, i) => (i * 7) % 40);
  const raw = (values: readonly number[]) =>
    ({ dtype: 'I64', shape: [values.length], bytes: new Uint8Array(BigInt64Array.from(values, BigInt).buffer) }) as const;

  const writtenAs = async (format: 'npz' | 'safetensors'): Promise<Uint8Array> =>
    (await writeForeign(new Map([['ids', raw([...numbers])]]), { format, name: `t.${format}` })).files[0]?.bytes ?? new Uint8Array(0);

  it('are read from .bin, npz and safetensors alike, the last tenth as test part', async () => {
    writeFileSync(at('t.bin'), new Uint8Array(numbers.buffer));
    writeFileSync(at('t.npz'), await writtenAs('npz'));
    writeFileSync(at('t.safetensors'), await writtenAs('safetensors'));
    for (const name of ['t.bin', 't.npz', 't.safetensors']) {
      const choices = { context: 4, vocabulary: 40 };
      expect([...(await loadTokens(`tokens:${at(name)}`, 'train', choices)).tokens], name).toEqual([...numbers.subarray(0, 45)]);
      expect([...(await loadTokens(`tokens:${at(name)}`, 'test', choices)).tokens], name).toEqual([...numbers.subarray(45)]);
    }
  });

  it('an array named for a part is that part and no other', async () => {
    const choices = { context: 4, vocabulary: 40 };
    for (const [part, other] of [['train', 'test'], ['test', 'train']] as const) {
      for (const format of ['npz', 'safetensors'] as const) {
        const name = `lone-${part}.${format}`;
        const { files } = await writeForeign(new Map([[part, raw([...numbers])]]), { format, name });
        writeFileSync(at(name), files[0]?.bytes ?? '');
        expect([...(await loadTokens(`tokens:${at(name)}`, part, choices)).tokens], name).toEqual([...numbers]);
        await expect(loadTokens(`tokens:${at(name)}`, other, choices)).rejects.toThrow(
          `${name}: has no ${other} part: its one array is named for the other`,
        );
        expect([await hasTokenPart(`tokens:${at(name)}`, part), await hasTokenPart(`tokens:${at(name)}`, other)], name).toEqual([
          true,
          false,
        ]);
      }
    }
    const { files } = await writeForeign(
      new Map([
        ['train', raw([1, 2, 3, 4, 5])],
        ['test', raw([6, 7, 8, 9, 10])],
      ]),
      { format: 'npz', name: 'both.npz' },
    );
    writeFileSync(at('both.npz'), files[0]?.bytes ?? '');
    expect([...(await loadTokens(`tokens:${at('both.npz')}`, 'test', choices)).tokens]).toEqual([6, 7, 8, 9, 10]);
    expect(await hasTokenPart(`tokens:${at('both.npz')}`, 'test')).toBe(true);
    expect(await hasTokenPart(`tokens:${at('t.npz')}`, 'test')).toBe(true);
  });

  it('a folder holds train.txt and test.txt, gzipped or not', async () => {
    mkdirSync(at('folder'));
    writeFileSync(at('folder/train.txt'), 'hello world');
    writeFileSync(at('folder/test.txt.gz'), gzipSync('good night'));
    expect(Buffer.from((await loadTokens(`text:${at('folder')}`, 'train', { context: 3 })).tokens).toString()).toBe('hello world');
    const set = await loadTokens(`text:${at('folder')}`, 'test', { context: 3 });
    expect([set.count, set.classes, Buffer.from(set.tokens).toString()]).toEqual([3, 256, 'good night']);
    expect((await loadTokens(`text:${at('folder')}`, 'train', { context: 3, trainCount: 2 })).count).toBe(2);
  });
});
