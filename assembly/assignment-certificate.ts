// Linear sum assignment: the certificate, a bound on how far an assignment is from the optimum, from its prices.
import { profitOf, profitsOfTwo } from "./assignment-profits";

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
      bests = f64x2.pmax(bests, profitsOfTwo<T>(row, pricesPtr, j));
    }
    let best = max<f64>(f64x2.extract_lane(bests, 0), f64x2.extract_lane(bests, 1));
    for (; j < columns; j++) best = max<f64>(best, profitOf<T>(row, pricesPtr, j));
    const assigned = load<i32>(columnOfRowPtr + (<usize>i << 2));
    gap += best - profitOf<T>(row, pricesPtr, assigned);
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
