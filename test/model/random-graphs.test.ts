/** Networks that nobody thought of: their specs are sound, permuting them keeps the function, and matching takes each of them. */
import { afterAll, expect, test } from 'vitest';
import { openCore } from '../../src/core/core.ts';
import { GradientHistory } from '../../src/matching/history.ts';
import { matchingObjective } from '../../src/matching/objective.ts';
import { identity, permuteTensors, randomPermutations } from '../../src/matching/permutation.ts';
import { parameterLayout } from '../../src/model/graph.ts';
import { operationNames } from '../../src/model/operations.ts';
import { lintPermutationSpec } from '../../src/model/permutation-lint.ts';
import { derivePermutationSpec } from '../../src/model/permutation-spec.ts';
import { randomTensors } from '../matching/straightforward.ts';
import { measureEquivalence } from './equivalence.ts';
import { randomGraph } from './random-graphs.ts';

const core = await openCore();
afterAll(() => core[Symbol.dispose]());

const seeds = Array.from({ length: 10 }, (_, i) => i * 50);

test('every operation stands in some of them', () => {
  const met = new Set<string>(
    seeds
      .flatMap((first) => Array.from({ length: 50 }, (_, i) => randomGraph(first + i)))
      .flatMap(({ nodes }) => nodes.map(({ op }) => op)),
  );
  expect([...operationNames].filter((op) => !met.has(op))).toEqual([]);
});

test.each(seeds)('50 random networks from seed %i keep their function', (first) => {
  for (let seed = first; seed < first + 50; seed++) {
    const graph = randomGraph(seed);
    const spec = derivePermutationSpec(graph);
    expect(lintPermutationSpec(graph, spec), `seed ${seed}`).toEqual([]);
    for (const training of [false, true]) {
      const { difference, movingGroups } = measureEquivalence(graph, spec, seed, training);
      expect(difference, `seed ${seed}`).toBeLessThanOrEqual(1e-11);
      expect(movingGroups, `seed ${seed}`).toBe(spec.groups.length);
    }
  }
});

test('gradients of a permuted twin match those of a random network in full', () => {
  let held = 0;
  for (let seed = 0; seed < 150; seed++) {
    const graph = randomGraph(seed);
    const spec = derivePermutationSpec(graph);
    if (spec.groups.length === 0) continue;
    const history = new GradientHistory(core, spec, { budgetBytes: 2 ** 26 });
    const moving = new Set(history.layout.groups.map(({ id }) => id));
    held += history.layout.held.length;
    const hidden = new Map([...randomPermutations(spec, seed)].map(([id, perm]) => [id, moving.has(id) ? perm : identity(perm.length)]));
    const names = new Set(parameterLayout(graph).parameters.map(({ name }) => name));
    const source = new Map([...randomTensors(spec, seed)].filter(([name]) => names.has(name)));
    history.add(permuteTensors(spec, source, hidden), source);
    // ⟨target, π(source)⟩ is half of ‖target‖² + ‖source‖² where they are equal.
    const objective = matchingObjective(history, history.layout.groups.map(({ id }) => hidden.get(id) as Int32Array));
    expect(Math.abs(2 * objective - history.squaredNorms), `seed ${seed}`).toBeLessThanOrEqual(1e-5 * history.squaredNorms);
  }
  expect(held).toBeGreaterThan(0);
});
