// Pooling of NHWC images with explicit padding, and its gradients.

/**
 * Maximum of each window; padding counts as −∞. `tapPtr` receives the tap (ky · kernelWidth + kx, u16) that won: the FIRST
 * maximum in row-major order, as PyTorch and tfjs's cpu backend choose, whatever its sign (stock tfjs-wasm loses windows
 * ≤ 0 and gives ties to the last). NaN wins and stays, as in PyTorch.
 */
export function maxPoolF32(
  xPtr: usize, outPtr: usize, tapPtr: usize, count: i32, height: i32, width: i32, channels: i32, outHeight: i32, outWidth: i32,
  kernelHeight: i32, kernelWidth: i32, strideY: i32, strideX: i32, top: i32, left: i32,
): void {
  const pixelBytes = (<usize>channels) << 2;
  for (let n: i32 = 0; n < count; n++) {
    const imagePtr = xPtr + <usize>(n * height * width) * pixelBytes;
    for (let oy: i32 = 0; oy < outHeight; oy++) {
      const y0 = oy * strideY - top;
      const ky0 = max(0, -y0), ky1 = min(kernelHeight, height - y0);
      for (let ox: i32 = 0; ox < outWidth; ox++) {
        const x0 = ox * strideX - left;
        const kx0 = max(0, -x0), kx1 = min(kernelWidth, width - x0);
        const windowPtr = imagePtr + <usize>((y0 * width + x0) * <i32>pixelBytes);
        let c: i32 = 0;
        for (; c + 4 <= channels; c += 4) {
          let best = f32x4.splat(-Infinity);
          let won = i32x4.splat(ky0 * kernelWidth + kx0);
          for (let ky = ky0; ky < ky1; ky++) {
            let at = windowPtr + <usize>((ky * width + kx0) * <i32>pixelBytes + (c << 2));
            for (let kx = kx0; kx < kx1; kx++) {
              const value = v128.load(at);
              const better = v128.or(f32x4.gt(value, best), f32x4.ne(value, value));
              best = v128.bitselect(value, best, better);
              won = v128.bitselect(i32x4.splat(ky * kernelWidth + kx), won, better);
              at += pixelBytes;
            }
          }
          v128.store(outPtr, best);
          v128.store64_lane(tapPtr, i16x8.narrow_i32x4_u(won, won), 0);
          outPtr += 16;
          tapPtr += 8;
        }
        for (; c < channels; c++) {
          let best: f32 = -Infinity;
          let won = ky0 * kernelWidth + kx0;
          for (let ky = ky0; ky < ky1; ky++) {
            for (let kx = kx0; kx < kx1; kx++) {
              const value = load<f32>(windowPtr + <usize>((ky * width + kx) * <i32>pixelBytes + (c << 2)));
              if (value > best || value != value) {
                best = value;
                won = ky * kernelWidth + kx;
              }
            }
          }
          store<f32>(outPtr, best);
          store<u16>(tapPtr, <u16>won);
          outPtr += 4;
          tapPtr += 2;
        }
      }
    }
  }
}

/** Each output's gradient goes to the tap that won; everything else in dx is 0. */
export function maxPoolGradientF32(
  dyPtr: usize, tapPtr: usize, dxPtr: usize, count: i32, height: i32, width: i32, channels: i32, outHeight: i32, outWidth: i32,
  kernelHeight: i32, kernelWidth: i32, strideY: i32, strideX: i32, top: i32, left: i32,
): void {
  // Windows side by side and all of them inside, whatever lies beyond them: each number of dx is written once.
  const sideBySide = strideY == kernelHeight && strideX == kernelWidth && top == 0 && left == 0;
  const inside = outHeight * kernelHeight <= height && outWidth * kernelWidth <= width;
  if (channels % 4 == 0 && sideBySide && inside) {
    maxPoolGradientSideBySide(dyPtr, tapPtr, dxPtr, count, height, width, channels, outHeight, outWidth, kernelHeight, kernelWidth);
    return;
  }
  const pixelBytes = channels << 2;
  memory.fill(dxPtr, 0, <usize>count * height * width * pixelBytes);
  for (let n: i32 = 0; n < count; n++) {
    const imagePtr = dxPtr + <usize>(n * height * width) * pixelBytes;
    for (let oy: i32 = 0; oy < outHeight; oy++) {
      for (let ox: i32 = 0; ox < outWidth; ox++) {
        const windowPtr = imagePtr + <usize>(((oy * strideY - top) * width + ox * strideX - left) * pixelBytes);
        for (let c: i32 = 0; c < channels; c++) {
          const tap = <i32>load<u16>(tapPtr);
          const ky = tap / kernelWidth;
          const at = windowPtr + <usize>((ky * width + tap - ky * kernelWidth) * pixelBytes + (c << 2));
          store<f32>(at, load<f32>(at) + load<f32>(dyPtr));
          tapPtr += 2;
          dyPtr += 4;
        }
      }
    }
  }
}

function maxPoolGradientSideBySide(
  dyPtr: usize, tapPtr: usize, dxPtr: usize, count: i32, height: i32, width: i32, channels: i32, outHeight: i32, outWidth: i32,
  kernelHeight: i32, kernelWidth: i32,
): void {
  const pixelBytes = channels << 2;
  const outRowBytes = <usize>(outWidth * pixelBytes);
  const rightBytes = <usize>((width - outWidth * kernelWidth) * pixelBytes);
  const belowBytes = <usize>((height - outHeight * kernelHeight) * width * pixelBytes);
  for (let n: i32 = 0; n < count; n++) {
    for (let oy: i32 = 0; oy < outHeight; oy++) {
      for (let ky: i32 = 0; ky < kernelHeight; ky++) {
        for (let ox: i32 = 0; ox < outWidth; ox++) {
          const fromPtr = dyPtr + <usize>(ox * pixelBytes);
          const wonPtr = tapPtr + <usize>(ox * (pixelBytes >> 1));
          for (let kx: i32 = 0; kx < kernelWidth; kx++) {
            const tap = i32x4.splat(ky * kernelWidth + kx);
            for (let c: i32 = 0; c < pixelBytes; c += 16) {
              const won = i32x4.extend_low_i16x8_u(v128.load64_zero(wonPtr + (<usize>c >> 1)));
              v128.store(dxPtr, v128.and(v128.load(fromPtr + <usize>c), i32x4.eq(won, tap)));
              dxPtr += 16;
            }
          }
        }
        memory.fill(dxPtr, 0, rightBytes);
        dxPtr += rightBytes;
      }
      dyPtr += outRowBytes;
      tapPtr += outRowBytes >> 1;
    }
    memory.fill(dxPtr, 0, belowBytes);
    dxPtr += belowBytes;
  }
}

/** Mean of each window; padding counts as zeros within the divisor (PyTorch's default). Rows of a window are summed first, then added. */
export function averagePoolF32(
  xPtr: usize, outPtr: usize, count: i32, height: i32, width: i32, channels: i32, outHeight: i32, outWidth: i32,
  kernelHeight: i32, kernelWidth: i32, strideY: i32, strideX: i32, top: i32, left: i32,
): void {
  const pixelBytes = (<usize>channels) << 2;
  const divisor = <f32>(kernelHeight * kernelWidth);
  for (let n: i32 = 0; n < count; n++) {
    const imagePtr = xPtr + <usize>(n * height * width) * pixelBytes;
    for (let oy: i32 = 0; oy < outHeight; oy++) {
      const y0 = oy * strideY - top;
      const ky0 = max(0, -y0), ky1 = min(kernelHeight, height - y0);
      for (let ox: i32 = 0; ox < outWidth; ox++) {
        const x0 = ox * strideX - left;
        const kx0 = max(0, -x0), kx1 = min(kernelWidth, width - x0);
        const windowPtr = imagePtr + <usize>((y0 * width + x0) * <i32>pixelBytes);
        let c: i32 = 0;
        for (; c + 4 <= channels; c += 4) {
          let sum = f32x4.splat(0);
          for (let ky = ky0; ky < ky1; ky++) {
            let row = f32x4.splat(0);
            let at = windowPtr + <usize>((ky * width + kx0) * <i32>pixelBytes + (c << 2));
            for (let kx = kx0; kx < kx1; kx++) {
              row = f32x4.add(row, v128.load(at));
              at += pixelBytes;
            }
            sum = f32x4.add(sum, row);
          }
          v128.store(outPtr, f32x4.div(sum, f32x4.splat(divisor)));
          outPtr += 16;
        }
        for (; c < channels; c++) {
          let sum: f32 = 0;
          for (let ky = ky0; ky < ky1; ky++) {
            let row: f32 = 0;
            for (let kx = kx0; kx < kx1; kx++) {
              row += load<f32>(windowPtr + <usize>((ky * width + kx) * <i32>pixelBytes + (c << 2)));
            }
            sum += row;
          }
          store<f32>(outPtr, sum / divisor);
          outPtr += 4;
        }
      }
    }
  }
}

/** dx = 0, then each output's gradient over the divisor goes to every pixel of its window. */
export function averagePoolGradientF32(
  dyPtr: usize, dxPtr: usize, count: i32, height: i32, width: i32, channels: i32, outHeight: i32, outWidth: i32,
  kernelHeight: i32, kernelWidth: i32, strideY: i32, strideX: i32, top: i32, left: i32,
): void {
  const pixelBytes = channels << 2;
  const divisor = <f32>(kernelHeight * kernelWidth);
  memory.fill(dxPtr, 0, <usize>count * height * width * pixelBytes);
  for (let n: i32 = 0; n < count; n++) {
    const imagePtr = dxPtr + <usize>(n * height * width) * pixelBytes;
    for (let oy: i32 = 0; oy < outHeight; oy++) {
      const y0 = oy * strideY - top;
      const ky0 = max(0, -y0), ky1 = min(kernelHeight, height - y0);
      for (let ox: i32 = 0; ox < outWidth; ox++) {
        const x0 = ox * strideX - left;
        const kx0 = max(0, -x0), kx1 = min(kernelWidth, width - x0);
        for (let ky = ky0; ky < ky1; ky++) {
          for (let kx = kx0; kx < kx1; kx++) {
            let at = imagePtr + <usize>(((y0 + ky) * width + x0 + kx) * pixelBytes);
            let fromPtr = dyPtr;
            let c: i32 = 0;
            for (; c + 4 <= channels; c += 4) {
              v128.store(at, f32x4.add(v128.load(at), f32x4.div(v128.load(fromPtr), f32x4.splat(divisor))));
              at += 16;
              fromPtr += 16;
            }
            for (; c < channels; c++) {
              store<f32>(at, load<f32>(at) + load<f32>(fromPtr) / divisor);
              at += 4;
              fromPtr += 4;
            }
          }
        }
        dyPtr += pixelBytes;
      }
    }
  }
}
