import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openCore, type Core } from '../../src/core/core.ts';
import { openGradientEngine, type GradientEngine } from '../../src/gradient/engine.ts';
import { checkGradients, gradientCases } from './checks.ts';
import { openTfjs, type Tfjs } from './tfjs-reference.ts';

let core: Core;
let engine: GradientEngine;
let tfjs: Tfjs;
beforeAll(async () => {
  tfjs = await openTfjs();
  core = await openCore();
  engine = openGradientEngine(core);
});
afterAll(() => core[Symbol.dispose]());

describe('gradients agree with central differences in f64 and with tfjs on its cpu backend', () => {
  for (const test of gradientCases) {
    it(`${test.name}: relative error of every tensor ≤ ${test.bound}`, () => {
      const check = checkGradients(engine, tfjs, test);
      expect(check.differences ?? 0, `differences, ${check.worst}`).toBeLessThanOrEqual(test.bound);
      expect(check.tfjsCpu ?? 0, `tfjs cpu, ${check.worst}`).toBeLessThanOrEqual(test.bound);
      expect(check.logits).toBeLessThanOrEqual(test.bound);
      expect(check.differences ?? check.tfjsCpu, 'one of the two references must have spoken').not.toBeNull();
      expect(engine.memory.liveTensors).toBe(0);
      expect(core.liveAllocations).toBe(0);
    });
  }
});
