/**
 * `npm run -s bench:matching`: every matching bench, one after the other, in processes of their own so that none warms or
 * fills the heap of another: linear sum assignment against scipy, then whole solves against the straightforward loop.
 * Options go to both; the exit status is 1 when either falls short.
 */
import { spawnSync } from 'node:child_process';

let fellShort = false;
for (const bench of ['bench/assignment.ts', 'bench/matching-solve.ts']) {
  const options = process.argv.slice(2).filter((argument) => argument.startsWith('--'));
  const { status } = spawnSync(process.execPath, ['scripts/run.mjs', bench, ...options], { stdio: 'inherit' });
  if (status !== 0) fellShort = true;
}
process.exitCode = fellShort ? 1 : 0;
