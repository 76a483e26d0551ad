/**
 * assign:campaign -- [--n N] [--seed S]: N matrices (default 100,000; a fifth of them degenerate), both solvers, square
 * and rectangular, f32 and f64, some from a warm start, against scipy's optimum. The gap must be 0 on integers and at
 * most 1e-12 · Σ|a| otherwise, and so must the certificate. Says so and ends when scipy is absent. Exit status 1 on the
 * first violation.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Core, openCore } from '../src/core/core.ts';
import { type Duals, linearSumAssignment } from '../src/matching/assignment.ts';
import { type Kind, below, smallKinds, uniformFrom } from '../test/matching/matrices.ts';
import { machine } from './measure.ts';
import { Scipy, scipyIsMissing } from './scipy.ts';

const degenerate = [
  'few integers', 'zero or one', 'constant', 'zeros', 'duplicate rows', 'duplicate columns', 'dead units',
  'dead units, the others worse', 'constant rows and columns', 'rank 1', 'product of indices',
];
const ordinary = Object.keys(smallKinds).filter((name) => !degenerate.includes(name));
const BATCH = 500;

/** Duals of a square matrix that has one row in so many in another's place. Integers stay integers. */
function dualsOfOther(core: Core, data: Float32Array | Float64Array, n: number, every: number): Duals {
  const other = data.slice();
  for (let row = every; row < n; row += every) other.set(data.subarray((row - every) * n, (row - every + 1) * n), row * n);
  return linearSumAssignment(core, { rows: n, columns: n, data: other }).duals;
}

const { values } = parseArgs({ args: process.argv.slice(2), options: { n: { type: 'string' }, seed: { type: 'string' } } });
const count = Number(values.n ?? 100_000);
const random = uniformFrom(Number(values.seed ?? 1));
const scipy = await Scipy.open();
if (scipy === undefined) {
  console.log(scipyIsMissing);
} else {
  const core = await openCore();
  const folder = mkdtempSync(join(tmpdir(), 'trajport-campaign-'));
  let largestGap = 0;
  let largestCertificate = 0;
  let integral = 0;
  let done = 0;
  const pick = (names: readonly string[]): string => names[below(random, names.length)] as string;
  try {
    while (done < count) {
      // Many matrices in one file, one question to the peer: a question each would take most of the time.
      const batch = Array.from({ length: Math.min(BATCH, count - done) }, (_, k) => {
        const name = pick((done + k) % 5 === 0 ? degenerate : ordinary);
        // Mostly small, where every coincidence occurs; some large enough for long lists, bail-outs and all stages.
        const size = random() < 0.9 ? 1 + below(random, 24) : random() < 0.8 ? 25 + below(random, 100) : 250 + below(random, 150);
        const rows = size;
        const columns = random() < 0.75 ? size : 1 + below(random, 2 * size);
        const wide = (smallKinds[name] as Kind)(random, rows, columns);
        return { name, rows, columns, data: random() < 0.7 ? Float32Array.from(wide) : wide };
      });
      const path = join(folder, `${done}.bin`);
      const whole = new Float64Array(batch.reduce((sum, { data }) => sum + data.length, 0));
      let at = 0;
      for (const { data } of batch) {
        whole.set(data, at);
        at += data.length;
      }
      writeFileSync(path, new Uint8Array(whole.buffer));
      const optima = await scipy.optima(path, batch.map(({ rows, columns }) => [rows, columns] as const));
      rmSync(path);
      batch.forEach(({ name, rows, columns, data }, k) => {
        const method = (done + k) % 2 === 0 ? 'sparse' : 'auto';
        const warm = rows === columns && (done + k) % 3 === 0 ? { warmStart: dualsOfOther(core, data, rows, 1 + (k % 8)) } : {};
        const { objective, certificate = 0 } = linearSumAssignment(core, { rows, columns, data }, { certify: true, method, ...warm });
        let magnitude = 0;
        let integers = true;
        for (const value of data) {
          magnitude += Math.abs(value);
          if (!Number.isSafeInteger(value)) integers = false;
        }
        const gap = Math.abs(objective - (optima[k] as number));
        const allowed = integers ? 0 : 1e-12 * magnitude;
        if (integers) integral++;
        if (magnitude > 0) {
          largestGap = Math.max(largestGap, gap / magnitude);
          largestCertificate = Math.max(largestCertificate, certificate / magnitude);
        }
        if (!(gap <= allowed && certificate <= allowed)) {
          console.log(JSON.stringify({ violation: name, number: done + k, rows, columns, method, gap, certificate, allowed }));
          process.exitCode = 1;
        }
      });
      done += batch.length;
      if (process.exitCode === 1) break;
      if (done % 10_000 === 0) console.error(`${done} of ${count}`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
    scipy.close();
  }
  console.log(JSON.stringify({
    matrices: done, integral, largestGap, largestCertificate, ...scipy.versions, ...machine(), pass: process.exitCode !== 1,
  }));
}
