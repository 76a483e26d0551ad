// Changes of layout between the outside (PyTorch: NCHW images, OIHW filters) and the inside (NHWC, HWIO).

/** to[j, i] = from[i, j] for a matrix of [rows, columns]; strides of rows in bytes. */
export function transposeBlock(fromPtr: usize, rowBytes: usize, toPtr: usize, columnBytes: usize, rows: i32, columns: i32): void {
  let i: i32 = 0;
  for (; i + 4 <= rows; i += 4) {
    const p0 = fromPtr + <usize>i * rowBytes;
    let outPtr = toPtr + ((<usize>i) << 2);
    let j: i32 = 0;
    for (; j + 4 <= columns; j += 4) {
      const at = p0 + ((<usize>j) << 2);
      const r0 = v128.load(at);
      const r1 = v128.load(at + rowBytes);
      const r2 = v128.load(at + rowBytes * 2);
      const r3 = v128.load(at + rowBytes * 3);
      const low01 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
      const low23 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
      const high01 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
      const high23 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
      v128.store(outPtr, v128.shuffle<f32>(low01, low23, 0, 1, 4, 5));
      v128.store(outPtr + columnBytes, v128.shuffle<f32>(low01, low23, 2, 3, 6, 7));
      v128.store(outPtr + columnBytes * 2, v128.shuffle<f32>(high01, high23, 0, 1, 4, 5));
      v128.store(outPtr + columnBytes * 3, v128.shuffle<f32>(high01, high23, 2, 3, 6, 7));
      outPtr += columnBytes * 4;
    }
    for (; j < columns; j++) {
      const at = p0 + ((<usize>j) << 2);
      store<f32>(outPtr, load<f32>(at));
      store<f32>(outPtr, load<f32>(at + rowBytes), 4);
      store<f32>(outPtr, load<f32>(at + rowBytes * 2), 8);
      store<f32>(outPtr, load<f32>(at + rowBytes * 3), 12);
      outPtr += columnBytes;
    }
  }
  for (; i < rows; i++) {
    let outPtr = toPtr + ((<usize>i) << 2);
    const rowPtr = fromPtr + <usize>i * rowBytes;
    for (let j: i32 = 0; j < columns; j++) {
      store<f32>(outPtr, load<f32>(rowPtr + ((<usize>j) << 2)));
      outPtr += columnBytes;
    }
  }
}

/** Each of `count` matrices: [rows, columns] → [columns, rows]. */
export function transposeF32(fromPtr: usize, toPtr: usize, count: i32, rows: i32, columns: i32): void {
  const matrixBytes = (<usize>(rows * columns)) << 2;
  for (let n: i32 = 0; n < count; n++) {
    transposeBlock(fromPtr, (<usize>columns) << 2, toPtr, (<usize>rows) << 2, rows, columns);
    fromPtr += matrixBytes;
    toPtr += matrixBytes;
  }
}

/** to[c, b, a] = from[a, b, c]: OIHW ↔ HWIO with the two spatial axes as one. */
export function reverseAxesF32(fromPtr: usize, toPtr: usize, a: i32, b: i32, c: i32): void {
  const stepBytes = (<usize>(b * c)) << 2;
  for (let k: i32 = 0; k < c; k++) {
    for (let j: i32 = 0; j < b; j++) {
      let at = fromPtr + ((<usize>(j * c + k)) << 2);
      for (let i: i32 = 0; i < a; i++) {
        store<f32>(toPtr, load<f32>(at));
        toPtr += 4;
        at += stepBytes;
      }
    }
  }
}
