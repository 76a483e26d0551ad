// Inner loops of depthwise convolutions over planes of four channels (`depthwise-strip.ts`), 16 bytes a position; taps and running
// sums stay in registers, of which V8 leaves fifteen. It also moves loads to the front of a basic block and spills: columns, and in the
// filter gradient rows of taps, have a way out of the loop between them (3×3 in the first cache: 23 GFLOP/s without, 47 with).

// oxlint-disable-next-line typescript/no-extraneous-class -- the linter cannot read a decorated function
abstract class Column {
  /** One column of three pixels by one column of three taps: a sum of its own, so that an output waits for three additions, not for nine. */
  @inline
  static sum(x: v128, y: v128, z: v128, u: v128, v: v128, w: v128): v128 {
    return f32x4.add(f32x4.add(f32x4.mul(x, u), f32x4.mul(y, v)), f32x4.mul(z, w));
  }

  /**
   * outPtr [columns] (+)= seven taps by a row, an output in each of seven running sums: it is finished by the last tap, and the sums move up by one
   * as they are added to, which costs no instruction.
   */
  @inline
  static row7(xPtr: usize, tapsPtr: usize, outPtr: usize, columns: i32, more: bool): void {
    const w0 = v128.load(tapsPtr), w1 = v128.load(tapsPtr, 16), w2 = v128.load(tapsPtr, 32), w3 = v128.load(tapsPtr, 48);
    const w4 = v128.load(tapsPtr, 64), w5 = v128.load(tapsPtr, 80), w6 = v128.load(tapsPtr, 96);
    let p0 = f32x4.splat(0), p1 = p0, p2 = p0, p3 = p0, p4 = p0, p5 = p0;
    const end = xPtr + ((<usize>columns) << 4);
    while (true) {
      const x = v128.load(xPtr);
      const sum = f32x4.add(p0, f32x4.mul(x, w6));
      v128.store(outPtr, more ? f32x4.add(v128.load(outPtr), sum) : sum);
      p0 = f32x4.add(p1, f32x4.mul(x, w5));
      p1 = f32x4.add(p2, f32x4.mul(x, w4));
      p2 = f32x4.add(p3, f32x4.mul(x, w3));
      p3 = f32x4.add(p4, f32x4.mul(x, w2));
      p4 = f32x4.add(p5, f32x4.mul(x, w1));
      p5 = f32x4.mul(x, w0);
      xPtr += 16;
      outPtr += 16;
      if (xPtr == end) break;
    }
  }
}

/** Outputs from the two before outPtr, which are of no use, by a 3×3 filter of stride 1: `columns` − 2 of them. */
export function outputs3(xPtr: usize, pitchBytes: usize, tapsPtr: usize, outPtr: usize, columns: i32): void {
  const w0 = v128.load(tapsPtr), w1 = v128.load(tapsPtr, 16), w2 = v128.load(tapsPtr, 32);
  const w3 = v128.load(tapsPtr, 48), w4 = v128.load(tapsPtr, 64), w5 = v128.load(tapsPtr, 80);
  const w6 = v128.load(tapsPtr, 96), w7 = v128.load(tapsPtr, 112), w8 = v128.load(tapsPtr, 128);
  let a = xPtr, b = a + pitchBytes, c = b + pitchBytes;
  const end = a + ((<usize>columns) << 4);
  let p = f32x4.splat(0), q = p;
  outPtr -= 32;
  while (true) {
    const x = v128.load(a), y = v128.load(b), z = v128.load(c);
    v128.store(outPtr, f32x4.add(p, Column.sum(x, y, z, w2, w5, w8)));
    p = f32x4.add(q, Column.sum(x, y, z, w1, w4, w7));
    q = Column.sum(x, y, z, w0, w3, w6);
    a += 16;
    b += 16;
    c += 16;
    outPtr += 16;
    if (a == end) break;
  }
}

/** Outputs from the six before outPtr, which are of no use, by one row of seven taps; written, or added to what is there (`more`). */
export function outputs7(xPtr: usize, tapsPtr: usize, outPtr: usize, columns: i32, more: bool): void {
  if (more) Column.row7(xPtr, tapsPtr, outPtr - 96, columns, true);
  else Column.row7(xPtr, tapsPtr, outPtr - 96, columns, false);
}

/** Four f64 sums += the lanes of an f32 sum. */
function addLanes(sumsPtr: usize, sum: v128): void {
  v128.store(sumsPtr, f64x2.add(v128.load(sumsPtr), f64x2.promote_low_f32x4(sum)));
  v128.store(sumsPtr, f64x2.add(v128.load(sumsPtr, 16), f64x2.promote_low_f32x4(v128.shuffle<i64>(sum, sum, 1, 1))), 16);
}

/** sums [9][4] (f64) += x by dy over columns of a plane, 3×3 of stride 1: each pixel of x meets three of dy, which stay in registers. No break on `a` is ever taken. */
export function sums3(xPtr: usize, pitchBytes: usize, dyPtr: usize, sumsPtr: usize, columns: i32): void {
  let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0, s8 = s0;
  let a = xPtr, b = a + pitchBytes, c = b + pitchBytes;
  const end = dyPtr + ((<usize>columns) << 4);
  let d0 = s0, d1 = v128.load(dyPtr - 16), d2 = v128.load(dyPtr - 32), x = s0;
  while (true) {
    d0 = v128.load(dyPtr);
    x = v128.load(a);
    s0 = f32x4.add(s0, f32x4.mul(x, d0));
    s1 = f32x4.add(s1, f32x4.mul(x, d1));
    s2 = f32x4.add(s2, f32x4.mul(x, d2));
    if (a == 1) break;
    x = v128.load(b);
    s3 = f32x4.add(s3, f32x4.mul(x, d0));
    s4 = f32x4.add(s4, f32x4.mul(x, d1));
    s5 = f32x4.add(s5, f32x4.mul(x, d2));
    if (a == 2) break;
    x = v128.load(c);
    s6 = f32x4.add(s6, f32x4.mul(x, d0));
    s7 = f32x4.add(s7, f32x4.mul(x, d1));
    s8 = f32x4.add(s8, f32x4.mul(x, d2));
    if (dyPtr + 16 == end) break;
    d2 = v128.load(dyPtr, 16);
    x = v128.load(a, 16);
    s0 = f32x4.add(s0, f32x4.mul(x, d2));
    s1 = f32x4.add(s1, f32x4.mul(x, d0));
    s2 = f32x4.add(s2, f32x4.mul(x, d1));
    if (a == 3) break;
    x = v128.load(b, 16);
    s3 = f32x4.add(s3, f32x4.mul(x, d2));
    s4 = f32x4.add(s4, f32x4.mul(x, d0));
    s5 = f32x4.add(s5, f32x4.mul(x, d1));
    if (a == 4) break;
    x = v128.load(c, 16);
    s6 = f32x4.add(s6, f32x4.mul(x, d2));
    s7 = f32x4.add(s7, f32x4.mul(x, d0));
    s8 = f32x4.add(s8, f32x4.mul(x, d1));
    if (dyPtr + 32 == end) break;
    d1 = v128.load(dyPtr, 32);
    x = v128.load(a, 32);
    s0 = f32x4.add(s0, f32x4.mul(x, d1));
    s1 = f32x4.add(s1, f32x4.mul(x, d2));
    s2 = f32x4.add(s2, f32x4.mul(x, d0));
    if (a == 5) break;
    x = v128.load(b, 32);
    s3 = f32x4.add(s3, f32x4.mul(x, d1));
    s4 = f32x4.add(s4, f32x4.mul(x, d2));
    s5 = f32x4.add(s5, f32x4.mul(x, d0));
    if (a == 6) break;
    x = v128.load(c, 32);
    s6 = f32x4.add(s6, f32x4.mul(x, d1));
    s7 = f32x4.add(s7, f32x4.mul(x, d2));
    s8 = f32x4.add(s8, f32x4.mul(x, d0));
    a += 48;
    b += 48;
    c += 48;
    dyPtr += 48;
    if (dyPtr == end) break;
  }
  addLanes(sumsPtr, s0);
  addLanes(sumsPtr + 32, s1);
  addLanes(sumsPtr + 64, s2);
  addLanes(sumsPtr + 96, s3);
  addLanes(sumsPtr + 128, s4);
  addLanes(sumsPtr + 160, s5);
  addLanes(sumsPtr + 192, s6);
  addLanes(sumsPtr + 224, s7);
  addLanes(sumsPtr + 256, s8);
}

/** sums [7][4] (f64) += x by dy over columns of a plane, one row of seven taps: seven columns a turn, so that dy's pixels stay where they are. */
export function sums7(xPtr: usize, dyPtr: usize, sumsPtr: usize, columns: i32): void {
  let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0;
  const end = dyPtr + ((<usize>columns) << 4);
  let d0 = s0, d1 = v128.load(dyPtr - 16), d2 = v128.load(dyPtr - 32), d3 = v128.load(dyPtr - 48), x = s0;
  let d4 = v128.load(dyPtr - 64), d5 = v128.load(dyPtr - 80), d6 = v128.load(dyPtr - 96);
  while (true) {
    d0 = v128.load(dyPtr);
    x = v128.load(xPtr);
    s0 = f32x4.add(s0, f32x4.mul(x, d0));
    s1 = f32x4.add(s1, f32x4.mul(x, d1));
    s2 = f32x4.add(s2, f32x4.mul(x, d2));
    s3 = f32x4.add(s3, f32x4.mul(x, d3));
    s4 = f32x4.add(s4, f32x4.mul(x, d4));
    s5 = f32x4.add(s5, f32x4.mul(x, d5));
    s6 = f32x4.add(s6, f32x4.mul(x, d6));
    if (dyPtr + 16 == end) break;
    d6 = v128.load(dyPtr, 16);
    x = v128.load(xPtr, 16);
    s0 = f32x4.add(s0, f32x4.mul(x, d6));
    s1 = f32x4.add(s1, f32x4.mul(x, d0));
    s2 = f32x4.add(s2, f32x4.mul(x, d1));
    s3 = f32x4.add(s3, f32x4.mul(x, d2));
    s4 = f32x4.add(s4, f32x4.mul(x, d3));
    s5 = f32x4.add(s5, f32x4.mul(x, d4));
    s6 = f32x4.add(s6, f32x4.mul(x, d5));
    if (dyPtr + 32 == end) break;
    d5 = v128.load(dyPtr, 32);
    x = v128.load(xPtr, 32);
    s0 = f32x4.add(s0, f32x4.mul(x, d5));
    s1 = f32x4.add(s1, f32x4.mul(x, d6));
    s2 = f32x4.add(s2, f32x4.mul(x, d0));
    s3 = f32x4.add(s3, f32x4.mul(x, d1));
    s4 = f32x4.add(s4, f32x4.mul(x, d2));
    s5 = f32x4.add(s5, f32x4.mul(x, d3));
    s6 = f32x4.add(s6, f32x4.mul(x, d4));
    if (dyPtr + 48 == end) break;
    d4 = v128.load(dyPtr, 48);
    x = v128.load(xPtr, 48);
    s0 = f32x4.add(s0, f32x4.mul(x, d4));
    s1 = f32x4.add(s1, f32x4.mul(x, d5));
    s2 = f32x4.add(s2, f32x4.mul(x, d6));
    s3 = f32x4.add(s3, f32x4.mul(x, d0));
    s4 = f32x4.add(s4, f32x4.mul(x, d1));
    s5 = f32x4.add(s5, f32x4.mul(x, d2));
    s6 = f32x4.add(s6, f32x4.mul(x, d3));
    if (dyPtr + 64 == end) break;
    d3 = v128.load(dyPtr, 64);
    x = v128.load(xPtr, 64);
    s0 = f32x4.add(s0, f32x4.mul(x, d3));
    s1 = f32x4.add(s1, f32x4.mul(x, d4));
    s2 = f32x4.add(s2, f32x4.mul(x, d5));
    s3 = f32x4.add(s3, f32x4.mul(x, d6));
    s4 = f32x4.add(s4, f32x4.mul(x, d0));
    s5 = f32x4.add(s5, f32x4.mul(x, d1));
    s6 = f32x4.add(s6, f32x4.mul(x, d2));
    if (dyPtr + 80 == end) break;
    d2 = v128.load(dyPtr, 80);
    x = v128.load(xPtr, 80);
    s0 = f32x4.add(s0, f32x4.mul(x, d2));
    s1 = f32x4.add(s1, f32x4.mul(x, d3));
    s2 = f32x4.add(s2, f32x4.mul(x, d4));
    s3 = f32x4.add(s3, f32x4.mul(x, d5));
    s4 = f32x4.add(s4, f32x4.mul(x, d6));
    s5 = f32x4.add(s5, f32x4.mul(x, d0));
    s6 = f32x4.add(s6, f32x4.mul(x, d1));
    if (dyPtr + 96 == end) break;
    d1 = v128.load(dyPtr, 96);
    x = v128.load(xPtr, 96);
    s0 = f32x4.add(s0, f32x4.mul(x, d1));
    s1 = f32x4.add(s1, f32x4.mul(x, d2));
    s2 = f32x4.add(s2, f32x4.mul(x, d3));
    s3 = f32x4.add(s3, f32x4.mul(x, d4));
    s4 = f32x4.add(s4, f32x4.mul(x, d5));
    s5 = f32x4.add(s5, f32x4.mul(x, d6));
    s6 = f32x4.add(s6, f32x4.mul(x, d0));
    xPtr += 112;
    dyPtr += 112;
    if (dyPtr == end) break;
  }
  addLanes(sumsPtr, s0);
  addLanes(sumsPtr + 32, s1);
  addLanes(sumsPtr + 64, s2);
  addLanes(sumsPtr + 96, s3);
  addLanes(sumsPtr + 128, s4);
  addLanes(sumsPtr + 160, s5);
  addLanes(sumsPtr + 192, s6);
}
