/**
 * Matrices as sums of outer products. The gradient of a dense layer over b inputs is one, Σ δᵢ · xᵢᵀ: 2 b (rows + columns) numbers
 * that a batch of 128 has long before the matrix is multiplied out.
 */

/** The matrix [rows, columns] = leftᵀ · right. */
export interface OuterProducts {
  readonly terms: number;
  /** [terms, rows] */
  readonly left: Float32Array;
  /** [terms, columns] */
  readonly right: Float32Array;
}

/** Parameter name → its gradient. */
export type NamedOuterProducts = ReadonlyMap<string, OuterProducts>;

/** `parts` added up, each element of the result times `scale`: rounded to f32 once, on the left. The first part alone is passed on. */
export function sumOfOuterProducts(parts: readonly OuterProducts[], scale: number): OuterProducts {
  const [first] = parts;
  if (first !== undefined && parts.length === 1 && scale === 1) return first;
  const rounded = Math.fround(scale);
  return {
    terms: parts.reduce((sum, { terms }) => sum + terms, 0),
    left: joined(parts.map(({ left }) => left)).map((x) => x * rounded),
    right: joined(parts.map(({ right }) => right)),
  };
}

function joined(arrays: readonly Float32Array[]): Float32Array {
  const out = new Float32Array(arrays.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const array of arrays) {
    out.set(array, at);
    at += array.length;
  }
  return out;
}
