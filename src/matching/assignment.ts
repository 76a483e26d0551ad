/**
 * Linear sum assignment: which column belongs to which row so that the summed similarity is largest. Exact: f64 prices
 * on f32 or f64 similarities. The kernels are `assembly/assignment*.ts`; how and why they work: `docs/assignment.md`.
 *
 * Deterministic: the result is a function of the matrix, the direction, the method and the warm start alone, the same bytes in
 * every runtime. Which of several optimal assignments is taken: `docs/assignment.md`.
 */
import { runBreathing, runThrough } from '../core/breather.ts';
import type { Pieces } from '../core/breather.ts';
import { Scratch, requireCore, type Core } from '../core/core.ts';
import { describe } from '../core/describe.ts';
import { InvalidArgumentError, LimitError, NotFiniteError } from '../core/errors.ts';
import { requireChoice, requireFlag, requireInteger, requireMembers } from '../core/require.ts';
import { limits } from '../core/limits.ts';
import { requireOptions } from '../core/options.ts';
import type { OptionNames } from '../core/options.ts';
import { LARGEST_F64, copyRows, kernelsFor, matrixOf } from './assignment-matrix.ts';
import type { AssignmentMethod, AssignmentState, TypedKernels, Upload } from './assignment-matrix.ts';
import { SLICE_ELEMENTS, allocate, assignRows } from './assignment-stages.ts';
import type { Duals } from './assignment-stages.ts';

export type { Duals } from './assignment-stages.ts';

/** Row-major similarities, [rows, columns]. */
export interface SimilarityMatrix {
  readonly rows: number;
  readonly columns: number;
  /** [rows · columns]: similarity[i, j] stands at i · columns + j. */
  readonly data: Float32Array | Float64Array;
}

const methods: readonly AssignmentMethod[] = ['auto', 'sparse', 'dense'];

/** How an assignment is solved; the result is optimal whatever is chosen. */
export interface AssignmentOptions {
  /** `sparse` works on candidate lists, `dense` on the whole matrix, `auto` (default) chooses. All are exact. */
  readonly method?: AssignmentMethod;
  /**
   * Duals of a similar problem of the same size, say the last step's. They change the time taken, not the optimal value
   * (between equally good assignments the choice may differ). Without effect on matrices that are not square, where
   * the duals of unassigned columns must start from zero, and where they are more than 2^20 times all similarities, of which their
   * rounding would leave nothing.
   */
  readonly warmStart?: Duals;
  /** Also computes `certificate`, in one more pass over the matrix. Default false. */
  readonly certify?: boolean;
  /**
   * Looked at between pieces of some milliseconds; throws its reason. Without returning to the event loop nothing of the caller's can
   * abort it meanwhile: `linearSumAssignmentAsync` returns to it.
   */
  readonly signal?: AbortSignal;
}

const heapOptionNames: OptionNames<AssignmentOptions> = { method: true, warmStart: true, certify: true, signal: true };
const optionNames: OptionNames<AssignmentOptions & { readonly maximize?: boolean }> = { ...heapOptionNames, maximize: true };

/** An optimal assignment and the prices that prove it. */
export interface AssignmentResult {
  /** Column of each row, [rows]; −1 for a row left over when there are more rows than columns. */
  readonly assignment: Int32Array;
  /** Sum of the assigned similarities, added in f64 in ascending row order. */
  readonly objective: number;
  readonly duals: Duals;
  /** Upper bound, from the duals, on how far `objective` is from the optimum: 0 but for rounding. */
  readonly certificate?: number;
}

/**
 * Solves the linear sum assignment problem exactly.
 *
 * A pair that must not be assigned is marked −Infinity when maximising, +Infinity when minimising.
 * @param options `maximize` (default true): the largest sum; false: the smallest.
 * @throws InvalidArgumentError for an option that there is not, when sizes and data disagree, or no complete assignment
 *   avoids the forbidden pairs.
 * @throws NotFiniteError for NaN or for an infinity that is not the mark of a forbidden pair.
 * @throws LimitError beyond `limits.assignmentSize` rows or columns, or for an f64 beyond ±1e300.
 * @throws OutOfMemoryError when the heap cannot take the matrix and about 1 % more.
 * @throws whatever `signal` is aborted with.
 */
export function linearSumAssignment(
  core: Core,
  similarity: SimilarityMatrix,
  options: AssignmentOptions & { readonly maximize?: boolean } = {},
): AssignmentResult {
  requireCore(core);
  const problem = requireProblem(similarity, options);
  return core.scoped((scratch) => runThrough(solveProblem(core, scratch, problem), options.signal));
}

/**
 * The same, returning to the event loop between pieces of some milliseconds, so that timers run and `signal` can be aborted. `similarity`
 * and the duals of a warm start must not change meanwhile.
 * @throws (rejects) as `linearSumAssignment`, and where the core is disposed of meanwhile. Nothing stays allocated.
 */
export async function linearSumAssignmentAsync(
  core: Core,
  similarity: SimilarityMatrix,
  options: AssignmentOptions & { readonly maximize?: boolean } = {},
): Promise<AssignmentResult> {
  requireCore(core);
  const problem = requireProblem(similarity, options);
  // Not a scope of the core, whose scopes end in the order in which they began: other work may come between.
  const scratch = new Scratch(core);
  try {
    return await runBreathing(onOpenCore(core, solveProblem(core, scratch, problem)), options.signal);
  } finally {
    if (!core.disposed) scratch.release();
  }
}

/** Pieces that end with the core; traps get their type. */
function* onOpenCore<T>(core: Core, pieces: Pieces<T>): Pieces<T> {
  for (;;) {
    if (core.disposed)
      throw new InvalidArgumentError({ field: 'core', expected: 'one that stays open until the call has ended', got: 'a disposed one' });
    const { done, value } = core.scoped(() => pieces.next());
    if (done === true) return value;
    yield;
  }
}

/** A problem as given, checked. */
interface Problem extends SimilarityMatrix {
  readonly maximize: boolean;
  readonly method: AssignmentMethod;
  readonly certify: boolean;
  readonly warmStart: Duals | undefined;
}

function requireProblem(similarity: SimilarityMatrix, options: AssignmentOptions & { readonly maximize?: boolean }): Problem {
  requireOptions('linearSumAssignment', options, optionNames);
  const { rows, columns, data } = requireMatrix(similarity);
  return {
    rows, columns, data, maximize: requireFlag('maximize', options.maximize ?? true),
    warmStart: requireWarmStart(options.warmStart, rows, columns),
    method: requireChoice('method', options.method ?? 'auto', methods), certify: requireFlag('certify', options.certify ?? false),
  };
}

/** The kernels want rows ≤ columns and the largest sum; everything else is turned into that on the way in and back. */
function* solveProblem(core: Core, scratch: Scratch, problem: Problem): Pieces<AssignmentResult> {
  const { rows, columns, data, maximize, method, certify, warmStart } = problem;
  const transposed = rows > columns;
  const kernels = kernelsFor(core, data instanceof Float64Array);
  const matrixPtr = scratch.bytes(data.byteLength, 'similarity matrix');
  const [fewer, more] = transposed ? [columns, rows] : [rows, columns];
  const state = allocate(core, scratch, {
    matrixPtr, rows: fewer, columns: more, elementBytes: data.BYTES_PER_ELEMENT, method, warm: warmStart !== undefined,
  });
  const upload = { data, rows, columns, transposed, maximize };
  const start =
    warmStart === undefined || maximize ? warmStart : { rows: warmStart.rows.map((u) => -u), columns: warmStart.columns.map((v) => -v) };
  const bring = (first: number, last: number): void => copyRows(core, kernels, state, upload, first, last);
  return turn(yield* solve(core, kernels, state, bring, upload, start, certify), transposed, maximize);
}

/**
 * The same for a square f32 similarity [n, n] that already lies on the heap, maximising, without a copy. The matrix is
 * only read. Errors as `linearSumAssignment`.
 */
export function assignOnHeap(core: Core, similarityPtr: number, n: number, options: AssignmentOptions = {}): AssignmentResult {
  requireOptions('assignOnHeap', options, heapOptionNames);
  requireInteger('similarityPtr', similarityPtr, 0, core.heapBytes);
  requireInteger('n', n, 0);
  requireSize('n', n);
  if (similarityPtr + n * n * 4 > core.heapBytes) {
    throw new InvalidArgumentError({
      field: 'similarityPtr',
      expected: `the address of ${n} × ${n} f32 on the heap`,
      got: `${similarityPtr} of ${core.heapBytes} bytes`,
    });
  }
  const warmStart = requireWarmStart(options.warmStart, n, n);
  const method = requireChoice('method', options.method ?? 'auto', methods);
  const certify = requireFlag('certify', options.certify ?? false);
  return core.scoped((scratch) => {
    const kernels = kernelsFor(core, false);
    const state = allocate(core, scratch, {
      matrixPtr: similarityPtr, rows: n, columns: n, elementBytes: 4, method, warm: warmStart !== undefined,
    });
    const matrix = { data: core.f32(similarityPtr, n * n), rows: n, columns: n, transposed: false, maximize: true };
    return runThrough(solve(core, kernels, state, () => {}, matrix, warmStart, certify), options.signal);
  });
}

/** Pairs rows and columns, and collects the result. */
function* solve(
  core: Core, kernels: TypedKernels, state: AssignmentState, bring: (first: number, last: number) => void, upload: Upload,
  warmStart: Duals | undefined, certify: boolean,
): Pieces<AssignmentResult> {
  const { rows, columns, matrixPtr, pricesPtr, columnOfRowPtr } = state;
  yield* assignRows(core, kernels, state, bring, upload, warmStart);
  const prices = core.f64(pricesPtr, columns);
  const duals: Duals = { rows: new Float64Array(rows), columns: prices.slice() };
  const assignment = core.i32(columnOfRowPtr, rows).slice();
  const matrix = matrixOf(core, state);
  // What is documented is the order of the caller's rows. A row left over is a zero, which changes no sum.
  const byColumn = upload.transposed ? new Float64Array(columns) : undefined;
  let objective = 0;
  for (let i = 0; i < rows; i++) {
    const j = assignment[i] as number;
    const value = matrix[i * columns + j] as number;
    if (byColumn === undefined) objective += value;
    else byColumn[j] = value;
    duals.rows[i] = value - (duals.columns[j] as number);
  }
  for (const value of byColumn ?? []) objective += value;
  if (!certify) return { assignment, objective, duals };
  let certificate = 0;
  const step = Math.max(1, Math.floor(SLICE_ELEMENTS / Math.max(1, columns)));
  for (let row = 0; row < rows; row += step) {
    yield;
    certificate += kernels.certify(matrixPtr, row, Math.min(rows, row + step), columns, pricesPtr, columnOfRowPtr);
  }
  return { assignment, objective, duals, certificate };
}

/** Undoes the transposition and the sign, for the caller's view. */
function turn(result: AssignmentResult, transposed: boolean, maximize: boolean): AssignmentResult {
  let { assignment, objective } = result;
  let { rows, columns } = result.duals;
  if (!maximize) {
    // 0 − x, not −x: no negative zeros for callers that print or hash.
    objective = 0 - objective;
    rows = rows.map((u) => 0 - u);
    columns = columns.map((v) => 0 - v);
  }
  if (transposed) {
    const inverse = new Int32Array(columns.length).fill(-1);
    for (let i = 0; i < assignment.length; i++) inverse[assignment[i] as number] = i;
    assignment = inverse;
    [rows, columns] = [columns, rows];
  }
  const turned = { assignment, objective, duals: { rows, columns } };
  return result.certificate === undefined ? turned : { ...turned, certificate: result.certificate };
}

function requireSize(field: string, size: number): void {
  if (size > limits.assignmentSize) {
    throw new LimitError({ field, expected: `at most limits.assignmentSize = ${limits.assignmentSize}`, got: `${size}` });
  }
}

function requireMatrix(similarity: SimilarityMatrix): SimilarityMatrix {
  requireMembers('similarity', similarity, ['rows', 'columns', 'data']);
  const { rows, columns, data } = similarity;
  requireInteger('similarity.rows', rows, 0);
  requireInteger('similarity.columns', columns, 0);
  requireSize('similarity.rows', rows);
  requireSize('similarity.columns', columns);
  if (!(data instanceof Float32Array || data instanceof Float64Array) || data.length !== rows * columns) {
    throw new InvalidArgumentError({
      field: 'similarity.data',
      expected: `a Float32Array or Float64Array of ${rows} × ${columns} = ${rows * columns} elements`,
      got: data instanceof Float32Array || data instanceof Float64Array ? `${data.length} elements` : describe(data),
    });
  }
  return similarity;
}

/** The warm start to use: checked always, used only for square matrices. */
function requireWarmStart(duals: Duals | undefined, rows: number, columns: number): Duals | undefined {
  if (duals === undefined) return undefined;
  requireMembers('warmStart', duals, ['rows', 'columns']);
  for (const [side, size] of [['rows', rows], ['columns', columns]] as const) {
    const values = duals[side];
    if (!(values instanceof Float64Array) || values.length !== size) {
      throw new InvalidArgumentError({
        field: `warmStart.${side}`,
        expected: `a Float64Array of ${size} elements`,
        got: values instanceof Float64Array ? `${values.length} elements` : describe(values),
      });
    }
    for (let k = 0; k < size; k++) {
      const value = values[k] as number;
      if (Math.abs(value) <= LARGEST_F64) continue;
      throw new NotFiniteError({ field: `warmStart.${side}[${k}]`, expected: `a finite number within ±${LARGEST_F64}`, got: `${value}` });
    }
  }
  return rows === columns ? duals : undefined;
}
