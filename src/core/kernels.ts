/**
 * The typed surface of our AssemblyScript binary: one line a kernel, as in `assembly/index.ts`.
 * Pointers are byte offsets into the shared heap, counts are in elements unless the name says bytes.
 */

/** f32 matrix products (`assembly/matmul.ts`); strides and leading dimensions in elements, tables are i32 or 0. Wrapper: `matmul.ts`. */
export interface MatmulKernels {
  matmulScratchBytes(m: number, n: number, k: number): number;
  matmulF32(
    aPtr: number, bPtr: number, cPtr: number, m: number, n: number, k: number,
    transposeA: number, transposeB: number, accumulate: number, lda: number, ldb: number, ldc: number,
    aRowsPtr: number, aInnerPtr: number, bInnerPtr: number, bColumnsPtr: number, scratchPtr: number,
  ): void;
  productF32(
    aPtr: number, aRowStride: number, aInnerStride: number, aRowsPtr: number, aInnerPtr: number,
    bPtr: number, bInnerStride: number, bColumnStride: number, bInnerPtr: number, bColumnsPtr: number,
    cPtr: number, ldc: number, m: number, n: number, k: number, accumulate: number, scratchPtr: number,
  ): void;
}

export interface CoreKernels extends MatmulKernels {}
