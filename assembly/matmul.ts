// f32 matrix products. Placeholder surface until the tiled SIMD kernels land.

/** C [m, n] = A [m, k] · B [k, n], row-major. */
export function matmulF32(aPtr: usize, bPtr: usize, cPtr: usize, m: i32, n: i32, k: i32): void {
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum: f32 = 0;
      for (let l = 0; l < k; l++) {
        sum += load<f32>(aPtr + ((i * k + l) << 2)) * load<f32>(bPtr + ((l * n + j) << 2));
      }
      store<f32>(cPtr + ((i * n + j) << 2), sum);
    }
  }
}
