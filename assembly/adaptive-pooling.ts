// Adaptive pooling of NHWC images: output i of `out` covers the pixels from ⌊i · extent / out⌋ up to ⌈(i + 1) · extent / out⌉, as in
// PyTorch. Windows may overlap and differ in size.

function firstOf(i: i32, extent: i32, out: i32): i32 {
  return <i32>(<i64>i * extent / out);
}

function endOf(i: i32, extent: i32, out: i32): i32 {
  return <i32>((<i64>(i + 1) * extent + out - 1) / out);
}

/** Mean of each window. Rows of a window are summed first, then added. */
export function adaptiveAveragePoolF32(
  xPtr: usize, outPtr: usize, count: i32, height: i32, width: i32, channels: i32, outHeight: i32, outWidth: i32,
): void {
  const pixelBytes = (<usize>channels) << 2;
  for (let n: i32 = 0; n < count; n++) {
    for (let oy: i32 = 0; oy < outHeight; oy++) {
      const y0 = firstOf(oy, height, outHeight), y1 = endOf(oy, height, outHeight);
      for (let ox: i32 = 0; ox < outWidth; ox++) {
        const x0 = firstOf(ox, width, outWidth), x1 = endOf(ox, width, outWidth);
        const divisor = <f32>((y1 - y0) * (x1 - x0));
        for (let c: i32 = 0; c < channels; c++) {
          let sum: f32 = 0;
          for (let y = y0; y < y1; y++) {
            let row: f32 = 0;
            for (let x = x0; x < x1; x++) row += load<f32>(xPtr + <usize>(y * width + x) * pixelBytes + ((<usize>c) << 2));
            sum += row;
          }
          store<f32>(outPtr, sum / divisor);
          outPtr += 4;
        }
      }
    }
    xPtr += <usize>(height * width) * pixelBytes;
  }
}

/** dx = 0, then each output's gradient over its window's size goes to every pixel of the window. */
export function adaptiveAveragePoolGradientF32(
  dyPtr: usize, dxPtr: usize, count: i32, height: i32, width: i32, channels: i32, outHeight: i32, outWidth: i32,
): void {
  const pixelBytes = (<usize>channels) << 2;
  memory.fill(dxPtr, 0, <usize>count * <usize>(height * width) * pixelBytes);
  for (let n: i32 = 0; n < count; n++) {
    for (let oy: i32 = 0; oy < outHeight; oy++) {
      const y0 = firstOf(oy, height, outHeight), y1 = endOf(oy, height, outHeight);
      for (let ox: i32 = 0; ox < outWidth; ox++) {
        const x0 = firstOf(ox, width, outWidth), x1 = endOf(ox, width, outWidth);
        const divisor = <f32>((y1 - y0) * (x1 - x0));
        for (let c: i32 = 0; c < channels; c++) {
          const share = load<f32>(dyPtr) / divisor;
          dyPtr += 4;
          for (let y = y0; y < y1; y++) {
            for (let x = x0; x < x1; x++) {
              const at = dxPtr + <usize>(y * width + x) * pixelBytes + ((<usize>c) << 2);
              store<f32>(at, load<f32>(at) + share);
            }
          }
        }
      }
    }
    dxPtr += <usize>(height * width) * pixelBytes;
  }
}

/**
 * Largest of each window; `winnersPtr` (i32) receives its pixel's number in the image: the FIRST maximum in row-major
 * order; NaN wins and stays.
 */
export function adaptiveMaxPoolF32(
  xPtr: usize, outPtr: usize, winnersPtr: usize, count: i32, height: i32, width: i32, channels: i32, outHeight: i32, outWidth: i32,
): void {
  const pixelBytes = (<usize>channels) << 2;
  for (let n: i32 = 0; n < count; n++) {
    for (let oy: i32 = 0; oy < outHeight; oy++) {
      const y0 = firstOf(oy, height, outHeight), y1 = endOf(oy, height, outHeight);
      for (let ox: i32 = 0; ox < outWidth; ox++) {
        const x0 = firstOf(ox, width, outWidth), x1 = endOf(ox, width, outWidth);
        for (let c: i32 = 0; c < channels; c++) {
          let best: f32 = -Infinity;
          let winner = y0 * width + x0;
          for (let y = y0; y < y1; y++) {
            for (let x = x0; x < x1; x++) {
              const value = load<f32>(xPtr + <usize>(y * width + x) * pixelBytes + ((<usize>c) << 2));
              if (value > best || value != value) {
                best = value;
                winner = y * width + x;
              }
            }
          }
          store<f32>(outPtr, best);
          store<i32>(winnersPtr, winner);
          outPtr += 4;
          winnersPtr += 4;
        }
      }
    }
    xPtr += <usize>(height * width) * pixelBytes;
  }
}

/** dx = 0, then each output's gradient goes to its winner. */
export function adaptiveMaxPoolGradientF32(
  dyPtr: usize, winnersPtr: usize, dxPtr: usize, count: i32, pixels: i32, channels: i32, outPixels: i32,
): void {
  const imageBytes = (<usize>(pixels * channels)) << 2;
  memory.fill(dxPtr, 0, <usize>count * imageBytes);
  for (let n: i32 = 0; n < count; n++) {
    for (let i: i32 = 0; i < outPixels; i++) {
      for (let c: i32 = 0; c < channels; c++) {
        const at = dxPtr + ((<usize>(load<i32>(winnersPtr) * channels + c)) << 2);
        store<f32>(at, load<f32>(at) + load<f32>(dyPtr));
        dyPtr += 4;
        winnersPtr += 4;
      }
    }
    dxPtr += imageBytes;
  }
}
