// Winograd's F(2×2, 3×3) for 3×3 convolutions of stride 1 and their gradients: 16 products for each 2×2 output tile where the
// direct form takes 36. Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015. All transforms work on
// four channels at a time; their constants are 0, ±1 and ½, so they cost additions and little accuracy (F(4×4) would not).
//
// A transformed array is [16][tiles][channels]: sixteen matrices, each the operand of one product, `pitch` bytes apart. The transforms
// write to or read from all of them at once, so `pitch` is an odd number of cache lines: with matrices a power of two apart, as those of
// 64 channels and 128 tiles are, all sixteen lines would share a set of the first cache. Tiles count row by row over tilesY × tilesX of
// every image; `first` and `tiles` select a run of them.

/** V = Bᵀ d B of the 4×4 patches of a padded image [count, height, width, channels]; tile (y, x) starts at pixel (2y, 2x). */
export function winogradInputF32(
  imagePtr: usize, vPtr: usize, first: i32, tiles: i32, tilesY: i32, tilesX: i32, height: i32, width: i32, channels: i32,
  pitch: usize,
): void {
  const pixel = (<usize>channels) << 2;
  const row = pixel * width;
  for (let t: i32 = 0; t < tiles; t++) {
    const tile = first + t;
    const x = tile % tilesX;
    const y = (tile / tilesX) % tilesY;
    const n = tile / (tilesX * tilesY);
    let at = imagePtr + (<usize>((n * height + 2 * y) * width + 2 * x)) * pixel;
    for (let c: i32 = 0; c < channels; c += 4) {
      // Rows of Bᵀ d, four columns each; then B from the right.
      const d00 = v128.load(at), d01 = v128.load(at + pixel), d02 = v128.load(at + pixel * 2), d03 = v128.load(at + pixel * 3);
      const r1 = at + row, r2 = r1 + row, r3 = r2 + row;
      const d10 = v128.load(r1), d11 = v128.load(r1 + pixel), d12 = v128.load(r1 + pixel * 2), d13 = v128.load(r1 + pixel * 3);
      const d20 = v128.load(r2), d21 = v128.load(r2 + pixel), d22 = v128.load(r2 + pixel * 2), d23 = v128.load(r2 + pixel * 3);
      storeInputRow(vPtr, pitch, f32x4.sub(d00, d20), f32x4.sub(d01, d21), f32x4.sub(d02, d22), f32x4.sub(d03, d23));
      storeInputRow(vPtr + pitch * 4, pitch, f32x4.add(d10, d20), f32x4.add(d11, d21), f32x4.add(d12, d22), f32x4.add(d13, d23));
      storeInputRow(vPtr + pitch * 8, pitch, f32x4.sub(d20, d10), f32x4.sub(d21, d11), f32x4.sub(d22, d12), f32x4.sub(d23, d13));
      const d30 = v128.load(r3), d31 = v128.load(r3 + pixel), d32 = v128.load(r3 + pixel * 2), d33 = v128.load(r3 + pixel * 3);
      storeInputRow(vPtr + pitch * 12, pitch, f32x4.sub(d10, d30), f32x4.sub(d11, d31), f32x4.sub(d12, d32), f32x4.sub(d13, d33));
      at += 16;
      vPtr += 16;
    }
  }
}

function storeInputRow(toPtr: usize, pitch: usize, a: v128, b: v128, c: v128, d: v128): void {
  v128.store(toPtr, f32x4.sub(a, c));
  v128.store(toPtr + pitch, f32x4.add(b, c));
  v128.store(toPtr + pitch * 2, f32x4.sub(c, b));
  v128.store(toPtr + pitch * 3, f32x4.sub(b, d));
}

/** U = G w Gᵀ of a filter [3, 3, plane], plane = in · out, a multiple of 4. */
export function winogradFilterF32(weightPtr: usize, uPtr: usize, plane: i32, pitch: usize): void {
  const bytes = (<usize>plane) << 2;
  const half = f32x4.splat(0.5);
  for (let at: usize = 0; at < bytes; at += 16) {
    for (let column: usize = 0; column < 3; column++) {
      const from = weightPtr + at + column * bytes;
      const w0 = v128.load(from), w1 = v128.load(from + bytes * 3), w2 = v128.load(from + bytes * 6);
      // G w, one column: kept in U's own space, three of four places in each row.
      const to = uPtr + at + column * pitch;
      const outer = f32x4.mul(half, f32x4.add(w0, w2));
      const inner = f32x4.mul(half, w1);
      v128.store(to, w0);
      v128.store(to + pitch * 4, f32x4.add(outer, inner));
      v128.store(to + pitch * 8, f32x4.sub(outer, inner));
      v128.store(to + pitch * 12, w2);
    }
    for (let row: usize = 0; row < 4; row++) {
      const to = uPtr + at + row * 4 * pitch;
      const a = v128.load(to), b = v128.load(to + pitch), c = v128.load(to + pitch * 2);
      const outer = f32x4.mul(half, f32x4.add(a, c));
      const inner = f32x4.mul(half, b);
      v128.store(to + pitch, f32x4.add(outer, inner));
      v128.store(to + pitch * 2, f32x4.sub(outer, inner));
      v128.store(to + pitch * 3, c);
    }
  }
}

/** y [count, outHeight, outWidth, channels] = Aᵀ m A (+ bias [channels] unless 0); what lies beyond the rim is dropped. */
export function winogradOutputF32(
  mPtr: usize, yPtr: usize, biasPtr: usize, first: i32, tiles: i32, tilesY: i32, tilesX: i32, outHeight: i32, outWidth: i32, channels: i32,
  pitch: usize,
): void {
  const pixel = (<usize>channels) << 2;
  for (let t: i32 = 0; t < tiles; t++) {
    const tile = first + t;
    const x = 2 * (tile % tilesX);
    const y = 2 * ((tile / tilesX) % tilesY);
    const n = tile / (tilesX * tilesY);
    let at = yPtr + (<usize>((n * outHeight + y) * outWidth + x)) * pixel;
    const right = x + 1 < outWidth;
    const below = y + 1 < outHeight;
    const next = pixel * outWidth;
    for (let c: i32 = 0; c < channels; c += 4) {
      const bias = biasPtr != 0 ? v128.load(biasPtr + ((<usize>c) << 2)) : f32x4.splat(0);
      // Column sums of Aᵀ m: s for the upper row of the tile, d for the lower.
      const m0 = mPtr, m1 = m0 + pitch * 4, m2 = m1 + pitch * 4, m3 = m2 + pitch * 4;
      const s0 = f32x4.add(f32x4.add(v128.load(m0), v128.load(m1)), v128.load(m2));
      const s1 = f32x4.add(f32x4.add(v128.load(m0 + pitch), v128.load(m1 + pitch)), v128.load(m2 + pitch));
      const s2 = f32x4.add(f32x4.add(v128.load(m0 + pitch * 2), v128.load(m1 + pitch * 2)), v128.load(m2 + pitch * 2));
      const s3 = f32x4.add(f32x4.add(v128.load(m0 + pitch * 3), v128.load(m1 + pitch * 3)), v128.load(m2 + pitch * 3));
      v128.store(at, f32x4.add(f32x4.add(f32x4.add(s0, s1), s2), bias));
      if (right) v128.store(at + pixel, f32x4.add(f32x4.sub(f32x4.sub(s1, s2), s3), bias));
      if (below) {
        const d0 = f32x4.sub(f32x4.sub(v128.load(m1), v128.load(m2)), v128.load(m3));
        const d1 = f32x4.sub(f32x4.sub(v128.load(m1 + pitch), v128.load(m2 + pitch)), v128.load(m3 + pitch));
        const d2 = f32x4.sub(f32x4.sub(v128.load(m1 + pitch * 2), v128.load(m2 + pitch * 2)), v128.load(m3 + pitch * 2));
        const d3 = f32x4.sub(f32x4.sub(v128.load(m1 + pitch * 3), v128.load(m2 + pitch * 3)), v128.load(m3 + pitch * 3));
        v128.store(at + next, f32x4.add(f32x4.add(f32x4.add(d0, d1), d2), bias));
        if (right) v128.store(at + next + pixel, f32x4.add(f32x4.sub(f32x4.sub(d1, d2), d3), bias));
      }
      at += 16;
      mPtr += 16;
    }
  }
}

/** P = A dy Aᵀ of the 2×2 tiles of a gradient [count, outHeight, outWidth, channels]; beyond the rim it is 0. */
export function winogradGradientF32(
  dyPtr: usize, pPtr: usize, first: i32, tiles: i32, tilesY: i32, tilesX: i32, outHeight: i32, outWidth: i32, channels: i32,
  pitch: usize,
): void {
  const pixel = (<usize>channels) << 2;
  const zero = f32x4.splat(0);
  for (let t: i32 = 0; t < tiles; t++) {
    const tile = first + t;
    const x = 2 * (tile % tilesX);
    const y = 2 * ((tile / tilesX) % tilesY);
    const n = tile / (tilesX * tilesY);
    let at = dyPtr + (<usize>((n * outHeight + y) * outWidth + x)) * pixel;
    const right = x + 1 < outWidth;
    const below = y + 1 < outHeight;
    const next = pixel * outWidth;
    for (let c: i32 = 0; c < channels; c += 4) {
      const g00 = v128.load(at);
      const g01 = right ? v128.load(at + pixel) : zero;
      const g10 = below ? v128.load(at + next) : zero;
      const g11 = below && right ? v128.load(at + next + pixel) : zero;
      storeGradientRow(pPtr, pitch, g00, g01);
      storeGradientRow(pPtr + pitch * 4, pitch, f32x4.add(g00, g10), f32x4.add(g01, g11));
      storeGradientRow(pPtr + pitch * 8, pitch, f32x4.sub(g00, g10), f32x4.sub(g01, g11));
      storeGradientRow(pPtr + pitch * 12, pitch, f32x4.neg(g10), f32x4.neg(g11));
      at += 16;
      pPtr += 16;
    }
  }
}

function storeGradientRow(toPtr: usize, pitch: usize, a: v128, b: v128): void {
  v128.store(toPtr, a);
  v128.store(toPtr + pitch, f32x4.add(a, b));
  v128.store(toPtr + pitch * 2, f32x4.sub(a, b));
  v128.store(toPtr + pitch * 3, f32x4.neg(b));
}

/** dW [3, 3, plane] = Gᵀ s G, plane = in · out, a multiple of 4. Overwrites s. */
export function winogradFilterGradientF32(sPtr: usize, dwPtr: usize, plane: i32, pitch: usize): void {
  const bytes = (<usize>plane) << 2;
  const half = f32x4.splat(0.5);
  for (let at: usize = 0; at < bytes; at += 16) {
    for (let column: usize = 0; column < 4; column++) {
      const from = sPtr + at + column * pitch;
      const s0 = v128.load(from), s1 = v128.load(from + pitch * 4), s2 = v128.load(from + pitch * 8), s3 = v128.load(from + pitch * 12);
      const sum = f32x4.mul(half, f32x4.add(s1, s2));
      v128.store(from, f32x4.add(s0, sum));
      v128.store(from + pitch * 4, f32x4.mul(half, f32x4.sub(s1, s2)));
      v128.store(from + pitch * 8, f32x4.add(sum, s3));
    }
    for (let row: usize = 0; row < 3; row++) {
      const from = sPtr + at + row * 4 * pitch;
      const to = dwPtr + at + row * 3 * bytes;
      const s0 = v128.load(from), s1 = v128.load(from + pitch), s2 = v128.load(from + pitch * 2), s3 = v128.load(from + pitch * 3);
      const sum = f32x4.mul(half, f32x4.add(s1, s2));
      v128.store(to, f32x4.add(s0, sum));
      v128.store(to + bytes, f32x4.mul(half, f32x4.sub(s1, s2)));
      v128.store(to + bytes * 2, f32x4.add(sum, s3));
    }
  }
}
