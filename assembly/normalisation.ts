// Affine maps per channel and the input gradient of batch norm, on [rows, channels]: by two rows at a time, one of each
// half of the rows, for which a channel's numbers are loaded once (0.25 → 0.22 ns a value, the gradient 0.29 → 0.21).

import { Clamp } from "./elementwise";

// oxlint-disable-next-line typescript/no-extraneous-class -- the linter cannot read a decorated function
export abstract class Affine {
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

  @inline
  static row(
    xPtr: usize, yPtr: usize, far: usize, rowBytes: usize, meanPtr: usize, scalePtr: usize, shiftPtr: usize, ceiling: f32, two: bool, clamp: bool,
  ): void {
    let at: usize = 0;
    for (; at + 16 <= rowBytes; at += 16) {
      const mean = v128.load(meanPtr + at), scale = v128.load(scalePtr + at), shift = v128.load(shiftPtr + at);
      const x = xPtr + at, y = yPtr + at;
      v128.store(y, Affine.clampedFour(v128.load(x), mean, scale, shift, ceiling, clamp));
      if (two) v128.store(y + far, Affine.clampedFour(v128.load(x + far), mean, scale, shift, ceiling, clamp));
    }
    for (; at < rowBytes; at += 4) {
      const mean = load<f32>(meanPtr + at), scale = load<f32>(scalePtr + at), shift = load<f32>(shiftPtr + at);
      const x = xPtr + at, y = yPtr + at;
      store<f32>(y, Affine.clampedOne(load<f32>(x), mean, scale, shift, ceiling, clamp));
      if (two) store<f32>(y + far, Affine.clampedOne(load<f32>(x + far), mean, scale, shift, ceiling, clamp));
    }
  }

  @inline
  static rows(
    xPtr: usize, yPtr: usize, rows: i32, channels: i32, meanPtr: usize, scalePtr: usize, shiftPtr: usize, ceiling: f32, clamp: bool,
  ): void {
    const rowBytes = (<usize>channels) << 2;
    const half = rows >> 1;
    const far = <usize>half * rowBytes;
    for (let i: i32 = 0; i < half; i++) {
      Affine.row(xPtr, yPtr, far, rowBytes, meanPtr, scalePtr, shiftPtr, ceiling, true, clamp);
      xPtr += rowBytes;
      yPtr += rowBytes;
    }
    if (rows & 1) Affine.row(xPtr + far, yPtr + far, 0, rowBytes, meanPtr, scalePtr, shiftPtr, ceiling, false, clamp);
  }

  @inline
  static gradientRow(
    dyPtr: usize, xPtr: usize, dxPtr: usize, far: usize, rowBytes: usize, meanPtr: usize, scalePtr: usize, offsetPtr: usize, slopePtr: usize,
    two: bool,
  ): void {
    let at: usize = 0;
    for (; at + 16 <= rowBytes; at += 16) {
      const mean = v128.load(meanPtr + at), scale = v128.load(scalePtr + at);
      const offset = v128.load(offsetPtr + at), slope = v128.load(slopePtr + at);
      const dy = dyPtr + at, x = xPtr + at, dx = dxPtr + at;
      v128.store(dx, Affine.gradient(v128.load(dy), v128.load(x), mean, scale, offset, slope));
      if (two) v128.store(dx + far, Affine.gradient(v128.load(dy + far), v128.load(x + far), mean, scale, offset, slope));
    }
    for (; at < rowBytes; at += 4) {
      const mean = load<f32>(meanPtr + at), scale = load<f32>(scalePtr + at);
      const offset = load<f32>(offsetPtr + at), slope = load<f32>(slopePtr + at);
      store<f32>(dxPtr + at, scale * load<f32>(dyPtr + at) - offset - slope * (load<f32>(xPtr + at) - mean));
      if (two) store<f32>(dxPtr + at + far, scale * load<f32>(dyPtr + at + far) - offset - slope * (load<f32>(xPtr + at + far) - mean));
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
  const half = rows >> 1;
  const far = <usize>half * rowBytes;
  for (let i: i32 = 0; i < half; i++) {
    Affine.gradientRow(dyPtr, xPtr, dxPtr, far, rowBytes, meanPtr, scalePtr, offsetPtr, slopePtr, true);
    dyPtr += rowBytes;
    xPtr += rowBytes;
    dxPtr += rowBytes;
  }
  if (rows & 1) Affine.gradientRow(dyPtr + far, xPtr + far, dxPtr + far, 0, rowBytes, meanPtr, scalePtr, offsetPtr, slopePtr, false);
}

/** Every row of y [rows, columns] becomes `row`. */
export function fillRowsF32(yPtr: usize, rowPtr: usize, rows: i32, columns: i32): void {
  const rowBytes = (<usize>columns) << 2;
  for (let i: i32 = 0; i < rows; i++) memory.copy(yPtr + <usize>i * rowBytes, rowPtr, rowBytes);
}
