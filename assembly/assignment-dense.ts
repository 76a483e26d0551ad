// Linear sum assignment over the whole matrix: one shortest augmenting path from a free row.
import { augmentTo } from "./assignment-pairs";
import { BLOCK, Problem } from "./assignment-problem";
import { Halves } from "./halves";

/**
 * Dijkstra from `start` to the nearest free column, then the change of prices and the augmentation. Distances are relative: the
 * start row's own price is a constant that cancels. Answers false when no free column can be reached (every way crosses a forbidden
 * pair).
 *
 * A scanned column has the price +Infinity until the end, so the vector loop needs no mask for it. `sink` is the nearest free
 * column so far: columns that are no nearer are not stored. Ties: the lowest column index is scanned first, and the first free
 * column found at the shortest distance is the one taken.
 */
export function densePhase<T>(problem: Problem, start: i32): bool {
  const prices = problem.prices;
  scanFirst<T>(problem, start);
  problem.denseScans++;
  nearestFree(problem);

  let scanned = 0;
  for (;;) {
    const nearest = nearestOpen(problem);
    if (!(nearest < problem.sinkDistance)) break;
    const column = takeOpen(problem, nearest);
    const row = load<i32>(problem.rowOfColumn + (<usize>column << 2));
    const price = load<f64>(prices + (<usize>column << 3));
    const at = problem.matrix + <usize>row * <usize>problem.columns * sizeof<T>();
    store<i32>(problem.scannedColumns + (<usize>scanned << 2), column);
    store<f64>(problem.scannedPrices + (<usize>scanned << 3), price);
    store<f64>(problem.scannedDistances + (<usize>scanned << 3), nearest);
    scanned++;
    problem.denseScans++;
    store<f64>(prices + (<usize>column << 3), Infinity);
    relaxAll<T>(problem, row, at, nearest + (<f64>load<T>(at + <usize>column * sizeof<T>()) - price));
  }

  const sink = problem.sink;
  for (let k = 0; k < scanned; k++) {
    // Rounding can bring the sink a hair nearer than a column scanned before: prices still must not fall.
    const rise = sink < 0 ? 0 : max<f64>(0, problem.sinkDistance - load<f64>(problem.scannedDistances + (<usize>k << 3)));
    const price = load<f64>(problem.scannedPrices + (<usize>k << 3)) + rise;
    store<f64>(prices + (<usize>load<i32>(problem.scannedColumns + (<usize>k << 2)) << 3), price);
  }
  if (sink < 0) return false;
  augmentTo<T>(problem, start, sink);
  return true;
}

/** The first of the nearest free columns as the sink, −1 where none can be reached. */
function nearestFree(problem: Problem): void {
  let sink = -1;
  let sinkDistance: f64 = Infinity;
  for (let k = 0, count = problem.freeColumnCount; k < count; k++) {
    const j = load<i32>(problem.freeColumns + (<usize>k << 2));
    const distance = load<f64>(problem.distances + (<usize>j << 3));
    if (distance < sinkDistance) {
      sinkDistance = distance;
      sink = j;
    }
  }
  problem.sink = sink;
  problem.sinkDistance = sinkDistance;
}

/** The distance of the nearest column that is not scanned. */
function nearestOpen(problem: Problem): f64 {
  const blockMinima = problem.blockMinima;
  const blocks = (problem.columns + BLOCK - 1) / BLOCK;
  let minima = v128.load(blockMinima);
  for (let b = 1; b < blocks; b++) minima = f64x2.pmin(minima, v128.load(blockMinima + (<usize>b << 4)));
  return min<f64>(f64x2.extract_lane(minima, 0), f64x2.extract_lane(minima, 1));
}

/** The first column at that distance, which from now on is no longer open. */
function takeOpen(problem: Problem, nearest: f64): i32 {
  const blockMinima = problem.blockMinima;
  const nearests = f64x2.splat(nearest);
  let at16 = blockMinima;
  while (!v128.any_true(f64x2.eq(v128.load(at16), nearests))) at16 += 16;
  const firstColumn = <i32>((at16 - blockMinima) >> 4) * BLOCK;
  const block = problem.distances + (<usize>firstColumn << 3);
  const column = firstColumn + firstWith(block, nearests);
  store<f64>(problem.distances + (<usize>column << 3), Infinity);
  v128.store(at16, blockMinimum(block));
  return column;
}

/** Brings columns nearer that are so through `row`, whose numbers are `at`: at `base` − its number + their price. */
function relaxAll<T>(problem: Problem, row: i32, at: usize, base: f64): void {
  const columns = problem.columns;
  const prices = problem.prices;
  const distances = problem.distances;
  const blockMinima = problem.blockMinima;
  const predecessors = problem.predecessors;
  const rowOfColumn = problem.rowOfColumn;
  let sink = problem.sink;
  let sinkDistance = problem.sinkDistance;
  let j = 0;
  const bases = f64x2.splat(base);
  const rowsOf = i32x4.splat(row);
  let bounds = f64x2.splat(sinkDistance);
  // Eight columns a step: with four, gradients of 128 units took 3 % longer.
  for (; j + 8 <= columns; j += 8) {
    const eight = <usize>j << 3;
    let a: v128, b: v128, c: v128, d: v128;
    if (sizeof<T>() === 4) {
      const first = v128.load(at + (<usize>j << 2));
      const second = v128.load(at + (<usize>j << 2), 16);
      a = Halves.low(first);
      b = Halves.high(first);
      c = Halves.low(second);
      d = Halves.high(second);
    } else {
      a = v128.load(at + eight);
      b = v128.load(at + eight, 16);
      c = v128.load(at + eight, 32);
      d = v128.load(at + eight, 48);
    }
    a = f64x2.add(f64x2.sub(v128.load(prices + eight), a), bases);
    b = f64x2.add(f64x2.sub(v128.load(prices + eight, 16), b), bases);
    c = f64x2.add(f64x2.sub(v128.load(prices + eight, 32), c), bases);
    d = f64x2.add(f64x2.sub(v128.load(prices + eight, 48), d), bases);
    const nearerA = f64x2.lt(a, f64x2.pmin(bounds, v128.load(distances + eight)));
    const nearerB = f64x2.lt(b, f64x2.pmin(bounds, v128.load(distances + eight, 16)));
    const nearerC = f64x2.lt(c, f64x2.pmin(bounds, v128.load(distances + eight, 32)));
    const nearerD = f64x2.lt(d, f64x2.pmin(bounds, v128.load(distances + eight, 48)));
    if (v128.any_true(v128.or(v128.or(nearerA, nearerB), v128.or(nearerC, nearerD)))) {
      const four = <usize>j << 2;
      const minimum = blockMinima + (<usize>(j / BLOCK) << 4);
      const newA = v128.bitselect(a, v128.load(distances + eight), nearerA);
      const newB = v128.bitselect(b, v128.load(distances + eight, 16), nearerB);
      const newC = v128.bitselect(c, v128.load(distances + eight, 32), nearerC);
      const newD = v128.bitselect(d, v128.load(distances + eight, 48), nearerD);
      v128.store(distances + eight, newA);
      v128.store(distances + eight, newB, 16);
      v128.store(distances + eight, newC, 32);
      v128.store(distances + eight, newD, 48);
      v128.store(minimum, f64x2.pmin(v128.load(minimum), f64x2.pmin(f64x2.pmin(newA, newB), f64x2.pmin(newC, newD))));
      const nearerLow = v128.shuffle<i32>(nearerA, nearerB, 0, 2, 4, 6);
      const nearerHigh = v128.shuffle<i32>(nearerC, nearerD, 0, 2, 4, 6);
      v128.store(predecessors + four, v128.bitselect(rowsOf, v128.load(predecessors + four), nearerLow));
      v128.store(predecessors + four, v128.bitselect(rowsOf, v128.load(predecessors + four, 16), nearerHigh), 16);
      // Owners of −1 have their sign bit set.
      let bits = i32x4.bitmask(v128.and(v128.load(rowOfColumn + four), nearerLow)) |
        (i32x4.bitmask(v128.and(v128.load(rowOfColumn + four, 16), nearerHigh)) << 4);
      if (bits !== 0) {
        do {
          const k = j + ctz<i32>(bits);
          bits &= bits - 1;
          const distance = load<f64>(distances + (<usize>k << 3));
          if (distance < sinkDistance) {
            sinkDistance = distance;
            sink = k;
          }
        } while (bits !== 0);
        bounds = f64x2.splat(sinkDistance);
      }
    }
  }
  for (; j < columns; j++) {
    const distance = load<f64>(prices + (<usize>j << 3)) - <f64>load<T>(at + <usize>j * sizeof<T>()) + base;
    if (distance < load<f64>(distances + (<usize>j << 3)) && distance < sinkDistance) {
      store<f64>(distances + (<usize>j << 3), distance);
      store<i32>(predecessors + (<usize>j << 2), row);
      const minimum = blockMinima + (<usize>(j / BLOCK) << 4);
      if (distance < load<f64>(minimum)) store<f64>(minimum, distance);
      if (load<i32>(rowOfColumn + (<usize>j << 2)) < 0) {
        sinkDistance = distance;
        sink = j;
      }
    }
  }
  problem.sink = sink;
  problem.sinkDistance = sinkDistance;
}

/** Distances of all columns from the start row, which none can undercut yet: plain stores and block minima. */
function scanFirst<T>(problem: Problem, start: i32): void {
  const columns = problem.columns;
  const prices = problem.prices;
  const distances = problem.distances;
  const at = problem.matrix + <usize>start * <usize>columns * sizeof<T>();
  const starts = i32x4.splat(start);
  let j = 0;
  for (; j + 4 <= columns; j += 4) {
    const eight = <usize>j << 3;
    let low: v128, high: v128;
    if (sizeof<T>() === 4) {
      const values = v128.load(at + (<usize>j << 2));
      low = Halves.low(values);
      high = Halves.high(values);
    } else {
      low = v128.load(at + eight);
      high = v128.load(at + eight, 16);
    }
    v128.store(distances + eight, f64x2.sub(v128.load(prices + eight), low));
    v128.store(distances + eight, f64x2.sub(v128.load(prices + eight, 16), high), 16);
    v128.store(problem.predecessors + (<usize>j << 2), starts);
  }
  for (; j < columns; j++) {
    store<f64>(distances + (<usize>j << 3), load<f64>(prices + (<usize>j << 3)) - <f64>load<T>(at + <usize>j * sizeof<T>()));
    store<i32>(problem.predecessors + (<usize>j << 2), start);
  }
  const blocks = (columns + BLOCK - 1) / BLOCK;
  for (; j < blocks * BLOCK; j++) store<f64>(distances + (<usize>j << 3), Infinity);
  for (let b = 0; b < blocks; b++) {
    v128.store(problem.blockMinima + (<usize>b << 4), blockMinimum(distances + (<usize>(b * BLOCK) << 3)));
  }
}

/**
 * The first place of a block that holds this distance. All places are compared at once: a branch for each would end in a
 * misprediction (5 % of a solve at n = 128).
 */
function firstWith(block: usize, distance: v128): i32 {
  let places: u32 = 0;
  for (let k: u32 = 0; k < <u32>BLOCK; k += 8) {
    const at = block + (<usize>k << 3);
    const low = v128.shuffle<i32>(f64x2.eq(v128.load(at), distance), f64x2.eq(v128.load(at, 16), distance), 0, 2, 4, 6);
    const high = v128.shuffle<i32>(f64x2.eq(v128.load(at, 32), distance), f64x2.eq(v128.load(at, 48), distance), 0, 2, 4, 6);
    places |= (<u32>i32x4.bitmask(low) | (<u32>i32x4.bitmask(high) << 4)) << k;
  }
  return <i32>ctz<u32>(places);
}

/** The least of the even and of the odd places of a block. */
function blockMinimum(at: usize): v128 {
  let a = v128.load(at);
  let b = v128.load(at, 16);
  for (let k: usize = 32; k < <usize>BLOCK << 3; k += 32) {
    a = f64x2.pmin(a, v128.load(at + k));
    b = f64x2.pmin(b, v128.load(at + k, 16));
  }
  return f64x2.pmin(a, b);
}
