/** What coordinate descent maximises, summed directly from the pairs in f64, and a check of updated similarities against them. */
import type { GradientHistory } from './history.ts';
import { positionsOf } from './layout.ts';
import type { TermLayout } from './layout.ts';

/** Σ over pairs and permutable tensors of ⟨target, π(source)⟩. `permutations` in the layout's order of groups. */
export function matchingObjective(history: GradientHistory, permutations: readonly Int32Array[]): number {
  let objective = 0;
  history.layout.groups.forEach((_, group) => {
    const similarity = history.staticSimilarity(group);
    if (similarity !== null) objective += assignedSum(similarity, permutations[group] as Int32Array);
  });
  for (const tensor of history.layout.paired) {
    const rowPerm = permutations[tensor.rowGroup] as Int32Array;
    const columnPerm = permutations[tensor.columnGroup] as Int32Array;
    for (const { target, source } of history.stored(tensor)) {
      const sourceRows = positionsOf(source.rows, tensor.rows);
      const sourceColumns = positionsOf(source.columns, tensor.columns);
      const columns = target.columns.map((column) => sourceColumns[columnPerm[column] as number] as number);
      const targetSlice = new Float32Array(target.data.length / tensor.slices);
      const sourceSlice = new Float32Array(source.data.length / tensor.slices);
      for (let slice = 0; slice < tensor.slices; slice++) {
        target.data.decode(slice * targetSlice.length, targetSlice);
        source.data.decode(slice * sourceSlice.length, sourceSlice);
        let at = 0;
        for (let i = 0; i < target.rows.length; i++) {
          const sourceRow = sourceRows[rowPerm[target.rows[i] as number] as number] as number;
          if (sourceRow >= 0) {
            const from = sourceRow * source.columns.length;
            let sum = 0;
            for (let j = 0; j < columns.length; j++) {
              const column = columns[j] as number;
              if (column >= 0) sum += (targetSlice[at + j] as number) * (sourceSlice[from + column] as number);
            }
            objective += sum;
          }
          at += columns.length;
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
  const onRows = side === 'rows';
  const otherSize = onRows ? columns : rows;
  for (const { target, source } of history.stored(tensor)) {
    const positions = positionsOf(onRows ? source.columns : source.rows, otherSize);
    const partners = (onRows ? target.columns : target.rows).map((unit) => positions[other[unit] as number] as number);
    const width = source.columns.length;
    const targetSlice = new Float32Array(target.data.length / slices);
    const sourceSlice = new Float32Array(source.data.length / slices);
    for (let slice = 0; slice < slices; slice++) {
      target.data.decode(slice * targetSlice.length, targetSlice);
      source.data.decode(slice * sourceSlice.length, sourceSlice);
      let at = 0;
      if (onRows) {
        const folded = new Float64Array(width);
        for (let i = 0, from = 0; i < source.rows.length; i++) {
          const v = vector[source.rows[i] as number] as number;
          for (let j = 0; j < width; j++) folded[j] = (folded[j] as number) + v * (sourceSlice[from++] as number);
        }
        const met = Float64Array.from(partners, (position) => (position < 0 ? 0 : (folded[position] as number)));
        for (let i = 0; i < target.rows.length; i++) {
          const row = target.rows[i] as number;
          let sum = 0;
          for (let j = 0; j < met.length; j++) sum += (targetSlice[at++] as number) * (met[j] as number);
          out[row] = (out[row] as number) + sum;
        }
      } else {
        for (let p = 0; p < partners.length; p++) {
          const position = partners[p] as number;
          if (position >= 0) {
            const from = position * width;
            let folded = 0;
            for (let j = 0; j < width; j++) folded += (sourceSlice[from + j] as number) * (vector[source.columns[j] as number] as number);
            for (let j = 0; j < target.columns.length; j++) {
              const column = target.columns[j] as number;
              out[column] = (out[column] as number) + folded * (targetSlice[at + j] as number);
            }
          }
          at += target.columns.length;
        }
      }
    }
  }
}
