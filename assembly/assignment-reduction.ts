// Linear sum assignment over candidate lists, before the paths: every row's first list and its best column where that
// is free, then augmenting row reduction, in the coarse round as an auction.
import { scanChunks, scanNewChunks } from "./assignment-candidates";
import { classify } from "./assignment-classes";
import { lookAt, makeFirstList, makeList } from "./assignment-lists";
import { assign } from "./assignment-pairs";
import { Heap } from "./indexed-heap";
import { LIST, Problem, RowKind, chunksOf, kindOf, raisePrice } from "./assignment-problem";

/** First lists for the next rows, up to `lastRow`, which have been looked at before. */
export function buildLists<T>(problem: Problem, lastRow: i32): void {
  while (problem.nextList < lastRow) {
    const row = problem.nextList;
    if (kindOf(problem, row) === RowKind.leftOut) {
      listRows<T>(problem, 1);
      continue;
    }
    const rows = row + 4 <= lastRow ? 4 : 1;
    scanChunks<T>(problem, row, rows);
    listRows<T>(problem, rows);
  }
}

/** The same for rows that are new. Answers false when a value is not finite or beyond ±limit. */
export function buildNewLists<T>(problem: Problem, lastRow: i32, limit: T): bool {
  while (problem.nextList < lastRow) {
    const row = problem.nextList;
    const rows = row + 4 <= lastRow ? 4 : 1;
    if (!scanNewChunks<T>(problem, row, rows, limit)) return false;
    listRows<T>(problem, rows);
  }
  return true;
}

/**
 * First lists for the next `rows` rows, whose chunk maxima are at hand; each takes its best column when that is free,
 * else it joins the free rows.
 */
function listRows<T>(problem: Problem, rows: i32): void {
  const firstRow = problem.nextList;
  // Of the classes, which are found on the way.
  if (firstRow === 0) memory.fill(changetype<Heap>(problem.heap).keys, 0xff, <usize>problem.columns << 3);
  problem.nextList = firstRow + rows;
  let maximaPtr = problem.chunkMaxima;
  for (let row = firstRow; row < firstRow + rows; row++, maximaPtr += <usize>chunksOf<T>(problem.columns) << 4) {
    store<i32>(problem.listStarts + (<usize>row << 2), row * LIST);
    store<i32>(problem.listCapacities + (<usize>row << 2), LIST);
    const kind = kindOf(problem, row);
    if (kind === RowKind.leftOut) continue;
    problem.constantRows += <i32>(kind === RowKind.constant);
    classify<T>(problem, row, maximaPtr);
    makeFirstList<T>(problem, row, maximaPtr);
    lookAt<T>(problem, row);
    problem.repeatedRows += <i32>(load<i32>(problem.classes + (<usize>row << 2)) !== row);
    // Rows that are the same count once: dead units tie with themselves only.
    if (problem.firstProfit === problem.secondProfit && load<i32>(problem.classes + (<usize>row << 2)) === row) problem.tiedRows++;
    takeBest<T>(problem, row);
  }
}

/** After `lookAt`: the row takes its best column when that is free and surely the best, else it joins the free rows. */
function takeBest<T>(problem: Problem, row: i32): void {
  const column = problem.bestColumn;
  if (
    column >= 0 &&
    load<i32>(problem.rowOfColumn + (<usize>column << 2)) < 0 &&
    problem.firstProfit >= load<f64>(problem.bounds + (<usize>row << 3))
  ) {
    assign<T>(problem, row, column);
  } else {
    store<i32>(problem.freeRows + (<usize>problem.freeRowCount << 2), row);
    problem.freeRowCount++;
  }
}

/** Gives each row its best column at the present prices where that is free. */
export function takeAllBest<T>(problem: Problem): void {
  for (let row = 0; row < problem.rows; row++) {
    if (kindOf(problem, row) === RowKind.leftOut) continue;
    lookAt<T>(problem, row);
    if (problem.firstProfit < load<f64>(problem.bounds + (<usize>row << 3))) {
      makeList<T>(problem, row, load<i32>(problem.listCapacities + (<usize>row << 2)), Infinity);
      lookAt<T>(problem, row);
    }
    takeBest<T>(problem, row);
  }
}

/**
 * The step of a row's bids in the coarse round: the lead that its best column had over its unlisted ones, divided by
 * 64, then down to a power of two, with which prices of integers stay exact. Rows of small numbers take small steps.
 */
function stepOf<T>(problem: Problem, row: i32, bound: f64): f64 {
  if (bound === -Infinity) return 0;
  const key = <f64>load<T>(problem.listKeys + <usize>load<i32>(problem.listStarts + (<usize>row << 2)) * sizeof<T>());
  return reinterpret<f64>(reinterpret<i64>(max<f64>(0, key - bound) / 64) & 0x7ff0000000000000);
}

/**
 * Augmenting row reduction: a free row takes its best column, raising that column's price until the second best is as
 * good (in the coarse round by a step more than that); the row it displaced goes on at once. A chain stops at a tie;
 * everything stops when `reductionsLeft` is used up. Works through the free rows, at most `budget` steps a call, and
 * answers whether it has finished; those still free are then the free rows.
 */
export function reduceRows<T>(problem: Problem, coarse: bool, budget: i32): bool {
  const rows = problem.freeRows;
  const count = problem.freeRowCount;
  let next = problem.nextFreeRow;
  let kept = problem.keptFreeRows;
  while (next < count) {
    let row = load<i32>(rows + (<usize>next << 2));
    while (problem.reductionsLeft > 0 && problem.scans < problem.scanLimit) {
      // Constant rows want whatever is cheapest: in an auction they would outbid one another (29 of them at n = 828: 53,000 steps).
      if (coarse && kindOf(problem, row) === RowKind.constant) break;
      if (problem.chain === problem.chainLimit) break;
      if (budget-- <= 0) {
        store<i32>(rows + (<usize>next << 2), row);
        problem.nextFreeRow = next;
        problem.keptFreeRows = kept;
        return false;
      }
      problem.chain++;
      problem.reductionsLeft--;
      problem.reductions++;
      lookAt<T>(problem, row);
      let bound = load<f64>(problem.bounds + (<usize>row << 3));
      if (problem.firstProfit < bound) {
        // An unlisted column may be the best: list anew at today's prices. (When it may only be the second best, the
        // bound stands in for it: a smaller raise, but no scan; a tenth faster on rank 10.)
        makeList<T>(problem, row, load<i32>(problem.listCapacities + (<usize>row << 2)), Infinity);
        lookAt<T>(problem, row);
        bound = load<f64>(problem.bounds + (<usize>row << 3));
      }
      const column = problem.bestColumn;
      const first = problem.firstProfit;
      if (column < 0 || first < bound) break;
      const second = max<f64>(problem.secondProfit, bound);
      const owner = load<i32>(problem.rowOfColumn + (<usize>column << 2));
      const raise = first - second + (coarse ? stepOf<T>(problem, row, bound) : 0);
      if (raise > 0) {
        // A single allowed column needs no price. (A column that is taken never becomes free again: its price may rise.)
        if (second !== -Infinity) raisePrice(problem, column, load<f64>(problem.prices + (<usize>column << 3)) + raise);
        else if (owner >= 0) break;
      } else if (owner >= 0) {
        break;
      }
      assign<T>(problem, row, column);
      row = owner;
      if (row < 0) break;
      store<i32>(problem.columnOfRow + (<usize>row << 2), -1);
    }
    if (row >= 0) {
      store<i32>(rows + (<usize>kept << 2), row);
      kept++;
    }
    problem.chain = 0;
    next++;
  }
  problem.freeRowCount = kept;
  problem.nextFreeRow = 0;
  problem.keptFreeRows = 0;
  return true;
}
