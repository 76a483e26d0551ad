// Linear sum assignment: the pairs of rows and columns as they stand, and which columns are free.
import { Problem, RowKind, kindOf, raisePrice } from "./assignment-problem";

/** Gives `row` the free column `column`, or one whose row has lost it. */
export function assign<T>(problem: Problem, row: i32, column: i32): void {
  const at = problem.matrix + (<usize>row * <usize>problem.columns + <usize>column) * sizeof<T>();
  store<i32>(problem.rowOfColumn + (<usize>column << 2), row);
  store<i32>(problem.columnOfRow + (<usize>row << 2), column);
  store<f64>(problem.ownValues + (<usize>row << 3), <f64>load<T>(at));
}

/** Flips the assigned and unassigned pairs along the way from `start` to the free column `sink`. */
export function augmentTo<T>(problem: Problem, start: i32, sink: i32): void {
  let column = sink;
  let row: i32;
  do {
    row = load<i32>(problem.predecessors + (<usize>column << 2));
    const previous = load<i32>(problem.columnOfRow + (<usize>row << 2));
    store<i32>(problem.columnOfRow + (<usize>row << 2), column);
    store<i32>(problem.rowOfColumn + (<usize>column << 2), row);
    if (problem.sparse !== 0) {
      const at = problem.matrix + (<usize>row * <usize>problem.columns + <usize>column) * sizeof<T>();
      store<f64>(problem.ownValues + (<usize>row << 3), <f64>load<T>(at));
    }
    column = previous;
  } while (row !== start);
  // Keep the free columns ascending: O(free), and few are free once rows need paths.
  const list = problem.freeColumns;
  let kept = 0;
  for (let k = 0; k < problem.freeColumnCount; k++) {
    const j = load<i32>(list + (<usize>k << 2));
    if (j !== sink) {
      store<i32>(list + (<usize>kept << 2), j);
      kept++;
    }
  }
  problem.freeColumnCount = kept;
}

/** Frees all rows and columns; prices stay. */
export function freeAll(problem: Problem): void {
  memory.fill(problem.columnOfRow, 0xff, <usize>problem.rows << 2);
  memory.fill(problem.rowOfColumn, 0xff, <usize>problem.columns << 2);
  problem.freeRowCount = 0;
}

/**
 * Takes rows of `RowKind.leftOut` and columns of price +Infinity out of the pairs; lists anew which ordinary and
 * constant rows are free.
 */
export function leaveOut(problem: Problem): void {
  for (let j = 0; j < problem.columns; j++) {
    const price = load<f64>(problem.prices + (<usize>j << 3));
    const row = load<i32>(problem.rowOfColumn + (<usize>j << 2));
    if (price === Infinity) raisePrice(problem, j, price);
    if (row >= 0 && (price === Infinity || kindOf(problem, row) === RowKind.leftOut)) {
      store<i32>(problem.rowOfColumn + (<usize>j << 2), -1);
      store<i32>(problem.columnOfRow + (<usize>row << 2), -1);
    }
  }
  let free = 0;
  for (let row = 0; row < problem.rows; row++) {
    if (kindOf(problem, row) === RowKind.leftOut) {
      problem.constantRows--;
    } else if (load<i32>(problem.columnOfRow + (<usize>row << 2)) < 0) {
      store<i32>(problem.freeRows + (<usize>free << 2), row);
      free++;
    }
  }
  problem.freeRowCount = free;
}

/** How many of the free rows are not constant. */
export function freeOrdinaryRows(problem: Problem): i32 {
  let count = 0;
  for (let k = 0; k < problem.freeRowCount; k++) {
    count += <i32>(kindOf(problem, load<i32>(problem.freeRows + (<usize>k << 2))) === RowKind.ordinary);
  }
  return count;
}

export function listFreeColumns(problem: Problem): void {
  let free = 0;
  for (let j = 0; j < problem.columns; j++) {
    if (load<i32>(problem.rowOfColumn + (<usize>j << 2)) < 0 && load<f64>(problem.prices + (<usize>j << 3)) < Infinity) {
      store<i32>(problem.freeColumns + (<usize>free << 2), j);
      free++;
    }
  }
  problem.freeColumnCount = free;
}
