// Depthwise convolution of NHWC images, filter [kernel height, kernel width, channels]. Every channel is convolved by itself, so
// there is no matrix product to build it on. Blocks of four channels pass over a row of outputs: with a 3×3 filter the taps stay in
// registers, otherwise four neighbouring pixels are computed side by side. Rows are finished one after the other, and each is read
// once in order beforehand: a block reads four channels of every pixel, a stride that prefetchers do not follow.
import { Halves } from "./halves";

/** Row `y` of an image, or the row of zeros that stands for padding. */
export function rowOf(imagePtr: usize, zeroRowPtr: usize, y: i32, height: i32, rowBytes: usize): usize {
  return y >= 0 && y < height ? imagePtr + <usize>y * rowBytes : zeroRowPtr;
}

/**
 * One output of four channels from `c` on or, where fewer than four are left, of channel `c` alone. Taps outside the row are left
 * out. For borders, and for what blocks leave over.
 */
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

/**
 * Reads one word of every cache line, in order. Blocks of channels stride through a row, which no prefetcher follows: each
 * first touch of a line would wait for it. One pass in order before them brings the row at the speed of the memory: 9.5 → 14 GFLOP/s.
 */
function touch(fromPtr: usize, bytes: usize, sinkPtr: usize): void {
  let seen: i32 = 0;
  const end = fromPtr + bytes;
  for (; fromPtr < end; fromPtr += 64) seen |= load<i32>(fromPtr);
  // Kept, or the compiler would leave the loop out.
  store<i32>(sinkPtr, seen);
}

/** Scratch of the three functions below: pointers to the rows of a window, and a row of zeros. */
export function depthwiseScratchBytes(width: i32, channels: i32, kernelHeight: i32): i32 {
  return ((kernelHeight * 4 + 15) & ~15) + width * channels * 4;
}

/**
 * One row of outputs of a 3×3 filter, all blocks of four channels: the nine taps stay in registers, so that an output costs nine loads
 * and not eighteen (5.5 → 9.5 GFLOP/s). Columns outside the row are read from the row of zeros.
 */
function row3(
  rowsPtr: usize, zeroRowPtr: usize, weightPtr: usize, biasPtr: usize, outPtr: usize, width: i32, channels: i32, outWidth: i32,
  firstInside: i32, endInside: i32, strideX: i32, dilationX: i32, left: i32,
): void {
  const pixelBytes = (<usize>channels) << 2;
  const stepBytes = <usize>strideX * pixelBytes;
  const tap1 = <usize>dilationX * pixelBytes, tap2 = tap1 + tap1;
  const rowA = load<usize>(rowsPtr), rowB = load<usize>(rowsPtr, 4), rowC = load<usize>(rowsPtr, 8);
  for (let at: usize = 0; at + 16 <= pixelBytes; at += 16) {
    let tapPtr = weightPtr + at;
    const w0 = v128.load(tapPtr), w1 = v128.load(tapPtr + pixelBytes), w2 = v128.load(tapPtr + 2 * pixelBytes);
    tapPtr += 3 * pixelBytes;
    const w3 = v128.load(tapPtr), w4 = v128.load(tapPtr + pixelBytes), w5 = v128.load(tapPtr + 2 * pixelBytes);
    tapPtr += 3 * pixelBytes;
    const w6 = v128.load(tapPtr), w7 = v128.load(tapPtr + pixelBytes), w8 = v128.load(tapPtr + 2 * pixelBytes);
    const bias = biasPtr == 0 ? f32x4.splat(0) : v128.load(biasPtr + at);
    const zeroPtr = zeroRowPtr + at;
    let toPtr = outPtr + at;
    let ox: i32 = 0;
    while (ox < outWidth) {
      if (ox == firstInside && ox < endInside) {
        const offset = <usize>(ox * strideX - left) * pixelBytes + at;
        let a = rowA + offset, b = rowB + offset, c = rowC + offset;
        const end = outPtr + at + <usize>endInside * pixelBytes;
        for (; toPtr < end; toPtr += pixelBytes) {
          let sum = f32x4.add(bias, f32x4.mul(v128.load(a), w0));
          sum = f32x4.add(sum, f32x4.mul(v128.load(a + tap1), w1));
          sum = f32x4.add(sum, f32x4.mul(v128.load(a + tap2), w2));
          sum = f32x4.add(sum, f32x4.mul(v128.load(b), w3));
          sum = f32x4.add(sum, f32x4.mul(v128.load(b + tap1), w4));
          sum = f32x4.add(sum, f32x4.mul(v128.load(b + tap2), w5));
          sum = f32x4.add(sum, f32x4.mul(v128.load(c), w6));
          sum = f32x4.add(sum, f32x4.mul(v128.load(c + tap1), w7));
          sum = f32x4.add(sum, f32x4.mul(v128.load(c + tap2), w8));
          v128.store(toPtr, sum);
          a += stepBytes;
          b += stepBytes;
          c += stepBytes;
        }
        ox = endInside;
        continue;
      }
      const x0 = ox * strideX - left, x1 = x0 + dilationX, x2 = x1 + dilationX;
      const in0 = x0 >= 0 && x0 < width, in1 = x1 >= 0 && x1 < width, in2 = x2 >= 0 && x2 < width;
      const p0 = <usize>x0 * pixelBytes + at, p1 = <usize>x1 * pixelBytes + at, p2 = <usize>x2 * pixelBytes + at;
      let sum = f32x4.add(bias, f32x4.mul(v128.load(in0 ? rowA + p0 : zeroPtr), w0));
      sum = f32x4.add(sum, f32x4.mul(v128.load(in1 ? rowA + p1 : zeroPtr), w1));
      sum = f32x4.add(sum, f32x4.mul(v128.load(in2 ? rowA + p2 : zeroPtr), w2));
      sum = f32x4.add(sum, f32x4.mul(v128.load(in0 ? rowB + p0 : zeroPtr), w3));
      sum = f32x4.add(sum, f32x4.mul(v128.load(in1 ? rowB + p1 : zeroPtr), w4));
      sum = f32x4.add(sum, f32x4.mul(v128.load(in2 ? rowB + p2 : zeroPtr), w5));
      sum = f32x4.add(sum, f32x4.mul(v128.load(in0 ? rowC + p0 : zeroPtr), w6));
      sum = f32x4.add(sum, f32x4.mul(v128.load(in1 ? rowC + p1 : zeroPtr), w7));
      sum = f32x4.add(sum, f32x4.mul(v128.load(in2 ? rowC + p2 : zeroPtr), w8));
      v128.store(toPtr, sum);
      toPtr += pixelBytes;
      ox++;
    }
  }
}

/** Output pixels whose products one f32 sum of the filter gradient takes before it goes into f64. */
const FLUSH_PIXELS: i32 = 64;

/**
 * Filter gradient of one block of four channels of a 3×3 filter over some output rows: nine sums side by side, a load
 * of dy for all nine.
 */
function filter3(
  imagePtr: usize, zeroPtr: usize, dyPtr: usize, sumsPtr: usize, firstRow: i32, endRow: i32, height: i32, width: i32, channels: i32,
  outWidth: i32, strideY: i32, strideX: i32, dilationY: i32, dilationX: i32, top: i32, left: i32,
): void {
  const pixelBytes = (<usize>channels) << 2;
  const rowBytes = <usize>width * pixelBytes;
  const tap1 = <usize>dilationX * pixelBytes, tap2 = tap1 + tap1;
  const stepBytes = <usize>strideX * pixelBytes;
  let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0, s8 = s0;
  for (let oy = firstRow; oy < endRow; oy++) {
    const y0 = oy * strideY - top, y1 = y0 + dilationY, y2 = y1 + dilationY;
    const hasA = y0 >= 0 && y0 < height, hasB = y1 >= 0 && y1 < height, hasC = y2 >= 0 && y2 < height;
    let gradientPtr = dyPtr + <usize>(oy * outWidth) * pixelBytes;
    const offset = <usize>(-left) * pixelBytes;
    // Rows outside are the row of zeros, which is as long as a row.
    let a = (hasA ? imagePtr + <usize>y0 * rowBytes : zeroPtr) + offset;
    let b = (hasB ? imagePtr + <usize>y1 * rowBytes : zeroPtr) + offset;
    let c = (hasC ? imagePtr + <usize>y2 * rowBytes : zeroPtr) + offset;
    for (let ox: i32 = 0; ox < outWidth; ox++) {
      const dy = v128.load(gradientPtr);
      const x0 = ox * strideX - left, x2 = x0 + 2 * dilationX;
      if (x0 >= 0 && x2 < width) {
        s0 = f32x4.add(s0, f32x4.mul(dy, v128.load(a)));
        s1 = f32x4.add(s1, f32x4.mul(dy, v128.load(a + tap1)));
        s2 = f32x4.add(s2, f32x4.mul(dy, v128.load(a + tap2)));
        s3 = f32x4.add(s3, f32x4.mul(dy, v128.load(b)));
        s4 = f32x4.add(s4, f32x4.mul(dy, v128.load(b + tap1)));
        s5 = f32x4.add(s5, f32x4.mul(dy, v128.load(b + tap2)));
        s6 = f32x4.add(s6, f32x4.mul(dy, v128.load(c)));
        s7 = f32x4.add(s7, f32x4.mul(dy, v128.load(c + tap1)));
        s8 = f32x4.add(s8, f32x4.mul(dy, v128.load(c + tap2)));
      } else {
        const x1 = x0 + dilationX;
        if (x0 >= 0 && x0 < width) {
          s0 = f32x4.add(s0, f32x4.mul(dy, v128.load(a)));
          s3 = f32x4.add(s3, f32x4.mul(dy, v128.load(b)));
          s6 = f32x4.add(s6, f32x4.mul(dy, v128.load(c)));
        }
        if (x1 >= 0 && x1 < width) {
          s1 = f32x4.add(s1, f32x4.mul(dy, v128.load(a + tap1)));
          s4 = f32x4.add(s4, f32x4.mul(dy, v128.load(b + tap1)));
          s7 = f32x4.add(s7, f32x4.mul(dy, v128.load(c + tap1)));
        }
        if (x2 >= 0 && x2 < width) {
          s2 = f32x4.add(s2, f32x4.mul(dy, v128.load(a + tap2)));
          s5 = f32x4.add(s5, f32x4.mul(dy, v128.load(b + tap2)));
          s8 = f32x4.add(s8, f32x4.mul(dy, v128.load(c + tap2)));
        }
      }
      a += stepBytes;
      b += stepBytes;
      c += stepBytes;
      gradientPtr += pixelBytes;
    }
  }
  const next = pixelBytes << 1;
  Halves.addTo(sumsPtr, s0);
  Halves.addTo(sumsPtr + next, s1);
  Halves.addTo(sumsPtr + 2 * next, s2);
  Halves.addTo(sumsPtr + 3 * next, s3);
  Halves.addTo(sumsPtr + 4 * next, s4);
  Halves.addTo(sumsPtr + 5 * next, s5);
  Halves.addTo(sumsPtr + 6 * next, s6);
  Halves.addTo(sumsPtr + 7 * next, s7);
  Halves.addTo(sumsPtr + 8 * next, s8);
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
    let touched: i32 = 0;
    for (let oy: i32 = 0; oy < outHeight; oy++) {
      const rowsEnd = min(height, oy * strideY - top + (kernelHeight - 1) * dilationY + 1);
      if (rowsEnd > touched) {
        touch(imagePtr + <usize>touched * rowBytes, <usize>(rowsEnd - touched) * rowBytes, rowsPtr);
        touched = rowsEnd;
      }
      touch(outPtr, <usize>outWidth * pixelBytes, rowsPtr);
      windowRows(rowsPtr, imagePtr, zeroRowPtr, oy * strideY - top, height, rowBytes, kernelHeight, dilationY);
      let first: i32 = 0;
      if (kernelHeight == 3 && kernelWidth == 3) {
        row3(rowsPtr, zeroRowPtr, weightPtr, biasPtr, outPtr, width, channels, outWidth, firstInside, endInside, strideX, dilationX, left);
        first = channels & ~3;
      }
      for (let c = first; c < channels; c += c + 4 <= channels ? 4 : 1) {
        const channelBytes = (<usize>c) << 2;
        let ox: i32 = 0;
        if (c + 4 <= channels) {
          for (; ox < firstInside; ox++) {
            oneOutput(
              rowsPtr, weightPtr, biasPtr, outPtr + <usize>ox * pixelBytes, ox * strideX - left, width, channels, c, kernelHeight,
              kernelWidth, dilationX,
            );
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
          oneOutput(
            rowsPtr, weightPtr, biasPtr, outPtr + <usize>ox * pixelBytes, ox * strideX - left, width, channels, c, kernelHeight,
            kernelWidth, dilationX,
          );
        }
      }
      outPtr += <usize>outWidth * pixelBytes;
    }
  }
}

/**
 * dx [count, height, width, channels] = 0, then every dy goes back through its taps: for strides above 1, where few
 * taps meet in a pixel.
 */
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

/**
 * sums [kernel height, kernel width, channels] (f64, cleared here) = Σ x · dy; each output row's part in f32 (four sums
 * a channel), rows in f64.
 */
export function depthwiseFilterGradientF32(
  xPtr: usize, dyPtr: usize, sumsPtr: usize, count: i32, height: i32, width: i32, channels: i32, outHeight: i32, outWidth: i32,
  kernelHeight: i32, kernelWidth: i32, strideY: i32, strideX: i32, dilationY: i32, dilationX: i32, top: i32, left: i32,
  scratchPtr: usize,
): void {
  const pixelBytes = (<usize>channels) << 2;
  const rowBytes = <usize>width * pixelBytes;
  const stepBytes = <usize>strideX * pixelBytes;
  memory.fill(sumsPtr, 0, (<usize>(kernelHeight * kernelWidth * channels)) << 3);
  memory.fill(scratchPtr, 0, rowBytes);
  const nine = kernelHeight == 3 && kernelWidth == 3;
  const tile = max(1, FLUSH_PIXELS / outWidth);
  for (let n: i32 = 0; n < count; n++) {
    if (nine) {
      let touched: i32 = 0;
      for (let oy: i32 = 0; oy < outHeight; oy += tile) {
        const endRow = min(outHeight, oy + tile);
        const rowsEnd = min(height, (endRow - 1) * strideY - top + 2 * dilationY + 1);
        // The sink lies behind the row of zeros.
        if (rowsEnd > touched) {
          touch(xPtr + <usize>touched * rowBytes, <usize>(rowsEnd - touched) * rowBytes, scratchPtr + rowBytes);
          touched = rowsEnd;
        }
        touch(dyPtr + <usize>(oy * outWidth) * pixelBytes, <usize>((endRow - oy) * outWidth) * pixelBytes, scratchPtr + rowBytes);
        for (let c: i32 = 0; c + 4 <= channels; c += 4) {
          const at = (<usize>c) << 2;
          filter3(
            xPtr + at, scratchPtr + at, dyPtr + at, sumsPtr + 2 * at, oy, endRow, height, width, channels, outWidth,
            strideY, strideX, dilationY, dilationX, top, left,
          );
        }
      }
    }
    for (let oy: i32 = 0; oy < outHeight; oy++) {
      for (let c = nine ? channels & ~3 : 0; c < channels; c += c + 4 <= channels ? 4 : 1) {
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
              Halves.addTo(at, sum);
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
