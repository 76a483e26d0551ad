// Linear sum assignment: rows and columns whose values are all equal, units that never fire among them. Such a row
// adds the same wherever it goes.

import { RowKind } from "./assignment-problem";

function equals<T>(a: v128, b: v128): v128 {
  return sizeof<T>() === 4 ? f32x4.eq(a, b) : f64x2.eq(a, b);
}

/** Whether all values of a row are equal. Ends at the first that is not. */
function isConstant<T>(at: usize, columns: i32): bool {
  const bytes = <usize>columns * sizeof<T>();
  const value = load<T>(at);
  const values = sizeof<T>() === 4 ? f32x4.splat(<f32>value) : f64x2.splat(<f64>value);
  let offset: usize = 0;
  for (; offset + 16 <= bytes; offset += 16) {
    if (!i32x4.all_true(equals<T>(v128.load(at + offset), values))) return false;
  }
  for (; offset < bytes; offset += sizeof<T>()) if (load<T>(at + offset) !== value) return false;
  return true;
}

/**
 * Marks in `rowsPtr` (u8 [rows]) which of rows [firstRow, firstRow + count) are constant, and narrows down which columns
 * may be. For columns, groups of 16 bytes are compared with the first row's, and a group is dropped when none of its
 * columns is left: of ordinary matrices all are after a few rows. `maskPtr` (T [columns]) is all ones for columns that
 * are constant so far, `groupsPtr` (i32 [columns]) lists the groups left by where they begin. Call after call over all
 * rows; `groups` is what the last call answered. Needs as many columns as a group has.
 */
function constants<T>(
  matrixPtr: usize, firstRow: i32, count: i32, columns: i32, rowsPtr: usize, maskPtr: usize, groupsPtr: usize, groups: i32,
): i32 {
  const rowBytes = <usize>columns * sizeof<T>();
  if (firstRow === 0) {
    memory.fill(maskPtr, 0xff, rowBytes);
    groups = 0;
    for (let offset: usize = 0; offset < rowBytes; offset += 16, groups++) {
      // The last group overlaps the one before it.
      store<i32>(groupsPtr + (<usize>groups << 2), <i32>min<usize>(offset, rowBytes - 16));
    }
  }
  const end = firstRow + count;
  for (let row = firstRow; row < end; row++) {
    store<u8>(rowsPtr + row, isConstant<T>(matrixPtr + <usize>row * rowBytes, columns) ? RowKind.constant : RowKind.ordinary);
  }
  for (let row = firstRow; row < end && groups > 0; row += 4) {
    // Four rows at a time, or the last one again in place of those that are missing.
    const a = matrixPtr + <usize>row * rowBytes;
    const b = matrixPtr + <usize>min<i32>(row + 1, end - 1) * rowBytes;
    const c = matrixPtr + <usize>min<i32>(row + 2, end - 1) * rowBytes;
    const d = matrixPtr + <usize>min<i32>(row + 3, end - 1) * rowBytes;
    let kept = 0;
    for (let k = 0; k < groups; k++) {
      const offset = <usize>load<i32>(groupsPtr + (<usize>k << 2));
      const first = v128.load(matrixPtr + offset);
      const equal = v128.and(
        v128.and(equals<T>(first, v128.load(a + offset)), equals<T>(first, v128.load(b + offset))),
        v128.and(equals<T>(first, v128.load(c + offset)), equals<T>(first, v128.load(d + offset))),
      );
      const mask = v128.and(v128.load(maskPtr + offset), equal);
      v128.store(maskPtr + offset, mask);
      store<i32>(groupsPtr + (<usize>kept << 2), <i32>offset);
      kept += <i32>v128.any_true(mask);
    }
    groups = kept;
  }
  return groups;
}

export function assignmentConstantsF32(
  matrixPtr: usize, firstRow: i32, count: i32, columns: i32, rowsPtr: usize, maskPtr: usize, groupsPtr: usize, groups: i32,
): i32 {
  return constants<f32>(matrixPtr, firstRow, count, columns, rowsPtr, maskPtr, groupsPtr, groups);
}

export function assignmentConstantsF64(
  matrixPtr: usize, firstRow: i32, count: i32, columns: i32, rowsPtr: usize, maskPtr: usize, groupsPtr: usize, groups: i32,
): i32 {
  return constants<f64>(matrixPtr, firstRow, count, columns, rowsPtr, maskPtr, groupsPtr, groups);
}
