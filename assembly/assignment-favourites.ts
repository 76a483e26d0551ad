// Linear sum assignment: rows whose greatest values lie in columns of their own are assigned already. Then prices of 0
// prove the optimum, and nothing is left to solve (constants, permutations with noise). The first row without a column
// ends the attempt, which on Gaussian matrices is one of the first hundred.

/** The greatest value of a row: four accumulators, two of its cache lines a step. */
function greatest<T>(at: usize, columns: i32): T {
  const bytes = <usize>columns * sizeof<T>();
  const whole = bytes & ~(<usize>63);
  const none = sizeof<T>() === 4 ? f32x4.splat(-Infinity) : f64x2.splat(-Infinity);
  let a = none, b = none, c = none, d = none;
  let offset: usize = 0;
  for (; offset < whole; offset += 64) {
    if (sizeof<T>() === 4) {
      a = f32x4.pmax(a, v128.load(at + offset));
      b = f32x4.pmax(b, v128.load(at + offset, 16));
      c = f32x4.pmax(c, v128.load(at + offset, 32));
      d = f32x4.pmax(d, v128.load(at + offset, 48));
    } else {
      a = f64x2.pmax(a, v128.load(at + offset));
      b = f64x2.pmax(b, v128.load(at + offset, 16));
      c = f64x2.pmax(c, v128.load(at + offset, 32));
      d = f64x2.pmax(d, v128.load(at + offset, 48));
    }
  }
  let best: T;
  if (sizeof<T>() === 4) {
    a = f32x4.pmax(f32x4.pmax(a, b), f32x4.pmax(c, d));
    best = <T>max<f32>(
      max<f32>(f32x4.extract_lane(a, 0), f32x4.extract_lane(a, 1)),
      max<f32>(f32x4.extract_lane(a, 2), f32x4.extract_lane(a, 3)),
    );
  } else {
    a = f64x2.pmax(f64x2.pmax(a, b), f64x2.pmax(c, d));
    best = <T>max<f64>(f64x2.extract_lane(a, 0), f64x2.extract_lane(a, 1));
  }
  for (; offset < bytes; offset += sizeof<T>()) best = max<T>(best, load<T>(at + offset));
  return best;
}

/** The first of columns [column, end) that is not taken and holds `best`, else −1. */
function freeWith<T>(at: usize, column: i32, end: i32, best: T, takenPtr: usize): i32 {
  const bests = sizeof<T>() === 4 ? f32x4.splat(<f32>best) : f64x2.splat(<f64>best);
  const step = 64 / sizeof<T>();
  while (column < end) {
    if (column + step <= end) {
      const place = at + <usize>column * sizeof<T>();
      const equal = sizeof<T>() === 4
        ? v128.or(
          v128.or(f32x4.eq(v128.load(place), bests), f32x4.eq(v128.load(place, 16), bests)),
          v128.or(f32x4.eq(v128.load(place, 32), bests), f32x4.eq(v128.load(place, 48), bests)),
        )
        : v128.or(
          v128.or(f64x2.eq(v128.load(place), bests), f64x2.eq(v128.load(place, 16), bests)),
          v128.or(f64x2.eq(v128.load(place, 32), bests), f64x2.eq(v128.load(place, 48), bests)),
        );
      if (!v128.any_true(equal)) {
        column += step;
        continue;
      }
    }
    const last = min<i32>(end, column + step);
    for (; column < last; column++) {
      if (load<T>(at + <usize>column * sizeof<T>()) === best && load<u8>(takenPtr + column) === 0) return column;
    }
  }
  return -1;
}

/**
 * Gives rows [firstRow, firstRow + count) their greatest columns; of several equal ones the first at or after the column
 * of the row's own number, then the first before it. At least as many columns as rows. `takenPtr` (u8 [columns]) and
 * `columnOfRowPtr` (i32 [rows]) go from call to call. `slicePtr` is where row `firstRow` lies. Answers 0 when a row finds all its
 * greatest columns taken, else 1. Values must not be NaN.
 */
function favourites<T>(
  slicePtr: usize, firstRow: i32, count: i32, columns: i32, takenPtr: usize, columnOfRowPtr: usize,
): i32 {
  for (let k = 0; k < count; k++) {
    const row = firstRow + k;
    const at = slicePtr + <usize>k * <usize>columns * sizeof<T>();
    const best = greatest<T>(at, columns);
    let column = freeWith<T>(at, row, columns, best, takenPtr);
    if (column < 0) column = freeWith<T>(at, 0, row, best, takenPtr);
    if (column < 0) return 0;
    store<u8>(takenPtr + column, 1);
    store<i32>(columnOfRowPtr + (<usize>row << 2), column);
  }
  return 1;
}

export function assignmentFavouritesF32(
  slicePtr: usize, firstRow: i32, count: i32, columns: i32, takenPtr: usize, columnOfRowPtr: usize,
): i32 {
  return favourites<f32>(slicePtr, firstRow, count, columns, takenPtr, columnOfRowPtr);
}

export function assignmentFavouritesF64(
  slicePtr: usize, firstRow: i32, count: i32, columns: i32, takenPtr: usize, columnOfRowPtr: usize,
): i32 {
  return favourites<f64>(slicePtr, firstRow, count, columns, takenPtr, columnOfRowPtr);
}
