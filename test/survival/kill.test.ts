// Short form of `npm run kill`: a kill at every fifteenth call, and a few at random moments.
import { expect, it } from 'vitest';
import { generator } from '../bundle/generator.ts';
import { Workshop } from './jobs.ts';
import { killAtEveryCall, killAtRandomMoments } from './kills.ts';

it('killed anywhere, nothing is torn, no committed step is lost, and the bytes are the same', { timeout: 600_000 }, async () => {
  using shop = await Workshop.open();
  const results = [...(await killAtEveryCall(shop, 15)), ...(await killAtRandomMoments(shop, 4, generator(7), () => {}))];
  expect(results.map(({ job }) => job)).toEqual(['train', 'transfer', 'train', 'transfer']);
  for (const { kills, finished } of results) expect(Math.min(kills, finished)).toBeGreaterThan(0);
});
