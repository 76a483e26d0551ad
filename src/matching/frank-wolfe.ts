/**
 * All groups at once: Frank–Wolfe on the relaxation of matching to doubly stochastic matrices (as Crisostomi et al.,
 * "C²M³: Cycle-Consistent Multi-Model Merging", 2024, use it on weights), rounded and then polished by coordinate descent.
 * Each iteration linearises the objective in every group at the same point, so that no group is favoured by its place
 * in an order; the price is dense products where coordinate descent updates changed places only.
 */
import type { Pieces } from '../core/breather.ts';
import type { Core } from '../core/core.ts';
import { matmul } from '../core/matmul.ts';
import { assignOnHeap } from './assignment.ts';
import { assignBlocks } from './block-assignment.ts';
import { descend, requireSolveOptions } from './coordinate-descent.ts';
import type { MatchingResult, SolveOptions } from './coordinate-descent.ts';
import type { GradientHistory } from './history.ts';
import type { GroupLayout, PairedTensor } from './layout.ts';
import { expandSlices } from './live-slices.ts';
import { matchingObjective } from './objective.ts';
import { requirePermutations } from './permutation.ts';

/** Iterations at most; on networks of this project's sizes the gap closes in 5 to 15. */
const MOST_ITERATIONS = 50;
/** Stops when the linearised gain falls below this share of the objective. */
const RELATIVE_GAP = 1e-6;

/** One dense matrix [n, n] a group: row i says which source units stand in for target unit i. */
type SoftPermutations = readonly Float32Array[];

/**
 * Matching by Frank–Wolfe from `options.start`. The result is that of the polishing coordinate descent, whose objective
 * is at least that of the rounded relaxation; `startObjective` and `assignments` are those of the whole.
 * @throws as `solveMatching`.
 */
export function* relaxAndDescend(history: GradientHistory, options: SolveOptions): Pieces<MatchingResult> {
  requireSolveOptions(options);
  const { core, layout } = history;
  const measure: NonNullable<SolveOptions['measure']> = options.measure ?? ((_, body) => body());
  let assignments = 0;
  const assign = (similarity: Float32Array, group: GroupLayout): Int32Array => {
    assignments++;
    return measure('assignment', () => assigned(core, similarity, group));
  };
  requirePermutations(layout.spec, options.start, 'start');
  const startObjective = matchingObjective(history, layout.groups.map(({ id }) => options.start.get(id) as Int32Array));
  let soft: SoftPermutations = layout.groups.map(({ id, size }) =>
    permutationMatrix(options.start.get(id) as Int32Array, size),
  );
  for (let iteration = 0; iteration < MOST_ITERATIONS; iteration++) {
    yield;
    const { value, gradients } = measure('similarity', () => relaxedObjective(history, soft));
    // The permutation matrix that maximises the linear function with these coefficients.
    const corners: Float32Array[] = [];
    for (const [index, gradient] of gradients.entries()) {
      yield;
      const group = layout.groups[index] as GroupLayout;
      corners.push(permutationMatrix(assign(gradient, group), group.size));
    }
    const direction = corners.map((corner, group) => subtracted(corner, soft[group] as Float32Array));
    let slope = 0;
    gradients.forEach((gradient, group) => {
      slope += innerProduct(gradient, direction[group] as Float32Array);
    });
    if (slope <= RELATIVE_GAP * Math.abs(value)) break;
    // f(γ) = value + slope·γ + curvature·γ² exactly, because every paired term is bilinear in its two groups.
    const curvature = measure('similarity', () => pairedValue(history, direction));
    const step = curvature < 0 ? Math.min(1, -slope / (2 * curvature)) : 1;
    soft = soft.map((matrix, group) => moved(matrix, direction[group] as Float32Array, step));
  }
  const start = new Map(options.start);
  layout.groups.forEach((group, index) => start.set(group.id, assign(soft[index] as Float32Array, group)));
  const polished = yield* descend(history, { ...options, start });
  const startedFrom = polished.startedFrom === 'identity' ? 'identity' : 'relaxation';
  return Object.freeze({ ...polished, startedFrom, startObjective, assignments: assignments + polished.assignments });
}

/** The objective at doubly stochastic matrices and its derivative in each. */
function relaxedObjective(
  history: GradientHistory,
  soft: SoftPermutations,
): { readonly value: number; readonly gradients: Float32Array[] } {
  const gradients = history.layout.groups.map(
    ({ size }, group) => history.staticSimilarity(group)?.slice() ?? new Float32Array(size * size),
  );
  let value = 0;
  gradients.forEach((linear, group) => {
    value += innerProduct(linear, soft[group] as Float32Array);
  });
  for (const tensor of history.layout.paired) {
    const rows = rowDerivative(history, tensor, soft[tensor.columnGroup] as Float32Array);
    value += innerProduct(rows, soft[tensor.rowGroup] as Float32Array);
    addInto(gradients[tensor.rowGroup] as Float32Array, rows);
    addInto(
      gradients[tensor.columnGroup] as Float32Array,
      columnDerivative(history, tensor, soft[tensor.rowGroup] as Float32Array),
    );
  }
  return { value, gradients };
}

/** Σ over paired tensors of ⟨T, R·S·Cᵀ⟩: the bilinear part of the objective alone. */
function pairedValue(history: GradientHistory, matrices: SoftPermutations): number {
  let value = 0;
  for (const tensor of history.layout.paired) {
    const rows = rowDerivative(history, tensor, matrices[tensor.columnGroup] as Float32Array);
    value += innerProduct(rows, matrices[tensor.rowGroup] as Float32Array);
  }
  return value;
}

/** Σ over pairs and slices of T · (S · Cᵀ)ᵀ, [rows, rows]. */
function rowDerivative(history: GradientHistory, tensor: PairedTensor, columnMatrix: Float32Array): Float32Array {
  const { rows, columns, slices } = tensor;
  return overPairs(history, tensor, rows, columnMatrix, (core, { target, source, matrix, mixed, out }) => {
    matmul(core, { a: source, b: matrix, c: mixed, m: slices * rows, n: columns, k: columns, transposeB: true });
    const sliceBytes = 4 * rows * columns;
    for (let slice = 0; slice < slices; slice++) {
      const [a, b] = [target + slice * sliceBytes, mixed + slice * sliceBytes];
      matmul(core, { a, b, c: out, m: rows, n: rows, k: columns, transposeB: true, accumulate: true });
    }
  });
}

/** Σ over pairs and slices of Tᵀ · (R · S), [columns, columns]. */
function columnDerivative(history: GradientHistory, tensor: PairedTensor, rowMatrix: Float32Array): Float32Array {
  const { rows, columns, slices } = tensor;
  return overPairs(history, tensor, columns, rowMatrix, (core, { target, source, matrix, mixed, out }) => {
    const stride = rows * columns;
    const batch = { count: slices, aStride: 0, bStride: stride, cStride: stride };
    matmul(core, { a: matrix, b: source, c: mixed, m: rows, n: columns, k: rows, batch });
    matmul(core, { a: target, b: mixed, c: out, m: columns, n: columns, k: slices * rows, transposeA: true, accumulate: true });
  });
}

/** Heap pointers of one pair's operands: both sides and `mixed` are [slices, rows, columns]. */
interface PairOperands {
  readonly target: number;
  readonly source: number;
  readonly matrix: number;
  readonly mixed: number;
  readonly out: number;
}

function overPairs(
  history: GradientHistory,
  tensor: PairedTensor,
  size: number,
  matrix: Float32Array,
  body: (core: Core, operands: PairOperands) => void,
): Float32Array {
  const { core } = history;
  return core.scoped((scratch) => {
    const out = scratch.upload(new Float32Array(size * size), 'derivative');
    const matrixPtr = scratch.upload(matrix, 'soft permutation');
    const elements = tensor.slices * tensor.rows * tensor.columns;
    const target = scratch.f32(elements, 'target gradient');
    const source = scratch.f32(elements, 'source gradient');
    const mixed = scratch.f32(elements, 'mixed gradient');
    for (const pair of history.stored(tensor)) {
      expandSlices(tensor, pair.target, core.f32(target, elements));
      expandSlices(tensor, pair.source, core.f32(source, elements));
      body(core, { target, source, matrix: matrixPtr, mixed, out });
    }
    return core.f32(out, size * size).slice();
  });
}

function assigned(core: Core, similarity: Float32Array, { size, structure }: GroupLayout): Int32Array {
  if (structure !== undefined) return assignBlocks(core, similarity, structure);
  return core.scoped((scratch) => assignOnHeap(core, scratch.upload(similarity, 'similarity'), size).assignment);
}

function permutationMatrix(perm: Int32Array, size: number): Float32Array {
  const matrix = new Float32Array(size * size);
  for (let i = 0; i < size; i++) matrix[i * size + (perm[i] as number)] = 1;
  return matrix;
}

function innerProduct(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
}

function addInto(sum: Float32Array, term: Float32Array): void {
  for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] as number) + (term[i] as number);
}

function subtracted(a: Float32Array, b: Float32Array): Float32Array {
  return a.map((value, i) => value - (b[i] as number));
}

function moved(matrix: Float32Array, direction: Float32Array, step: number): Float32Array {
  return matrix.map((value, i) => value + step * (direction[i] as number));
}
