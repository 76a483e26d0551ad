// Strips of a depthwise convolution of stride 1: up to 64 blocks of four channels of a band of rows, copied block by block into planes
// [rows][pitch][4 channels] with zeros around. The loops of `depthwise-passes.ts` then run over a plane as over one long row: no borders,
// constant distances, and no lines of a cache that fall into the same few sets because the number of channels is a power of two.

/** Bytes of a strip's planes: half of the second cache (1 MB), so that all passes over them find them there. */
const STRIP_BYTES: i32 = 1 << 19;

/**
 * A strip takes up to a kilobyte of every pixel. Strips of four blocks (one cache line) read at a stride that prefetchers do not
 * follow: 7×7 convolutions run at 30 GFLOP/s with those and at 33 with these.
 */
const MOST_BLOCKS: i32 = 64;

/**
 * Blocks of the strip that starts at `block`. They lie side by side in memory, so a last block that overlaps the one before it is a
 * strip of its own.
 */
export function stripBlocks(block: i32, channels: i32): i32 {
  return max(1, min(MOST_BLOCKS, (channels >> 2) - block));
}

/** Blocks of the widest strip. */
export function mostBlocks(channels: i32): i32 {
  return min(MOST_BLOCKS, channels >> 2);
}

/**
 * Pixels from a row of a plane to the next. Zeros behind a row are those before the next row at the same time; positions beyond the
 * row's outputs are computed and thrown away.
 */
export function stripPitch(width: i32, outWidth: i32, kernel: i32, left: i32): i32 {
  return max(max(outWidth, width + left), outWidth + kernel - 1 - left);
}

/** Rows of outputs in a band; bands are about equal. */
export function stripRows(outHeight: i32, kernel: i32, pitch: i32, blocks: i32): i32 {
  const most = max(1, (STRIP_BYTES / (16 * blocks) / pitch - (kernel - 1)) / 2);
  const bands = (outHeight + most - 1) / most;
  return (outHeight + bands - 1) / bands;
}

/** An odd number of cache lines, so that the same pixel of all planes does not fall into the same few sets of the cache. */
function oddLines(positions: i32): usize {
  return ((((<usize>positions) << 4) + 63) & ~63) | 64;
}

/** Bytes of a plane of the input: a band's rows, and what the last output reads beyond them. */
export function inputPlaneBytes(rows: i32, kernel: i32, pitch: i32): usize {
  return oddLines((rows + kernel - 1) * pitch + kernel);
}

/** Bytes of a plane of outputs, with kernel − 1 positions to either side of it. */
export function outputPlaneBytes(rows: i32, kernel: i32, pitch: i32): usize {
  return oddLines(rows * pitch + 2 * (kernel - 1));
}

/** Pixels → planes of their blocks. */
function copyIn(fromPtr: usize, pixelBytes: usize, toPtr: usize, planeBytes: usize, blocks: i32, pixels: i32): void {
  const end = toPtr + ((<usize>pixels) << 4);
  const fours = blocks >> 2;
  for (; toPtr < end; toPtr += 16) {
    let from = fromPtr, to = toPtr;
    for (let four: i32 = 0; four < fours; four++) {
      v128.store(to, v128.load(from));
      to += planeBytes;
      v128.store(to, v128.load(from, 16));
      to += planeBytes;
      v128.store(to, v128.load(from, 32));
      to += planeBytes;
      v128.store(to, v128.load(from, 48));
      to += planeBytes;
      from += 64;
    }
    for (let block = fours << 2; block < blocks; block++) {
      v128.store(to, v128.load(from));
      to += planeBytes;
      from += 16;
    }
    fromPtr += pixelBytes;
  }
}

/**
 * Planes ← rows of a strip of an image from `firstRow`, which may lie outside, `left` columns to the right. Only pixels
 * of the image, and rows outside of it, are written: the planes are zeros at first.
 */
export function packStrip(
  imagePtr: usize, planesPtr: usize, planeBytes: usize, blocks: i32, firstRow: i32, rows: i32, height: i32, width: i32, left: i32,
  pitch: i32,
  pixelBytes: usize,
): void {
  for (let row: i32 = 0; row < rows; row++) {
    const y = firstRow + row;
    const toPtr = planesPtr + ((<usize>(row * pitch + left)) << 4);
    if (y >= 0 && y < height) {
      copyIn(imagePtr + <usize>(y * width) * pixelBytes, pixelBytes, toPtr, planeBytes, blocks, width);
    } else {
      for (let block: i32 = 0; block < blocks; block++) memory.fill(toPtr + <usize>block * planeBytes, 0, (<usize>width) << 4);
    }
  }
}

/** Rows of outputs ← planes of a strip, + biases [blocks][4], which cost nothing here: a pass with them is 10 % slower. */
export function unpackStrip(
  planesPtr: usize, planeBytes: usize, blocks: i32, biasPtr: usize, outPtr: usize, rows: i32, outWidth: i32, pitch: i32, pixelBytes: usize,
): void {
  const fours = blocks >> 2;
  for (let row: i32 = 0; row < rows; row++) {
    let fromPtr = planesPtr + ((<usize>(row * pitch)) << 4);
    const end = fromPtr + ((<usize>outWidth) << 4);
    for (; fromPtr < end; fromPtr += 16) {
      let from = fromPtr, to = outPtr, bias = biasPtr;
      for (let four: i32 = 0; four < fours; four++) {
        v128.store(to, f32x4.add(v128.load(from), v128.load(bias)));
        from += planeBytes;
        v128.store(to, f32x4.add(v128.load(from), v128.load(bias, 16)), 16);
        from += planeBytes;
        v128.store(to, f32x4.add(v128.load(from), v128.load(bias, 32)), 32);
        from += planeBytes;
        v128.store(to, f32x4.add(v128.load(from), v128.load(bias, 48)), 48);
        from += planeBytes;
        to += 64;
        bias += 64;
      }
      for (let block = fours << 2; block < blocks; block++) {
        v128.store(to, f32x4.add(v128.load(from), v128.load(bias)));
        from += planeBytes;
        to += 16;
        bias += 16;
      }
      outPtr += pixelBytes;
    }
  }
}
