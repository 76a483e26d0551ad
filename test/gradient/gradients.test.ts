/** The short form of `npm run gradcheck`: gradients against f64 differences and tfjs's cpu backend. */
import { describe, expect, it } from 'vitest';
import { operationNames } from '../../src/model/operations.ts';
import { LARGEST_RATIO, checkGradients, gradientCases } from './checks.ts';
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
