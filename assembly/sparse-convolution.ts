// Convolutions that multiply only what is not zero. Behind a max pooling at most one pixel of a window has a gradient, and a
// rectifier zeroes half of what passes; each number that is left meets whole vectors of filters (or of window pixels).
//
// Entries: 8 bytes, the value (f32) and a byte offset (u32) of what it is multiplied with. Sums run in the order of the tiled
// product: in blocks of its KC, sequential inside; a zero left out changes no partial sum.

/** Numbers that are not zero. */
export function countNonZeroF32(dataPtr: usize, count: i32): i32 {
  const end = dataPtr + ((<usize>count) << 2);
  const whole = dataPtr + ((<usize>(count & ~3)) << 2);
  let zeros = i32x4.splat(0);
  for (; dataPtr < whole; dataPtr += 16) zeros = i32x4.add(zeros, f32x4.eq(v128.load(dataPtr), f32x4.splat(0)));
  let nonZero = (count & ~3) + i32x4.extract_lane(zeros, 0) + i32x4.extract_lane(zeros, 1) + i32x4.extract_lane(zeros, 2) + i32x4.extract_lane(zeros, 3);
  for (; dataPtr < end; dataPtr += 4) if (load<f32>(dataPtr) != 0) nonZero++;
  return nonZero;
}

/**
 * Pixels [rows · width, channels] as entries, one behind the other: that of pixel x of a row and channel c points to
 * `x · tapBytes + c · stepBytes`. `startsPtr` [rows · width + 1] receives where each pixel begins. `channels` is a multiple of 4.
 * One entry more than there are is written.
 */
export function sparsePixelsF32(
  dataPtr: usize, rows: i32, width: i32, channels: i32, tapBytes: i32, stepBytes: i32, startsPtr: usize, entriesPtr: usize,
): void {
  for (let row: i32 = 0; row < rows; row++) {
    for (let x: i32 = 0; x < width; x++) {
      store<usize>(startsPtr, entriesPtr);
      startsPtr += 4;
      let offset = x * tapBytes;
      for (let c: i32 = 0; c < channels; c += 4) {
        const four = v128.load(dataPtr);
        if (v128.any_true(f32x4.ne(four, f32x4.splat(0)))) {
          // Written whatever it is, and kept by moving on: which numbers are zero is past predicting.
          entriesPtr = put(entriesPtr, f32x4.extract_lane(four, 0), offset);
          entriesPtr = put(entriesPtr, f32x4.extract_lane(four, 1), offset + stepBytes);
          entriesPtr = put(entriesPtr, f32x4.extract_lane(four, 2), offset + 2 * stepBytes);
          entriesPtr = put(entriesPtr, f32x4.extract_lane(four, 3), offset + 3 * stepBytes);
        }
        offset += 4 * stepBytes;
        dataPtr += 16;
      }
    }
  }
  store<usize>(startsPtr, entriesPtr);
}

function put(entriesPtr: usize, value: f32, offset: i32): usize {
  store<f32>(entriesPtr, value);
  store<i32>(entriesPtr, offset, 4);
  return entriesPtr + ((<usize>(value != 0)) << 3);
}

/** Bytes of scratch of `sparseConvolutionF32`: partial sums of 32 channels along a row. */
export function sparseConvolutionScratchBytes(outWidth: i32): i32 {
  return outWidth * 128;
}

/**
 * out [count, outHeight, outWidth, outChannels] += image ∗ filter, stride 1. `startsPtr`: the pixels of an image [count, height, width] as
 * `sparsePixelsF32` left them with 4 · outChannels bytes a step and 4 · channels · outChannels a tap; filter [kernelHeight, kernelWidth,
 * channels, outChannels]. Partial sums over `blockTaps` taps are added to `out` one after the other. `outChannels` is a multiple of 4.
 *
 * Entries of neighbouring pixels lie one behind the other, so the taps of a row of the filter are one run of them: runs are
 * short, and each ends in a mispredicted branch. A row of the filter (12 KB for 32 · 32 channels) meets a row of pixels before the next one comes, from L1.
 */
export function sparseConvolutionF32(
  startsPtr: usize, filterPtr: usize, outPtr: usize, count: i32, height: i32, width: i32, outHeight: i32, outWidth: i32,
  channels: i32, outChannels: i32, kernelHeight: i32, kernelWidth: i32, top: i32, left: i32, blockTaps: i32, scratchPtr: usize,
): void {
  const tapBytes = (<usize>(channels * outChannels)) << 2;
  const taps = kernelHeight * kernelWidth;
  const pixelBytes = (<usize>outChannels) << 2;
  for (let n: i32 = 0; n < count; n++) {
    for (let y: i32 = 0; y < outHeight; y++) {
      for (let o: i32 = 0; o < outChannels; ) {
        const wide = o + 32 <= outChannels;
        const chunkPtr = filterPtr + ((<usize>o) << 2);
        const rowPtr = outPtr + ((<usize>o) << 2);
        for (let tap: i32 = 0; tap < taps; ) {
          const ky = tap / kernelWidth;
          const block = tap / blockTaps;
          // Taps of this row of the filter and of this block of sums.
          const end = min((ky + 1) * kernelWidth, (block + 1) * blockTaps);
          const first = tap % blockTaps == 0;
          const last = end == taps || end == (block + 1) * blockTaps;
          const inside = y + ky >= top && y + ky < height + top;
          const kx0 = tap - ky * kernelWidth;
          const kx1 = inside ? end - ky * kernelWidth : kx0;
          const pixelsPtr = startsPtr + (<usize>(((n * height + y + ky - top) * width) << 2));
          for (let x: i32 = 0; x < outWidth; x++) {
            // Pixels of the image that these taps see.
            const from = max(0, x + kx0 - left);
            const to = max(from, min(width, x + kx1 - left));
            const entryPtr = inside ? load<usize>(pixelsPtr + ((<usize>from) << 2)) : 0;
            const entriesEnd = inside ? load<usize>(pixelsPtr + ((<usize>to) << 2)) : 0;
            const tapPtr = chunkPtr + (<usize>(ky * kernelWidth + left - x)) * tapBytes;
            const sumPtr = scratchPtr + ((<usize>x) << 7);
            const toPtr = rowPtr + (<usize>x) * pixelBytes;
            if (wide) run32(entryPtr, entriesEnd, tapPtr, sumPtr, toPtr, first, last);
            else run4(entryPtr, entriesEnd, tapPtr, sumPtr, toPtr, first, last);
          }
          tap = end;
        }
        o += wide ? 32 : 4;
      }
      outPtr += pixelBytes * <usize>outWidth;
    }
  }
}

/** sum (+)= entries · filter for 32 channels in eight registers; the last run of a block adds it to `out`. */
function run32(entryPtr: usize, end: usize, tapPtr: usize, sumPtr: usize, outPtr: usize, first: bool, last: bool): void {
  let c0 = f32x4.splat(0), c1 = f32x4.splat(0), c2 = f32x4.splat(0), c3 = f32x4.splat(0);
  let c4 = f32x4.splat(0), c5 = f32x4.splat(0), c6 = f32x4.splat(0), c7 = f32x4.splat(0);
  if (!first) {
    c0 = v128.load(sumPtr); c1 = v128.load(sumPtr, 16); c2 = v128.load(sumPtr, 32); c3 = v128.load(sumPtr, 48);
    c4 = v128.load(sumPtr, 64); c5 = v128.load(sumPtr, 80); c6 = v128.load(sumPtr, 96); c7 = v128.load(sumPtr, 112);
  }
  for (; entryPtr < end; entryPtr += 8) {
    const value = v128.load32_splat(entryPtr);
    const fromPtr = tapPtr + load<u32>(entryPtr, 4);
    c0 = f32x4.add(c0, f32x4.mul(value, v128.load(fromPtr)));
    c1 = f32x4.add(c1, f32x4.mul(value, v128.load(fromPtr, 16)));
    c2 = f32x4.add(c2, f32x4.mul(value, v128.load(fromPtr, 32)));
    c3 = f32x4.add(c3, f32x4.mul(value, v128.load(fromPtr, 48)));
    if (entryPtr == end) break;
    c4 = f32x4.add(c4, f32x4.mul(value, v128.load(fromPtr, 64)));
    c5 = f32x4.add(c5, f32x4.mul(value, v128.load(fromPtr, 80)));
    c6 = f32x4.add(c6, f32x4.mul(value, v128.load(fromPtr, 96)));
    c7 = f32x4.add(c7, f32x4.mul(value, v128.load(fromPtr, 112)));
  }
  if (last) {
    c0 = f32x4.add(v128.load(outPtr), c0); c1 = f32x4.add(v128.load(outPtr, 16), c1);
    c2 = f32x4.add(v128.load(outPtr, 32), c2); c3 = f32x4.add(v128.load(outPtr, 48), c3);
    c4 = f32x4.add(v128.load(outPtr, 64), c4); c5 = f32x4.add(v128.load(outPtr, 80), c5);
    c6 = f32x4.add(v128.load(outPtr, 96), c6); c7 = f32x4.add(v128.load(outPtr, 112), c7);
    sumPtr = outPtr;
  }
  v128.store(sumPtr, c0); v128.store(sumPtr, c1, 16); v128.store(sumPtr, c2, 32); v128.store(sumPtr, c3, 48);
  v128.store(sumPtr, c4, 64); v128.store(sumPtr, c5, 80); v128.store(sumPtr, c6, 96); v128.store(sumPtr, c7, 112);
}

/** The same for four channels. */
function run4(entryPtr: usize, end: usize, tapPtr: usize, sumPtr: usize, outPtr: usize, first: bool, last: bool): void {
  let sum = first ? f32x4.splat(0) : v128.load(sumPtr);
  for (; entryPtr < end; entryPtr += 8) {
    sum = f32x4.add(sum, f32x4.mul(v128.load32_splat(entryPtr), v128.load(tapPtr + load<u32>(entryPtr, 4))));
  }
  if (last) v128.store(outPtr, f32x4.add(v128.load(outPtr), sum));
  else v128.store(sumPtr, sum);
}

/** Rows of dy that are summed before they are added to the gradient: KC of the tiled product. */
const BLOCK: i32 = 256;

/** Bytes of scratch of `sparseFilterGradientF32`: lists of one block and their lengths. */
export function sparseFilterGradientScratchBytes(outChannels: i32): i32 {
  return outChannels * (BLOCK * 8 + 4);
}

/**
 * out [outChannels, kernelHeight · runElements] += dyᵀ · windows: `image` is padded, `rowsPtr` [rows] holds the offset (elements) of each
 * window's first pixel in it. A window is `kernelHeight` runs of `runElements` (kernel width · channels), `rowElements` apart. dy [rows,
 * outChannels]; outChannels and runElements are multiples of 4.
 */
export function sparseFilterGradientF32(
  dyPtr: usize, imagePtr: usize, rowsPtr: usize, outPtr: usize, rows: i32, outChannels: i32, kernelHeight: i32, runElements: i32, rowElements: i32,
  scratchPtr: usize,
): void {
  const lengthsPtr = scratchPtr + ((<usize>(outChannels * BLOCK)) << 3);
  for (let first: i32 = 0; first < rows; first += BLOCK) {
    const last = min(rows, first + BLOCK);
    memory.fill(lengthsPtr, 0, (<usize>outChannels) << 2);
    for (let row = first; row < last; row++) {
      const offset = load<i32>(rowsPtr + ((<usize>row) << 2)) << 2;
      for (let o: i32 = 0; o < outChannels; o += 4) {
        const four = v128.load(dyPtr);
        if (v128.any_true(f32x4.ne(four, f32x4.splat(0)))) {
          list(scratchPtr, lengthsPtr, o, f32x4.extract_lane(four, 0), offset);
          list(scratchPtr, lengthsPtr, o + 1, f32x4.extract_lane(four, 1), offset);
          list(scratchPtr, lengthsPtr, o + 2, f32x4.extract_lane(four, 2), offset);
          list(scratchPtr, lengthsPtr, o + 3, f32x4.extract_lane(four, 3), offset);
        }
        dyPtr += 16;
      }
    }
    let toPtr = outPtr;
    for (let o: i32 = 0; o < outChannels; o++) {
      const listPtr = scratchPtr + ((<usize>(o * BLOCK)) << 3);
      const endPtr = listPtr + ((<usize>load<i32>(lengthsPtr + ((<usize>o) << 2))) << 3);
      if (endPtr == listPtr) {
        toPtr += (<usize>(kernelHeight * runElements)) << 2;
        continue;
      }
      for (let ky: i32 = 0; ky < kernelHeight; ky++) {
        let fromPtr = imagePtr + ((<usize>(ky * rowElements)) << 2);
        let at: i32 = 0;
        for (; at + 32 <= runElements; at += 32) {
          windows32(listPtr, endPtr, fromPtr, toPtr);
          fromPtr += 128;
          toPtr += 128;
        }
        for (; at < runElements; at += 4) {
          let sum = f32x4.splat(0);
          for (let entryPtr = listPtr; entryPtr < endPtr; entryPtr += 8) {
            sum = f32x4.add(sum, f32x4.mul(v128.load32_splat(entryPtr), v128.load(fromPtr + load<u32>(entryPtr, 4))));
          }
          v128.store(toPtr, f32x4.add(v128.load(toPtr), sum));
          fromPtr += 16;
          toPtr += 16;
        }
      }
    }
  }
}

function list(listsPtr: usize, lengthsPtr: usize, o: i32, value: f32, offset: i32): void {
  const lengthPtr = lengthsPtr + ((<usize>o) << 2);
  const length = load<i32>(lengthPtr);
  const entryPtr = listsPtr + ((<usize>(o * BLOCK + length)) << 3);
  store<f32>(entryPtr, value);
  store<i32>(entryPtr, offset, 4);
  store<i32>(lengthPtr, length + <i32>(value != 0));
}

/** 32 numbers of the gradient += the same 32 places of the windows listed, each times its entry. */
function windows32(entryPtr: usize, endPtr: usize, fromPtr: usize, toPtr: usize): void {
  let c0 = f32x4.splat(0), c1 = f32x4.splat(0), c2 = f32x4.splat(0), c3 = f32x4.splat(0);
  let c4 = f32x4.splat(0), c5 = f32x4.splat(0), c6 = f32x4.splat(0), c7 = f32x4.splat(0);
  do {
    const value = v128.load32_splat(entryPtr);
    const windowPtr = fromPtr + load<u32>(entryPtr, 4);
    c0 = f32x4.add(c0, f32x4.mul(value, v128.load(windowPtr)));
    c1 = f32x4.add(c1, f32x4.mul(value, v128.load(windowPtr, 16)));
    c2 = f32x4.add(c2, f32x4.mul(value, v128.load(windowPtr, 32)));
    c3 = f32x4.add(c3, f32x4.mul(value, v128.load(windowPtr, 48)));
    if (entryPtr == endPtr) break;
    c4 = f32x4.add(c4, f32x4.mul(value, v128.load(windowPtr, 64)));
    c5 = f32x4.add(c5, f32x4.mul(value, v128.load(windowPtr, 80)));
    c6 = f32x4.add(c6, f32x4.mul(value, v128.load(windowPtr, 96)));
    c7 = f32x4.add(c7, f32x4.mul(value, v128.load(windowPtr, 112)));
    entryPtr += 8;
  } while (entryPtr < endPtr);
  v128.store(toPtr, f32x4.add(v128.load(toPtr), c0));
  v128.store(toPtr, f32x4.add(v128.load(toPtr, 16), c1), 16);
  v128.store(toPtr, f32x4.add(v128.load(toPtr, 32), c2), 32);
  v128.store(toPtr, f32x4.add(v128.load(toPtr, 48), c3), 48);
  v128.store(toPtr, f32x4.add(v128.load(toPtr, 64), c4), 64);
  v128.store(toPtr, f32x4.add(v128.load(toPtr, 80), c5), 80);
  v128.store(toPtr, f32x4.add(v128.load(toPtr, 96), c6), 96);
  v128.store(toPtr, f32x4.add(v128.load(toPtr, 112), c7), 112);
}
