/**
 * npm run -s faults -- [--every 1] [--json]
 * A disk that fails at each call in turn (ENOSPC, EIO, EMFILE, short writes), memory that is refused at each allocation, an
 * abort at each await, SIGINT, two runs on one output, a clock set back: typed errors, nothing torn or leaked, same bytes.
 */
import process from 'node:process';
import { parseArgs } from 'node:util';
import { abortEverywhere } from './abort-faults.ts';
import { diskFaults, faultKinds } from './disk-faults.ts';
import { Workshop } from './jobs.ts';
import { memoryFaults } from './memory-faults.ts';
import { clockSetBack, interrupt, twoRuns } from './moments.ts';

const { values } = parseArgs({ options: { every: { type: 'string', default: '1' }, json: { type: 'boolean', default: false } } });
const every = Number(values.every);
const BARS = { abortMs: 100, interruptMs: 2000 };

let passed = true;
const say = (line: Readonly<Record<string, unknown>>): void => {
  passed &&= line['pass'] === true;
  if (values.json) console.log(JSON.stringify(line));
  else
    console.log(
      Object.entries(line)
        .map(([key, value]) => `${key} ${typeof value === 'object' ? JSON.stringify(value) : String(value)}`)
        .join(' · '),
    );
};
const attempt = async (name: string, body: () => Promise<Readonly<Record<string, unknown>> | readonly object[]>): Promise<void> => {
  try {
    const result = await body();
    for (const line of Array.isArray(result)
      ? (result as Readonly<Record<string, unknown>>[])
      : [result as Readonly<Record<string, unknown>>])
      say({ fault: name, ...line, pass: line['pass'] ?? true });
  } catch (error) {
    say({ fault: name, pass: false, error: error instanceof Error ? error.message : String(error) });
  }
};

using shop = await Workshop.open();
for (const fault of faultKinds) await attempt(fault, () => diskFaults(shop, fault, every));
shop.clear();
for (const fault of ['allocation refused', 'growth refused'] as const)
  await attempt(fault, async () => ({ ...(await memoryFaults(fault, fault === 'growth refused' ? 1 : every)) }));
await attempt('abort', async () => {
  const result = await abortEverywhere(every);
  return { ...result, barMs: BARS.abortMs, pass: result.longestMs <= BARS.abortMs };
});
await attempt('SIGINT', async () => {
  const result = await interrupt(shop, 5);
  return { ...result, barMs: BARS.interruptMs, pass: result.longestMs <= BARS.interruptMs };
});
shop.clear();
await attempt('two runs', async () => ({ pairs: await twoRuns(shop, 5) }));
shop.clear();
await attempt('clock set back a day', async () => ({ moments: await clockSetBack(shop, [0, 1, 2, 5, 10, 50, 100, 500, 1000]) }));
say({ pass: passed });
process.exitCode = passed ? 0 : 1;
