// The short form of `npm run -s leak`.
import { expect, it } from 'vitest';
import { transferManyTimes } from './leak.ts';

it('30 transfers over one compute leave nothing behind', async () => {
  const { transfers, heapBytes } = await transferManyTimes(30);
  expect(transfers).toBe(30);
  expect(heapBytes).toBeGreaterThan(0);
});
