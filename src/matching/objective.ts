/** What coordinate descent maximises, summed directly from the pairs in f64, and a check of updated similarities against them. */
import type { GradientHistory } from './history.ts';
import type { TermLayout } from './layout.ts';

/** Σ over pairs and permutable tensors of ⟨target, π(source)⟩. `permutations` in the layout's order of groups. */
export function matchingObjective(history: GradientHistory, permutations: readonly Int32Array[]): number {
  let objective = 0;
  history.layout.groups.forEach((_, group) => {
    const similarity = history.staticSimilarity(group);
    if (similarity !== null) objective += assignedSum(similarity, permutations[group] as Int32Array);
  });
  for (const tensor of history.layout.paired) {
    const { rows, columns, slices } = tensor;
    const rowPerm = permutations[tensor.rowGroup] as Int32Array;
    const columnPerm = permutations[tensor.columnGroup] as Int32Array;
    for (const { target, source } of history.stored(tensor)) {
      let at = 0;
      for (let slice = 0; slice < slices; slice++) {
        for (let row = 0; row < rows; row++) {
          const from = (slice * rows + (rowPerm[row] as number)) * columns;
          let sum = 0;
          for (let column = 0; column < columns; column++) {
            sum += (target[at++] as number) * (source[from + (columnPerm[column] as number)] as number);
          }
          objective += sum;
        }
      }
    }
  }
  return objective;
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
  const fixed = history.staticSimilarity(group);
  const expected = new Float64Array(size);
  if (fixed !== null) addMatrixVector(expected, fixed, signs);
  for (const term of layout.terms) addTermVector(expected, history, term, permutations[term.other] as Int32Array, signs);
  const got = new Float64Array(size);
  addMatrixVector(got, similarity, signs);
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

/** out += Σ over slices of T · (π(S)ᵀ · vector), without the product of the two matrices. */
function addTermVector(
  out: Float64Array,
  history: GradientHistory,
  { tensor, side }: TermLayout,
  other: Int32Array,
  vector: Float64Array,
): void {
  const { rows, columns, slices } = tensor;
  for (const { target, source } of history.stored(tensor)) {
    for (let slice = 0; slice < slices; slice++) {
      const base = slice * rows * columns;
      if (side === 'rows') {
        const folded = new Float64Array(columns);
        for (let row = 0, at = base; row < rows; row++) {
          const v = vector[row] as number;
          for (let column = 0; column < columns; column++, at++) folded[column] = (folded[column] as number) + v * (source[at] as number);
        }
        const permuted = Float64Array.from(other, (unit) => folded[unit] as number);
        for (let row = 0, at = base; row < rows; row++) {
          let sum = 0;
          for (let column = 0; column < columns; column++, at++) sum += (target[at] as number) * (permuted[column] as number);
          out[row] = (out[row] as number) + sum;
        }
      } else {
        for (let row = 0; row < rows; row++) {
          const from = base + (other[row] as number) * columns;
          let folded = 0;
          for (let column = 0; column < columns; column++) folded += (source[from + column] as number) * (vector[column] as number);
          const to = base + row * columns;
          for (let column = 0; column < columns; column++) out[column] = (out[column] as number) + folded * (target[to + column] as number);
        }
      }
    }
  }
}
