/** The types of tokens, told by a separator: what is added to the bit, what the table's gradient adds up, and what is refused. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openGradientEngine, type GradientEngine } from '../../src/gradient/engine.ts';
import { openCore } from '../../src/core/core.ts';
import { GraphBuilder } from '../../src/model/builder.ts';
import { parseGraph, type ModelGraph } from '../../src/model/graph.ts';
import { randomState } from './checks.ts';

let engine: GradientEngine;
beforeAll(async () => {
  engine = openGradientEngine(await openCore());
});
afterAll(() => engine[Symbol.dispose]());

const [LENGTH, VOCABULARY, PADDING, SEPARATOR] = [6, 9, 0, 5];

/** What each token is embedded as, its type's row added, is what it scores. Of 5 features the last is beside a whole vector. */
function typed(types: number, padding: number | undefined, separator: number | 'none' = SEPARATOR): ModelGraph {
  const builder = new GraphBuilder([LENGTH], VOCABULARY, padding);
  return builder.build(
    builder.chain(builder.input, [
      { op: 'embedding', name: 'words', features: 5 },
      { op: 'type_embedding', name: 'types', types, ...(separator === 'none' ? {} : { separator }) },
      { op: 'flatten' },
    ]),
  );
}

/** Tokens, then their types with padding and without. */
const texts: readonly (readonly [string, readonly number[], string, string])[] = [
  ['a pair', [1, 3, 5, 4, 5, 0], '000110', '000111'],
  ['a pair up to the end', [1, 5, 3, 4, 2, 5], '001111', '001111'],
  ['a single text behind it', [1, 3, 4, 5, 0, 0], '000000', '000011'],
  ['no separator', [1, 3, 4, 6, 7, 8], '000000', '000000'],
  ['a separator at the end, another text behind', [1, 3, 4, 6, 7, 5], '000000', '000000'],
  ['three texts', [1, 5, 2, 5, 3, 5], '001111', '001111'],
  ['padding amidst, also in front', [0, 5, 2, 0, 3, 5], '001011', '001111'],
  ['a separator in front', [5, 1, 2, 3, 0, 0], '011100', '011111'],
];
const inputs = Int32Array.from(texts.flatMap(([, tokens]) => tokens));

describe.each([['with padding', PADDING], ['without padding', undefined]])('%s', (_, padding) => {
  const typesOf = texts.flatMap((text) => Array.from(text[padding === undefined ? 3 : 2], Number));

  test.each([2, 3])('each token gets the row of its type, of %i', (types) => {
    const graph = typed(types, padding);
    const state = randomState(graph, 3);
    const [words, rows] = ['words', 'types'].map((name) => state.parameters.get(`${name}.weight`)?.data ?? []);
    const expected = typesOf.flatMap((type, i) =>
      Array.from({ length: 5 }, (__, f) =>
        Math.fround((words?.[5 * (inputs[i] as number) + f] as number) + (rows?.[5 * type + f] as number))));
    const scores = engine.compile(graph).logits(state, { inputs, labels: new Int32Array(texts.length), count: texts.length });
    expect([...scores]).toEqual(expected);
  });

  test.each([1, 3, texts.length])('and its gradient goes to that row alone, by micro-batches of %i', (microBatch) => {
    const graph = typed(3, padding);
    const batch = { inputs, labels: Int32Array.from(texts, (__, i) => i), count: texts.length };
    // Scores are sums of two tables, so that the gradient of a row is that of the scores added up: softmax less label.
    const state = randomState(graph, 3);
    const scores = engine.compile(graph).logits(state, batch);
    const sums = new Float64Array(15);
    for (const [i] of texts.entries()) {
      const own = Array.from(scores.slice(30 * i, 30 * (i + 1)));
      const total = own.reduce((sum, score) => sum + Math.exp(score), 0);
      for (const [at, score] of own.entries()) {
        const to = 5 * (typesOf[6 * i + Math.floor(at / 5)] as number) + (at % 5);
        sums[to] = (sums[to] as number) + (Math.exp(score) / total - Number(at === batch.labels[i])) / texts.length;
      }
    }
    const { gradients } = engine.compile(graph, { microBatch }).gradient(state, [batch]);
    const data = gradients.get('types.weight')?.data ?? [];
    expect(data).toHaveLength(15);
    for (const [at, sum] of sums.entries()) expect(data[at], `${at}`).toBeCloseTo(sum, 6);
    expect(Array.from(data).slice(10)).toEqual([0, 0, 0, 0, 0]);
  });
});

test('single texts have the bytes that they have without a separator', () => {
  const single = { inputs: inputs.slice(12, 30), labels: Int32Array.of(4, 9, 16), count: 3 };
  const [told, plain] = [typed(2, PADDING), typed(2, PADDING, 'none')].map((graph) => {
    const state = randomState(graph, 3);
    return [engine.compile(graph).logits(state, single), engine.compile(graph).gradient(state, [single])];
  });
  expect(told).toEqual(plain);
});

describe('a graph with types', () => {
  test('is what its JSON says; without a separator, nothing of it is in the JSON', () => {
    const graph = typed(2, PADDING);
    expect(parseGraph(JSON.parse(JSON.stringify(graph)))).toEqual(graph);
    expect(graph.nodes[1]).toEqual({ op: 'type_embedding', name: 'types', inputs: ['words'], types: 2, separator: 5 });
    expect(typed(2, PADDING, 'none').nodes[1]).toEqual({ op: 'type_embedding', name: 'types', inputs: ['words'], types: 2 });
  });

  test.each<[string, () => ModelGraph, RegExp]>([
    ['one type', () => typed(1, PADDING), /types.*: expected two types or more where there is a separator, got 1$/],
    ['a separator beyond the vocabulary', () => typed(2, PADDING, 9), /expected a separator below the graph's vocabulary, 9, got 9$/],
    ['a separator that is the padding', () => typed(2, 5), /expected a separator that is not the padding, got 5$/],
    ['a separator below 0', () => typed(2, PADDING, -1), /separator: expected an integer in \[0, \d+\], got -1$/],
    ['half a separator', () => typed(2, PADDING, 1.5), /separator: expected an integer .*got 1\.5$/],
  ])('%s is refused', (_, graph, message) => {
    expect(graph).toThrow(message);
  });

  test('of a network of images, or over others than the tokens of the input, a separator is refused', () => {
    const images = new GraphBuilder([2, 3, 2]);
    expect(() =>
      images.build(images.chain(images.input, [{ op: 'tokens' }, { op: 'type_embedding', types: 2, separator: 0 }, { op: 'flatten' }])),
    ).toThrow(/expected a separator below the graph's vocabulary, 0, got 0$/);
    const longer = new GraphBuilder([LENGTH], VOCABULARY);
    expect(() =>
      longer.build(
        longer.chain(longer.input, [
          { op: 'embedding', features: 4 }, { op: 'class_token' }, { op: 'type_embedding', types: 2, separator: 5 }, { op: 'flatten' },
        ]),
      ),
    ).toThrow(/expected the 6 tokens of the network's input, which tell the types, got 7$/);
  });
});
