/** Linear sum assignment: optimal by brute force on small matrices, ties broken alike everywhere. */
import { openCore } from '../../src/core/core.ts';
import { linearSumAssignment } from '../../src/matching/assignment.ts';
import { close, equal, ok, sameEverywhere, test, throws } from './harness.ts';
import { values } from './values.ts';

/** The largest sum over all ways of giving each row its own column, n ≤ 7. */
function bruteForce(data: ArrayLike<number>, n: number, row = 0, used = 0): number {
  if (row === n) return 0;
  let best = -Infinity;
  for (let column = 0; column < n; column++) {
    if (used & (1 << column)) continue;
    best = Math.max(best, (data[row * n + column] as number) + bruteForce(data, n, row + 1, used | (1 << column)));
  }
  return best;
}

test('assignment: optimal on 60 small matrices, with and without ties', async () => {
  using core = await openCore();
  for (let seed = 0; seed < 60; seed++) {
    const n = seed % 7;
    const data = values(n * n, seed + 1);
    if (seed % 2 === 1) for (let i = 0; i < data.length; i++) data[i] = Math.round((data[i] as number) * 2);
    const { objective, assignment } = linearSumAssignment(core, { rows: n, columns: n, data });
    equal([...assignment].toSorted((a, b) => a - b), Array.from({ length: n }, (_, i) => i));
    close([objective], [bruteForce(data, n)], 1e-12, `objective of seed ${seed}`);
  }
});

test('assignment: 300 × 300 is certified optimal and the same everywhere', async () => {
  using core = await openCore();
  const n = 300;
  const data = values(n * n, 99);
  const rounded = data.map((value) => Math.round(value * 20)); // many ties
  for (const [label, matrix] of [['distinct', data], ['tied', rounded]] as const) {
    const result = linearSumAssignment(core, { rows: n, columns: n, data: matrix }, { certify: true });
    ok((result.certificate ?? Infinity) <= 1e-9, `${label}: up to ${result.certificate} from the optimum`);
    await sameEverywhere(`assignment ${label}`, result.assignment);
    await sameEverywhere(`assignment ${label} duals`, result.duals.rows);
    const drifted = { rows: n, columns: n, data: matrix.map((value, k) => value + (k % 17) / 16) };
    const warm = linearSumAssignment(core, drifted, { certify: true, warmStart: result.duals });
    ok((warm.certificate ?? Infinity) <= 1e-9, `${label}, drifted: up to ${warm.certificate} from the optimum`);
    await sameEverywhere(`assignment ${label} drifted`, warm.assignment);
  }
});

test('assignment: NaN and infinity are refused', async () => {
  using core = await openCore();
  for (const bad of [NaN, Infinity]) {
    const data = new Float32Array([1, 2, bad, 4]);
    await throws(() => linearSumAssignment(core, { rows: 2, columns: 2, data }), 'not-finite');
  }
});
