/** Labelled token sequences: what is checked, and the batches that they become. */
import { describe, expect, test } from 'vitest';
import { LimitError } from '../../src/core/errors.ts';
import { PassingBatches, makeBatch } from '../../src/data/data-set.ts';
import { selectSequences, sequenceSet, type SequenceSetFields } from '../../src/data/sequence-set.ts';
import { GraphBuilder } from '../../src/model/builder.ts';
import { preset } from '../../src/model/presets.ts';
import { requireData } from '../../src/transfer/inputs.ts';
import { dataForm, dataSha256 } from '../../src/transfer/record.ts';

const fields: SequenceSetFields = { name: 'set', sequences: [[5, 6, 7], [5], [0, 9]], labels: [1, 0, 3], length: 4, padding: 0 };

test('counts, vocabulary and classes are those of the largest', () => {
  const set = sequenceSet(fields);
  expect(set).toEqual({
    name: 'set', sequences: Int32Array.of(5, 6, 7, 5, 0, 9), starts: Int32Array.of(0, 3, 4, 6), labels: Uint8Array.of(1, 0, 3), count: 3,
    length: 4, padding: 0, vocabulary: 10, classes: 4,
  });
  expect(sequenceSet({ ...fields, vocabulary: 12, classes: 5 })).toMatchObject({ vocabulary: 12, classes: 5 });
  expect(sequenceSet({ ...fields, padding: 11 }).vocabulary).toBe(12);
});

test('a batch is filled up with the padding, in memory of its own or of the one before', () => {
  const set = sequenceSet({ ...fields, padding: 2 });
  const [all, some] = [[5, 6, 7, 2, 5, 2, 2, 2, 0, 9, 2, 2], [0, 9, 2, 2, 5, 2, 2, 2]];
  expect(makeBatch(set, [0, 1, 2])).toEqual({ inputs: Int32Array.from(all), labels: Int32Array.of(1, 0, 3), count: 3 });
  const passing = new PassingBatches(set);
  const { buffer } = passing.make([0, 1, 2]).inputs;
  const second = passing.make([2, 1]);
  expect(second).toEqual({ inputs: Int32Array.from(some), labels: Int32Array.of(3, 0), count: 2 });
  expect(second.inputs.buffer).toBe(buffer);
  expect(() => makeBatch(set, [3])).toThrow(/^rows\[0\]: expected an integer .* 2.*, got 3$/);
  expect(() => makeBatch(set, [])).toThrow(/^rows: expected at least one row/);
});

test('rows make a set of their own', () => {
  const chosen = selectSequences(sequenceSet(fields), Int32Array.of(2, 0));
  expect(chosen).toEqual(sequenceSet({ ...fields, sequences: [[0, 9], [5, 6, 7]], labels: [3, 1] }));
  expect(() => selectSequences(chosen, Int32Array.of(2))).toThrow(/^rows\[0\]/);
});

test.each<[string, Partial<SequenceSetFields>, RegExp]>([
  ['no sequences', { sequences: [], labels: [] }, /^set: expected at least one sequence, got none$/],
  ['a label too few', { labels: [1, 0] }, /^set\.labels: expected 3, one a sequence, got 2$/],
  ['a text for a list', { sequences: 'none' as never }, /^set\.sequences: expected a list, got "none"$/],
  ['a text for a sequence', { sequences: ['one'] as never, labels: [0] }, /^set\.sequences\[0\]: expected a list of numbers, got "one"$/],
  ['no list of labels', { labels: 3 as never }, /^set\.labels: expected a list of numbers, got 3$/],
  ['a sequence that is too long', { length: 2 }, /^set\.sequences\[0\]: expected 1 to 2 tokens, got 3$/],
  ['an empty sequence', { sequences: [[5], [], [6]] }, /^set\.sequences\[1\]: expected 1 to 4 tokens, got 0$/],
  ['nothing but padding', { padding: 5 }, /^set\.sequences\[1\]: expected a token that is not the padding, 5, got padding only$/],
  ['a token beyond the vocabulary', { vocabulary: 9 }, /^set\.sequences\[2\]\[1\]: expected a token, an integer from 0 to 8, got 9$/],
  [
    'a token that is no number', { sequences: [[5], [0.5], [6]] },
    /^set\.sequences\[1\]\[0\]: expected a token, an integer from 0 to \d+, got 0\.5$/,
  ],
  ['a negative token', { sequences: [[5], [-1], [6]] }, /^set\.sequences\[1\]\[0\]: expected a token, an integer from 0 to \d+, got -1$/],
  ['a label beyond the classes', { classes: 3 }, /^set\.labels\[2\]: expected a class, an integer from 0 to 2, got 3$/],
  ['a label of more than a byte', { labels: [0, 256, 1] }, /^set\.labels\[1\]: expected a class, an integer from 0 to 255, got 256$/],
  ['a label that is no number', { labels: [0, Number.NaN, 1] }, /^set\.labels\[1\]: expected a class, an integer from 0 to 255, got NaN$/],
  ['padding beyond the vocabulary', { vocabulary: 10, padding: 10 }, /^set\.padding: expected an integer .* 9.*, got 10$/],
  ['no length', { length: 0 }, /^set\.length: expected an integer/],
])('%s is refused', (_, changed, message) => {
  expect(() => sequenceSet({ ...fields, ...changed })).toThrow(message);
});

test('more tokens than their places have numbers are refused before room is made for them', () => {
  const long = new Uint8Array(65_536);
  const sequences = Array.from({ length: 32_768 }, () => long);
  expect(() => sequenceSet({ name: 'set', length: long.length, sequences, labels: new Uint8Array(sequences.length) })).toThrow(
    new LimitError({ field: 'set', expected: 'at most 2147483647 tokens in all', got: '2147483648' }),
  );
});

test('without padding all have one length', () => {
  const { padding: _, ...bare } = fields;
  expect(() => sequenceSet(bare)).toThrow(/^set\.sequences\[0\]: expected 4 tokens: there is no padding, got 3$/);
  expect(sequenceSet({ ...bare, sequences: [[0, 0], [1, 2]], labels: [0, 1], length: 2 }).count).toBe(2);
});

describe('beside a network', () => {
  const graph = preset('distilbert', { input: [4], classes: 4, vocabulary: 10, width: 8, depth: 1, heads: 2 });

  test('that reads them', () => {
    expect(() => requireData(graph, sequenceSet(fields))).not.toThrow();
  });

  test.each<[string, Parameters<typeof requireData>, RegExp]>([
    ['of another length', [graph, sequenceSet({ ...fields, length: 5 })], /^data\.length: expected 4 tokens, of which 0 is padding, got 5/],
    ['of another padding', [graph, sequenceSet({ ...fields, padding: 8 })], /^data\.length: .*, got 4 tokens, of which 8 is padding$/],
    ['of more tokens', [graph, sequenceSet({ ...fields, vocabulary: 11 })], /^data\.vocabulary: expected at most 10, .* got 11$/],
    ['of other classes', [graph, sequenceSet({ ...fields, classes: 5 })], /^data\.classes: expected 4, the outputs of the network, got 5$/],
    ['of fewer labels', [graph, { ...sequenceSet(fields), labels: Uint8Array.of(1) }], /^data: expected 3 labels and .*, got 1 and 4, /],
    [
      'that overlap', [graph, { ...sequenceSet(fields), starts: Int32Array.of(0, 5, 4, 6) }],
      /^data\.starts\[1\]: expected 1 to 4 tokens on, got 5$/,
    ],
    [
      'whose labels are none of the classes', [graph, { ...sequenceSet(fields), labels: Uint8Array.of(1, 4, 3) }],
      /^data\.labels\[1\]: expected a class below 4, got 4$/,
    ],
    ['that reads images', [preset('mlp', { input: [4], classes: 4 }), sequenceSet(fields)], /^data: expected images: the network reads no/],
    [
      'that has a label a token', [preset('gpt2', { input: [4], classes: 10, width: 8, depth: 1, heads: 2 }), sequenceSet(fields)],
      /^data: expected tokens: the network has a label for each, got labelled sequences$/,
    ],
  ])('%s they are refused', (_, [network, data], message) => {
    expect(() => requireData(network, data)).toThrow(message);
  });

  test('a literal of shorter sequences is refused where nothing fills them up', () => {
    const builder = new GraphBuilder([2], 10);
    const scores = builder.chain(builder.input, [
      { op: 'embedding', name: 'e', features: 4 }, { op: 'select_token', index: 0 }, { op: 'dense', name: 'out', out: 2 },
    ]);
    const unpadded = builder.build(scores);
    const set = sequenceSet({ name: 'set', length: 2, sequences: [[1, 2], [3, 4]], labels: [0, 1] });
    expect(() => requireData(unpadded, set)).not.toThrow();
    const shorter = { ...set, sequences: Int32Array.of(1, 2, 3), starts: Int32Array.of(0, 2, 3) };
    expect(() => requireData(unpadded, shorter)).toThrow(/^data\.starts\[2\]: expected 2 tokens on, got 1$/);
  });

  test('a record tells sets apart by tokens, by where sequences end and by labels', async () => {
    const sets = [fields, { ...fields, sequences: [[5, 6], [7, 5], [0, 9]] }, { ...fields, labels: [1, 0, 2] }, { ...fields, length: 5 }];
    const hashes = await Promise.all(sets.map((each) => dataSha256(sequenceSet(each))));
    expect(new Set(hashes.slice(0, 3)).size).toBe(3);
    // How far they are filled up is told beside.
    expect(hashes[3]).toBe(hashes[0]);
    expect(dataForm(sequenceSet(fields))).toEqual({ count: 3, length: 4, padding: 0, classes: 4 });
  });
});
