// Linear sum assignment over the whole matrix, before the paths: every row's best column where that is free, then
// augmenting row reduction.
import { Problem, RowKind, kindOf } from "./assignment-problem";
import { profitOf, profitsOfTwo } from "./assignment-profits";
import { Halves } from "./halves";

/**
 * Steps of the reduction, a row on average. Gradients of 128 units after 1, 3 and 10 steps of training, times scipy: none 2.3, 2.4 and
 * 2.4; four 2.3, 2.9 and 2.9; eight 2.5, 3.5 and 4.0.
 */
const REDUCTIONS: i32 = 8;

/** The greatest profit of a row. */
function greatest<T>(row: usize, prices: usize, columns: i32): f64 {
  let a = f64x2.splat(-Infinity), b = a, c = a, d = a;
  let j = 0;
  for (; j + 8 <= columns; j += 8) {
    a = f64x2.pmax(a, profitsOfTwo<T>(row, prices, j));
    b = f64x2.pmax(b, profitsOfTwo<T>(row, prices, j + 2));
    c = f64x2.pmax(c, profitsOfTwo<T>(row, prices, j + 4));
    d = f64x2.pmax(d, profitsOfTwo<T>(row, prices, j + 6));
  }
  a = f64x2.pmax(f64x2.pmax(a, b), f64x2.pmax(c, d));
  let best = max<f64>(f64x2.extract_lane(a, 0), f64x2.extract_lane(a, 1));
  for (; j < columns; j++) best = max<f64>(best, profitOf<T>(row, prices, j));
  return best;
}

/** The first free column of this profit, −1 when there is none. */
function freeWith<T>(problem: Problem, row: usize, best: f64): i32 {
  const columns = problem.columns;
  const prices = problem.prices;
  const bests = f64x2.splat(best);
  for (let j = 0; j < columns; j += 8) {
    if (j + 8 <= columns) {
      const low = v128.or(f64x2.eq(profitsOfTwo<T>(row, prices, j), bests), f64x2.eq(profitsOfTwo<T>(row, prices, j + 2), bests));
      const high = v128.or(f64x2.eq(profitsOfTwo<T>(row, prices, j + 4), bests), f64x2.eq(profitsOfTwo<T>(row, prices, j + 6), bests));
      if (!v128.any_true(v128.or(low, high))) continue;
    }
    for (let k = j, end = min<i32>(j + 8, columns); k < end; k++) {
      if (profitOf<T>(row, prices, k) === best && load<i32>(problem.rowOfColumn + (<usize>k << 2)) < 0) return k;
    }
  }
  return -1;
}

/** As `assign`, which also keeps the row's value: nothing over the whole matrix reads it, nor has it room there. */
function pair(problem: Problem, row: i32, column: i32): void {
  store<i32>(problem.rowOfColumn + (<usize>column << 2), row);
  store<i32>(problem.columnOfRow + (<usize>row << 2), column);
}

/** Gives every row its best column at the starting prices when that is free; the other rows become free rows. */
export function greedy<T>(problem: Problem): void {
  const columns = problem.columns;
  let free = 0;
  for (let i = 0; i < problem.rows; i++) {
    if (kindOf(problem, i) === RowKind.leftOut) continue;
    const row = problem.matrix + <usize>i * <usize>columns * sizeof<T>();
    const best = greatest<T>(row, problem.prices, columns);
    const column = best === -Infinity ? -1 : freeWith<T>(problem, row, best);
    if (column >= 0) {
      pair(problem, i, column);
    } else {
      store<i32>(problem.freeRows + (<usize>free << 2), i);
      free++;
    }
  }
  problem.freeRowCount = free;
}

/** The two greatest profits of a row, as `firstProfit` and `secondProfit`: equal where two columns have the greatest. */
function lookAtAll<T>(problem: Problem, row: usize): void {
  const columns = problem.columns;
  const prices = problem.prices;
  let a = f64x2.splat(-Infinity), b = a, secondA = a, secondB = a;
  let j = 0;
  for (; j + 4 <= columns; j += 4) {
    const x = profitsOfTwo<T>(row, prices, j);
    const y = profitsOfTwo<T>(row, prices, j + 2);
    secondA = f64x2.pmax(secondA, f64x2.pmin(a, x));
    secondB = f64x2.pmax(secondB, f64x2.pmin(b, y));
    a = f64x2.pmax(a, x);
    b = f64x2.pmax(b, y);
  }
  secondA = f64x2.pmax(f64x2.pmax(secondA, secondB), f64x2.pmin(a, b));
  a = f64x2.pmax(a, b);
  const a0 = f64x2.extract_lane(a, 0), a1 = f64x2.extract_lane(a, 1);
  let first = max<f64>(a0, a1);
  let second = max<f64>(min<f64>(a0, a1), max<f64>(f64x2.extract_lane(secondA, 0), f64x2.extract_lane(secondA, 1)));
  for (; j < columns; j++) {
    const x = profitOf<T>(row, prices, j);
    second = max<f64>(second, min<f64>(first, x));
    first = max<f64>(first, x);
  }
  problem.firstProfit = first;
  problem.secondProfit = second;
}

/** The first column of this profit. */
function columnWith<T>(problem: Problem, row: usize, best: f64): i32 {
  const prices = problem.prices;
  const bests = f64x2.splat(best);
  const last = problem.columns - 4;
  let j = 0;
  while (
    j <= last &&
    !v128.any_true(v128.or(f64x2.eq(profitsOfTwo<T>(row, prices, j), bests), f64x2.eq(profitsOfTwo<T>(row, prices, j + 2), bests)))
  ) j += 4;
  while (profitOf<T>(row, prices, j) !== best) j++;
  return j;
}

/**
 * Augmenting row reduction, as over the lists (`reduceRows` in assignment-reduction.ts): a free row takes its best column and
 * raises its price until the second best is as good; the row it displaced goes on at once. Of several best columns a free
 * one is taken, else the row is left to the paths, as is a row with one allowed column.
 */
export function reduceAllRows<T>(problem: Problem): void {
  const freeRows = problem.freeRows;
  let left = REDUCTIONS * problem.rows;
  let kept = 0;
  for (let next = 0; next < problem.freeRowCount; next++) {
    let row = load<i32>(freeRows + (<usize>next << 2));
    while (row >= 0 && left > 0) {
      left--;
      problem.denseScans++;
      const at = problem.matrix + <usize>row * <usize>problem.columns * sizeof<T>();
      lookAtAll<T>(problem, at);
      const first = problem.firstProfit;
      const second = problem.secondProfit;
      if (second === -Infinity) break;
      const column = first > second ? columnWith<T>(problem, at, first) : freeWith<T>(problem, at, first);
      if (column < 0) break;
      const price = problem.prices + (<usize>column << 3);
      store<f64>(price, load<f64>(price) + (first - second));
      const owner = load<i32>(problem.rowOfColumn + (<usize>column << 2));
      pair(problem, row, column);
      if (owner >= 0) store<i32>(problem.columnOfRow + (<usize>owner << 2), -1);
      row = owner;
    }
    if (row >= 0) {
      store<i32>(freeRows + (<usize>kept << 2), row);
      kept++;
    }
  }
  problem.freeRowCount = kept;
}

/**
 * Lowers the price of every free column of a square matrix until a row finds it as good as what it has. Nobody bid for it, so its starting
 * price is a guess, and a path to it would have to look at every column that is nearer for that reason alone.
 */
export function lowerFreePrices<T>(problem: Problem): void {
  const columns = problem.columns;
  const prices = problem.prices;
  const worth = problem.distances;
  for (let j = 0; j < columns; j++) store<f64>(worth + (<usize>j << 3), -Infinity);
  for (let i = 0; i < problem.rows; i++) {
    if (kindOf(problem, i) === RowKind.leftOut) continue;
    const row = problem.matrix + <usize>i * <usize>columns * sizeof<T>();
    const own = load<i32>(problem.columnOfRow + (<usize>i << 2));
    const has = own >= 0 ? profitOf<T>(row, prices, own) : greatest<T>(row, prices, columns);
    if (has === -Infinity) continue;
    const hasTwo = f64x2.splat(has);
    let j = 0;
    for (; j + 4 <= columns; j += 4) {
      const at = row + <usize>j * sizeof<T>();
      const place = worth + (<usize>j << 3);
      let low: v128, high: v128;
      if (sizeof<T>() === 4) {
        const values = v128.load(at);
        low = Halves.low(values);
        high = Halves.high(values);
      } else {
        low = v128.load(at);
        high = v128.load(at, 16);
      }
      v128.store(place, f64x2.pmax(v128.load(place), f64x2.sub(low, hasTwo)));
      v128.store(place, f64x2.pmax(v128.load(place, 16), f64x2.sub(high, hasTwo)), 16);
    }
    for (; j < columns; j++) {
      const place = worth + (<usize>j << 3);
      store<f64>(place, max<f64>(load<f64>(place), <f64>load<T>(row + <usize>j * sizeof<T>()) - has));
    }
  }
  for (let k = 0; k < problem.freeColumnCount; k++) {
    const j = <usize>load<i32>(problem.freeColumns + (<usize>k << 2)) << 3;
    const most = load<f64>(worth + j);
    if (most > -Infinity && most < load<f64>(prices + j)) store<f64>(prices + j, most);
  }
}
