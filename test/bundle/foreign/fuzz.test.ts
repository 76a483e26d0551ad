// The short form of mutation fuzzing; `npm run -s fuzz` is the long one.
import { describe, expect, it } from 'vitest';
import { TrajportError } from '../../../src/core/errors.ts';
import { fuzzTargets } from './fuzz-targets.ts';
import { mutator } from './mutate.ts';

const INPUTS = 3000;

describe('damaged files', () => {
  it.each(fuzzTargets.map((target) => [target.name, target] as const))('%s: a value or a typed error', async (_name, { seeds, parse }) => {
    const good = await seeds();
    const { next } = mutator(1);
    const verdicts = { value: 0, typed: 0 };
    for (let i = 0; i < INPUTS; i++) {
      const bytes = next(good);
      try {
        await parse(bytes);
        verdicts.value++;
      } catch (error) {
        if (!(error instanceof TrajportError)) throw new Error(`input ${i}: ${String(error)}`, { cause: error });
        verdicts.typed++;
      }
    }
    expect(verdicts.typed).toBeGreaterThan(INPUTS / 10);
  });
});
