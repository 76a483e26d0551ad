/** FGMT on networks with attention: bases from two seeds, a fine-tune of one on a second task, ported to the other. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DataSet } from '../../src/data/data-set.ts';
import { sequenceSet } from '../../src/data/sequence-set.ts';
import { tokenSet, tokensFromBytes } from '../../src/data/token-set.ts';
import { imageSet, type ImageSet } from '../../src/data/image-set.ts';
import { preset } from '../../src/model/presets.ts';
import type { ModelGraph } from '../../src/model/graph.ts';
import { Random, streams } from '../../src/tensor/random.ts';
import { openCompute, type Compute } from '../../src/transfer/compute.ts';
import { evaluate } from '../../src/transfer/evaluate.ts';
import { train } from '../../src/transfer/train.ts';
import { transfer } from '../../src/transfer/transfer.ts';
import { verify } from '../../src/transfer/verify.ts';
import { quadrants } from './networks.ts';

let compute: Compute;
beforeAll(async () => {
  compute = await openCompute();
});
afterAll(() => compute[Symbol.dispose]());

/** A made-up language: each of 24 letters is followed by one of two, the likelier nine times of ten. `shift` moves the likelier. */
function language(random: Random, shift: number, length: number): Uint8Array {
  const text = new Uint8Array(length);
  for (let i = 1; i < length; i++) {
    const before = text[i - 1] as number;
    text[i] = random.below(10) < 9 ? (before * 5 + 3 + shift) % 24 : random.below(24);
  }
  return text;
}

/** Texts of 6 to 16 letters, 1 … 24, each in one of four languages, which is its label; 0 is padding. */
function labelledTexts(name: string, seed: number, shift: number, count: number): DataSet {
  const random = new Random(seed, streams.generatedImages);
  const labels = Uint8Array.from({ length: count }, () => random.below(4));
  const sequences = Array.from(labels, (label) => language(random, shift + label, 6 + random.below(11)).map((letter) => letter + 1));
  return sequenceSet({ name, sequences, labels, length: 16, padding: 0, vocabulary: 25, classes: 4 });
}

interface Job {
  readonly graph: ModelGraph;
  readonly before: DataSet;
  readonly after: DataSet;
  readonly test: DataSet;
  readonly rate: number;
  readonly zeroHead?: boolean;
}

const adamw = { kind: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01 } as const;

async function port({ graph, before, after, test: held, rate, zeroHead = false }: Job) {
  const common = { graph, batchSize: 32, optimiser: adamw, learningRate: rate, compute } as const;
  const source = await train({ ...common, data: before, seed: 1, iterations: 100 });
  const target = await train({ ...common, data: before, seed: 2, iterations: 100 });
  const tuned = await train({ ...common, data: after, seed: 3, iterations: 60, initial: source.state });
  const accuracy = async (state: typeof target.state): Promise<number> => (await evaluate({ graph, state, data: held, compute })).accuracy;
  const ported = async (method: 'fgmt' | 'naive') =>
    transfer({ source: tuned.trajectory, target: target.state, data: after, method, steps: 6, batchSize: 32, seed: 4, zeroHead, compute });
  const [fgmt, naive] = [await ported('fgmt'), await ported('naive')];
  const figures = {
    start: await accuracy(target.state),
    own: await accuracy(tuned.state),
    fgmtAccuracy: await accuracy(fgmt.state),
    naiveAccuracy: await accuracy(naive.state),
  };
  return { target: target.state, figures, ...figures };
}

describe('a fine-tune is ported', () => {
  test('vit: FGMT beats naive, and every permutation keeps its heads', async () => {
    const turned = (count: number, seed: number): ImageSet => {
      const set = quadrants(count, seed);
      return imageSet({ ...set, labels: set.labels.map((label) => (label + 1) % 4) });
    };
    const graph = preset('vit', { input: [1, 8, 8], classes: 4, width: 16, depth: 2, heads: 2, patch: 4 });
    const result = await port({ graph, before: quadrants(512, 1), after: turned(512, 2), test: turned(256, 3), rate: 3e-3 });
    expect(result.fgmtAccuracy, JSON.stringify(result.figures)).toBeGreaterThan(result.naiveAccuracy + 0.05);
    expect((await verify({ graph, state: result.target, compute })).passed).toBe(true);
  });

  test('gpt2: FGMT beats naive on bytes of text', async () => {
    const graph = preset('gpt2', { input: [16], classes: 24, width: 32, depth: 2, heads: 4 });
    const tokens = (name: string, seed: number, shift: number): DataSet =>
      tokenSet({ name, tokens: language(new Random(seed, streams.generatedImages), shift, 16 * 512 + 1), length: 16, vocabulary: 24 });
    const result = await port({
      graph,
      before: tokens('before', 1, 0),
      after: tokens('after', 2, 7),
      test: tokens('test', 3, 7),
      rate: 3e-3,
    });
    expect(result.fgmtAccuracy, JSON.stringify(result.figures)).toBeGreaterThan(result.naiveAccuracy + 0.05);
    expect((await verify({ graph, state: result.target, compute })).passed).toBe(true);
  });

  test('distilbert: FGMT beats naive on texts of several lengths', async () => {
    const graph = preset('distilbert', { input: [16], classes: 4, vocabulary: 25, width: 64, depth: 2, heads: 4, positions: 16 });
    const result = await port({
      graph,
      before: labelledTexts('before', 1, 0, 512),
      after: labelledTexts('after', 2, 9, 512),
      test: labelledTexts('test', 3, 9, 512),
      rate: 2e-3,
      zeroHead: true,
    });
    expect(result.fgmtAccuracy, JSON.stringify(result.figures)).toBeGreaterThan(result.naiveAccuracy + 0.05);
    expect((await verify({ graph, state: result.target, compute })).passed).toBe(true);
  });
});

describe('token sets', () => {
  test('windows do not overlap, labels are one further', () => {
    const set = tokenSet({ name: 'text', tokens: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8), length: 3 });
    expect(set.count).toBe(2);
    expect(() => tokenSet({ name: 'text', tokens: Uint8Array.of(1, 2, 3), length: 3 })).toThrow(/at least 4 tokens/);
    expect(() => tokenSet({ name: 'text', tokens: Uint8Array.of(1, 9, 3), length: 2, vocabulary: 5 })).toThrow(
      /tokens\[1\]: expected a token below 5, got 9/,
    );
  });

  test('u16 tokens are little-endian', () => {
    expect([...tokensFromBytes(Uint8Array.of(1, 2, 255, 0), 16)]).toEqual([513, 255]);
    expect(() => tokensFromBytes(Uint8Array.of(1, 2, 3), 16)).toThrow(/two bytes a token/);
  });
});
