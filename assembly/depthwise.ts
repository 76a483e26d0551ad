// Depthwise convolution of NHWC images, filter [kernel height, kernel width, channels]: every channel by itself, so there is no product
// to build it on. Four output pixels of four channels at once: a tap costs five loads for eight operations, and the arithmetic (nine taps:
// nine cycles a vector) is what remains; one pixel at a time is bound by its two loads a tap. Rows are finished one after the
// other, so that the input rows of a window stay in the cache while the blocks of channels pass over them.

/** Row `y` of an image, or the row of zeros that stands for padding. */
function rowOf(imagePtr: usize, zeroRowPtr: usize, y: i32, height: i32, rowBytes: usize): usize {
  return y >= 0 && y < height ? imagePtr + <usize>y * rowBytes : zeroRowPtr;
}

/** One output of `lanes` ≤ 4 channels, taps outside the row left out: borders, and what is left over. */
function oneOutput(
  rowsPtr: usize, weightPtr: usize, biasPtr: usize, outPtr: usize, x0: i32, width: i32, channels: i32, c: i32,
  kernelHeight: i32, kernelWidth: i32, dilationX: i32,
): void {
  const vector = c + 4 <= channels;
  let sum = f32x4.splat(0);
  const at = (<usize>c) << 2;
  if (biasPtr != 0) sum = vector ? v128.load(biasPtr + at) : f32x4.splat(load<f32>(biasPtr + at));
  for (let ky: i32 = 0; ky < kernelHeight; ky++) {
    const rowPtr = load<usize>(rowsPtr + ((<usize>ky) << 2));
    for (let kx: i32 = 0; kx < kernelWidth; kx++) {
      const x = x0 + kx * dilationX;
      if (x < 0 || x >= width) continue;
      const pixelPtr = rowPtr + ((<usize>(x * channels + c)) << 2);
      const tapPtr = weightPtr + ((<usize>((ky * kernelWidth + kx) * channels + c)) << 2);
      if (vector) sum = f32x4.add(sum, f32x4.mul(v128.load(pixelPtr), v128.load(tapPtr)));
      else sum = f32x4.add(sum, f32x4.mul(f32x4.splat(load<f32>(pixelPtr)), f32x4.splat(load<f32>(tapPtr))));
    }
  }
  if (vector) v128.store(outPtr + at, sum);
  else store<f32>(outPtr + at, f32x4.extract_lane(sum, 0));
}

/** `rowsPtr` [kernelHeight] ← the rows under a window whose first row is y0. */
function windowRows(
  rowsPtr: usize, imagePtr: usize, zeroRowPtr: usize, y0: i32, height: i32, rowBytes: usize, kernelHeight: i32, dilationY: i32,
): void {
  for (let ky: i32 = 0; ky < kernelHeight; ky++) {
    store<usize>(rowsPtr + ((<usize>ky) << 2), rowOf(imagePtr, zeroRowPtr, y0 + ky * dilationY, height, rowBytes));
  }
}

/** Scratch of the three functions below: pointers to the rows of a window, and a row of zeros. */
export function depthwiseScratchBytes(width: i32, channels: i32, kernelHeight: i32): i32 {
  return ((kernelHeight * 4 + 15) & ~15) + width * channels * 4;
}

/**
 * y [count, outHeight, outWidth, channels] = bias + Σ over taps of x · w, taps in the order (ky, kx). `biasPtr` may be 0. With the
 * filter rotated and padding kernel − 1 − padding it is also the input gradient of stride 1.
 */
export function depthwiseF32(
  xPtr: usize, weightPtr: usize, biasPtr: usize, outPtr: usize, count: i32, height: i32, width: i32, channels: i32, outHeight: i32,
  outWidth: i32, kernelHeight: i32, kernelWidth: i32, strideY: i32, strideX: i32, dilationY: i32, dilationX: i32, top: i32, left: i32,
  scratchPtr: usize,
): void {
  const pixelBytes = (<usize>channels) << 2;
  const rowBytes = <usize>width * pixelBytes;
  const rowsPtr = scratchPtr;
  const zeroRowPtr = scratchPtr + <usize>((kernelHeight * 4 + 15) & ~15);
  memory.fill(zeroRowPtr, 0, rowBytes);
  const stepBytes = <usize>strideX * pixelBytes;
  const tapStep = <usize>dilationX * pixelBytes;
  const reach = (kernelWidth - 1) * dilationX;
  // Outputs [firstInside, endInside) have their whole window inside the row.
  const firstInside = left <= 0 ? 0 : min(outWidth, (left + strideX - 1) / strideX);
  const endInside = max(firstInside, min(outWidth, width - 1 - reach + left >= 0 ? (width - 1 - reach + left) / strideX + 1 : 0));
  const blockEnd = firstInside + ((endInside - firstInside) & ~3);
  for (let n: i32 = 0; n < count; n++) {
    const imagePtr = xPtr + <usize>n * <usize>height * rowBytes;
    for (let oy: i32 = 0; oy < outHeight; oy++) {
      windowRows(rowsPtr, imagePtr, zeroRowPtr, oy * strideY - top, height, rowBytes, kernelHeight, dilationY);
      for (let c: i32 = 0; c < channels; c += c + 4 <= channels ? 4 : 1) {
        const channelBytes = (<usize>c) << 2;
        let ox: i32 = 0;
        if (c + 4 <= channels) {
          for (; ox < firstInside; ox++) {
            oneOutput(rowsPtr, weightPtr, biasPtr, outPtr + <usize>ox * pixelBytes, ox * strideX - left, width, channels, c, kernelHeight, kernelWidth, dilationX);
          }
          const bias = biasPtr == 0 ? f32x4.splat(0) : v128.load(biasPtr + channelBytes);
          for (; ox < blockEnd; ox += 4) {
            let s0 = bias, s1 = bias, s2 = bias, s3 = bias;
            let tapPtr = weightPtr + channelBytes;
            const offset = <usize>(ox * strideX - left) * pixelBytes + channelBytes;
            for (let ky: i32 = 0; ky < kernelHeight; ky++) {
              let p0 = load<usize>(rowsPtr + ((<usize>ky) << 2)) + offset;
              for (let kx: i32 = 0; kx < kernelWidth; kx++) {
                const w = v128.load(tapPtr);
                s0 = f32x4.add(s0, f32x4.mul(v128.load(p0), w));
                const p1 = p0 + stepBytes;
                s1 = f32x4.add(s1, f32x4.mul(v128.load(p1), w));
                const p2 = p1 + stepBytes;
                s2 = f32x4.add(s2, f32x4.mul(v128.load(p2), w));
                s3 = f32x4.add(s3, f32x4.mul(v128.load(p2 + stepBytes), w));
                tapPtr += pixelBytes;
                p0 += tapStep;
              }
            }
            let toPtr = outPtr + <usize>ox * pixelBytes + channelBytes;
            v128.store(toPtr, s0);
            toPtr += pixelBytes;
            v128.store(toPtr, s1);
            toPtr += pixelBytes;
            v128.store(toPtr, s2);
            v128.store(toPtr + pixelBytes, s3);
          }
        }
        for (; ox < outWidth; ox++) {
          oneOutput(rowsPtr, weightPtr, biasPtr, outPtr + <usize>ox * pixelBytes, ox * strideX - left, width, channels, c, kernelHeight, kernelWidth, dilationX);
        }
      }
      outPtr += <usize>outWidth * pixelBytes;
    }
  }
}

/** dx [count, height, width, channels] = 0, then every dy goes back through its taps: for strides above 1, where few taps meet in a pixel. */
export function depthwiseInputGradientF32(
  dyPtr: usize, weightPtr: usize, dxPtr: usize, count: i32, height: i32, width: i32, channels: i32, outHeight: i32, outWidth: i32,
  kernelHeight: i32, kernelWidth: i32, strideY: i32, strideX: i32, dilationY: i32, dilationX: i32, top: i32, left: i32,
): void {
  const pixelBytes = (<usize>channels) << 2;
  memory.fill(dxPtr, 0, <usize>count * <usize>height * <usize>width * pixelBytes);
  for (let n: i32 = 0; n < count; n++) {
    for (let oy: i32 = 0; oy < outHeight; oy++) {
      for (let ky: i32 = 0; ky < kernelHeight; ky++) {
        const y = oy * strideY - top + ky * dilationY;
        if (y < 0 || y >= height) continue;
        for (let kx: i32 = 0; kx < kernelWidth; kx++) {
          const tapPtr = weightPtr + <usize>(ky * kernelWidth + kx) * pixelBytes;
          for (let ox: i32 = 0; ox < outWidth; ox++) {
            const x = ox * strideX - left + kx * dilationX;
            if (x < 0 || x >= width) continue;
            let at = dxPtr + <usize>(y * width + x) * pixelBytes;
            let fromPtr = dyPtr + <usize>ox * pixelBytes;
            let wPtr = tapPtr;
            let c: i32 = 0;
            for (; c + 4 <= channels; c += 4) {
              v128.store(at, f32x4.add(v128.load(at), f32x4.mul(v128.load(fromPtr), v128.load(wPtr))));
              at += 16;
              fromPtr += 16;
              wPtr += 16;
            }
            for (; c < channels; c++) {
              store<f32>(at, load<f32>(at) + load<f32>(fromPtr) * load<f32>(wPtr));
              at += 4;
              fromPtr += 4;
              wPtr += 4;
            }
          }
        }
      }
      dyPtr += <usize>outWidth * pixelBytes;
    }
    dxPtr += <usize>height * <usize>width * pixelBytes;
  }
}

/** sums [kernel height, kernel width, channels] (f64, cleared here) = Σ x · dy; each output row's part in f32 (four sums a channel), rows in f64. */
export function depthwiseFilterGradientF32(
  xPtr: usize, dyPtr: usize, sumsPtr: usize, count: i32, height: i32, width: i32, channels: i32, outHeight: i32, outWidth: i32,
  kernelHeight: i32, kernelWidth: i32, strideY: i32, strideX: i32, dilationY: i32, dilationX: i32, top: i32, left: i32,
): void {
  const pixelBytes = (<usize>channels) << 2;
  const rowBytes = <usize>width * pixelBytes;
  const stepBytes = <usize>strideX * pixelBytes;
  memory.fill(sumsPtr, 0, (<usize>(kernelHeight * kernelWidth * channels)) << 3);
  for (let n: i32 = 0; n < count; n++) {
    for (let oy: i32 = 0; oy < outHeight; oy++) {
      for (let c: i32 = 0; c < channels; c += c + 4 <= channels ? 4 : 1) {
        const vector = c + 4 <= channels;
        for (let ky: i32 = 0; ky < kernelHeight; ky++) {
          const y = oy * strideY - top + ky * dilationY;
          if (y < 0 || y >= height) continue;
          const rowPtr = xPtr + <usize>y * rowBytes + ((<usize>c) << 2);
          for (let kx: i32 = 0; kx < kernelWidth; kx++) {
            const x0 = kx * dilationX - left;
            const first = x0 >= 0 ? 0 : (-x0 + strideX - 1) / strideX;
            const end = min(outWidth, width - 1 - x0 >= 0 ? (width - 1 - x0) / strideX + 1 : 0);
            let fromPtr = rowPtr + <usize>(x0 + first * strideX) * pixelBytes;
            let gradientPtr = dyPtr + <usize>first * pixelBytes + ((<usize>c) << 2);
            const at = sumsPtr + ((<usize>((ky * kernelWidth + kx) * channels + c)) << 3);
            let ox = first;
            if (vector) {
              let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0;
              for (; ox + 4 <= end; ox += 4) {
                s0 = f32x4.add(s0, f32x4.mul(v128.load(fromPtr), v128.load(gradientPtr)));
                const p1 = fromPtr + stepBytes, g1 = gradientPtr + pixelBytes;
                s1 = f32x4.add(s1, f32x4.mul(v128.load(p1), v128.load(g1)));
                const p2 = p1 + stepBytes, g2 = g1 + pixelBytes;
                s2 = f32x4.add(s2, f32x4.mul(v128.load(p2), v128.load(g2)));
                const p3 = p2 + stepBytes, g3 = g2 + pixelBytes;
                s3 = f32x4.add(s3, f32x4.mul(v128.load(p3), v128.load(g3)));
                fromPtr = p3 + stepBytes;
                gradientPtr = g3 + pixelBytes;
              }
              for (; ox < end; ox++) {
                s0 = f32x4.add(s0, f32x4.mul(v128.load(fromPtr), v128.load(gradientPtr)));
                fromPtr += stepBytes;
                gradientPtr += pixelBytes;
              }
              const sum = f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3));
              v128.store(at, f64x2.add(v128.load(at), f64x2.promote_low_f32x4(sum)));
              v128.store(at, f64x2.add(v128.load(at, 16), f64x2.promote_low_f32x4(v128.shuffle<i64>(sum, sum, 1, 1))), 16);
            } else {
              let sum: f64 = 0;
              for (; ox < end; ox++) {
                sum += <f64>load<f32>(fromPtr) * <f64>load<f32>(gradientPtr);
                fromPtr += stepBytes;
                gradientPtr += pixelBytes;
              }
              store<f64>(at, load<f64>(at) + sum);
            }
          }
        }
      }
      dyPtr += <usize>outWidth * pixelBytes;
    }
    xPtr += <usize>height * rowBytes;
  }
}
