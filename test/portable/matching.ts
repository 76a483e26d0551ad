/** Permutations and coordinate descent: a hidden permutation is found again, by the same path everywhere. */
import { openCore } from '../../src/core/core.ts';
import { solveMatching } from '../../src/matching/coordinate-descent.ts';
import { GradientHistory } from '../../src/matching/history.ts';
import {
  composePermutations,
  identityPermutations,
  invertPermutations,
  permuteTensors,
  randomPermutations,
} from '../../src/matching/permutation.ts';
import { parameterLayout } from '../../src/model/graph.ts';
import { derivePermutationSpec } from '../../src/model/permutation-spec.ts';
import { preset } from '../../src/model/presets.ts';
import { Random, streams } from '../../src/tensor/random.ts';
import { elementCount } from '../../src/tensor/tensor.ts';
import type { NamedTensors } from '../../src/tensor/tensor.ts';
import { close, equal, ok, sameEverywhere, test, throws } from './harness.ts';
import { values } from './values.ts';

const graph = preset('small-conv', { input: [1, 8, 8], classes: 4, width: 6 });
const spec = derivePermutationSpec(graph);

function randomGradients(seed: number): NamedTensors {
  return new Map(
    parameterLayout(graph).parameters.map(({ name, shape }, index) => [
      name,
      { shape, data: values(elementCount(shape), seed * 100 + index) },
    ]),
  );
}

test('permutations: the inverse undoes, composing is applying one after the other', () => {
  const tensors = randomGradients(1);
  const first = randomPermutations(spec, 1);
  const second = randomPermutations(spec, 2);
  const moved = permuteTensors(spec, tensors, first);
  ok([...moved].some(([name, { data }]) => data.some((value, i) => value !== tensors.get(name)?.data[i])), 'nothing moved');
  equal(permuteTensors(spec, moved, invertPermutations(first)), tensors);
  equal(permuteTensors(spec, tensors, composePermutations(first, second)), permuteTensors(spec, moved, second));
});

test('matching: a hidden permutation is found again', async () => {
  using core = await openCore();
  const history = new GradientHistory(core, spec, { budgetBytes: 2 ** 24 });
  const hidden = randomPermutations(spec, 3);
  for (let pair = 0; pair < 3; pair++) {
    const source = randomGradients(10 + pair);
    history.add(permuteTensors(spec, source, hidden), source);
  }
  const found = solveMatching(history, { start: identityPermutations(spec), random: new Random(1, streams.sweepOrder) });
  equal(found.permutations, hidden);
  close([found.relativeObjective], [1], 1e-6, 'relative objective');
});

test('matching: unrelated gradients give the same permutations and objective everywhere', async () => {
  using core = await openCore();
  const history = new GradientHistory(core, spec, { budgetBytes: 2 ** 24, normalise: true });
  history.add(randomGradients(20), randomGradients(21));
  const found = solveMatching(history, { start: identityPermutations(spec), random: new Random(1, streams.sweepOrder) });
  ok(found.objective > found.startObjective, 'matching gained nothing');
  for (const [group, perm] of found.permutations) await sameEverywhere(`matched ${group}`, perm);
  await sameEverywhere('matching objective', new Float64Array([found.objective, found.residual, found.sweeps]));
});

test('matching: NaN, a missing tensor and a budget too small are refused', async () => {
  using core = await openCore();
  const history = new GradientHistory(core, spec, { budgetBytes: 2 ** 24 });
  const spoilt = new Map(randomGradients(1));
  const [[name, first] = ['', undefined]] = spoilt;
  ok(first !== undefined, 'the network has no parameters');
  spoilt.set(name, { shape: first.shape, data: first.data.map((value, i) => (i === 1 ? NaN : value)) });
  await throws(() => history.add(randomGradients(1), spoilt), 'not-finite');
  spoilt.delete(name);
  await throws(() => history.add(randomGradients(1), spoilt), 'invalid-argument');
  await throws(() => new GradientHistory(core, spec, { budgetBytes: 100 }), 'budget');
});
