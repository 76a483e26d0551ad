// Matching of networks that slices cut and attentions share: the permutation that a target was made with is found again.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Core, openCore } from '../../src/core/core.ts';
import { solveMatching } from '../../src/matching/coordinate-descent.ts';
import { GradientHistory } from '../../src/matching/history.ts';
import { identityPermutations, permuteTensors, randomPermutations } from '../../src/matching/permutation.ts';
import { parameterLayout } from '../../src/model/graph.ts';
import { derivePermutationSpec } from '../../src/model/permutation-spec.ts';
import { Random, streams } from '../../src/tensor/random.ts';
import { elementCount } from '../../src/tensor/tensor.ts';
import { combinations } from '../model/combinations.ts';

let core: Core;
beforeAll(async () => {
  core = await openCore();
});
afterAll(() => core[Symbol.dispose]());

describe('a hidden permutation is found', () => {
  test.each(Object.keys(combinations))('%s', (name) => {
    const { graph } = combinations[name] as (typeof combinations)[string];
    const spec = derivePermutationSpec(graph);
    const random = new Random(1, streams.initialise);
    const source = new Map(
      parameterLayout(graph).parameters.map(({ name: tensor, shape }) => [
        tensor, { shape, data: Float32Array.from({ length: elementCount(shape) }, () => random.uniform() * 2 - 1) },
      ]),
    );
    const target = permuteTensors(spec, source, randomPermutations(spec, 2));
    const history = new GradientHistory(core, spec, { budgetBytes: 2 ** 26 });
    history.add(target, source);
    // Descent over small groups may end in a local maximum; of a few orders of sweeps one does not.
    const results = [3, 4, 5, 6, 7].map((seed) =>
      solveMatching(history, { start: identityPermutations(spec), random: new Random(seed, streams.sweepOrder), maxSweeps: 50 }),
    );
    const best = results.reduce((a, b) => (b.objective > a.objective ? b : a));
    const found = permuteTensors(spec, source, best.permutations);
    for (const [tensor, { data }] of target) expect(found.get(tensor)?.data, tensor).toEqual(data);
  });
});
