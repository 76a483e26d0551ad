/** A core that is none is refused by its name, a compute handle in its place above all: it has a core, and its `core` is meant. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  GradientHistory,
  derivePermutationSpec,
  generateTaskPair,
  identityPermutations,
  initialise,
  linearSumAssignment,
  matchingSolvers,
  openCompute,
  preset,
  readForeign,
} from '../../src/index.ts';
import type { Compute, Core } from '../../src/index.ts';

let compute: Compute;
beforeAll(async () => void (compute = await openCompute()));
afterAll(() => compute[Symbol.dispose]());

const graph = preset('mlp', { input: [1, 4, 4], classes: 3, widths: [4] });
const spec = derivePermutationSpec(graph);
const matrix = { rows: 1, columns: 1, data: new Float32Array(1) };

it.each<[string, (core: Core) => unknown]>([
  ['linearSumAssignment', (core) => linearSumAssignment(core, matrix)],
  ['initialise', (core) => initialise(core, graph, { seed: 1 })],
  ['generateTaskPair', (core) => generateTaskPair(core, { seed: 1, trainCount: 1, testCount: 1 })],
  ['GradientHistory', (core) => new GradientHistory(core, spec, { budgetBytes: 10_000 })],
])('%s says which core it wants', (_, call) => {
  for (const wrong of [compute, matrix, undefined])
    expect(() => call(wrong as never)).toThrow('core: expected a core: openCore(), or the `core` of openCompute()');
  call(compute.core);
});

it('a solver wants a history, and a reader a file with its name', async () => {
  expect(() => matchingSolvers['coordinate-descent']({} as never, { start: identityPermutations(spec), seed: 1 })).toThrow(
    'history: expected a GradientHistory',
  );
  await expect(readForeign('weights.pt' as never)).rejects.toThrow("file: expected a file's { name, bytes }");
});
