/** Attentions that leave padding out: a padded sequence is the short one, to rounding, and nothing of the padding shows in it. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openGradientEngine, type GradientEngine } from '../../src/gradient/engine.ts';
import { openCore } from '../../src/core/core.ts';
import { GraphBuilder } from '../../src/model/builder.ts';
import { parseGraph, type ModelGraph } from '../../src/model/graph.ts';
import type { NetworkState } from '../../src/tensor/tensor.ts';
import { randomState } from './checks.ts';

let engine: GradientEngine;
beforeAll(async () => {
  engine = openGradientEngine(await openCore());
});
afterAll(() => engine[Symbol.dispose]());

const PADDING = 3;
const VOCABULARY = 12;

/** Two attentions, so that what padding does as a query would show behind the second. */
function classifier(tokens: number, apart: boolean): ModelGraph {
  const builder = new GraphBuilder([tokens], VOCABULARY, PADDING);
  let value = builder.add({ op: 'embedding', name: 'embedding', features: 8 }, builder.input);
  for (const name of ['a', 'b']) {
    const before = value;
    const dense = (part: string, out: number): string => builder.add({ op: 'dense', name: `${name}.${part}`, out }, before);
    value = apart
      ? builder.add({ op: 'attention', heads: 2, masked: true }, dense('q', 8), dense('k', 8), dense('v', 8))
      : builder.add({ op: 'attention', heads: 2, masked: true }, dense('qkv', 24));
  }
  return builder.build(builder.chain(value, [{ op: 'select_token', index: 0 }, { op: 'dense', name: 'out', out: 3 }]));
}

const sequences = [[1, 5, 7, 9, 2], [1, 4, 2], [1], [1, 11, 0, 6, 8, 10, 2]];
const batchOf = (rows: readonly (readonly number[])[], length: number) => ({
  inputs: Int32Array.from(rows.flatMap((row) => [...row, ...Array.from({ length: length - row.length }, () => PADDING)])),
  labels: Int32Array.from(rows, (_, i) => i % 3),
  count: rows.length,
});

/** The state with another row of the embedding. */
function withRow(state: NetworkState, row: number, value: number): NetworkState {
  const embedding = state.parameters.get('embedding.weight');
  const data = Float32Array.from(embedding?.data ?? []);
  data.fill(value, 8 * row, 8 * (row + 1));
  return { ...state, parameters: new Map([...state.parameters, ['embedding.weight', { shape: [VOCABULARY, 8], data }]]) };
}

describe.each([['queries, keys and values in one', false], ['three inputs', true]])('%s', (_, apart) => {
  // Of 150 tokens there are two blocks of query rows; of 7 the rows end beside a whole vector.
  test.each([7, 8, 150])('padded to %i tokens, scores and gradients are those of the sequence alone', (length) => {
    const graph = classifier(length, apart);
    const state = randomState(graph, 5);
    const padded = engine.compile(graph).logits(state, batchOf(sequences, length));
    for (const [i, row] of sequences.entries()) {
      const short = engine.compile(classifier(row.length, apart));
      const [label, alone] = [Int32Array.of(i % 3), batchOf([row], row.length)];
      const scores = short.logits(state, alone);
      for (const [c, score] of scores.entries()) expect(padded[3 * i + c]).toBeCloseTo(score, 5);
      const expected = short.gradient(state, [{ ...alone, labels: label }]).gradients;
      const { gradients } = engine.compile(graph).gradient(state, [{ ...batchOf([row], length), labels: label }]);
      for (const [name, { data }] of expected)
        for (const [at, value] of data.entries()) expect(gradients.get(name)?.data[at], `${name}[${at}]`).toBeCloseTo(value, 5);
    }
  });

  test('what the padding is embedded as changes no bit of them, and has a gradient of exactly 0', () => {
    const graph = classifier(9, apart);
    const network = engine.compile(graph);
    const state = randomState(graph, 6);
    const batch = batchOf(sequences, 9);
    const [first, second] = [0.25, -40].map((value) => withRow(state, PADDING, value)) as [NetworkState, NetworkState];
    expect([...network.logits(first, batch)]).toEqual([...network.logits(second, batch)]);
    const [a, b] = [first, second].map((one) => network.gradient(one, [batch]).gradients);
    for (const [name, { data }] of a ?? []) expect(data, name).toEqual(b?.get(name)?.data);
    const rows = a?.get('embedding.weight')?.data ?? [];
    expect(rows.slice(8 * PADDING, 8 * PADDING + 8).every((value) => value === 0)).toBe(true);
    // And of another token it is not.
    const [before, after] = [0.25, -40].map((value) => network.logits(withRow(state, 2, value), batch));
    expect(before).not.toEqual(after);
  });
});

/** Queries that share keys, and the answer read at the last token: padding may stand in front of it. */
function answeredAtTheEnd(tokens: number): ModelGraph {
  const builder = new GraphBuilder([tokens], VOCABULARY, PADDING);
  const embedded = builder.add({ op: 'embedding', name: 'embedding', features: 8 }, builder.input);
  const value = builder.chain(embedded, [
    { op: 'dense', name: 'qkv', out: 16 },
    { op: 'attention', heads: 4, key_heads: 2, masked: true },
    { op: 'select_token', index: tokens - 1 },
    { op: 'dense', name: 'out', out: 3 },
  ]);
  return builder.build(value);
}

test.each([9, 150, 300])('padding in front and between, of %i tokens with shared keys and by micro-batches', (length) => {
  const graph = answeredAtTheEnd(length);
  const state = randomState(graph, 7);
  const rows = [[1, 5, 7, 9, 2], [4], [1, 11, 0, 6, 8, 10, 2]];
  // The first token is padding, and so are others at no regular distance; the last is none.
  const spread = rows.map((row) => {
    const tokens = Array.from({ length }, () => PADDING);
    for (const [i, token] of row.entries()) tokens[length - 1 - Math.floor(((row.length - 1 - i) * (length - 2)) / row.length)] = token;
    return tokens;
  });
  expect(spread.every(([first, ...others]) => first === PADDING && others.at(-1) !== PADDING)).toBe(true);
  const scores = engine.compile(graph).logits(state, batchOf(spread, length));
  const sums = new Map<string, Float64Array>();
  for (const [i, row] of rows.entries()) {
    const short = engine.compile(answeredAtTheEnd(row.length));
    const alone = { ...batchOf([row], row.length), labels: Int32Array.of(i % 3) };
    for (const [c, score] of short.logits(state, alone).entries()) expect(scores[3 * i + c]).toBeCloseTo(score, 5);
    for (const [name, { data }] of short.gradient(state, [alone]).gradients) {
      const sum = sums.get(name) ?? new Float64Array(data.length);
      sums.set(name, sum.map((value, at) => value + (data[at] as number) / rows.length));
    }
  }
  const { gradients } = engine.compile(graph, { microBatch: 2 }).gradient(state, [batchOf(spread, length)]);
  expect([...gradients.keys()]).toEqual([...sums.keys()]);
  for (const [name, sum] of sums)
    for (const [at, value] of sum.entries()) expect(gradients.get(name)?.data[at], `${name}[${at}]`).toBeCloseTo(value, 5);
});

test('a sequence of padding only is refused, wherever it stands', () => {
  const network = engine.compile(classifier(4, false));
  const state = randomState(network.graph, 1);
  const batch = batchOf([[1, 2], [], [5]], 4);
  expect(() => network.logits(state, batch)).toThrow(
    /^batch\.inputs\[4\]: expected a sequence with a token that is not the padding, 3, got padding only$/,
  );
  expect(() => network.gradient(state, [batch])).toThrow(/padding only/);
});

describe('a graph with padding', () => {
  const json = (): Record<string, unknown> => JSON.parse(JSON.stringify(classifier(4, false))) as Record<string, unknown>;

  test('is what its JSON says; without, nothing of it is in the JSON', () => {
    expect(parseGraph(json())).toEqual(classifier(4, false));
    expect(json()['padding']).toBe(PADDING);
    const builder = new GraphBuilder([4], 5);
    const layers = [
      { op: 'embedding', name: 'e', features: 6 }, { op: 'attention', heads: 1 }, { op: 'select_token', index: 0 },
      { op: 'dense', name: 'out', out: 2 },
    ] as const;
    const plain = JSON.stringify(builder.build(builder.chain(builder.input, layers)));
    expect(plain).not.toMatch(/padding|masked/);
  });

  test.each<[string, object, RegExp]>([
    ['padding beyond the vocabulary', { padding: VOCABULARY }, /^graph\.padding: expected a token below the vocabulary, 12, got 12$/],
    ['padding of a network of images', { vocabulary: undefined, padding: 0 }, /^graph\.padding: expected none without a vocabulary/],
    ['a vocabulary of the padding alone', { vocabulary: 1, padding: 0 }, /^graph\.padding: expected none without a vocabulary of two/],
    ['padding that is no number', { padding: -1 }, /graph\.padding/],
    ['masked without padding', { padding: undefined }, /expected masked only where the graph has a padding/],
  ])('%s is refused', (__, fields, message) => {
    const { vocabulary, padding, ...rest } = { ...json(), ...fields } as Record<string, unknown>;
    expect(() =>
      parseGraph({ ...rest, ...(vocabulary === undefined ? {} : { vocabulary }), ...(padding === undefined ? {} : { padding }) }),
    ).toThrow(message);
  });

  test('an attention is masked or causal, and over the tokens of the input', () => {
    const nodes = json()['nodes'] as Record<string, unknown>[];
    const changed = nodes.map((one) => (one['op'] === 'attention' ? { ...one, causal: true } : one));
    expect(() => parseGraph({ ...json(), nodes: changed })).toThrow(/expected masked or causal, got both/);
    const [embedding, ...others] = nodes;
    const longer = [
      embedding, { name: 'cls', op: 'class_token', inputs: ['embedding'] },
      ...others.map((one) => (one['name'] === 'a.qkv' ? { ...one, inputs: ['cls'] } : one)),
    ];
    expect(() => parseGraph({ ...json(), nodes: longer })).toThrow(/expected the 4 tokens of the network's input/);
  });
});
