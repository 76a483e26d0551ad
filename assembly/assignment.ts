// Linear sum assignment, maximising: what the dense and the sparse solver share, and the exported surface.
//
// Prices v_j (f64) live on columns. A row's price is never stored while solving: an assigned row's is s_i,a(i) − v_a(i),
// so assigned pairs are exactly tight. Optimality: slack_ij = u_i + v_j − s_ij ≥ 0 everywhere, 0 on assigned pairs.
// Prices of columns only rise, and a column that was once assigned stays assigned.
//
// Every kernel takes one scratch block, laid out by `assignmentOpen`; nothing is kept between calls outside of it, so
// two solves may be interleaved. Work is done in slices so that the caller can abort between them.
import { densePhase } from "./assignment-dense";

/** Columns in one block of the dense solver's two-level minimum. */
export const BLOCK: i32 = 64;

@unmanaged
export class Problem {
  matrix: usize; // [rows, columns] of f32 or f64, row-major
  rows: i32;
  columns: i32; // rows ≤ columns
  prices: usize; // f64 [columns], the caller's
  columnOfRow: usize; // i32 [rows], the caller's; −1: free
  rowOfColumn: usize; // i32 [columns]; −1: free
  distances: usize; // f64 [columns rounded up to BLOCK]
  blockMinima: usize; // f64 [columns / BLOCK]
  predecessors: usize; // i32 [columns]: the row from which a column was reached
  scannedColumns: usize; // i32 [columns]
  scannedPrices: usize; // f64 [columns]
  scannedDistances: usize; // f64 [columns]
  freeColumns: usize; // i32 [columns], ascending
  freeColumnCount: i32;
  freeRows: usize; // i32 [rows]
  freeRowCount: i32;
  nextFreeRow: i32;
}

function align(bytes: usize): usize {
  return (bytes + 15) & ~(<usize>15);
}

/** Bytes of scratch that `assignmentOpen` lays out. */
export function assignmentScratchBytes(rows: i32, columns: i32): usize {
  return layOut(changetype<Problem>(0), 0, rows, columns);
}

function layOut(problem: Problem, base: usize, rows: i32, columns: i32): usize {
  const padded = ((<usize>columns + BLOCK - 1) / BLOCK) * BLOCK;
  const write = base !== 0;
  let at = base + align(offsetof<Problem>());
  if (write) problem.distances = at;
  at += padded << 3;
  if (write) problem.blockMinima = at;
  at += align((padded / BLOCK) << 3);
  if (write) problem.scannedPrices = at;
  at += padded << 3;
  if (write) problem.scannedDistances = at;
  at += padded << 3;
  if (write) problem.predecessors = at;
  at += padded << 2;
  if (write) problem.scannedColumns = at;
  at += padded << 2;
  if (write) problem.rowOfColumn = at;
  at += padded << 2;
  if (write) problem.freeColumns = at;
  at += padded << 2;
  if (write) problem.freeRows = at;
  at += align(<usize>rows << 2);
  return at - base;
}

/** Prepares `scratchPtr` (of `assignmentScratchBytes`) for a solve. Prices must hold the starting duals. */
export function assignmentOpen(
  scratchPtr: usize,
  matrixPtr: usize,
  rows: i32,
  columns: i32,
  pricesPtr: usize,
  columnOfRowPtr: usize,
): void {
  const problem = changetype<Problem>(scratchPtr);
  layOut(problem, scratchPtr, rows, columns);
  problem.matrix = matrixPtr;
  problem.rows = rows;
  problem.columns = columns;
  problem.prices = pricesPtr;
  problem.columnOfRow = columnOfRowPtr;
  memory.fill(columnOfRowPtr, 0xff, <usize>rows << 2);
  memory.fill(problem.rowOfColumn, 0xff, <usize>columns << 2);
  problem.freeRowCount = 0;
  problem.nextFreeRow = 0;
}

/**
 * Raises maxima [columns] (of T, −Infinity before the first slice) to the column maxima of these rows.
 * Answers 1 when every value is finite and within ±limit, else 0.
 */
function columnMaxima<T>(matrixPtr: usize, rows: i32, columns: i32, maximaPtr: usize, limit: T): i32 {
  const rowBytes = <usize>columns * sizeof<T>();
  const vectorBytes = rowBytes & ~(<usize>15);
  let allWithin = i32x4.splat(-1);
  let scalarWithin = true;
  const limits = sizeof<T>() === 4 ? f32x4.splat(<f32>limit) : f64x2.splat(<f64>limit);
  for (let i = 0; i < rows; i++) {
    const row = matrixPtr + <usize>i * rowBytes;
    let at: usize = 0;
    for (; at < vectorBytes; at += 16) {
      const value = v128.load(row + at);
      const old = v128.load(maximaPtr + at);
      if (sizeof<T>() === 4) {
        allWithin = v128.and(allWithin, f32x4.le(f32x4.abs(value), limits));
        v128.store(maximaPtr + at, f32x4.pmax(old, value));
      } else {
        allWithin = v128.and(allWithin, f64x2.le(f64x2.abs(value), limits));
        v128.store(maximaPtr + at, f64x2.pmax(old, value));
      }
    }
    for (; at < rowBytes; at += sizeof<T>()) {
      const value = load<T>(row + at);
      if (!(abs<T>(value) <= limit)) scalarWithin = false;
      if (value > load<T>(maximaPtr + at)) store<T>(maximaPtr + at, value);
    }
  }
  return scalarWithin && i32x4.all_true(allWithin) ? 1 : 0;
}

export function assignmentColumnMaximaF32(matrixPtr: usize, rows: i32, columns: i32, maximaPtr: usize, limit: f32): i32 {
  return columnMaxima<f32>(matrixPtr, rows, columns, maximaPtr, limit);
}

export function assignmentColumnMaximaF64(matrixPtr: usize, rows: i32, columns: i32, maximaPtr: usize, limit: f64): i32 {
  return columnMaxima<f64>(matrixPtr, rows, columns, maximaPtr, limit);
}

function negate<T>(valuesPtr: usize, count: i32): void {
  const bytes = <usize>count * sizeof<T>();
  let at: usize = 0;
  for (; at + 16 <= bytes; at += 16) {
    const value = v128.load(valuesPtr + at);
    v128.store(valuesPtr + at, sizeof<T>() === 4 ? f32x4.neg(value) : f64x2.neg(value));
  }
  for (; at < bytes; at += sizeof<T>()) store<T>(valuesPtr + at, -load<T>(valuesPtr + at));
}

export function assignmentNegateF32(valuesPtr: usize, count: i32): void {
  negate<f32>(valuesPtr, count);
}

export function assignmentNegateF64(valuesPtr: usize, count: i32): void {
  negate<f64>(valuesPtr, count);
}

/** Gives every row its best column at the starting prices when that is still free; the other rows become free rows. */
function greedy<T>(problem: Problem): void {
  const rows = problem.rows;
  const columns = problem.columns;
  let free = 0;
  for (let i = 0; i < rows; i++) {
    const row = problem.matrix + <usize>i * <usize>columns * sizeof<T>();
    let best: f64 = -Infinity;
    let bestColumn = -1;
    for (let j = 0; j < columns; j++) {
      const value = <f64>load<T>(row + <usize>j * sizeof<T>()) - load<f64>(problem.prices + (<usize>j << 3));
      if (value > best) {
        best = value;
        bestColumn = j;
      }
    }
    if (bestColumn >= 0 && load<i32>(problem.rowOfColumn + (<usize>bestColumn << 2)) < 0) {
      store<i32>(problem.rowOfColumn + (<usize>bestColumn << 2), i);
      store<i32>(problem.columnOfRow + (<usize>i << 2), bestColumn);
    } else {
      store<i32>(problem.freeRows + (<usize>free << 2), i);
      free++;
    }
  }
  problem.freeRowCount = free;
  let freeColumns = 0;
  for (let j = 0; j < columns; j++) {
    if (load<i32>(problem.rowOfColumn + (<usize>j << 2)) < 0) {
      store<i32>(problem.freeColumns + (<usize>freeColumns << 2), j);
      freeColumns++;
    }
  }
  problem.freeColumnCount = freeColumns;
}

/** Answers the number of rows still free after about `budget` augmentations, or −1 − row when that row has no column. */
function augment<T>(problem: Problem, budget: i32): i32 {
  while (problem.nextFreeRow < problem.freeRowCount && budget-- > 0) {
    const row = load<i32>(problem.freeRows + (<usize>problem.nextFreeRow << 2));
    if (!densePhase<T>(problem, row)) return -1 - row;
    problem.nextFreeRow++;
  }
  return problem.freeRowCount - problem.nextFreeRow;
}

export function assignmentStartF32(scratchPtr: usize): void {
  greedy<f32>(changetype<Problem>(scratchPtr));
}

export function assignmentStartF64(scratchPtr: usize): void {
  greedy<f64>(changetype<Problem>(scratchPtr));
}

export function assignmentAugmentF32(scratchPtr: usize, budget: i32): i32 {
  return augment<f32>(changetype<Problem>(scratchPtr), budget);
}

export function assignmentAugmentF64(scratchPtr: usize, budget: i32): i32 {
  return augment<f64>(changetype<Problem>(scratchPtr), budget);
}

/**
 * For rows [first, last): Σ max_j (s_ij − v_j) − (s_i,a(i) − v_a(i)), which summed over all rows bounds how far the
 * assignment is from the optimum: any prices v (0 on columns left over) give the bound Σ v + Σ max_j (s_ij − v_j).
 * Small non-negative terms: no cancellation, exactly 0 where every price is exact (integers).
 */
function certify<T>(
  matrixPtr: usize,
  first: i32,
  last: i32,
  columns: i32,
  pricesPtr: usize,
  columnOfRowPtr: usize,
): f64 {
  let gap: f64 = 0;
  for (let i = first; i < last; i++) {
    const row = matrixPtr + <usize>i * <usize>columns * sizeof<T>();
    let bests = f64x2.splat(-Infinity);
    let j = 0;
    for (; j + 2 <= columns; j += 2) {
      const at = row + <usize>j * sizeof<T>();
      const values = sizeof<T>() === 4 ? f64x2.promote_low_f32x4(v128.load64_zero(at)) : v128.load(at);
      bests = f64x2.pmax(bests, f64x2.sub(values, v128.load(pricesPtr + (<usize>j << 3))));
    }
    let best = max<f64>(f64x2.extract_lane(bests, 0), f64x2.extract_lane(bests, 1));
    for (; j < columns; j++) {
      best = max<f64>(best, <f64>load<T>(row + <usize>j * sizeof<T>()) - load<f64>(pricesPtr + (<usize>j << 3)));
    }
    const assigned = load<i32>(columnOfRowPtr + (<usize>i << 2));
    const own = <f64>load<T>(row + <usize>assigned * sizeof<T>()) - load<f64>(pricesPtr + (<usize>assigned << 3));
    gap += best - own;
  }
  return gap;
}

export function assignmentCertifyF32(
  matrixPtr: usize, first: i32, last: i32, columns: i32, pricesPtr: usize, columnOfRowPtr: usize,
): f64 {
  return certify<f32>(matrixPtr, first, last, columns, pricesPtr, columnOfRowPtr);
}

export function assignmentCertifyF64(
  matrixPtr: usize, first: i32, last: i32, columns: i32, pricesPtr: usize, columnOfRowPtr: usize,
): f64 {
  return certify<f64>(matrixPtr, first, last, columns, pricesPtr, columnOfRowPtr);
}
