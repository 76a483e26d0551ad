// Linear sum assignment: passes over the whole matrix before a solve (the column maxima and the check that every value
// is finite, the sign, the ranges of sample rows). They need no scratch.

/** Whether every value is finite and within ±limit. */
export function allWithin<T>(valuesPtr: usize, count: i32, limit: T): bool {
  const bytes = <usize>count * sizeof<T>();
  const magnitude = sizeof<T>() === 4 ? i32x4.splat(0x7fffffff) : i64x2.splat(i64.MAX_VALUE);
  const limits = sizeof<T>() === 4 ? f32x4.splat(<f32>limit) : f64x2.splat(<f64>limit);
  let at: usize = 0;
  if (sizeof<T>() === 4) {
    // Magnitudes of floats order like unsigned integers, NaN above all.
    let a = i32x4.splat(0), b = a, c = a, d = a;
    for (; at + 64 <= bytes; at += 64) {
      a = i32x4.max_u(a, v128.and(v128.load(valuesPtr + at), magnitude));
      b = i32x4.max_u(b, v128.and(v128.load(valuesPtr + at, 16), magnitude));
      c = i32x4.max_u(c, v128.and(v128.load(valuesPtr + at, 32), magnitude));
      d = i32x4.max_u(d, v128.and(v128.load(valuesPtr + at, 48), magnitude));
    }
    if (!i32x4.all_true(f32x4.le(i32x4.max_u(i32x4.max_u(a, b), i32x4.max_u(c, d)), limits))) return false;
  } else {
    let fine = i32x4.splat(-1);
    for (; at + 16 <= bytes; at += 16) fine = v128.and(fine, f64x2.le(v128.and(v128.load(valuesPtr + at), magnitude), limits));
    if (!i32x4.all_true(fine)) return false;
  }
  for (; at < bytes; at += sizeof<T>()) if (!(abs<T>(load<T>(valuesPtr + at)) <= limit)) return false;
  return true;
}

/**
 * Raises maxima [columns] (of T, −Infinity before the first slice) to the column maxima of these rows.
 * Answers 1 when every value is finite and within ±limit, else 0.
 */
function columnMaxima<T>(matrixPtr: usize, rows: i32, columns: i32, maximaPtr: usize, limit: T): i32 {
  const rowBytes = <usize>columns * sizeof<T>();
  // Four rows at a time: one load and store of the maxima for four of the matrix.
  const vectorBytes = rows >= 4 ? rowBytes & ~(<usize>15) : 0;
  const magnitude = sizeof<T>() === 4 ? i32x4.splat(0x7fffffff) : i64x2.splat(i64.MAX_VALUE);
  const limits = sizeof<T>() === 4 ? f32x4.splat(<f32>limit) : f64x2.splat(<f64>limit);
  let largest = i32x4.splat(0);
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
        if (sizeof<T>() === 4) {
          // Magnitudes of floats order like unsigned integers, NaN above all.
          largest = i32x4.max_u(largest, i32x4.max_u(
            i32x4.max_u(v128.and(a, magnitude), v128.and(b, magnitude)),
            i32x4.max_u(v128.and(c, magnitude), v128.and(d, magnitude)),
          ));
          v128.store(maximaPtr + at, f32x4.pmax(old, f32x4.pmax(f32x4.pmax(a, b), f32x4.pmax(c, d))));
        } else {
          const lowHalf = v128.and(f64x2.le(v128.and(a, magnitude), limits), f64x2.le(v128.and(b, magnitude), limits));
          const highHalf = v128.and(f64x2.le(v128.and(c, magnitude), limits), f64x2.le(v128.and(d, magnitude), limits));
          largest = v128.or(largest, v128.not(v128.and(lowHalf, highHalf)));
          v128.store(maximaPtr + at, f64x2.pmax(old, f64x2.pmax(f64x2.pmax(a, b), f64x2.pmax(c, d))));
        }
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
  if (sizeof<T>() === 4) return within && i32x4.all_true(f32x4.le(largest, limits)) ? 1 : 0;
  return within && !v128.any_true(largest) ? 1 : 0;
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

/** The greatest minus the least finite value of `samples` rows, evenly spread, to `rangesPtr` (f64). */
function rowRanges<T>(matrixPtr: usize, rows: i32, columns: i32, samples: i32, rangesPtr: usize): void {
  for (let k = 0; k < samples; k++) {
    const row = matrixPtr + <usize>(<i64>k * <i64>rows / <i64>samples) * <usize>columns * sizeof<T>();
    let greatest: f64 = -Infinity;
    let least: f64 = Infinity;
    for (let j = 0; j < columns; j++) {
      const value = <f64>load<T>(row + <usize>j * sizeof<T>());
      if (value === -Infinity) continue;
      greatest = max<f64>(greatest, value);
      least = min<f64>(least, value);
    }
    store<f64>(rangesPtr + (<usize>k << 3), greatest - least);
  }
}

export function assignmentRowRangesF32(matrixPtr: usize, rows: i32, columns: i32, samples: i32, rangesPtr: usize): void {
  rowRanges<f32>(matrixPtr, rows, columns, samples, rangesPtr);
}

export function assignmentRowRangesF64(matrixPtr: usize, rows: i32, columns: i32, samples: i32, rangesPtr: usize): void {
  rowRanges<f64>(matrixPtr, rows, columns, samples, rangesPtr);
}
