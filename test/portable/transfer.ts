/** The whole job on a small network: train, port by each method, verify; the same weights everywhere. */
import { imageSet } from '../../src/data/image-set.ts';
import type { ImageSet } from '../../src/data/image-set.ts';
import { evaluateEnsemble, openCompute, stateSha256, train, transfer, verify } from '../../src/index.ts';
import { preset } from '../../src/model/presets.ts';
import { ok, sameEverywhere, test, throws } from './harness.ts';
import { values } from './values.ts';

const graph = preset('mlp', { input: [1, 6, 6], classes: 4, widths: [20, 12] });

/** Four noisy patterns, others for another seed. */
function patterns(seed: number): ImageSet {
  const count = 160;
  const prototypes = values(4 * 36, seed);
  const noise = values(count * 36, seed + 1);
  const labels = Uint8Array.from({ length: count }, (_, i) => i % 4);
  const images = Uint8Array.from({ length: count * 36 }, (_, at) => {
    const label = labels[Math.floor(at / 36)] as number;
    return 128 + Math.trunc(70 * (prototypes[label * 36 + (at % 36)] as number) + 50 * (noise[at] as number));
  });
  return imageSet({ name: `patterns-${seed}`, images, labels, channels: 1, height: 6, width: 6 });
}

test('transfer: every method gives the same weights everywhere, and GMT helps', async () => {
  using compute = await openCompute();
  const common = { graph, batchSize: 16, compute };
  const data = patterns(20);
  const source = await train({ ...common, data: patterns(10), seed: 1, epochs: 4 });
  const target = await train({ ...common, data: patterns(10), seed: 2, epochs: 4 });
  const tuned = await train({ ...common, data, seed: 3, epochs: 4, initial: source.state });
  const oracle = await train({ ...common, data, seed: 4, epochs: 4, initial: target.state });
  const accuracies: Record<string, number> = {};
  for (const method of ['naive', 'fgmt', 'gmt', 'oracle'] as const) {
    const ported = await transfer({
      source: tuned.trajectory,
      target: target.state,
      data,
      method,
      seed: 5,
      batchSize: 16,
      compute,
      ...(method === 'oracle' ? { oracleTarget: oracle.state } : {}),
    });
    accuracies[method] = ported.steps[ported.chosenStep]?.heldOut?.accuracy ?? -1;
    await sameEverywhere(`transfer ${method}`, new TextEncoder().encode(await stateSha256(graph, ported.state)));
  }
  const { naive = -1, gmt = -1 } = accuracies;
  ok(naive >= 0 && gmt >= naive, `accuracy of naive ${naive}, of gmt ${gmt}`);
});

test('evaluateEnsemble: the same numbers everywhere', async () => {
  using compute = await openCompute();
  const data = patterns(10);
  const trained = (seed: number) => train({ graph, data, seed, iterations: 6, batchSize: 16, compute });
  const states = [(await trained(1)).state, (await trained(2)).state, (await trained(3)).state];
  const { loss, accuracy, disagreement, members } = await evaluateEnsemble({ graph, states, data, compute });
  await sameEverywhere('ensemble', Float64Array.of(loss, accuracy, disagreement, ...members.map((member) => member.loss)));
  ok(disagreement > 0, 'members answer alike');
});

test('verify: a permuted network computes the same function', async () => {
  using compute = await openCompute();
  const { state } = await train({ graph, data: patterns(10), seed: 1, iterations: 3, batchSize: 16, compute });
  const verdict = await verify({ graph, state, seed: 1, compute });
  ok(verdict.passed, JSON.stringify(verdict));
  ok(verdict.movedFraction > 0.5, `only ${verdict.movedFraction} of the units moved`);
});

test('transfer: what does not fit together is refused', async () => {
  using compute = await openCompute();
  const data = patterns(20);
  const common = { graph, data, batchSize: 16, iterations: 2, compute };
  const { trajectory, state: target } = await train({ ...common, seed: 1 });
  const choices = { source: trajectory, target, data, method: 'fgmt', seed: 1, batchSize: 16, compute } as const;
  await throws(() => transfer({ ...choices, steps: 0 }), 'invalid-argument');
  await throws(() => transfer({ ...choices, historyBudgetBytes: 1000 }), 'budget');
  await throws(() => transfer({ ...choices, data: { ...data, labels: data.labels.map(() => 9) } }), 'invalid-argument');
  const name = 'linear1.weight';
  const spoilt = new Map(target.parameters);
  const weight = spoilt.get(name);
  ok(weight !== undefined, 'the network has no linear1.weight');
  spoilt.set(name, { shape: weight.shape, data: weight.data.map((value, i) => (i === 7 ? Infinity : value)) });
  const error = await throws(() => transfer({ ...choices, target: { ...target, parameters: spoilt } }), 'not-finite');
  ok(error.message.includes(name), `does not name the culprit: ${error.message}`);
  spoilt.delete(name);
  await throws(() => transfer({ ...choices, target: { ...target, parameters: spoilt } }), 'invalid-argument');
});

test('transfer: an aborted signal ends it', async () => {
  using compute = await openCompute();
  const data = patterns(20);
  const { trajectory, state: target } = await train({ graph, data, batchSize: 16, iterations: 2, seed: 1, compute });
  const controller = new AbortController();
  controller.abort(new Error('enough'));
  let ended = '';
  try {
    await transfer({ source: trajectory, target, data, method: 'gmt', seed: 1, batchSize: 16, compute, signal: controller.signal });
  } catch (thrown) {
    ended = (thrown as Error).message;
  }
  ok(ended === 'enough', `ended with ${ended || 'a result'}`);
});
