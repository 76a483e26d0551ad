/** The matrix product: against three loops in f64, and the same bytes in every runtime. */
import { openCore } from '../../src/core/core.ts';
import { matmul } from '../../src/core/matmul.ts';
import { close, sameEverywhere, test } from './harness.ts';
import { values } from './values.ts';

const m = 37;
const n = 65;
const k = 300;

for (const transposeA of [false, true]) {
  for (const transposeB of [false, true]) {
    const form = `${transposeA ? 'T' : 'N'}${transposeB ? 'T' : 'N'}`;
    test(`matmul ${form}: within 1e-5 of f64`, async () => {
      using core = await openCore();
      const a = values(m * k, 1);
      const b = values(k * n, 2);
      const product = core.scoped((scratch) => {
        const c = scratch.f32(m * n);
        matmul(core, { a: scratch.upload(a), b: scratch.upload(b), c, m, n, k, transposeA, transposeB });
        return core.f32(c, m * n).slice();
      });
      const expected = new Float64Array(m * n);
      for (let i = 0; i < m; i++) {
        for (let j = 0; j < n; j++) {
          let sum = 0;
          for (let l = 0; l < k; l++) {
            sum += (a[transposeA ? l * m + i : i * k + l] as number) * (b[transposeB ? j * k + l : l * n + j] as number);
          }
          expected[i * n + j] = sum;
        }
      }
      close(product, expected, 1e-5);
      await sameEverywhere(`matmul ${form}`, product);
    });
  }
}
