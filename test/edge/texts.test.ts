/**
 * Networks that read tokens in the fetch handler: the bytes of `transfer` called on lists of numbers, and of the command line on files;
 * refusals by the part at fault, and caps that hold before the memory is taken.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { stateToSafetensors } from '../../src/bundle/network-state.ts';
import { readSafetensors, writeSafetensors } from '../../src/bundle/safetensors.ts';
import { openCore } from '../../src/core/core.ts';
import { createTransferHandler } from '../../src/edge/index.ts';
import {
  initialise, openBundle, openCompute, parameterLayout, plan, preset, sequenceSet, tokenSet, train, transfer, writeBundle,
} from '../../src/index.ts';
import type { ModelGraph, NetworkState, SequenceSet, TokenSet, TransferOptions } from '../../src/index.ts';
import { Random, streams } from '../../src/tensor/random.ts';
import { idxImages, idxLabels, trajport } from '../cli/fixtures.ts';
import { problemOf, request, sha256Of } from './requests.ts';

const LENGTH = 12;
const VOCABULARY = 40;
const WINDOW = 8;
const shape = { width: 16, depth: 1, heads: 2 };
const graphs = {
  distilbert: preset('distilbert', { input: [LENGTH], classes: 3, vocabulary: VOCABULARY, ...shape }),
  bert: preset('bert', { input: [LENGTH], classes: 3, vocabulary: VOCABULARY, ...shape }),
  words: preset('gpt2', { input: [WINDOW], classes: 300, ...shape }),
  bytes: preset('gpt2', { input: [WINDOW], classes: 256, ...shape }),
} as const;
type Name = keyof typeof graphs;

const random = new Random(5, streams.generatedImages);
const texts = Array.from({ length: 150 }, () => {
  const label = random.below(3);
  return { tokens: [1, ...Array.from({ length: 2 + random.below(9) }, () => 4 + label * 8 + random.below(12)), 2], label };
});
const jsonLines = `${texts.map((text) => JSON.stringify(text)).join('\n')}\n`;
/** Each number is followed by the next but one as a rule. */
const stream = (below: number): number[] => {
  let last = 0;
  return Array.from({ length: 901 }, () => (last = random.below(4) === 0 ? random.below(below) : (last + 2) % below));
};
const numbers = stream(300);
const letters = stream(256);
const twoBytes = (tokens: readonly number[]): Uint8Array => Uint8Array.from(tokens.flatMap((token) => [token & 255, token >>> 8]));

/** What the network is trained on, by other ways than the handler's. */
const sets: Readonly<Record<Name, SequenceSet | TokenSet>> = {
  ...(Object.fromEntries((['distilbert', 'bert'] as const).map((name) => [name, sequenceSet({
    name, sequences: texts.map(({ tokens }) => tokens), labels: texts.map(({ label }) => label), length: LENGTH, padding: 0,
    vocabulary: VOCABULARY, classes: 3,
  })])) as Record<'distilbert' | 'bert', SequenceSet>),
  words: tokenSet({ name: 'words', tokens: Uint16Array.from(numbers), length: WINDOW, vocabulary: 300 }),
  bytes: tokenSet({ name: 'bytes', tokens: Uint8Array.from(letters), length: WINDOW }),
};
/** The same as parts. */
const data: Readonly<Record<Name, Readonly<Record<string, Uint8Array | string>>>> = {
  distilbert: { sequences: jsonLines }, bert: { sequences: jsonLines },
  words: { tokens: twoBytes(numbers) }, bytes: { text: Uint8Array.from(letters) },
};

interface Material {
  readonly bundle: Uint8Array<ArrayBuffer>;
  readonly target: NetworkState;
  /** As safetensors. */
  readonly targetFile: Uint8Array<ArrayBuffer>;
}
const materials = {} as Record<Name, Material>;
let directory: string;
const at = (name: string): string => join(directory, name);

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'trajport-edge-texts-'));
  using compute = await openCompute();
  for (const [name, graph] of Object.entries(graphs) as [Name, ModelGraph][]) {
    const trained = await train({
      graph, data: sets[name], seed: 1, epochs: 2, batchSize: 16, learningRate: 0.1, compute,
    });
    const target = initialise(compute.core, graph, { seed: 2 });
    materials[name] = {
      bundle: await writeBundle({ graph, checkpoints: trained.checkpoints, training: trained.record }),
      target,
      targetFile: stateToSafetensors(parameterLayout(graph), target),
    };
  }
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** The last step, whether or not it is better than the target: what is compared is what was computed. */
const fine = { method: 'fgmt', batchSize: 16, steps: 3, seed: 4, stopRule: 'last' } as const;
const options = (value: object = fine): string => JSON.stringify(value);
const inputsOf = (name: Name) =>
  ({ bundle: materials[name].bundle, target: materials[name].targetFile, ...data[name], options: options() });

/** On a heap of its own size, which changes no byte. */
async function transferred(name: Name, choices: Partial<TransferOptions> = {}) {
  using compute = await openCompute();
  using source = await openBundle(materials[name].bundle);
  const { target } = materials[name];
  return (await transfer({ ...fine, source, target, data: sets[name], compute, ...choices } as TransferOptions)).record;
}

const handle = createTransferHandler();
const names = Object.keys(graphs) as Name[];

describe('the weights', () => {
  it.each(names.flatMap((name) => (['fgmt', 'gmt', 'naive'] as const).map((method) => [name, method] as const)))(
    'of %s by %s are those of a transfer on the same numbers, and so is the record',
    async (name, method) => {
      const response = await handle(request({ ...inputsOf(name), options: options({ ...fine, method }) }));
      expect(response.status, await response.clone().text()).toBe(200);
      const { kind, settings, inputs, sha256 } = await transferred(name, { method });
      const record = JSON.parse(response.headers.get('trajport-record') as string) as object;
      expect(record).toMatchObject({ kind, settings, inputs, sha256 });
      expect(await sha256Of(response)).toBe(sha256);
      expect(sha256).not.toBe(await sha256Of(materials[name].targetFile));
    },
  );

  it.each(names)('of %s are the same of gzipped data', async (name) => {
    const packed = Object.fromEntries(Object.entries(data[name]).map(([part, content]) => [part, gzipSync(content)]));
    expect(await sha256Of(await handle(request({ ...inputsOf(name), ...packed })))).toBe((await transferred(name)).sha256);
  });

  it.each<[Name, () => string]>([
    ['distilbert', () => {
      mkdirSync(at('folder'));
      writeFileSync(at('folder/train.jsonl'), jsonLines);
      return 'sequences:folder';
    }],
    ['bert', () => {
      mkdirSync(at('packed'));
      writeFileSync(at('packed/train.jsonl.gz'), gzipSync(jsonLines));
      return 'sequences:packed';
    }],
    ['words', () => {
      // Its last tenth is its test part.
      writeFileSync(at('words.bin'), twoBytes([...numbers, ...Array.from({ length: 100 }, () => 7)]));
      return 'tokens:words.bin';
    }],
    ['bytes', () => {
      mkdirSync(at('text'));
      writeFileSync(at('text/train.txt'), Uint8Array.from(letters));
      return 'text:text';
    }],
  ])('of %s are those that the command line writes', async (name, write) => {
    const files = write();
    writeFileSync(at(`${name}.zip`), materials[name].bundle);
    writeFileSync(at(`${name}.safetensors`), materials[name].targetFile);
    const { code } = await trajport(
      [
        'transfer', `${name}.zip`, '--target', `${name}.safetensors`, '--data', files, '--method', 'fgmt', '--batch-size', '16',
        '--steps', '3', '--seed', '4', '--stop-rule', 'last', '--out', `${name}-ported.safetensors`,
      ],
      { cwd: directory },
    );
    expect(code).toBe(0);
    expect(await sha256Of(await handle(request(inputsOf(name))))).toBe(await sha256Of(readFileSync(at(`${name}-ported.safetensors`))));
  }, 60_000);

  it.each(['distilbert', 'bert'] as const)('of a base of %s without one or both layers of a classifier begin with zeros', async (name) => {
    const [, second] = { distilbert: ['', 'pre_classifier'], bert: ['', 'bert.pooler.dense'] }[name] as [string, string];
    const { target, targetFile } = materials[name];
    const { tensors } = readSafetensors(targetFile, 'target');
    const without = (...prefixes: string[]) =>
      writeSafetensors(new Map([...tensors].filter(([tensor]) => !prefixes.some((prefix) => tensor.startsWith(prefix)))));
    const zeroed = (...prefixes: string[]): NetworkState => ({
      ...target,
      parameters: new Map([...target.parameters].map(([tensor, { shape: extents, data: values }]) =>
        [tensor, { shape: extents, data: prefixes.some((prefix) => tensor.startsWith(prefix)) ? values.map(() => 0) : values }])),
    });
    const asked = { ...fine, zeroHead: true };
    const post = (file: Uint8Array, choices: object = asked) =>
      handle(request({ ...inputsOf(name), target: file, options: options(choices) }));
    for (const layers of [['classifier.'], ['classifier.', `${second}.`]]) {
      const expected = (await transferred(name, { target: zeroed(...layers), zeroHead: true })).sha256;
      expect(await sha256Of(await post(without(...layers)))).toBe(expected);
      expect(await problemOf(await post(without(...layers), fine))).toMatchObject({ status: 400, body: { error: 'MalformedFileError' } });
    }
    // A part of a layer is a mistake, and so is a layer of another size before the last.
    expect(await problemOf(await post(without('classifier.', `${second}.bias`)))).toMatchObject({
      status: 400, body: { field: `target.${second}.bias`, got: 'no tensor of that name' },
    });
  });
});

describe('what is refused', () => {
  const good = '{"tokens":[1,5,6,2],"label":1}';
  const anImage = { images: idxImages(1, 2, 6, new Uint8Array(12)), labels: idxLabels([1]) };
  const none = { sequences: undefined, tokens: undefined, text: undefined };
  type Case = readonly [what: string, name: Name, change: Readonly<Record<string, Uint8Array | string | undefined>>, facts: object];

  it.each<Case>([
    [
      'images for a classifier of texts', 'distilbert', { ...none, ...anImage },
      { status: 422, body: { field: 'images', expected: 'sequences: the network tells which class a text is of', got: 'images' } },
    ],
    ['images beside sequences', 'distilbert', anImage, {
      status: 422, body: { field: 'sequences', expected: 'data of one kind', got: 'a part of another, images, beside it' },
    }],
    ['labels beside sequences', 'distilbert', { labels: anImage.labels }, { status: 422, body: { field: 'sequences' } }],
    ['sequences beside text', 'bytes', { sequences: good }, { status: 422, body: { field: 'text' } }],
    ['text for a classifier of texts', 'bert', { ...none, text: 'text' }, { status: 422, body: { field: 'text', got: 'text' } }],
    [
      'sequences for a language model', 'words', { ...none, sequences: good },
      { status: 422, body: { field: 'sequences', expected: 'text or tokens: the network is a language model', got: 'sequences' } },
    ],
    ['images for a language model', 'words', { ...none, ...anImage }, { status: 422, body: { field: 'images' } }],
    ['no data', 'distilbert', none, {
      status: 400, body: { field: 'body', expected: 'data: images and labels, sequences, text or tokens', got: 'none of them' },
    }],

    ['no sequences', 'distilbert', { sequences: '' }, { status: 422, body: { field: 'sequences', got: 'none' } }],
    ['a cut line', 'distilbert', { sequences: `${good}\n{"tokens":[1,` }, { status: 400, body: { field: 'sequences, line 2' } }],
    ['what is no JSON', 'distilbert', { sequences: 'text\tlabel' }, { status: 400, body: { field: 'sequences, line 1' } }],
    ['an empty line', 'distilbert', { sequences: `${good}\n\n${good}` }, { status: 400, body: { field: 'sequences, line 2' } }],
    [
      'tokens as text', 'distilbert', { sequences: '{"tokens":"1 2","label":1}' },
      { status: 400, body: { field: 'sequences, line 1: tokens' } },
    ],
    [
      'a line that is not UTF-8', 'distilbert', { sequences: Uint8Array.of(0x7b, 0xff, 0x7d) },
      { status: 400, body: { field: 'sequences, line 1', expected: 'UTF-8' } },
    ],
    [
      'a token beyond the vocabulary', 'distilbert', { sequences: `${good}\n{"tokens":[1,40],"label":0}` },
      { status: 422, body: { field: 'sequences, line 2: tokens[1]', expected: 'a token, an integer from 0 to 39', got: '40' } },
    ],
    [
      'a token below 0', 'distilbert', { sequences: '{"tokens":[-1],"label":0}' },
      { status: 422, body: { field: 'sequences, line 1: tokens[0]' } },
    ],
    [
      'a long sequence', 'distilbert', { sequences: `{"tokens":[${'1,'.repeat(LENGTH)}1],"label":0}` },
      { status: 422, body: { field: 'sequences, line 1: tokens', expected: '1 to 12 tokens', got: '13' } },
    ],
    [
      'padding only', 'distilbert', { sequences: '{"tokens":[0],"label":0}' },
      { status: 422, body: { field: 'sequences, line 1: tokens' } },
    ],
    [
      'no label', 'distilbert', { sequences: `${good}\n{"tokens":[1]}` },
      { status: 422, body: { field: 'sequences, line 2: label', expected: 'a class, an integer from 0 to 2', got: 'undefined' } },
    ],
    [
      'a label of no class', 'bert', { sequences: '{"tokens":[1],"label":3}' },
      { status: 422, body: { field: 'sequences, line 1: label' } },
    ],
    [
      'polluting members', 'bert', { sequences: '{"__proto__":{"tokens":[1],"label":1}}' },
      { status: 400, body: { field: 'sequences, line 1: tokens' } },
    ],

    ['half a token', 'words', { tokens: new Uint8Array(901) }, { status: 422, body: { field: 'tokens', expected: 'two bytes a token' } }],
    ['fewer tokens than a window has', 'words', { tokens: twoBytes([1, 2, 3]) }, {
      status: 422, body: { field: 'tokens', expected: 'at least 9 tokens, a window and a label', got: '3' },
    }],
    ['a token of no vocabulary', 'words', { tokens: twoBytes([...numbers, 300]) }, {
      status: 422, body: { field: 'tokens[901]', expected: 'a token below 300', got: '300' },
    }],
    ['no text', 'bytes', { text: '' }, { status: 422, body: { field: 'text', got: '0' } }],
    [
      'gzip that is cut short', 'bytes', { text: gzipSync('a text of some length').subarray(0, 20) },
      { status: 400, body: { field: 'text' } },
    ],
    [
      'two bytes a token as text is', 'bytes', { ...none, tokens: twoBytes([...letters, 256]) },
      { status: 422, body: { field: 'tokens[901]' } },
    ],
    [
      'zeros for a head that is tied to the embedding', 'words', { options: options({ ...fine, zeroHead: true }) },
      { status: 422, body: { field: 'graph' } },
    ],
  ])('%s', async (_what, name, change, facts) => {
    const answer = await handle(request({ ...inputsOf(name), ...change }));
    expect(await problemOf(answer)).toMatchObject(facts);
    // Nothing that was refused spoils what comes after.
    expect((await handle(request(inputsOf(name)))).status).toBe(200);
  });
});

describe('caps', () => {
  const MiB = 2 ** 20;
  /** As bytes: of a form's texts line feeds become two bytes each. */
  const linesOf = (sequence: string, count: number): Uint8Array =>
    new TextEncoder().encode(`{"tokens":[${sequence}],"label":1}\n`.repeat(count));

  it.each<[string, Name, () => Readonly<Record<string, Uint8Array | string | undefined>>, object]>([
    ['more bytes than allowed', 'distilbert', () => ({ sequences: new Uint8Array(6 * MiB + 1) }), { field: 'sequences' }],
    ['as many of text', 'bytes', () => ({ text: new Uint8Array(6 * MiB + 1) }), { field: 'text' }],
    ['as many of tokens', 'words', () => ({ tokens: new Uint8Array(6 * MiB + 1) }), { field: 'tokens' }],
    [
      'three parts of as many as one may have', 'words',
      () => Object.fromEntries(['sequences', 'tokens', 'text'].map((part) => [part, new Uint8Array(6 * MiB)])),
      { field: 'body' },
    ],
    [
      'a gzip bomb of lines', 'distilbert', () => ({ sequences: gzipSync(new Uint8Array(64 * MiB).fill(10)) }),
      { field: 'sequences', expected: 'at most 6291456 bytes of content' },
    ],
    ['one of text', 'bytes', () => ({ text: gzipSync(new Uint8Array(64 * MiB)) }), { field: 'text' }],
    ['one of tokens', 'words', () => ({ tokens: gzipSync(new Uint8Array(64 * MiB)) }), { field: 'tokens' }],
    [
      'six million lines', 'distilbert', () => ({ sequences: new Uint8Array(6 * MiB).fill(10) }),
      { field: 'sequences', expected: 'at most 65536 lines', got: '6291456' },
    ],
    [
      'one more than may be', 'distilbert', () => ({ sequences: linesOf('5', 65_537) }),
      { field: 'sequences', expected: 'at most 65536 lines', got: '65537' },
    ],
    [
      'as many windows', 'bytes', () => ({ text: new Uint8Array(8 * 65_537 + 1) }),
      { field: 'text', expected: 'at most 65536 windows of 8 tokens', got: '65537' },
    ],
    [
      'a line of two million objects', 'distilbert', () => ({ sequences: `{"x":[${'{},'.repeat(2e6)}{}],"tokens":[1],"label":1}` }),
      { field: 'sequences, line 1', expected: 'at most 131072 values' },
    ],
    [
      'a line of two million lists', 'distilbert', () => ({ sequences: `{"tokens":[${'[],'.repeat(2e6)}[]],"label":1}` }),
      { field: 'sequences, line 1' },
    ],
  ])('refuses %s, at the defaults', async (_what, name, change, facts) => {
    const form = request({ ...inputsOf(name), ...change() });
    // What a parser has made by the end it holds.
    const create = vi.spyOn(Object, 'create');
    const response = await handle(form);
    const made = create.mock.calls.length;
    create.mockRestore();
    expect(await problemOf(response)).toMatchObject({ status: 413, body: { error: 'LimitError', ...facts } });
    expect(made).toBeLessThan(140_000);
    expect((await handle(request(inputsOf(name)))).status).toBe(200);
  });

  it('counts the numbers of sequences as they are kept, of four bytes', async () => {
    const few = createTransferHandler({ maxDataBytes: 4800 });
    // 47 bytes a line, and 48 as numbers.
    const of = (count: number) =>
      few(request({ ...inputsOf('distilbert'), sequences: linesOf('5,5,5,5,5,5,5,5,5,5,5,5', count) }));
    expect((await of(100)).status).toBe(200);
    expect(await problemOf(await of(101))).toMatchObject({
      status: 413, body: { field: 'sequences, line 101: tokens', expected: 'at most 1200 tokens in all' },
    });
  });

  it('reckons the work as `plan` does, to the operation', async () => {
    for (const name of names) {
      const { method, batchSize, steps, stopRule } = fine;
      const { flops } = plan({ graph: graphs[name], method, batchSize, steps, stopRule, images: sets[name].count });
      const needed = Object.values(flops).reduce((sum, part) => sum + part, 0);
      const ask = async (maxFlops: number) => createTransferHandler({ maxFlops })(request(inputsOf(name)));
      expect((await ask(needed)).status).toBe(200);
      expect(await problemOf(await ask(needed - 1))).toMatchObject({ status: 413, body: { field: 'options' } });
    }
  });

  it('counts the numbers of tokens with what is kept, but for text, which is as it came', async () => {
    const words = texts.reduce((sum, { tokens }) => sum + tokens.length, 0);
    for (const [name, tokenBytes] of [['bert', 4 * words], ['words', 2 * numbers.length], ['bytes', 0]] as const) {
      const { method, batchSize, steps, stopRule } = fine;
      const { history, batches } = plan({ graph: graphs[name], method, batchSize, steps, stopRule, images: sets[name].count }).bytes;
      // With a budget of just the history nothing else is remembered; a language model's batches have labels as large.
      const needed = history + (name === 'bert' ? batches : 2 * batches) + tokenBytes;
      const ask = (maxHistoryBytes: number) => createTransferHandler({ maxHistoryBytes })(
        request({ ...inputsOf(name), options: options({ ...fine, historyBudgetBytes: history }) }),
      );
      expect((await ask(needed)).status).toBe(200);
      expect(await problemOf(await ask(needed - 1))).toMatchObject({ status: 413, body: { field: 'options' } });
    }
  });

  it('says so where a batch of scores of a large vocabulary does not fit the heap, and goes on', async () => {
    const graph = preset('gpt2', { input: [64], classes: 20_000, width: 4, depth: 1, heads: 1 });
    using core = await openCore();
    const [start, end, target] = [1, 2, 3].map((seed) => initialise(core, graph, { seed })) as [NetworkState, NetworkState, NetworkState];
    const parts = {
      bundle: await writeBundle({ graph, checkpoints: [{ label: 'start', state: start }, { label: 'end', state: end }] }),
      target: stateToSafetensors(parameterLayout(graph), target),
      tokens: twoBytes(Array.from({ length: 6400 }, (_, i) => (i * 7919) % 20_000)),
    };
    const ask = (choices: object) => handle(request({ ...parts, options: options({ method: 'fgmt', steps: 1, ...choices }) }));
    expect(await problemOf(await ask({ batchSize: 64 }))).toMatchObject({ status: 503, body: { error: 'OutOfMemoryError' } });
    expect((await handle(request(inputsOf('words')))).status).toBe(200);
  });
});

describe('requests', () => {
  it('are told of in GET', async () => {
    const { parts } = (await (await handle(new Request('https://port.example/'))).json()) as { parts: Record<string, string> };
    expect(Object.keys(parts)).toEqual([
      'bundle', 'adapter', 'config', 'base', 'graph', 'target', 'images', 'labels', 'sequences', 'text', 'tokens', 'options',
    ]);
    // The line that is shown is one that is read.
    const [shown] = /\{"tokens".*?\}/.exec(parts['sequences'] as string) as RegExpExecArray;
    expect(JSON.parse(shown)).toEqual({ tokens: expect.any(Array), label: 1 });
  });

  it('of several kinds wait for one another, and one that leaves is given up', async () => {
    const client = new AbortController();
    const left = handle(request(
      { ...inputsOf('bert'), options: options({ ...fine, method: 'gmt', steps: 20, batchSize: 128 }) }, { signal: client.signal },
    ));
    const others = Promise.all([handle(request(inputsOf('distilbert'))), handle(request(inputsOf('words')))]);
    setTimeout(() => client.abort(), 60);
    expect((await left).status).toBe(499);
    const [first, second] = await others;
    expect(await sha256Of(first)).toBe((await transferred('distilbert')).sha256);
    expect(await sha256Of(second)).toBe((await transferred('words')).sha256);
  });
});
