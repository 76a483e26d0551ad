/** JSON Lines of labelled sequences: what they hold, and a line number with all that is wrong. */
import { expect, test } from 'vitest';
import { cappedSequences, sequenceSetFromJsonLines } from '../../src/bundle/json-lines.ts';
import { TrajportError } from '../../src/core/errors.ts';
import { sequenceSet } from '../../src/data/sequence-set.ts';

const form = { name: 'data.jsonl', length: 4, padding: 0 };
const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
const read = (text: string, more: object = {}) => sequenceSetFromJsonLines({ ...form, bytes: bytesOf(text), ...more });

const good = '{"tokens":[5,6,7],"label":1}';

test.each<[string, string]>([
  ['a line feed at the end', `${good}\n{"label":0,"tokens":[5]}\n`],
  ['none', `${good}\n{"label":0,"tokens":[5]}`],
  ['a byte order mark', `\ufeff${good}\n{"label":0,"tokens":[5]}\n`],
  ['other members of 64 bits', `{"id":1212092628029698048,"tokens":[5,6,7],"label":1}\n{"tokens":[5],"label":0,"id":18446744073709551615}`],
  ["Windows' ends of lines", `${good}\r\n{"label":0,"tokens":[5]}\r\n`],
  [
    'other members, which may have commas and braces',
    '{"text":"a, {b}, é","tokens":[5,6,7],"label":1,"attention_mask":[1,1,1]}\n{"tokens":[5],"label":0}\n',
  ],
  [
    "Hugging Face's names",
    '{"input_ids":[5,6,7],"token_type_ids":[0,0,0],"attention_mask":[1,1,1],"labels":1}\n{"input_ids":[5],"label":0}\n',
  ],
])('with %s', (_, text) => {
  expect(read(text)).toEqual(sequenceSet({ ...form, sequences: [[5, 6, 7], [5]], labels: [1, 0] }));
});

test.each<[string, string, object, string, RegExp]>([
  ['nothing', '', {}, 'invalid-argument', /^data\.jsonl: expected at least one sequence, got none$/],
  ['an empty line', `${good}\n\n${good}\n`, {}, 'malformed-file', /^data\.jsonl, line 2: expected an object, got an empty line$/],
  ['an empty last line', `${good}\r\n\r\n`, {}, 'malformed-file', /^data\.jsonl, line 2: expected an object, got an empty line$/],
  ['a byte order mark alone', '\ufeff', {}, 'invalid-argument', /^data\.jsonl: expected at least one sequence, got none$/],
  ['a byte order mark further on', `${good}\n\ufeff${good}\n`, {}, 'malformed-file', /^data\.jsonl, line 2: expected a JSON value/],
  [
    'a token of 64 bits', '{"tokens":[18446744073709551615],"label":1}', {}, 'invalid-argument',
    /^data\.jsonl, line 1: tokens\[0\]: expected a token, an integer from 0 to 16777215, got 18446744073709552000$/,
  ],
  [
    'a number of 400 digits', `{"tokens":[1],"label":1,"id":1${'0'.repeat(400)}}`, {}, 'malformed-file',
    /^data\.jsonl, line 1: expected an integer/,
  ],
  ['a cut line', `${good}\n{"tokens":[1,`, {}, 'malformed-file', /^data\.jsonl, line 2/],
  ['no object', `${good}\n[1,2]`, {}, 'malformed-file', /^data\.jsonl, line 2: expected an object/],
  ['two objects', `${good}${good}`, {}, 'malformed-file', /^data\.jsonl, line 1/],
  ['no tokens', `${good}\n{"label":1}`, {}, 'malformed-file', /^data\.jsonl, line 2: tokens: expected a list of numbers, got undefined$/],
  [
    'tokens by two names', `${good}\n{"tokens":[1],"input_ids":[1],"label":1}`, {}, 'malformed-file',
    /^data\.jsonl, line 2: expected tokens or input_ids, got both$/,
  ],
  [
    'a bad token by another name', '{"input_ids":[1.5],"label":1}', {}, 'invalid-argument',
    /^data\.jsonl, line 1: input_ids\[0\]: .*, got 1\.5$/,
  ],
  ['tokens twice', '{"tokens":[1],"tokens":[2],"label":1}', {}, 'malformed-file', /^data\.jsonl, line 1/],
  ['a text for tokens', '{"tokens":"1 2","label":1}', {}, 'malformed-file', /^data\.jsonl, line 1: tokens: expected a list of numbers/],
  [
    'a list within', '{"tokens":[1,[2]],"label":1}', {}, 'invalid-argument',
    /^data\.jsonl, line 1: tokens\[1\]: expected a token, an integer from 0 to 16777215, got \[2\]$/,
  ],
  [
    'a token of no vocabulary', `${good}\n{"tokens":[8],"label":1}`, { vocabulary: 8 }, 'invalid-argument',
    /^data\.jsonl, line 2: tokens\[0\]: expected a token, an integer from 0 to 7, got 8$/,
  ],
  ['half a token', '{"tokens":[1.5],"label":1}', {}, 'invalid-argument', /^data\.jsonl, line 1: tokens\[0\]: .*, got 1\.5$/],
  [
    'a long sequence', `${good}\n{"tokens":[1,2,3,4,5],"label":1}`, {}, 'invalid-argument',
    /^data\.jsonl, line 2: tokens: expected 1 to 4 tokens, got 5$/,
  ],
  ['no sequence', '{"tokens":[],"label":1}', {}, 'invalid-argument', /^data\.jsonl, line 1: tokens: expected 1 to 4 tokens, got 0$/],
  [
    'padding only', `${good}\n{"tokens":[0,0],"label":1}`, {}, 'invalid-argument',
    /^data\.jsonl, line 2: tokens: expected a token that is not the padding/,
  ],
  [
    'no label', '{"tokens":[1]}', {}, 'invalid-argument',
    /^data\.jsonl, line 1: label: expected a class, an integer from 0 to 255, got undefined$/,
  ],
  [
    'a label as text', '{"tokens":[1],"label":"1"}', {}, 'invalid-argument',
    /^data\.jsonl, line 1: label: expected a class, an integer from 0 to 255, got "1"$/,
  ],
  [
    'a label of no class', `${good}\n{"tokens":[1],"label":2}`, { classes: 2 }, 'invalid-argument',
    /^data\.jsonl, line 2: label: expected a class, an integer from 0 to 1, got 2$/,
  ],
])('%s is refused', (_, text, more, code, message) => {
  try {
    read(text, more);
    expect.unreachable();
  } catch (error) {
    expect(error).toBeInstanceOf(TrajportError);
    expect((error as TrajportError).message).toMatch(message);
    expect((error as TrajportError).code).toBe(code);
  }
});

test('what is not UTF-8 is told by its line', () => {
  const bytes = Uint8Array.from([...bytesOf(`${good}\n{"text":"`), 0xff, ...bytesOf('","tokens":[1],"label":0}')]);
  expect(() => sequenceSetFromJsonLines({ ...form, bytes })).toThrow(/^data\.jsonl, line 2: expected UTF-8/);
});

test('many lines are read one by one', () => {
  const { count, labels } = read(Array.from({ length: 20_000 }, (_, i) => `{"tokens":[1,${2 + (i % 7)}],"label":${i % 5}}\n`).join(''));
  expect(count).toBe(20_000);
  expect([...labels.subarray(0, 6)]).toEqual([0, 1, 2, 3, 4, 0]);
});

test('caps hold to the line, the token and the value, before memory is taken for what is beyond them', () => {
  const text = `${good}\n{"tokens":[5,6,7],"label":0,"text":"a, b, c, d, e"}\n`;
  const under = (caps: object, of = text) =>
    cappedSequences({ ...form, bytes: bytesOf(of) }, { lines: 2, tokens: 6, lineValues: 7, ...caps });
  expect(under({})).toEqual(read(text));
  expect(() => under({ lines: 1 })).toThrow('data.jsonl: expected at most 1 lines, got 2');
  expect(() => under({ tokens: 5 })).toThrow('data.jsonl, line 2: tokens: expected at most 5 tokens in all, got more');
  // An object, a list, three tokens, a label and a text.
  expect(() => under({ lineValues: 6 })).toThrow('data.jsonl, line 2: expected at most 6 values, got more');

  const taken: number[] = [];
  const arrays = globalThis.Int32Array;
  globalThis.Int32Array = new Proxy(arrays, {
    construct: (target, [length]: [number]) => (taken.push(length), new target(length)),
  });
  try {
    expect(() => under({}, `${good}\n${','.repeat(1e6)}`)).toThrow('data.jsonl, line 2: expected a JSON value');
    expect(() => under({ tokens: Infinity }, ','.repeat(1e6))).toThrow('data.jsonl, line 1: expected a JSON value');
    expect(() => under({}, '\n'.repeat(1e6))).toThrow('data.jsonl: expected at most 2 lines, got 1000000');
  } finally {
    globalThis.Int32Array = arrays;
  }
  // Of tokens 6, as capped, and 4 a line; of starts one more than lines.
  expect(taken).toEqual([6, 3, 4, 2]);
});
