// Inner loops of the depthwise 3×3 filter gradient without dilation: one pixel of dy each of four, three or one rows that lie below
// one another, by the columns of x around it, over all blocks of four channels. Rows are streams that run in order, as in
// `depthwise-3x3-outputs.ts`. Sums lie like taps. A column's three sums are loaded, added to in registers, and stored once for all rows.
import { TAPS_BYTES } from "./depthwise-3x3-outputs";

// oxlint-disable-next-line typescript/no-extraneous-class -- the linter cannot read a decorated function
abstract class Column {
  @inline
  static add(sum: v128, x: v128, dy: v128): v128 {
    return f32x4.add(sum, f32x4.mul(x, dy));
  }

  /** Stride 1: the three sums of a column of taps += a column of x by the pixels of dy. `sumsPtr`: the first of the three. */
  @inline
  static down(
    rows: i32, first: usize, base: usize, last: usize, rowBytes: usize, d0: v128, d1: v128, d2: v128, d3: v128, sumsPtr: usize,
  ): void {
    let x = v128.load(first), p = base;
    let s0 = Column.add(v128.load(sumsPtr), x, d0);
    x = v128.load(p);
    let s1 = Column.add(v128.load(sumsPtr, 16), x, d0), s2 = v128.load(sumsPtr, 32);
    if (rows > 1) {
      s0 = Column.add(s0, x, d1);
      p += rowBytes;
      x = v128.load(p);
      s0 = Column.add(s0, x, d2);
      s1 = Column.add(s1, x, d1);
      s2 = Column.add(s2, x, d0);
      p += rowBytes;
      x = v128.load(p);
      if (rows > 3) s0 = Column.add(s0, x, d3);
      s1 = Column.add(s1, x, d2);
      s2 = Column.add(s2, x, d1);
      if (rows > 3) {
        p += rowBytes;
        x = v128.load(p);
        s1 = Column.add(s1, x, d3);
        s2 = Column.add(s2, x, d2);
      }
    }
    v128.store(sumsPtr, s0);
    v128.store(sumsPtr, s1, 16);
    v128.store(sumsPtr, Column.add(s2, v128.load(last), rows == 1 ? d0 : rows == 3 ? d2 : d3), 32);
  }

  /** Stride 2: the same. Every other row of x belongs to two pixels of dy. */
  @inline
  static down2(
    rows: i32, first: usize, base: usize, last: usize, rowBytes: usize, d0: v128, d1: v128, d2: v128, d3: v128, sumsPtr: usize,
  ): void {
    let x = v128.load(first), p = base;
    let s0 = Column.add(v128.load(sumsPtr), x, d0), s1 = Column.add(v128.load(sumsPtr, 16), v128.load(p), d0), s2 = v128.load(sumsPtr, 32);
    if (rows > 1) {
      p += rowBytes;
      x = v128.load(p);
      s2 = Column.add(s2, x, d0);
      s0 = Column.add(s0, x, d1);
      p += rowBytes;
      s1 = Column.add(s1, v128.load(p), d1);
      p += rowBytes;
      x = v128.load(p);
      s2 = Column.add(s2, x, d1);
      s0 = Column.add(s0, x, d2);
      p += rowBytes;
      s1 = Column.add(s1, v128.load(p), d2);
    }
    if (rows > 3) {
      p += rowBytes;
      x = v128.load(p);
      s2 = Column.add(s2, x, d2);
      s0 = Column.add(s0, x, d3);
      p += rowBytes;
      s1 = Column.add(s1, v128.load(p), d3);
    }
    v128.store(sumsPtr, s0);
    v128.store(sumsPtr, s1, 16);
    v128.store(sumsPtr, Column.add(s2, v128.load(last), rows == 1 ? d0 : rows == 3 ? d2 : d3), 32);
  }
}

// oxlint-disable-next-line typescript/no-extraneous-class -- the linter cannot read a decorated function
abstract class Strip {
  /** Stride 1: one pixel of dy in each row, and all three columns of x around it. */
  @inline
  static pixel(
    rows: i32, first: usize, base: usize, last: usize, rowBytes: usize, pixelBytes: usize, dyPtr: usize, dyRowBytes: usize, sumsPtr: usize,
    endPtr: usize, before: bool, behind: bool,
  ): void {
    const two = pixelBytes << 1;
    for (; sumsPtr < endPtr; sumsPtr += TAPS_BYTES) {
      const d0 = v128.load(dyPtr);
      let d1 = d0, d2 = d0, d3 = d0, dy = dyPtr;
      if (rows > 1) {
        dy += dyRowBytes;
        d1 = v128.load(dy);
        dy += dyRowBytes;
        d2 = v128.load(dy);
      }
      if (rows > 3) d3 = v128.load(dy + dyRowBytes);
      if (before) Column.down(rows, first, base, last, rowBytes, d0, d1, d2, d3, sumsPtr);
      Column.down(rows, first + pixelBytes, base + pixelBytes, last + pixelBytes, rowBytes, d0, d1, d2, d3, sumsPtr + 48);
      if (behind) Column.down(rows, first + two, base + two, last + two, rowBytes, d0, d1, d2, d3, sumsPtr + 96);
      first += 16;
      base += 16;
      last += 16;
      dyPtr += 16;
    }
  }

  /** Stride 2: one column of x by the pixel of dy in each row to one column of sums and, if `shared`, by that right of it to another. */
  @inline
  static column2(
    rows: i32, first: usize, base: usize, last: usize, rowBytes: usize, dyPtr: usize, dyRowBytes: usize, sumsPtr: usize, endPtr: usize,
    dyPixelBytes: usize, shared: bool,
  ): void {
    for (; sumsPtr < endPtr; sumsPtr += TAPS_BYTES) {
      let dy = dyPtr, d0 = v128.load(dy), d1 = d0, d2 = d0, d3 = d0;
      if (rows > 1) {
        dy += dyRowBytes;
        d1 = v128.load(dy);
        dy += dyRowBytes;
        d2 = v128.load(dy);
      }
      if (rows > 3) d3 = v128.load(dy + dyRowBytes);
      Column.down2(rows, first, base, last, rowBytes, d0, d1, d2, d3, sumsPtr);
      if (shared) {
        dy = dyPtr + dyPixelBytes;
        d0 = v128.load(dy);
        if (rows > 1) {
          dy += dyRowBytes;
          d1 = v128.load(dy);
          dy += dyRowBytes;
          d2 = v128.load(dy);
        }
        if (rows > 3) d3 = v128.load(dy + dyRowBytes);
        Column.down2(rows, first, base, last, rowBytes, d0, d1, d2, d3, sumsPtr - 96);
      }
      first += 16;
      base += 16;
      last += 16;
      dyPtr += 16;
    }
  }
}

function pixel4(
  first: usize, base: usize, last: usize, rowBytes: usize, pixelBytes: usize, dyPtr: usize, dyRowBytes: usize, sumsPtr: usize,
  endPtr: usize, before: bool, behind: bool,
): void {
  Strip.pixel(4, first, base, last, rowBytes, pixelBytes, dyPtr, dyRowBytes, sumsPtr, endPtr, before, behind);
}

function pixel3(
  first: usize, base: usize, last: usize, rowBytes: usize, pixelBytes: usize, dyPtr: usize, dyRowBytes: usize, sumsPtr: usize,
  endPtr: usize, before: bool, behind: bool,
): void {
  Strip.pixel(3, first, base, last, rowBytes, pixelBytes, dyPtr, dyRowBytes, sumsPtr, endPtr, before, behind);
}

function pixel1(
  first: usize, base: usize, last: usize, rowBytes: usize, pixelBytes: usize, dyPtr: usize, dyRowBytes: usize, sumsPtr: usize,
  endPtr: usize, before: bool, behind: bool,
): void {
  Strip.pixel(1, first, base, last, rowBytes, pixelBytes, dyPtr, dyRowBytes, sumsPtr, endPtr, before, behind);
}

function column4(
  first: usize, base: usize, last: usize, rowBytes: usize, dyPtr: usize, dyRowBytes: usize, sumsPtr: usize, endPtr: usize,
  dyPixelBytes: usize, shared: bool,
): void {
  if (shared) Strip.column2(4, first, base, last, rowBytes, dyPtr, dyRowBytes, sumsPtr, endPtr, dyPixelBytes, true);
  else Strip.column2(4, first, base, last, rowBytes, dyPtr, dyRowBytes, sumsPtr, endPtr, dyPixelBytes, false);
}

function column3(
  first: usize, base: usize, last: usize, rowBytes: usize, dyPtr: usize, dyRowBytes: usize, sumsPtr: usize, endPtr: usize,
  dyPixelBytes: usize, shared: bool,
): void {
  if (shared) Strip.column2(3, first, base, last, rowBytes, dyPtr, dyRowBytes, sumsPtr, endPtr, dyPixelBytes, true);
  else Strip.column2(3, first, base, last, rowBytes, dyPtr, dyRowBytes, sumsPtr, endPtr, dyPixelBytes, false);
}

function column1(
  first: usize, base: usize, last: usize, rowBytes: usize, dyPtr: usize, dyRowBytes: usize, sumsPtr: usize, endPtr: usize,
  dyPixelBytes: usize, shared: bool,
): void {
  if (shared) Strip.column2(1, first, base, last, rowBytes, dyPtr, dyRowBytes, sumsPtr, endPtr, dyPixelBytes, true);
  else Strip.column2(1, first, base, last, rowBytes, dyPtr, dyRowBytes, sumsPtr, endPtr, dyPixelBytes, false);
}

/**
 * Stride 1: sums [blocks][9][4] += x by one pixel of dy each of `rows` rows, of `stripRows`. first, base, last: the window's left column
 * in the row above the middle row of the first pixel, in that row, and in the row below the middle row of the last one; `before`,
 * `behind`: whether the left and the right column lie in the row.
 */
export function sumsDown(
  rows: i32, first: usize, base: usize, last: usize, rowBytes: usize, pixelBytes: usize, dyPtr: usize, dyRowBytes: usize,
  sumsPtr: usize, blocks: i32, before: bool, behind: bool,
): void {
  const endPtr = sumsPtr + <usize>blocks * TAPS_BYTES;
  if (rows == 4) pixel4(first, base, last, rowBytes, pixelBytes, dyPtr, dyRowBytes, sumsPtr, endPtr, before, behind);
  else if (rows == 3) pixel3(first, base, last, rowBytes, pixelBytes, dyPtr, dyRowBytes, sumsPtr, endPtr, before, behind);
  else pixel1(first, base, last, rowBytes, pixelBytes, dyPtr, dyRowBytes, sumsPtr, endPtr, before, behind);
}

/**
 * Stride 2: the same for one column of x, to whose sums `sumsPtr` leads. `shared`: it is the right one of this pixel of dy, and of the
 * next one the left one.
 */
export function columnSumsDown2(
  rows: i32, first: usize, base: usize, last: usize, rowBytes: usize, dyPtr: usize, dyRowBytes: usize, dyPixelBytes: usize,
  sumsPtr: usize, blocks: i32, shared: bool,
): void {
  const endPtr = sumsPtr + <usize>blocks * TAPS_BYTES;
  if (rows == 4) column4(first, base, last, rowBytes, dyPtr, dyRowBytes, sumsPtr, endPtr, dyPixelBytes, shared);
  else if (rows == 3) column3(first, base, last, rowBytes, dyPtr, dyRowBytes, sumsPtr, endPtr, dyPixelBytes, shared);
  else column1(first, base, last, rowBytes, dyPtr, dyRowBytes, sumsPtr, endPtr, dyPixelBytes, shared);
}

/** The three sums of one column of taps, of which `sumsPtr` is the first, += one column of x by a pixel of dy. */
export function sumOfColumn(a: usize, b: usize, c: usize, dyPtr: usize, sumsPtr: usize, blocks: i32): void {
  const end = sumsPtr + <usize>blocks * TAPS_BYTES;
  for (; sumsPtr < end; sumsPtr += TAPS_BYTES) {
    const d = v128.load(dyPtr);
    v128.store(sumsPtr, f32x4.add(v128.load(sumsPtr), f32x4.mul(v128.load(a), d)));
    v128.store(sumsPtr, f32x4.add(v128.load(sumsPtr, 16), f32x4.mul(v128.load(b), d)), 16);
    v128.store(sumsPtr, f32x4.add(v128.load(sumsPtr, 32), f32x4.mul(v128.load(c), d)), 32);
    a += 16;
    b += 16;
    c += 16;
    dyPtr += 16;
  }
}
