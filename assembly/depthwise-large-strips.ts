// Inner loops of depthwise 5×5 and 7×7 convolutions of stride 1 without dilation: one pixel each of seven, four or one rows that lie
// below one another, column of taps by column, over all blocks of four channels, as in `depthwise-3x3-outputs.ts`. Seven taps or sums and
// as many outputs, or four pixels of dy, stay in registers: an output (four channels) of 7×7 takes 33 cycles on the Xeon, what its ports
// allow.
//
// The `break`s in the middle of loops are never taken: scratch does not lie at address 1, 2, 3. They end V8's basic blocks. Inside
// one, V8 moves loads to the front and then spills: 44 cycles.

/** Bytes of a column of taps or of its f32 sums. */
export function columnBytes(kernel: i32): usize {
  return (<usize>kernel) << 4;
}

/** Bytes of a block's columns. */
export function blockBytes(kernel: i32): usize {
  return (<usize>(kernel * kernel)) << 4;
}

/** Rows of the tallest strip. */
export const MOST_ROWS: i32 = 7;

/** Rows of the next strip of outputs where `left` are still to do. */
export function outputRows(left: i32): i32 {
  return left % 7 == 0 ? 7 : left >= 4 ? 4 : 1;
}

/** The same of dy, of which seven pixels beside seven sums of a column are one too many for the registers: 10.7 ns a pixel, four 10.3. */
export function sumRows(left: i32, kernel: i32): i32 {
  return kernel == 7 && left % 4 == 0 ? 4 : outputRows(left);
}

// oxlint-disable-next-line typescript/no-extraneous-class -- the linter cannot read a decorated function
abstract class Column {
  @inline
  static add(sum: v128, x: v128, y: v128): v128 {
    return f32x4.add(sum, f32x4.mul(x, y));
  }
}

// oxlint-disable-next-line typescript/no-extraneous-class -- the linter cannot read a decorated function
abstract class Strip {
  /** `kernel` and `rows` are constants of each instance below: what their conditions leave out is not compiled. */
  @inline
  static outputs(
    kernel: i32, rows: i32, basePtr: usize, rowBytes: usize, pixelBytes: usize, toPtr: usize, toRowBytes: usize, tapsPtr: usize,
    endPtr: usize, columnsBytes: usize, sinkPtr: usize,
  ): void {
    const zero = f32x4.splat(0);
    let s0 = zero, s1 = zero, s2 = zero, s3 = zero, s4 = zero, s5 = zero, s6 = zero, x = zero;
    for (; tapsPtr < endPtr; tapsPtr += <usize>(kernel * kernel) << 4) {
      s0 = zero;
      s1 = zero;
      s2 = zero;
      s3 = zero;
      s4 = zero;
      s5 = zero;
      s6 = zero;
      let at = tapsPtr, pixel = basePtr;
      const columnsEnd = tapsPtr + columnsBytes;
      while (true) {
        const w0 = v128.load(at), w1 = v128.load(at, 16), w2 = v128.load(at, 32), w3 = v128.load(at, 48);
        const w4 = v128.load(at, 64), w5 = kernel > 5 ? v128.load(at, 80) : zero, w6 = kernel > 5 ? v128.load(at, 96) : zero;
        let p = pixel;
        x = v128.load(p);
        s0 = Column.add(s0, x, w0);
        p += rowBytes;
        x = v128.load(p);
        s0 = Column.add(s0, x, w1);
        if (rows > 1) s1 = Column.add(s1, x, w0);
        p += rowBytes;
        x = v128.load(p);
        s0 = Column.add(s0, x, w2);
        if (rows > 1) {
          s1 = Column.add(s1, x, w1);
          s2 = Column.add(s2, x, w0);
        }
        p += rowBytes;
        x = v128.load(p);
        s0 = Column.add(s0, x, w3);
        if (rows > 1) {
          s1 = Column.add(s1, x, w2);
          s2 = Column.add(s2, x, w1);
          s3 = Column.add(s3, x, w0);
        }
        if (at == 1) break;
        p += rowBytes;
        x = v128.load(p);
        s0 = Column.add(s0, x, w4);
        if (rows > 1) {
          s1 = Column.add(s1, x, w3);
          s2 = Column.add(s2, x, w2);
          s3 = Column.add(s3, x, w1);
        }
        if (rows > 4) s4 = Column.add(s4, x, w0);
        if (rows + kernel > 6) {
          p += rowBytes;
          x = v128.load(p);
          if (rows > 1) {
            s1 = Column.add(s1, x, w4);
            s2 = Column.add(s2, x, w3);
            s3 = Column.add(s3, x, w2);
          }
          if (rows > 4) {
            s4 = Column.add(s4, x, w1);
            s5 = Column.add(s5, x, w0);
          }
          if (kernel > 5) s0 = Column.add(s0, x, w5);
        }
        if (rows + kernel > 7) {
          p += rowBytes;
          x = v128.load(p);
          if (rows > 1) {
            s2 = Column.add(s2, x, w4);
            s3 = Column.add(s3, x, w3);
          }
          if (rows > 4) {
            s4 = Column.add(s4, x, w2);
            s5 = Column.add(s5, x, w1);
            s6 = Column.add(s6, x, w0);
          }
          if (kernel > 5) {
            s0 = Column.add(s0, x, w6);
            if (rows > 1) s1 = Column.add(s1, x, w5);
          }
        }
        if (rows + kernel > 8) {
          p += rowBytes;
          x = v128.load(p);
          if (rows > 1) s3 = Column.add(s3, x, w4);
          if (rows > 4) {
            s4 = Column.add(s4, x, w3);
            s5 = Column.add(s5, x, w2);
            s6 = Column.add(s6, x, w1);
          }
          if (kernel > 5) {
            if (rows > 1) {
              s1 = Column.add(s1, x, w6);
              s2 = Column.add(s2, x, w5);
            }
          }
          if (at == 2) break;
        }
        if (rows + kernel > 9) {
          p += rowBytes;
          x = v128.load(p);
          if (rows > 4) {
            s4 = Column.add(s4, x, w4);
            s5 = Column.add(s5, x, w3);
            s6 = Column.add(s6, x, w2);
          }
          if (kernel > 5) {
            if (rows > 1) {
              s2 = Column.add(s2, x, w6);
              s3 = Column.add(s3, x, w5);
            }
          }
        }
        if (rows + kernel > 10) {
          p += rowBytes;
          x = v128.load(p);
          if (rows > 4) {
            s5 = Column.add(s5, x, w4);
            s6 = Column.add(s6, x, w3);
          }
          if (kernel > 5) {
            if (rows > 1) s3 = Column.add(s3, x, w6);
            if (rows > 4) s4 = Column.add(s4, x, w5);
          }
        }
        if (rows + kernel > 11) {
          p += rowBytes;
          x = v128.load(p);
          if (rows > 4) s6 = Column.add(s6, x, w4);
          if (kernel > 5) {
            if (rows > 4) {
              s4 = Column.add(s4, x, w6);
              s5 = Column.add(s5, x, w5);
            }
          }
        }
        if (rows + kernel > 12) {
          p += rowBytes;
          x = v128.load(p);
          if (kernel > 5) {
            if (rows > 4) {
              s5 = Column.add(s5, x, w6);
              s6 = Column.add(s6, x, w5);
            }
          }
          if (at == 3) break;
        }
        if (rows + kernel > 13) {
          p += rowBytes;
          x = v128.load(p);
          if (kernel > 5) {
            if (rows > 4) s6 = Column.add(s6, x, w6);
          }
        }
        pixel += pixelBytes;
        at += (<usize>kernel) << 4;
        if (at >= columnsEnd) break;
      }
      let to = toPtr;
      v128.store(to, s0);
      if (rows > 1) {
        to += toRowBytes;
        v128.store(to, s1);
        to += toRowBytes;
        v128.store(to, s2);
        to += toRowBytes;
        v128.store(to, s3);
      }
      if (rows > 4) {
        to += toRowBytes;
        v128.store(to, s4);
        to += toRowBytes;
        v128.store(to, s5);
        v128.store(to + toRowBytes, s6);
      }
      basePtr += 16;
      toPtr += 16;
    }
    // What leaves the loop is read here. Otherwise V8 would move computations past the breaks.
    v128.store(sinkPtr, f32x4.add(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)), f32x4.add(f32x4.add(s4, s5), f32x4.add(s6, x))));
  }

  @inline
  static sums(
    kernel: i32, rows: i32, basePtr: usize, rowBytes: usize, pixelBytes: usize, dyPtr: usize, dyRowBytes: usize, sumsPtr: usize,
    endPtr: usize, columnsBytes: usize, sinkPtr: usize,
  ): void {
    const zero = f32x4.splat(0);
    let s0 = zero, s1 = zero, s2 = zero, s3 = zero, s4 = zero, s5 = zero, s6 = zero, x = zero;
    for (; sumsPtr < endPtr; sumsPtr += <usize>(kernel * kernel) << 4) {
      const d0 = v128.load(dyPtr);
      let d1 = d0, d2 = d0, d3 = d0, d4 = d0, d5 = d0, d6 = d0, dy = dyPtr;
      if (rows > 1) {
        dy += dyRowBytes;
        d1 = v128.load(dy);
        dy += dyRowBytes;
        d2 = v128.load(dy);
        dy += dyRowBytes;
        d3 = v128.load(dy);
      }
      if (rows > 4) {
        dy += dyRowBytes;
        d4 = v128.load(dy);
        dy += dyRowBytes;
        d5 = v128.load(dy);
        d6 = v128.load(dy + dyRowBytes);
      }
      let at = sumsPtr, pixel = basePtr;
      const columnsEnd = sumsPtr + columnsBytes;
      while (true) {
        s0 = v128.load(at);
        s1 = v128.load(at, 16);
        s2 = v128.load(at, 32);
        s3 = v128.load(at, 48);
        s4 = v128.load(at, 64);
        if (kernel > 5) {
          s5 = v128.load(at, 80);
          s6 = v128.load(at, 96);
        }
        let p = pixel;
        x = v128.load(p);
        s0 = Column.add(s0, x, d0);
        p += rowBytes;
        x = v128.load(p);
        s1 = Column.add(s1, x, d0);
        if (rows > 1) s0 = Column.add(s0, x, d1);
        p += rowBytes;
        x = v128.load(p);
        s2 = Column.add(s2, x, d0);
        if (rows > 1) {
          s1 = Column.add(s1, x, d1);
          s0 = Column.add(s0, x, d2);
        }
        p += rowBytes;
        x = v128.load(p);
        s3 = Column.add(s3, x, d0);
        if (rows > 1) {
          s2 = Column.add(s2, x, d1);
          s1 = Column.add(s1, x, d2);
          s0 = Column.add(s0, x, d3);
        }
        if (at == 1) break;
        p += rowBytes;
        x = v128.load(p);
        s4 = Column.add(s4, x, d0);
        if (rows > 1) {
          s3 = Column.add(s3, x, d1);
          s2 = Column.add(s2, x, d2);
          s1 = Column.add(s1, x, d3);
        }
        if (rows > 4) s0 = Column.add(s0, x, d4);
        if (rows + kernel > 6) {
          p += rowBytes;
          x = v128.load(p);
          if (rows > 1) {
            s4 = Column.add(s4, x, d1);
            s3 = Column.add(s3, x, d2);
            s2 = Column.add(s2, x, d3);
          }
          if (rows > 4) {
            s1 = Column.add(s1, x, d4);
            s0 = Column.add(s0, x, d5);
          }
          if (kernel > 5) s5 = Column.add(s5, x, d0);
        }
        if (rows + kernel > 7) {
          p += rowBytes;
          x = v128.load(p);
          if (rows > 1) {
            s4 = Column.add(s4, x, d2);
            s3 = Column.add(s3, x, d3);
          }
          if (rows > 4) {
            s2 = Column.add(s2, x, d4);
            s1 = Column.add(s1, x, d5);
            s0 = Column.add(s0, x, d6);
          }
          if (kernel > 5) {
            s6 = Column.add(s6, x, d0);
            if (rows > 1) s5 = Column.add(s5, x, d1);
          }
        }
        if (rows + kernel > 8) {
          p += rowBytes;
          x = v128.load(p);
          if (rows > 1) s4 = Column.add(s4, x, d3);
          if (rows > 4) {
            s3 = Column.add(s3, x, d4);
            s2 = Column.add(s2, x, d5);
            s1 = Column.add(s1, x, d6);
          }
          if (kernel > 5) {
            if (rows > 1) {
              s6 = Column.add(s6, x, d1);
              s5 = Column.add(s5, x, d2);
            }
          }
          if (at == 2) break;
        }
        if (rows + kernel > 9) {
          p += rowBytes;
          x = v128.load(p);
          if (rows > 4) {
            s4 = Column.add(s4, x, d4);
            s3 = Column.add(s3, x, d5);
            s2 = Column.add(s2, x, d6);
          }
          if (kernel > 5) {
            if (rows > 1) {
              s6 = Column.add(s6, x, d2);
              s5 = Column.add(s5, x, d3);
            }
          }
        }
        if (rows + kernel > 10) {
          p += rowBytes;
          x = v128.load(p);
          if (rows > 4) {
            s4 = Column.add(s4, x, d5);
            s3 = Column.add(s3, x, d6);
          }
          if (kernel > 5) {
            if (rows > 1) s6 = Column.add(s6, x, d3);
            if (rows > 4) s5 = Column.add(s5, x, d4);
          }
        }
        if (rows + kernel > 11) {
          p += rowBytes;
          x = v128.load(p);
          if (rows > 4) s4 = Column.add(s4, x, d6);
          if (kernel > 5) {
            if (rows > 4) {
              s6 = Column.add(s6, x, d4);
              s5 = Column.add(s5, x, d5);
            }
          }
        }
        if (rows + kernel > 12) {
          p += rowBytes;
          x = v128.load(p);
          if (kernel > 5) {
            if (rows > 4) {
              s6 = Column.add(s6, x, d5);
              s5 = Column.add(s5, x, d6);
            }
          }
          if (at == 3) break;
        }
        if (rows + kernel > 13) {
          p += rowBytes;
          x = v128.load(p);
          if (kernel > 5) {
            if (rows > 4) s6 = Column.add(s6, x, d6);
          }
        }
        v128.store(at, s0);
        v128.store(at, s1, 16);
        v128.store(at, s2, 32);
        v128.store(at, s3, 48);
        v128.store(at, s4, 64);
        if (kernel > 5) {
          v128.store(at, s5, 80);
          v128.store(at, s6, 96);
        }
        pixel += pixelBytes;
        at += (<usize>kernel) << 4;
        if (at >= columnsEnd) break;
      }
      basePtr += 16;
      dyPtr += 16;
    }
    v128.store(sinkPtr, f32x4.add(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)), f32x4.add(f32x4.add(s4, s5), f32x4.add(s6, x))));
  }
}

function outputs7of7(
  base: usize, rowBytes: usize, pixelBytes: usize, to: usize, toRowBytes: usize, taps: usize, end: usize, columnsBytes: usize, sink: usize,
): void {
  Strip.outputs(7, 7, base, rowBytes, pixelBytes, to, toRowBytes, taps, end, columnsBytes, sink);
}

function outputs4of7(
  base: usize, rowBytes: usize, pixelBytes: usize, to: usize, toRowBytes: usize, taps: usize, end: usize, columnsBytes: usize, sink: usize,
): void {
  Strip.outputs(7, 4, base, rowBytes, pixelBytes, to, toRowBytes, taps, end, columnsBytes, sink);
}

function outputs1of7(
  base: usize, rowBytes: usize, pixelBytes: usize, to: usize, toRowBytes: usize, taps: usize, end: usize, columnsBytes: usize, sink: usize,
): void {
  Strip.outputs(7, 1, base, rowBytes, pixelBytes, to, toRowBytes, taps, end, columnsBytes, sink);
}

function outputs7of5(
  base: usize, rowBytes: usize, pixelBytes: usize, to: usize, toRowBytes: usize, taps: usize, end: usize, columnsBytes: usize, sink: usize,
): void {
  Strip.outputs(5, 7, base, rowBytes, pixelBytes, to, toRowBytes, taps, end, columnsBytes, sink);
}

function outputs4of5(
  base: usize, rowBytes: usize, pixelBytes: usize, to: usize, toRowBytes: usize, taps: usize, end: usize, columnsBytes: usize, sink: usize,
): void {
  Strip.outputs(5, 4, base, rowBytes, pixelBytes, to, toRowBytes, taps, end, columnsBytes, sink);
}

function outputs1of5(
  base: usize, rowBytes: usize, pixelBytes: usize, to: usize, toRowBytes: usize, taps: usize, end: usize, columnsBytes: usize, sink: usize,
): void {
  Strip.outputs(5, 1, base, rowBytes, pixelBytes, to, toRowBytes, taps, end, columnsBytes, sink);
}

function sums7of7(
  base: usize, rowBytes: usize, pixelBytes: usize, dy: usize, dyRowBytes: usize, sums: usize, end: usize, columnsBytes: usize, sink: usize,
): void {
  Strip.sums(7, 7, base, rowBytes, pixelBytes, dy, dyRowBytes, sums, end, columnsBytes, sink);
}

function sums4of7(
  base: usize, rowBytes: usize, pixelBytes: usize, dy: usize, dyRowBytes: usize, sums: usize, end: usize, columnsBytes: usize, sink: usize,
): void {
  Strip.sums(7, 4, base, rowBytes, pixelBytes, dy, dyRowBytes, sums, end, columnsBytes, sink);
}

function sums1of7(
  base: usize, rowBytes: usize, pixelBytes: usize, dy: usize, dyRowBytes: usize, sums: usize, end: usize, columnsBytes: usize, sink: usize,
): void {
  Strip.sums(7, 1, base, rowBytes, pixelBytes, dy, dyRowBytes, sums, end, columnsBytes, sink);
}

function sums7of5(
  base: usize, rowBytes: usize, pixelBytes: usize, dy: usize, dyRowBytes: usize, sums: usize, end: usize, columnsBytes: usize, sink: usize,
): void {
  Strip.sums(5, 7, base, rowBytes, pixelBytes, dy, dyRowBytes, sums, end, columnsBytes, sink);
}

function sums4of5(
  base: usize, rowBytes: usize, pixelBytes: usize, dy: usize, dyRowBytes: usize, sums: usize, end: usize, columnsBytes: usize, sink: usize,
): void {
  Strip.sums(5, 4, base, rowBytes, pixelBytes, dy, dyRowBytes, sums, end, columnsBytes, sink);
}

function sums1of5(
  base: usize, rowBytes: usize, pixelBytes: usize, dy: usize, dyRowBytes: usize, sums: usize, end: usize, columnsBytes: usize, sink: usize,
): void {
  Strip.sums(5, 1, base, rowBytes, pixelBytes, dy, dyRowBytes, sums, end, columnsBytes, sink);
}

/**
 * One output each of `rows` rows, of `outputRows`, from `columns` ≥ 1 columns of their windows; `kernel`: 5 or 7. base: the first of these
 * columns in the windows' first row; `tapsPtr` [blocks][column][row][4], its first block's first of these columns. `sinkPtr`: 16 bytes.
 */
export function largeOutputsDown(
  kernel: i32, rows: i32, base: usize, rowBytes: usize, pixelBytes: usize, to: usize, toRowBytes: usize, tapsPtr: usize, blocks: i32,
  columns: i32, sinkPtr: usize,
): void {
  const end = tapsPtr + <usize>blocks * blockBytes(kernel), columnsBytes = <usize>columns * columnBytes(kernel);
  if (kernel == 7) {
    if (rows == 7) outputs7of7(base, rowBytes, pixelBytes, to, toRowBytes, tapsPtr, end, columnsBytes, sinkPtr);
    else if (rows == 4) outputs4of7(base, rowBytes, pixelBytes, to, toRowBytes, tapsPtr, end, columnsBytes, sinkPtr);
    else outputs1of7(base, rowBytes, pixelBytes, to, toRowBytes, tapsPtr, end, columnsBytes, sinkPtr);
  } else if (rows == 7) outputs7of5(base, rowBytes, pixelBytes, to, toRowBytes, tapsPtr, end, columnsBytes, sinkPtr);
  else if (rows == 4) outputs4of5(base, rowBytes, pixelBytes, to, toRowBytes, tapsPtr, end, columnsBytes, sinkPtr);
  else outputs1of5(base, rowBytes, pixelBytes, to, toRowBytes, tapsPtr, end, columnsBytes, sinkPtr);
}

/** Sums, which lie like taps, += x by one pixel of dy each of `rows` rows, of `sumRows`; the rest as for `largeOutputsDown`. */
export function largeSumsDown(
  kernel: i32, rows: i32, base: usize, rowBytes: usize, pixelBytes: usize, dyPtr: usize, dyRowBytes: usize, sumsPtr: usize, blocks: i32,
  columns: i32, sinkPtr: usize,
): void {
  const end = sumsPtr + <usize>blocks * blockBytes(kernel), columnsBytes = <usize>columns * columnBytes(kernel);
  if (kernel == 7) {
    if (rows == 7) sums7of7(base, rowBytes, pixelBytes, dyPtr, dyRowBytes, sumsPtr, end, columnsBytes, sinkPtr);
    else if (rows == 4) sums4of7(base, rowBytes, pixelBytes, dyPtr, dyRowBytes, sumsPtr, end, columnsBytes, sinkPtr);
    else sums1of7(base, rowBytes, pixelBytes, dyPtr, dyRowBytes, sumsPtr, end, columnsBytes, sinkPtr);
  } else if (rows == 7) sums7of5(base, rowBytes, pixelBytes, dyPtr, dyRowBytes, sumsPtr, end, columnsBytes, sinkPtr);
  else if (rows == 4) sums4of5(base, rowBytes, pixelBytes, dyPtr, dyRowBytes, sumsPtr, end, columnsBytes, sinkPtr);
  else sums1of5(base, rowBytes, pixelBytes, dyPtr, dyRowBytes, sumsPtr, end, columnsBytes, sinkPtr);
}
