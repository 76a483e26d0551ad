/**
 * npm run -s fuzz:graphs -- [--count 1000] [--seed 1] [--json] Random networks of every operation
 * (test/model/random-graphs.ts), a seed each: loss, scores and gradients against PyTorch in f64 (or, where it is
 * missing, some elements against f64 differences), micro-batches, factors, the permuted network, the permutation spec,
 * JSON and bundle, damaged JSON, and of each 16th network the heap reckoned for it. A seed that fails is named;
 * `--count 1 --seed N` shows it alone.
 */
import { parseArgs } from 'node:util';
import { openCore } from '../../src/core/core.ts';
import { openGradientEngine } from '../../src/gradient/engine.ts';
import { randomGraph } from '../model/random-graphs.ts';
import { checkGradient, checkMemory, checkMutations, checkRoundTrips, checkSpec, jobOf, normalisesFew } from './graph-checks.ts';
import { Torch, torchIsMissing } from './graph-reference.ts';

const MUTATIONS = 10;
const MEMORY_EVERY = 16;

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '1000' },
    seed: { type: 'string', default: '1' },
    json: { type: 'boolean', default: false },
  },
});
const [count, first] = [Number(values.count), Number(values.seed)];
if (![count, first].every((number) => Number.isSafeInteger(number) && number >= 0)) {
  console.error('--count and --seed take whole numbers');
  process.exit(2);
}
const torch = await Torch.open();
if (torch === undefined)
  console.error(`skipped: every element of the gradients, and all of networks with norms over few values: ${torchIsMissing}`);

const failed = new Set<number>();
let [refused, accepted, heaps] = [0, 0, 0];
async function check(seed: number, what: () => readonly string[] | Promise<readonly string[]>): Promise<void> {
  let faults: readonly string[];
  try {
    faults = await what();
  } catch (error) {
    faults = [String(error instanceof Error ? error.stack : error)];
  }
  if (faults.length > 0) failed.add(seed);
  for (const fault of faults) console.log(values.json ? JSON.stringify({ seed, fault }) : `seed ${seed}: ${fault}`);
}

const seeds = Array.from({ length: count }, (_, i) => first + i);
{
  using core = await openCore();
  using engine = openGradientEngine(core);
  for (const seed of seeds) {
    const job = jobOf(randomGraph(seed), seed);
    if (torch !== undefined || !normalisesFew(job)) await check(seed, () => checkGradient(engine, torch, job));
    await check(seed, () => checkSpec(job));
    await check(seed, () => checkRoundTrips(job));
    await check(seed, () => {
      const mutations = checkMutations(engine, job, MUTATIONS);
      refused += mutations.refused;
      accepted += mutations.accepted;
      return mutations.faults;
    });
  }
}
// Each in an engine of its own, and only one may be open.
for (const seed of seeds.filter((number) => number % MEMORY_EVERY === 0)) {
  await check(seed, () => checkMemory(jobOf(randomGraph(seed), seed)));
  heaps++;
}
torch?.close();
const figures = {
  networks: count,
  seed: first,
  reference: torch === undefined ? 'differences' : `PyTorch ${torch.version}`,
  damaged: refused + accepted,
  refused,
  heaps,
  failed: failed.size,
  pass: failed.size === 0,
};
console.log(
  values.json
    ? JSON.stringify(figures)
    : `${count - failed.size} of ${count} networks from seed ${first} pass, against ${figures.reference}; ${refused} of ` +
      `${figures.damaged} damaged ones refused; ${heaps} heaps`,
);
process.exitCode = figures.pass ? 0 : 1;
