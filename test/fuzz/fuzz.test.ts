// The short forms of `npm run fuzz` and `npm run bitflip`.
import { expect, test } from 'vitest';
import { flipBits } from './flip-bits.ts';
import { runTarget } from './run-target.ts';
import { targets } from './targets.ts';

test.each(targets.map((target) => [target.name, target] as const))('%s: a value or a typed error', async (_, target) => {
  const result = await runTarget(target, 1500, 7);
  expect(result.firstFault).toBeUndefined();
  // Damage must reach the parser, and be refused by it often enough.
  expect(result.rejected).toBeGreaterThan(150);
});

test('single flipped bits are noticed', async () => {
  for (const { detected, n } of await flipBits(1200, 3)) expect(detected).toBe(n);
});

test('a fault is reported, with the input that shows it', async () => {
  const broken = {
    name: 'broken',
    seeds: async () => [new Uint8Array(4)],
    parse: (bytes: Uint8Array) => void (bytes.length > 4 && (null as unknown as { x: number }).x),
  };
  const { untyped, firstFault } = await runTarget(broken, 200, 1);
  expect(untyped).toBeGreaterThan(0);
  expect(firstFault?.error).toContain('TypeError');
});
