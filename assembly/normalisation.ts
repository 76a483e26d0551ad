// Affine maps per channel, and the input gradient of batch norm, on [rows, channels]. Four rows are done at a time, one from each
// quarter of the rows, so that a channel's numbers are loaded once for all four. In ns a value, compared with two rows at a time:
// 0.20 → 0.17 in the cache, 0.63 → 0.57 from memory; the gradient 0.22 → 0.19 and 0.64 → 0.57.

import { Clamp } from "./elementwise";

// oxlint-disable-next-line typescript/no-extraneous-class -- the linter cannot read a decorated function
abstract class Affine {
  @inline
  static four(x: v128, mean: v128, scale: v128, shift: v128): v128 {
    return f32x4.add(f32x4.mul(f32x4.sub(x, mean), scale), shift);
  }

  @inline
  static one(x: f32, mean: f32, scale: f32, shift: f32): f32 {
    return (x - mean) * scale + shift;
  }

  @inline
  static clampedFour(x: v128, mean: v128, scale: v128, shift: v128, ceiling: f32, clamp: bool): v128 {
    const y = Affine.four(x, mean, scale, shift);
    return clamp ? Clamp.four(y, f32x4.splat(ceiling)) : y;
  }

  @inline
  static clampedOne(x: f32, mean: f32, scale: f32, shift: f32, ceiling: f32, clamp: bool): f32 {
    const y = Affine.one(x, mean, scale, shift);
    return clamp ? Clamp.one(y, ceiling) : y;
  }

  @inline
  static gradient(dy: v128, x: v128, mean: v128, scale: v128, offset: v128, slope: v128): v128 {
    return f32x4.sub(f32x4.sub(f32x4.mul(scale, dy), offset), f32x4.mul(slope, f32x4.sub(x, mean)));
  }

  /** One row or, where `count` is 4, four rows that lie `far` bytes apart. */
  @inline
  static row(
    xPtr: usize, yPtr: usize, far: usize, rowBytes: usize, meanPtr: usize, scalePtr: usize, shiftPtr: usize, ceiling: f32, count: i32,
    clamp: bool,
  ): void {
    let at: usize = 0;
    for (; at + 16 <= rowBytes; at += 16) {
      const mean = v128.load(meanPtr + at), scale = v128.load(scalePtr + at), shift = v128.load(shiftPtr + at);
      const x = xPtr + at, y = yPtr + at;
      v128.store(y, Affine.clampedFour(v128.load(x), mean, scale, shift, ceiling, clamp));
      if (count == 4) {
        v128.store(y + far, Affine.clampedFour(v128.load(x + far), mean, scale, shift, ceiling, clamp));
        v128.store(y + far * 2, Affine.clampedFour(v128.load(x + far * 2), mean, scale, shift, ceiling, clamp));
        v128.store(y + far * 3, Affine.clampedFour(v128.load(x + far * 3), mean, scale, shift, ceiling, clamp));
      }
    }
    for (; at < rowBytes; at += 4) {
      const mean = load<f32>(meanPtr + at), scale = load<f32>(scalePtr + at), shift = load<f32>(shiftPtr + at);
      for (let i: i32 = 0, x = xPtr + at, y = yPtr + at; i < count; i++, x += far, y += far) {
        store<f32>(y, Affine.clampedOne(load<f32>(x), mean, scale, shift, ceiling, clamp));
      }
    }
  }

  @inline
  static rows(
    xPtr: usize, yPtr: usize, rows: i32, channels: i32, meanPtr: usize, scalePtr: usize, shiftPtr: usize, ceiling: f32, clamp: bool,
  ): void {
    const rowBytes = (<usize>channels) << 2;
    const quarter = rows >> 2;
    const far = <usize>quarter * rowBytes;
    for (let i: i32 = 0; i < quarter; i++, xPtr += rowBytes, yPtr += rowBytes) {
      Affine.row(xPtr, yPtr, far, rowBytes, meanPtr, scalePtr, shiftPtr, ceiling, 4, clamp);
    }
    xPtr += far * 3;
    yPtr += far * 3;
    for (let i = rows & 3; i > 0; i--, xPtr += rowBytes, yPtr += rowBytes) {
      Affine.row(xPtr, yPtr, 0, rowBytes, meanPtr, scalePtr, shiftPtr, ceiling, 1, clamp);
    }
  }

  /** One row or, where `count` is 4, four rows that lie `far` bytes apart. */
  @inline
  static gradientRow(
    dyPtr: usize, xPtr: usize, dxPtr: usize, far: usize, rowBytes: usize, meanPtr: usize, scalePtr: usize, offsetPtr: usize,
    slopePtr: usize, count: i32,
  ): void {
    let at: usize = 0;
    for (; at + 16 <= rowBytes; at += 16) {
      const mean = v128.load(meanPtr + at), scale = v128.load(scalePtr + at);
      const offset = v128.load(offsetPtr + at), slope = v128.load(slopePtr + at);
      const dy = dyPtr + at, x = xPtr + at, dx = dxPtr + at;
      v128.store(dx, Affine.gradient(v128.load(dy), v128.load(x), mean, scale, offset, slope));
      if (count == 4) {
        v128.store(dx + far, Affine.gradient(v128.load(dy + far), v128.load(x + far), mean, scale, offset, slope));
        v128.store(dx + far * 2, Affine.gradient(v128.load(dy + far * 2), v128.load(x + far * 2), mean, scale, offset, slope));
        v128.store(dx + far * 3, Affine.gradient(v128.load(dy + far * 3), v128.load(x + far * 3), mean, scale, offset, slope));
      }
    }
    for (; at < rowBytes; at += 4) {
      const mean = load<f32>(meanPtr + at), scale = load<f32>(scalePtr + at);
      const offset = load<f32>(offsetPtr + at), slope = load<f32>(slopePtr + at);
      for (let i: i32 = 0, dy = dyPtr + at, x = xPtr + at, dx = dxPtr + at; i < count; i++, dy += far, x += far, dx += far) {
        store<f32>(dx, scale * load<f32>(dy) - offset - slope * (load<f32>(x) - mean));
      }
    }
  }
}

/**
 * y = (x − mean) · scale + shift, and of that min(max(y, 0), ceiling) where `ceiling` is not 0. Subtracting first keeps the digits that
 * `x · scale + (shift − mean · scale)` cancels.
 */
export function normaliseF32(
  xPtr: usize, yPtr: usize, rows: i32, channels: i32, meanPtr: usize, scalePtr: usize, shiftPtr: usize, ceiling: f32,
): void {
  if (ceiling == 0) Affine.rows(xPtr, yPtr, rows, channels, meanPtr, scalePtr, shiftPtr, 0, false);
  else Affine.rows(xPtr, yPtr, rows, channels, meanPtr, scalePtr, shiftPtr, ceiling, true);
}

/** dx = scale · dy − offset − slope · (x − mean); dx may be dy. */
export function normaliseGradientF32(
  dyPtr: usize, xPtr: usize, dxPtr: usize, rows: i32, channels: i32, meanPtr: usize, scalePtr: usize, offsetPtr: usize, slopePtr: usize,
): void {
  const rowBytes = (<usize>channels) << 2;
  const quarter = rows >> 2;
  const far = <usize>quarter * rowBytes;
  for (let i: i32 = 0; i < quarter; i++, dyPtr += rowBytes, xPtr += rowBytes, dxPtr += rowBytes) {
    Affine.gradientRow(dyPtr, xPtr, dxPtr, far, rowBytes, meanPtr, scalePtr, offsetPtr, slopePtr, 4);
  }
  dyPtr += far * 3;
  xPtr += far * 3;
  dxPtr += far * 3;
  for (let i = rows & 3; i > 0; i--, dyPtr += rowBytes, xPtr += rowBytes, dxPtr += rowBytes) {
    Affine.gradientRow(dyPtr, xPtr, dxPtr, 0, rowBytes, meanPtr, scalePtr, offsetPtr, slopePtr, 1);
  }
}
