/**
 * `npm run -s bench:matching`: every bench of matching, one after the other, in processes of their own so that none warms or
 * fills the heap of another: linear sum assignment against scipy, the matrix product against stock tfjs-wasm and OpenBLAS,
 * whole solves against the straightforward loop, histories under a byte budget, the alternatives to coordinate descent, and whole
 * transfers against the official algorithm in PyTorch. Options go to all; words choose benches (`-- product official`). It takes
 * most of an hour; the exit status is 1 when any falls short.
 */
import { spawnSync } from 'node:child_process';

const benches = ['assignment', 'product', 'matching-solve', 'history-budget', 'alternatives', 'official'];
const words = process.argv.slice(2);
const options = words.filter((word) => word.startsWith('--'));
const chosen = words.filter((word) => !word.startsWith('--'));
for (const bench of chosen) {
  if (!benches.includes(bench)) throw new Error(`no bench ${bench}; there are ${benches.join(', ')}`);
}
let fellShort = false;
for (const bench of chosen.length > 0 ? chosen : benches) {
  console.error(`bench:${bench}`);
  const { status } = spawnSync(process.execPath, ['scripts/run.mjs', `bench/${bench}.ts`, ...options], { stdio: 'inherit' });
  if (status !== 0) fellShort = true;
}
process.exitCode = fellShort ? 1 : 0;
