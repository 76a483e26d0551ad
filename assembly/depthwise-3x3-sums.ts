// Inner loops of the depthwise 3×3 filter gradient without dilation: tiles of seven, four or one pixel of dy, over all blocks of
// four channels. Channels are the innermost loop, as in `depthwise-3x3-outputs.ts`. A block's nine sums are loaded, added to in
// registers and stored once per tile.
//
// The `break`s in the middle of the loops are never taken: scratch does not lie at address 1, 2, 3 …. They end V8's basic blocks.
// Inside one, V8 moves all loads to the front and then spills the sums: 6.5 cycles a pixel of dy with a break after every row of
// taps, 9.8 without, in one run.

/** Bytes of a block's nine f32 sums. */
export const SUMS_BYTES: usize = 144;

// oxlint-disable-next-line typescript/no-extraneous-class -- the linter cannot read a decorated function
abstract class Tile {
  /** Stride 1: each column of x meets three pixels of dy, which stay in registers. */
  @inline
  static stride1(
    columns: i32, aPtr: usize, bPtr: usize, cPtr: usize, dyPtr: usize, sumsPtr: usize, blocks: i32, pixelBytes: usize,
    dyPixelBytes: usize, before: bool, behind: bool, sinkPtr: usize,
  ): void {
    const end = sumsPtr + <usize>blocks * SUMS_BYTES;
    let x = f32x4.splat(0), s0 = x, s1 = x, s2 = x, s3 = x, s4 = x, s5 = x, s6 = x, s7 = x, s8 = x, d0 = x, d1 = x, d2 = x;
    while (true) {
      s0 = v128.load(sumsPtr);
      s1 = v128.load(sumsPtr, 16);
      s2 = v128.load(sumsPtr, 32);
      s3 = v128.load(sumsPtr, 48);
      s4 = v128.load(sumsPtr, 64);
      s5 = v128.load(sumsPtr, 80);
      s6 = v128.load(sumsPtr, 96);
      s7 = v128.load(sumsPtr, 112);
      s8 = v128.load(sumsPtr, 128);
      let a = aPtr, b = bPtr, c = cPtr, dy = dyPtr;
      d0 = v128.load(dy);
      if (before) {
        s0 = f32x4.add(s0, f32x4.mul(v128.load(a - pixelBytes), d0));
        s3 = f32x4.add(s3, f32x4.mul(v128.load(b - pixelBytes), d0));
        s6 = f32x4.add(s6, f32x4.mul(v128.load(c - pixelBytes), d0));
      }
      if (columns > 1) {
        d1 = d0;
        dy += dyPixelBytes;
        d0 = v128.load(dy);
        x = v128.load(a);
        a += pixelBytes;
        s0 = f32x4.add(s0, f32x4.mul(x, d0));
        s1 = f32x4.add(s1, f32x4.mul(x, d1));
        x = v128.load(b);
        b += pixelBytes;
        s3 = f32x4.add(s3, f32x4.mul(x, d0));
        s4 = f32x4.add(s4, f32x4.mul(x, d1));
        x = v128.load(c);
        c += pixelBytes;
        s6 = f32x4.add(s6, f32x4.mul(x, d0));
        s7 = f32x4.add(s7, f32x4.mul(x, d1));
        if (sumsPtr == 1) break;
        d2 = d1;
        d1 = d0;
        dy += dyPixelBytes;
        d0 = v128.load(dy);
        x = v128.load(a);
        a += pixelBytes;
        s0 = f32x4.add(s0, f32x4.mul(x, d0));
        s1 = f32x4.add(s1, f32x4.mul(x, d1));
        s2 = f32x4.add(s2, f32x4.mul(x, d2));
        if (sumsPtr == 2) break;
        x = v128.load(b);
        b += pixelBytes;
        s3 = f32x4.add(s3, f32x4.mul(x, d0));
        s4 = f32x4.add(s4, f32x4.mul(x, d1));
        s5 = f32x4.add(s5, f32x4.mul(x, d2));
        if (sumsPtr == 3) break;
        x = v128.load(c);
        c += pixelBytes;
        s6 = f32x4.add(s6, f32x4.mul(x, d0));
        s7 = f32x4.add(s7, f32x4.mul(x, d1));
        s8 = f32x4.add(s8, f32x4.mul(x, d2));
        if (sumsPtr == 4) break;
        d2 = d1;
        d1 = d0;
        dy += dyPixelBytes;
        d0 = v128.load(dy);
        x = v128.load(a);
        a += pixelBytes;
        s0 = f32x4.add(s0, f32x4.mul(x, d0));
        s1 = f32x4.add(s1, f32x4.mul(x, d1));
        s2 = f32x4.add(s2, f32x4.mul(x, d2));
        if (sumsPtr == 5) break;
        x = v128.load(b);
        b += pixelBytes;
        s3 = f32x4.add(s3, f32x4.mul(x, d0));
        s4 = f32x4.add(s4, f32x4.mul(x, d1));
        s5 = f32x4.add(s5, f32x4.mul(x, d2));
        if (sumsPtr == 6) break;
        x = v128.load(c);
        c += pixelBytes;
        s6 = f32x4.add(s6, f32x4.mul(x, d0));
        s7 = f32x4.add(s7, f32x4.mul(x, d1));
        s8 = f32x4.add(s8, f32x4.mul(x, d2));
        if (sumsPtr == 7) break;
      }
      if (columns > 4) {
        d2 = d1;
        d1 = d0;
        dy += dyPixelBytes;
        d0 = v128.load(dy);
        x = v128.load(a);
        a += pixelBytes;
        s0 = f32x4.add(s0, f32x4.mul(x, d0));
        s1 = f32x4.add(s1, f32x4.mul(x, d1));
        s2 = f32x4.add(s2, f32x4.mul(x, d2));
        if (sumsPtr == 8) break;
        x = v128.load(b);
        b += pixelBytes;
        s3 = f32x4.add(s3, f32x4.mul(x, d0));
        s4 = f32x4.add(s4, f32x4.mul(x, d1));
        s5 = f32x4.add(s5, f32x4.mul(x, d2));
        if (sumsPtr == 9) break;
        x = v128.load(c);
        c += pixelBytes;
        s6 = f32x4.add(s6, f32x4.mul(x, d0));
        s7 = f32x4.add(s7, f32x4.mul(x, d1));
        s8 = f32x4.add(s8, f32x4.mul(x, d2));
        if (sumsPtr == 10) break;
        d2 = d1;
        d1 = d0;
        dy += dyPixelBytes;
        d0 = v128.load(dy);
        x = v128.load(a);
        a += pixelBytes;
        s0 = f32x4.add(s0, f32x4.mul(x, d0));
        s1 = f32x4.add(s1, f32x4.mul(x, d1));
        s2 = f32x4.add(s2, f32x4.mul(x, d2));
        if (sumsPtr == 11) break;
        x = v128.load(b);
        b += pixelBytes;
        s3 = f32x4.add(s3, f32x4.mul(x, d0));
        s4 = f32x4.add(s4, f32x4.mul(x, d1));
        s5 = f32x4.add(s5, f32x4.mul(x, d2));
        if (sumsPtr == 12) break;
        x = v128.load(c);
        c += pixelBytes;
        s6 = f32x4.add(s6, f32x4.mul(x, d0));
        s7 = f32x4.add(s7, f32x4.mul(x, d1));
        s8 = f32x4.add(s8, f32x4.mul(x, d2));
        if (sumsPtr == 13) break;
        d2 = d1;
        d1 = d0;
        dy += dyPixelBytes;
        d0 = v128.load(dy);
        x = v128.load(a);
        a += pixelBytes;
        s0 = f32x4.add(s0, f32x4.mul(x, d0));
        s1 = f32x4.add(s1, f32x4.mul(x, d1));
        s2 = f32x4.add(s2, f32x4.mul(x, d2));
        if (sumsPtr == 14) break;
        x = v128.load(b);
        b += pixelBytes;
        s3 = f32x4.add(s3, f32x4.mul(x, d0));
        s4 = f32x4.add(s4, f32x4.mul(x, d1));
        s5 = f32x4.add(s5, f32x4.mul(x, d2));
        if (sumsPtr == 15) break;
        x = v128.load(c);
        c += pixelBytes;
        s6 = f32x4.add(s6, f32x4.mul(x, d0));
        s7 = f32x4.add(s7, f32x4.mul(x, d1));
        s8 = f32x4.add(s8, f32x4.mul(x, d2));
        if (sumsPtr == 16) break;
      }
      x = v128.load(a);
      s1 = f32x4.add(s1, f32x4.mul(x, d0));
      if (columns > 1) s2 = f32x4.add(s2, f32x4.mul(x, d1));
      x = v128.load(b);
      s4 = f32x4.add(s4, f32x4.mul(x, d0));
      if (columns > 1) s5 = f32x4.add(s5, f32x4.mul(x, d1));
      x = v128.load(c);
      s7 = f32x4.add(s7, f32x4.mul(x, d0));
      if (columns > 1) s8 = f32x4.add(s8, f32x4.mul(x, d1));
      if (behind) {
        s2 = f32x4.add(s2, f32x4.mul(v128.load(a + pixelBytes), d0));
        s5 = f32x4.add(s5, f32x4.mul(v128.load(b + pixelBytes), d0));
        s8 = f32x4.add(s8, f32x4.mul(v128.load(c + pixelBytes), d0));
      }
      v128.store(sumsPtr, s0);
      v128.store(sumsPtr, s1, 16);
      v128.store(sumsPtr, s2, 32);
      v128.store(sumsPtr, s3, 48);
      v128.store(sumsPtr, s4, 64);
      v128.store(sumsPtr, s5, 80);
      v128.store(sumsPtr, s6, 96);
      v128.store(sumsPtr, s7, 112);
      v128.store(sumsPtr, s8, 128);
      aPtr += 16;
      bPtr += 16;
      cPtr += 16;
      dyPtr += 16;
      sumsPtr += SUMS_BYTES;
      if (sumsPtr == end) break;
    }
    // Every exit of the loop reads all sums here. Otherwise V8 would move additions past the breaks, to where the sums are used.
    v128.store(
      sinkPtr, f32x4.add(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)), f32x4.add(f32x4.add(f32x4.add(s4, s5), f32x4.add(s6, s7)), s8)),
    );
  }

  /** Stride 2: every other column of x meets two pixels of dy, the others one. */
  @inline
  static stride2(
    columns: i32, aPtr: usize, bPtr: usize, cPtr: usize, dyPtr: usize, sumsPtr: usize, blocks: i32,
    pixelBytes: usize, dyPixelBytes: usize, before: bool, behind: bool, sinkPtr: usize,
  ): void {
    const end = sumsPtr + <usize>blocks * SUMS_BYTES;
    let x = f32x4.splat(0), s0 = x, s1 = x, s2 = x, s3 = x, s4 = x, s5 = x, s6 = x, s7 = x, s8 = x, d0 = x, d1 = x;
    while (true) {
      s0 = v128.load(sumsPtr);
      s1 = v128.load(sumsPtr, 16);
      s2 = v128.load(sumsPtr, 32);
      s3 = v128.load(sumsPtr, 48);
      s4 = v128.load(sumsPtr, 64);
      s5 = v128.load(sumsPtr, 80);
      s6 = v128.load(sumsPtr, 96);
      s7 = v128.load(sumsPtr, 112);
      s8 = v128.load(sumsPtr, 128);
      let a = aPtr, b = bPtr, c = cPtr, dy = dyPtr;
      d0 = v128.load(dy);
      if (before) {
        s0 = f32x4.add(s0, f32x4.mul(v128.load(a - pixelBytes), d0));
        s3 = f32x4.add(s3, f32x4.mul(v128.load(b - pixelBytes), d0));
        s6 = f32x4.add(s6, f32x4.mul(v128.load(c - pixelBytes), d0));
      }
      if (columns > 1) {
        d1 = d0;
        dy += dyPixelBytes;
        d0 = v128.load(dy);
        s1 = f32x4.add(s1, f32x4.mul(v128.load(a), d1));
        a += pixelBytes;
        x = v128.load(a);
        a += pixelBytes;
        s0 = f32x4.add(s0, f32x4.mul(x, d0));
        s2 = f32x4.add(s2, f32x4.mul(x, d1));
        if (sumsPtr == 1) break;
        s4 = f32x4.add(s4, f32x4.mul(v128.load(b), d1));
        b += pixelBytes;
        x = v128.load(b);
        b += pixelBytes;
        s3 = f32x4.add(s3, f32x4.mul(x, d0));
        s5 = f32x4.add(s5, f32x4.mul(x, d1));
        if (sumsPtr == 2) break;
        s7 = f32x4.add(s7, f32x4.mul(v128.load(c), d1));
        c += pixelBytes;
        x = v128.load(c);
        c += pixelBytes;
        s6 = f32x4.add(s6, f32x4.mul(x, d0));
        s8 = f32x4.add(s8, f32x4.mul(x, d1));
        if (sumsPtr == 3) break;
        d1 = d0;
        dy += dyPixelBytes;
        d0 = v128.load(dy);
        s1 = f32x4.add(s1, f32x4.mul(v128.load(a), d1));
        a += pixelBytes;
        x = v128.load(a);
        a += pixelBytes;
        s0 = f32x4.add(s0, f32x4.mul(x, d0));
        s2 = f32x4.add(s2, f32x4.mul(x, d1));
        if (sumsPtr == 4) break;
        s4 = f32x4.add(s4, f32x4.mul(v128.load(b), d1));
        b += pixelBytes;
        x = v128.load(b);
        b += pixelBytes;
        s3 = f32x4.add(s3, f32x4.mul(x, d0));
        s5 = f32x4.add(s5, f32x4.mul(x, d1));
        if (sumsPtr == 5) break;
        s7 = f32x4.add(s7, f32x4.mul(v128.load(c), d1));
        c += pixelBytes;
        x = v128.load(c);
        c += pixelBytes;
        s6 = f32x4.add(s6, f32x4.mul(x, d0));
        s8 = f32x4.add(s8, f32x4.mul(x, d1));
        if (sumsPtr == 6) break;
        d1 = d0;
        dy += dyPixelBytes;
        d0 = v128.load(dy);
        s1 = f32x4.add(s1, f32x4.mul(v128.load(a), d1));
        a += pixelBytes;
        x = v128.load(a);
        a += pixelBytes;
        s0 = f32x4.add(s0, f32x4.mul(x, d0));
        s2 = f32x4.add(s2, f32x4.mul(x, d1));
        if (sumsPtr == 7) break;
        s4 = f32x4.add(s4, f32x4.mul(v128.load(b), d1));
        b += pixelBytes;
        x = v128.load(b);
        b += pixelBytes;
        s3 = f32x4.add(s3, f32x4.mul(x, d0));
        s5 = f32x4.add(s5, f32x4.mul(x, d1));
        if (sumsPtr == 8) break;
        s7 = f32x4.add(s7, f32x4.mul(v128.load(c), d1));
        c += pixelBytes;
        x = v128.load(c);
        c += pixelBytes;
        s6 = f32x4.add(s6, f32x4.mul(x, d0));
        s8 = f32x4.add(s8, f32x4.mul(x, d1));
        if (sumsPtr == 9) break;
      }
      if (columns > 4) {
        d1 = d0;
        dy += dyPixelBytes;
        d0 = v128.load(dy);
        s1 = f32x4.add(s1, f32x4.mul(v128.load(a), d1));
        a += pixelBytes;
        x = v128.load(a);
        a += pixelBytes;
        s0 = f32x4.add(s0, f32x4.mul(x, d0));
        s2 = f32x4.add(s2, f32x4.mul(x, d1));
        if (sumsPtr == 10) break;
        s4 = f32x4.add(s4, f32x4.mul(v128.load(b), d1));
        b += pixelBytes;
        x = v128.load(b);
        b += pixelBytes;
        s3 = f32x4.add(s3, f32x4.mul(x, d0));
        s5 = f32x4.add(s5, f32x4.mul(x, d1));
        if (sumsPtr == 11) break;
        s7 = f32x4.add(s7, f32x4.mul(v128.load(c), d1));
        c += pixelBytes;
        x = v128.load(c);
        c += pixelBytes;
        s6 = f32x4.add(s6, f32x4.mul(x, d0));
        s8 = f32x4.add(s8, f32x4.mul(x, d1));
        if (sumsPtr == 12) break;
        d1 = d0;
        dy += dyPixelBytes;
        d0 = v128.load(dy);
        s1 = f32x4.add(s1, f32x4.mul(v128.load(a), d1));
        a += pixelBytes;
        x = v128.load(a);
        a += pixelBytes;
        s0 = f32x4.add(s0, f32x4.mul(x, d0));
        s2 = f32x4.add(s2, f32x4.mul(x, d1));
        if (sumsPtr == 13) break;
        s4 = f32x4.add(s4, f32x4.mul(v128.load(b), d1));
        b += pixelBytes;
        x = v128.load(b);
        b += pixelBytes;
        s3 = f32x4.add(s3, f32x4.mul(x, d0));
        s5 = f32x4.add(s5, f32x4.mul(x, d1));
        if (sumsPtr == 14) break;
        s7 = f32x4.add(s7, f32x4.mul(v128.load(c), d1));
        c += pixelBytes;
        x = v128.load(c);
        c += pixelBytes;
        s6 = f32x4.add(s6, f32x4.mul(x, d0));
        s8 = f32x4.add(s8, f32x4.mul(x, d1));
        if (sumsPtr == 15) break;
        d1 = d0;
        dy += dyPixelBytes;
        d0 = v128.load(dy);
        s1 = f32x4.add(s1, f32x4.mul(v128.load(a), d1));
        a += pixelBytes;
        x = v128.load(a);
        a += pixelBytes;
        s0 = f32x4.add(s0, f32x4.mul(x, d0));
        s2 = f32x4.add(s2, f32x4.mul(x, d1));
        if (sumsPtr == 16) break;
        s4 = f32x4.add(s4, f32x4.mul(v128.load(b), d1));
        b += pixelBytes;
        x = v128.load(b);
        b += pixelBytes;
        s3 = f32x4.add(s3, f32x4.mul(x, d0));
        s5 = f32x4.add(s5, f32x4.mul(x, d1));
        if (sumsPtr == 17) break;
        s7 = f32x4.add(s7, f32x4.mul(v128.load(c), d1));
        c += pixelBytes;
        x = v128.load(c);
        c += pixelBytes;
        s6 = f32x4.add(s6, f32x4.mul(x, d0));
        s8 = f32x4.add(s8, f32x4.mul(x, d1));
        if (sumsPtr == 18) break;
      }
      s1 = f32x4.add(s1, f32x4.mul(v128.load(a), d0));
      s4 = f32x4.add(s4, f32x4.mul(v128.load(b), d0));
      s7 = f32x4.add(s7, f32x4.mul(v128.load(c), d0));
      if (behind) {
        s2 = f32x4.add(s2, f32x4.mul(v128.load(a + pixelBytes), d0));
        s5 = f32x4.add(s5, f32x4.mul(v128.load(b + pixelBytes), d0));
        s8 = f32x4.add(s8, f32x4.mul(v128.load(c + pixelBytes), d0));
      }
      v128.store(sumsPtr, s0);
      v128.store(sumsPtr, s1, 16);
      v128.store(sumsPtr, s2, 32);
      v128.store(sumsPtr, s3, 48);
      v128.store(sumsPtr, s4, 64);
      v128.store(sumsPtr, s5, 80);
      v128.store(sumsPtr, s6, 96);
      v128.store(sumsPtr, s7, 112);
      v128.store(sumsPtr, s8, 128);
      aPtr += 16;
      bPtr += 16;
      cPtr += 16;
      dyPtr += 16;
      sumsPtr += SUMS_BYTES;
      if (sumsPtr == end) break;
    }
    // Every exit of the loop reads all sums here. Otherwise V8 would move additions past the breaks, to where the sums are used.
    v128.store(
      sinkPtr, f32x4.add(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)), f32x4.add(f32x4.add(f32x4.add(s4, s5), f32x4.add(s6, s7)), s8)),
    );
  }
}

function sums7(
  a: usize, b: usize, c: usize, dyPtr: usize, sumsPtr: usize, blocks: i32, pixelBytes: usize, dyPixelBytes: usize, before: bool,
  behind: bool, sinkPtr: usize,
): void {
  Tile.stride1(7, a, b, c, dyPtr, sumsPtr, blocks, pixelBytes, dyPixelBytes, before, behind, sinkPtr);
}

function sums4(
  a: usize, b: usize, c: usize, dyPtr: usize, sumsPtr: usize, blocks: i32, pixelBytes: usize, dyPixelBytes: usize, before: bool,
  behind: bool, sinkPtr: usize,
): void {
  Tile.stride1(4, a, b, c, dyPtr, sumsPtr, blocks, pixelBytes, dyPixelBytes, before, behind, sinkPtr);
}

function sums1(
  a: usize, b: usize, c: usize, dyPtr: usize, sumsPtr: usize, blocks: i32, pixelBytes: usize, dyPixelBytes: usize, before: bool,
  behind: bool, sinkPtr: usize,
): void {
  Tile.stride1(1, a, b, c, dyPtr, sumsPtr, blocks, pixelBytes, dyPixelBytes, before, behind, sinkPtr);
}

function everyOther7(
  a: usize, b: usize, c: usize, dyPtr: usize, sumsPtr: usize, blocks: i32, pixelBytes: usize, dyPixelBytes: usize, before: bool,
  behind: bool, sinkPtr: usize,
): void {
  Tile.stride2(7, a, b, c, dyPtr, sumsPtr, blocks, pixelBytes, dyPixelBytes, before, behind, sinkPtr);
}

function everyOther4(
  a: usize, b: usize, c: usize, dyPtr: usize, sumsPtr: usize, blocks: i32, pixelBytes: usize, dyPixelBytes: usize, before: bool,
  behind: bool, sinkPtr: usize,
): void {
  Tile.stride2(4, a, b, c, dyPtr, sumsPtr, blocks, pixelBytes, dyPixelBytes, before, behind, sinkPtr);
}

/** sums [blocks][9][4] += x by a tile of `columns` pixels of dy, of `tileColumns`; the rest as for `outputTile`. */
export function sumTile(
  columns: i32, stride: i32, a: usize, b: usize, c: usize, dyPtr: usize, sumsPtr: usize, blocks: i32,
  pixelBytes: usize, dyPixelBytes: usize, before: bool, behind: bool, sinkPtr: usize,
): void {
  if (columns == 1) sums1(a, b, c, dyPtr, sumsPtr, blocks, pixelBytes, dyPixelBytes, before, behind, sinkPtr);
  else if (stride == 1) {
    if (columns == 7) sums7(a, b, c, dyPtr, sumsPtr, blocks, pixelBytes, dyPixelBytes, before, behind, sinkPtr);
    else sums4(a, b, c, dyPtr, sumsPtr, blocks, pixelBytes, dyPixelBytes, before, behind, sinkPtr);
  } else if (columns == 7) everyOther7(a, b, c, dyPtr, sumsPtr, blocks, pixelBytes, dyPixelBytes, before, behind, sinkPtr);
  else everyOther4(a, b, c, dyPtr, sumsPtr, blocks, pixelBytes, dyPixelBytes, before, behind, sinkPtr);
}

/** The three sums of one column of taps, of which `sumsPtr` is the first, += one column of x by a pixel of dy. */
export function sumOfColumn(a: usize, b: usize, c: usize, dyPtr: usize, sumsPtr: usize, blocks: i32): void {
  const end = sumsPtr + <usize>blocks * SUMS_BYTES;
  for (; sumsPtr < end; sumsPtr += SUMS_BYTES) {
    const d = v128.load(dyPtr);
    v128.store(sumsPtr, f32x4.add(v128.load(sumsPtr), f32x4.mul(v128.load(a), d)));
    v128.store(sumsPtr, f32x4.add(v128.load(sumsPtr, 48), f32x4.mul(v128.load(b), d)), 48);
    v128.store(sumsPtr, f32x4.add(v128.load(sumsPtr, 96), f32x4.mul(v128.load(c), d)), 96);
    a += 16;
    b += 16;
    c += 16;
    dyPtr += 16;
  }
}
