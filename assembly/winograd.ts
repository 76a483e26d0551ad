// Winograd's F(2×2, 3×3) for 3×3 convolutions of stride 1 and their gradients: 16 products for each 2×2 output tile where the
// direct form takes 36. Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015. All transforms work on
// four channels at a time; their constants are 0, ±1 and ½, so they cost additions and little accuracy (F(4×4) would not).
//
// A transformed array is [16][tiles][channels]: sixteen matrices, each the operand of one product. Tiles count row by row over
// tilesY × tilesX of every image; `first` and `tiles` select a run of them.

/** V = Bᵀ d B of the 4×4 patches of a padded image [count, height, width, channels]; tile (y, x) starts at pixel (2y, 2x). */
export function winogradInputF32(
  imagePtr: usize, vPtr: usize, first: i32, tiles: i32, tilesY: i32, tilesX: i32, height: i32, width: i32, channels: i32,
): void {
  const plane = (<usize>(tiles * channels)) << 2;
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
      storeInputRow(vPtr, plane, f32x4.sub(d00, d20), f32x4.sub(d01, d21), f32x4.sub(d02, d22), f32x4.sub(d03, d23));
      storeInputRow(vPtr + plane * 4, plane, f32x4.add(d10, d20), f32x4.add(d11, d21), f32x4.add(d12, d22), f32x4.add(d13, d23));
      storeInputRow(vPtr + plane * 8, plane, f32x4.sub(d20, d10), f32x4.sub(d21, d11), f32x4.sub(d22, d12), f32x4.sub(d23, d13));
      const d30 = v128.load(r3), d31 = v128.load(r3 + pixel), d32 = v128.load(r3 + pixel * 2), d33 = v128.load(r3 + pixel * 3);
      storeInputRow(vPtr + plane * 12, plane, f32x4.sub(d10, d30), f32x4.sub(d11, d31), f32x4.sub(d12, d32), f32x4.sub(d13, d33));
      at += 16;
      vPtr += 16;
    }
  }
}

function storeInputRow(toPtr: usize, plane: usize, a: v128, b: v128, c: v128, d: v128): void {
  v128.store(toPtr, f32x4.sub(a, c));
  v128.store(toPtr + plane, f32x4.add(b, c));
  v128.store(toPtr + plane * 2, f32x4.sub(c, b));
  v128.store(toPtr + plane * 3, f32x4.sub(b, d));
}

/** U = G w Gᵀ of a filter [3, 3, plane], plane = in · out, a multiple of 4. */
export function winogradFilterF32(weightPtr: usize, uPtr: usize, plane: i32): void {
  const bytes = (<usize>plane) << 2;
  const half = f32x4.splat(0.5);
  for (let at: usize = 0; at < bytes; at += 16) {
    for (let column: usize = 0; column < 3; column++) {
      const from = weightPtr + at + column * bytes;
      const w0 = v128.load(from), w1 = v128.load(from + bytes * 3), w2 = v128.load(from + bytes * 6);
      // G w, one column: kept in U's own space, three of four places in each row.
      const to = uPtr + at + column * bytes;
      const outer = f32x4.mul(half, f32x4.add(w0, w2));
      const inner = f32x4.mul(half, w1);
      v128.store(to, w0);
      v128.store(to + bytes * 4, f32x4.add(outer, inner));
      v128.store(to + bytes * 8, f32x4.sub(outer, inner));
      v128.store(to + bytes * 12, w2);
    }
    for (let row: usize = 0; row < 4; row++) {
      const to = uPtr + at + row * 4 * bytes;
      const a = v128.load(to), b = v128.load(to + bytes), c = v128.load(to + bytes * 2);
      const outer = f32x4.mul(half, f32x4.add(a, c));
      const inner = f32x4.mul(half, b);
      v128.store(to + bytes, f32x4.add(outer, inner));
      v128.store(to + bytes * 2, f32x4.sub(outer, inner));
      v128.store(to + bytes * 3, c);
    }
  }
}

/** y [count, outHeight, outWidth, channels] = Aᵀ m A (+ bias [channels] unless 0); what lies beyond the rim is dropped. */
export function winogradOutputF32(
  mPtr: usize, yPtr: usize, biasPtr: usize, first: i32, tiles: i32, tilesY: i32, tilesX: i32, outHeight: i32, outWidth: i32, channels: i32,
): void {
  const plane = (<usize>(tiles * channels)) << 2;
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
      const m0 = mPtr, m1 = m0 + plane * 4, m2 = m1 + plane * 4, m3 = m2 + plane * 4;
      const s0 = f32x4.add(f32x4.add(v128.load(m0), v128.load(m1)), v128.load(m2));
      const s1 = f32x4.add(f32x4.add(v128.load(m0 + plane), v128.load(m1 + plane)), v128.load(m2 + plane));
      const s2 = f32x4.add(f32x4.add(v128.load(m0 + plane * 2), v128.load(m1 + plane * 2)), v128.load(m2 + plane * 2));
      const s3 = f32x4.add(f32x4.add(v128.load(m0 + plane * 3), v128.load(m1 + plane * 3)), v128.load(m2 + plane * 3));
      v128.store(at, f32x4.add(f32x4.add(f32x4.add(s0, s1), s2), bias));
      if (right) v128.store(at + pixel, f32x4.add(f32x4.sub(f32x4.sub(s1, s2), s3), bias));
      if (below) {
        const d0 = f32x4.sub(f32x4.sub(v128.load(m1), v128.load(m2)), v128.load(m3));
        const d1 = f32x4.sub(f32x4.sub(v128.load(m1 + plane), v128.load(m2 + plane)), v128.load(m3 + plane));
        const d2 = f32x4.sub(f32x4.sub(v128.load(m1 + plane * 2), v128.load(m2 + plane * 2)), v128.load(m3 + plane * 2));
        const d3 = f32x4.sub(f32x4.sub(v128.load(m1 + plane * 3), v128.load(m2 + plane * 3)), v128.load(m3 + plane * 3));
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
): void {
  const plane = (<usize>(tiles * channels)) << 2;
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
      storeGradientRow(pPtr, plane, g00, g01);
      storeGradientRow(pPtr + plane * 4, plane, f32x4.add(g00, g10), f32x4.add(g01, g11));
      storeGradientRow(pPtr + plane * 8, plane, f32x4.sub(g00, g10), f32x4.sub(g01, g11));
      storeGradientRow(pPtr + plane * 12, plane, f32x4.neg(g10), f32x4.neg(g11));
      at += 16;
      pPtr += 16;
    }
  }
}

function storeGradientRow(toPtr: usize, plane: usize, a: v128, b: v128): void {
  v128.store(toPtr, a);
  v128.store(toPtr + plane, f32x4.add(a, b));
  v128.store(toPtr + plane * 2, f32x4.sub(a, b));
  v128.store(toPtr + plane * 3, f32x4.neg(b));
}

/** dW [3, 3, plane] = Gᵀ s G, plane = in · out, a multiple of 4. Overwrites s. */
export function winogradFilterGradientF32(sPtr: usize, dwPtr: usize, plane: i32): void {
  const bytes = (<usize>plane) << 2;
  const half = f32x4.splat(0.5);
  for (let at: usize = 0; at < bytes; at += 16) {
    for (let column: usize = 0; column < 4; column++) {
      const from = sPtr + at + column * bytes;
      const s0 = v128.load(from), s1 = v128.load(from + bytes * 4), s2 = v128.load(from + bytes * 8), s3 = v128.load(from + bytes * 12);
      const sum = f32x4.mul(half, f32x4.add(s1, s2));
      v128.store(from, f32x4.add(s0, sum));
      v128.store(from + bytes * 4, f32x4.mul(half, f32x4.sub(s1, s2)));
      v128.store(from + bytes * 8, f32x4.add(sum, s3));
    }
    for (let row: usize = 0; row < 3; row++) {
      const from = sPtr + at + row * 4 * bytes;
      const to = dwPtr + at + row * 3 * bytes;
      const s0 = v128.load(from), s1 = v128.load(from + bytes), s2 = v128.load(from + bytes * 2), s3 = v128.load(from + bytes * 3);
      const sum = f32x4.mul(half, f32x4.add(s1, s2));
      v128.store(to, f32x4.add(s0, sum));
      v128.store(to + bytes, f32x4.mul(half, f32x4.sub(s1, s2)));
      v128.store(to + bytes * 2, f32x4.add(sum, s3));
    }
  }
}
