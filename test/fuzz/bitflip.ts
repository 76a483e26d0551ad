/**
 * npm run -s bitflip -- [--n 10000] [--seed 1] [--json]
 * Flips one random bit at a time in bundles of every coding and in resume points: opening or verifying must notice each.
 */
import { parseArgs } from 'node:util';
import { flipBits } from './flip-bits.ts';

const { values } = parseArgs({
  options: { n: { type: 'string', default: '10000' }, seed: { type: 'string', default: '1' }, json: { type: 'boolean', default: false } },
});
const lines = await flipBits(Number(values.n), Number(values.seed));
for (const line of lines) {
  console.log(
    values.json
      ? JSON.stringify(line)
      : `${line.file}: ${line.detected} of ${line.n} flips noticed${line.pass ? '' : `, the first missed is bit ${line.firstMissed}`}`,
  );
}
process.exitCode = lines.every(({ pass }) => pass) ? 0 : 1;
