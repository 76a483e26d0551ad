/** The core's matrix product against three loops in f64: every form, odd sizes, batches, a full heap. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openCore, type Core, type Scratch } from '../../src/core/core.ts';
import { matmul, type MatmulOptions } from '../../src/core/matmul.ts';
import { InvalidArgumentError, OutOfMemoryError } from '../../src/core/errors.ts';
import { values } from '../portable/values.ts';

let core: Core;
beforeAll(async () => {
  core = await openCore();
});
afterAll(() => core[Symbol.dispose]());

type Form = Pick<MatmulOptions, 'transposeA' | 'transposeB' | 'accumulate'>;

/** The product by three loops in f64, and the bound |A|·|B| + |C| that an f32 error is measured against. */
function naive(a: Float32Array, b: Float32Array, c: Float32Array, m: number, n: number, k: number, form: Form) {
  const out = new Float64Array(m * n);
  const scale = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = form.accumulate ? (c[i * n + j] as number) : 0;
      let size = Math.abs(sum);
      for (let l = 0; l < k; l++) {
        const term =
          (a[form.transposeA ? l * m + i : i * k + l] as number) * (b[form.transposeB ? j * k + l : l * n + j] as number);
        sum += term;
        size += Math.abs(term);
      }
      out[i * n + j] = sum;
      scale[i * n + j] = size;
    }
  }
  return { out, scale };
}

function run(body: (scratch: Scratch) => { c: number; length: number }): Float32Array {
  return core.scoped((scratch) => {
    const { c, length } = body(scratch);
    return core.f32(c, length).slice();
  });
}

const forms: Form[] = [
  {},
  { transposeB: true },
  { transposeA: true },
  { transposeA: true, transposeB: true },
  { accumulate: true },
  { transposeA: true, accumulate: true },
];
const sizes: [number, number, number][] = [
  [0, 5, 3], [5, 0, 3], [4, 6, 0], [1, 1, 1], [1, 16, 256], [2, 17, 257], [3, 15, 5], [7, 33, 64], [129, 31, 300],
  [128, 1030, 9], [131, 19, 513], [37, 37, 37], [5, 1100, 530], [37, 24, 600], [6, 5, 300], [128, 8, 520], [130, 24, 520],
];

describe('matmul: each element within 1e-6 of |A|·|B| from a product in f64', () => {
  for (const form of forms) {
    it(JSON.stringify(form), () => {
      for (const [m, n, k] of sizes) {
        const a = values(m * k, 1);
        const b = values(k * n, 2);
        const c = values(m * n, 3);
        const got = run((scratch) => {
          const pointers = { a: scratch.upload(a), b: scratch.upload(b), c: scratch.upload(c) };
          matmul(core, { ...pointers, m, n, k, ...form });
          return { c: pointers.c, length: m * n };
        });
        const { out, scale } = naive(a, b, c, m, n, k, form);
        const misses = out.findIndex((value, i) => !(Math.abs((got[i] as number) - value) <= 1e-6 * (scale[i] as number)));
        expect(misses, `first wrong element of ${m}×${n}×${k}`).toBe(-1);
      }
      expect(core.liveAllocations).toBe(0);
    });
  }
});

describe('matmul addressing gives the very bytes of the plain product', () => {
  const [m, n, k] = [19, 35, 270];
  const a = values(m * k, 4);
  const b = values(k * n, 5);
  const plain = () =>
    run((scratch) => {
      const c = scratch.f32(m * n);
      matmul(core, { a: scratch.upload(a), b: scratch.upload(b), c, m, n, k });
      return { c, length: m * n };
    });
  const reversed = (count: number) => Int32Array.from({ length: count }, (_, i) => count - 1 - i);
  const gather = (data: Float32Array, columns: number, rowTable: Int32Array, columnTable: Int32Array) =>
    Float32Array.from({ length: data.length }, (_, at) => {
      const row = rowTable[Math.floor(at / columns)] as number;
      return data[row * columns + (columnTable[at % columns] as number)] as number;
    });

  it('tables on every axis', () => {
    // Store A and B with all axes reversed; tables that reverse again must undo it.
    const storedA = gather(a, k, reversed(m), reversed(k));
    const storedB = gather(b, n, reversed(k), reversed(n));
    const transpose = (data: Float32Array, rows: number, columns: number) =>
      Float32Array.from({ length: data.length }, (_, at) => data[(at % rows) * columns + Math.floor(at / rows)] as number);
    for (const transposed of [false, true]) {
      const got = run((scratch) => {
        const c = scratch.f32(m * n);
        const inner = scratch.upload(reversed(k));
        matmul(core, {
          a: scratch.upload(transposed ? transpose(storedA, m, k) : storedA),
          b: scratch.upload(transposed ? transpose(storedB, k, n) : storedB),
          c, m, n, k, transposeA: transposed, transposeB: transposed,
          aRows: scratch.upload(reversed(m)), aInner: inner, bInner: inner, bColumns: scratch.upload(reversed(n)),
        });
        return { c, length: m * n };
      });
      expect(got).toEqual(plain());
    }
  });

  it('leading dimensions larger than the rows leave the gap alone', () => {
    const pad = (data: Float32Array, columns: number, stride: number) => {
      const out = new Float32Array((data.length / columns) * stride).fill(77);
      data.forEach((value, at) => (out[Math.floor(at / columns) * stride + (at % columns)] = value));
      return out;
    };
    const got = run((scratch) => {
      const c = scratch.upload(new Float32Array(m * (n + 3)).fill(77));
      matmul(core, {
        a: scratch.upload(pad(a, k, k + 5)), b: scratch.upload(pad(b, n, n + 1)), c, m, n, k, lda: k + 5, ldb: n + 1, ldc: n + 3,
      });
      return { c, length: m * (n + 3) };
    });
    expect(got).toEqual(pad(plain(), n, n + 3));
  });

  it('batches, with a shared operand', () => {
    const got = run((scratch) => {
      const c = scratch.f32(2 * m * n);
      matmul(core, {
        a: scratch.upload(a), b: scratch.upload(Float32Array.of(...b, ...b)), c, m, n, k,
        batch: { count: 2, aStride: 0, bStride: k * n, cStride: m * n },
      });
      return { c, length: 2 * m * n };
    });
    expect(got).toEqual(Float32Array.of(...plain(), ...plain()));
  });
});

it.each<[number, number, number]>([[128, 1030, 300], [129, 1030, 300], [128, 70, 256], [37, 19, 257], [260, 15, 9]])(
  'the scratch of %i×%i×%i is enough for it and for smaller ones, and nothing behind it is written',
  (mostM, mostN, mostK) => {
    const guard = 4096;
    const smaller = (most: number): number[] => [most, Math.min(most, 128), Math.ceil(most / 2), 1];
    core.scoped((scratch) => {
      const bytes = core.kernels.matmulScratchBytes(mostM, mostN, mostK);
      const packed = scratch.bytes(bytes + guard);
      const [a, b] = [scratch.upload(values(mostM * mostK, 1)), scratch.upload(values(mostK * mostN, 2))];
      const [given, own] = [scratch.f32(mostM * mostN), scratch.f32(mostM * mostN)];
      for (const m of smaller(mostM)) for (const n of smaller(mostN)) for (const k of smaller(mostK)) {
        const whole = new Uint8Array(core.memory.buffer, packed, bytes + guard);
        // Whatever is read of it without having been written is NaN.
        whole.fill(0xff);
        core.kernels.productF32(a, k, 1, 0, 1, 0, 1, b, n, 1, 0, 0, given, n, m, n, k, 0, packed);
        expect(whole.subarray(bytes).every((byte) => byte === 0xff), `${m}×${n}×${k}`).toBe(true);
        matmul(core, { a, b, c: own, m, n, k });
        expect(core.f32(given, m * n).every((value, i) => value === core.f32(own, m * n)[i]), `${m}×${n}×${k}`).toBe(true);
      }
    });
  },
);

it('refuses sizes that are no counts and frees its scratch', () => {
  expect(() => matmul(core, { a: 0, b: 0, c: 0, m: -1, n: 1, k: 1 })).toThrow(InvalidArgumentError);
  expect(() => matmul(core, { a: 0, b: 0, c: 0, m: 1, n: 1.5, k: 1 })).toThrow(InvalidArgumentError);
  expect(core.liveAllocations).toBe(0);
});

it('a heap at its cap throws OutOfMemoryError, frees everything, and the next call works', async () => {
  using small = await openCore({ heapLimitBytes: 18 * 2 ** 20 });
  expect(() =>
    small.scoped((scratch) => {
      for (;;) scratch.bytes(2 ** 20, 'a filler');
    }),
  ).toThrow(OutOfMemoryError);
  expect(small.liveAllocations).toBe(0);
  small.scoped((scratch) => {
    const one = scratch.upload(Float32Array.of(3));
    const c = scratch.f32(1);
    matmul(small, { a: one, b: one, c, m: 1, n: 1, k: 1 });
    expect(small.f32(c, 1)[0]).toBe(9);
  });
});
