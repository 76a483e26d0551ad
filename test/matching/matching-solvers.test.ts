/** The solvers as the package exports them: from its index alone, seeded by a number, as `transfer` calls them. */
import { afterAll, describe, expect, test } from 'vitest';
import {
  GradientHistory, InvalidArgumentError, derivePermutationSpec, identityPermutations, initialise, matchingSolvers, openCompute,
  permuteTensors, randomPermutations,
  sequential, solverNames, trajectoryFromStates, transfer, generateTaskPair, type MatchingLap, type MatchingOptions, type NamedTensors,
} from '../../src/index.ts';

const compute = await openCompute();
afterAll(() => compute[Symbol.dispose]());
const graph = sequential(
  [1, 28, 28],
  [
    { op: 'flatten' },
    { op: 'dense', name: 'a', out: 12 },
    { op: 'relu' },
    { op: 'dense', name: 'b', out: 11 },
    { op: 'relu' },
    { op: 'dense', name: 'c', out: 9 },
    { op: 'relu' },
    { op: 'dense', name: 'head', out: 10 },
  ],
);
const spec = derivePermutationSpec(graph);
const weights = (seed: number): NamedTensors => initialise(compute.core, graph, { seed }).parameters;
const historyOf = (target: NamedTensors, source: NamedTensors): GradientHistory => {
  const history = new GradientHistory(compute.core, spec, { budgetBytes: 2 ** 24 });
  history.add(target, source);
  return history;
};

describe.each(solverNames)('%s', (name) => {
  const solve = matchingSolvers[name];
  const start = identityPermutations(spec);

  test('finds a hidden permutation', () => {
    const hidden = randomPermutations(spec, 5);
    const result = solve(historyOf(permuteTensors(spec, weights(1), hidden), weights(1)), { start, seed: 3 });
    expect(result.permutations).toEqual(hidden);
  });

  test('a seed and an index draw one order of groups each', () => {
    const orders = ([[3, undefined], [3, 0], [3, 1], [4, 0], [5, 0], [6, 0]] as const).map(([seed, index]) => {
      const laps: string[] = [];
      const onLap = ({ group }: MatchingLap): void => void laps.push(group);
      solve(historyOf(weights(1), weights(2)), { start, seed, onLap, ...(index === undefined ? {} : { index }) });
      return laps.join();
    });
    expect(orders[0]).toBe(orders[1]);
    expect(new Set(orders.slice(1)).size).toBeGreaterThan(1);
  });

  test('a seed that is none is refused', () => {
    for (const options of [
      { start },
      { start, seed: -1 },
      { start, seed: 0.5 },
      { start, seed: '1' },
      { start, random: Math.random },
      { seed: 1 },
      undefined,
    ]) {
      expect(() => solve(historyOf(weights(1), weights(2)), options as unknown as MatchingOptions)).toThrow(InvalidArgumentError);
    }
  });
});

test('seed and index are those of a transfer and its step', async () => {
  const data = generateTaskPair(compute.core, { seed: 1, trainCount: 60, testCount: 10 }).before.train;
  const [start, end, target] = [1, 2, 3].map((seed) => initialise(compute.core, graph, { seed })) as [
    ReturnType<typeof initialise>,
    ReturnType<typeof initialise>,
    ReturnType<typeof initialise>,
  ];
  const source = trajectoryFromStates(graph, [{ label: 's', state: start }, { label: 'e', state: end }]);
  const batch = { inputs: new Float32Array(data.count * 784), labels: new Int32Array(data.count), count: data.count };
  for (const [i, level] of data.images.entries()) batch.inputs[i] = level * (data.scale[0] as number) + (data.offset[0] as number);
  batch.labels.set(data.labels);
  // One batch of all images: whichever way they are drawn, the gradient is the same but for the order of its sums.
  const ported = await transfer({
    source, target, data, method: 'fgmt', seed: 7, steps: 1, batchSize: data.count, heldOutFraction: 0, stopRule: 'last', compute,
  });
  const network = compute.engine.compile(graph);
  const gradient = (state: typeof target): NamedTensors => network.gradient(state, [batch]).gradients;
  const result = matchingSolvers['coordinate-descent'](historyOf(gradient(target), gradient(start)), {
    start: identityPermutations(spec),
    seed: 7,
    index: 1,
  });
  expect(result.permutations).toEqual(ported.permutations);
  expect(result.sweeps).toBe(ported.steps[1]?.sweeps);
});
