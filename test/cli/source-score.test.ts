/** The score of a source before the work is of all of its task, however images and texts are ordered. */
import { expect, it } from 'vitest';
import { scoreOfSource } from '../../src/cli/transfer-scores.ts';
import type { Context } from '../../src/cli/command.ts';
import { imageSet, initialise, openBundle, openCompute, openCore, preset, tokenSet, writeBundle } from '../../src/index.ts';
import type { DataSet, ModelGraph, NetworkState } from '../../src/index.ts';

/** All zeros but for what makes it answer class 0, always. */
async function constant(graph: ModelGraph, bias: string, besides: string[] = []): Promise<NetworkState> {
  const state = initialise(await openCore(), graph, { seed: 1 });
  for (const { data } of state.parameters.values()) data.fill(0);
  for (const name of [bias, ...besides]) {
    const tensor = state.parameters.get(name);
    if (tensor === undefined) throw new Error(`no ${name}`);
    tensor.data[0] = 1;
  }
  return state;
}

async function told(
  graph: ModelGraph, state: NetworkState, data: DataSet,
): Promise<{ readonly text: string; readonly accuracy: number; readonly count: number }> {
  using compute = await openCompute();
  using bundle = await openBundle(await writeBundle({ graph, checkpoints: [{ label: 'start', state }, { label: 'end', state }] }));
  let text = '';
  const output = { text: (more: string) => (text += more), warn: () => undefined };
  const context = { compute: async () => compute, output, signal: new AbortController().signal } as unknown as Context;
  const { accuracy, count } = await scoreOfSource(
    context, bundle, undefined, data, { loss: { kind: 'softmax-cross-entropy', labelSmoothing: 0 } },
  );
  return { text, accuracy, count };
}

it('is of images from all of a set that is in the order of its classes', async () => {
  const graph = preset('mlp', { input: [1, 2, 2], classes: 3, widths: [4] });
  const count = 1500;
  const labels = Uint8Array.from({ length: count }, (_, i) => Math.floor(i / 500));
  const data = imageSet({ name: 'sorted', images: new Uint8Array(count * 4), labels, channels: 1, height: 2, width: 2, classes: 3 });
  const score = await told(graph, await constant(graph, 'linear2.bias'), data);
  expect(score.count).toBe(1000);
  expect(Math.abs(score.accuracy - 1 / 3)).toBeLessThan(0.002);
  expect(score.text).toContain('% right on 1,000 images');
});

it('is of windows from all of a text, its beginning and its end', async () => {
  const graph = preset('gpt2', { input: [8], classes: 4, width: 8, depth: 1, heads: 1 });
  const state = await constant(graph, 'transformer.ln_f.bias', ['transformer.wte.weight']);
  const windows = 3000;
  // Zeros to the middle, then ones: the answer is right on the first half.
  const tokens = Uint8Array.from({ length: 8 * windows + 1 }, (_, i) => (i > 4 * windows ? 1 : 0));
  const score = await told(graph, state, tokenSet({ name: 'halves', tokens, length: 8, vocabulary: 4 }));
  expect(score.count).toBe(16_384);
  expect(Math.abs(score.accuracy - 0.5)).toBeLessThan(0.01);
  expect(score.text).toContain('on 2,048 windows');
  // Never right, up to the label behind each stretch.
  const ones = tokenSet({ name: 'ones', tokens: new Uint8Array(8 * windows + 1).fill(1), length: 8, vocabulary: 4 });
  expect((await told(graph, state, ones)).accuracy).toBe(0);
  // No more than there are: as they are.
  const short = await told(
    graph, state, tokenSet({ name: 'short', tokens: tokens.subarray(4 * windows - 80, 4 * windows + 81), length: 8, vocabulary: 4 }),
  );
  expect([short.count, short.accuracy]).toEqual([160, 0.5]);
});
