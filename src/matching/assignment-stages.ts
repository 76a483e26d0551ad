/** The stages of an assignment: a look over the matrix, starting prices, constants left out, and the kernels' solve in slices. */
import type { Pieces } from '../core/breather.ts';
import type { Core, Scratch } from '../core/core.ts';
import { InvalidArgumentError } from '../core/errors.ts';
import { leaveOutConstants, takeInConstants } from './assignment-constants.ts';
import { LARGEST_SPARSE_F32, largestMagnitude, lookOver, lookScratchBytes, matrixOf } from './assignment-matrix.ts';
import type { AssignmentMethod, AssignmentState, TypedKernels, Upload } from './assignment-matrix.ts';
import { mongePrices } from './assignment-monge.ts';
import { oneDimensionalPrices } from './assignment-one-dimensional.ts';
import { backgroundOf, followLevels, halfMaximaFit, moreDeadRows, spansDecades } from './assignment-start.ts';

/**
 * Prices that prove an assignment optimal: maximising, rows[i] + columns[j] ≥ similarity[i, j] everywhere (≤ when
 * minimising) with equality on assigned pairs, and 0 for whatever stays unassigned; all up to f64 rounding.
 */
export interface Duals {
  /** [rows] */
  readonly rows: Float64Array;
  /** [columns] */
  readonly columns: Float64Array;
}

/** Matrix elements a piece may touch: some milliseconds. */
export const SLICE_ELEMENTS = 4 * 1024 * 1024;

/** Up to this many rows the dense solver alone is as fast: lists have a price, too. */
const DENSE_ROWS = 192;
/** The same where more rows than columns are dead: their lists tell nothing (90 % of 256 rows: 0.30 → 0.16 ms). */
const DENSE_ROWS_MOSTLY_DEAD = 512;
/** The same of matrices that are mostly one number (3 % of Gaussian numbers at 256: 0.35 → 0.2 ms, at 512 0.76 → 0.87). */
const DENSE_ROWS_WITH_BACKGROUND = 320;

/** Rows that try out the starting prices. */
const SAMPLES = 32;

/**
 * Duals so many times the similarities are of no similar problem: those of the problem itself are at most some 2^15 times them. What f64
 * subtracts from larger ones is rounded to nothing of use: from 2^43 on assignments were not the best, and certificates said 0.
 */
const LARGEST_WARM_SHARE = 2 ** 20;

/** 1: candidate lists, 0: the whole matrix from the start. */
function wantLists(method: AssignmentMethod, rows: number, denseRows = DENSE_ROWS): number {
  return Number(method === 'sparse' || (method === 'auto' && rows > denseRows));
}

/**
 * Whether the duals are far beyond all similarities, so that a solve had better begin without them. One similarity that is large enough
 * tells that they are not, and is mostly among the first; where all are 0, no assignment is better than another.
 */
function dwarfs({ rows, columns }: Duals, { data }: Upload): boolean {
  let largest = 0;
  for (const duals of [rows, columns]) for (let k = 0; k < duals.length; k++) largest = Math.max(largest, Math.abs(duals[k] as number));
  const least = largest / LARGEST_WARM_SHARE;
  let zeros = true;
  for (let k = 0; k < data.length; k++) {
    const magnitude = Math.abs(data[k] as number);
    if (magnitude === Infinity) continue;
    if (magnitude >= least) return false;
    if (magnitude > 0) zeros = false;
  }
  return !zeros;
}

/** What is known of a solve before it is given memory. */
interface MatrixOnHeap extends Pick<AssignmentState, 'matrixPtr' | 'rows' | 'columns' | 'elementBytes' | 'method'> {
  /** Whether it starts from a caller's prices. */
  readonly warm: boolean;
}

/** The state of a solve around a matrix on the heap, in `scratch`. */
export function allocate(
  core: Core, scratch: Scratch, { matrixPtr, rows, columns, elementBytes, method, warm }: MatrixOnHeap,
): AssignmentState {
  const pricesPtr = scratch.f64(columns, 'assignment prices');
  return {
    rows,
    columns,
    elementBytes,
    matrixPtr,
    pricesPtr,
    rowPricesPtr: warm ? scratch.f64(rows, 'assignment prices of rows') : 0,
    maximaPtr: scratch.bytes(columns * elementBytes, 'column maxima'),
    columnOfRowPtr: scratch.i32(rows, 'assignment'),
    rowKindsPtr: scratch.bytes(rows, 'kinds of rows'),
    method,
    lookPtr: scratch.bytes(lookScratchBytes(columns, elementBytes), 'look over the similarities'),
    scratchPtr: scratch.bytes(
      core.kernels.assignmentScratchBytes(rows, columns, elementBytes, wantLists(method, rows)) >>> 0,
      'assignment scratch',
    ),
  };
}

/**
 * Prices for a square matrix about which nothing is known but its column maxima. @returns up to how many rows the dense
 * solver alone serves it better.
 */
function startingPrices(
  core: Core,
  kernels: TypedKernels,
  state: AssignmentState,
  matrix: Float32Array | Float64Array,
  ordinary: boolean,
): number {
  const { rows, columns, matrixPtr, scratchPtr } = state;
  const prices = core.f64(state.pricesPtr, columns);
  const maxima = state.elementBytes === 8 ? core.f64(state.maximaPtr, columns) : core.f32(state.maximaPtr, columns);
  const known = ordinary ? (oneDimensionalPrices(matrix, columns) ?? mongePrices(matrix, columns)) : undefined;
  for (let j = 0; j < columns; j++) {
    const maximum = maxima[j] as number;
    if (maximum === -Infinity) throw infeasible(`column ${j} is forbidden to every row`);
    prices[j] = known === undefined ? maximum / 2 : (known[j] as number);
  }
  // From such prices hardly a row has to look further, and lists would cost more: minus the least of indices at 1024 11 → 1.3 ms,
  // products of two vectors 2.2 → 1.5.
  if (known !== undefined) return Infinity;
  const samples = Math.min(SAMPLES, rows);
  kernels.sampleRows(matrixPtr, rows, columns, samples, scratchPtr);
  const told = core.f64(scratchPtr, 2 * samples + 1 + columns);
  const ranges = told.subarray(0, samples);
  const background = backgroundOf(matrix, ranges, maxima);
  if (!halfMaximaFit(ranges, maxima) || spansDecades(matrix, ranges) || background !== 'none') {
    prices.fill(0);
    return moreDeadRows(ranges, maxima) ? DENSE_ROWS_MOSTLY_DEAD : background === 'most' ? DENSE_ROWS_WITH_BACKGROUND : DENSE_ROWS;
  }
  const sums = { rows: told.subarray(samples, 2 * samples), squares: told[2 * samples] as number, columns: told.subarray(2 * samples + 1) };
  followLevels(prices, maxima, sums);
  return DENSE_ROWS;
}

/** Opens a solve from the prices as they stand. */
function open(kernels: TypedKernels, state: AssignmentState, lists: number): void {
  const { rows, columns, elementBytes, matrixPtr, scratchPtr, pricesPtr, rowPricesPtr, columnOfRowPtr, rowKindsPtr } = state;
  kernels.open(scratchPtr, matrixPtr, rows, columns, elementBytes, lists, rowPricesPtr, pricesPtr, columnOfRowPtr, rowKindsPtr);
}

/** Goes on with what is open until all rows but those left out have a column. */
function* advance(kernels: TypedKernels, state: AssignmentState): Pieces<void> {
  for (;;) {
    yield;
    const left = kernels.advance(state.scratchPtr, SLICE_ELEMENTS);
    if (left < 0) throw infeasible(`no way to give row ${-1 - left} a column`);
    if (left === 0) return;
  }
}

/**
 * Looks the matrix over and pairs rows and columns; prices prove it. The matrix is maximised, rows ≤ columns. Between two pieces the heap
 * may grow under other work: views of it are taken anew after each.
 * @throws what `linearSumAssignment` does once arguments are checked.
 */
export function* assignRows(
  core: Core, kernels: TypedKernels, given: AssignmentState, bring: (first: number, last: number) => void, upload: Upload,
  givenStart: Duals | undefined,
): Pieces<void> {
  const { rows, columns } = given;
  const wide = given.elementBytes === 8;
  const warm = givenStart !== undefined && !dwarfs(givenStart, upload);
  const warmStart = warm ? givenStart : undefined;
  const state = warm ? given : { ...given, rowPricesPtr: 0 };
  const sparsePrices = wide || !(warmStart?.columns ?? []).some((price) => Math.abs(price) > LARGEST_SPARSE_F32);
  // Prices that are known beforehand: lists are made while the matrix is brought in.
  let listed = false;
  const listUpTo = (last: number, limit: number): boolean => {
    if (!listed) open(kernels, state, 1);
    listed = true;
    return kernels.list(state.scratchPtr, last, limit) === 1;
  };
  if (warmStart !== undefined) {
    core.f64(state.pricesPtr, columns).set(warmStart.columns);
    core.f64(state.rowPricesPtr, rows).set(warmStart.rows);
  }
  const early = warm && sparsePrices && wantLists(state.method, rows) === 1;
  const look = yield* lookOver(core, kernels, state, bring, early ? listUpTo : undefined);
  const largest = look.ordinary ? 0 : largestMagnitude(upload);
  if (look.settled || rows < columns) core.f64(state.pricesPtr, columns).fill(0);
  if (look.settled || rows === 0) return;
  const denseRows = rows === columns && !warm ? startingPrices(core, kernels, state, matrixOf(core, state), look.ordinary) : DENSE_ROWS;
  const sparse = sparsePrices && (wide || largest <= LARGEST_SPARSE_F32);
  const listsFor = (rest: number): number => (sparse ? wantLists(state.method, rest, denseRows) : 0);
  const pairs = leaveOutConstants(core, state, look.ordinary ? look.constantColumns : []);
  const lists = listsFor(rows - pairs.rows.length);
  if (!listed || !look.ordinary || lists === 0) open(kernels, state, lists);
  else if (pairs.rows.length > 0) core.kernels.assignmentLeaveOut(state.scratchPtr);
  yield* advance(kernels, state);
  if (takeInConstants(core, state, matrixOf(core, state), pairs)) return;
  open(kernels, state, listsFor(rows));
  yield* advance(kernels, state);
}

function infeasible(got: string): InvalidArgumentError {
  return new InvalidArgumentError({
    field: 'similarity',
    expected: 'a complete assignment that avoids the forbidden pairs',
    got,
  });
}
