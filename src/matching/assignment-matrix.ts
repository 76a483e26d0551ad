/** A similarity matrix on its way to the assignment kernels: copied and turned as they want it, and looked over. */
import type { Pieces } from '../core/breather.ts';
import type { Core } from '../core/core.ts';
import { LimitError, NotFiniteError } from '../core/errors.ts';
import type { AssignmentKernels } from '../core/kernels.ts';

/** f64 values beyond this could overflow once as many as `limits.assignmentSize` are added up. */
export const LARGEST_F64 = 1e300;
/** Sparse solving of f32 subtracts in f32: beyond this, prices could overflow, and the dense solver takes over. */
export const LARGEST_SPARSE_F32 = 1e33;
/**
 * What is copied and looked at in one go, at least the four rows that kernels take together: it then is still in the L2
 * cache for the look.
 */
const SLICE_BYTES = 128 * 1024;
const SLICE_ROWS = 4;

/**
 * 'sparse' works on short candidate lists, 'dense' on the whole matrix; 'auto' takes the faster, and neither where every
 * row has a greatest column for itself. All are exact.
 */
export type AssignmentMethod = 'auto' | 'sparse' | 'dense';

export interface TypedKernels {
  readonly open: AssignmentKernels['assignmentOpen'];
  readonly columnMaxima: AssignmentKernels['assignmentColumnMaximaF32'];
  readonly favourites: AssignmentKernels['assignmentFavouritesF32'];
  readonly constants: AssignmentKernels['assignmentConstantsF32'];
  readonly negate: AssignmentKernels['assignmentNegateF32'];
  readonly sampleRows: AssignmentKernels['assignmentSampleRowsF32'];
  readonly list: AssignmentKernels['assignmentListF32'];
  readonly advance: AssignmentKernels['assignmentAdvanceF32'];
  readonly certify: AssignmentKernels['assignmentCertifyF32'];
}

export function kernelsFor(core: Core, wide: boolean): TypedKernels {
  const k = core.kernels;
  const open = k.assignmentOpen;
  return wide
    ? {
      open, columnMaxima: k.assignmentColumnMaximaF64, favourites: k.assignmentFavouritesF64, constants: k.assignmentConstantsF64,
      negate: k.assignmentNegateF64, sampleRows: k.assignmentSampleRowsF64, list: k.assignmentListF64,
      advance: k.assignmentAdvanceF64, certify: k.assignmentCertifyF64,
    }
    : {
      open, columnMaxima: k.assignmentColumnMaximaF32, favourites: k.assignmentFavouritesF32, constants: k.assignmentConstantsF32,
      negate: k.assignmentNegateF32, sampleRows: k.assignmentSampleRowsF32, list: k.assignmentListF32,
      advance: k.assignmentAdvanceF32, certify: k.assignmentCertifyF32,
    };
}

/** Where a matrix lies that is maximised, rows ≤ columns, and what is kept beside it. */
export interface AssignmentState {
  readonly rows: number;
  readonly columns: number;
  readonly elementBytes: number;
  readonly method: AssignmentMethod;
  readonly matrixPtr: number;
  readonly scratchPtr: number;
  /** For looking over the matrix: `lookScratchBytes`. */
  readonly lookPtr: number;
  /** f64 [columns]. */
  readonly pricesPtr: number;
  /** f64 [rows] of a warm start, else 0. */
  readonly rowPricesPtr: number;
  /** Column maxima, of the matrix's type. */
  readonly maximaPtr: number;
  readonly columnOfRowPtr: number;
  /** u8 [rows], `RowKind` in `assembly/assignment-problem.ts`. */
  readonly rowKindsPtr: number;
}

export function matrixOf(core: Core, { rows, columns, elementBytes, matrixPtr }: AssignmentState): Float32Array | Float64Array {
  return elementBytes === 8 ? core.f64(matrixPtr, rows * columns) : core.f32(matrixPtr, rows * columns);
}

/** What was seen of a matrix. */
export interface Look {
  /** All of it is finite and of a magnitude that needs no closer look. */
  readonly ordinary: boolean;
  /** Every row has one of its greatest columns for itself, in `columnOfRow`: the optimum. */
  readonly settled: boolean;
  /** Columns of a square matrix whose values are all equal; such rows are marked in `rowKinds`. */
  readonly constantColumns: readonly number[];
}

/** A byte, an element and a word a column. */
export function lookScratchBytes(columns: number, elementBytes: number): number {
  return Math.ceil(columns / 16) * 16 + columns * (elementBytes + 4);
}

/**
 * Looks over the matrix, slice by slice: column maxima, values that are not ordinary, with 'auto' favourites, and constants.
 * `bring` puts rows [first, last) where they belong before they are looked at. Once not all rows have favourites, `listUpTo`
 * is called with how many rows there are, while the last of them are still in the cache, and answers whether they are ordinary; column
 * maxima are then of no use.
 */
export function* lookOver(
  core: Core, kernels: TypedKernels, state: AssignmentState, bring: (first: number, last: number) => void,
  listUpTo?: (last: number, limit: number) => boolean,
): Pieces<Look> {
  const { rows, columns, elementBytes, matrixPtr, maximaPtr, lookPtr, columnOfRowPtr, rowKindsPtr } = state;
  const wide = elementBytes === 8;
  (wide ? core.f64(maximaPtr, columns) : core.f32(maximaPtr, columns)).fill(-Infinity);
  core.u8(lookPtr, columns).fill(0);
  core.u8(rowKindsPtr, rows).fill(0);
  const maskPtr = lookPtr + Math.ceil(columns / 16) * 16;
  const groupsPtr = maskPtr + columns * elementBytes;
  const step = Math.max(SLICE_ROWS, Math.floor(SLICE_BYTES / (elementBytes * Math.max(1, columns))));
  const limit = wide ? LARGEST_F64 : LARGEST_SPARSE_F32;
  let ordinary = true;
  let settled = state.method === 'auto';
  // Constants matter once favourites have not settled everything: then what was passed by is looked at once more.
  const wantConstants = rows === columns && columns * elementBytes >= 16;
  let constantsSeen = 0;
  let groups = 0;
  for (let row = 0; row < rows; row += step) {
    yield;
    const count = Math.min(step, rows - row);
    bring(row, row + count);
    const slicePtr = matrixPtr + row * columns * elementBytes;
    const listing = listUpTo !== undefined && !settled;
    if (!listing && kernels.columnMaxima(slicePtr, count, columns, maximaPtr, limit) === 0) ordinary = false;
    if (settled && kernels.favourites(slicePtr, row, count, columns, lookPtr, columnOfRowPtr) === 0) settled = false;
    if (settled) continue;
    if (wantConstants) {
      groups = kernels.constants(matrixPtr, constantsSeen, row + count - constantsSeen, columns, rowKindsPtr, maskPtr, groupsPtr, groups);
      constantsSeen = row + count;
    }
    if (ordinary && listUpTo?.(row + count, limit) === false) ordinary = false;
  }
  const constantColumns: number[] = [];
  if (groups > 0) {
    const words = elementBytes / 4;
    core.i32(maskPtr, columns * words).forEach((mask, at) => {
      if (mask !== 0 && at % words === 0) constantColumns.push(at / words);
    });
  }
  return { ordinary, settled: settled && ordinary, constantColumns };
}

export interface Upload {
  readonly data: Float32Array | Float64Array;
  readonly rows: number;
  readonly columns: number;
  readonly transposed: boolean;
  readonly maximize: boolean;
}

/** Copies rows [first, last) of what the kernels will see to the heap. */
export function copyRows(core: Core, kernels: TypedKernels, state: AssignmentState, upload: Upload, first: number, last: number): void {
  const { data, transposed, maximize } = upload;
  const { columns, elementBytes, matrixPtr } = state;
  const heap = data instanceof Float64Array ? core.f64(matrixPtr, data.length) : core.f32(matrixPtr, data.length);
  if (transposed) {
    for (let i = first; i < last; i++) {
      for (let j = 0; j < columns; j++) heap[i * columns + j] = data[j * state.rows + i] as number;
    }
  } else {
    heap.set(data.subarray(first * columns, last * columns), first * columns);
  }
  if (!maximize) kernels.negate(matrixPtr + first * columns * elementBytes, (last - first) * columns);
}

/** Throws for the first value that may not be there; else answers the largest magnitude that is not a mark of a forbidden pair. */
export function largestMagnitude({ data, columns, maximize }: Upload): number {
  let largest = 0;
  const forbidden = maximize ? -Infinity : Infinity;
  for (let k = 0; k < data.length; k++) {
    const value = data[k] as number;
    if (value === forbidden) continue;
    const magnitude = Math.abs(value);
    if (magnitude <= LARGEST_F64) {
      if (magnitude > largest) largest = magnitude;
      continue;
    }
    const field = `similarity[${Math.floor(k / columns)}, ${k % columns}]`;
    if (!Number.isFinite(value)) {
      throw new NotFiniteError({ field, expected: `a finite number, or ${forbidden} for a forbidden pair`, got: `${value}` });
    }
    throw new LimitError({ field, expected: `a magnitude of at most ${LARGEST_F64}`, got: `${value}` });
  }
  return largest;
}

