/** The short form of `npm run gradcheck`: gradients against f64 differences and tfjs's cpu backend. */
import { describe, expect, it } from 'vitest';
import { operationNames } from '../../src/model/operations.ts';
import { tokenTypes } from '../model/forward-sequence.ts';
import { BATCH_SEED, LARGEST_RATIO, checkGradients, gradientCases, randomBatch } from './checks.ts';
import { openedEngine } from './opened-engine.ts';
import { openReferences } from './tfjs-reference.ts';

const references = await openReferences();
const { core, gradients: engine } = await openedEngine();

it('every operation has a case', () => {
  const met = new Set<string>(
    gradientCases.filter(({ kind }) => kind === 'operation').flatMap(({ graph }) => graph.nodes.map(({ op }) => op)),
  );
  expect([...operationNames].filter((op) => !met.has(op))).toEqual([]);
});

it('cases of pairs have texts of tokens of both types, and padding behind those of the second', () => {
  const cases = gradientCases.flatMap(({ graph, count }) =>
    graph.nodes.flatMap((node) => (node.op === 'type_embedding' && node.separator !== undefined ? [{ node, graph, count }] : [])),
  );
  expect(cases).toHaveLength(4);
  for (const { node, graph, count } of cases) {
    const { inputs } = randomBatch(graph, count, BATCH_SEED);
    const [length = 0] = graph.input;
    const types = Array.from({ length: count }, (_, n) =>
      tokenTypes(inputs.slice(n * length, (n + 1) * length), node.separator, graph.padding).join(''));
    expect(types, types.join()).toContainEqual(expect.stringMatching(graph.padding === undefined ? /^0+1+$/ : /^0+1+0+$/));
  }
});

describe('gradients agree with central differences in f64 and with tfjs on its cpu backend in f64', () => {
  for (const test of gradientCases) {
    it(`${test.name}: relative error of every tensor ≤ ${test.bound}`, () => {
      const check = checkGradients(engine, references, test);
      expect(check.differences ?? 0, `differences, ${check.worst}`).toBeLessThanOrEqual(test.bound);
      expect(check.tfjs64 ?? 0, `tfjs in f64, ${check.worst}`).toBeLessThanOrEqual(test.bound);
      expect(check.ratio ?? 0, 'error over that of an f32 reference').toBeLessThanOrEqual(LARGEST_RATIO);
      expect(check.logits).toBeLessThanOrEqual(test.bound);
      expect(check.differences ?? check.tfjs64, 'one of the two references must have spoken').not.toBeNull();
      expect(engine.memory.liveTensors).toBe(0);
      expect(core.liveAllocations).toBe(0);
    });
  }
});
