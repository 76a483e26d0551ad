// Linear sum assignment, maximising: what the dense and the sparse solver share, and the exported surface.
//
// Prices v_j (f64) live on columns. A row's price is never stored while solving: an assigned row's is s_i,a(i) − v_a(i),
// so assigned pairs are exactly tight. Optimality: slack_ij = u_i + v_j − s_ij ≥ 0 everywhere, 0 on assigned pairs.
// Prices of columns only rise, and a column that was once assigned stays assigned.
//
// Every kernel takes one scratch block, laid out by `assignmentOpen`; nothing is kept between calls outside of it, so
// two solves may be interleaved. Work is done in slices so that the caller can abort between them.
import { densePhase } from "./assignment-dense";
import { BUFFER, LIST, buildLists, chunksOf, freeAll, reduceRows, sparsePhase, takeAllBest } from "./assignment-sparse";
import { Heap } from "./indexed-heap";

/** List entries a row, on the average, by which lists may grow. */
const MORE: i32 = 32;
/**
 * Steps of augmenting row reduction, a row: exact ones, and those of the coarse round. Similarities of gradients take
 * 70 to 100 of these at n = 4096; with only 32 the round was undone and the dense solver took 3 to 5 s instead of 0.25.
 */
const REDUCTIONS: i32 = 8;
const COARSE_REDUCTIONS: i32 = 128;
/**
 * Looks at whole rows of the matrix, a row: in all before the paths, in the paths, and in the paths where the coarse
 * round was undone. Beyond these lists do not pay, and the dense solver takes over.
 */
const SCANS: i32 = 24;
const PATH_SCANS: i32 = 8;
const REVERTED_SCANS: i32 = 2;
/** With fewer than one free row in so many after the greedy choice the prices are good already (warm starts). */
const WORTH_A_COARSE_ROUND: i32 = 16;
/** With more than one row in so many whose two best columns tie, a coarse round would have them outbid one another. */
const TOO_MANY_TIES: i32 = 16;
/** With more than one row in so many still free after it, the coarse round has made things worse. */
const COARSE_HAS_FAILED: i32 = 8;
/** Rows and steps between two looks at the budget. */
const LISTS_A_SLICE: i32 = 64;
const STEPS_A_SLICE: i32 = 1024;

/** What `advance` does next. */
export const enum Stage {
  lists,
  coarse,
  reduction,
  paths,
}

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
  freeColumns: usize; // i32 [columns], ascending
  freeColumnCount: i32;
  freeRows: usize; // i32 [rows]
  freeRowCount: i32;
  nextFreeRow: i32;
  keptFreeRows: i32;
  sparse: i32; // 1: candidate lists, 0: the whole matrix
  stage: i32; // see Stage

  // One shortest path
  distances: usize; // f64 [columns rounded up to BLOCK]
  predecessors: usize; // i32 [columns]: the row from which a column was reached
  scannedColumns: usize; // i32 [columns]
  scannedDistances: usize; // f64 [columns]
  // dense only
  blockMinima: usize; // f64 [columns / BLOCK]
  scannedPrices: usize; // f64 [columns]

  // sparse only
  lowPrices: usize; // f32 [columns]: prices rounded down, for f32 matrices
  listStarts: usize; // i32 [rows]: where a row's list begins
  listCounts: usize; // i32 [rows]
  listCapacities: usize; // i32 [rows]
  listColumns: usize; // i32 [listLimit]
  listValues: usize; // f32 or f64 [listLimit]
  listKeys: usize; // as listValues: profits when the list was made, rounded up; descending
  listUsed: i32;
  listLimit: i32;
  bounds: usize; // f64 [rows]: no unlisted column of the row has a greater s_ij − v_j
  hashes: usize; // i32 [rows]
  classes: usize; // i32 [rows]: the first row that is the same
  searches: usize; // i32 [rows]: the last search (by its place among the free rows) that looked from a row of this class
  ownValues: usize; // f64 [rows]: similarity of the assigned pair
  heap: usize; // Heap over columns
  nextList: i32; // rows before this one have their first list
  tiedRows: i32; // with two equally good columns at the starting prices
  coarse: bool; // the prices come from a coarse round
  reverted: bool;
  scanLimit: i32; // of `scans`, from which on lists do not pay
  savedPrices: usize; // f64 [columns]: the starting prices
  // Rows whose unlisted columns count from some distance on
  eventDistances: usize; // f64 [rows]
  eventBases: usize; // f64 [rows]
  eventRows: usize; // i32 [rows]
  eventCount: i32;
  nearestEventAt: i32;
  nearestEvent: f64;
  touched: usize; // i32 [columns]: columns whose distance must be reset
  touchedCount: i32;
  sink: i32;
  sinkDistance: f64;
  // collecting candidates
  bufferProfits: usize;
  bufferColumns: usize;
  selection: usize;
  chunkMaxima: usize; // a vector for every chunk of a row, of up to four rows
  places: usize; // u8 [BUFFER]
  taken: usize; // u8 [BUFFER]
  bufferCount: i32;
  // what `lookAt` found
  firstProfit: f64;
  secondProfit: f64;
  bestColumn: i32;
  // counters, for the caps and for measuring
  scans: i32;
  reductions: i32;
  reductionsLeft: i32;
  pops: i32;
  denseScans: i32;
}

function align(bytes: usize): usize {
  return (bytes + 15) & ~(<usize>15);
}

/** Bytes of scratch that `assignmentOpen` lays out for a matrix of elements of 4 or 8 bytes. */
export function assignmentScratchBytes(rows: i32, columns: i32, elementBytes: i32, sparse: i32): usize {
  return layOut(0, rows, columns, elementBytes, sparse);
}

/** The layout of the scratch block: answers its size, and writes the pointers when `base` is not 0. */
function layOut(base: usize, rows: i32, columns: i32, elementBytes: i32, sparse: i32): usize {
  const write = base !== 0;
  const problem = changetype<Problem>(base);
  const padded = (((<usize>columns + BLOCK - 1) / BLOCK) * BLOCK) << 2;
  const rowWords = align(<usize>rows << 2);
  let at = base + align(offsetof<Problem>());
  if (write) problem.distances = at;
  at += padded * 2;
  if (write) problem.scannedDistances = at;
  at += padded * 2;
  if (write) problem.predecessors = at;
  at += padded;
  if (write) problem.scannedColumns = at;
  at += padded;
  if (write) problem.rowOfColumn = at;
  at += padded;
  if (write) problem.freeColumns = at;
  at += padded;
  if (write) problem.freeRows = at;
  at += rowWords;
  const fork = at;
  if (write) problem.blockMinima = at;
  at += align(padded / BLOCK * 2);
  if (write) problem.scannedPrices = at;
  at += padded * 2;
  if (sparse === 0) return at - base;
  // The dense solver only takes over when the sparse one has given up: they share what follows.
  const denseEnd = at;
  at = fork;
  const entries = <usize>rows * (LIST + MORE);
  if (write) problem.listLimit = <i32>entries;
  if (write) problem.lowPrices = at;
  at += padded;
  if (write) problem.listStarts = at;
  at += rowWords;
  if (write) problem.listCounts = at;
  at += rowWords;
  if (write) problem.listCapacities = at;
  at += rowWords;
  if (write) problem.bounds = at;
  at += rowWords * 2;
  if (write) problem.hashes = at;
  at += rowWords;
  if (write) problem.classes = at;
  at += rowWords;
  if (write) problem.searches = at;
  at += rowWords;
  if (write) problem.ownValues = at;
  at += rowWords * 2;
  if (write) problem.eventDistances = at;
  at += rowWords * 2;
  if (write) problem.eventBases = at;
  at += rowWords * 2;
  if (write) problem.eventRows = at;
  at += rowWords;
  if (write) problem.touched = at;
  at += padded;
  if (write) problem.savedPrices = at;
  at += padded * 2;
  if (write) problem.bufferProfits = at;
  at += BUFFER << 3;
  if (write) problem.selection = at;
  at += BUFFER << 3;
  if (write) problem.bufferColumns = at;
  at += BUFFER << 2;
  if (write) problem.places = at;
  at += BUFFER;
  if (write) problem.taken = at;
  at += BUFFER;
  if (write) problem.chunkMaxima = at;
  at += <usize>chunksOf<f64>(columns) << 6; // of four rows
  const heap = changetype<Heap>(at);
  if (write) problem.heap = at;
  at += align(offsetof<Heap>());
  if (write) heap.keys = at;
  at += padded * 2;
  if (write) heap.ids = at;
  at += padded;
  if (write) heap.places = at;
  at += padded;
  if (write) problem.listColumns = at;
  at += align(entries << 2);
  if (write) problem.listValues = at;
  at += align(entries * elementBytes);
  if (write) problem.listKeys = at;
  at += align(entries * elementBytes);
  return max<usize>(at, denseEnd) - base;
}

/** Prepares `scratchPtr` (of `assignmentScratchBytes`) for a solve. Prices must hold the starting duals. */
export function assignmentOpen(
  scratchPtr: usize,
  matrixPtr: usize,
  rows: i32,
  columns: i32,
  elementBytes: i32,
  sparse: i32,
  pricesPtr: usize,
  columnOfRowPtr: usize,
): void {
  const problem = changetype<Problem>(scratchPtr);
  memory.fill(scratchPtr, 0, offsetof<Problem>());
  layOut(scratchPtr, rows, columns, elementBytes, sparse);
  problem.matrix = matrixPtr;
  problem.rows = rows;
  problem.columns = columns;
  problem.prices = pricesPtr;
  problem.columnOfRow = columnOfRowPtr;
  problem.sparse = sparse;
  memory.fill(columnOfRowPtr, 0xff, <usize>rows << 2);
  memory.fill(problem.rowOfColumn, 0xff, <usize>columns << 2);
  if (sparse === 0) return;
  problem.listUsed = rows * LIST;
  problem.scanLimit = SCANS * rows;
  const heap = changetype<Heap>(problem.heap);
  heap.size = 0;
  memory.fill(heap.places, 0xff, <usize>columns << 2);
  memory.fill(problem.searches, 0xff, <usize>rows << 2);
  for (let j = 0; j < columns; j++) {
    store<f64>(problem.distances + (<usize>j << 3), Infinity);
    raisePrice(problem, j, load<f64>(pricesPtr + (<usize>j << 3)));
  }
}

/** Sets the price of a column, and its f32 twin that is never above it. */
export function raisePrice(problem: Problem, column: i32, price: f64): void {
  store<f64>(problem.prices + (<usize>column << 3), price);
  let low = <f32>price;
  if (<f64>low > price) {
    const bits = reinterpret<i32>(low);
    low = reinterpret<f32>(bits > 0 ? bits - 1 : bits === 0 ? 0x80000001 : bits + 1);
  }
  store<f32>(problem.lowPrices + (<usize>column << 2), low);
}

/**
 * Raises maxima [columns] (of T, −Infinity before the first slice) to the column maxima of these rows.
 * Answers 1 when every value is finite and within ±limit, else 0.
 */
function columnMaxima<T>(matrixPtr: usize, rows: i32, columns: i32, maximaPtr: usize, limit: T): i32 {
  const rowBytes = <usize>columns * sizeof<T>();
  // Four rows at a time: one load and store of the maxima for four of the matrix.
  const vectorBytes = rows >= 4 ? rowBytes & ~(<usize>15) : 0;
  const magnitude = sizeof<T>() === 4 ? i32x4.splat(0x7fffffff) : i64x2.splat(i64.MAX_VALUE);
  const limits = sizeof<T>() === 4 ? f32x4.splat(<f32>limit) : f64x2.splat(<f64>limit);
  let largest = i32x4.splat(0);
  let within = true;
  for (let i = 0; i < rows; ) {
    const four = i + 4 <= rows;
    const row = matrixPtr + <usize>i * rowBytes;
    let at: usize = 0;
    if (four) {
      for (; at < vectorBytes; at += 16) {
        const place = row + at;
        const a = v128.load(place);
        const b = v128.load(place + rowBytes);
        const c = v128.load(place + 2 * rowBytes);
        const d = v128.load(place + 3 * rowBytes);
        const old = v128.load(maximaPtr + at);
        if (sizeof<T>() === 4) {
          // Magnitudes of floats order like unsigned integers, NaN above all.
          largest = i32x4.max_u(largest, i32x4.max_u(
            i32x4.max_u(v128.and(a, magnitude), v128.and(b, magnitude)),
            i32x4.max_u(v128.and(c, magnitude), v128.and(d, magnitude)),
          ));
          v128.store(maximaPtr + at, f32x4.pmax(old, f32x4.pmax(f32x4.pmax(a, b), f32x4.pmax(c, d))));
        } else {
          const lowHalf = v128.and(f64x2.le(v128.and(a, magnitude), limits), f64x2.le(v128.and(b, magnitude), limits));
          const highHalf = v128.and(f64x2.le(v128.and(c, magnitude), limits), f64x2.le(v128.and(d, magnitude), limits));
          largest = v128.or(largest, v128.not(v128.and(lowHalf, highHalf)));
          v128.store(maximaPtr + at, f64x2.pmax(old, f64x2.pmax(f64x2.pmax(a, b), f64x2.pmax(c, d))));
        }
      }
    }
    const end = four ? i + 4 : i + 1;
    for (; i < end; i++) {
      const base = matrixPtr + <usize>i * rowBytes;
      for (let rest = at; rest < rowBytes; rest += sizeof<T>()) {
        const value = load<T>(base + rest);
        if (!(abs<T>(value) <= limit)) within = false;
        if (value > load<T>(maximaPtr + rest)) store<T>(maximaPtr + rest, value);
      }
    }
  }
  if (sizeof<T>() === 4) return within && i32x4.all_true(f32x4.le(largest, limits)) ? 1 : 0;
  return within && !v128.any_true(largest) ? 1 : 0;
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

/** Gives every row its best column at the starting prices when that is free; the other rows become free rows. */
function greedy<T>(problem: Problem): void {
  const rows = problem.rows;
  const columns = problem.columns;
  const prices = problem.prices;
  let free = 0;
  for (let i = 0; i < rows; i++) {
    const row = problem.matrix + <usize>i * <usize>columns * sizeof<T>();
    let best: f64 = -Infinity;
    let bestColumn = -1;
    let taken = false;
    for (let j = 0; j < columns; j++) {
      const value = <f64>load<T>(row + <usize>j * sizeof<T>()) - load<f64>(prices + (<usize>j << 3));
      if (value < best) continue;
      if (value > best) {
        best = value;
        bestColumn = j;
        taken = load<i32>(problem.rowOfColumn + (<usize>j << 2)) >= 0;
      } else if (taken && load<i32>(problem.rowOfColumn + (<usize>j << 2)) < 0) {
        bestColumn = j;
        taken = false;
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
}

function listFreeColumns(problem: Problem): void {
  let free = 0;
  for (let j = 0; j < problem.columns; j++) {
    if (load<i32>(problem.rowOfColumn + (<usize>j << 2)) < 0) {
      store<i32>(problem.freeColumns + (<usize>free << 2), j);
      free++;
    }
  }
  problem.freeColumnCount = free;
}

/** The greatest minus the least finite value of `samples` rows, evenly spread, to `rangesPtr` (f64). */
function rowRanges<T>(matrixPtr: usize, rows: i32, columns: i32, samples: i32, rangesPtr: usize): void {
  for (let k = 0; k < samples; k++) {
    const row = matrixPtr + <usize>(<i64>k * <i64>rows / <i64>samples) * <usize>columns * sizeof<T>();
    let greatest: f64 = -Infinity;
    let least: f64 = Infinity;
    for (let j = 0; j < columns; j++) {
      const value = <f64>load<T>(row + <usize>j * sizeof<T>());
      if (value === -Infinity) continue;
      greatest = max<f64>(greatest, value);
      least = min<f64>(least, value);
    }
    store<f64>(rangesPtr + (<usize>k << 3), greatest - least);
  }
}

export function assignmentRowRangesF32(matrixPtr: usize, rows: i32, columns: i32, samples: i32, rangesPtr: usize): void {
  rowRanges<f32>(matrixPtr, rows, columns, samples, rangesPtr);
}

export function assignmentRowRangesF64(matrixPtr: usize, rows: i32, columns: i32, samples: i32, rangesPtr: usize): void {
  rowRanges<f64>(matrixPtr, rows, columns, samples, rangesPtr);
}

/** What has been done so far, in elements of the matrix looked at. */
function work(problem: Problem): i64 {
  return (<i64>problem.scans + <i64>problem.denseScans) * <i64>problem.columns +
    ((<i64>problem.pops + <i64>problem.reductions) << 5);
}

/**
 * Goes on for about `budget` elements of work. Answers 0 when every row has its column, 1 when there is more to do,
 * −1 − row when that row cannot have a column. In the order of the stages:
 */
function advance<T>(problem: Problem, budget: i32): i32 {
  const end = work(problem) + <i64>budget;
  do {
    const rows = problem.rows;
    switch (problem.stage) {
      // First lists. (Dense: everything that precedes the paths.)
      case Stage.lists: {
        if (problem.sparse === 0) {
          greedy<T>(problem);
          listFreeColumns(problem);
          problem.stage = Stage.paths;
          break;
        }
        if (problem.nextList === 0) memory.fill(changetype<Heap>(problem.heap).keys, 0xff, <usize>problem.columns << 3);
        const last = min<i32>(rows, problem.nextList + LISTS_A_SLICE);
        buildLists<T>(problem, problem.nextList, last);
        problem.nextList = last;
        if (last < rows) break;
        // Prices that are raised on columns which then stay free would not be optimal duals of a rectangular problem.
        const coarse =
          !problem.reverted && rows === problem.columns && problem.freeRowCount > rows / WORTH_A_COARSE_ROUND &&
          problem.tiedRows < rows / TOO_MANY_TIES;
        if (coarse) {
          problem.coarse = true;
          memory.copy(problem.savedPrices, problem.prices, <usize>problem.columns << 3);
          problem.reductionsLeft = COARSE_REDUCTIONS * rows;
          problem.stage = Stage.coarse;
        } else {
          problem.reductionsLeft = REDUCTIONS * rows;
          problem.stage = Stage.reduction;
        }
        break;
      }
      // Auction with steps of at least epsilon: good prices cheaply, but not an exact assignment: start again with them.
      case Stage.coarse: {
        if (!reduceRows<T>(problem, true, STEPS_A_SLICE)) break;
        freeAll(problem);
        takeAllBest<T>(problem);
        problem.reductionsLeft = REDUCTIONS * rows;
        problem.stage = Stage.reduction;
        break;
      }
      case Stage.reduction: {
        if (!reduceRows<T>(problem, false, STEPS_A_SLICE)) break;
        if (problem.coarse && problem.freeRowCount > rows / COARSE_HAS_FAILED) {
          // Nearly equal columns outbid one another and the prices are worse than before: back to the first ones.
          // Where even that took too many scans, lists do not pay at all.
          const giveUp = problem.scans >= problem.scanLimit;
          problem.coarse = false;
          problem.reverted = true;
          problem.sparse = giveUp ? 0 : 1;
          for (let j = 0; j < problem.columns; j++) {
            const price = load<f64>(problem.savedPrices + (<usize>j << 3));
            if (giveUp) store<f64>(problem.prices + (<usize>j << 3), price);
            else raisePrice(problem, j, price);
          }
          freeAll(problem);
          problem.nextList = 0;
          problem.listUsed = rows * LIST;
          problem.scanLimit += rows;
          problem.stage = Stage.lists;
          break;
        }
        listFreeColumns(problem);
        problem.scanLimit = problem.scans + (problem.reverted ? REVERTED_SCANS : PATH_SCANS) * rows;
        problem.stage = Stage.paths;
        break;
      }
      default: {
        if (problem.nextFreeRow === problem.freeRowCount) return 0;
        const row = load<i32>(problem.freeRows + (<usize>problem.nextFreeRow << 2));
        if (problem.sparse !== 0) {
          if (!sparsePhase<T>(problem, row)) {
            if (problem.scans < problem.scanLimit) return -1 - row;
            // Lists do not pay here: on with the whole matrix, from the prices and pairs reached.
            problem.sparse = 0;
            break;
          }
        } else if (!densePhase<T>(problem, row)) {
          return -1 - row;
        }
        problem.nextFreeRow++;
      }
    }
  } while (work(problem) < end);
  return 1;
}

export function assignmentAdvanceF32(scratchPtr: usize, budget: i32): i32 {
  return advance<f32>(changetype<Problem>(scratchPtr), budget);
}

export function assignmentAdvanceF64(scratchPtr: usize, budget: i32): i32 {
  return advance<f64>(changetype<Problem>(scratchPtr), budget);
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
