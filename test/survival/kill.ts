/**
 * npm run -s kill -- [--n 1000] [--seed 1] [--json]
 * SIGKILL for a training and a transfer: before every call that changes the disk, in the middle of every write, and n times
 * at random moments. After each kill nothing is torn and no committed step lost; every run that ends has the same bytes.
 */
import process from 'node:process';
import { parseArgs } from 'node:util';
import { generator } from '../bundle/generator.ts';
import { Workshop } from './jobs.ts';
import { killAtEveryCall, killAtRandomMoments } from './kills.ts';

const { values } = parseArgs({
  options: { n: { type: 'string', default: '1000' }, seed: { type: 'string', default: '1' }, json: { type: 'boolean', default: false } },
});
const n = Number(values.n);
using shop = await Workshop.open();
const say = (line: object): void => {
  if (values.json) console.log(JSON.stringify(line));
  else console.log(Object.entries(line).map(([key, value]) => `${key} ${String(value)}`).join(' · '));
};
try {
  const results = await killAtEveryCall(shop);
  for (const result of results) say(result);
  const random = await killAtRandomMoments(shop, n, generator(Number(values.seed)), (kills) => {
    if (kills % 50 === 0 && process.stderr.isTTY) process.stderr.write(`\r${kills} of ${n}`);
  });
  for (const result of random) say(result);
  say({
    kills: [...results, ...random].reduce((sum, { kills }) => sum + kills, 0),
    random: random.reduce((sum, { kills }) => sum + kills, 0),
    torn: 0,
    lost: 0,
    pass: true,
  });
} catch (error) {
  say({ pass: false, error: error instanceof Error ? error.message : String(error) });
  process.exitCode = 1;
}
