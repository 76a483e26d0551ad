// Element-wise arithmetic of several operands on [rows, columns], and copies of blocks of bytes.

/** y[i, j] = x[i, j] + row[j]. `yPtr` may be `xPtr`. */
export function addRowF32(xPtr: usize, rowPtr: usize, yPtr: usize, rows: i32, columns: i32): void {
  const rowBytes = (<usize>columns) << 2;
  for (let i: i32 = 0; i < rows; i++) {
    let at: usize = 0;
    for (; at + 16 <= rowBytes; at += 16) v128.store(yPtr + at, f32x4.add(v128.load(xPtr + at), v128.load(rowPtr + at)));
    for (; at < rowBytes; at += 4) store<f32>(yPtr + at, load<f32>(xPtr + at) + load<f32>(rowPtr + at));
    xPtr += rowBytes;
    yPtr += rowBytes;
  }
}

/** y[i, j] = x[i, j] · row[j]. `yPtr` may be `xPtr` and, for a single row, `rowPtr`. */
export function multiplyRowF32(xPtr: usize, rowPtr: usize, yPtr: usize, rows: i32, columns: i32): void {
  const rowBytes = (<usize>columns) << 2;
  for (let i: i32 = 0; i < rows; i++) {
    let at: usize = 0;
    for (; at + 16 <= rowBytes; at += 16) v128.store(yPtr + at, f32x4.mul(v128.load(xPtr + at), v128.load(rowPtr + at)));
    for (; at < rowBytes; at += 4) store<f32>(yPtr + at, load<f32>(xPtr + at) * load<f32>(rowPtr + at));
    xPtr += rowBytes;
    yPtr += rowBytes;
  }
}

/** Copies `count` blocks of `bytes` between places that lie `fromBytes` and `toBytes` apart. */
export function copyBlocks(fromPtr: usize, fromBytes: i32, toPtr: usize, toBytes: i32, bytes: i32, count: i32): void {
  for (let i: i32 = 0; i < count; i++) {
    memory.copy(toPtr, fromPtr, <usize>bytes);
    fromPtr += <usize>fromBytes;
    toPtr += <usize>toBytes;
  }
}

/** Bytes that are copied at once: they stay in the first cache. */
const FILL_BYTES: usize = 16384;

/** Every row of y [rows, columns] becomes `row`. What is filled already is copied on: a row alone may be a few bytes. */
export function fillRowsF32(yPtr: usize, rowPtr: usize, rows: i32, columns: i32): void {
  const rowBytes = (<usize>columns) << 2, bytes = <usize>rows * rowBytes;
  if (bytes == 0) return;
  memory.copy(yPtr, rowPtr, rowBytes);
  for (let done = rowBytes; done < bytes;) {
    const next = min(bytes - done, min(done, max(rowBytes, FILL_BYTES / rowBytes * rowBytes)));
    memory.copy(yPtr + done, yPtr, next);
    done += next;
  }
}

// oxlint-disable-next-line typescript/no-extraneous-class -- the linter cannot read a decorated function
export abstract class Clamp {
  @inline
  static four(x: v128, ceiling: v128): v128 {
    // Of two alike, and of NaN, `pmin` takes its first.
    return f32x4.pmin(v128.andnot(x, f32x4.le(x, f32x4.splat(0))), ceiling);
  }

  @inline
  static one(x: f32, ceiling: f32): f32 {
    return x <= 0 ? 0 : x > ceiling ? ceiling : x;
  }

  /** dy where 0 < x < ceiling, 0 elsewhere. Compared as integers, which have units of their own: sums in f64 wait for those of floats. */
  @inline
  static gradientFour(dy: v128, x: v128, ceiling: v128): v128 {
    return v128.and(dy, v128.and(i32x4.gt_s(x, i32x4.splat(0)), i32x4.gt_s(ceiling, x)));
  }

  @inline
  static gradientOne(dy: f32, x: f32, ceiling: f32): f32 {
    return x > 0 && x < ceiling ? dy : 0;
  }
}

/** y = min(max(x, 0), ceiling); y may be x. NaN passes. */
export function clampF32(xPtr: usize, yPtr: usize, count: i32, ceiling: f32): void {
  const end = xPtr + ((<usize>count) << 2);
  const vectorEnd = xPtr + ((<usize>(count & ~3)) << 2);
  const most = f32x4.splat(ceiling);
  for (; xPtr < vectorEnd; xPtr += 16, yPtr += 16) v128.store(yPtr, Clamp.four(v128.load(xPtr), most));
  for (; xPtr < end; xPtr += 4, yPtr += 4) store<f32>(yPtr, Clamp.one(load<f32>(xPtr), ceiling));
}

/** dx = dy where 0 < y < ceiling, 0 elsewhere; dx may be dy. */
export function clampGradientF32(dyPtr: usize, yPtr: usize, dxPtr: usize, count: i32, ceiling: f32): void {
  const end = yPtr + ((<usize>count) << 2);
  const vectorEnd = yPtr + ((<usize>(count & ~3)) << 2);
  const most = f32x4.splat(ceiling);
  for (; yPtr < vectorEnd; yPtr += 16, dyPtr += 16, dxPtr += 16)
    v128.store(dxPtr, Clamp.gradientFour(v128.load(dyPtr), v128.load(yPtr), most));
  for (; yPtr < end; yPtr += 4, dyPtr += 4, dxPtr += 4) store<f32>(dxPtr, Clamp.gradientOne(load<f32>(dyPtr), load<f32>(yPtr), ceiling));
}
