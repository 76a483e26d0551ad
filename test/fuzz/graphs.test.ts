// The short form of `npm run fuzz:graphs`, without PyTorch: gradients against differences in f64.
import { expect, test } from 'vitest';
import { openedEngine } from '../gradient/opened-engine.ts';
import { randomGraph } from '../model/random-graphs.ts';
import { checkGradient, checkMutations, checkRoundTrips, jobOf, normalisesFew } from './graph-checks.ts';

const { gradients: engine } = await openedEngine();
const jobs = Array.from({ length: 80 }, (_, seed) => jobOf(randomGraph(seed), seed));

test.each(jobs.filter((job) => !normalisesFew(job)).map((job) => [job.seed, job] as const))('network of seed %i', async (_, job) => {
  expect(await checkGradient(engine, undefined, job)).toEqual([]);
  expect(await checkRoundTrips(job)).toEqual([]);
});

test('damaged graphs are refused by a typed error, or work', () => {
  let refused = 0;
  for (const job of jobs) {
    const mutations = checkMutations(engine, job, 10);
    expect(mutations.faults).toEqual([]);
    refused += mutations.refused;
  }
  expect(refused).toBeGreaterThan(600);
});
