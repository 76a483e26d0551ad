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

/** Linear sum assignment (`assembly/assignment*.ts`), each for f32 and f64 matrices. Wrapper: `matching/assignment.ts`. */
export interface AssignmentKernels {
  assignmentScratchBytes(rows: number, columns: number): number;
  assignmentOpen(scratchPtr: number, matrixPtr: number, rows: number, columns: number, pricesPtr: number, columnOfRowPtr: number): void;
  assignmentColumnMaximaF32(matrixPtr: number, rows: number, columns: number, maximaPtr: number, limit: number): number;
  assignmentColumnMaximaF64(matrixPtr: number, rows: number, columns: number, maximaPtr: number, limit: number): number;
  assignmentNegateF32(valuesPtr: number, count: number): void;
  assignmentNegateF64(valuesPtr: number, count: number): void;
  assignmentStartF32(scratchPtr: number): void;
  assignmentStartF64(scratchPtr: number): void;
  /** Rows still free after about `budget` more paths, or −1 − row for a row that cannot have a column. */
  assignmentAugmentF32(scratchPtr: number, budget: number): number;
  assignmentAugmentF64(scratchPtr: number, budget: number): number;
  assignmentCertifyF32(matrixPtr: number, first: number, last: number, columns: number, pricesPtr: number, columnOfRowPtr: number): number;
  assignmentCertifyF64(matrixPtr: number, first: number, last: number, columns: number, pricesPtr: number, columnOfRowPtr: number): number;
}

export interface CoreKernels extends MatmulKernels, AssignmentKernels {}
