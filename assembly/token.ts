// Rows of a table by number.

/** to[i] = table[indices[i]], rows of `columns`. */
export function gatherRowsF32(tablePtr: usize, indicesPtr: usize, toPtr: usize, count: i32, columns: i32): void {
  const rowBytes = (<usize>columns) << 2;
  for (let i: i32 = 0; i < count; i++) {
    memory.copy(toPtr, tablePtr + <usize>load<i32>(indicesPtr) * rowBytes, rowBytes);
    toPtr += rowBytes;
    indicesPtr += 4;
  }
}

/** table[indices[i]] += rows[i], in the order of i. */
export function scatterRowsF32(rowsPtr: usize, indicesPtr: usize, tablePtr: usize, count: i32, columns: i32): void {
  const rowBytes = (<usize>columns) << 2;
  for (let i: i32 = 0; i < count; i++) {
    const toPtr = tablePtr + <usize>load<i32>(indicesPtr) * rowBytes;
    let at: usize = 0;
    for (; at + 16 <= rowBytes; at += 16) v128.store(toPtr + at, f32x4.add(v128.load(toPtr + at), v128.load(rowsPtr + at)));
    for (; at < rowBytes; at += 4) store<f32>(toPtr + at, load<f32>(toPtr + at) + load<f32>(rowsPtr + at));
    rowsPtr += rowBytes;
    indicesPtr += 4;
  }
}
