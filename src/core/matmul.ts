/** The f32 matrix product on heap pointers: argument checks, scratch and batches around `assembly/matmul.ts`. */
import type { Core } from './core.ts';
import { requireInteger } from './require.ts';

/** C [m, n] (+)= op(A) [m, k] · op(B) [k, n]. Pointers are byte offsets, everything else counts f32 elements. */
export interface MatmulOptions {
  readonly a: number;
  readonly b: number;
  /** Must not overlap `a` or `b`. */
  readonly c: number;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** A is stored [k, m]. */
  readonly transposeA?: boolean;
  /** B is stored [n, k]. */
  readonly transposeB?: boolean;
  /** Add to C instead of replacing it. */
  readonly accumulate?: boolean;
  /** Row stride of the stored A: k, or m when transposed, unless given. */
  readonly lda?: number;
  /** Row stride of the stored B: n, or k when transposed, unless given. */
  readonly ldb?: number;
  /** Row stride of C: n unless given. */
  readonly ldc?: number;
  /** Pointers to i32 tables that replace positions, so that a permuted operand is never materialised; 0 or absent: none. */
  readonly aRows?: number;
  readonly aInner?: number;
  readonly bInner?: number;
  readonly bColumns?: number;
  /** Repeats the product at these distances (a stride of 0 shares the operand). */
  readonly batch?: { readonly count: number; readonly aStride: number; readonly bStride: number; readonly cStride: number };
}

/**
 * Computes the product in a fixed order: each element of C is the sum, over blocks of 256 of k, of a sequential sum.
 * The bytes do not depend on transposition, tables, batches or on which rows and columns are computed together.
 * @throws InvalidArgumentError for a negative or fractional size.
 * @throws OutOfMemoryError when there is no room for the scratch of at most 1.2 MB.
 */
export function matmul(core: Core, options: MatmulOptions): void {
  const m = requireInteger('matmul.m', options.m, 0);
  const n = requireInteger('matmul.n', options.n, 0);
  const k = requireInteger('matmul.k', options.k, 0);
  const transposeA = options.transposeA ?? false;
  const transposeB = options.transposeB ?? false;
  const count = options.batch?.count ?? 1;
  core.scoped((scratch) => {
    const scratchPtr = scratch.bytes(core.kernels.matmulScratchBytes(m, n, k), 'packed panels of a matrix product');
    for (let i = 0; i < count; i++) {
      core.kernels.matmulF32(
        options.a + 4 * i * (options.batch?.aStride ?? 0),
        options.b + 4 * i * (options.batch?.bStride ?? 0),
        options.c + 4 * i * (options.batch?.cStride ?? 0),
        m,
        n,
        k,
        Number(transposeA),
        Number(transposeB),
        Number(options.accumulate ?? false),
        options.lda ?? (transposeA ? m : k),
        options.ldb ?? (transposeB ? k : n),
        options.ldc ?? n,
        options.aRows ?? 0,
        options.aInner ?? 0,
        options.bInner ?? 0,
        options.bColumns ?? 0,
        scratchPtr,
      );
    }
  });
}
