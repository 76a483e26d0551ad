/**
 * Rows and columns of a square matrix whose values are all equal, such as units that never fire. As many constant rows as
 * there are constant columns are given these beforehand and left out of the solve, which then is over what is left: a tenth of
 * the paths' time on 20 % dead units, which otherwise go from every constant column to every constant row. With the price of the
 * columns left out between the least price of the others and what the least content row would pay, that is the optimum of the whole;
 * where there is no such price, the whole is solved, from the prices found.
 */
import type { Core } from '../core/core.ts';
import type { AssignmentState } from './assignment-matrix.ts';

/** As `RowKind` in `assembly/assignment-problem.ts`. */
export const rowKinds = { ordinary: 0, constant: 1, leftOut: 2 } as const;

/**
 * Of fewer rows than one in so many, leaving out gains less than a second solve, where needed, costs (a gradient at n =
 * 128 with 7 of them: 0.48 → 0.51 ms).
 */
const WORTH_LEAVING_OUT = 16;

/** Rounding of the prices, as a share of their magnitude. */
const ROUNDING = 2 ** -50;

/** Constant rows and the constant columns that they are given, ascending, as many of one as of the other. */
export interface ConstantPairs {
  readonly rows: readonly number[];
  readonly columns: readonly number[];
}

/** Which rows (marked in the state) to pair with which of `constantColumns`, and the price +Infinity for these. */
export function leaveOutConstants(core: Core, state: AssignmentState, constantColumns: readonly number[]): ConstantPairs {
  const kinds = core.u8(state.rowKindsPtr, state.rows);
  const constantRows: number[] = [];
  kinds.forEach((kind, row) => {
    if (kind === rowKinds.constant) constantRows.push(row);
  });
  // One row at least stays in: the least price is one of those that do.
  let count = Math.min(constantRows.length, constantColumns.length, state.rows - 1);
  if (count * WORTH_LEAVING_OUT < state.rows) count = 0;
  const pairs = { rows: constantRows.slice(0, count), columns: constantColumns.slice(0, count) };
  for (const row of pairs.rows) kinds[row] = rowKinds.leftOut;
  const prices = core.f64(state.pricesPtr, state.columns);
  for (const column of pairs.columns) prices[column] = Infinity;
  return pairs;
}

/**
 * After the solve of the rest: gives the rows left out their columns at a price that proves the whole optimal. Where there
 * is none, answers false: the rows are then left out no more, and the prices are a start for the whole.
 */
export function takeInConstants(
  core: Core,
  state: AssignmentState,
  matrix: Float32Array | Float64Array,
  { rows, columns }: ConstantPairs,
): boolean {
  if (rows.length === 0) return true;
  const kinds = core.u8(state.rowKindsPtr, state.rows);
  const prices = core.f64(state.pricesPtr, state.columns);
  const columnOfRow = core.i32(state.columnOfRowPtr, state.rows);
  let leastProfit = Infinity;
  let leastPrice = Infinity;
  for (let i = 0; i < state.rows; i++) {
    if (kinds[i] === rowKinds.leftOut) continue;
    const column = columnOfRow[i] as number;
    const price = prices[column] as number;
    leastProfit = Math.min(leastProfit, (matrix[i * state.columns + column] as number) - price);
    leastPrice = Math.min(leastPrice, price);
  }
  const constant = matrix[(rows[0] as number) * state.columns] as number;
  // Left out rows take no column from the others, and no other wants one of theirs, at prices from `lowest` to `leastPrice`.
  const lowest = constant - leastProfit;
  const proved = lowest - leastPrice <= ROUNDING * Math.max(Math.abs(constant), Math.abs(leastProfit), Math.abs(leastPrice));
  const price = proved ? lowest / 2 + leastPrice / 2 : leastPrice;
  rows.forEach((row, k) => {
    const column = columns[k] as number;
    prices[column] = price;
    if (proved) columnOfRow[row] = column;
    else kinds[row] = rowKinds.constant;
  });
  return proved;
}
