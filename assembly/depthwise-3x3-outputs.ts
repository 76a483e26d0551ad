// Inner loops of depthwise 3×3 outputs without dilation: tiles of seven, four or one output of a row, over all blocks of four
// channels. Channels are the innermost loop: four successive iterations use up a cache line, however far apart pixels lie, and all
// loads and stores run in order along the channels.
//
// An iteration is straight code. It loads each column of three pixels once and adds it to the sums of the outputs that the column
// belongs to. From the second-level cache an output (four channels) takes 4.7 to 5.0 cycles; with a loop over the columns it took
// 5.5 to 5.7, and the processor's ports allow 4.25. V8 keeps six of the nine taps in registers and loads three again from the
// stack.
//
// The `break`s in the middle are never taken: scratch does not lie at address 1, 2, 3 …. They end V8's basic blocks. Inside one, V8
// moves loads to the front and computations back to where their results are stored, and then spills: 4.7 cycles with the breaks,
// 8.0 without, in one run.

/** Bytes of a block's nine taps. */
export const TAPS_BYTES: usize = 144;

/**
 * Outputs of the next tile where `left` are still to do. Seven at best: rows of 7, 14, 28, 56 and 112 outputs then leave nothing
 * over.
 */
export function tileColumns(left: i32): i32 {
  return left >= 7 ? 7 : left >= 4 ? 4 : 1;
}

// oxlint-disable-next-line typescript/no-extraneous-class -- the linter cannot read a decorated function
abstract class Column {
  /** One column of three pixels by one column of three taps. */
  @inline
  static sum(x: v128, y: v128, z: v128, u: v128, v: v128, w: v128): v128 {
    return f32x4.add(f32x4.add(f32x4.mul(x, u), f32x4.mul(y, v)), f32x4.mul(z, w));
  }
}

// oxlint-disable-next-line typescript/no-extraneous-class -- the linter cannot read a decorated function
abstract class Tile {
  /** Stride 1: a column is the last of one output, the middle one of the next and the first of the one after. */
  @inline
  static stride1(
    columns: i32, aPtr: usize, bPtr: usize, cPtr: usize, toPtr: usize, tapsPtr: usize, blocks: i32, pixelBytes: usize, outPixelBytes: usize,
    before: bool,
    behind: bool, sinkPtr: usize,
  ): void {
    const end = tapsPtr + <usize>blocks * TAPS_BYTES;
    let p = f32x4.splat(0), q = p, x = p, y = p, z = p;
    while (true) {
      const w0 = v128.load(tapsPtr), w1 = v128.load(tapsPtr, 16), w2 = v128.load(tapsPtr, 32);
      const w3 = v128.load(tapsPtr, 48), w4 = v128.load(tapsPtr, 64), w5 = v128.load(tapsPtr, 80);
      const w6 = v128.load(tapsPtr, 96), w7 = v128.load(tapsPtr, 112), w8 = v128.load(tapsPtr, 128);
      let a = aPtr, b = bPtr, c = cPtr, to = toPtr;
      p = f32x4.splat(0);
      if (before) p = Column.sum(v128.load(a - pixelBytes), v128.load(b - pixelBytes), v128.load(c - pixelBytes), w0, w3, w6);
      x = v128.load(a);
      y = v128.load(b);
      z = v128.load(c);
      p = f32x4.add(p, Column.sum(x, y, z, w1, w4, w7));
      if (columns > 1) {
        q = Column.sum(x, y, z, w0, w3, w6);
        if (tapsPtr == 1) break;
        a += pixelBytes;
        b += pixelBytes;
        c += pixelBytes;
        x = v128.load(a);
        y = v128.load(b);
        z = v128.load(c);
        v128.store(to, f32x4.add(p, Column.sum(x, y, z, w2, w5, w8)));
        to += outPixelBytes;
        p = f32x4.add(q, Column.sum(x, y, z, w1, w4, w7));
        q = Column.sum(x, y, z, w0, w3, w6);
        if (tapsPtr == 2) break;
        a += pixelBytes;
        b += pixelBytes;
        c += pixelBytes;
        x = v128.load(a);
        y = v128.load(b);
        z = v128.load(c);
        v128.store(to, f32x4.add(p, Column.sum(x, y, z, w2, w5, w8)));
        to += outPixelBytes;
        p = f32x4.add(q, Column.sum(x, y, z, w1, w4, w7));
        q = Column.sum(x, y, z, w0, w3, w6);
        if (tapsPtr == 3) break;
        a += pixelBytes;
        b += pixelBytes;
        c += pixelBytes;
        x = v128.load(a);
        y = v128.load(b);
        z = v128.load(c);
        v128.store(to, f32x4.add(p, Column.sum(x, y, z, w2, w5, w8)));
        to += outPixelBytes;
        p = f32x4.add(q, Column.sum(x, y, z, w1, w4, w7));
      }
      if (columns > 4) {
        q = Column.sum(x, y, z, w0, w3, w6);
        if (tapsPtr == 4) break;
        a += pixelBytes;
        b += pixelBytes;
        c += pixelBytes;
        x = v128.load(a);
        y = v128.load(b);
        z = v128.load(c);
        v128.store(to, f32x4.add(p, Column.sum(x, y, z, w2, w5, w8)));
        to += outPixelBytes;
        p = f32x4.add(q, Column.sum(x, y, z, w1, w4, w7));
        q = Column.sum(x, y, z, w0, w3, w6);
        if (tapsPtr == 5) break;
        a += pixelBytes;
        b += pixelBytes;
        c += pixelBytes;
        x = v128.load(a);
        y = v128.load(b);
        z = v128.load(c);
        v128.store(to, f32x4.add(p, Column.sum(x, y, z, w2, w5, w8)));
        to += outPixelBytes;
        p = f32x4.add(q, Column.sum(x, y, z, w1, w4, w7));
        q = Column.sum(x, y, z, w0, w3, w6);
        if (tapsPtr == 6) break;
        a += pixelBytes;
        b += pixelBytes;
        c += pixelBytes;
        x = v128.load(a);
        y = v128.load(b);
        z = v128.load(c);
        v128.store(to, f32x4.add(p, Column.sum(x, y, z, w2, w5, w8)));
        to += outPixelBytes;
        p = f32x4.add(q, Column.sum(x, y, z, w1, w4, w7));
      }
      if (behind) {
        p = f32x4.add(p, Column.sum(v128.load(a + pixelBytes), v128.load(b + pixelBytes), v128.load(c + pixelBytes), w2, w5, w8));
      }
      v128.store(to, p);
      aPtr += 16;
      bPtr += 16;
      cPtr += 16;
      toPtr += 16;
      tapsPtr += TAPS_BYTES;
      if (tapsPtr == end) break;
    }
    // Every exit of the loop reads both sums here. Otherwise V8 would move additions past the breaks, to where the sums are used.
    v128.store(sinkPtr, f32x4.add(p, q));
  }

  /** Stride 2: every other column is the last of one output and the first of the next. */
  @inline
  static stride2(
    columns: i32, aPtr: usize, bPtr: usize, cPtr: usize, toPtr: usize, tapsPtr: usize, blocks: i32, pixelBytes: usize, outPixelBytes: usize,
    before: bool,
    behind: bool, sinkPtr: usize,
  ): void {
    const end = tapsPtr + <usize>blocks * TAPS_BYTES;
    let p = f32x4.splat(0), x = p, y = p, z = p;
    while (true) {
      const w0 = v128.load(tapsPtr), w1 = v128.load(tapsPtr, 16), w2 = v128.load(tapsPtr, 32);
      const w3 = v128.load(tapsPtr, 48), w4 = v128.load(tapsPtr, 64), w5 = v128.load(tapsPtr, 80);
      const w6 = v128.load(tapsPtr, 96), w7 = v128.load(tapsPtr, 112), w8 = v128.load(tapsPtr, 128);
      let a = aPtr, b = bPtr, c = cPtr, to = toPtr;
      p = f32x4.splat(0);
      if (before) p = Column.sum(v128.load(a - pixelBytes), v128.load(b - pixelBytes), v128.load(c - pixelBytes), w0, w3, w6);
      p = f32x4.add(p, Column.sum(v128.load(a), v128.load(b), v128.load(c), w1, w4, w7));
      if (columns > 1) {
        a += pixelBytes;
        b += pixelBytes;
        c += pixelBytes;
        x = v128.load(a);
        y = v128.load(b);
        z = v128.load(c);
        v128.store(to, f32x4.add(p, Column.sum(x, y, z, w2, w5, w8)));
        to += outPixelBytes;
        p = Column.sum(x, y, z, w0, w3, w6);
        if (tapsPtr == 1) break;
        a += pixelBytes;
        b += pixelBytes;
        c += pixelBytes;
        p = f32x4.add(p, Column.sum(v128.load(a), v128.load(b), v128.load(c), w1, w4, w7));
        if (tapsPtr == 2) break;
        a += pixelBytes;
        b += pixelBytes;
        c += pixelBytes;
        x = v128.load(a);
        y = v128.load(b);
        z = v128.load(c);
        v128.store(to, f32x4.add(p, Column.sum(x, y, z, w2, w5, w8)));
        to += outPixelBytes;
        p = Column.sum(x, y, z, w0, w3, w6);
        if (tapsPtr == 3) break;
        a += pixelBytes;
        b += pixelBytes;
        c += pixelBytes;
        p = f32x4.add(p, Column.sum(v128.load(a), v128.load(b), v128.load(c), w1, w4, w7));
        if (tapsPtr == 4) break;
        a += pixelBytes;
        b += pixelBytes;
        c += pixelBytes;
        x = v128.load(a);
        y = v128.load(b);
        z = v128.load(c);
        v128.store(to, f32x4.add(p, Column.sum(x, y, z, w2, w5, w8)));
        to += outPixelBytes;
        p = Column.sum(x, y, z, w0, w3, w6);
        if (tapsPtr == 5) break;
        a += pixelBytes;
        b += pixelBytes;
        c += pixelBytes;
        p = f32x4.add(p, Column.sum(v128.load(a), v128.load(b), v128.load(c), w1, w4, w7));
        if (tapsPtr == 6) break;
      }
      if (columns > 4) {
        a += pixelBytes;
        b += pixelBytes;
        c += pixelBytes;
        x = v128.load(a);
        y = v128.load(b);
        z = v128.load(c);
        v128.store(to, f32x4.add(p, Column.sum(x, y, z, w2, w5, w8)));
        to += outPixelBytes;
        p = Column.sum(x, y, z, w0, w3, w6);
        if (tapsPtr == 7) break;
        a += pixelBytes;
        b += pixelBytes;
        c += pixelBytes;
        p = f32x4.add(p, Column.sum(v128.load(a), v128.load(b), v128.load(c), w1, w4, w7));
        if (tapsPtr == 8) break;
        a += pixelBytes;
        b += pixelBytes;
        c += pixelBytes;
        x = v128.load(a);
        y = v128.load(b);
        z = v128.load(c);
        v128.store(to, f32x4.add(p, Column.sum(x, y, z, w2, w5, w8)));
        to += outPixelBytes;
        p = Column.sum(x, y, z, w0, w3, w6);
        if (tapsPtr == 9) break;
        a += pixelBytes;
        b += pixelBytes;
        c += pixelBytes;
        p = f32x4.add(p, Column.sum(v128.load(a), v128.load(b), v128.load(c), w1, w4, w7));
        if (tapsPtr == 10) break;
        a += pixelBytes;
        b += pixelBytes;
        c += pixelBytes;
        x = v128.load(a);
        y = v128.load(b);
        z = v128.load(c);
        v128.store(to, f32x4.add(p, Column.sum(x, y, z, w2, w5, w8)));
        to += outPixelBytes;
        p = Column.sum(x, y, z, w0, w3, w6);
        if (tapsPtr == 11) break;
        a += pixelBytes;
        b += pixelBytes;
        c += pixelBytes;
        p = f32x4.add(p, Column.sum(v128.load(a), v128.load(b), v128.load(c), w1, w4, w7));
        if (tapsPtr == 12) break;
      }
      if (behind) {
        p = f32x4.add(p, Column.sum(v128.load(a + pixelBytes), v128.load(b + pixelBytes), v128.load(c + pixelBytes), w2, w5, w8));
      }
      v128.store(to, p);
      aPtr += 16;
      bPtr += 16;
      cPtr += 16;
      toPtr += 16;
      tapsPtr += TAPS_BYTES;
      if (tapsPtr == end) break;
    }
    // Every exit of the loop reads both sums here. Otherwise V8 would move additions past the breaks, to where the sums are used.
    v128.store(sinkPtr, p);
  }
}

function outputs7(
  a: usize, b: usize, c: usize, toPtr: usize, tapsPtr: usize, blocks: i32, pixelBytes: usize, outPixelBytes: usize, before: bool,
  behind: bool,
  sinkPtr: usize,
): void {
  Tile.stride1(7, a, b, c, toPtr, tapsPtr, blocks, pixelBytes, outPixelBytes, before, behind, sinkPtr);
}

function outputs4(
  a: usize, b: usize, c: usize, toPtr: usize, tapsPtr: usize, blocks: i32, pixelBytes: usize, outPixelBytes: usize, before: bool,
  behind: bool,
  sinkPtr: usize,
): void {
  Tile.stride1(4, a, b, c, toPtr, tapsPtr, blocks, pixelBytes, outPixelBytes, before, behind, sinkPtr);
}

function output(
  a: usize, b: usize, c: usize, toPtr: usize, tapsPtr: usize, blocks: i32, pixelBytes: usize, outPixelBytes: usize, before: bool,
  behind: bool,
  sinkPtr: usize,
): void {
  Tile.stride1(1, a, b, c, toPtr, tapsPtr, blocks, pixelBytes, outPixelBytes, before, behind, sinkPtr);
}

function everyOther7(
  a: usize, b: usize, c: usize, toPtr: usize, tapsPtr: usize, blocks: i32, pixelBytes: usize, outPixelBytes: usize, before: bool,
  behind: bool,
  sinkPtr: usize,
): void {
  Tile.stride2(7, a, b, c, toPtr, tapsPtr, blocks, pixelBytes, outPixelBytes, before, behind, sinkPtr);
}

function everyOther4(
  a: usize, b: usize, c: usize, toPtr: usize, tapsPtr: usize, blocks: i32, pixelBytes: usize, outPixelBytes: usize, before: bool,
  behind: bool,
  sinkPtr: usize,
): void {
  Tile.stride2(4, a, b, c, toPtr, tapsPtr, blocks, pixelBytes, outPixelBytes, before, behind, sinkPtr);
}

/**
 * A tile of `columns` outputs, of `tileColumns`. a, b, c: the middle column of the first output's window in its three
 * rows; `before`, `behind`: whether the first column of the first output and the last one of the last lie in the row.
 * `sinkPtr`: 16 bytes.
 */
export function outputTile(
  columns: i32, stride: i32, a: usize, b: usize, c: usize, toPtr: usize, tapsPtr: usize, blocks: i32, pixelBytes: usize,
  outPixelBytes: usize, before: bool, behind: bool, sinkPtr: usize,
): void {
  if (columns == 1) output(a, b, c, toPtr, tapsPtr, blocks, pixelBytes, outPixelBytes, before, behind, sinkPtr);
  else if (stride == 1) {
    if (columns == 7) outputs7(a, b, c, toPtr, tapsPtr, blocks, pixelBytes, outPixelBytes, before, behind, sinkPtr);
    else outputs4(a, b, c, toPtr, tapsPtr, blocks, pixelBytes, outPixelBytes, before, behind, sinkPtr);
  } else if (columns == 7) everyOther7(a, b, c, toPtr, tapsPtr, blocks, pixelBytes, outPixelBytes, before, behind, sinkPtr);
  else everyOther4(a, b, c, toPtr, tapsPtr, blocks, pixelBytes, outPixelBytes, before, behind, sinkPtr);
}

/** An output of whose window one column alone lies in the row; `tapsPtr` is that column's first tap of the first block. */
export function outputOfColumn(a: usize, b: usize, c: usize, toPtr: usize, tapsPtr: usize, blocks: i32): void {
  const end = tapsPtr + <usize>blocks * TAPS_BYTES;
  for (; tapsPtr < end; tapsPtr += TAPS_BYTES) {
    v128.store(
      toPtr, Column.sum(v128.load(a), v128.load(b), v128.load(c), v128.load(tapsPtr), v128.load(tapsPtr, 48), v128.load(tapsPtr, 96)),
    );
    a += 16;
    b += 16;
    c += 16;
    toPtr += 16;
  }
}
