// Linear sum assignment: profits of a row's columns at the present prices, in f64.

/** Profits s_ij − v_j of two columns of a row. */
export function profitsOfTwo<T>(row: usize, prices: usize, j: i32): v128 {
  const at = row + <usize>j * sizeof<T>();
  const values = sizeof<T>() === 4 ? f64x2.promote_low_f32x4(v128.load64_zero(at)) : v128.load(at);
  return f64x2.sub(values, v128.load(prices + (<usize>j << 3)));
}

export function profitOf<T>(row: usize, prices: usize, j: i32): f64 {
  return <f64>load<T>(row + <usize>j * sizeof<T>()) - load<f64>(prices + (<usize>j << 3));
}
