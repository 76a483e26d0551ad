/** Classifiers of texts on the command line: train → transfer → evaluate on JSON Lines, how files divide, and what is refused. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readForeign } from '../../src/bundle/foreign/formats.ts';
import { writeForeign } from '../../src/bundle/foreign/write.ts';
import { openCore } from '../../src/core/core.ts';
import { initialise } from '../../src/model/initialise.ts';
import { preset } from '../../src/model/presets.ts';
import { loadSequences } from '../../src/cli/sequences.node.ts';
import { hasTokenPart, tokenFiles } from '../../src/cli/tokens.node.ts';
import { Random, streams } from '../../src/tensor/random.ts';
import { jsonLines, trajport } from './fixtures.ts';

let directory: string;
const at = (name: string): string => join(directory, name);
const run = (...args: string[]) => trajport(args, { cwd: directory });

const line = (tokens: readonly number[], label: number): string => `${JSON.stringify({ tokens, label })}\n`;

/** Seven words of ten are of the eight that a class has; `shift` says which class has which. */
function texts(seed: number, shift: number, count: number): string {
  const random = new Random(seed, streams.generatedImages);
  return Array.from({ length: count }, () => {
    const label = random.below(3);
    const words = Array.from({ length: 4 + random.below(8) }, () =>
      random.below(10) < 7 ? 3 + ((label + shift) % 3) * 8 + random.below(8) : 3 + random.below(24),
    );
    return line([1, ...words, 2], label);
  }).join('');
}

const shape = ['--model', 'distilbert', '--width', '24', '--depth', '1', '--heads', '4', '--vocabulary-size', '27', '--context', '16'];
const training = [...shape, '--optimiser', 'adamw', '--learning-rate', '0.002', '--batch-size', '32', '--json'];

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'trajport-sequences-'));
  writeFileSync(at('before.jsonl'), texts(1, 0, 900));
  writeFileSync(at('after.jsonl'), texts(2, 1, 900));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('train, transfer, evaluate', () => {
  it('ports a fine-tune of a classifier: it is right more often than the target and the plain shift before any training', async () => {
    const data = ['--data', 'sequences:after.jsonl'];
    for (const args of [
      ['--data', 'sequences:before.jsonl', '--iterations', '80', '--final', 'v1.safetensors'],
      ['--data', 'sequences:before.jsonl', '--iterations', '80', '--seed', '2', '--final', 'v2.safetensors'],
      [...data, '--iterations', '60', '--seed', '3', '--initial', 'v1.safetensors', '--out', 'tune.zip'],
    ]) {
      const { code, stderr } = await run('train', ...training, ...args);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    }
    const ported = await run(
      'transfer', 'tune.zip', '--target', 'v2.safetensors', ...data, '--method', 'gmt', '--steps', '5', '--batch-size', '32', '--json',
      '--out', 'ported.safetensors',
    );
    expect(ported.code, ported.stderr).toBe(0);
    const { test: scores, ...result } = jsonLines(ported.stdout).at(-1) as { test: Record<string, number> };
    const { target = 1, naive = 1, transferred = 0 } = scores;
    expect(transferred, JSON.stringify(scores)).toBeGreaterThan(Math.max(target, naive) + 0.1);

    const [evaluated] = jsonLines((await run('evaluate', 'ported.safetensors', '--graph', 'tune.zip', ...data, '--json')).stdout);
    // A tenth of 900 lines.
    expect(evaluated).toMatchObject({ count: 90, accuracy: transferred });
    expect(evaluated).not.toHaveProperty('perplexity');
    const source = jsonLines((await run('evaluate', 'tune.zip', ...data, '--json')).stdout).at(-1);
    expect(result).toMatchObject({ sourceAccuracy: source?.['accuracy'] });

    expect((await run('verify', 'tune.zip')).code).toBe(0);
    const inspected = await run('inspect', 'ported.safetensors', ...shape.slice(0, -2), '--input', '16', '--classes', '3');
    expect(inspected.stdout).toContain('classifier of texts, 1 attention of 4 heads, width 24, context 16, vocabulary 27 → 3');
    expect(inspected.stdout).toMatch(/^fits: /m);
    const planned = await run('plan', 'tune.zip', ...data, '--method', 'gmt');
    expect(planned.stdout).toContain('81 held-out inputs at every step (--held-out 0: none), 90 test inputs thrice');
    expect((await run('evaluate', 'tune.zip')).stderr).toContain('tune.zip reads tokens: give --data sequences:PATH');
    for (const other of ['text:after.jsonl', 'tokens:after.jsonl', 'generated:before']) {
      expect(await run('evaluate', 'tune.zip', '--data', other)).toMatchObject({
        code: 2,
        stderr: `error: the network tells which class a text is of: --data sequences:PATH is for it, not ${other}\n`,
      });
    }
  }, 60_000);

  it('a base as it is published, without the two layers of a classifier, begins with zeros there, or with fresh ones', async () => {
    const fitted = [...shape.slice(0, -2), '--input', '16', '--classes', '3'];
    const graph = preset('distilbert', { input: [16], classes: 3, width: 24, depth: 1, heads: 4, vocabulary: 27 });
    using core = await openCore();
    for (const [seed, name] of [[1, 'base1'], [2, 'base2']] as const) {
      const { parameters } = initialise(core, graph, { seed });
      const tensors = [...parameters].filter(([tensor]) => tensor.startsWith('distilbert.')).map(([tensor, { shape: extents, data }]) =>
        [tensor, { dtype: 'F32', shape: extents, bytes: new Uint8Array(data.buffer) }] as const);
      const head = { dtype: 'F32', shape: [27], bytes: new Uint8Array(27 * 4) } as const;
      const { files } = await writeForeign(new Map([...tensors, ['vocab_projector.bias', head]]), { format: 'safetensors', name });
      writeFileSync(at(`${name}.safetensors`), files[0]?.bytes ?? '');
    }
    const data = ['--data', 'sequences:after.jsonl'];
    const tuned = await run(
      'train', ...training, ...data, '--iterations', '60', '--initial', 'base1.safetensors', '--fresh-head', '--final', 'tuned.safetensors',
    );
    expect({ code: tuned.code, stderr: tuned.stderr }).toEqual({ code: 0, stderr: '' });
    // From zeros in both nothing would have learnt.
    const fromZeros = (initial: string) =>
      run('train', ...training, ...data, '--iterations', '1', '--initial', initial, '--zero-head', '--final', 'zeros.safetensors');
    expect(await fromZeros('base1.safetensors')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--zero-head begins with zeros in two layers, since base1.safetensors lacks both (classifier'),
    });
    expect(existsSync(at('zeros.safetensors'))).toBe(false);
    // One layer of zeros learns, as of a base that has the other.
    expect((await fromZeros('tuned.safetensors')).code).toBe(0);
    expect((jsonLines(tuned.stdout).at(-1) as { heldOut: { accuracy: number } }).heldOut.accuracy).toBeGreaterThan(0.6);
    const packing = ['pack', 'base1.safetensors', 'tuned.safetensors', ...fitted, '--out', 'packed.zip'];
    expect((await run(...packing)).stderr).toContain('--zero-head replaces the last layer of the first file');
    const packed = await run(...packing, '--zero-head');
    expect(packed.stdout).toContain(
      'the last layer becomes zeros, pre_classifier.weight 24×24, pre_classifier.bias 24, classifier.weight 3×24, classifier.bias 3; ' +
      'the file has none',
    );
    const ported = await run(
      'transfer', 'packed.zip', '--target', 'base2.safetensors', ...data, '--method', 'naive', '--steps', '2', '--stop-rule', 'last',
      '--out', 'p.safetensors',
    );
    expect({ code: ported.code, stdout: ported.stdout }).toMatchObject({ code: 0, stdout: expect.stringContaining('wrote p.safetensors') });
    // All that the layer is came with the fine-tune.
    const read = async (name: string) =>
      (await readForeign({ name, bytes: readFileSync(at(name)) })).tensors.get('pre_classifier.bias')?.bytes;
    expect(await read('p.safetensors')).toEqual(await read('tuned.safetensors'));
  }, 60_000);

  it("BERT's bases as they are published: the pooler is body, the heads of the pretraining are left out, gamma stays gamma", async () => {
    const network = ['--model', 'bert', ...shape.slice(2, -2)];
    const graph = preset('bert', { input: [16], classes: 3, width: 24, depth: 1, heads: 4, vocabulary: 27 });
    const older = (name: string): string => name.replace('LayerNorm.weight', 'LayerNorm.gamma').replace('LayerNorm.bias', 'LayerNorm.beta');
    using core = await openCore();
    for (const [seed, name] of [[1, 'bert1'], [2, 'bert2']] as const) {
      const { parameters } = initialise(core, graph, { seed });
      const tensors = [...parameters].filter(([tensor]) => tensor.startsWith('bert.')).map(([tensor, { shape: extents, data }]) =>
        [older(tensor), { dtype: 'F32', shape: extents, bytes: new Uint8Array(data.buffer) }] as const);
      const head = { dtype: 'F32', shape: [27], bytes: new Uint8Array(27 * 4) } as const;
      const { files } = await writeForeign(new Map([...tensors, ['cls.predictions.bias', head]]), { format: 'safetensors', name });
      writeFileSync(at(`${name}.safetensors`), files[0]?.bytes ?? '');
    }
    const data = ['--data', 'sequences:after.jsonl'];
    const tuned = await run(
      'train', ...network, '--context', '16', ...data, '--optimiser', 'adamw', '--learning-rate', '0.002', '--batch-size', '32', '--json',
      '--iterations', '60', '--initial', 'bert1.safetensors', '--fresh-head', '--final', 'bert-tuned.safetensors',
    );
    expect({ code: tuned.code, stderr: tuned.stderr }).toEqual({ code: 0, stderr: '' });
    expect((jsonLines(tuned.stdout).at(-1) as { heldOut: { accuracy: number } }).heldOut.accuracy).toBeGreaterThan(0.6);
    const packed = await run(
      'pack', 'bert1.safetensors', 'bert-tuned.safetensors', ...network, '--input', '16', '--classes', '3', '--zero-head',
      '--out', 'bert.zip',
    );
    expect(packed.stdout).toContain('the last layer becomes zeros, classifier.weight 3×24, classifier.bias 3; the file has none');
    const ported = await run(
      'transfer', 'bert.zip', '--target', 'bert2.safetensors', ...data, '--method', 'fgmt', '--steps', '3', '--batch-size', '16',
      '--stop-rule', 'last', '--out', 'bert-ported.safetensors',
    );
    expect({ code: ported.code, stdout: ported.stdout }).toMatchObject({
      code: 0, stdout: expect.stringContaining('wrote bert-ported.safetensors'),
    });
    const read = async (name: string, tensor: string) =>
      (await readForeign({ name, bytes: readFileSync(at(name)) })).tensors.get(tensor)?.bytes;
    // No text has a token of type 1: its row is the target's to the bit, whatever else was ported.
    const types = 'bert.embeddings.token_type_embeddings.weight';
    const [before, after] = [await read('bert2.safetensors', types), await read('bert-ported.safetensors', types)];
    expect(after?.subarray(24 * 4)).toEqual(before?.subarray(24 * 4));
    expect(after?.subarray(0, 24 * 4)).not.toEqual(before?.subarray(0, 24 * 4));
    expect((await run('inspect', 'bert1.safetensors', ...network, '--input', '16', '--classes', '3')).stdout).toContain(
      "by the names of BERT's first release",
    );
  }, 60_000);

  it("BERT's pairs: the second type is trained where the separator is told, and the bundle carries it", async () => {
    const random = new Random(1, streams.generatedImages);
    const words = (count: number): number[] => Array.from({ length: count }, () => 3 + random.below(24));
    const lines = Array.from({ length: 40 }, (_, i) => line([1, ...words(3 + (i % 3)), 2, ...words(4), 2], i % 2));
    writeFileSync(at('pairs.jsonl'), lines.join(''));
    const network = ['--model', 'bert', '--width', '8', '--depth', '1', '--heads', '2', '--vocabulary-size', '27'];
    const train = [...network, '--data', 'sequences:pairs.jsonl', '--context', '16', '--batch-size', '8', '--learning-rate', '0.1'];
    const types = 'bert.embeddings.token_type_embeddings.weight';
    const secondType = async (name: string) =>
      (await readForeign({ name, bytes: readFileSync(at(name)) })).tensors.get(types)?.bytes.slice(8 * 4);
    for (const args of [
      [...train, '--separator', '2', '--iterations', '3', '--final', 'pairs1.safetensors'],
      [...train, '--separator', '2', '--initial', 'pairs1.safetensors', '--iterations', '2', '--out', 'pairs.zip'],
      [...train, '--initial', 'pairs1.safetensors', '--iterations', '2', '--final', 'untold.safetensors'],
    ]) {
      const { code, stderr } = await run('train', ...args, '--json');
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    }
    const ported = await run(
      'transfer', 'pairs.zip', '--target', 'pairs1.safetensors', '--data', 'sequences:pairs.jsonl', '--method', 'naive',
      '--stop-rule', 'last', '--out', 'told.safetensors',
    );
    expect(ported.code, ported.stderr).toBe(0);
    expect(await secondType('told.safetensors')).not.toEqual(await secondType('pairs1.safetensors'));
    expect(await secondType('untold.safetensors')).toEqual(await secondType('pairs1.safetensors'));
    // What is not told the separator computes something else.
    const evaluating = ['evaluate', 'pairs1.safetensors', '--data', 'sequences:pairs.jsonl', '--json'];
    const lossOf = async (...given: string[]) => jsonLines((await run(...evaluating, ...given)).stdout).at(-1)?.['loss'];
    const loss = await lossOf('--graph', 'pairs.zip');
    expect(loss).toEqual(expect.any(Number));
    expect(await lossOf(...network, '--context', '16', '--separator', '2')).toBe(loss);
    expect(await lossOf(...network, '--context', '16')).toEqual(expect.any(Number));
    expect(await lossOf(...network, '--context', '16')).not.toBe(loss);
  }, 60_000);

  it.each<[string, readonly string[], number, RegExp]>([
    [
      'a longer sequence', ['--data', 'sequences:bad.jsonl', '--context', '3'], 3,
      /bad\.jsonl, line 2: tokens: expected 1 to 3 tokens, got 4/,
    ],
    [
      'a token of another vocabulary', ['--data', 'sequences:bad.jsonl', '--context', '4', '--vocabulary-size', '9'], 3,
      /bad\.jsonl, line 2: tokens\[2\]: expected a token, an integer from 0 to 8, got 9/,
    ],
    [
      'a token beyond the published vocabulary', ['--data', 'sequences:beyond.jsonl'], 2,
      /--vocabulary-size of distilbert is 30522, and beyond\.jsonl has a token 30522: give --vocabulary-size 30523,/,
    ],
    [
      'a table of fewer positions than tokens', ['--data', 'sequences:bad.jsonl', '--context', '4', '--positions', '3'], 2,
      /--positions: expected an integer in \[4, 65536\], got 3/,
    ],
    [
      '--positions for another network', ['--data', 'sequences:bad.jsonl', '--positions', '9', '--model', 'mlp'], 2,
      /--positions is for --model gpt2, distilbert, bert, not for mlp/,
    ],
    [
      'a label of no class', ['--data', 'sequences:bad.jsonl', '--classes', '2'], 3,
      /bad\.jsonl, line 3: label: expected a class, an integer from 0 to 1, got 2/,
    ],
    ['no file', ['--data', 'sequences:none.jsonl'], 3, /none\.jsonl/],
    ['an empty file', ['--data', 'sequences:empty.jsonl'], 3, /empty\.jsonl: is empty/],
    ['a single line', ['--data', 'sequences:one.jsonl'], 3, /one\.jsonl: holds one sequence: two are the fewest/],
    ['no name', ['--data', 'sequences:'], 2, /--data sequences: names no file/],
    ['images', ['--data', 'generated:before'], 2, /--model distilbert reads --data sequences:PATH/],
    ['images for bert', ['--data', 'generated:before', '--model', 'bert'], 2, /--model bert reads --data sequences:PATH/],
    ['sequences for an MLP', ['--data', 'sequences:bad.jsonl', '--model', 'mlp'], 2, /sequences:PATH needs --model distilbert or bert/],
    ['sequences for gpt2', ['--data', 'sequences:bad.jsonl', '--model', 'gpt2'], 2, /--model gpt2 reads --data text:PATH or tokens:FILE/],
    ['a file of characters', ['--data', 'sequences:bad.jsonl', '--vocabulary', 'bad.jsonl'], 2, /--vocabulary is for --data text:PATH/],
    [
      '--vocabulary-size for another network', ['--model', 'gpt2', '--vocabulary-size', '9'], 2,
      /--vocabulary-size is for --model distilbert, bert, not for gpt2/,
    ],
    [
      '--separator for another network', ['--data', 'sequences:bad.jsonl', '--separator', '2'], 2,
      /--separator is for --model bert, not for distilbert/,
    ],
    [
      'a separator beyond the vocabulary',
      ['--data', 'sequences:bad.jsonl', '--model', 'bert', '--width', '8', '--vocabulary-size', '12', '--separator', '12'], 2,
      /--separator: expected an integer in \[1, 11\], got 12/,
    ],
    [
      'the padding for a separator', ['--data', 'sequences:bad.jsonl', '--model', 'bert', '--separator', '0'], 2,
      /--separator is an integer from 1 to 1048575, not "0"/,
    ],
    ['pixels', ['--data', 'sequences:bad.jsonl', '--pixel-maximum', '9'], 2, /--pixel-maximum is for images/],
  ])('%s is refused', async (_, args, code, message) => {
    writeFileSync(at('bad.jsonl'), line([1, 5, 2], 0) + line([1, 5, 9, 2], 1) + line([1], 2));
    writeFileSync(at('beyond.jsonl'), [0, 1, 1].map((label) => line([1, 30_522], label)).join(''));
    writeFileSync(at('empty.jsonl'), '');
    writeFileSync(at('one.jsonl'), line([1, 5, 2], 0));
    const given = args.includes('--model') ? args : [...args, '--model', 'distilbert', '--width', '8', '--depth', '1'];
    const result = await run('train', ...given, '--iterations', '1', '--final', 'x.safetensors');
    expect(result.stderr).toMatch(message);
    expect(result.code).toBe(code);
  });

  it('a table of positions may have any number of rows from that of the tokens on', async () => {
    const sized = ['--model', 'distilbert', '--width', '8', '--depth', '1', '--vocabulary-size', '9', '--context', '4', '--positions', '5'];
    writeFileSync(at('few.jsonl'), line([1, 5, 2], 0) + line([1, 6, 2], 1));
    const data = ['--data', 'sequences:few.jsonl', '--held-out', '0'];
    const made = await run('train', ...data, ...sized, '--iterations', '1', '--final', 'few.safetensors');
    expect(made.code, made.stderr).toBe(0);
    expect(made.stdout).toContain('few.jsonl: 1 sequence of up to 4 tokens, 3.0 on average, 2 classes');
    const { tensors } = await readForeign({ name: 'few', bytes: readFileSync(at('few.safetensors')) });
    expect(tensors.get('distilbert.embeddings.position_embeddings.weight')?.shape).toEqual([5, 8]);
  });

  it.each(['distilbert', 'bert'])('a shape of %s by hand is that of tokens', async (model) => {
    writeFileSync(at('bad.jsonl'), '');
    const { code, stderr } = await run('inspect', 'bad.jsonl', '--model', model, '--input', '3,8,8', '--classes', '2');
    expect(stderr).toContain(`--model ${model} needs --input TOKENS and --classes N, e.g. --input 128 --classes 2`);
    expect(code).toBe(2);
  });
});

describe('a job that Ctrl-C broke off goes on to the same bytes, and not on other texts', () => {
  const fine = ['--data', 'sequences:after.jsonl', ...training];
  const bytes = (name: string): Buffer => readFileSync(at(name));
  /** On a slow machine the signal may come before the process listens for it, and ends it then without a code. */
  const expectBrokenOff = (code: number | null): void => expect([130, null], 'it ended before it was broken off').toContain(code);
  /** The same command on other texts is refused, and on those that it began with it ends as `whole`. */
  const goesOn = async (args: readonly string[], out: string, whole: string): Promise<void> => {
    const relabelled = readFileSync(at('after.jsonl'), 'utf8').replaceAll('"label":0', '"label":3').replaceAll('"label":1', '"label":0');
    writeFileSync(at('relabelled.jsonl'), relabelled.replaceAll('"label":3', '"label":1'));
    const other = await run(...args.map((arg) => (arg === 'sequences:after.jsonl' ? 'sequences:relabelled.jsonl' : arg)), '--out', out);
    expect(other).toMatchObject({
      code: 3, stderr: expect.stringContaining(`error: ${out}.resume: holds another job's resume point: another --data\n`),
    });
    const { code, stdout, stderr } = await run(...args, '--out', out);
    expect(code, stderr).toBe(0);
    expect(jsonLines(stdout).filter(({ event }) => event === 'continued')).toEqual([
      expect.objectContaining({ file: `${out}.resume`, done: expect.any(Number) }),
    ]);
    expect(bytes(out)).toEqual(bytes(whole));
    expect(existsSync(at(`${out}.resume`))).toBe(false);
  };

  it('train', async () => {
    const job = ['train', ...fine, '--iterations', '400', '--seed', '4'];
    expect((await run(...job, '--out', 'whole.zip')).code).toBe(0);
    // The later, the slower the machine: a point must have been written.
    for (let afterMs = 400; !existsSync(at('cut.zip.resume')); afterMs += 200) {
      const { code } = await trajport([...job, '--out', 'cut.zip'], { cwd: directory, signal: { name: 'SIGINT', afterMs } });
      expectBrokenOff(code);
    }
    await goesOn(job, 'cut.zip', 'whole.zip');
  }, 60_000);

  it('transfer', async () => {
    expect((await run('train', ...fine, '--iterations', '10', '--out', 'short.zip')).code).toBe(0);
    const job = [
      'transfer', 'short.zip', '--target-seed', '5', '--data', 'sequences:after.jsonl', '--method', 'fgmt', '--steps', '12',
      '--batch-size', '32', '--json',
    ];
    expect((await run(...job, '--out', 'whole.safetensors')).code).toBe(0);
    const signal = { name: 'SIGINT', after: '"event":"step","step":2' } as const;
    const broken = await trajport([...job, '--out', 'cut.safetensors'], { cwd: directory, signal });
    expect(broken).toMatchObject({ code: 130, stderr: expect.stringMatching(/cut\.safetensors\.resume holds \d+ steps? done/) });
    await goesOn(job, 'cut.safetensors', 'whole.safetensors');
  }, 60_000);
});

describe('files of sequences', () => {
  const choices = { length: 4, padding: 0 };
  const numbered = (count: number): string => Array.from({ length: count }, (_, i) => line([i + 1], i < count / 2 ? 0 : 1)).join('');

  it('a tenth of a single file is its test part, of all classes though the lines are sorted, and the rest is the other', async () => {
    writeFileSync(at('sorted.jsonl'), numbered(200));
    const load = (part: 'train' | 'test') => loadSequences(`sequences:${at('sorted.jsonl')}`, part, choices);
    const [train, test] = [await load('train'), await load('test')];
    expect([train.count, test.count]).toEqual([180, 20]);
    expect([...train.sequences, ...test.sequences].toSorted((a, b) => a - b)).toEqual(Array.from({ length: 200 }, (_, i) => i + 1));
    expect(new Set(test.labels)).toEqual(new Set([0, 1]));
    expect([train.name, train.classes, test.classes, test.vocabulary]).toEqual(['sorted.jsonl', 2, 2, 201]);
    const few = await loadSequences(`sequences:${at('sorted.jsonl')}`, 'train', { ...choices, trainCount: 7 });
    expect([...few.sequences]).toEqual([...train.sequences.subarray(0, 7)]);
  });

  it('a folder holds train.jsonl and test.jsonl, gzipped or not', async () => {
    mkdirSync(at('folder'));
    writeFileSync(at('folder/train.jsonl'), numbered(3));
    expect(await hasTokenPart(`sequences:${at('folder')}`, 'test')).toBe(false);
    await expect(loadSequences(`sequences:${at('folder')}`, 'test', choices)).rejects.toThrow('holds no test.jsonl or test.jsonl.gz');
    writeFileSync(at('folder/test.jsonl.gz'), gzipSync(numbered(2)));
    expect([...(await loadSequences(`sequences:${at('folder')}`, 'train', choices)).sequences]).toEqual([1, 2, 3]);
    expect([...(await loadSequences(`sequences:${at('folder')}`, 'test', choices)).labels]).toEqual([0, 1]);
    expect(await hasTokenPart(`sequences:${at('folder')}`, 'test')).toBe(true);
    expect(tokenFiles(`sequences:${at('folder')}`)).toEqual([at('folder/train.jsonl'), at('folder/test.jsonl.gz')]);
  });
});
