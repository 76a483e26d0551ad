/** What a request would cost is refused by what its solver takes, and by what it holds in memory. */
import { expect, it, vi } from 'vitest';
import { LimitError } from '../../src/core/errors.ts';
import { HeldBytes } from '../../src/edge/body.ts';
import { Refusal } from '../../src/edge/refusal.ts';
import { requireWork } from '../../src/edge/work.ts';
import type { RequestOptions } from '../../src/edge/options.ts';
import { plan } from '../../src/transfer/plan.ts';
import { rememberedBytes } from '../../src/matching/history-size.ts';
import { matchingLayout } from '../../src/matching/layout.ts';
import { SimilarityCache } from '../../src/matching/similarity.ts';
import { derivePermutationSpec } from '../../src/model/permutation-spec.ts';
import { preset } from '../../src/model/presets.ts';
import { initialise, openCompute, sequenceSet, trajectoryFromStates, transfer } from '../../src/index.ts';
import type { NetworkState } from '../../src/index.ts';

const written = SimilarityCache.prototype.write;

it('counts the matchings of the solver that is asked for, to the operation', () => {
  const graph = preset('mlp', { input: [1, 28, 28], widths: [256, 256], classes: 10 });
  const inputs = { graph, checkpoints: 2, images: 200 };
  const operations = (choices: Partial<RequestOptions>): number =>
    Object.values(plan({ method: 'fgmt', ...choices, ...inputs }).flops).reduce((sum, part) => sum + part, 0);
  const ask = (maxFlops: number, choices: Partial<RequestOptions>) => () =>
    requireWork(
      { heapLimitBytes: 2 ** 25, maxGradients: 1e6, maxHistoryBytes: 1e12, maxFlops },
      { method: 'fgmt', seed: 1, ...choices },
      { ...inputs, tokenBytes: 0 },
    );
  const descent = operations({});
  for (const solver of ['seeded-starts', 'frank-wolfe'] as const) {
    const needed = operations({ solver });
    expect(needed).toBeGreaterThan(1.5 * descent);
    expect(ask(descent, { solver })).toThrow(/floating-point operations of at most/);
    expect(ask(needed - 1, { solver })).toThrow(/floating-point operations/);
    expect(ask(needed, { solver })).not.toThrow();
    // Fewer sweeps cost less, and more than a descent takes by itself no more.
    expect(operations({ solver, maxSweeps: 1 })).toBeLessThan(needed);
    expect(operations({ solver, maxSweeps: 10_000 })).toBe(needed);
  }
  expect(ask(descent, {})).not.toThrow();
});

it('counts the checkpoints that GMT reads again on a real trajectory, up to the 32 MiB that are kept of them', () => {
  const graph = preset('mlp', { input: [1, 28, 28], widths: [256, 256], classes: 10 });
  const bytes = 4 * (784 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10);
  const held = (method: 'gmt' | 'fgmt', trajectory: 'real' | 'linear', checkpoints: number): number => {
    const caps = { heapLimitBytes: 2 ** 25, maxGradients: 1e6, maxHistoryBytes: 0, maxFlops: 1e18 };
    try {
      requireWork(caps, { method, seed: 1, trajectory, steps: 10 }, { graph, checkpoints, images: 200, tokenBytes: 0 });
    } catch (error) {
      expect(error).toBeInstanceOf(LimitError);
      return Number((error as LimitError).got);
    }
    throw new Error('not refused');
  };
  expect(held('gmt', 'real', 11) - held('gmt', 'linear', 11)).toBe(11 * bytes);
  expect(held('gmt', 'real', 200) - held('gmt', 'linear', 200)).toBe(32 * 2 ** 20);
  expect(held('fgmt', 'real', 11)).toBe(held('fgmt', 'linear', 11));
});

it('counts gradients as they are kept: exact where they fit the budget that is asked for, else as codes', () => {
  const graph = preset('mlp', { input: [1, 28, 28], widths: [256, 256], classes: 10 });
  const { history, codedHistory, batches } = plan({ graph, method: 'fgmt', images: 200 }).bytes;
  expect(codedHistory).toBeLessThan(history);
  // The one tensor that two groups permute, seen from either: two matrices each.
  const remembered = 4 * 256 * 256 * 4;
  const ask = (maxHistoryBytes: number, historyBudgetBytes?: number) => () =>
    requireWork(
      { heapLimitBytes: 2 ** 25, maxGradients: 1e6, maxHistoryBytes, maxFlops: 1e18 },
      { method: 'fgmt', seed: 1, ...(historyBudgetBytes === undefined ? {} : { historyBudgetBytes }) },
      { graph, checkpoints: 2, images: 200, tokenBytes: 0 },
    );
  for (const [needed, budget] of [
    [history + remembered, undefined], [history + remembered, history + remembered], [history + 5, history + 5], [history, history],
    [Math.min(codedHistory + remembered, history - 1), history - 1],
  ] as const) {
    expect(ask(needed + batches, budget)).not.toThrow();
    expect(ask(needed + batches - 1, budget)).toThrow(LimitError);
  }
});

it("counts the labels of a language model's batches beside their tokens, and of a classifier's none", () => {
  const [gpt2, distilbert] = [
    preset('gpt2', { input: [32], classes: 50, width: 8, depth: 1, heads: 2 }),
    preset('distilbert', { input: [32], classes: 3, vocabulary: 50, width: 8, depth: 1, heads: 2 }),
  ];
  // 16 inputs of 32 numbers of four bytes each.
  const tokens = 16 * 32 * 4;
  for (const [graph, batches] of [[gpt2, 2 * tokens], [distilbert, tokens]] as const) {
    const { history } = plan({ graph, method: 'fgmt', batchSize: 16, images: 200 }).bytes;
    // What descents remember beside it is bounded by the budget.
    const ask = (maxHistoryBytes: number, tokenBytes = 0) => () =>
      requireWork(
        { heapLimitBytes: 2 ** 25, maxGradients: 1e6, maxHistoryBytes, maxFlops: 1e18 },
        { method: 'fgmt', seed: 1, batchSize: 16, historyBudgetBytes: history },
        { graph, checkpoints: 2, images: 200, tokenBytes },
      );
    expect(ask(history + batches)).not.toThrow();
    expect(ask(history + batches - 1)).toThrow(LimitError);
    expect(ask(history + batches + 999, 1000)).toThrow(LimitError);
    expect(ask(history + batches + 1000, 1000)).not.toThrow();
  }
});

it('reckons with what a transfer of a transformer remembers of similarities, to the byte', async () => {
  using compute = await openCompute();
  const graph = preset('distilbert', { input: [8], classes: 3, vocabulary: 30, width: 16, depth: 1, heads: 2 });
  const [start, end, target] = [1, 2, 3].map((seed) => initialise(compute.core, graph, { seed })) as [
    NetworkState, NetworkState, NetworkState,
  ];
  const data = sequenceSet({
    name: 'texts', length: 8, padding: 0, vocabulary: 30, classes: 3, labels: Array.from({ length: 40 }, (_, i) => i % 3),
    sequences: Array.from({ length: 40 }, (_, i) => [1, 2 + (i % 28), 5, 2 + ((i * 7) % 28)]),
  });
  const most = vi.spyOn(SimilarityCache.prototype, 'write');
  let bytes = 0;
  most.mockImplementation(function (this: SimilarityCache, ...given: Parameters<SimilarityCache['write']>) {
    written.apply(this, given);
    bytes = Math.max(bytes, this.bytes);
  });
  const source = trajectoryFromStates(graph, [{ label: 'start', state: start }, { label: 'end', state: end }]);
  await transfer({ source, target, data, method: 'fgmt', seed: 1, steps: 3, batchSize: 8, compute });
  most.mockRestore();
  expect(bytes).toBeGreaterThan(0);
  expect(rememberedBytes(matchingLayout(derivePermutationSpec(graph), []))).toBe(bytes);
});

it('takes no more account of a body once its client has left, though its request never ends', () => {
  const client = new AbortController();
  using left = new HeldBytes(100, client.signal);
  using next = new HeldBytes(100, new AbortController().signal);
  left.resize(60);
  expect(() => next.resize(50)).toThrow(Refusal);
  client.abort();
  expect(() => next.resize(100)).not.toThrow();
  // What still comes of it is given up.
  left.resize(80);
  expect(() => next.resize(90)).not.toThrow();
  // Alone, one may hold more than all together: it would never be taken else.
  expect(() => next.resize(150)).not.toThrow();
});
