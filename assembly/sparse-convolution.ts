// Convolutions that multiply only what is not zero. Behind a max pooling at most one pixel of a window has a gradient, and a
// rectifier zeroes half of what passes; each number that is left meets whole vectors of filters (or of window pixels).
//
// Entries: 8 bytes, the value (f32) and a byte offset (u32) of what it is multiplied with. Sums are taken in blocks (a row of taps,
// KC windows), sequential inside; a zero left out changes no partial sum.
import { ORDERS_BYTES, putFour, squeezeLanes } from "./nonzeros";

/** Numbers that one run of entries adds to, in eight registers: this many channels of one image, or half of them of two. */
const CHUNK: i32 = 32;

/**
 * Entries for four channels of two images, of 16 bytes each: the two values, then the offset twice. A channel that is zero in both
 * images gets none.
 */
function putFourOfTwo(entriesPtr: usize, first: v128, second: v128, offsets: v128, ordersPtr: usize): usize {
  const set = i32x4.bitmask(f32x4.ne(v128.or(first, second), f32x4.splat(0)));
  const order = v128.load(ordersPtr + ((<usize>set) << 4));
  const at = i8x16.swizzle(offsets, order);
  const a = i8x16.swizzle(first, order);
  const b = i8x16.swizzle(second, order);
  const low = v128.shuffle<i32>(a, b, 0, 4, 1, 5);
  const high = v128.shuffle<i32>(a, b, 2, 6, 3, 7);
  v128.store(entriesPtr, v128.shuffle<i32>(low, at, 0, 1, 4, 4));
  v128.store(entriesPtr, v128.shuffle<i32>(low, at, 2, 3, 5, 5), 16);
  v128.store(entriesPtr, v128.shuffle<i32>(high, at, 0, 1, 6, 6), 32);
  v128.store(entriesPtr, v128.shuffle<i32>(high, at, 2, 3, 7, 7), 48);
  return entriesPtr + ((<usize>popcnt(set)) << 4);
}

/** Bytes of scratch of `sparsePixelsF32`. */
export function sparsePixelsScratchBytes(): i32 {
  return ORDERS_BYTES;
}

/**
 * The pixels of images [count, height, width, channels] as entries, one behind the other: that of pixel x of a row and
 * channel c points to row `x · channels + c` of a chunk of a filter (`packFilterF32`). `startsPtr` [count · height ·
 * width + 1] receives where each pixel begins. With `images` 2, `count` is of pairs that follow one another, and an
 * entry is of both (`putFourOfTwo`). `channels` is a multiple of 4. Four entries more than there are may be written.
 */
export function sparsePixelsF32(
  dataPtr: usize, images: i32, count: i32, height: i32, width: i32, channels: i32, startsPtr: usize, entriesPtr: usize, scratchPtr: usize,
): void {
  squeezeLanes(scratchPtr);
  const rowBytes = (CHUNK / images) << 2;
  const step = i32x4.splat(4 * rowBytes);
  const secondBytes = (<usize>((images - 1) * height * width * channels)) << 2;
  for (let n: i32 = 0; n < count; n++) {
    for (let y: i32 = 0; y < height; y++) {
      let offsets = i32x4.mul(i32x4(0, 1, 2, 3), i32x4.splat(rowBytes));
      for (let x: i32 = 0; x < width; x++) {
        store<usize>(startsPtr, entriesPtr);
        startsPtr += 4;
        for (let c: i32 = 0; c < channels; c += 4) {
          if (images == 2) entriesPtr = putFourOfTwo(entriesPtr, v128.load(dataPtr), v128.load(dataPtr + secondBytes), offsets, scratchPtr);
          else entriesPtr = putFour(entriesPtr, v128.load(dataPtr), offsets, scratchPtr);
          offsets = i32x4.add(offsets, step);
          dataPtr += 16;
        }
      }
    }
    dataPtr += secondBytes;
  }
  store<usize>(startsPtr, entriesPtr);
}

/** Bytes of `packFilterF32`'s result, whatever the chunks. */
export function packedFilterBytes(terms: i32, outChannels: i32): i32 {
  return ((outChannels + CHUNK - 1) / CHUNK) * terms * CHUNK * 4;
}

/**
 * A filter [terms, outChannels] in chunks of 32 channels, or 16 for two images, [chunks][terms][32 or 16], 0 beyond the
 * last channel: what a run of entries reads lies side by side (64 channels as they are fill every other 128 bytes, and
 * only half of the sets of a cache). `outChannels` is a multiple of 4.
 */
export function packFilterF32(filterPtr: usize, packedPtr: usize, terms: i32, outChannels: i32, images: i32): void {
  const chunk = CHUNK / images;
  const chunkBytes = (<usize>chunk) << 2;
  for (let first: i32 = 0; first < outChannels; first += chunk) {
    const bytes = (<usize>min(chunk, outChannels - first)) << 2;
    let fromPtr = filterPtr + ((<usize>first) << 2);
    for (let term: i32 = 0; term < terms; term++) {
      for (let at: usize = 0; at < chunkBytes; at += 16) v128.store(packedPtr + at, at < bytes ? v128.load(fromPtr + at) : i32x4.splat(0));
      fromPtr += (<usize>outChannels) << 2;
      packedPtr += chunkBytes;
    }
  }
}

/** Bytes of 16 channels of a filter that stay in L1 beside what they meet. */
const CACHED_BYTES: i32 = 36 * 1024;

/** Bytes of scratch of `sparseConvolutionF32`: sums of a chunk of which some do not count. */
export function sparseConvolutionScratchBytes(): i32 {
  return CHUNK * 4;
}

/**
 * out [count, outHeight, outWidth, outChannels] += image ∗ filter, stride 1. `startsPtr`: the pixels of an image [count, height,
 * width] as `sparsePixelsF32` left them; `filterPtr`: [kernelHeight · kernelWidth · channels, outChannels] as `packFilterF32` left
 * it. With `images` 2, `count` is of pairs, and outputs, too, lie pair by pair.
 *
 * Entries of neighbouring pixels lie one behind the other, so the taps of one row of the filter are a single run of them. Long runs
 * pay, because each ends in a mispredicted branch. As many rows of the filter as fit L1 (all of 3×3 · 64 channels, one of 128) meet
 * a row of windows, and their sum is added to `out`, before the next rows of the filter come.
 *
 * An entry of one image takes ten loads for eight products and sums, an entry of two images seven: the processor does two loads at
 * a time, but four products or sums. The price of pairs is the zeros that meet a non-zero of the other image.
 */
export function sparseConvolutionF32(
  startsPtr: usize, filterPtr: usize, outPtr: usize, images: i32, count: i32, height: i32, width: i32, outHeight: i32, outWidth: i32,
  channels: i32, outChannels: i32, kernelHeight: i32, kernelWidth: i32, top: i32, left: i32, scratchPtr: usize,
): void {
  const chunk = CHUNK / images;
  const tapBytes = channels * chunk * 4;
  const tapRowBytes = tapBytes * kernelWidth;
  const rowsAtOnce = max(1, min(kernelHeight, CACHED_BYTES / (channels * kernelWidth * CHUNK * 2)));
  const pixelBytes = (<usize>outChannels) << 2;
  const imageBytes = pixelBytes * <usize>(outHeight * outWidth);
  for (let n: i32 = 0; n < count; n++) {
    let chunkPtr = filterPtr;
    for (let o: i32 = 0; o < outChannels; o += chunk) {
      const lanes = min(chunk, outChannels - o);
      let rowPtr = outPtr + ((<usize>o) << 2);
      for (let y = -top; y < outHeight - top; y++) {
        for (let ky: i32 = 0; ky < kernelHeight; ky += rowsAtOnce) {
          // Of these rows of taps, those that lie inside the image.
          const firstY = max(ky, -y);
          const rows = min(min(ky + rowsAtOnce, kernelHeight), height - y) - firstY;
          if (rows <= 0) continue;
          const pixelsPtr = startsPtr + (<usize>(((n * height + y + firstY) * width) << 2));
          let tapPtr = chunkPtr + <usize>(firstY * tapRowBytes + left * tapBytes);
          let toPtr = rowPtr;
          for (let x = -left; x < outWidth - left; x++) {
            const from = min(width, max(0, x));
            const span = max(from, min(width, x + kernelWidth)) - from;
            const startPtr = pixelsPtr + ((<usize>from) << 2);
            if (lanes < chunk) addRimWindow(startPtr, span, width, rows, tapPtr, tapRowBytes, toPtr, images, imageBytes, lanes, scratchPtr);
            else if (images == 2) addWindowOfTwo(startPtr, span, width, rows, tapPtr, tapRowBytes, toPtr, toPtr + imageBytes);
            else addWindow(startPtr, span, width, rows, tapPtr, tapRowBytes, toPtr);
            tapPtr -= tapBytes;
            toPtr += pixelBytes;
          }
        }
        rowPtr += pixelBytes * <usize>outWidth;
      }
      chunkPtr += <usize>(tapRowBytes * kernelHeight);
    }
    outPtr += imageBytes * <usize>images;
  }
}

/**
 * 32 numbers += Σ value · the 32 numbers that its entry points to, over the entries of `rows` rows of `span` pixels: the starts of a row's
 * pixels lie `width` behind those of the one above, the numbers `tapRowBytes` behind.
 */
function addWindow(startPtr: usize, span: i32, width: i32, rows: i32, tapPtr: usize, tapRowBytes: i32, toPtr: usize): void {
  let c0 = f32x4.splat(0), c1 = f32x4.splat(0), c2 = f32x4.splat(0), c3 = f32x4.splat(0);
  let c4 = f32x4.splat(0), c5 = f32x4.splat(0), c6 = f32x4.splat(0), c7 = f32x4.splat(0);
  for (; rows > 0; rows--) {
    const end = load<usize>(startPtr + ((<usize>span) << 2));
    for (let entryPtr = load<usize>(startPtr); entryPtr < end; entryPtr += 8) {
      const value = v128.load32_splat(entryPtr);
      const fromPtr = tapPtr + load<u32>(entryPtr, 4);
      c0 = f32x4.add(c0, f32x4.mul(value, v128.load(fromPtr)));
      c1 = f32x4.add(c1, f32x4.mul(value, v128.load(fromPtr, 16)));
      c2 = f32x4.add(c2, f32x4.mul(value, v128.load(fromPtr, 32)));
      c3 = f32x4.add(c3, f32x4.mul(value, v128.load(fromPtr, 48)));
      // Never taken. It ends V8's basic block: otherwise V8 moves all eight loads to the front and spills (29 → 20 GFLOP/s).
      if (entryPtr == end) break;
      c4 = f32x4.add(c4, f32x4.mul(value, v128.load(fromPtr, 64)));
      c5 = f32x4.add(c5, f32x4.mul(value, v128.load(fromPtr, 80)));
      c6 = f32x4.add(c6, f32x4.mul(value, v128.load(fromPtr, 96)));
      c7 = f32x4.add(c7, f32x4.mul(value, v128.load(fromPtr, 112)));
    }
    startPtr += (<usize>width) << 2;
    tapPtr += tapRowBytes;
  }
  v128.store(toPtr, f32x4.add(v128.load(toPtr), c0));
  v128.store(toPtr, f32x4.add(v128.load(toPtr, 16), c1), 16);
  v128.store(toPtr, f32x4.add(v128.load(toPtr, 32), c2), 32);
  v128.store(toPtr, f32x4.add(v128.load(toPtr, 48), c3), 48);
  v128.store(toPtr, f32x4.add(v128.load(toPtr, 64), c4), 64);
  v128.store(toPtr, f32x4.add(v128.load(toPtr, 80), c5), 80);
  v128.store(toPtr, f32x4.add(v128.load(toPtr, 96), c6), 96);
  v128.store(toPtr, f32x4.add(v128.load(toPtr, 112), c7), 112);
}

/** The same for two images, 16 numbers of each. */
function addWindowOfTwo(
  startPtr: usize, span: i32, width: i32, rows: i32, tapPtr: usize, tapRowBytes: i32, toPtr: usize, secondPtr: usize,
): void {
  let a0 = f32x4.splat(0), a1 = f32x4.splat(0), a2 = f32x4.splat(0), a3 = f32x4.splat(0);
  let b0 = f32x4.splat(0), b1 = f32x4.splat(0), b2 = f32x4.splat(0), b3 = f32x4.splat(0);
  for (; rows > 0; rows--) {
    const end = load<usize>(startPtr + ((<usize>span) << 2));
    for (let entryPtr = load<usize>(startPtr); entryPtr < end; entryPtr += 16) {
      const a = v128.load32_splat(entryPtr);
      const b = v128.load32_splat(entryPtr, 4);
      const fromPtr = tapPtr + load<u32>(entryPtr, 8);
      const f0 = v128.load(fromPtr);
      a0 = f32x4.add(a0, f32x4.mul(a, f0));
      b0 = f32x4.add(b0, f32x4.mul(b, f0));
      const f1 = v128.load(fromPtr, 16);
      a1 = f32x4.add(a1, f32x4.mul(a, f1));
      b1 = f32x4.add(b1, f32x4.mul(b, f1));
      if (entryPtr == end) break;
      const f2 = v128.load(fromPtr, 32);
      a2 = f32x4.add(a2, f32x4.mul(a, f2));
      b2 = f32x4.add(b2, f32x4.mul(b, f2));
      const f3 = v128.load(fromPtr, 48);
      a3 = f32x4.add(a3, f32x4.mul(a, f3));
      b3 = f32x4.add(b3, f32x4.mul(b, f3));
    }
    startPtr += (<usize>width) << 2;
    tapPtr += tapRowBytes;
  }
  v128.store(toPtr, f32x4.add(v128.load(toPtr), a0));
  v128.store(toPtr, f32x4.add(v128.load(toPtr, 16), a1), 16);
  v128.store(toPtr, f32x4.add(v128.load(toPtr, 32), a2), 32);
  v128.store(toPtr, f32x4.add(v128.load(toPtr, 48), a3), 48);
  v128.store(secondPtr, f32x4.add(v128.load(secondPtr), b0));
  v128.store(secondPtr, f32x4.add(v128.load(secondPtr, 16), b1), 16);
  v128.store(secondPtr, f32x4.add(v128.load(secondPtr, 32), b2), 32);
  v128.store(secondPtr, f32x4.add(v128.load(secondPtr, 48), b3), 48);
}

/** Either, where of the numbers of an image only `lanes`, a multiple of 4, count. */
function addRimWindow(
  startPtr: usize, span: i32, width: i32, rows: i32, tapPtr: usize, tapRowBytes: i32, toPtr: usize, images: i32, imageBytes: usize,
  lanes: i32,
  scratchPtr: usize,
): void {
  memory.fill(scratchPtr, 0, CHUNK * 4);
  if (images == 2) addWindowOfTwo(startPtr, span, width, rows, tapPtr, tapRowBytes, scratchPtr, scratchPtr + CHUNK * 2);
  else addWindow(startPtr, span, width, rows, tapPtr, tapRowBytes, scratchPtr);
  const bytes = (<usize>lanes) << 2;
  for (let n: i32 = 0; n < images; n++) {
    for (let at: usize = 0; at < bytes; at += 16) v128.store(toPtr + at, f32x4.add(v128.load(toPtr + at), v128.load(scratchPtr + at)));
    toPtr += imageBytes;
    scratchPtr += CHUNK * 2;
  }
}

/** Rows of dy that are summed before they are added to the gradient: KC of the tiled product. */
const BLOCK: i32 = 256;
/** Places of a list: four more may be written than there are. Lists that lie 2 KB apart would meet in two sets of a cache. */
const PLACES: i32 = BLOCK + 4;

/** Bytes of scratch of `sparseFilterGradientF32`: lists of one block, their starts and ends, and the orders of lanes. */
export function sparseFilterGradientScratchBytes(outChannels: i32): i32 {
  return outChannels * (PLACES * 8 + 8) + ORDERS_BYTES;
}

/**
 * out [outChannels, kernelHeight · runElements] += dyᵀ · windows: `image` is padded, `rowsPtr` [rows] holds the offset (elements) of each
 * window's first pixel in it. A window is `kernelHeight` runs of `runElements` (kernel width · channels), `rowElements` apart. dy [rows,
 * outChannels]; outChannels and runElements are multiples of 4.
 *
 * All channels meet one place of the windows before the next one comes: what it holds of a block of pixels stays in L1.
 */
export function sparseFilterGradientF32(
  dyPtr: usize, imagePtr: usize, rowsPtr: usize, outPtr: usize, rows: i32, outChannels: i32, kernelHeight: i32, runElements: i32,
  rowElements: i32,
  scratchPtr: usize,
): void {
  const ordersPtr = scratchPtr;
  const listsPtr = ordersPtr + ORDERS_BYTES;
  const listBoundsPtr = listsPtr + <usize>(outChannels * PLACES * 8);
  const outBytes = (<usize>(kernelHeight * runElements)) << 2;
  squeezeLanes(ordersPtr);
  for (let first: i32 = 0; first < rows; first += BLOCK) {
    const last = min(rows, first + BLOCK);
    listRows(dyPtr, rowsPtr, first, last, outChannels, listsPtr, listBoundsPtr, ordersPtr);
    for (let ky: i32 = 0; ky < kernelHeight; ky++) {
      const rowPtr = imagePtr + ((<usize>(ky * rowElements)) << 2);
      let placePtr = outPtr + ((<usize>(ky * runElements)) << 2);
      let boundsPtr = listBoundsPtr;
      for (let o: i32 = 0; o < outChannels; o++) {
        const startPtr = load<usize>(boundsPtr), endPtr = load<usize>(boundsPtr, 4);
        if (startPtr != endPtr) {
          let at: i32 = 0;
          for (; at + CHUNK <= runElements; at += CHUNK)
            addWindow(boundsPtr, 1, 0, 1, rowPtr + ((<usize>at) << 2), 0, placePtr + ((<usize>at) << 2));
          for (; at < runElements; at += 4) addFour(startPtr, endPtr, rowPtr + ((<usize>at) << 2), placePtr + ((<usize>at) << 2));
        }
        boundsPtr += 8;
        placePtr += outBytes;
      }
    }
  }
}

/**
 * Rows `first` to `last` of dy as a list of entries for each channel, which point to the row's window; `boundsPtr`
 * receives its start and its end.
 */
function listRows(
  dyPtr: usize, rowsPtr: usize, first: i32, last: i32, outChannels: i32, listsPtr: usize, boundsPtr: usize, ordersPtr: usize,
): void {
  for (let o: i32 = 0; o < outChannels; o++) {
    store<usize>(boundsPtr + ((<usize>o) << 3), listsPtr);
    store<usize>(boundsPtr + ((<usize>o) << 3), listsPtr, 4);
    listsPtr += PLACES * 8;
  }
  const rowBytes = (<usize>outChannels) << 2;
  const zero = f32x4.splat(0);
  for (let row = first; row < last; row += 4) {
    const left = last - row;
    const offsetsPtr = rowsPtr + ((<usize>row) << 2);
    let offsets = v128.load32_zero(offsetsPtr);
    if (left > 1) offsets = v128.load32_lane(offsetsPtr + 4, offsets, 1);
    if (left > 2) offsets = v128.load32_lane(offsetsPtr + 8, offsets, 2);
    if (left > 3) offsets = v128.load32_lane(offsetsPtr + 12, offsets, 3);
    offsets = i32x4.shl(offsets, 2);
    let fromPtr = dyPtr + <usize>row * rowBytes;
    let endPtr = boundsPtr + 4;
    for (let o: i32 = 0; o < outChannels; o += 4) {
      const r0 = v128.load(fromPtr);
      const r1 = left > 1 ? v128.load(fromPtr + rowBytes) : zero;
      const r2 = left > 2 ? v128.load(fromPtr + rowBytes * 2) : zero;
      const r3 = left > 3 ? v128.load(fromPtr + rowBytes * 3) : zero;
      // Behind a global pooling most of these blocks are nothing but zeros.
      if (v128.any_true(f32x4.ne(v128.or(v128.or(r0, r1), v128.or(r2, r3)), zero))) {
        const low01 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
        const low23 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
        const high01 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
        const high23 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
        store<usize>(endPtr, putFour(load<usize>(endPtr), v128.shuffle<f32>(low01, low23, 0, 1, 4, 5), offsets, ordersPtr));
        store<usize>(endPtr, putFour(load<usize>(endPtr, 8), v128.shuffle<f32>(low01, low23, 2, 3, 6, 7), offsets, ordersPtr), 8);
        store<usize>(endPtr, putFour(load<usize>(endPtr, 16), v128.shuffle<f32>(high01, high23, 0, 1, 4, 5), offsets, ordersPtr), 16);
        store<usize>(endPtr, putFour(load<usize>(endPtr, 24), v128.shuffle<f32>(high01, high23, 2, 3, 6, 7), offsets, ordersPtr), 24);
      }
      endPtr += 32;
      fromPtr += 16;
    }
  }
}

/** Four numbers += Σ value · the four numbers that its entry points to. */
function addFour(entryPtr: usize, end: usize, fromPtr: usize, toPtr: usize): void {
  let sum = f32x4.splat(0);
  for (; entryPtr < end; entryPtr += 8) {
    sum = f32x4.add(sum, f32x4.mul(v128.load32_splat(entryPtr), v128.load(fromPtr + load<u32>(entryPtr, 4))));
  }
  v128.store(toPtr, f32x4.add(v128.load(toPtr), sum));
}
