// Linear sum assignment, maximising: the state of one solve, and where it lies in the caller's scratch block.
//
// Prices v_j (f64) live on columns. A row's price is never stored while solving: an assigned row's is s_i,a(i) − v_a(i),
// so assigned pairs are exactly tight. Optimality: slack_ij = u_i + v_j − s_ij ≥ 0 everywhere, 0 on assigned pairs.
// Prices of columns only rise, and a column that was once assigned stays assigned.
//
// Nothing is kept between calls outside of the scratch block, so two solves may be interleaved.
import { Heap } from "./indexed-heap";

/** Columns listed at first. */
export const LIST: i32 = 16;
/** Columns listed at first, at most but for ties, where prices are nearly right. */
export const SHORT_LIST: i32 = 8;
/** List entries a row, on the average, by which lists may grow. */
const MORE: i32 = 32;
/** A list never grows beyond this: from here on scanning the row of the matrix costs no more. */
export const LONGEST_LIST: i32 = 128;
/** Candidates that `collect` holds before it drops all but the best. */
const BUFFER: i32 = 4 * LONGEST_LIST;
/** Columns in one block of the dense solver's two-level minimum. */
export const BLOCK: i32 = 32;

/** What a row is, a byte each in the caller's `rowKinds`. */
export const enum RowKind {
  ordinary,
  /** All its values are equal: it takes what the others leave. */
  constant,
  /** Constant, and left out: the caller gives it a constant column, whose price is +Infinity during the solve. */
  leftOut,
}

@unmanaged
export class Problem {
  matrix: usize; // [rows, columns] of f32 or f64, row-major
  rows: i32;
  columns: i32; // rows ≤ columns
  prices: usize; // f64 [columns], the caller's
  columnOfRow: usize; // i32 [rows], the caller's; −1: free
  rowOfColumn: usize; // i32 [columns]; −1: free
  rowKinds: usize; // u8 [rows], the caller's: RowKind
  freeColumns: usize; // i32 [columns], ascending
  freeColumnCount: i32;
  freeRows: usize; // i32 [rows]
  freeRowCount: i32;
  nextFreeRow: i32;
  keptFreeRows: i32;
  rowPrices: usize; // f64 [rows], the caller's: of the rows before, where the prices are nearly right; else 0
  drift: f64; // Σ of how far the first rows' prices are from these, over `driftRows` rows
  driftRows: i32;
  sparse: i32; // 1: candidate lists, 0: the whole matrix
  stage: i32; // see Stage

  // One shortest path
  distances: usize; // f64 [columns rounded up to BLOCK]
  predecessors: usize; // i32 [columns]: the row from which a column was reached
  scannedColumns: usize; // i32 [columns]
  scannedDistances: usize; // f64 [columns]
  // dense only
  blockMinima: usize; // f64x2 [columns / BLOCK]: the least distance in even and in odd places of a block
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
  constantRows: i32; // not left out
  tiedRows: i32; // with two equally good columns at the starting prices
  coarse: bool; // the prices come from a coarse round
  reverted: bool;
  repeatedRows: i32; // the same as one before
  chain: i32; // steps of the present chain of bids, which began with a free row
  chainLimit: i32; // of these
  scanLimit: i32; // of `scans`, from which on lists do not pay
  pathScans: i32; // `scans` and `pops` when the paths began
  pathPops: i32;
  givenUp: bool; // lists have turned out not to pay, in the middle of a path
  popLimit: i32; // the same of `pops`
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

/** Chunks of a row: a partial one counts. */
export function chunksOf<T>(columns: i32): i32 {
  return (columns * sizeof<T>() + 127) >> 7;
}

function align(bytes: usize): usize {
  return (bytes + 15) & ~(<usize>15);
}

/** Bytes of scratch that `assignmentOpen` lays out for a matrix of elements of 4 or 8 bytes. */
export function assignmentScratchBytes(rows: i32, columns: i32, elementBytes: i32, sparse: i32): usize {
  return layOut(0, rows, columns, elementBytes, sparse);
}

/** The layout of the scratch block: answers its size, and writes the pointers when `base` is not 0. */
export function layOut(base: usize, rows: i32, columns: i32, elementBytes: i32, sparse: i32): usize {
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
  at += padded / BLOCK * 4;
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

export function kindOf(problem: Problem, row: i32): RowKind {
  return load<u8>(problem.rowKinds + row);
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
