// Linear sum assignment, maximising: the stages of a solve.
//
// Every kernel takes one scratch block, laid out by `assignmentOpen` (see assignment-problem.ts). Work is done in slices
// so that the caller can abort between them.
import { densePhase } from "./assignment-dense";
import { greedy, lowerFreePrices, reduceAllRows } from "./assignment-dense-start";
import { freeAll, freeOrdinaryRows, leaveOut, listFreeColumns } from "./assignment-pairs";
import { LIST, Problem, layOut, raisePrice } from "./assignment-problem";
import { buildLists, buildNewLists, reduceRows, takeAllBest } from "./assignment-reduction";
import { sparsePhase } from "./assignment-sparse";
import { Heap } from "./indexed-heap";

/**
 * Steps of augmenting row reduction per row: in the exact round, and in the coarse one. Similarities of gradients take 70 to 100 of
 * the coarse ones at n = 4096; with only 32 the round was undone, and the dense solver took 3 to 5 s instead of 0.25.
 */
const REDUCTIONS: i32 = 8;
const COARSE_REDUCTIONS: i32 = 128;
/** The exact ones after a warm start: the paths of its few free rows are short. */
const WARM_REDUCTIONS: i32 = 4;
/**
 * After a warm start a chain of more than rows / WARM_CHAIN bids is a price war. The path of the row that began it is then cheaper:
 * 0.85 → 0.71 ms with 1 % drift at n = 2048, rank 10.
 */
const WARM_CHAIN: i32 = 16;
/**
 * How many whole rows of the matrix may be scanned, per row: in all before the paths, in the paths, and in the paths where the
 * coarse round was undone. Beyond that lists do not pay, and the dense solver takes over.
 */
const SCANS: i32 = 24;
const PATH_SCANS: i32 = 8;
const REVERTED_SCANS: i32 = 2;
/**
 * A coarse round is run where more than rows / this are still free after the greedy choice; otherwise the prices are good already.
 * Those of a warm start are better than a coarse round's until much has moved: 3.8 → 3.3 ms with 1 % drift at n = 2048 on rank 10,
 * 3.1 → 2.6 on rank 784. With 10 % drift the round is worth twice its time.
 */
const WORTH_A_COARSE_ROUND: i32 = 16;
const WARM_WORTH_A_COARSE_ROUND: i32 = 4;
/** No coarse round where more than rows / this have two best columns that tie: they would outbid one another. */
const TOO_MANY_TIES: i32 = 16;
/**
 * No coarse round where more than rows / this are constant: it raises prices that the paths of these must lower again (dead rows at
 * n = 256: 0.7 ms instead of 0.5).
 */
const TOO_MANY_CONSTANTS: i32 = 16;
/** Where more than rows / this are still free after it, the coarse round has made things worse, and is undone. */
const COARSE_HAS_FAILED: i32 = 8;
/**
 * Up to SMALL rows, scanning a whole row costs little more than scanning its list, and lists are given up early, for the dense
 * solver (distances on a line at n = 256: 6.0 → 1.8 ms). The coarse round is given up when it lags (see `coarseIsSlow`), takes more
 * than SMALL_COARSE_REDUCTIONS steps a row (gradients take 11 to 36; distances, sums of vectors and near duplicates take all they
 * get) or leaves more than rows / SMALL_COARSE_HAS_FAILED free. Later, lists are given up when more than rows / SMALL_FREE are left
 * to the paths, or when the paths look from more than SMALL_POPS rows for each row of the matrix.
 */
const SMALL: i32 = 512;
const SMALL_COARSE_REDUCTIONS: i32 = 56;
const SMALL_COARSE_HAS_FAILED: i32 = 4;
const SMALL_FREE: i32 = 8;
const SMALL_POPS: i32 = 2;
/** Rows and steps between two looks at the budget. */
const LISTS_A_SLICE: i32 = 64;
const STEPS_A_SLICE: i32 = 1024;

/** What `advance` does next. */
const enum Stage {
  lists,
  coarse,
  reduction,
  paths,
}

/**
 * Prepares `scratchPtr` (of `assignmentScratchBytes`) for a solve. Prices must hold the starting duals; of a warm
 * start, `rowPricesPtr` those of the rows, else it is 0.
 */
export function assignmentOpen(
  scratchPtr: usize,
  matrixPtr: usize,
  rows: i32,
  columns: i32,
  elementBytes: i32,
  sparse: i32,
  rowPricesPtr: usize,
  pricesPtr: usize,
  columnOfRowPtr: usize,
  rowKindsPtr: usize,
): void {
  const problem = changetype<Problem>(scratchPtr);
  memory.fill(scratchPtr, 0, offsetof<Problem>());
  layOut(scratchPtr, rows, columns, elementBytes, sparse);
  problem.matrix = matrixPtr;
  problem.rows = rows;
  problem.columns = columns;
  problem.prices = pricesPtr;
  problem.columnOfRow = columnOfRowPtr;
  problem.rowKinds = rowKindsPtr;
  problem.sparse = sparse;
  problem.rowPrices = rowPricesPtr;
  memory.fill(columnOfRowPtr, 0xff, <usize>rows << 2);
  memory.fill(problem.rowOfColumn, 0xff, <usize>columns << 2);
  if (sparse === 0) return;
  problem.listUsed = rows * LIST;
  problem.scanLimit = SCANS * rows;
  problem.popLimit = i32.MAX_VALUE;
  const heap = changetype<Heap>(problem.heap);
  heap.size = 0;
  memory.fill(heap.places, 0xff, <usize>columns << 2);
  memory.fill(problem.searches, 0xff, <usize>rows << 2);
  for (let j = 0; j < columns; j++) {
    store<f64>(problem.distances + (<usize>j << 3), Infinity);
    raisePrice(problem, j, load<f64>(pricesPtr + (<usize>j << 3)));
  }
}

/** What has been done so far, in elements of the matrix looked at. */
function work(problem: Problem): i64 {
  return (<i64>problem.scans + <i64>problem.denseScans) * <i64>problem.columns +
    ((<i64>problem.pops + <i64>problem.reductions) << 5);
}

/**
 * Whether the coarse round of few rows lags behind what similarities of gradients do. They have served 0.22 of the free rows after
 * the first steps and 1/44 more with each step a row. From 0.8 on a round is never slow: whoever has come that far finishes (with
 * 0.92, upper triangles at n = 512 were given up on near the end: 7.0 → 12.7 ms).
 *
 * A row that was given up on for its price war counts against one that was served; constant rows, which do not bid, do not.
 */
function coarseIsSlow(problem: Problem): bool {
  const steps = <f64>problem.reductions / <f64>problem.rows;
  const served = problem.nextFreeRow - 2 * max<i32>(0, problem.keptFreeRows - problem.constantRows);
  return steps >= 4 && <f64>served < min<f64>(0.8, 0.22 + steps / 44) * <f64>problem.freeRowCount;
}

/** Gives up on lists: the dense solver starts anew from the prices before the coarse round. */
function startDense(problem: Problem): void {
  memory.copy(problem.prices, problem.savedPrices, <usize>problem.columns << 3);
  freeAll(problem);
  problem.nextFreeRow = 0;
  problem.sparse = 0;
  problem.stage = Stage.lists;
}

/** On with paths over the whole matrix, from the prices and pairs reached. The free columns of a rectangle have to stay at 0. */
function goDense<T>(problem: Problem): void {
  problem.sparse = 0;
  if (problem.rows === problem.columns) lowerFreePrices<T>(problem);
}

/**
 * Goes on for about `budget` elements of work. Answers 0 when every row has its column, 1 when there is more to do,
 * −1 − row when that row cannot have a column.
 */
function advance<T>(problem: Problem, budget: i32): i32 {
  const end = work(problem) + <i64>budget;
  do {
    switch (problem.stage) {
      case Stage.lists: {
        if (problem.sparse !== 0) listSome<T>(problem);
        else prepareDense<T>(problem);
        break;
      }
      case Stage.coarse: {
        bidSome<T>(problem);
        break;
      }
      case Stage.reduction: {
        reduceSome<T>(problem);
        break;
      }
      default: {
        if (problem.nextFreeRow === problem.freeRowCount) return 0;
        const row = load<i32>(problem.freeRows + (<usize>problem.nextFreeRow << 2));
        if (!augmentFrom<T>(problem, row)) return -1 - row;
      }
    }
  } while (work(problem) < end);
  return 1;
}

/** Everything that precedes the paths of the dense solver. */
function prepareDense<T>(problem: Problem): void {
  greedy<T>(problem);
  reduceAllRows<T>(problem);
  listFreeColumns(problem);
  goDense<T>(problem);
  problem.stage = Stage.paths;
}

/** First lists of some rows; after the last, which round follows. */
function listSome<T>(problem: Problem): void {
  const rows = problem.rows;
  buildLists<T>(problem, min<i32>(rows, problem.nextList + LISTS_A_SLICE));
  if (problem.nextList < rows) return;
  // Prices that are raised on columns which then stay free would not be optimal duals of a rectangular problem, and
  // columns that go to constant rows must have the least price.
  const coarse =
    !problem.reverted && rows === problem.columns &&
    problem.freeRowCount > rows / (problem.rowPrices !== 0 ? WARM_WORTH_A_COARSE_ROUND : WORTH_A_COARSE_ROUND) &&
    problem.tiedRows < rows / TOO_MANY_TIES && problem.constantRows < rows / TOO_MANY_CONSTANTS;
  if (coarse) {
    problem.coarse = true;
    memory.copy(problem.savedPrices, problem.prices, <usize>problem.columns << 3);
    problem.reductionsLeft = (rows > SMALL ? COARSE_REDUCTIONS : SMALL_COARSE_REDUCTIONS) * rows;
    // A chain of as many bids as there are rows is a price war, and the path of the row that began it is cheaper (heavy tails
    // at n = 1024: 25 → 20 ms; an upper triangle at n = 256: 3.0 → 1.5).
    problem.chainLimit = rows;
    problem.stage = Stage.coarse;
  } else {
    problem.reductionsLeft = (problem.rowPrices !== 0 ? WARM_REDUCTIONS : REDUCTIONS) * rows;
    problem.chainLimit = problem.rowPrices !== 0 ? max<i32>(1, rows / WARM_CHAIN) : i32.MAX_VALUE;
    problem.stage = Stage.reduction;
  }
}

/**
 * Some steps of the coarse round, an auction with steps of at least epsilon: good prices cheaply, but not an exact assignment, so that
 * the next round starts again with them.
 */
function bidSome<T>(problem: Problem): void {
  const rows = problem.rows;
  const done = reduceRows<T>(problem, true, STEPS_A_SLICE);
  if (rows <= SMALL && (done ? problem.reductionsLeft === 0 : coarseIsSlow(problem))) {
    startDense(problem);
    return;
  }
  if (!done) return;
  freeAll(problem);
  takeAllBest<T>(problem);
  problem.reductionsLeft = REDUCTIONS * rows;
  problem.chainLimit = i32.MAX_VALUE;
  problem.stage = Stage.reduction;
}

/** Some steps of the exact row reduction; after the last, the way back to first lists or on to the paths. */
function reduceSome<T>(problem: Problem): void {
  const rows = problem.rows;
  if (!reduceRows<T>(problem, false, STEPS_A_SLICE)) return;
  const free = freeOrdinaryRows(problem);
  if (problem.coarse && free > rows / (rows > SMALL ? COARSE_HAS_FAILED : SMALL_COARSE_HAS_FAILED)) {
    // Nearly equal columns outbid one another and the prices are worse than before: back to the first ones.
    // Where even that took too many scans, lists do not pay at all.
    if (problem.scans >= problem.scanLimit || rows <= SMALL) {
      startDense(problem);
      return;
    }
    problem.coarse = false;
    problem.reverted = true;
    for (let j = 0; j < problem.columns; j++) raisePrice(problem, j, load<f64>(problem.savedPrices + (<usize>j << 3)));
    freeAll(problem);
    problem.nextList = 0;
    problem.listUsed = rows * LIST;
    problem.scanLimit += rows;
    problem.stage = Stage.lists;
    return;
  }
  listFreeColumns(problem);
  problem.pathScans = problem.scans;
  problem.pathPops = problem.pops;
  problem.scanLimit = problem.scans + (problem.reverted ? REVERTED_SCANS : PATH_SCANS) * rows;
  if (rows <= SMALL && !problem.reverted) {
    if (problem.freeRowCount > rows / SMALL_FREE) goDense<T>(problem);
    problem.popLimit = problem.pops + SMALL_POPS * rows;
  }
  problem.stage = Stage.paths;
}

/** A path from a free row, or what takes the place of lists that do not pay. Answers false where the row cannot have a column. */
function augmentFrom<T>(problem: Problem, row: i32): bool {
  if (problem.sparse !== 0 && problem.pops > problem.popLimit) goDense<T>(problem);
  if (problem.sparse !== 0) {
    if (!sparsePhase<T>(problem, row)) {
      if (!problem.givenUp) return false;
      // Lists do not pay here.
      goDense<T>(problem);
      return true;
    }
  } else if (!densePhase<T>(problem, row)) {
    return false;
  }
  problem.nextFreeRow++;
  return true;
}

/**
 * First lists of rows up to `lastRow`, in good time: while the matrix is brought in, a row is still in the cache. Answers 0
 * when a value is not finite or beyond ±limit, and the solve is to be opened again, else 1.
 */
export function assignmentListF32(scratchPtr: usize, lastRow: i32, limit: f32): i32 {
  return <i32>buildNewLists<f32>(changetype<Problem>(scratchPtr), lastRow, limit);
}

export function assignmentListF64(scratchPtr: usize, lastRow: i32, limit: f64): i32 {
  return <i32>buildNewLists<f64>(changetype<Problem>(scratchPtr), lastRow, limit);
}

/** After all first lists: rows that have become `RowKind.leftOut` lose their columns, and columns whose price is +Infinity their rows. */
export function assignmentLeaveOut(scratchPtr: usize): void {
  leaveOut(changetype<Problem>(scratchPtr));
}

export function assignmentAdvanceF32(scratchPtr: usize, budget: i32): i32 {
  return advance<f32>(changetype<Problem>(scratchPtr), budget);
}

export function assignmentAdvanceF64(scratchPtr: usize, budget: i32): i32 {
  return advance<f64>(changetype<Problem>(scratchPtr), budget);
}
