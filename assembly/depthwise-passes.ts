// Inner loops of depthwise 7×7 convolutions over planes of four channels (`depthwise-strip.ts`), 16 bytes a position. Taps and
// running sums stay in registers, of which V8 has fifteen to give. Between the columns of the filter gradient the loop has exits
// that end V8's basic blocks: inside one, V8 moves all loads to the front and then spills.
import { Halves } from "./halves";

// oxlint-disable-next-line typescript/no-extraneous-class -- the linter cannot read a decorated function
abstract class Taps {
  /**
   * outPtr [columns] (+)= seven taps by a row, an output in each of seven running sums: it is finished by the last tap,
   * and the sums move up by one as they are added to, which costs no instruction.
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

/** Outputs from the six before outPtr, which are of no use, by one row of seven taps; written, or added to what is there (`more`). */
export function outputs7(xPtr: usize, tapsPtr: usize, outPtr: usize, columns: i32, more: bool): void {
  if (more) Taps.row7(xPtr, tapsPtr, outPtr - 96, columns, true);
  else Taps.row7(xPtr, tapsPtr, outPtr - 96, columns, false);
}

/**
 * sums [7][4] (f64) += x by dy over columns of a plane, one row of seven taps: seven columns a turn, so that dy's
 * pixels stay where they are.
 */
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
  Halves.addTo(sumsPtr, s0);
  Halves.addTo(sumsPtr + 32, s1);
  Halves.addTo(sumsPtr + 64, s2);
  Halves.addTo(sumsPtr + 96, s3);
  Halves.addTo(sumsPtr + 128, s4);
  Halves.addTo(sumsPtr + 160, s5);
  Halves.addTo(sumsPtr + 192, s6);
}
