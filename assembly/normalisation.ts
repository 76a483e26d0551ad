// Affine maps per channel and the input gradient of batch norm, on [rows, channels].

/** y = (x − mean) · scale + shift. Subtracting first keeps the digits that `x · scale + (shift − mean · scale)` cancels. */
export function normaliseF32(
  xPtr: usize, yPtr: usize, rows: i32, channels: i32, meanPtr: usize, scalePtr: usize, shiftPtr: usize,
): void {
  for (let i: i32 = 0; i < rows; i++) {
    let at: usize = 0;
    const vectorEnd = (<usize>(channels & ~3)) << 2;
    const end = (<usize>channels) << 2;
    for (; at < vectorEnd; at += 16) {
      const centred = f32x4.sub(v128.load(xPtr + at), v128.load(meanPtr + at));
      v128.store(yPtr + at, f32x4.add(f32x4.mul(centred, v128.load(scalePtr + at)), v128.load(shiftPtr + at)));
    }
    for (; at < end; at += 4) {
      const centred = load<f32>(xPtr + at) - load<f32>(meanPtr + at);
      store<f32>(yPtr + at, centred * load<f32>(scalePtr + at) + load<f32>(shiftPtr + at));
    }
    xPtr += end;
    yPtr += end;
  }
}

/** dx = scale · dy − offset − slope · (x − mean); dx may be dy. */
export function normaliseGradientF32(
  dyPtr: usize, xPtr: usize, dxPtr: usize, rows: i32, channels: i32, meanPtr: usize, scalePtr: usize, offsetPtr: usize, slopePtr: usize,
): void {
  for (let i: i32 = 0; i < rows; i++) {
    let at: usize = 0;
    const vectorEnd = (<usize>(channels & ~3)) << 2;
    const end = (<usize>channels) << 2;
    for (; at < vectorEnd; at += 16) {
      const centred = f32x4.sub(v128.load(xPtr + at), v128.load(meanPtr + at));
      const direct = f32x4.sub(f32x4.mul(v128.load(scalePtr + at), v128.load(dyPtr + at)), v128.load(offsetPtr + at));
      v128.store(dxPtr + at, f32x4.sub(direct, f32x4.mul(v128.load(slopePtr + at), centred)));
    }
    for (; at < end; at += 4) {
      const centred = load<f32>(xPtr + at) - load<f32>(meanPtr + at);
      const direct = load<f32>(scalePtr + at) * load<f32>(dyPtr + at) - load<f32>(offsetPtr + at);
      store<f32>(dxPtr + at, direct - load<f32>(slopePtr + at) * centred);
    }
    dyPtr += end;
    xPtr += end;
    dxPtr += end;
  }
}

/** Every row of y [rows, columns] becomes `row`. */
export function fillRowsF32(yPtr: usize, rowPtr: usize, rows: i32, columns: i32): void {
  const rowBytes = (<usize>columns) << 2;
  for (let i: i32 = 0; i < rows; i++) memory.copy(yPtr + <usize>i * rowBytes, rowPtr, rowBytes);
}
