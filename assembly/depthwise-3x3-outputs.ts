// Inner loops of depthwise 3×3 outputs without dilation: one pixel each of four, three or one rows that lie below one another (a
// strip), over all blocks of four channels. Channels are the innermost loop, pixels the next one. So every row of the strip is a
// stream that runs in order through memory, and prefetchers follow it.
//
// From the second-level cache an output (four channels) takes 6.0 cycles on the Xeon, whose three ports allow 5.7: nine
// multiplications, eight additions. A strip of four rows loads four and a half pixels an output, and a quarter of the nine taps.
//
// The `break`s in the middle of loops are never taken: scratch does not lie at address 1, 2, 3. They end V8's basic blocks. Inside
// one, V8 moves loads to the front and then spills.

/** Bytes of a block's nine taps. */
export const TAPS_BYTES: usize = 144;

/** Rows of the tallest strip. */
export const MOST_ROWS: i32 = 4;

/** Rows of the next strip where `left` are still to do: four and three, so that nothing is left over but of one, two and five in all. */
export function stripRows(left: i32): i32 {
  return left == 3 || left == 6 || left == 9 ? 3 : left >= 4 ? 4 : 1;
}

// oxlint-disable-next-line typescript/no-extraneous-class -- the linter cannot read a decorated function
abstract class Column {
  /** One column of three pixels by one column of three taps. */
  @inline
  static sum(x: v128, y: v128, z: v128, u: v128, v: v128, w: v128): v128 {
    return f32x4.add(f32x4.add(f32x4.mul(x, u), f32x4.mul(y, v)), f32x4.mul(z, w));
  }

  @inline
  static addTo(toPtr: usize, sum: v128): void {
    v128.store(toPtr, f32x4.add(v128.load(toPtr), sum));
  }
}

// oxlint-disable-next-line typescript/no-extraneous-class -- the linter cannot read a decorated function
abstract class Strip {
  /** Stride 1. first, base, last: the left column of the first window in the rows above, under and below the strip. */
  @inline
  static stride1(
    rows: i32, first: usize, base: usize, last: usize, rowBytes: usize, pixelBytes: usize, to: usize, toRowBytes: usize, tapsPtr: usize,
    endPtr: usize, before: bool, behind: bool, sinkPtr: usize,
  ): void {
    let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0, x = s0, y = s0, z = s0, u = s0, v = s0, w = s0;
    while (true) {
      s0 = f32x4.splat(0);
      s1 = s0;
      s2 = s0;
      s3 = s0;
      let p = base;
      if (before) {
        u = v128.load(tapsPtr);
        v = v128.load(tapsPtr, 16);
        w = v128.load(tapsPtr, 32);
        x = v128.load(first);
        y = v128.load(p);
        if (rows > 1) {
          p += rowBytes;
          z = v128.load(p);
          s0 = Column.sum(x, y, z, u, v, w);
          p += rowBytes;
          x = v128.load(p);
          s1 = Column.sum(y, z, x, u, v, w);
          if (rows > 3) {
            p += rowBytes;
            y = v128.load(p);
            s2 = Column.sum(z, x, y, u, v, w);
            if (tapsPtr == 1) break;
            s3 = Column.sum(x, y, v128.load(last), u, v, w);
          } else s2 = Column.sum(z, x, v128.load(last), u, v, w);
        } else s0 = Column.sum(x, y, v128.load(last), u, v, w);
      }
      u = v128.load(tapsPtr, 48);
      v = v128.load(tapsPtr, 64);
      w = v128.load(tapsPtr, 80);
      p = base + pixelBytes;
      x = v128.load(first + pixelBytes);
      y = v128.load(p);
      if (rows > 1) {
        p += rowBytes;
        z = v128.load(p);
        s0 = f32x4.add(s0, Column.sum(x, y, z, u, v, w));
        p += rowBytes;
        x = v128.load(p);
        s1 = f32x4.add(s1, Column.sum(y, z, x, u, v, w));
        if (rows > 3) {
          p += rowBytes;
          y = v128.load(p);
          s2 = f32x4.add(s2, Column.sum(z, x, y, u, v, w));
          if (tapsPtr == 2) break;
          s3 = f32x4.add(s3, Column.sum(x, y, v128.load(last + pixelBytes), u, v, w));
        } else s2 = f32x4.add(s2, Column.sum(z, x, v128.load(last + pixelBytes), u, v, w));
      } else s0 = f32x4.add(s0, Column.sum(x, y, v128.load(last + pixelBytes), u, v, w));
      if (behind) {
        u = v128.load(tapsPtr, 96);
        v = v128.load(tapsPtr, 112);
        w = v128.load(tapsPtr, 128);
        p = base + (pixelBytes << 1);
        x = v128.load(first + (pixelBytes << 1));
        y = v128.load(p);
        if (rows > 1) {
          p += rowBytes;
          z = v128.load(p);
          s0 = f32x4.add(s0, Column.sum(x, y, z, u, v, w));
          p += rowBytes;
          x = v128.load(p);
          s1 = f32x4.add(s1, Column.sum(y, z, x, u, v, w));
          if (rows > 3) {
            p += rowBytes;
            y = v128.load(p);
            s2 = f32x4.add(s2, Column.sum(z, x, y, u, v, w));
            if (tapsPtr == 3) break;
            s3 = f32x4.add(s3, Column.sum(x, y, v128.load(last + (pixelBytes << 1)), u, v, w));
          } else s2 = f32x4.add(s2, Column.sum(z, x, v128.load(last + (pixelBytes << 1)), u, v, w));
        } else s0 = f32x4.add(s0, Column.sum(x, y, v128.load(last + (pixelBytes << 1)), u, v, w));
      }
      let q = to;
      v128.store(q, s0);
      if (rows > 1) {
        q += toRowBytes;
        v128.store(q, s1);
        q += toRowBytes;
        v128.store(q, s2);
      }
      if (rows > 3) v128.store(q + toRowBytes, s3);
      first += 16;
      base += 16;
      last += 16;
      to += 16;
      tapsPtr += TAPS_BYTES;
      if (tapsPtr == endPtr) break;
    }
    // Every exit of the loop reads what is in registers here. Otherwise V8 would move computations past the breaks.
    v128.store(sinkPtr, f32x4.add(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)), f32x4.add(f32x4.add(x, y), f32x4.add(z, w))));
  }

  /** Stride 2: outputs += one column. */
  @inline
  static add2(
    rows: i32, first: usize, base: usize, last: usize, rowBytes: usize, toPtr: usize, toRowBytes: usize, tapsPtr: usize, endPtr: usize,
  ): void {
    for (; tapsPtr < endPtr; tapsPtr += TAPS_BYTES) {
      const u = v128.load(tapsPtr), v = v128.load(tapsPtr, 16), w = v128.load(tapsPtr, 32);
      let x = v128.load(first), y = v128.load(base), z = x, p = base, to = toPtr;
      if (rows > 1) {
        p += rowBytes;
        z = v128.load(p);
        Column.addTo(to, Column.sum(x, y, z, u, v, w));
        p += rowBytes;
        y = v128.load(p);
        p += rowBytes;
        x = v128.load(p);
        to += toRowBytes;
        Column.addTo(to, Column.sum(z, y, x, u, v, w));
        p += rowBytes;
        y = v128.load(p);
        to += toRowBytes;
      }
      if (rows > 3) {
        p += rowBytes;
        z = v128.load(p);
        Column.addTo(to, Column.sum(x, y, z, u, v, w));
        p += rowBytes;
        y = v128.load(p);
        to += toRowBytes;
        x = z;
      }
      Column.addTo(to, Column.sum(x, y, v128.load(last), u, v, w));
      first += 16;
      base += 16;
      last += 16;
      toPtr += 16;
    }
  }

  /** Stride 2: outputs += one column, and those `next` to them = the same column by other taps. */
  @inline
  static share2(
    rows: i32, first: usize, base: usize, last: usize, rowBytes: usize, toPtr: usize, next: usize, toRowBytes: usize, tapsPtr: usize,
    endPtr: usize,
  ): void {
    for (; tapsPtr < endPtr; tapsPtr += TAPS_BYTES) {
      const u = v128.load(tapsPtr, 96), v = v128.load(tapsPtr, 112), w = v128.load(tapsPtr, 128);
      const a = v128.load(tapsPtr), b = v128.load(tapsPtr, 16), c = v128.load(tapsPtr, 32);
      let x = v128.load(first), y = v128.load(base), z = x, p = base, to = toPtr, q = next;
      if (rows > 1) {
        p += rowBytes;
        z = v128.load(p);
        Column.addTo(to, Column.sum(x, y, z, u, v, w));
        v128.store(q, Column.sum(x, y, z, a, b, c));
        p += rowBytes;
        y = v128.load(p);
        p += rowBytes;
        x = v128.load(p);
        to += toRowBytes;
        q += toRowBytes;
        Column.addTo(to, Column.sum(z, y, x, u, v, w));
        v128.store(q, Column.sum(z, y, x, a, b, c));
        p += rowBytes;
        y = v128.load(p);
        to += toRowBytes;
        q += toRowBytes;
      }
      if (rows > 3) {
        p += rowBytes;
        z = v128.load(p);
        Column.addTo(to, Column.sum(x, y, z, u, v, w));
        v128.store(q, Column.sum(x, y, z, a, b, c));
        p += rowBytes;
        y = v128.load(p);
        to += toRowBytes;
        q += toRowBytes;
        x = z;
      }
      z = v128.load(last);
      Column.addTo(to, Column.sum(x, y, z, u, v, w));
      v128.store(q, Column.sum(x, y, z, a, b, c));
      first += 16;
      base += 16;
      last += 16;
      toPtr += 16;
      next += 16;
    }
  }
}

function strip4(
  first: usize, base: usize, last: usize, rowBytes: usize, pixelBytes: usize, to: usize, toRowBytes: usize, tapsPtr: usize,
  endPtr: usize, before: bool, behind: bool, sinkPtr: usize,
): void {
  Strip.stride1(4, first, base, last, rowBytes, pixelBytes, to, toRowBytes, tapsPtr, endPtr, before, behind, sinkPtr);
}

function strip3(
  first: usize, base: usize, last: usize, rowBytes: usize, pixelBytes: usize, to: usize, toRowBytes: usize, tapsPtr: usize,
  endPtr: usize, before: bool, behind: bool, sinkPtr: usize,
): void {
  Strip.stride1(3, first, base, last, rowBytes, pixelBytes, to, toRowBytes, tapsPtr, endPtr, before, behind, sinkPtr);
}

function strip1(
  first: usize, base: usize, last: usize, rowBytes: usize, pixelBytes: usize, to: usize, toRowBytes: usize, tapsPtr: usize,
  endPtr: usize, before: bool, behind: bool, sinkPtr: usize,
): void {
  Strip.stride1(1, first, base, last, rowBytes, pixelBytes, to, toRowBytes, tapsPtr, endPtr, before, behind, sinkPtr);
}

/**
 * Stride 1: one output each of `rows` rows, of `stripRows`. first, base, last: the window's left column in the row above the middle
 * row of the first output, in that row, and in the row below the middle row of the last one; `before`, `behind`: whether the left and
 * the right column lie in the row. `sinkPtr`: 16 bytes.
 */
export function outputsDown(
  rows: i32, first: usize, base: usize, last: usize, rowBytes: usize, pixelBytes: usize, to: usize, toRowBytes: usize, tapsPtr: usize,
  blocks: i32, before: bool, behind: bool, sinkPtr: usize,
): void {
  const endPtr = tapsPtr + <usize>blocks * TAPS_BYTES;
  if (rows == 4) strip4(first, base, last, rowBytes, pixelBytes, to, toRowBytes, tapsPtr, endPtr, before, behind, sinkPtr);
  else if (rows == 3) strip3(first, base, last, rowBytes, pixelBytes, to, toRowBytes, tapsPtr, endPtr, before, behind, sinkPtr);
  else strip1(first, base, last, rowBytes, pixelBytes, to, toRowBytes, tapsPtr, endPtr, before, behind, sinkPtr);
}

/** Stride 2: outputs of `rows` rows += one column of their windows; `tapsPtr` is that column's first tap of the first block. */
export function addColumnDown2(
  rows: i32, first: usize, base: usize, last: usize, rowBytes: usize, to: usize, toRowBytes: usize, tapsPtr: usize, blocks: i32,
): void {
  const endPtr = tapsPtr + <usize>blocks * TAPS_BYTES;
  if (rows == 4) Strip.add2(4, first, base, last, rowBytes, to, toRowBytes, tapsPtr, endPtr);
  else if (rows == 3) Strip.add2(3, first, base, last, rowBytes, to, toRowBytes, tapsPtr, endPtr);
  else Strip.add2(1, first, base, last, rowBytes, to, toRowBytes, tapsPtr, endPtr);
}

/** Stride 2: one column is the last of an output, to which it is added, and the first of the next, which starts with it. */
export function shareColumnDown2(
  rows: i32, first: usize, base: usize, last: usize, rowBytes: usize, to: usize, next: usize, toRowBytes: usize, tapsPtr: usize,
  blocks: i32,
): void {
  const endPtr = tapsPtr + <usize>blocks * TAPS_BYTES;
  if (rows == 4) Strip.share2(4, first, base, last, rowBytes, to, next, toRowBytes, tapsPtr, endPtr);
  else if (rows == 3) Strip.share2(3, first, base, last, rowBytes, to, next, toRowBytes, tapsPtr, endPtr);
  else Strip.share2(1, first, base, last, rowBytes, to, next, toRowBytes, tapsPtr, endPtr);
}

/** An output's sum over one column of its window; `tapsPtr` is that column's first tap of the first block. */
export function outputOfColumn(a: usize, b: usize, c: usize, toPtr: usize, tapsPtr: usize, blocks: i32): void {
  const end = tapsPtr + <usize>blocks * TAPS_BYTES;
  for (; tapsPtr < end; tapsPtr += TAPS_BYTES) {
    v128.store(
      toPtr, Column.sum(v128.load(a), v128.load(b), v128.load(c), v128.load(tapsPtr), v128.load(tapsPtr, 16), v128.load(tapsPtr, 32)),
    );
    a += 16;
    b += 16;
    c += 16;
    toPtr += 16;
  }
}
