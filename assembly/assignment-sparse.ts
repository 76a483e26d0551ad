// Linear sum assignment over candidate lists: one shortest augmenting path from a free row, by Dijkstra, which looks
// beyond a row's list only when the distance reaches the bound on what is unlisted.
import { makeList } from "./assignment-lists";
import { augmentTo } from "./assignment-pairs";
import { LONGEST_LIST, Problem, raisePrice } from "./assignment-problem";
import { Heap, heapClear, heapLeastKey, heapLower, heapPop } from "./indexed-heap";
import { Halves } from "./halves";

/**
 * Whether this search has looked from a row that is the same as this one. That row was no farther away (the same
 * similarities have the same price), so nothing new can be reached from here.
 */
function searched(problem: Problem, row: i32): bool {
  const leader = load<i32>(problem.classes + (<usize>row << 2));
  return load<i32>(problem.searches + (<usize>leader << 2)) === problem.nextFreeRow;
}

function markSearched(problem: Problem, row: i32): void {
  const leader = load<i32>(problem.classes + (<usize>row << 2));
  store<i32>(problem.searches + (<usize>leader << 2), problem.nextFreeRow);
}

/** A column is reached from `row` at a distance below its old one and below the sink's. */
function reach(problem: Problem, column: i32, distance: f64, row: i32): void {
  const at = problem.distances + (<usize>column << 3);
  if (load<f64>(at) === Infinity) {
    store<i32>(problem.touched + (<usize>problem.touchedCount << 2), column);
    problem.touchedCount++;
  }
  store<f64>(at, distance);
  store<i32>(problem.predecessors + (<usize>column << 2), row);
  const owner = load<i32>(problem.rowOfColumn + (<usize>column << 2));
  if (owner < 0) {
    problem.sink = column;
    problem.sinkDistance = distance;
  } else if (!searched(problem, owner)) {
    heapLower(changetype<Heap>(problem.heap), column, distance);
  }
}

/** Relaxes the listed columns of `row`, whose price plus distance is `base`; notes from where on unlisted ones count. */
function relaxList<T>(problem: Problem, row: i32, base: f64): void {
  const start = <usize>load<i32>(problem.listStarts + (<usize>row << 2));
  const count = <usize>load<i32>(problem.listCounts + (<usize>row << 2));
  const prices = problem.prices;
  const distances = problem.distances;
  let column = problem.listColumns + (start << 2);
  let value = problem.listValues + start * sizeof<T>();
  problem.pops++;
  const keyMinusValue = problem.listKeys - problem.listValues;
  const end = column + (count << 2);
  let limit = problem.sinkDistance;
  for (; column < end; column += 4, value += sizeof<T>()) {
    if (base - <f64>load<T>(value + keyMinusValue) >= limit) break;
    const j = load<i32>(column);
    const distance = load<f64>(prices + (<usize>j << 3)) - <f64>load<T>(value) + base;
    if (distance < limit && distance < load<f64>(distances + (<usize>j << 3))) {
      reach(problem, j, distance, row);
      limit = problem.sinkDistance;
    }
  }
  const event = base - load<f64>(problem.bounds + (<usize>row << 3));
  if (event < limit) {
    const k = <usize>problem.eventCount;
    problem.eventCount++;
    store<f64>(problem.eventDistances + (k << 3), event);
    store<f64>(problem.eventBases + (k << 3), base);
    store<i32>(problem.eventRows + (k << 2), row);
    if (event < problem.nearestEvent) {
      problem.nearestEvent = event;
      problem.nearestEventAt = <i32>k;
    }
  }
}

/** Relaxes every column of the matrix's row. */
function relaxRow<T>(problem: Problem, row: i32, base: f64): void {
  const columns = problem.columns;
  const prices = problem.prices;
  const distances = problem.distances;
  const at = problem.matrix + <usize>row * <usize>columns * sizeof<T>();
  problem.scans++;
  const bases = f64x2.splat(base);
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
    const bounds = v128.load64_splat(changetype<usize>(problem) + offsetof<Problem>("sinkDistance"));
    low = f64x2.add(f64x2.sub(v128.load(prices + eight), low), bases);
    high = f64x2.add(f64x2.sub(v128.load(prices + eight, 16), high), bases);
    const nearerLow = f64x2.lt(low, f64x2.pmin(bounds, v128.load(distances + eight)));
    const nearerHigh = f64x2.lt(high, f64x2.pmin(bounds, v128.load(distances + eight, 16)));
    if (!v128.any_true(v128.or(nearerLow, nearerHigh))) continue;
    let bits = i64x2.bitmask(nearerLow) | (i64x2.bitmask(nearerHigh) << 2);
    do {
      const lane = ctz<i32>(bits);
      bits &= bits - 1;
      const distance = lane < 2
        ? lane === 0 ? f64x2.extract_lane(low, 0) : f64x2.extract_lane(low, 1)
        : lane === 2 ? f64x2.extract_lane(high, 0) : f64x2.extract_lane(high, 1);
      if (distance < problem.sinkDistance) reach(problem, j + lane, distance, row);
    } while (bits !== 0);
  }
  for (; j < columns; j++) {
    const distance = load<f64>(prices + (<usize>j << 3)) - <f64>load<T>(at + <usize>j * sizeof<T>()) + base;
    if (distance < problem.sinkDistance && distance < load<f64>(distances + (<usize>j << 3))) reach(problem, j, distance, row);
  }
}

/** The bound of a row is reached before any free column: list more of it, or give up on its list and scan the row. */
function extend<T>(problem: Problem): void {
  const at = problem.nearestEventAt;
  const row = load<i32>(problem.eventRows + (<usize>at << 2));
  const base = load<f64>(problem.eventBases + (<usize>at << 3));
  removeEvent(problem, at);
  const bound = load<f64>(problem.bounds + (<usize>row << 3));
  let capacity = load<i32>(problem.listCapacities + (<usize>row << 2));
  // Only what is nearer than the sink is of interest.
  const floor = problem.sinkDistance < Infinity ? base - problem.sinkDistance : -Infinity;
  const start = load<i32>(problem.listStarts + (<usize>row << 2));
  const count = load<i32>(problem.listCounts + (<usize>row << 2));
  // Entries that have fallen below the bound since the list was made are of no use: many of them, and a new list of
  // the same length will do; few, and the list is too short.
  let useful = 0;
  for (let k = start; k < start + count; k++) {
    const j = load<i32>(problem.listColumns + (<usize>k << 2));
    const profit = <f64>load<T>(problem.listValues + <usize>k * sizeof<T>()) - load<f64>(problem.prices + (<usize>j << 3));
    if (profit >= bound) useful++;
  }
  if (2 * useful <= count) {
    makeList<T>(problem, row, capacity, floor);
    if (load<f64>(problem.bounds + (<usize>row << 3)) < bound) {
      relaxList<T>(problem, row, base);
      return;
    }
  }
  if (2 * capacity > LONGEST_LIST || problem.listUsed + 2 * capacity > problem.listLimit) {
    relaxRow<T>(problem, row, base);
    return;
  }
  capacity *= 2;
  store<i32>(problem.listStarts + (<usize>row << 2), problem.listUsed);
  store<i32>(problem.listCapacities + (<usize>row << 2), capacity);
  problem.listUsed += capacity;
  makeList<T>(problem, row, capacity, floor);
  relaxList<T>(problem, row, base);
}

/** Takes an event out and finds the nearest of the others: a scan, because few events ever come to pass. */
function removeEvent(problem: Problem, at: i32): void {
  const last = problem.eventCount - 1;
  problem.eventCount = last;
  const distances = problem.eventDistances;
  store<f64>(distances + (<usize>at << 3), load<f64>(distances + (<usize>last << 3)));
  store<f64>(problem.eventBases + (<usize>at << 3), load<f64>(problem.eventBases + (<usize>last << 3)));
  store<i32>(problem.eventRows + (<usize>at << 2), load<i32>(problem.eventRows + (<usize>last << 2)));
  let nearest: f64 = Infinity;
  let nearestAt = 0;
  for (let k = 0; k < last; k++) {
    const distance = load<f64>(distances + (<usize>k << 3));
    if (distance < nearest) {
      nearest = distance;
      nearestAt = k;
    }
  }
  problem.nearestEvent = nearest;
  problem.nearestEventAt = nearestAt;
}

/**
 * In the paths, lists do not pay when a whole row is looked at for every fourth list, once as many as a sixteenth of all rows
 * were: a list made anew costs as much as the dense solver's looks at four rows. But of rows that are the same it looks from
 * each, and there paths over lists go on up to the general limit.
 */
const POPS_A_SCAN: i32 = 4;
const FEW: i32 = 16;

function listsPay(problem: Problem): bool {
  const scans = problem.scans - problem.pathScans;
  const few = problem.rows / FEW;
  return problem.scans < problem.scanLimit &&
    (scans <= few || problem.repeatedRows > few || scans * POPS_A_SCAN <= problem.pops - problem.pathPops);
}

/**
 * One shortest augmenting path over the lists, as `densePhase` over the matrix. Answers false when there is none, or
 * when lists do not pay (`givenUp`): nothing has then changed.
 */
export function sparsePhase<T>(problem: Problem, start: i32): bool {
  const heap = changetype<Heap>(problem.heap);
  const prices = problem.prices;
  const distances = problem.distances;
  problem.sink = -1;
  problem.sinkDistance = Infinity;
  problem.touchedCount = 0;
  problem.eventCount = 0;
  problem.nearestEvent = Infinity;
  let scanned = 0;
  markSearched(problem, start);
  relaxList<T>(problem, start, 0);
  for (;;) {
    const nearest = heap.size > 0 ? heapLeastKey(heap) : Infinity;
    if (problem.nearestEvent < nearest && problem.nearestEvent < problem.sinkDistance) {
      if (!listsPay(problem)) {
        problem.givenUp = true;
        problem.sink = -1;
        break;
      }
      extend<T>(problem);
      continue;
    }
    if (!(nearest < problem.sinkDistance)) break;
    const id = heapPop(heap);
    // Its key may be out of date when its row needed no search any more: `reach` then only lowered the distance.
    const distance = load<f64>(distances + (<usize>id << 3));
    store<f64>(distances + (<usize>id << 3), -Infinity);
    store<i32>(problem.scannedColumns + (<usize>scanned << 2), id);
    store<f64>(problem.scannedDistances + (<usize>scanned << 3), distance);
    scanned++;
    const row = load<i32>(problem.rowOfColumn + (<usize>id << 2));
    if (searched(problem, row)) continue;
    markSearched(problem, row);
    relaxList<T>(problem, row, distance + (load<f64>(problem.ownValues + (<usize>row << 3)) - load<f64>(prices + (<usize>id << 3))));
  }
  heapClear(heap);
  for (let k = 0; k < problem.touchedCount; k++) {
    const column = load<i32>(problem.touched + (<usize>k << 2));
    const distance = load<f64>(distances + (<usize>column << 3));
    store<f64>(distances + (<usize>column << 3), Infinity);
    // Columns nearer than the sink that were not worth scanning rise as well.
    if (distance < problem.sinkDistance && distance !== -Infinity && problem.sink >= 0) {
      raisePrice(problem, column, load<f64>(prices + (<usize>column << 3)) + (problem.sinkDistance - distance));
    }
  }
  if (problem.sink < 0) return false;
  for (let k = 0; k < scanned; k++) {
    const column = load<i32>(problem.scannedColumns + (<usize>k << 2));
    const rise = problem.sinkDistance - load<f64>(problem.scannedDistances + (<usize>k << 3));
    if (rise > 0) raisePrice(problem, column, load<f64>(prices + (<usize>column << 3)) + rise);
  }
  augmentTo<T>(problem, start, problem.sink);
  return true;
}
