/**
 * What coordinate descent maximises, and a check of updated similarities against the pairs: f64 sums, over stored pairs and, of what one
 * group alone permutes, over its summed f32 similarity.
 */
import type { Core } from '../core/core.ts';
import type { GradientHistory } from './history.ts';
import type { PairedTensor, TermLayout } from './layout.ts';
import { positionsOf } from './live-slices.ts';
import type { StoredPair } from './live-slices.ts';

/** Σ over pairs and permutable tensors of ⟨target, π(source)⟩, to f32. `permutations` in the layout's order of groups. */
export function matchingObjective(history: GradientHistory, permutations: readonly Int32Array[]): number {
  let objective = 0;
  history.layout.groups.forEach((_, group) => {
    const similarity = history.staticSimilarity(group);
    if (similarity !== null) objective += assignedSum(similarity, permutations[group] as Int32Array);
  });
  for (const tensor of history.layout.paired) {
    const rowPerm = permutations[tensor.rowGroup] as Int32Array;
    const columnPerm = permutations[tensor.columnGroup] as Int32Array;
    for (const pair of history.stored(tensor)) objective += pairObjective(history.core, tensor, pair, rowPerm, columnPerm);
  }
  return objective;
}

/** ⟨target, π(source)⟩ of one pair of a tensor, row by row. */
function pairObjective(
  core: Core, tensor: PairedTensor, { target, source }: StoredPair, rowPerm: Int32Array, columnPerm: Int32Array,
): number {
  const rows = livePairs(target.rows, rowPerm, positionsOf(source.rows, tensor.rows));
  const columns = livePairs(target.columns, columnPerm, positionsOf(source.columns, tensor.columns));
  const count = rows.length / 2;
  if (count === 0) return 0;
  return core.scoped((scratch) => {
    const [rowsPtr, columnsPtr, sumsPtr] = [scratch.upload(rows), scratch.upload(columns), scratch.f64(count)];
    let objective = 0;
    forEachSlice(core, tensor, { target, source }, (targetPtr, sourcePtr) => {
      core.kernels.pairedInnersF32(
        targetPtr, target.columns.length, sourcePtr, source.columns.length, rowsPtr, count, columnsPtr, columns.length / 2, sumsPtr,
      );
      for (const sum of core.f64(sumsPtr, count)) objective += sum;
    });
    return objective;
  });
}

/** Positions, among the live units, of each live target unit and its source partner where that is live too: one pair behind the other. */
function livePairs(live: Int32Array, perm: Int32Array, sourcePositions: Int32Array): Int32Array {
  const pairs = new Int32Array(2 * live.length);
  let at = 0;
  live.forEach((unit, position) => {
    const sourcePosition = sourcePositions[perm[unit] as number] as number;
    if (sourcePosition < 0) return;
    pairs[at++] = position;
    pairs[at++] = sourcePosition;
  });
  return pairs.subarray(0, at);
}

/** Calls `visit` with each slice of both sides, f32 on the heap, that stands until the next. */
function forEachSlice(
  core: Core,
  { slices }: PairedTensor,
  { target, source }: StoredPair,
  visit: (targetPtr: number, sourcePtr: number) => void,
): void {
  const [ofTarget, ofSource] = [target.data.length / slices, source.data.length / slices];
  core.scoped((scratch) => {
    const [targetPtr, sourcePtr] = [scratch.f32(ofTarget, 'slice of a gradient'), scratch.f32(ofSource, 'slice of a gradient')];
    for (let slice = 0; slice < slices; slice++) {
      target.data.decode(slice * ofTarget, core.f32(targetPtr, ofTarget));
      source.data.decode(slice * ofSource, core.f32(sourcePtr, ofSource));
      visit(targetPtr, sourcePtr);
    }
  });
}

/** Σ similarity[i, perm[i]] of a square matrix, in f64. */
export function assignedSum(similarity: Float32Array, perm: Int32Array): number {
  let sum = 0;
  for (let i = 0; i < perm.length; i++) sum += similarity[i * perm.length + (perm[i] as number)] as number;
  return sum;
}

/**
 * How far a group's similarity is from its definition: both are multiplied in f64 by one vector of signs (Freivalds, "Fast
 * probabilistic algorithms", 1979), which costs a product of matrix and vector instead of matrix and matrix.
 * @param sign +1 or −1 for each unit.
 * @returns ‖A v − A′ v‖ / ‖A v‖; 0 for two zero vectors.
 */
export function similarityDeviation(
  history: GradientHistory,
  group: number,
  permutations: readonly Int32Array[],
  similarity: Float32Array,
  sign: (unit: number) => number,
): number {
  const layout = history.layout.groups[group];
  if (layout === undefined) return 0;
  const { size } = layout;
  const signs = Float64Array.from({ length: size }, (_, unit) => sign(unit));
  // First of all: what is allocated below may let the heap grow, and the view of `similarity` die.
  const got = new Float64Array(size);
  addMatrixVector(got, similarity, signs);
  const fixed = history.staticSimilarity(group);
  const expected = new Float64Array(size);
  if (fixed !== null) addMatrixVector(expected, fixed, signs);
  for (const { tensor, side, other } of layout.terms) {
    for (const pair of history.stored(tensor))
      addTermVector(expected, history.core, tensor, pair, side, permutations[other] as Int32Array, signs);
  }
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < size; i++) {
    const d = (got[i] as number) - (expected[i] as number);
    difference += d * d;
    norm += (expected[i] as number) * (expected[i] as number);
  }
  return difference === 0 ? 0 : Math.sqrt(difference / norm);
}

function addMatrixVector(out: Float64Array, matrix: Float32Array, vector: Float64Array): void {
  const size = vector.length;
  for (let i = 0, at = 0; i < size; i++) {
    let sum = 0;
    for (let j = 0; j < size; j++) sum += (matrix[at++] as number) * (vector[j] as number);
    out[i] = (out[i] as number) + sum;
  }
}

/** out += Σ over slices of T · (π(S)ᵀ · vector) of one pair, without the product of the two matrices. */
function addTermVector(
  out: Float64Array,
  core: Core,
  tensor: PairedTensor,
  pair: StoredPair,
  side: TermLayout['side'],
  otherPerm: Int32Array,
  vector: Float64Array,
): void {
  const { target, source } = pair;
  const onRows = side === 'rows';
  const [targetUnits, sourceUnits] = onRows ? [target.rows, source.rows] : [target.columns, source.columns];
  const [targetOthers, sourceOthers] = onRows ? [target.columns, source.columns] : [target.rows, source.rows];
  const positions = positionsOf(sourceOthers, onRows ? tensor.columns : tensor.rows);
  const partners = targetOthers.map((unit) => positions[otherPerm[unit] as number] as number);
  const { rowsTimesVectorF32, vectorTimesRowsF32 } = core.kernels;
  core.scoped((scratch) => {
    const signsPtr = scratch.upload(Float64Array.from(sourceUnits, (unit) => vector[unit] as number));
    const [foldedPtr, metPtr, sumsPtr] = [
      scratch.f64(sourceOthers.length),
      scratch.f64(targetOthers.length),
      scratch.f64(targetUnits.length),
    ];
    forEachSlice(core, tensor, pair, (targetPtr, sourcePtr) => {
      if (onRows) vectorTimesRowsF32(signsPtr, sourcePtr, source.rows.length, source.columns.length, foldedPtr);
      else rowsTimesVectorF32(sourcePtr, source.rows.length, source.columns.length, signsPtr, foldedPtr);
      const [folded, met] = [core.f64(foldedPtr, sourceOthers.length), core.f64(metPtr, targetOthers.length)];
      partners.forEach((position, at) => void (met[at] = position < 0 ? 0 : (folded[position] as number)));
      if (onRows) rowsTimesVectorF32(targetPtr, target.rows.length, target.columns.length, metPtr, sumsPtr);
      else vectorTimesRowsF32(metPtr, targetPtr, target.rows.length, target.columns.length, sumsPtr);
      const sums = core.f64(sumsPtr, targetUnits.length);
      targetUnits.forEach((unit, at) => void (out[unit] = (out[unit] as number) + (sums[at] as number)));
    });
  });
}
