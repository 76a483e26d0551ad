/**
 * Our matrix product, timed in whatever runtime runs this file; bench/product.ts asks, and reaches Deno and Bun as the tests do.
 */
import process from 'node:process';
import { openCore, type Arithmetic, type Core } from '../src/core/core.ts';
import { matmul } from '../src/core/matmul.ts';

export type ProductForm = 'NN' | 'NT';

/** CPU milliseconds of one product, where the runtime tells CPU time, and the checksum of its bytes. */
export interface ProductAnswer {
  readonly milliseconds: number;
  readonly checksum: number;
}

/** Values in [−0.5, 0.5) without structure, the same everywhere. */
export function operand(size: number, seed: number): Float32Array {
  let state = (seed * 2654435761 + 12345) >>> 0;
  return Float32Array.from({ length: size * size }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32 - 0.5;
  });
}

const WARM_ROWS = 64;

function cpuMs(): number {
  try {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000;
  } catch {
    return performance.now();
  }
}

/** C = A · B of so many rows and columns. */
export function timeProduct(core: Core, form: ProductForm, size: number, repetitions: number): ProductAnswer {
  return core.scoped((scratch) => {
    const a = scratch.upload(operand(size, 1));
    const b = scratch.upload(operand(size, 2));
    const c = scratch.f32(size * size);
    const multiply = (rows = size): void => matmul(core, { a, b, c, m: rows, n: size, k: size, transposeB: form === 'NT' });
    // A few rows, for the engine to compile the tile: it is called thousands of times, and that is what compilers count.
    multiply(Math.min(size, WARM_ROWS));
    const start = cpuMs();
    for (let i = 0; i < repetitions; i++) multiply();
    const milliseconds = (cpuMs() - start) / repetitions;
    let checksum = 0;
    for (const word of core.i32(c, size * size)) checksum = (Math.imul(checksum, 31) + word) | 0;
    return { milliseconds, checksum };
  });
}

const cores = new Map<Arithmetic, Promise<Core>>();

/** Entry for other runtimes (test/hosts/launch.ts). @throws UnsupportedError for relaxed arithmetic where there is none. */
export async function run({
  form,
  size,
  repetitions,
  arithmetic = 'strict',
}: {
  form: ProductForm;
  size: number;
  repetitions: number;
  arithmetic?: Arithmetic;
}): Promise<ProductAnswer> {
  const opened = cores.get(arithmetic) ?? openCore({ arithmetic });
  cores.set(arithmetic, opened);
  return timeProduct(await opened, form, size, repetitions);
}
