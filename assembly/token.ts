// Rows of a table by number.
import { columnSumsF32 } from "./reduction";

/** to[i] = table[indices[i]], rows of `columns`. */
export function gatherRowsF32(tablePtr: usize, indicesPtr: usize, toPtr: usize, count: i32, columns: i32): void {
  const rowBytes = (<usize>columns) << 2;
  for (let i: i32 = 0; i < count; i++) {
    memory.copy(toPtr, tablePtr + <usize>load<i32>(indicesPtr) * rowBytes, rowBytes);
    toPtr += rowBytes;
    indicesPtr += 4;
  }
}

/** Bytes of scratch of `sumRowsF32`: a row of f64 sums, and chains of the rows of each number. */
export function sumRowsScratchBytes(count: i32, numbers: i32, columns: i32): i32 {
  return columns * 8 + (numbers + count) * 4;
}

/**
 * table [numbers, columns]: its row v is the sum of rows [count, columns] whose index is v, in their order, in f64: one f32 added to
 * another 16,384 times, as a frequent token's gradients are, lose 1.5e-4. Zeros where there are none.
 */
export function sumRowsF32(
  rowsPtr: usize, indicesPtr: usize, tablePtr: usize, count: i32, numbers: i32, columns: i32, scratchPtr: usize,
): void {
  const rowBytes = (<usize>columns) << 2;
  const firstPtr = scratchPtr + rowBytes * 2;
  const nextPtr = firstPtr + ((<usize>numbers) << 2);
  memory.fill(firstPtr, 0xff, (<usize>numbers) << 2);
  for (let i: i32 = count - 1; i >= 0; i--) {
    const headPtr = firstPtr + ((<usize>load<i32>(indicesPtr + ((<usize>i) << 2))) << 2);
    store<i32>(nextPtr + ((<usize>i) << 2), load<i32>(headPtr));
    store<i32>(headPtr, i);
  }
  for (let v: i32 = 0; v < numbers; v++) {
    let i = load<i32>(firstPtr + ((<usize>v) << 2));
    if (i < 0) memory.fill(tablePtr, 0, rowBytes);
    else if (load<i32>(nextPtr + ((<usize>i) << 2)) < 0) memory.copy(tablePtr, rowsPtr + <usize>i * rowBytes, rowBytes);
    else {
      memory.fill(scratchPtr, 0, rowBytes * 2);
      for (; i >= 0; i = load<i32>(nextPtr + ((<usize>i) << 2))) columnSumsF32(rowsPtr + <usize>i * rowBytes, 1, columns, scratchPtr);
      for (let at: usize = 0; at < rowBytes; at += 4) store<f32>(tablePtr + at, <f32>load<f64>(scratchPtr + at * 2));
    }
    tablePtr += rowBytes;
  }
}
