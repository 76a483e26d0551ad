// Linear sum assignment: passes over the whole matrix before a solve (the column maxima and the check that every value
// is finite, the sign, what sample rows tell). They need no scratch.

/**
 * Whether many values are finite and within ±limit, a vector at a time: of f32 the largest magnitude tells (they order like
 * unsigned integers, NaN above all), of f64 a mask. Inlined, so that it stays in a register.
 */
// oxlint-disable-next-line typescript/no-extraneous-class
export abstract class Magnitudes {
  /** Before the first values. */
  @inline
  static none<T>(): v128 {
    return i32x4.splat(sizeof<T>() === 4 ? 0 : -1);
  }

  @inline
  static of<T>(values: v128, limits: v128): v128 {
    if (sizeof<T>() === 4) return v128.and(values, i32x4.splat(0x7fffffff));
    return f64x2.le(v128.and(values, i64x2.splat(i64.MAX_VALUE)), limits);
  }

  @inline
  static join<T>(a: v128, b: v128): v128 {
    return sizeof<T>() === 4 ? i32x4.max_u(a, b) : v128.and(a, b);
  }

  @inline
  static within<T>(seen: v128, limits: v128): bool {
    return i32x4.all_true(sizeof<T>() === 4 ? f32x4.le(seen, limits) : seen);
  }
}

/**
 * Raises maxima [columns] (of T, −Infinity before the first slice) to the column maxima of these rows.
 * Answers 1 when every value is finite and within ±limit, else 0.
 */
function columnMaxima<T>(matrixPtr: usize, rows: i32, columns: i32, maximaPtr: usize, limit: T): i32 {
  const rowBytes = <usize>columns * sizeof<T>();
  // Four rows at a time: one load and store of the maxima for four of the matrix.
  const vectorBytes = rows >= 4 ? rowBytes & ~(<usize>15) : 0;
  const limits = sizeof<T>() === 4 ? f32x4.splat(<f32>limit) : f64x2.splat(<f64>limit);
  let seen = Magnitudes.none<T>();
  let within = true;
  for (let i = 0; i < rows; ) {
    const four = i + 4 <= rows;
    const row = matrixPtr + <usize>i * rowBytes;
    let at: usize = 0;
    if (four) {
      for (; at < vectorBytes; at += 16) {
        const place = row + at;
        const a = v128.load(place);
        const b = v128.load(place + rowBytes);
        const c = v128.load(place + 2 * rowBytes);
        const d = v128.load(place + 3 * rowBytes);
        const old = v128.load(maximaPtr + at);
        seen = Magnitudes.join<T>(seen, Magnitudes.join<T>(
          Magnitudes.join<T>(Magnitudes.of<T>(a, limits), Magnitudes.of<T>(b, limits)),
          Magnitudes.join<T>(Magnitudes.of<T>(c, limits), Magnitudes.of<T>(d, limits)),
        ));
        v128.store(maximaPtr + at, sizeof<T>() === 4
          ? f32x4.pmax(old, f32x4.pmax(f32x4.pmax(a, b), f32x4.pmax(c, d)))
          : f64x2.pmax(old, f64x2.pmax(f64x2.pmax(a, b), f64x2.pmax(c, d))));
      }
    }
    const end = four ? i + 4 : i + 1;
    for (; i < end; i++) {
      const base = matrixPtr + <usize>i * rowBytes;
      for (let rest = at; rest < rowBytes; rest += sizeof<T>()) {
        const value = load<T>(base + rest);
        if (!(abs<T>(value) <= limit)) within = false;
        if (value > load<T>(maximaPtr + rest)) store<T>(maximaPtr + rest, value);
      }
    }
  }
  return within && Magnitudes.within<T>(seen, limits) ? 1 : 0;
}

export function assignmentColumnMaximaF32(matrixPtr: usize, rows: i32, columns: i32, maximaPtr: usize, limit: f32): i32 {
  return columnMaxima<f32>(matrixPtr, rows, columns, maximaPtr, limit);
}

export function assignmentColumnMaximaF64(matrixPtr: usize, rows: i32, columns: i32, maximaPtr: usize, limit: f64): i32 {
  return columnMaxima<f64>(matrixPtr, rows, columns, maximaPtr, limit);
}

function negate<T>(valuesPtr: usize, count: i32): void {
  const bytes = <usize>count * sizeof<T>();
  let at: usize = 0;
  for (; at + 16 <= bytes; at += 16) {
    const value = v128.load(valuesPtr + at);
    v128.store(valuesPtr + at, sizeof<T>() === 4 ? f32x4.neg(value) : f64x2.neg(value));
  }
  for (; at < bytes; at += sizeof<T>()) store<T>(valuesPtr + at, -load<T>(valuesPtr + at));
}

export function assignmentNegateF32(valuesPtr: usize, count: i32): void {
  negate<f32>(valuesPtr, count);
}

export function assignmentNegateF64(valuesPtr: usize, count: i32): void {
  negate<f64>(valuesPtr, count);
}

/**
 * What `samples` rows, evenly spread, tell of a matrix, to `toPtr` (f64): [samples] their greatest minus their least
 * finite value, [samples] their sums, [1] the sum of all their squares, [columns] the sums of their columns. Where
 * entries are forbidden, sums are of no use.
 */
function sampleRows<T>(matrixPtr: usize, rows: i32, columns: i32, samples: i32, toPtr: usize): void {
  const sumsPtr = toPtr + (<usize>samples << 3);
  const squaresPtr = sumsPtr + (<usize>samples << 3);
  const columnsPtr = squaresPtr + 8;
  memory.fill(columnsPtr, 0, <usize>columns << 3);
  const forbidden = f64x2.splat(-Infinity);
  let squares: f64 = 0;
  let squaresOfTwo = f64x2.splat(0);
  for (let k = 0; k < samples; k++) {
    const row = matrixPtr + <usize>(<i64>k * <i64>rows / <i64>samples) * <usize>columns * sizeof<T>();
    let greatestOfTwo = forbidden;
    let leastOfTwo = f64x2.splat(Infinity);
    let sumOfTwo = f64x2.splat(0);
    let j = 0;
    for (; j + 2 <= columns; j += 2) {
      const at = row + <usize>j * sizeof<T>();
      const column = columnsPtr + (<usize>j << 3);
      const values = sizeof<T>() === 4 ? f64x2.promote_low_f32x4(v128.load64_zero(at)) : v128.load(at);
      greatestOfTwo = f64x2.pmax(greatestOfTwo, values);
      leastOfTwo = f64x2.pmin(leastOfTwo, v128.bitselect(leastOfTwo, values, f64x2.eq(values, forbidden)));
      sumOfTwo = f64x2.add(sumOfTwo, values);
      squaresOfTwo = f64x2.add(squaresOfTwo, f64x2.mul(values, values));
      v128.store(column, f64x2.add(v128.load(column), values));
    }
    let greatest = max<f64>(f64x2.extract_lane(greatestOfTwo, 0), f64x2.extract_lane(greatestOfTwo, 1));
    let least = min<f64>(f64x2.extract_lane(leastOfTwo, 0), f64x2.extract_lane(leastOfTwo, 1));
    let sum = f64x2.extract_lane(sumOfTwo, 0) + f64x2.extract_lane(sumOfTwo, 1);
    for (; j < columns; j++) {
      const value = <f64>load<T>(row + <usize>j * sizeof<T>());
      const column = columnsPtr + (<usize>j << 3);
      greatest = max<f64>(greatest, value);
      if (value !== -Infinity) least = min<f64>(least, value);
      sum += value;
      squares += value * value;
      store<f64>(column, load<f64>(column) + value);
    }
    store<f64>(toPtr + (<usize>k << 3), greatest - least);
    store<f64>(sumsPtr + (<usize>k << 3), sum);
  }
  store<f64>(squaresPtr, squares + f64x2.extract_lane(squaresOfTwo, 0) + f64x2.extract_lane(squaresOfTwo, 1));
}

export function assignmentSampleRowsF32(matrixPtr: usize, rows: i32, columns: i32, samples: i32, toPtr: usize): void {
  sampleRows<f32>(matrixPtr, rows, columns, samples, toPtr);
}

export function assignmentSampleRowsF64(matrixPtr: usize, rows: i32, columns: i32, samples: i32, toPtr: usize): void {
  sampleRows<f64>(matrixPtr, rows, columns, samples, toPtr);
}
