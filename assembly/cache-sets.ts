// Windows on images whose rows or pixels lie multiples of a large power of two apart, as those of 512 channels do: their lines fall into
// few of the first cache's 64 sets and push each other out before they are read again. Rows of such images are copied, pixels and rows
// so far apart that a set gets two lines of a window at most: 7×7 of 1024 channels on an EPYC 47 → 14 ns an output, 384 28 → 15.

const SETS: i32 = 64;

/** Lines that a set holds: 8 on the EPYC, 12 on the Xeon. */
const WAYS: i32 = 8;

/** Whether a set gets more lines of a window than it holds. */
function crowded(rows: i32, columns: i32, rowBytes: usize, pixelBytes: usize, scratchPtr: usize): bool {
  memory.fill(scratchPtr, 0, SETS);
  let most: i32 = 0;
  for (let row: i32 = 0; row < rows; row++) {
    let at = <usize>row * rowBytes, before = at + 64;
    for (let column: i32 = 0; column < columns; column++) {
      // Narrow pixels share a line, which is counted once.
      if (at >> 6 != before >> 6) {
        const linesPtr = scratchPtr + ((at >> 6) & <usize>(SETS - 1)), count = <i32>load<u8>(linesPtr) + 1;
        store<u8>(linesPtr, count);
        most = max(most, count);
      }
      before = at;
      at += pixelBytes;
    }
  }
  return most > WAYS;
}

/** Bytes from one pixel to the next in a copy: an odd number of lines, or as in the image where one line holds several. */
function apartBytes(pixelBytes: usize): usize {
  return pixelBytes < 64 ? pixelBytes : ((pixelBytes + 63) & ~63) | 64;
}

/**
 * Bytes from one pixel to the next where windows of `rows` by `columns` pixels are read: as in the image or as in a copy. `scratchPtr`: 64
 * bytes.
 */
export function windowPixelBytes(rows: i32, columns: i32, width: i32, pixelBytes: usize, scratchPtr: usize): usize {
  return crowded(rows, columns, <usize>width * pixelBytes, pixelBytes, scratchPtr) ? apartBytes(pixelBytes) : pixelBytes;
}

/** From one row to the next: as in the image or, in a copy, so that the sets of a window's row are followed by those of the next one. */
export function windowRowBytes(rows: i32, columns: i32, width: i32, pixelBytes: usize, scratchPtr: usize): usize {
  const rowBytes = <usize>width * pixelBytes;
  if (!crowded(rows, columns, rowBytes, pixelBytes, scratchPtr)) return rowBytes;
  const apart = windowPixelBytes(rows, columns, width, pixelBytes, scratchPtr);
  const least = (<usize>width * apart + 63) >> 6, wanted = <usize>columns * max<usize>(1, apart >> 6);
  return (least + ((wanted - least) & <usize>(SETS - 1))) << 6;
}

/** No less than `windowRowBytes` gives; in f64, as an image of a gigabyte has rows whose copies are more than 32 bits count. */
export function mostWindowRowBytes(width: i32, channels: i32): f64 {
  return <f64>width * <f64>apartBytes((<usize>channels) << 2) + 64 * 64;
}

/** toPtr [rows][width][channels], pixels and rows so far apart ← rows [y, y + rows) of an image, zeros for those outside. */
export function copyRows(
  imagePtr: usize, toPtr: usize, y: i32, rows: i32, height: i32, width: i32, pixelBytes: usize, toPixelBytes: usize, toRowBytes: usize,
): void {
  const rowBytes = <usize>width * pixelBytes;
  for (const end = y + rows; y < end; y++) {
    const from = imagePtr + <usize>y * rowBytes;
    if (y < 0 || y >= height) memory.fill(toPtr, 0, <usize>width * toPixelBytes);
    else if (toPixelBytes == pixelBytes) memory.copy(toPtr, from, rowBytes);
    else for (let x: i32 = 0; x < width; x++) memory.copy(toPtr + <usize>x * toPixelBytes, from + <usize>x * pixelBytes, pixelBytes);
    toPtr += toRowBytes;
  }
}
